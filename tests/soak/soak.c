/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak SECONDS   everything at random for that long; then, what must be
 *
 * Four threads at a time, that end and are replaced, call, join, begin, start,
 * forget, panic and exit, in two groups that live throughout (one with takeover)
 * and in one that is made and destroyed over and over.  At the end
 *   - counters are back to zero, and every value has been destroyed;
 *   - resident memory is flat over the second half: the largest of the last
 *     quarter is not above the largest of the third by more than SLACK.
 * A report each tenth of the time, so that a run that stands still is seen.
 */
#include "../lib/load.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <singleflight.h>

enum {
    THREADS = 4,
    KEYS = 64,
    LONG_KEY = 600,
    MAX_BATCH = 6,
    LOT = 32,
    ROUNDS = 200, /* in a passing group */
    /* A leak of one record (192 bytes) in a thousand operations is far more in a minute. */
    SLACK = 4 << 20,
};

struct arena {
    sflight_group *g;
    sflight_queue *queue;
    _Atomic(sflight_call *) permits[LOT];
    _Atomic(sflight_result *) lot[LOT];
    atomic_ulong enqueued, drained, to_call, called;
};

static struct arena arenas[2];
static atomic_bool stop;
static atomic_ulong n_ops, n_made, n_destroyed, n_ended, n_groups;
static _Thread_local uint64_t random_state;

static unsigned pick(unsigned n)
{
    if (random_state == 0)
        random_state = random_from((uintptr_t)&random_state);
    return random_pick(&random_state, n);
}

/* ------------------------------------------------------------------- work */

struct key {
    size_t len;
    char bytes[LONG_KEY];
};

/* Few keys in all; short ones, long ones, and the empty one. */
static void key_make(struct key *k)
{
    unsigned n = pick(KEYS);
    memset(k->bytes, (int)n, sizeof k->bytes);
    k->len = n == 0 ? 0 : n % 8 == 0 ? LONG_KEY - n : n % 24 + 1;
}

static void destroy(void *value, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    free(value);
    atomic_fetch_add(&n_destroyed, 1);
}

static void value_set(sflight_call *call)
{
    if (pick(3) == 0) {
        char *p = sflight_call_alloc(call, pick(2000));
        MUST(p != NULL);
        return;
    }
    size_t size = pick(2000) + 1;
    char *p = malloc(size);
    MUST(p != NULL);
    memset(p, 7, size);
    atomic_fetch_add(&n_made, 1);
    sflight_call_set(call, p, size, destroy, NULL);
}

static int work_some(sflight_call *const *calls, size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        value_set(calls[i]);
    for (unsigned i = pick(4); i > 0; i--)
        sched_yield();
    switch (pick(512)) {
    case 0:
        sflight_panic(calls[0], "%s", "a panic");
    case 1:
        pthread_exit(NULL);
    case 2:
        pthread_cancel(pthread_self());
        pthread_testcancel();
        break;
    default:
        break;
    }
    return (int)pick(5);
}

static int work_one(sflight_call *call, void *arg)
{
    return work_some(&call, 1, arg);
}

static void result_end(struct arena *a, int rc, sflight_result *r)
{
    MUST(rc == 0 || rc == -EOWNERDEAD || rc == -ENOTRECOVERABLE || rc == -ETIMEDOUT);
    if (r->hold != NULL && pick(8) == 0) {
        sflight_result *copy = malloc(sizeof *copy);
        MUST(copy != NULL && sflight_result_retain(r, copy) == 0);
        copy = atomic_exchange(&a->lot[pick(LOT)], copy);
        sflight_result_release(copy);
        free(copy);
    }
    sflight_result_release(r);
}

static void called_back(void *arg, int rc, sflight_result *r)
{
    struct arena *a = arg;
    result_end(a, rc, r);
    atomic_fetch_add(&a->called, 1);
}

static void use(struct arena *a, sflight_future *f)
{
    sflight_result r;
    switch (pick(6)) {
    case 0:
        atomic_fetch_add(&a->to_call, 1);
        MUST(sflight_future_then(f, called_back, a) == 0);
        break;
    case 1:
    case 2:
        atomic_fetch_add(&a->enqueued, 1);
        MUST(sflight_future_enqueue(f, a->queue, 1) == 0);
        break;
    case 3:
        MUST(sflight_future_fd(f) >= 0);
        sflight_future_drop(f);
        break;
    case 4:
        sflight_future_drop(f);
        break;
    default: {
        int rc = sflight_future_get(f, NULL, &r);
        result_end(a, rc, &r);
    }
    }
}

static void permit_end(sflight_call *call)
{
    if (call == NULL)
        return;
    if (pick(16) == 0)
        sflight_abandon(call);
    else
        sflight_complete(call, 0);
}

static const struct timespec *some_deadline(struct timespec *t)
{
    if (pick(4) != 0)
        return NULL;
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_nsec = (t->tv_nsec + pick(50000)) % 1000000000; /* now and then in the past */
    return t;
}

static void ask_many(struct arena *a)
{
    struct key k[MAX_BATCH];
    sflight_key keys[MAX_BATCH];
    sflight_result r[MAX_BATCH];
    int rc[MAX_BATCH];
    struct timespec t;
    unsigned n = 1 + pick(MAX_BATCH);
    for (unsigned i = 0; i < n; i++) {
        key_make(&k[i]);
        keys[i] = (sflight_key){k[i].bytes, k[i].len};
    }
    MUST(sflight_do_many(a->g, keys, n, work_some, NULL, some_deadline(&t), r, rc) == 0);
    for (unsigned i = 0; i < n; i++)
        result_end(a, rc[i], &r[i]);
}

static void begin(struct arena *a, const struct key *k)
{
    sflight_call *call;
    sflight_future *f;
    MUST(sflight_begin(a->g, k->bytes, k->len, &call, &f) == 0);
    if (call == NULL) {
        use(a, f);
    } else {
        value_set(call);
        if (pick(8) == 0) /* to be ended by somebody else, later */
            call = atomic_exchange(&a->permits[pick(LOT)], call);
        permit_end(call);
    }
}

static void op(struct arena *a)
{
    struct key k;
    struct timespec t;
    sflight_result r;
    sflight_future *f;
    key_make(&k);
    unsigned what = pick(128);
    if (what == 0) {
        MUST(sflight_start(a->g, k.bytes, k.len, work_one, NULL, &f) == 0);
        use(a, f);
    } else if (what < 9) {
        sflight_forget(a->g, k.bytes, k.len);
    } else if (what < 15) {
        sflight_forget_unshared(a->g, k.bytes, k.len);
    } else if (what < 31) {
        ask_many(a);
    } else if (what < 56) {
        begin(a, &k);
    } else {
        int rc = sflight_do_until(a->g, k.bytes, k.len, work_one, NULL, some_deadline(&t), &r);
        result_end(a, rc, &r);
    }
    atomic_fetch_add(&n_ops, 1);
}

/* Ends permits and empties queues; blocks nowhere, so that nobody waits for ever. */
static bool serve(struct arena *a)
{
    sflight_completion done[16];
    int n = sflight_queue_drain(a->queue, done, 16);
    bool idle = n == 0;
    for (int i = 0; i < n; i++)
        result_end(a, done[i].rc, &done[i].result);
    atomic_fetch_add(&a->drained, (unsigned)n);
    for (int i = 0; i < LOT; i++) {
        sflight_call *call = atomic_exchange(&a->permits[i], NULL);
        idle = idle && call == NULL;
        permit_end(call);
    }
    return idle;
}

static void *servant(void *arg)
{
    (void)arg;
    while (!stop) {
        bool idle = serve(&arenas[0]);
        idle = serve(&arenas[1]) && idle;
        if (idle)
            sched_yield();
    }
    return NULL;
}

static void *worker(void *arg)
{
    (void)arg;
    while (!stop)
        op(&arenas[pick(2)]);
    return NULL;
}

static void *supervisor(void *arg)
{
    while (!stop) {
        pthread_t thread;
        MUST(pthread_create(&thread, NULL, worker, arg) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        atomic_fetch_add(&n_ended, 1);
    }
    return NULL;
}

/* A group that comes and goes, with a thread that knows all of them. */
static int constant(sflight_call *call, void *arg)
{
    (void)arg;
    MUST(sflight_call_alloc(call, 10) != NULL);
    return 3;
}

static void *passing_groups(void *arg)
{
    (void)arg;
    while (!stop) {
        sflight_group *g;
        sflight_options o;
        sflight_options_init(&o);
        o.shards = 1 + pick(4);
        o.expected_inflight = 1;
        MUST(sflight_group_create(&g, &o) == 0);
        for (unsigned i = 0; i < ROUNDS && !stop; i++) {
            sflight_call *call;
            sflight_future *f;
            sflight_result r;
            MUST(sflight_begin(g, &i, sizeof i, &call, &f) == 0 && call != NULL);
            if (i % 8 == 7) { /* eight in flight, so that it grows */
                MUST(sflight_do(g, "key", 3, constant, NULL, &r) == 0 && r.status == 3);
                sflight_result_release(&r);
            }
            sflight_complete(call, 0);
        }
        MUST(sflight_group_close(g) == 0);
        MUST(sflight_group_drain(g, NULL) == 0);
        MUST(sflight_group_destroy(g) == 0);
        atomic_fetch_add(&n_groups, 1);
        sched_yield();
    }
    return NULL;
}

/* ------------------------------------------------------------------- report */

static void arena_begin(struct arena *a, int on_abandon)
{
    sflight_options o;
    sflight_options_init(&o);
    o.on_abandon = on_abandon;
    o.shards = 2;
    o.expected_inflight = 1;
    MUST(sflight_group_create(&a->g, &o) == 0);
    MUST(sflight_queue_create(&a->queue) == 0);
}

static void arena_end(struct arena *a)
{
    sflight_stats s;
    do { /* threads of started calls, and what they deliver, are on their way */
        serve(a);
        for (int i = 0; i < LOT; i++) {
            sflight_result *r = atomic_exchange(&a->lot[i], NULL);
            sflight_result_release(r);
            free(r);
        }
        sched_yield();
        MUST(sflight_group_stats(a->g, &s) == 0);
    } while (s.in_flight != 0 || s.waiting != 0 || s.held != 0 || a->drained != a->enqueued ||
             a->called != a->to_call);
    printf("soak: led %llu, joined %llu, timed out %llu, forgotten %llu, abandoned %llu, "
           "taken over %llu, panicked %llu\n",
           (unsigned long long)s.led, (unsigned long long)s.joined, (unsigned long long)s.timed_out,
           (unsigned long long)s.forgotten, (unsigned long long)s.abandoned,
           (unsigned long long)s.taken_over, (unsigned long long)s.panicked);
    MUST(s.deadlocks == 0);
    MUST(s.led != 0 && s.joined != 0 && s.abandoned != 0 && s.panicked != 0);
    MUST(sflight_queue_destroy(a->queue) == 0);
    MUST(sflight_group_drain(a->g, NULL) == 0); /* threads of started calls have some steps to go */
    MUST(sflight_group_destroy(a->g) == 0);
}

int main(int argc, char **argv)
{
    uint64_t all_s = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    size_t largest[4] = {0}; /* of each quarter */
    pthread_t threads[THREADS + 2];

    if (all_s < 4) {
        fprintf(stderr, "usage: soak SECONDS (4 or more)\n");
        return 2;
    }
    arena_begin(&arenas[0], SFLIGHT_ABANDON_SHARE);
    arena_begin(&arenas[1], SFLIGHT_ABANDON_TAKEOVER);
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, supervisor, NULL) == 0);
    MUST(pthread_create(&threads[THREADS], NULL, passing_groups, NULL) == 0);
    MUST(pthread_create(&threads[THREADS + 1], NULL, servant, NULL) == 0);

    const struct timespec pause = {.tv_nsec = 100000000};
    const int64_t began_ns = now_ns();
    uint64_t passed_s, reported = 0;
    while ((passed_s = (uint64_t)(now_ns() - began_ns) / 1000000000) < all_s) {
        size_t now = resident_bytes(), *most = &largest[passed_s * 4 / all_s];
        *most = now > *most ? now : *most;
        if (passed_s * 10 / all_s > reported) {
            reported = passed_s * 10 / all_s;
            printf("soak: %llu s: %lu operations, %lu ends of threads, %lu groups, %zu KiB\n",
                   (unsigned long long)passed_s, n_ops, n_ended, n_groups, now >> 10);
            fflush(stdout);
        }
        nanosleep(&pause, NULL); /* how often memory is looked at; nothing waits for it */
    }
    atomic_store(&stop, true);
    /* The servant has stopped: whoever waits for a permit now waits for this thread. */
    MUST(pthread_join(threads[THREADS + 1], NULL) == 0);
    for (int i = 0; i <= THREADS; i++)
        while (pthread_tryjoin_np(threads[i], NULL) != 0) {
            serve(&arenas[0]);
            serve(&arenas[1]);
            sched_yield();
        }
    arena_end(&arenas[0]);
    arena_end(&arenas[1]);
    while (n_made != n_destroyed) /* the last hold may be given up as we look */
        sched_yield();

    printf("soak: %lu operations, %lu ends of threads, %lu groups; largest resident by quarter "
           "%zu %zu %zu %zu KiB\n",
           n_ops, n_ended, n_groups, largest[0] >> 10, largest[1] >> 10, largest[2] >> 10,
           largest[3] >> 10);
    if (largest[3] > largest[2] + SLACK) {
        printf("soak: resident memory grows\n");
        return 1;
    }
    return 0;
}
