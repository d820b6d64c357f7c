/* SPDX-License-Identifier: BSD-2-Clause */
#include "finish.h"

#include "cpu.h"
#include "futex.h"

#include <errno.h>
#include <limits.h>

/* --------------------------------------------------------------------- drain */

/*
 * A drainer asks to be woken by the next end of a call, and looks.  When it has been woken for
 * nothing it rests before it asks again, so that calls that come and go do not wake it each time:
 * drain_word is odd while a drainer asks, and even from the first end of a call on.
 */
enum {
    REST_FIRST_NS = 20000,  /* doubled each time */
    REST_LAST_NS = 2000000, /* at most that much later a drainer sees that nothing flies */
};

static uint32_t *drain_futex(struct sflight_group *g)
{
    return (uint32_t *)(void *)&g->drain_word;
}

void finish_wake_drainers(struct sflight_group *g)
{
    uint32_t word = atomic_load_relaxed(&g->drain_word); /* ordered by the caller's fence */

    /* Otherwise another end has woken them, or they look before they ask. */
    if (word % 2 != 0 && atomic_cas_release(&g->drain_word, &word, word + 1)) /* [DRAIN] */
        futex_wake(drain_futex(g), INT_MAX);
    if (group_hangs(g) && atomic_load_relaxed(&g->drain_waiters) != NULL)
        notify_all(g, atomic_swap_acq_rel(&g->drain_waiters, NULL)); /* [HANG] [DRAIN] */
}

/* How long to rest, which is not beyond the deadline.  Makes the next rest longer. */
static uint32_t rest_for(uint32_t *rest_ns, const struct timespec *deadline)
{
    uint64_t left_ns = clock_left_ns(deadline);
    uint32_t ns = left_ns < *rest_ns ? (uint32_t)left_ns : *rest_ns;

    *rest_ns = *rest_ns < REST_LAST_NS / 2 ? 2 * *rest_ns : REST_LAST_NS;
    return ns;
}

/* Asks; returns the word to sleep on. */
static uint32_t drain_ask(struct sflight_group *g)
{
    uint32_t word = atomic_load_acquire(&g->drain_word); /* [DRAIN] */

    while (word % 2 == 0) /* RACE: again, if another has asked and been woken */
        if (atomic_cas_acquire(&g->drain_word, &word, word + 1)) /* [DRAIN] */
            word++;
    atomic_fence_seq_cst(); /* [DRAIN] */
    return word;
}

/*
 * Waits until nothing flies, by the calling thread, which is a drainer already.  Returns 0 or
 * -ETIMEDOUT.
 */
static int drain_on_futex(struct sflight_group *g, const struct timespec *deadline)
{
    uint32_t rest_ns = REST_FIRST_NS;
    bool woken = false;

    for (;;) {
        uint32_t word = drain_ask(g);
        enum flying flying = gauges_flying(g);
        if (flying == NOTHING_FLIES)
            return 0;
        if (clock_left_ns(deadline) == 0)
            return -ETIMEDOUT;
        if (woken || flying == SEARCHES_FLY) { /* nobody tells the end of a search */
            cpu_sleep(rest_for(&rest_ns, deadline));
            woken = false;
        } else {
            (void)futex_wait(drain_futex(g), word, deadline);
            woken = true;
        }
    }
}

/*
 * The same for a fiber; or -ENOMEM.  It hangs a waiter up before it looks: so either it sees that
 * the last call has ended, or whoever ends that call finds the waiter.
 */
static int drain_by_fiber(struct sflight_group *g, void *fiber, const struct timespec *deadline)
{
    uint32_t rest_ns = REST_FIRST_NS;

    for (;;) {
        struct sflight_future *waiter = notify_waiter_new(thread_slot_again(g), NULL, fiber);
        if (waiter == NULL)
            return gauges_flying(g) != NOTHING_FLIES ? -ENOMEM : 0;
        (void)notify_waiter_hang(&g->drain_waiters, waiter);
        atomic_fence_seq_cst(); /* [DRAIN] */
        enum flying flying = gauges_flying(g);
        bool expired = flying == CALLS_FLY &&
                       notify_park(g, waiter, deadline, FUTURE_GONE) == NOTIFY_TIMED_OUT;
        if (!expired)
            notify_waiter_end(g, waiter);
        if (gauges_flying(g) == NOTHING_FLIES)
            return 0;
        if (expired || clock_left_ns(deadline) == 0)
            return -ETIMEDOUT;
        struct timespec until = clock_after(rest_for(&rest_ns, deadline));
        g->runtime.park(g->runtime.ctx, fiber, &until);
    }
}

static uint32_t *runners_word(struct sflight_group *g)
{
    return (uint32_t *)(void *)&g->n_runners;
}

void finish_runner_begins(struct sflight_group *g)
{
    atomic_add_relaxed(&g->n_runners, GROUP_RUNNER); /* what it does comes after that by itself */
}

void finish_runner_ends(struct sflight_group *g)
{
    uint32_t *word = runners_word(g);

    /* The last touch: the group may go now, and its waiter be woken by an address. */
    if (atomic_sub_release(&g->n_runners, GROUP_RUNNER) & GROUP_AWAITED) /* [RUNNER] */
        futex_wake(word, INT_MAX);
}

/*
 * Has ended a call, perhaps, and still has some steps to go.  A fiber looks again from time to
 * time, for a runner that is done cannot make it run any more.
 */
static int await_runners(struct sflight_group *g, void *fiber, const struct timespec *deadline)
{
    enum { LOOK_AFTER_NS = 1000000 };
    uint32_t own = agent_n_running_here(g);
    int rc = 0;

    for (;;) {
        uint32_t word = atomic_load_acquire(&g->n_runners); /* [RUNNER] */
        if (word / GROUP_RUNNER <= own)
            return 0;
        if (rc != 0)
            return rc;
        if (fiber != NULL) {
            struct timespec soon = clock_after(LOOK_AFTER_NS);
            g->runtime.park(g->runtime.ctx, fiber, &soon);
            rc = clock_left_ns(deadline) == 0 ? -ETIMEDOUT : 0;
        } else if (!(word & GROUP_AWAITED)) {
            (void)atomic_or_relaxed(&g->n_runners, GROUP_AWAITED); /* one word, any order */
        } else {
            rc = futex_wait(runners_word(g), word, deadline);
        }
    }
}

int finish_drain(struct sflight_group *g, const struct timespec *deadline)
{
    void *fiber = agent_fiber(g);

    atomic_add_relaxed(&g->flags, GROUP_DRAINER); /* the fence before each look orders it */
    int rc = fiber != NULL ? drain_by_fiber(g, fiber, deadline) : drain_on_futex(g, deadline);
    atomic_sub_relaxed(&g->flags, GROUP_DRAINER); /* this drainer waits no more */
    if (fiber != NULL) /* frees the waiters that were given up; other drainers look again */
        notify_all(g, atomic_swap_acquire(&g->drain_waiters, NULL)); /* [HANG] */
    return rc == 0 ? await_runners(g, fiber, deadline) : rc;
}

/* --------------------------------------------------------- the end of a call */

/* A callback has been left through who ends the call, and will not give its hold up. */
static void ender_left(struct sflight_call **c)
{
    if (LIKELY(*c == NULL))
        return;
    bool returned __attribute__((cleanup(invoke_must_return))) = false;
    hold_release(thread_slot_again((*c)->group), *c);
    returned = true;
}

/* With a read-modify-write. */
static void unlink_seen(struct sflight_group *g, struct sflight_call *c)
{
    c->result.needs |= NEEDS_GRACE;
    if (!table_unlink_first(&g->table, &c->node)) {
        struct lane *lane = reclaim_enter(thread_self.lane);
        table_unlink_in_section(&g->table, &c->node);
        reclaim_leave(lane);
    }
}

void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ending, uint64_t state,
                   bool end_counted)
{
    struct sflight_group *g = c->group;
    if (UNLIKELY(state_joints(state) != 0)) {
        REQUIRE(g->max_age_ns == 0);
        state = state_with_joints(state, joint_close_all(&c->joints));
    }
    uint32_t n_joiners = state_joiners(state);
    uint32_t n_async = state_async(state);

    unlink_seen(g, c);
    c->result.n_followers = n_joiners;
    PROBE(complete, c);
    /* Futures pass from waiting to held, all at once; each blocking joiner counts for itself. */
    bool started = state & STATE_STARTER; /* and waits */
    gauges_count_n(slot, COUNT_CLAIMED, n_async + started);
    gauges_count_n(slot, COUNT_RETURNED, n_async);
    if (!end_counted)
        finish_count(slot, c, c->result.traits & CALL_TIMED);
    /* A joiner that left before the [CLOSE], which orders the two, may have left a future there. */
    bool left = atomic_load_relaxed(&c->waiters) != NULL || call_joints(c) != 0;
    bool told = n_async != 0 || started || group_hangs(g) || left;
    gate_open(&c->gate, ending, n_joiners + c->extra_holds + started + 1, &g->rivals);
    finish_check_drainers(g);
    if (!told)
        return;
    future_age(slot);
    struct sflight_call *held __attribute__((cleanup(ender_left))) = c;
    list_await(c); /* after the gate was opened, by the fence in between [SWEEP] */
    notify_ended(c);
    held = NULL;
}

/* Of a call that nobody has joined there is nobody to tell, and no hold but the leader's. */
static void finish_unjoined(struct slot *slot, struct sflight_call *c, uint64_t ending,
                            bool end_counted)
{
    REQUIRE(require_word(&c->gate) == 0);
    if (!end_counted)
        finish_count(slot, c, c->result.traits & CALL_TIMED);
    unlink_seen(c->group, c);
    c->result.n_followers = 0;
    PROBE(complete, c);
    gate_open_unseen(&c->gate, ending, c->extra_holds + 1);
    finish_check_drainers(c->group);
}

void finish_seen(struct slot *slot, struct sflight_call *c, uint64_t ending, bool end_counted)
{
    uint64_t state;

    if (UNLIKELY(!state_close(&c->state, &state))) {
        finish_shut_joints(c);
        state = state_close_shut(&c->state);
    }
    if (LIKELY(state_never_joined(state)))
        finish_unjoined(slot, c, ending, end_counted);
    else
        finish_closed(slot, c, ending, state, end_counted);
}

int finish_shut(struct slot *slot, struct sflight_call *c)
{
    bool returned __attribute__((cleanup(invoke_must_return))) = false;
    state_remove_starter(&c->state);
    (void)finish_call(slot, c, ENDING_SHUT);
    returned = true;
    hold_release(slot, c);
    return -ESHUTDOWN;
}

uint32_t finish_abandoned(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;
    uint32_t n_followers;

    gauges_count(slot, COUNT_ABANDONED);
    if (g->takeover) {
        /* The one who takes over may be done before the nudge is; and destroy may be left. */
        struct hold_own own __attribute__((cleanup(hold_counted_ends))) = hold_own(slot, c);
        hold_take_value(&own);
        c->result.traits &= CALL_HAS_STARTER | CALL_GIVEN_UP | CALL_TIMED;
        atomic_store_relaxed(&c->owner, NULL); /* published by [ORPHAN] */
        uint64_t state;
        enum state_abandoned rc = state_orphan_or_close(&c->state, false, &state);
        if (rc == STATE_SHUT_FIRST) {
            finish_shut_joints(c);
            rc = state_orphan_or_close(&c->state, true, &state);
        }
        if (rc == STATE_FOLLOWED) {
            n_followers = state_joiners(state);
            if (state_joints(state) != 0)
                n_followers += (uint32_t)joint_more_now(&c->joints);
            notify_nudge(c);
        } else {
            finish_closed(slot, c, ENDING_ABANDONED, state, false);
            n_followers = c->result.n_followers;
            hold_release(slot, c); /* not the last hold, which is given up below */
        }
        own.left = false;
        return n_followers;
    }
    if (c->result.traits & CALL_HAS_STARTER)
        finish_seen(slot, c, ENDING_ABANDONED, false); /* the starter's future knows the record */
    else
        (void)finish_call(slot, c, ENDING_ABANDONED);
    n_followers = c->result.n_followers;
    hold_release(slot, c);
    return n_followers;
}
