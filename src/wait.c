/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In a group with a runtime nobody waits at the gate: a caller that blocks hangs a
 * waiter (future.h) into the call's list, beside the futures, and parks its fiber,
 * or its thread if it is no fiber.
 *
 * A fiber may go on on another thread whenever user code has run, which parking
 * is.  So nothing that belongs to a thread is kept across that: slots are found
 * anew, by a function that is not inlined, as the compiler may keep the address of
 * thread-local data for as long as one function runs.
 */
#include "wait.h"

#include "cpu.h"

#include <errno.h>

/* ----------------------------------------------------------------- take over */

/* The leader died: goes on with the call, or returns false. */
static bool call_take_over(struct slot *slot, struct caller *caller, struct sflight_call *c)
{
    if (!state_take_over(&c->state))
        return false;
    atomic_store_release(&c->owner, caller); /* [OWNER] */
    if (call_kind(c) != CALL_OF_LEADER)
        atomic_store_relaxed(&c->result.kind, CALL_OF_LEADER);
    slot_count(slot, COUNT_TAKEN_OVER);
    return true;
}

/* --------------------------------------------------------------------- leave */

enum call_leave call_leave(struct slot *slot, struct sflight_call *c, uint64_t unit)
{
    /* A hold of our own, if we must look at the call again when we have left it. */
    bool look_back = c->group->cancel_unwanted && call_kind(c) != CALL_OF_LEADER;
    if (look_back)
        gate_hold(&c->gate);

    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
    for (;;) {                                       /* RACE: again, if the state has changed */
        if (state & CALL_CLOSED) {
            if (look_back)
                call_hold_drop(slot, c); /* not the last: the one below is still ours */
            /* Counted: a hold has been, or is going to be, credited. */
            if (gate_is_open(&c->gate))
                return LEAVE_TOO_LATE;
            call_hold_drop(slot, c);
            return LEAVE_RETURNED;
        }
        if ((state & CALL_ORPHAN) && unit == CALL_BLOCKING && state_blocking(state) != 1)
            nudge(c); /* whoever was nudged may be this one: pass it on */
        if (state_leave(&c->state, unit, &state)) {
            if (state & CALL_CLOSED) {
                finish_closed(slot, c, ENDED_ABANDONED, state, false);
                call_release(slot, c);
            }
            if (look_back) {
                forget_unwanted(slot, c);
                call_hold_drop(slot, c);
            }
            return LEAVE_LEFT;
        }
    }
}

void call_starter_leaves(struct slot *slot, struct sflight_call *c)
{
    slot_count(slot, COUNT_HELD); /* keeps the group while this thread is in it */
    if (atomic_swap_acq_rel(&c->result.starter_done, true)) /* [UNWANTED] */
        slot_uncount(slot, COUNT_HELD);                     /* RACE: the call has just ended */
    else if (c->group->cancel_unwanted)
        forget_unwanted(slot, c);
    slot = call_hold_drop(slot, c);
    slot_count(slot, COUNT_RELEASED);
}

/* ---------------------------------------------------------------------- wait */

/* At the gate: it opens (CALL_FOLLOWS), the call is taken over (CALL_LEADS), or -ETIMEDOUT. */
static int wait_at_gate(struct slot *slot, struct caller *caller, struct sflight_call *c,
                        unsigned rank, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    struct spinner own, *spinner = &slot->spinner;

    if (UNLIKELY(slot->shared)) { /* its spinner would be everybody's */
        spinner_init(&own, g->spin_ns);
        spinner = &own;
    }
    spinner->crowded = atomic_load_relaxed(&g->n_threads) > cpu_count(); /* a hint */
    for (;;) {
        enum gate_outcome outcome = gate_spin(&c->gate, rank, spinner, deadline);
        if (outcome == GATE_IS_CLOSED) {
            slot_count(slot, COUNT_PARKED);
            outcome = gate_park(&c->gate, deadline);
        } else if (outcome == GATE_IS_OPEN) {
            slot_count(slot, COUNT_SPUN);
        }
        if (outcome == GATE_IS_OPEN)
            return CALL_FOLLOWS;
        if (outcome == GATE_TIMED_OUT)
            return -ETIMEDOUT;
        gate_answer(&c->gate);
        if (call_take_over(slot, caller, c))
            return CALL_LEADS;
    }
}

/* Hung up: the same, or -ENOMEM.  Hangs and ends a waiter of its own. */
static int wait_hung(struct caller *caller, struct sflight_call *c, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;

    if (gate_is_open(&c->gate)) {
        slot_count(thread_slot_again(g), COUNT_SPUN); /* RACE: it has ended since it was joined */
        return CALL_FOLLOWS;
    }
    if (clock_left_ns(deadline) == 0)
        return -ETIMEDOUT;
    struct sflight_future *f = waiter_new(thread_slot_again(g), c, caller->fiber);
    if (f == NULL)
        return -ENOMEM;
    slot_count(thread_slot_again(g), COUNT_PARKED);
    for (;;) {
        if (!waiter_hang(&c->waiters, f)) {
            future_free(thread_slot_again(g), f); /* RACE: the call has ended on the way here */
            return CALL_FOLLOWS;
        }
        if (g->takeover) {
            atomic_fence_after_rmw(); /* [NUDGE] */
            if (call_take_over(thread_slot_again(g), caller, c)) {
                waiter_end(g, f);
                return CALL_LEADS;
            }
        }
        switch (notify_park(g, f, deadline, GONE)) {
        case NOTIFY_TOLD:
            future_free(thread_slot_again(g), f);
            return CALL_FOLLOWS;
        case NOTIFY_TIMED_OUT:
            if (waiters_swept(thread_slot_again(g), g, &c->waiters)) {
                atomic_fence_seq_cst(); /* [NUDGE] */
                if (atomic_load_acquire(&c->state) & CALL_ORPHAN)
                    waiters_nudge(g, &c->waiters); /* RACE: its leader has just died */
            }
            return -ETIMEDOUT;
        case NOTIFY_NUDGED:
            break;
        }
    }
}

int call_wait(struct slot *slot, struct caller *caller, struct sflight_call *c, unsigned rank,
              const struct timespec *deadline)
{
    bool noted = false;
    int rc = -EDEADLK;

    /* The wait is noted only while the join stands, which keeps the record. */
    if (caller->leading == NULL || gate_is_open(&c->gate) || (noted = caller_may_wait(caller, c)))
        rc = group_has_fibers(c->group) ? wait_hung(caller, c, deadline)
                                        : wait_at_gate(slot, caller, c, rank, deadline);
    if (noted)
        caller_waited(caller);
    slot = thread_slot_after(slot);
    if (rc < 0 && call_leave(slot, c, CALL_BLOCKING) == LEAVE_TOO_LATE)
        rc = CALL_FOLLOWS; /* RACE: it has ended meanwhile */
    slot = thread_slot_after(slot);
    if (rc == CALL_FOLLOWS)
        slot_count(slot, COUNT_HELD);
    else if (rc == -ETIMEDOUT)
        slot_count(slot, COUNT_TIMED_OUT);
    else if (rc == -EDEADLK)
        slot_count(slot, COUNT_DEADLOCKS);
    slot_count(slot, COUNT_RETURNED);
    return rc;
}
