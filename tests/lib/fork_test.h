/* SPDX-License-Identifier: BSD-2-Clause */
/* fork_test.h - calls in flight when a thread forks, and what its child does with their group. */
#ifndef FORK_TEST_H
#define FORK_TEST_H

#include "api_test.h"

static inline void *use_group(void *g)
{
    assert_key_usable(g, "key");
    return NULL;
}

/* Everything that the child does with a group of which it holds nothing. */
static inline void child_uses_group(sflight_group *g)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    for (int i = 0; i < 100; i++)
        assert_key_usable(g, i % 2 ? "key" : "new");
    /* TSan allows no threads after the fork of a threaded process; qemu aborts. */
    if (!SANITIZED && !EMULATED)
        thread_join(thread_start(use_group, g));
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_end(g);
    sflight_group *fresh = group_new(NULL);
    assert_key_usable(fresh, "key");
    group_end(fresh);
}

/* ---------------------------------------------------------------- a flight */

enum { FOLLOWERS = 3 };

struct flight {
    sflight_group *g;
    struct work w;
    struct caller c[1 + FOLLOWERS];
};

/*
 * n threads wait in the group, each for the first time, and so have all the memory that they need:
 * at a fork nobody is to hold a lock of malloc(), which a sanitizer's does not free in the child.
 */
static inline void await_asleep(sflight_group *g, uint64_t n)
{
    await_waiting(g, n);
    WAIT_UNTIL(stats_of(g).parked == n);
}

static inline void flight_start(struct flight *f, sflight_group *g)
{
    f->g = g;
    caller_start(&f->c[0], g, "key", work_fn, &f->w);
    WAIT_UNTIL(f->w.runs == 1);
    callers_start(f->c + 1, FOLLOWERS, g, "key", must_not_run, NULL);
    await_asleep(g, FOLLOWERS);
}

/* The parent's callers have noticed nothing. */
static inline void flight_end(struct flight *f)
{
    atomic_store(&f->w.open, true);
    callers_join(f->c, LENGTH(f->c));
    assert_int_equal(f->w.runs, 1);
    for (size_t i = 0; i < LENGTH(f->c); i++) {
        assert_int_equal(f->c[i].rc, 0);
        assert_int_equal(f->c[i].r.followers, FOLLOWERS);
        assert_int_equal(number_of(&f->c[i].r), 1);
    }
    callers_release(f->c, LENGTH(f->c));
    assert_all_destroyed(&f->w.tally);
    assert_key_usable(f->g, "key");
    group_end(f->g);
}

/* ----------------------------------------------- a leader that forks inside fn */

struct forker {
    sflight_group *g;
    void (*child)(sflight_group *g); /* what the child does in the end */
    struct work w;
    pid_t pid;
};

static inline int fork_in_fn(sflight_call *call, void *arg)
{
    struct forker *f = arg;
    sflight_result r;
    atomic_fetch_add(&f->w.runs, 1);
    WAIT_UNTIL(f->w.open);
    f->pid = fork_child();
    assert_int_equal(do_str(f->g, "mine", must_not_run, NULL, &r), -EDEADLK); /* in both */
    value_set(call, &f->w.tally, f->pid == 0);
    size_t len;
    assert_memory_equal(sflight_call_key(call, &len), "mine", 4);
    return 6;
}

static inline void *lead_and_fork(void *arg)
{
    struct forker *f = arg;
    sflight_result r;
    assert_int_equal(do_str(f->g, "mine", fork_in_fn, f, &r), 0);
    assert_true(r.leader);
    assert_int_equal(r.status, 6);
    assert_int_equal(number_of(&r), f->pid == 0);
    sflight_result_release(&r);
    if (f->pid == 0) {
        assert_all_destroyed(&f->w.tally); /* followers do not exist here */
        f->child(f->g);
        _exit(0); /* what cmocka has is on the main thread's stack: leaked, for ASan */
    }
    return NULL;
}

#endif
