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
#include "call_fiber.h"

#include "call_lead.h"
#include "call_path.h"
#include "future.h"

/*
 * Waits until the gate is open (CALL_FOLLOWS), the call has been taken over
 * (CALL_LEADS), the deadline has passed or there is no memory; hangs and ends its
 * own waiter.
 */
static int wait_hung(struct caller *caller, struct sflight_call *c, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    struct sflight_future *f = waiter_new(thread_slot_again(g), c, caller->fiber);

    if (f == NULL)
        return -ENOMEM;
    for (;;) {
        if (!waiter_hang(&c->waiters, f)) {
            waiter_end(g, f); /* RACE: the call has ended on the way here */
            return CALL_FOLLOWS;
        }
        if (g->takeover) {
            atomic_fence_after_rmw(); /* [NUDGE] */
            if (call_take_over(thread_slot_again(g), caller, c)) {
                waiter_end(g, f);
                return CALL_LEADS;
            }
        }
        switch (waiter_park(g, f, deadline)) {
        case WAITER_TOLD:
            waiter_end(g, f);
            return CALL_FOLLOWS;
        case WAITER_TIMED_OUT:
            if (waiters_swept(thread_slot_again(g), g, &c->waiters)) {
                atomic_fence_seq_cst(); /* [NUDGE] */
                if (atomic_load_acquire(&c->state) & CALL_ORPHAN)
                    waiters_nudge(g, &c->waiters); /* RACE: its leader has just died */
            }
            return -ETIMEDOUT;
        case WAITER_NUDGED:
            break;
        }
    }
}

int call_wait_hung(struct caller *caller, struct sflight_call *c, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    bool open = atomic_load_acquire(&c->gate) & GATE_OPEN; /* [PUB-RESULT] */
    int rc = CALL_FOLLOWS;

    if (open) {
        slot_count(thread_slot_again(g), COUNT_SPUN); /* RACE: it has ended since it was joined */
    } else if (clock_left_ns(deadline) == 0) {
        rc = -ETIMEDOUT;
    } else {
        /* The wait is noted only while the join stands, which keeps the record. */
        bool noted = caller->leading != NULL;
        if (noted && !caller_may_wait(caller, c)) {
            noted = false;
            rc = -EDEADLK;
        } else {
            slot_count(thread_slot_again(g), COUNT_PARKED);
            rc = wait_hung(caller, c, deadline);
        }
        if (noted)
            caller_waited(caller);
    }
    if (rc < 0 && call_leave(thread_slot_again(g), c, CALL_BLOCKING) == LEAVE_TOO_LATE)
        rc = CALL_FOLLOWS; /* RACE: it has ended meanwhile */
    struct slot *slot = thread_slot_again(g);
    if (rc == CALL_FOLLOWS)
        slot_count(slot, COUNT_HELD);
    else if (rc == -ETIMEDOUT)
        slot_count(slot, COUNT_TIMED_OUT);
    else if (rc == -EDEADLK)
        slot_count(slot, COUNT_DEADLOCKS);
    slot_count(slot, COUNT_RETURNED);
    return rc;
}

int call_do_by_fiber(struct sflight_group *g, const void *key, size_t len, sflight_fn *fn,
                     void *arg, const struct timespec *deadline, sflight_result *r)
{
    CALLER_FRAME(own);
    struct caller *caller = caller_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    struct sflight_call *call = NULL;
    unsigned rank = 0;

    int rc = call_claim_or_join(g, slot, key, len, CALL_START_BLOCKING(caller), NULL, &call, &rank);
    if (rc == CALL_FOLLOWS)
        rc = call_wait_hung(caller, call, deadline);
    if (rc < 0) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    bool leader = rc == CALL_LEADS;
    if (leader)
        call_lead(caller, call, fn, arg);
    return call_deliver(thread_slot_again(g), call, leader, r);
}
