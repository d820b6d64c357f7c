/* SPDX-License-Identifier: BSD-2-Clause */
/* leader_test.h - a leader that leaves fn in some way, with frames to be left and followers. */
#ifndef LEADER_TEST_H
#define LEADER_TEST_H

#include "api_test.h"

enum { FOLLOWERS = 4 };

/* A leader and its followers, all waiting; c[0] leads. */
static inline void start_call(struct caller *c, sflight_group *g, sflight_fn *fn, struct work *w)
{
    leader_start(&c[0], g, "key", fn, w);
    callers_start(c + 1, FOLLOWERS, g, "key", must_not_run, NULL);
    await_waiting(g, FOLLOWERS);
}

static inline void assert_followers_got(struct caller *c, int rc)
{
    for (int i = 1; i <= FOLLOWERS; i++)
        assert_int_equal(c[i].rc, rc);
}

static inline void end_failed_group(sflight_group *g, struct work *w)
{
    assert_all_destroyed(&w->tally);
    assert_key_usable(g, "key");
    group_end(g);
}

/* ----------------------------------------------------------------- frames */

static int cleanups;

/* As a handler may: overwrites the stack below the frame that is being left. */
static __attribute__((noinline)) void count_cleanup(void *frame)
{
    volatile char scratch[65536];
    (void)frame;
    for (size_t i = 0; i < sizeof scratch; i++)
        scratch[i] = 0x55;
    cleanups++;
}

/* In a frame: counts when the frame is left, unwinding included. */
#define COUNT_CLEANUP char frame_ __attribute__((cleanup(count_cleanup), unused))

/* ----------------------------------------------------- a call inside a call */

/* The leader of "key" leads "inner" as well, which it leaves by inner_fn; both are followed. */
struct outer {
    sflight_group *g;
    sflight_fn *inner_fn;
    struct work inner;
    sflight_call *outer_call;
    int inner_rc;
    struct caller leader, of_inner, of_outer;
};

static inline int ask_inner(sflight_call *call, void *arg)
{
    struct outer *o = arg;
    sflight_result r;
    o->outer_call = call;
    o->inner_rc = do_str(o->g, "inner", o->inner_fn, o, &r);
    sflight_result_release(&r);
    return 8;
}

static inline void outer_run(struct outer *o, sflight_fn *inner_fn)
{
    *o = (struct outer){group_new(NULL), inner_fn, .inner_rc = NEVER_RETURNED};
    caller_start(&o->leader, o->g, "key", ask_inner, o);
    WAIT_UNTIL(o->inner.runs == 1);
    caller_start(&o->of_inner, o->g, "inner", must_not_run, NULL);
    caller_start(&o->of_outer, o->g, "key", must_not_run, NULL);
    await_waiting(o->g, 2);
    atomic_store(&o->inner.open, true);
    caller_join(&o->leader);
    caller_join(&o->of_inner);
    caller_join(&o->of_outer);
}

static inline void outer_end(struct outer *o)
{
    if (o->leader.rc != NEVER_RETURNED)
        callers_release(&o->leader, 1);
    callers_release(&o->of_inner, 1);
    callers_release(&o->of_outer, 1);
    assert_key_usable(o->g, "inner");
    end_failed_group(o->g, &o->inner);
}

#endif
