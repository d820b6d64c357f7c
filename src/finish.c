/* SPDX-License-Identifier: BSD-2-Clause */
#include "finish.h"

#include "cpu.h"
#include "futex.h"

#include <errno.h>
#include <limits.h>

/* --------------------------------------------------------------------- drain */

void group_wake_drainers(struct sflight_group *g)
{
    atomic_add_release(&g->drain_word, 1); /* [DRAIN] */
    futex_wake((uint32_t *)(void *)&g->drain_word, INT_MAX);
    if (group_has_fibers(g))
        future_tell(g, atomic_swap_acq_rel(&g->drain_waiters, NULL)); /* [HANG] [DRAIN] */
}

/* Parks the thread until a call has ended.  0, or -ETIMEDOUT. */
static int drain_on_futex(struct sflight_group *g, const struct timespec *deadline)
{
    int rc = 0;
    for (;;) {
        uint32_t word = atomic_load_acquire(&g->drain_word); /* [DRAIN] */
        enum flying flying = group_flying(g);
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
 * The same for a fiber: hung up before it looks, so that who ends the last call
 * finds it or has been counted.
 */
static int drain_by_fiber(struct sflight_group *g, void *fiber, const struct timespec *deadline)
{
    for (;;) {
        struct sflight_future *waiter = waiter_new(thread_slot_again(g), NULL, fiber);
        if (waiter == NULL)
            return group_flying(g) != NOTHING_FLIES ? -ENOMEM : 0;
        (void)waiter_hang(&g->drain_waiters, waiter);
        enum flying flying = group_flying(g);
        bool expired =
            flying == CALLS_FLY && notify_park(g, waiter, deadline, GONE) == NOTIFY_TIMED_OUT;
        if (!expired)
            waiter_end(g, waiter);
        if (flying == SEARCHES_FLY)
            cpu_yield();
        if (group_flying(g) == NOTHING_FLIES)
            return 0;
        if (expired)
            return -ETIMEDOUT;
    }
}

int group_drain(struct sflight_group *g, const struct timespec *deadline)
{
    void *fiber = group_has_fibers(g) ? g->runtime.self(g->runtime.ctx) : NULL;

    atomic_add_relaxed(&g->flags, GROUP_DRAINER);
    atomic_fence_seq_cst(); /* [DRAIN] */
    int rc = fiber != NULL ? drain_by_fiber(g, fiber, deadline) : drain_on_futex(g, deadline);
    atomic_sub_relaxed(&g->flags, GROUP_DRAINER); /* nobody waits any more */
    if (fiber != NULL) /* frees what it has given up; other drainers look again */
        future_tell(g, atomic_swap_acquire(&g->drain_waiters, NULL)); /* [HANG] */
    return rc;
}

/* --------------------------------------------------------- the end of a call */

/* `state` as it was at the close; counted: COUNT_ENDED has been. */
void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ended, uint64_t state,
                   bool counted)
{
    struct sflight_group *g = c->group;
    uint32_t n_joiners = state_joiners(state);
    uint32_t n_async = state_async(state);

    caller_unseen_without_slot(slot);
    c->result.seen = true;
    if (!table_unlink_alone(&g->table, &c->node)) {
        struct lane *lane = reclaim_enter(thread_self.hint);
        table_unlink_in_section(&g->table, &c->node);
        reclaim_leave(lane);
    }
    c->result.n_followers = n_joiners;
    /* From waiting to held, all at once; blocking joiners see to themselves. */
    bool started = c->result.started;
    slot_count_n(slot, COUNT_HELD, n_async + started);
    if (started && atomic_swap_acq_rel(&c->result.starter_done, true)) /* [UNWANTED] */
        slot_uncount(slot, COUNT_HELD);
    slot_count_n(slot, COUNT_RETURNED, n_async);
    if (!counted)
        slot_count(slot, COUNT_ENDED);
    /* Who has left before the [CLOSE], which orders the two, may have left a future there. */
    bool left = atomic_load_relaxed(&c->waiters) != NULL;
    bool told = n_async != 0 || started || group_has_fibers(g) || left;
    gate_open(&c->gate, ended, n_joiners + c->result.extra_holds + 1);
    group_call_ended(g);
    if (told)
        future_tell(g, atomic_swap_acq_rel(&c->waiters, WAITERS_TOLD)); /* [NOTIFY] */
}

void call_finish_slow(struct slot *slot, struct sflight_call *c, uint64_t ended, bool counted)
{
    uint64_t state = state_close(&c->state);
    finish_closed(slot, c, ended, state, counted);
}

/* Closed since this caller looked: a drainer may have seen nothing in flight. */
int call_shut(struct slot *slot, struct sflight_call *c)
{
    call_finish(slot, c, ENDED_SHUT);
    call_release(slot, c);
    return -ESHUTDOWN;
}

void call_abandon_permit(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;

    slot_count(slot, COUNT_ABANDONED);
    if (g->takeover) {
        call_set_value(c, NULL, 0, NULL, NULL);
        slot = thread_slot_after(slot);
        c->result.status_set = false;
        c->result.panicked = false;
        atomic_store_relaxed(&c->owner, NULL); /* published by [ORPHAN] */
        c->begun_by = NULL;                    /* nor is the permit anybody's in a forked child */
        /* A hold of our own: the one who takes over may be done before the nudge is. */
        slot_count(slot, COUNT_HELD);
        gate_hold(&c->gate);
        uint64_t state;
        if (state_orphan_or_close(&c->state, &state)) {
            caller_unseen_without_slot(slot);
            nudge(c);
        } else {
            finish_closed(slot, c, ENDED_ABANDONED, state, false);
            call_release(slot, c); /* not the last hold: that is below */
        }
        slot = call_hold_drop(slot, c);
        slot_count(slot, COUNT_RELEASED);
        return;
    }
    if (c->result.started)
        call_finish_slow(slot, c, ENDED_ABANDONED,
                         false); /* the starter's future knows the record */
    else
        call_finish(slot, c, ENDED_ABANDONED);
    call_release(slot, c);
}
