/* SPDX-License-Identifier: BSD-2-Clause */
/* group_test.h - groups, and fns without work: for the API's tests and for the engine's. */
#ifndef GROUP_TEST_H
#define GROUP_TEST_H

#include "test.h"

#include <singleflight.h>

/* ----------------------------------------------------------------- groups */

static inline sflight_options default_options(void)
{
    sflight_options o;
    sflight_options_init(&o);
    return o;
}

static inline sflight_options takeover_options(void)
{
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    return o;
}

/* One shard of 16 buckets: the smallest table there is. */
static inline sflight_options small_options(void)
{
    sflight_options o = default_options();
    o.shards = 1;
    o.expected_inflight = 1;
    return o;
}

static inline sflight_group *group_new(const sflight_options *o)
{
    sflight_group *g = NULL;
    assert_int_equal(sflight_group_create(&g, o), 0);
    assert_non_null(g);
    return g;
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

/* -------------------------------------------------------------------- fns */

static inline int nothing(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    return 0;
}

static inline int nothing_for_all(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    return 0;
}

static inline int return_7(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    return 7;
}

static inline int must_not_run(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    fail_msg("this caller must not lead");
    return 0;
}

static inline int batch_must_not_run(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    fail_msg("this batch must not lead");
    return 0;
}

#endif
