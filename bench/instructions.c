/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * instructions.c - something to count the instructions of, for
 * bench/count_instructions: one thread, nothing contended.
 *
 *     instructions CASE IMPLEMENTATION N
 *
 *   do        run and release, 13-byte key
 *   do-100    the same, 100-byte key
 *   do-value  the same as do, with a value that is to be destroyed
 *   taken     the same as do, in a bucket that has another call
 *   permit    claim a key and end the call, no waiter
 *   join      join a call through a future and drop that (libsingleflight only)
 *   block     join a call as one that blocks, and leave it, since its deadline
 *             has passed
 *   waiter    join through a future, be told through a queue, drain, release
 *             (libsingleflight only; 64 waiters on a call)
 */
#include "lib/bench.h"

#include <errno.h>
#include <string.h>

enum { N_KEYS = 64, N_WAITERS = 64, WARM_UP = 1000 };

static char keys[N_KEYS][128];
static size_t key_len = 13;
static const struct flight_ops *ops;
static sflight_group *group;
static sflight_queue *queue;
static int value;
static sflight_call *others[N_KEYS]; /* in flight all the time */
static sflight_destroy_fn *destroy;

static void destroy_value(void *v, size_t size, void *ctx)
{
    (void)ctx;
    BENCH_CHECK(v == &value && size == sizeof(value));
}

static int fn(sflight_call *call, void *arg)
{
    ops->set(call, arg, sizeof(value), destroy, NULL);
    return 0;
}

static void run(unsigned long i)
{
    sflight_result r;
    int rc = ops->run(group, keys[i % N_KEYS], key_len, fn, &value, &r);
    BENCH_CHECK(rc == 0 && r.value == &value);
    ops->release(&r);
}

static void permit(unsigned long i)
{
    sflight_call *call;
    BENCH_CHECK(ops->lead(group, keys[i % N_KEYS], key_len, &call) == 0 && call != NULL);
    ops->finish(call, 0);
}

static void join(unsigned long i)
{
    sflight_call *call;
    sflight_future *f;
    (void)i;
    BENCH_CHECK(sflight_begin(group, keys[0], key_len, &call, &f) == 0 && f != NULL);
    sflight_future_drop(f);
}

static void block(unsigned long i)
{
    static const struct timespec passed = {.tv_nsec = 1};
    sflight_result r;
    (void)i;
    BENCH_CHECK(ops->run_until(group, keys[0], key_len, fn, &value, &passed, &r) == -ETIMEDOUT);
}

static void waiter(unsigned long i)
{
    sflight_call *call;
    sflight_future *f;
    sflight_completion done[N_WAITERS];
    if (i % N_WAITERS != 0)
        return;
    BENCH_CHECK(sflight_begin(group, keys[0], key_len, &call, &f) == 0 && call != NULL);
    sflight_call *lead = call;
    for (unsigned k = 0; k < N_WAITERS; k++) {
        BENCH_CHECK(sflight_begin(group, keys[0], key_len, &call, &f) == 0 && f != NULL);
        BENCH_CHECK(sflight_future_enqueue(f, queue, k) == 0);
    }
    sflight_complete(lead, 0);
    BENCH_CHECK(sflight_queue_drain(queue, done, N_WAITERS) == N_WAITERS);
    for (unsigned k = 0; k < N_WAITERS; k++)
        sflight_result_release(&done[k].result);
}

int main(int argc, char **argv)
{
    void (*one)(unsigned long) = NULL;
    if (argc == 4 && (ops = flight_find(argv[2])) != NULL) {
        if (strcmp(argv[1], "do") == 0 || strcmp(argv[1], "do-100") == 0 ||
            strcmp(argv[1], "do-value") == 0 || strcmp(argv[1], "taken") == 0)
            one = run;
        else if (strcmp(argv[1], "permit") == 0)
            one = permit;
        else if (strcmp(argv[1], "block") == 0)
            one = block;
        else if (strcmp(argv[1], "join") == 0 && ops == &flight_sflight)
            one = join;
        else if (strcmp(argv[1], "waiter") == 0 && ops == &flight_sflight)
            one = waiter;
    }
    if (one == NULL) {
        fprintf(stderr,
                "usage: %s do|do-100|do-value|taken|permit|join|block|waiter IMPLEMENTATION "
                "N\n",
                argv[0]);
        return 2;
    }
    if (strcmp(argv[1], "do-100") == 0)
        key_len = 100;
    if (strcmp(argv[1], "do-value") == 0)
        destroy = destroy_value;
    unsigned long n = WARM_UP + strtoul(argv[3], NULL, 10);
    for (int i = 0; i < N_KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "product:%05d%088d", i * 1543 % 100000, i);
    BENCH_CHECK(ops->create(&group, 0) == 0 && sflight_queue_create(&queue) == 0);
    bool taken = strcmp(argv[1], "taken") == 0;
    for (int i = 0; i < N_KEYS && (taken || ((one == join || one == block) && i == 0)); i++) {
        BENCH_CHECK(ops->lead(group, keys[i], key_len, &others[i]) == 0 && others[i] != NULL);
        BENCH_CHECK(!taken || ops->forget(group, keys[i], key_len) == 1);
    }
    for (unsigned long i = 0; i < n; i++)
        one(i);
    for (int i = 0; i < N_KEYS && others[i] != NULL; i++)
        ops->finish(others[i], 0);
    BENCH_CHECK(sflight_queue_destroy(queue) == 0 && ops->destroy(group) == 0);
    return 0;
}
