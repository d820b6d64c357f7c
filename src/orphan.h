/* SPDX-License-Identifier: BSD-2-Clause */
/* In a forked child: what has become of one call of the parent's. */
#ifndef SFLIGHT_ORPHAN_H
#define SFLIGHT_ORPHAN_H

#include "notify.h"

/* Only the forking thread is left: nobody blocks in this call of its own. */
void orphan_keep(struct sflight_call *call, struct gauges_kept *kept);

/* Nobody will end this call; whoever has a future on it finds it abandoned. */
void orphan_abandon(struct sflight_call *call, struct gauges_kept *kept);

/* In a forked child: takes waiters out of the list, for their callers do not exist. */
void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned);

/*
 * A call that has left the table, where putting the group right would have found it, while
 * a thread of the parent was ending it: nobody goes on with that.
 */
void orphan_settle(struct sflight_call *call);

/*
 * Before a future or a permit is used, which may be from before a fork.  True if the call is
 * not the child's, and so has ended.
 */
static inline bool orphan_check(struct sflight_call *call)
{
    if (LIKELY(!call_is_inherited(call)))
        return false; /* made, or found to be the child's, when the group was right */
    group_enter(call->group);
    if (!call_is_inherited(call))
        return false;
    if (!gate_is_open(&call->gate))
        orphan_settle(call);
    return true;
}

/* At the end of a group: frees what a fork left. */
void orphan_free_all(struct sflight_group *g);

#endif
