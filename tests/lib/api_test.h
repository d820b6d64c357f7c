/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api_test.h - what every API test needs: callers on threads of their own,
 * leaders that wait at a gate, values that count their destructions.
 */
#ifndef API_TEST_H
#define API_TEST_H

#include "group_test.h"

/* Every group is on lib/thread_runtime.c, whose tasks are the threads. */
#ifdef SFLIGHT_TEST_RUNTIME
#define HOOKED 1
#else
#define HOOKED 0
#endif

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

static inline int panic_fn(sflight_call *call, void *arg)
{
    work_fn(call, arg);
    sflight_panic(call, "the leader panics");
}

static inline int exit_fn(sflight_call *call, void *arg)
{
    work_fn(call, arg);
    pthread_exit(NULL);
}

/* A thread cancelled inside one of TSan's interceptors confuses TSan. */
static inline void cancellation_point(void)
{
    if (SANITIZED)
        pthread_testcancel();
    else
        pause();
}

static inline _Noreturn int wait_for_cancel(sflight_call *call, void *arg)
{
    struct work *w = arg;
    value_set(call, &w->tally, 1);
    atomic_fetch_add(&w->runs, 1);
    for (;;)
        cancellation_point();
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

/* Returns when fn runs. */
static inline void leader_start(struct caller *c, sflight_group *g, const char *key, sflight_fn *fn,
                                struct work *w)
{
    int runs = w->runs;
    caller_start(c, g, key, fn, w);
    WAIT_UNTIL(w->runs > runs);
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

/* For fn: to ask for the key that one leads is refused, whatever the way.  arg is the group. */
enum { OWN_KEY_ASKS = 3 };

static inline int ask_own_key(sflight_call *call, void *arg)
{
    size_t len;
    const void *key = sflight_call_key(call, &len);
    sflight_key keys[] = {{key, len}};
    struct timespec later = deadline_in_an_hour();
    sflight_result r;
    int rc = 0;
    memset(&r, 0xA5, sizeof r);
    assert_int_equal(sflight_do(arg, key, len, must_not_run, NULL, &r), -EDEADLK);
    assert_zeroed(&r);
    sflight_result_release(&r);
    assert_int_equal(sflight_do_until(arg, key, len, must_not_run, NULL, &later, &r), -EDEADLK);
    assert_zeroed(&r);
    assert_int_equal(sflight_do_many(arg, keys, 1, batch_must_not_run, NULL, NULL, &r, &rc), 0);
    assert_int_equal(rc, -EDEADLK);
    assert_zeroed(&r);
    return 5;
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
