/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a call: close, unlink, publish, tell; and those who wait until no call is in flight.
 */
#ifndef SFLIGHT_FINISH_H
#define SFLIGHT_FINISH_H

#include "agent.h"
#include "orphan.h"

void finish_wake_drainers(struct sflight_group *g);

/*
 * Tells drainers, if there are any, that a call has ended: after COUNT_ENDED
 * and a read-modify-write.  A drainer announces itself and then adds up; so
 * either it sees the count or this sees the drainer [DRAIN].
 */
static ALWAYS_INLINE void finish_check_drainers(struct sflight_group *g)
{
    atomic_fence_after_rmw();                                      /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) >= GROUP_DRAINER)) /* ordered by the fence */
        finish_wake_drainers(g);
}

/* 0 or -ETIMEDOUT; or -ENOMEM, if a fiber waits. */
int finish_drain(struct sflight_group *g, const struct timespec *deadline);

/* `state` as it was at the close; end_counted: COUNT_ENDED has been counted. */
void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ending, uint64_t state,
                   bool end_counted);
void finish_seen(struct slot *slot, struct sflight_call *call, uint64_t ending, bool end_counted);

/* The group has closed since the caller looked: ends the call.  Returns -ESHUTDOWN. */
int finish_shut(struct slot *slot, struct sflight_call *call);

/* The leader has left for good; no running fn leads the call.  Returns how many had joined. */
uint32_t finish_abandoned(struct slot *slot, struct sflight_call *call);

/*
 * Ends a call that this thread leads; `ending`: 0 or ENDING_...; it keeps one hold.  False:
 * nobody has ever looked at it.
 */
static ALWAYS_INLINE bool finish_call(struct slot *slot, struct sflight_call *c, uint64_t ending)
{
    bool end_counted = false;

    if (LIKELY(table_unseen(&c->node))) {
        gauges_count(slot, COUNT_ENDED);
        end_counted = true;
        if (LIKELY(table_remove_unseen(&c->node))) {
            /* Nobody else knows the record: this is for its holders alone. */
            gate_open_unseen(&c->gate, ending, c->result.extra_holds + 1);
            finish_check_drainers(slot->group);
            return false;
        }
        /* Somebody has come just now. */
    }
    finish_seen(slot, c, ending, end_counted);
    return true;
}

#endif
