/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A follower waits, takes over, or leaves.
 *
 * A follower that blocks waits in one of two places, which are equal for all else:
 *
 *   at the gate   in a group without a runtime.  The thread spins at the call's gate, may give
 *                 the CPU up, and parks there (gate.h).  Opening the gate wakes it.
 *   hung          in a group with a runtime (group_hangs()).  The agent hangs a waiter (future.h)
 *                 into the call's list, beside the futures, and parks its fiber, or its thread,
 *                 if it is no fiber.  notify_all() tells the waiter.
 *
 * It stops waiting for one of three reasons:
 *   the call has ended      the follower has a hold, credited by the end of the call;
 *   it is nudged            the call is an orphan: of the followers that look, one takes the call
 *                           over and leads it with its own fn, the others go on waiting;
 *   its deadline passes, or the wait would close a circle
 *                           it leaves.  Before the close it takes its joiner back.  After the
 *                           close a hold is being credited to it, and it gives that back.
 *
 * A nudge reaches one follower.  A follower that leaves an orphan passes the nudge on, because it
 * may be the one that was nudged (wait_leave()).  If it is the last one that blocks, it ends the
 * call instead.
 *
 * A follower that is about to wait must not miss the death of the leader [NUDGE].  At the gate:
 * ORPHAN is set, then NUDGED, which the follower finds in the word that it sleeps on.  Hung: the
 * follower pushes its waiter, and after a fence looks for ORPHAN; whoever nudges sets ORPHAN, and
 * after a fence looks at the list.
 */
#ifndef SFLIGHT_WAIT_H
#define SFLIGHT_WAIT_H

#include "join.h"
#include "unwanted.h"

/*
 * Waits for a call that the agent has joined as one that blocks.  Returns JOIN_FOLLOWS when the
 * result is there and the agent has a hold; JOIN_LEADS if the agent has taken the call over, and
 * must run its fn and end it; or, with the join undone, -ETIMEDOUT, -EDEADLK, or, in a group with a
 * runtime, -ENOMEM.  slot: the calling thread's; a fiber may be on another thread when this
 * returns.  rank: as from join_or_claim().
 */
int wait_for_end(struct slot *slot, struct agent *agent, struct sflight_call *call, unsigned rank,
                 const struct timespec *deadline);

/* Does not wait: takes the join back; true: too late, the result is there, and a hold on it. */
bool wait_no_more(struct slot *slot, struct sflight_call *call);

/* Parks the owner of a future that hangs until its call has ended.  Returns 0 or -ETIMEDOUT. */
int wait_until_told(struct sflight_future *f, const struct timespec *deadline);

/* What became of a joiner that wanted to leave. */
enum wait_leave {
    LEAVE_LEFT, /* it has not joined after all */
    LEAVE_LAST, /* the same, and nobody waits any more */
    /* nothing has been done: the call has closed, and credits it a hold as its gate opens */
    LEAVE_TOO_LATE,
};

/*
 * Takes a join back, at any moment; unit as it joined, or STATE_STARTER.  Never waits for the
 * leader.  Who leaves a call to nobody may run the callback of sflight_call_on_unwanted().
 */
enum wait_leave wait_leave(struct slot *slot, struct sflight_call *call, uint64_t unit);

#endif
