/* SPDX-License-Identifier: BSD-2-Clause */
/* A follower blocks, takes over, or leaves. */
#ifndef SFLIGHT_WAIT_H
#define SFLIGHT_WAIT_H

#include "join.h"
#include "unwanted.h"

/*
 * Waits for a call joined.  Returns JOIN_FOLLOWS when the result is there and
 * this caller has a hold; JOIN_LEADS if it has taken the call over; or, the
 * join undone, -ETIMEDOUT, -EDEADLK or (a group with fibers) -ENOMEM.  A fiber may
 * have come to another thread, and the slot with it be another one's.
 */
int wait_for_end(struct slot *slot, struct agent *agent, struct sflight_call *call, unsigned rank,
                 const struct timespec *deadline);

/* What became of a joiner that wanted to leave. */
enum wait_leave {
    LEAVE_LEFT,     /* it has not joined after all */
    LEAVE_LAST,     /* the same, and nobody waits any more */
    LEAVE_RETURNED, /* it was counted at the close, and its hold is given back */
    LEAVE_TOO_LATE, /* the gate is open: it has a hold, to be released */
};

/*
 * Takes a join back, at any moment; unit as it joined, or STATE_STARTER.  Never waits for the
 * leader.  Who leaves a call to nobody may run the callback of sflight_call_on_unwanted().
 */
enum wait_leave wait_leave(struct slot *slot, struct sflight_call *call, uint64_t unit);

/* The same; but LEAVE_TOO_LATE if the call has closed, and then nothing has been done. */
enum wait_leave wait_leave_open(struct slot *slot, struct sflight_call *call, uint64_t unit);

#endif
