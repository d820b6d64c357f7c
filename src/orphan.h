/* SPDX-License-Identifier: BSD-2-Clause */
/* In a forked child: what has become of one call of the parent's. */
#ifndef SFLIGHT_ORPHAN_H
#define SFLIGHT_ORPHAN_H

#include "notify.h"
#include "unwanted.h"

/* What is left of a group's calls in a forked child. */
struct remains {
    uint64_t n_in_flight; /* the forking thread's */
    uint64_t n_waiting;   /* futures on those */
    uint64_t n_held;      /* futures on the others, which are found abandoned */
    uint64_t n_batches;   /* this thread's */
};

/* Only the forking thread is left: nobody blocks in this call of its own. */
void orphan_keep(struct sflight_call *call, struct remains *remains);

/* Nobody will end this call; whoever has a future on it finds it abandoned. */
void orphan_abandon(struct sflight_call *call, struct remains *remains);

/* In a forked child: takes waiters out of the list, for their callers do not exist. */
void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned);

/*
 * In a forked child, before a future or a permit is used that is from before the fork:
 * its call may have left the table already, where the fork would have found it.  Then
 * it ends here, or, if it is a permit of the thread that forked, is the child's.
 */
void orphan_settle(struct sflight_call *call);

static inline void orphan_check(struct sflight_call *call)
{
    if (UNLIKELY(call_is_inherited(call, call->group)))
        orphan_settle(call);
}

/* At the end of a group: frees what a fork left. */
void orphan_free_all(struct sflight_group *g);

#endif
