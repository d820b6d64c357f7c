/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_test.h - what every API test needs: callers on threads of their own,
 * leaders that wait at a gate, values that count their destructions.
 *
 * Nothing here sleeps for a time: a test waits for a condition, and a wait
 * that never ends is ended by the time limit of the make rule.  A failed
 * assertion aborts the program at once, from whichever thread, because the
 * test's other threads may still be using its stack.
 */
#ifndef API_TEST_H
#define API_TEST_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <singleflight.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Set for programs that an emulator runs in user mode: see tests/arm64/arm64.mk. */
#ifndef EMULATED
#define EMULATED 0
#endif

/* Where everything takes longer: fewer rounds. */
#define SLOW (SANITIZED || EMULATED)

/* Every group is on lib/thread_runtime.c, whose tasks are the threads. */
#ifdef SFLIGHT_TEST_RUNTIME
#define HOOKED 1
#else
#define HOOKED 0
#endif

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Polls until the condition holds. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        while (!(condition))                                                                       \
            sched_yield();                                                                         \
    } while (0)

#define RUN_TESTS(tests)                                                                           \
    (setenv("CMOCKA_TEST_ABORT", "1", 1), cmocka_run_group_tests(tests, NULL, NULL))

/* ------------------------------------------------------------------- time */

static inline struct timespec deadline_in_ns(int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t sum = t.tv_nsec + ns;
    t.tv_sec += sum / 1000000000;
    t.tv_nsec = sum % 1000000000;
    return t;
}

static const struct timespec in_the_past = {.tv_sec = 0, .tv_nsec = 0};

static inline bool has_passed(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* ----------------------------------------------------------------- groups */

static inline sflight_group *group_new(const sflight_options *o)
{
    sflight_group *g = NULL;
    assert_int_equal(sflight_group_create(&g, o), 0);
    assert_non_null(g);
    return g;
}

static inline sflight_options default_options(void)
{
    sflight_options o;
    sflight_options_init(&o);
    return o;
}

static inline sflight_stats stats_of(sflight_group *g)
{
    sflight_stats s;
    assert_int_equal(sflight_group_stats(g, &s), 0);
    return s;
}

static inline void await_waiting(sflight_group *g, uint64_t n)
{
    WAIT_UNTIL(stats_of(g).waiting == n);
}

/* Nothing may be left over: no call, no follower, no hold. */
static inline void group_end(sflight_group *g)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.held, 0);
    assert_int_equal(sflight_group_destroy(g), 0);
}

/* ----------------------------------------------------------------- values */

struct tally {
    atomic_int made;
    atomic_int destroyed;
};

struct value {
    int number;
    atomic_bool alive;
};

static inline void value_destroy(void *p, size_t size, void *ctx)
{
    struct value *v = p;
    struct tally *t = ctx;
    assert_int_equal(size, sizeof *v);
    assert_true(atomic_exchange(&v->alive, false));
    atomic_fetch_add(&t->destroyed, 1);
    free(v);
}

static inline struct value *value_set(sflight_call *call, struct tally *t, int number)
{
    struct value *v = malloc(sizeof *v);
    assert_non_null(v);
    v->number = number;
    atomic_init(&v->alive, true);
    atomic_fetch_add(&t->made, 1);
    sflight_call_set(call, v, sizeof *v, value_destroy, t);
    return v;
}

static inline int number_of(const sflight_result *r)
{
    const struct value *v = r->value;
    assert_non_null(v);
    assert_int_equal(r->size, sizeof *v);
    assert_true(atomic_load(&v->alive));
    return v->number;
}

static inline void assert_all_destroyed(struct tally *t)
{
    assert_int_equal(atomic_load(&t->made), atomic_load(&t->destroyed));
}

/* ---------------------------------------------------------------- leaders */

/* The work of a leader that waits at a gate, then sets a value. */
struct work {
    atomic_int runs;  /* executions that have begun */
    atomic_bool open; /* the gate */
    int status;
    struct tally tally;
};

/* The value's number says which execution made it, counted from 1. */
static inline int work_fn(sflight_call *call, void *arg)
{
    struct work *w = arg;
    int run = atomic_fetch_add(&w->runs, 1) + 1;
    WAIT_UNTIL(atomic_load(&w->open));
    value_set(call, &w->tally, run);
    return w->status;
}

static inline int must_not_run(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    fail_msg("this caller must not lead");
    return 0;
}

/* ---------------------------------------------------------------- callers */

static inline void assert_zeroed(const sflight_result *r)
{
    assert_null(r->value);
    assert_int_equal(r->size, 0);
    assert_int_equal(r->status, 0);
    assert_false(r->leader);
    assert_false(r->shared);
    assert_int_equal(r->followers, 0);
    assert_null(r->hold);
}

static inline pthread_t thread_start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, arg), 0);
    return thread;
}

static inline void *thread_join(pthread_t thread)
{
    void *ret;
    assert_int_equal(pthread_join(thread, &ret), 0);
    return ret;
}

#define NEVER_RETURNED INT_MIN

/* One sflight_do() or sflight_do_until() on a thread of its own. */
struct caller {
    sflight_group *g;
    const char *key;
    sflight_fn *fn;
    void *arg;
    const struct timespec *deadline;
    pthread_t thread;
    int rc; /* NEVER_RETURNED if the thread ended inside */
    sflight_result r;
};

static inline int do_str(sflight_group *g, const char *key, sflight_fn *fn, void *arg,
                         sflight_result *r)
{
    memset(r, 0xA5, sizeof *r);
    return sflight_do(g, key, strlen(key), fn, arg, r);
}

static inline void *caller_main(void *arg)
{
    struct caller *c = arg;
    if (c->deadline == NULL)
        c->rc = do_str(c->g, c->key, c->fn, c->arg, &c->r);
    else
        c->rc = sflight_do_until(c->g, c->key, strlen(c->key), c->fn, c->arg, c->deadline, &c->r);
    return NULL;
}

static inline void caller_start_until(struct caller *c, sflight_group *g, const char *key,
                                      sflight_fn *fn, void *arg, const struct timespec *deadline)
{
    *c = (struct caller){g, key, fn, arg, deadline, .rc = NEVER_RETURNED};
    c->thread = thread_start(caller_main, c);
}

static inline void caller_start(struct caller *c, sflight_group *g, const char *key, sflight_fn *fn,
                                void *arg)
{
    caller_start_until(c, g, key, fn, arg, NULL);
}

static inline void callers_start(struct caller *c, size_t n, sflight_group *g, const char *key,
                                 sflight_fn *fn, void *arg)
{
    for (size_t i = 0; i < n; i++)
        caller_start(&c[i], g, key, fn, arg);
}

static inline void *caller_join(struct caller *c)
{
    return thread_join(c->thread);
}

static inline void callers_join(struct caller *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        caller_join(&c[i]);
}

static inline void callers_release(struct caller *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sflight_result_release(&c[i].r);
}

/* Sequential proof that the key is free and works: this caller leads. */
static inline void assert_key_usable(sflight_group *g, const char *key)
{
    struct work w = {.open = true, .status = 77};
    sflight_result r;
    assert_int_equal(do_str(g, key, work_fn, &w, &r), 0);
    assert_int_equal(w.runs, 1);
    assert_true(r.leader);
    assert_int_equal(r.status, 77);
    assert_int_equal(number_of(&r), 1);
    sflight_result_release(&r);
    assert_int_equal(w.tally.destroyed, 1);
}

#endif
