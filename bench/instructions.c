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
 *   taken-100 the same, 100-byte key
 *   permit    claim a key and end the call, no waiter
 *   meet      two such calls in one bucket, which both end (one is forgotten)
 *   join      join a call through a future and drop that (libsingleflight only)
 *   block     join a call as one that blocks, and leave it, since its deadline
 *             has passed
 *   waiter    join through a future, be told through a queue, drain, release
 *             (libsingleflight only; 64 waiters on a call)
 *   waiter-100  the same, 100-byte key
 */
#include "lib/bench.h"

#include <errno.h>
#include <string.h>

enum { N_KEYS = 64, N_WAITERS = 64, WARM_UP = 1000 };

static char keys[N_KEYS][128];
static size_t key_len;
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

static void meet(unsigned long i)
{
    sflight_call *one, *other;
    const char *key = keys[i % N_KEYS];
    BENCH_CHECK(ops->lead(group, key, key_len, &one) == 0 && one != NULL);
    BENCH_CHECK(ops->forget(group, key, key_len) == 1);
    BENCH_CHECK(ops->lead(group, key, key_len, &other) == 0 && other != NULL);
    ops->finish(one, 0);
    ops->finish(other, 0);
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

static const struct {
    const char *name;
    void (*one)(unsigned long);
    enum {
        NONE,
        JOINED,
        BESIDE
    } others; /* calls in flight: one that is joined; one in each bucket */
    bool only_sflight;
    sflight_destroy_fn *destroy;
    size_t key_len;
} cases[] = {
    {"do", run, NONE, false, NULL, 13},
    {"do-100", run, NONE, false, NULL, 100},
    {"do-value", run, NONE, false, destroy_value, 13},
    {"taken", run, BESIDE, false, NULL, 13},
    {"taken-100", run, BESIDE, false, NULL, 100},
    {"permit", permit, NONE, false, NULL, 13},
    {"meet", meet, NONE, false, NULL, 13},
    {"join", join, JOINED, true, NULL, 13},
    {"block", block, JOINED, false, NULL, 13},
    {"waiter", waiter, NONE, true, NULL, 13},
    {"waiter-100", waiter, NONE, true, NULL, 100},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s CASE IMPLEMENTATION N\n       CASE: one of", program);
    for (size_t i = 0; i < N_CASES; i++)
        fprintf(stderr, " %s", cases[i].name);
    fputs("\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    size_t at = 0;

    while (argc == 4 && at < N_CASES && strcmp(argv[1], cases[at].name) != 0)
        at++;
    if (argc != 4 || at == N_CASES || (ops = flight_find(argv[2])) == NULL ||
        (cases[at].only_sflight && ops != &flight_sflight))
        return usage(argv[0]);
    key_len = cases[at].key_len;
    destroy = cases[at].destroy;
    bool beside = cases[at].others == BESIDE;
    unsigned long n = WARM_UP + strtoul(argv[3], NULL, 10);
    for (int i = 0; i < N_KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "product:%05d%088d", i * 1543 % 100000, i);
    BENCH_CHECK(ops->create(&group, 0) == 0 && sflight_queue_create(&queue) == 0);
    for (int i = 0; i < N_KEYS && (beside || (cases[at].others == JOINED && i == 0)); i++) {
        BENCH_CHECK(ops->lead(group, keys[i], key_len, &others[i]) == 0 && others[i] != NULL);
        BENCH_CHECK(!beside || ops->forget(group, keys[i], key_len) == 1);
    }
    for (unsigned long i = 0; i < n; i++)
        cases[at].one(i);
    for (int i = 0; i < N_KEYS && others[i] != NULL; i++)
        ops->finish(others[i], 0);
    BENCH_CHECK(sflight_queue_destroy(queue) == 0 && ops->destroy(group) == 0);
    return 0;
}
