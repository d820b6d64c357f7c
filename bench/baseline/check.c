/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - do the implementations behind flight.h keep its promises?  Threads
 * run a few keys as fast as they can.  Of each: every run delivers the value of
 * its key, every value is destroyed exactly once, and, where calls coalesce and
 * nothing is forgotten, no two executions for a key overlap.  Permits and
 * deadlines, one at a time.  Every implementation that is linked.  Prints TAP.
 */
#include "flight.h"

#include <errno.h>
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

/* What has no threads: a permit, who asks for its key meanwhile, and deadlines. */
static bool permit(void)
{
    const struct timespec past = {0, 0};
    sflight_call *call = NULL, *other = NULL;
    sflight_result r;
    int key = 3;
    bool ok = ops->create(&group, 1000) == 0;
    forgetting = false;
    n_made = n_destroyed = n_wrong = n_overlaps = 0;
    ok = ok && ops->lead(group, &key, sizeof(key), &call) == 0 && call != NULL;
    if (ok && ops != &flight_none) {
        ok = ops->lead(group, &key, sizeof(key), &other) == 0 && other == NULL &&
             ops->run_until(group, &key, sizeof(key), work, &key, &past, &r) == -ETIMEDOUT;
    }
    if (ok) {
        work(call, &key);
        ops->finish(call, STATUS);
        ok = ops->run(group, &key, sizeof(key), work, &key, &r) == 0 && r.leader && !r.shared;
        ops->release(&r);
    }
    return ops->destroy(group) == 0 && ok && n_made == n_destroyed && n_made == 4;
}

int main(void)
{
    int n = 0, failed = 0;
    for (; flight_nth((size_t)n) != NULL; n++)
        ;
    printf("1..%d\n", 3 * n);
    for (int i = 0; i < 3 * n; i++) {
        static const char *const what[] = {"", ", forgetting", ", permits"};
        ops = flight_nth((size_t)i / 3);
        bool ok = i % 3 == 2 ? permit() : hammer(i % 3 == 1);
        printf("%sok %d - baseline %s%s\n", ok ? "" : "not ", i + 1, ops->name, what[i % 3]);
        failed += !ok;
    }
    return failed != 0;
}
