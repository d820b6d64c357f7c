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
 * orphan_keep(), orphan_abandon() and orphan_waiters() run under the registry lock, when the group
 * is put right at its first use in the child (fork.h), before any thread has a slot of it; or
 * later, from orphan_settle(), when the call and what hangs there is its owners' only, who come
 * there, too.
 */
#ifndef SFLIGHT_ORPHAN_H
#define SFLIGHT_ORPHAN_H

#include "notify.h"
#include "unwanted.h"

/* Only the forking thread is left: nobody blocks in this call of its own. */
void orphan_keep(struct sflight_call *call, struct gauges_kept *kept);

/* Nobody will end this call; whoever has a future on it finds it abandoned. */
void orphan_abandon(struct sflight_call *call, struct gauges_kept *kept);

/* Moves waiters, whose agents do not exist in the child, from the list to *unowned. */
void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned);

/* Has everybody been told who hangs there?  Of a call whose gate is open, and that has futures. */
bool orphan_told(struct sflight_call *call);

/*
 * A call that has left the table, where putting the group right would have found it, while
 * a thread of the parent was ending it: nobody goes on with that.
 */
void orphan_settle(struct sflight_call *call);

/* The last step of who has put a call right, which is the child's from then on. */
static inline void orphan_kept(struct sflight_call *call)
{
    atomic_store_release(&call->result.generation, process_generation()); /* [KEPT] */
}

/* Is it not the child's, as far as is known?  By who need have no slot of the child's yet. */
static ALWAYS_INLINE bool orphan_inherited(const struct sflight_call *call)
{
    return atomic_load_acquire(&call->result.generation) != process_generation(); /* [KEPT] */
}

/*
 * Before a future or a permit is used, which may be from before a fork.  True if the call is
 * not the child's, and so has ended.
 */
static inline bool orphan_check(struct sflight_call *call)
{
    if (LIKELY(!orphan_inherited(call)))
        return false; /* made, or found to be the child's */
    group_enter(call->group);
    if (!orphan_inherited(call))
        return false;
    if (!gate_is_open(&call->gate) || !orphan_told(call))
        orphan_settle(call); /* RACE: another thread was ending it at the fork */
    return true;
}

/* At the end of a group: frees the abandoned calls, with their values, and their futures. */
void orphan_free_all(struct sflight_group *g);

#endif
