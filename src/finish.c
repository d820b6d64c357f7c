/* SPDX-License-Identifier: BSD-2-Clause */
#include "finish.h"

#include "cpu.h"
#include "futex.h"

#include <errno.h>
#include <limits.h>

/* --------------------------------------------------------------------- drain */

void finish_wake_drainers(struct sflight_group *g)
{
    atomic_add_release(&g->drain_word, 1); /* [DRAIN] */
    futex_wake((uint32_t *)(void *)&g->drain_word, INT_MAX);
    if (group_hangs(g))
        notify_all(g, atomic_swap_acq_rel(&g->drain_waiters, NULL)); /* [HANG] [DRAIN] */
}

/*
 * Waits until nothing flies, by the calling thread, which is a drainer already.  Each time that a
 * call has ended it looks again.  Returns 0 or -ETIMEDOUT.
 */
static int drain_on_futex(struct sflight_group *g, const struct timespec *deadline)
{
    int rc = 0;
    for (;;) {
        uint32_t word = atomic_load_acquire(&g->drain_word); /* [DRAIN] */
        enum flying flying = gauges_flying(g);
        if (flying == NOTHING_FLIES)
            return 0;
        if (rc != 0)
            return rc;
        if (flying == SEARCHES_FLY)
            cpu_yield();
        else
            rc = futex_wait((uint32_t *)(void *)&g->drain_word, word, deadline);
    }
}

/*
 * The same for a fiber; or -ENOMEM.  It hangs a waiter up before it looks: so either it sees that
 * the last call has ended, or whoever ends that call finds the waiter.
 */
static int drain_by_fiber(struct sflight_group *g, void *fiber, const struct timespec *deadline)
{
    for (;;) {
        struct sflight_future *waiter = notify_waiter_new(thread_slot_again(g), NULL, fiber);
        if (waiter == NULL)
            return gauges_flying(g) != NOTHING_FLIES ? -ENOMEM : 0;
        (void)notify_waiter_hang(&g->drain_waiters, waiter);
        enum flying flying = gauges_flying(g);
        bool expired = flying == CALLS_FLY &&
                       notify_park(g, waiter, deadline, FUTURE_GONE) == NOTIFY_TIMED_OUT;
        if (!expired)
            notify_waiter_end(g, waiter);
        if (flying == SEARCHES_FLY)
            cpu_yield();
        if (gauges_flying(g) == NOTHING_FLIES)
            return 0;
        if (expired)
            return -ETIMEDOUT;
    }
}

int finish_drain(struct sflight_group *g, const struct timespec *deadline)
{
    void *fiber = agent_fiber(g);

    atomic_add_relaxed(&g->flags, GROUP_DRAINER);
    atomic_fence_seq_cst(); /* [DRAIN] */
    int rc = fiber != NULL ? drain_by_fiber(g, fiber, deadline) : drain_on_futex(g, deadline);
    atomic_sub_relaxed(&g->flags, GROUP_DRAINER); /* this drainer waits no more */
    if (fiber != NULL) /* frees the waiters that were given up; other drainers look again */
        notify_all(g, atomic_swap_acquire(&g->drain_waiters, NULL)); /* [HANG] */
    return rc;
}

/* --------------------------------------------------------- the end of a call */

void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ending, uint64_t state,
                   bool end_counted)
{
    struct sflight_group *g = c->group;
    uint32_t n_joiners = state_joiners(state);
    uint32_t n_async = state_async(state);

    agent_unseen_without_slot(slot);
    c->result.needs_grace = true;
    if (!table_unlink_first(&g->table, &c->node)) {
        struct lane *lane = reclaim_enter(thread_self.hint);
        table_unlink_in_section(&g->table, &c->node);
        reclaim_leave(lane);
    }
    c->result.n_followers = n_joiners;
    /*
     * Joiners that do not block pass from waiting to held, all at once; each blocking joiner counts
     * for itself.  A starter that has dropped its future has counted its hold already.
     */
    bool started = c->result.has_starter;
    gauges_count_n(slot, COUNT_HELD, n_async + started);
    if (started && atomic_swap_acq_rel(&c->result.starter_done, true)) /* [UNWANTED] */
        gauges_uncount(slot, COUNT_HELD);
    gauges_count_n(slot, COUNT_RETURNED, n_async);
    if (!end_counted)
        gauges_count(slot, COUNT_ENDED);
    /* A joiner that left before the [CLOSE], which orders the two, may have left a future there. */
    bool left = atomic_load_relaxed(&c->waiters) != NULL;
    bool told = n_async != 0 || started || group_hangs(g) || left;
    gate_open(&c->gate, ending, n_joiners + c->result.extra_holds + 1);
    finish_check_drainers(g);
    if (told)
        notify_all(g, atomic_swap_acq_rel(&c->waiters, WAITERS_TOLD)); /* [NOTIFY] */
}

void finish_seen(struct slot *slot, struct sflight_call *c, uint64_t ending, bool end_counted)
{
    uint64_t state = state_close(&c->state);
    finish_closed(slot, c, ending, state, end_counted);
}

int finish_shut(struct slot *slot, struct sflight_call *c)
{
    /* A drainer may have seen nothing in flight already: so no fn may run. */
    finish_call(slot, c, ENDING_SHUT);
    hold_release(slot, c);
    return -ESHUTDOWN;
}

void finish_abandoned(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;

    gauges_count(slot, COUNT_ABANDONED);
    if (g->takeover) {
        hold_set_value(c, NULL, 0, NULL, NULL);
        slot = thread_slot_if_moved(slot);
        c->result.status_set = false;
        c->result.panicked = false;
        atomic_store_relaxed(&c->owner, NULL); /* published by [ORPHAN] */
        c->begun_by = NULL;                    /* nor is the permit anybody's in a forked child */
        /* A hold of this function's: the follower may end the call before the nudge is done. */
        gauges_count(slot, COUNT_HELD);
        gate_hold(&c->gate);
        uint64_t state;
        if (state_orphan_or_close(&c->state, &state)) {
            agent_unseen_without_slot(slot);
            notify_nudge(c);
        } else {
            finish_closed(slot, c, ENDING_ABANDONED, state, false);
            hold_release(slot, c); /* not the last hold, which is given up below */
        }
        slot = hold_drop(slot, c);
        gauges_count(slot, COUNT_RELEASED);
        return;
    }
    if (c->result.has_starter)
        finish_seen(slot, c, ENDING_ABANDONED, false); /* its starter may know the record */
    else
        finish_call(slot, c, ENDING_ABANDONED);
    hold_release(slot, c);
}
