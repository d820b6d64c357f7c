/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A correct user's program, for sanitizers: what fn writes is read by its followers and by the next
 * fn, without any other ordering; a completion queue; and panics through frames of
 * sanitized_helper.c, which is compiled without the sanitizer.  With -DRACE there is one race, of
 * the program's own; with -DWRONG a result is released once more, by way of a copy.
 */
#include <singleflight.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 40 };

void helper_panic(sflight_call *call, int depth);
void helper_fill(void (*fill)(char *to, size_t n));

static sflight_group *group;
static int n_runs; /* runs of fn for one key are ordered */
static int racy;
#ifdef RACE
static pthread_barrier_t together; /* all callers, in each of their rounds */
#endif

static void value_free(void *value, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    free(value);
}

static int work(sflight_call *call, void *arg)
{
    int *value = malloc(sizeof *value);
    (void)arg;
    if (value == NULL)
        return 1;
    *value = ++n_runs;
    sched_yield(); /* so that there are followers */
    sflight_call_set(call, value, sizeof *value, value_free, NULL);
    return 0;
}

static void *caller(void *arg)
{
    long sum = 0;
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        sflight_result r;
        if (sflight_do(group, "key", 3, work, NULL, &r) == 0)
            sum += *(int *)r.value;
        sflight_result_release(&r);
#ifdef RACE
        pthread_barrier_wait(&together); /* nothing orders what each does next */
        racy += i;
#endif
    }
    return sum > 0 ? NULL : arg;
}

static void *completer(void *arg)
{
    sflight_call *call = arg;
    int *value = malloc(sizeof *value);
    if (value == NULL)
        return NULL;
    *value = 7;
    sflight_call_set(call, value, sizeof *value, value_free, NULL);
    sflight_complete(call, 0);
    return NULL;
}

static int queue_round(sflight_queue *q)
{
    sflight_call *call, *none;
    sflight_future *f;
    sflight_completion c;
    pthread_t thread;
    if (sflight_begin(group, "q", 1, &call, &f) != 0 || call == NULL ||
        sflight_begin(group, "q", 1, &none, &f) != 0 || f == NULL ||
        sflight_future_enqueue(f, q, 1) != 0 || pthread_create(&thread, NULL, completer, call) != 0)
        return 1;
    while (sflight_queue_drain(q, &c, 1) == 0)
        sched_yield();
    int wrong = c.rc != 0 || *(int *)c.result.value != 7;
    sflight_result_release(&c.result);
    pthread_join(thread, NULL);
    return wrong;
}

static volatile char sink;

static int panics(sflight_call *call, void *arg)
{
    char text[300];
    (void)arg;
    memset(text, 1, sizeof text);
    helper_panic(call, 10);
    sink = text[5];
    return 0;
}

static void fill(char *to, size_t n)
{
    memset(to, 1, n);
}

int main(void)
{
    pthread_t threads[THREADS];
    sflight_queue *q;
    sflight_result r;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&q) != 0)
        return 1;
#ifdef RACE
    pthread_barrier_init(&together, NULL, THREADS);
#endif
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, caller, NULL) != 0)
            return 2;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        if (queue_round(q) != 0)
            return 3;
        int rc = sflight_do(group, "panic", 5, panics, NULL, &r);
        sflight_result_release(&r);
        if (rc == 0)
            return 4;
        helper_fill(fill); /* stack that the panic's frames had */
    }
#ifdef WRONG
    if (sflight_do(group, "key", 3, work, NULL, &r) != 0)
        return 6;
    sflight_result copy = r;
    sflight_result_release(&r);
    sflight_result_release(&copy);
#endif
    return racy >= 0 && sflight_queue_destroy(q) == 0 && sflight_group_destroy(group) == 0 ? 0 : 5;
}
