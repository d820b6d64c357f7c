/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In a forked child: what becomes of one call of the parent's.  (Not to be confused with
 * STATE_ORPHAN: a call whose leader has died, and which a follower takes over.)
 *
 * Only the forking thread, and in a group with a runtime the forking fiber, goes on in the child.
 * A call that it leads, or has the permit for, is KEPT: it goes on, without those that
 * blocked in it, who do not exist.  Every other call is ABANDONED: its gate is opened, and a
 * future on it finds it abandoned.  Futures are not threads, and stay.
 *
 * fork.c does so for every call that it finds in a table or with an agent.  A call that has left
 * the table already, but has not ended, is found later, by whoever uses a future or a
 * permit from before the fork (orphan_check()).
 *
 * orphan_keep(), orphan_abandon() and orphan_waiters() run in the handler of fork(), where there
 * is no other thread, or under the registry lock, from orphan_settle().
 */
#ifndef SFLIGHT_ORPHAN_H
#define SFLIGHT_ORPHAN_H

#include "notify.h"
#include "unwanted.h"

/* What is left of a group's calls in a forked child; the counters are made anew from it. */
struct remains {
    uint64_t n_in_flight; /* calls kept */
    uint64_t n_waiting;   /* futures on those, and joins of the forking thread's batches */
    uint64_t n_held;      /* futures on abandoned calls */
    uint64_t n_batches;   /* batches of the forking thread */
};

/* Keeps a call that the forking thread leads or has the permit for; adds it to *remains. */
void orphan_keep(struct sflight_call *call, struct remains *remains);

/* Ends a call that nobody in the child will end, as abandoned; adds its futures to *remains. */
void orphan_abandon(struct sflight_call *call, struct remains *remains);

/* Moves waiters, whose agents do not exist in the child, from the list to *unowned. */
void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned);

/*
 * The rare part of orphan_check(): keeps the call, if it is a permit of the thread that forked, or
 * abandons it, unless it has ended or another thread of the child has done so.
 */
void orphan_settle(struct sflight_call *call);

/*
 * To be called before a future or a permit is used, outside of sections: settles what becomes of
 * its call, if that is from before a fork and the fork has not found it.
 */
static inline void orphan_check(struct sflight_call *call)
{
    if (UNLIKELY(call_is_inherited(call, call->group)))
        orphan_settle(call);
}

/* At the end of a group: frees the abandoned calls, with their values, and their futures. */
void orphan_free_all(struct sflight_group *g);

#endif
