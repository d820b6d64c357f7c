/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - do the implementations behind flight.h keep its promises?  Threads
 * run a few keys as fast as they can.  Of each: every run delivers the value of
 * its key, every value is destroyed exactly once, and, where calls coalesce and
 * nothing is forgotten, no two executions for a key overlap.  Prints TAP.
 */
#include "flight.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_THREADS = 8, N_RUNS = 20000, N_KEYS = 5, STATUS = 7 };

static const struct flight_ops *ops;
static sflight_group *group;
static bool forgetting;
static atomic_int running[N_KEYS];
static atomic_long n_made, n_destroyed, n_wrong, n_overlaps;

static void destroy(void *value, size_t size, void *ctx)
{
    if (size != sizeof(int) || ctx != &n_destroyed)
        n_wrong++;
    free(value);
    n_destroyed++;
}

static int work(sflight_call *call, void *arg)
{
    int key = *(int *)arg;
    if (atomic_fetch_add(&running[key], 1) != 0)
        n_overlaps++;
    for (int i = 0; i < 2; i++) { /* the second replaces the first */
        int *value = malloc(sizeof(*value));
        *value = key + i - 1;
        ops->set(call, value, sizeof(*value), destroy, &n_destroyed);
        n_made++;
    }
    atomic_fetch_sub(&running[key], 1);
    return STATUS;
}

static void *caller(void *arg)
{
    for (int i = 0; i < N_RUNS; i++) {
        int key = (i + *(int *)arg) % N_KEYS;
        sflight_result r;
        if (ops->run(group, &key, sizeof(key), work, &key, &r) != 0 || r.status != STATUS ||
            r.size != sizeof(int) || *(int *)r.value != key || r.shared != (r.followers != 0))
            n_wrong++;
        if (forgetting && i % 7 == 0)
            ops->forget(group, &key, sizeof(key));
        ops->release(&r);
        ops->release(&r); /* harmless */
    }
    return NULL;
}

static bool hammer(bool with_forget)
{
    pthread_t threads[N_THREADS];
    int first[N_THREADS];
    forgetting = with_forget;
    n_made = n_destroyed = n_wrong = n_overlaps = 0;
    if (ops->create(&group, 0) != 0)
        return false;
    for (int i = 0; i < N_THREADS; i++) {
        first[i] = i;
        if (pthread_create(&threads[i], NULL, caller, &first[i]) != 0)
            abort();
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    return ops->destroy(group) == 0 && n_wrong == 0 && n_made == n_destroyed &&
           (n_overlaps == 0 || with_forget || ops == &flight_none);
}

int main(void)
{
    const char *const names[] = {"singleflight", "mutex1", "mutex64", "none"};
    const int n = (int)(sizeof(names) / sizeof(names[0]));
    int failed = 0;
    printf("1..%d\n", 2 * n);
    for (int i = 0; i < 2 * n; i++) {
        ops = flight_find(names[i / 2]);
        bool with_forget = i % 2 != 0;
        bool ok = ops != NULL && hammer(with_forget);
        printf("%sok %d - baseline %s%s\n", ok ? "" : "not ", i + 1, names[i / 2],
               with_forget ? ", forgetting" : "");
        failed += !ok;
    }
    return failed != 0;
}
