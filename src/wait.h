/* SPDX-License-Identifier: BSD-2-Clause */
/* A follower blocks, takes over, or leaves. */
#ifndef SFLIGHT_WAIT_H
#define SFLIGHT_WAIT_H

#include "join.h"

/*
 * Waits for a call joined.  Returns CALL_FOLLOWS when the result is there and
 * this caller has a hold; CALL_LEADS if it has taken the call over; or, the
 * join undone, -ETIMEDOUT, -EDEADLK or (a group with fibers) -ENOMEM.  A fiber may
 * have come to another thread, and the slot with it be another one's.
 */
int call_wait(struct slot *slot, struct caller *caller, struct sflight_call *call, unsigned rank,
              const struct timespec *deadline);

/* What became of a joiner that wanted to leave. */
enum call_leave {
    LEAVE_LEFT,     /* it has not joined after all */
    LEAVE_RETURNED, /* it was counted at the close, and its hold is given back */
    LEAVE_TOO_LATE, /* the gate is open: it has a hold, to be released */
};

/* Takes a join back, at any moment; unit as it joined.  Never waits for the leader. */
enum call_leave call_leave(struct slot *slot, struct sflight_call *call, uint64_t unit);

/* The starter of a call drops its future, before it has seen the gate open. */
void call_starter_leaves(struct slot *slot, struct sflight_call *call);

#endif
