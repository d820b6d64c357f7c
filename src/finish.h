/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a call: close, unlink, publish, tell; and those who wait until no call is in flight.
 */
#ifndef SFLIGHT_FINISH_H
#define SFLIGHT_FINISH_H

#include "agent.h"
#include "orphan.h"

void group_wake_drainers(struct sflight_group *g);

/*
 * Tells drainers, if there are any, that a call has ended: after COUNT_ENDED
 * and a read-modify-write.  A drainer announces itself and then adds up; so
 * either it sees the count or this sees the drainer [DRAIN].
 */
static ALWAYS_INLINE void group_call_ended(struct sflight_group *g)
{
    atomic_fence_after_rmw();                                      /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) >= GROUP_DRAINER)) /* ordered by the fence */
        group_wake_drainers(g);
}

/* 0 or -ETIMEDOUT; or -ENOMEM, if a fiber waits. */
int group_drain(struct sflight_group *g, const struct timespec *deadline);

/* `state` as it was at the close; counted: COUNT_ENDED has been. */
void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ended, uint64_t state,
                   bool counted);
void call_finish_slow(struct slot *slot, struct sflight_call *call, uint64_t ended, bool counted);

/* The group has closed since the caller looked: ends the call.  Returns -ESHUTDOWN. */
int call_shut(struct slot *slot, struct sflight_call *call);

/* The leader has left for good; no running fn leads the call. */
void call_abandon_permit(struct slot *slot, struct sflight_call *call);

/* Ends a call that this thread leads; `ended`: 0 or ENDED_...; it keeps one hold. */
static ALWAYS_INLINE void call_finish(struct slot *slot, struct sflight_call *c, uint64_t ended)
{
    bool counted = false;

    if (LIKELY(table_unseen(&c->node))) {
        slot_count(slot, COUNT_ENDED);
        counted = true;
        if (LIKELY(table_remove_unseen(&c->node))) {
            /* Nobody else knows the record: this is for its holders alone. */
            gate_open_unseen(&c->gate, ended, c->result.extra_holds + 1);
            group_call_ended(slot->group);
            return;
        }
        /* Somebody has come just now. */
    }
    call_finish_slow(slot, c, ended, counted);
}

#endif
