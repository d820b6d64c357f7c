/* SPDX-License-Identifier: BSD-2-Clause */
/* takeover_test.h - leaders that die, and followers that take over and may die as well. */
#ifndef TAKEOVER_TEST_H
#define TAKEOVER_TEST_H

#include "api_test.h"

/* Leaders that die one after another, but for the one that survives. */
struct chain {
    atomic_int runs;
    atomic_bool open;
    int survivor; /* counted from 1; 0: none */
    struct tally tally;
};

static inline int chain_fn(sflight_call *call, void *arg)
{
    struct chain *c = arg;
    int run = atomic_fetch_add(&c->runs, 1) + 1;
    WAIT_UNTIL(atomic_load(&c->open));
    value_set(call, &c->tally, run);
    if (run == c->survivor)
        return run;
    pthread_exit(NULL);
}

/*
 * Leaders die at about the moment when the deadlines of some of their followers
 * pass; one follower has no deadline, and must get its result.
 */
struct raid {
    sflight_group *g;
    atomic_bool over;
    atomic_uint timed_out;
    struct tally tally;
};

static inline int quick(sflight_call *call, void *arg)
{
    struct raid *raid = arg;
    value_set(call, &raid->tally, 1);
    return 0;
}

static inline int die_soon(sflight_call *call, void *arg)
{
    struct raid *raid = arg;
    struct timespec soon = deadline_in_ns(raid->tally.made % 40 * 1000);
    (void)call;
    WAIT_UNTIL(has_passed(&soon));
    pthread_exit(NULL);
}

static inline void *ask_with_deadlines(void *arg)
{
    struct raid *raid = arg;
    for (int i = 0; !raid->over; i++) {
        sflight_result r;
        struct timespec soon = deadline_in_ns(i % 40 * 1000);
        int rc = sflight_do_until(raid->g, "key", 3, quick, raid, &soon, &r);
        assert_true(rc == 0 || rc == -ETIMEDOUT);
        if (rc == -ETIMEDOUT)
            atomic_fetch_add(&raid->timed_out, 1);
        sflight_result_release(&r);
    }
    return NULL;
}

static inline void *ask_patiently(void *arg)
{
    struct raid *raid = arg;
    while (!raid->over) {
        sflight_result r;
        assert_int_equal(do_str(raid->g, "key", quick, raid, &r), 0);
        sflight_result_release(&r);
    }
    return NULL;
}

#endif
