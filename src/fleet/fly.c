/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocking callers.  The callers of a key in this process are a call of the fleet's group, and only
 * its leader comes here: fly() is the fn that the group runs, on the leader's stack, around the
 * user's.
 *
 *     sflight_fleet_do()
 *       sflight_do_until(group) ------> fly()        asks the engine, waits
 *                                         VALUE      sets it
 *                                         LEAD       runs the user's fn
 *                                         ALONE      the same
 *                                         deadline   abandons the call: a follower flies
 *       LEAD: publishes, or drops
 *
 * The claim is handed back by the frame below fly(), so that it is also where fn is left otherwise.
 */
#include "fleet.h"
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flyer {
    sflight_fleet *fleet;
    const void *key;
    size_t key_len;
    sflight_fn *fn;
    void *arg;
    const struct timespec *deadline;
    struct claim *led; /* that the user's fn runs for */
    bool has_received, has_timed_out;
};

static bool has_passed(const struct timespec *deadline)
{
    struct timespec now;

    if (deadline == NULL)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return deadline->tv_sec < now.tv_sec ||
           (deadline->tv_sec == now.tv_sec && deadline->tv_nsec <= now.tv_nsec);
}

/* The outcome; with LEAD and VALUE *out is the claim. */
static int ask_engine(const struct flyer *y, struct claim **out)
{
    sflight_fleet *f = y->fleet;
    int outcome = fleet_alone(f, y->key_len);

    if (outcome != FLIGHT_UNTOLD)
        return outcome;
    if (has_passed(y->deadline))
        return OUTCOME_TIMED_OUT;
    struct claim *c = engine_claim(&f->member, CLAIM_FLIGHT, y->key, y->key_len);
    if (c == NULL)
        return OUTCOME_MEMORY;
    outcome = fleet_await(c, y->deadline);
    if (outcome == FLIGHT_LEAD || outcome == FLIGHT_VALUE)
        *out = c;
    else
        claim_let_go(c);
    return outcome;
}

/* In whatever way: the call of this process is about to end. */
static void fn_left(void *claim)
{
    claim_over(claim);
    fleet_call_ends(claim);
}

static int fly(sflight_call *call, void *arg)
{
    struct flyer *y = arg;
    struct claim *c = NULL;
    int outcome = ask_engine(y, &c);

    claim_count(&y->fleet->member, outcome);
    switch (outcome) {
    case FLIGHT_VALUE: {
        int status = c->status;
        y->has_received = true;
        sflight_call_set(call, c->value, c->value_len, claim_free_value, NULL);
        c->value = NULL;
        claim_let_go(c);
        return status;
    }
    case OUTCOME_TIMED_OUT:
        y->has_timed_out = true;
        sflight_call_abandon(call);
        return 0;
    case FLIGHT_LEAD: {
        GUARD(guard, fn_left, c, y->fleet->has_tasks);
        y->led = c;
        return y->fn(call, y->arg);
    }
    default:
        return y->fn(call, y->arg);
    }
}

/* fn was left, in whatever way but with a result; or nothing was led. */
static void give_back(void *arg)
{
    struct flyer *y = arg;

    if (y->led == NULL)
        return;
    count_add(&y->fleet->member.counts, COUNT_unshared, 1);
    fleet_give(y->fleet, y->led, ASK_RETURNED);
    y->led = NULL;
}

int sflight_fleet_do_sized(sflight_fleet *f, const void *key, size_t key_len, sflight_fn *fn,
                           void *arg, const struct timespec *deadline, sflight_result *r,
                           size_t size)
{
    struct flyer y = {
        .fleet = f, .key = key, .key_len = key_len, .fn = fn, .arg = arg, .deadline = deadline};
    int rc;

    if (r == NULL || size < SFLIGHT_SIZE_RESULT)
        return -EINVAL;
    if (f == NULL || fn == NULL || engine_thread_calls()) {
        memset(r, 0, size);
        return f == NULL || fn == NULL ? -EINVAL : -EDEADLK;
    }
    GUARD(guard, give_back, &y, f->has_tasks);
    rc = sflight_do_until_sized(f->member.group, key, key_len, fly, &y, deadline, r, size);
    if (rc == 0 && y.has_received && r->leader) {
        r->leader = false;
        r->shared = true;
    }
    if (rc == -EOWNERDEAD && y.has_timed_out)
        rc = -ETIMEDOUT;
    if (y.led != NULL && rc == 0) {
        fleet_share(f, y.led, r->value, r->size, r->status);
        fleet_give(f, y.led, ASK_RETURNED);
        y.led = NULL;
    }
    return rc;
}

int sflight_fleet_do(sflight_fleet *f, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r)
{
    return sflight_fleet_do_sized(f, key, key_len, fn, arg, deadline, r, SFLIGHT_SIZE_RESULT);
}
