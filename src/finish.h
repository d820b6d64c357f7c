/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a call, and those who wait until no call is in flight (drainers).
 *
 * A call ends in four steps, always in this order (finish_closed()):
 *   close    nobody joins any more, and the number of joiners is final (state.h);
 *   unlink   no search reaches the record any more, so holds may decide when it goes;
 *   publish  the gate opens, and every joiner gets its hold.  After the close: whoever starts
 *            after any caller of this call has returned cannot join it;
 *   tell     futures and waiters (notify.c), and drainers.
 * A call that nobody has looked at needs only the unlink, by one CAS, and an open gate
 * (finish_call()); in the short way (do.h) the gate stays closed as well.
 *
 * In all of this room, slot is the calling thread's or the common one, no function is called inside
 * a section, and a call is ended once.  The functions that tell may run user code, and a callback
 * may be left through them without returning: then the hold is given up that is the leader's
 * otherwise.
 */
#ifndef SFLIGHT_FINISH_H
#define SFLIGHT_FINISH_H

#include "agent.h"
#include "orphan.h"

/* The rare part of finish_check_drainers(): there are drainers. */
void finish_wake_drainers(struct sflight_group *g);

/*
 * Tells drainers, if there are any, that a call has ended.  To be called after COUNT_ENDED has been
 * counted, and after a read-modify-write.  A drainer announces itself in the group's flags and then
 * adds up; so either the drainer sees the count, or this function sees the drainer [DRAIN].
 */
static ALWAYS_INLINE void finish_check_drainers(struct sflight_group *g)
{
    atomic_fence_after_rmw();                                      /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) >= GROUP_DRAINER)) /* ordered by the fence */
        finish_wake_drainers(g);
}

/*
 * Waits until no call of the group is in flight.  Returns 0 or -ETIMEDOUT; or -ENOMEM, if the agent
 * that calls is a fiber.  That agent leads no call of the group.
 */
int finish_drain(struct sflight_group *g, const struct timespec *deadline);

/* A thread or task that runs a started call is about to be made; it, the group's last user, ends.
 */
void finish_runner_begins(struct sflight_group *g);
void finish_runner_ends(struct sflight_group *g);

/* Before a call is closed or forgotten: nobody joins it by a joint any more. */
static inline void finish_shut_joints(struct sflight_call *c)
{
    if (c->group->max_age_ns == 0)
        joint_shut_all(&c->joints);
}

/* `state` as it was at the close; end_counted: COUNT_ENDED has been counted. */
void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ending, uint64_t state,
                   bool end_counted);

/* Closes a call that somebody may know of, and ends it.  By its leader; as finish_closed(). */
void finish_seen(struct slot *slot, struct sflight_call *call, uint64_t ending, bool end_counted);

/*
 * Where nothing can be left: ends a call that was claimed just now, because the group has closed
 * since the newcomer looked, and gives the leader's hold up.  Returns -ESHUTDOWN.
 */
int finish_shut(struct slot *slot, struct sflight_call *call);

/* The leader has left for good; no running fn leads the call.  Returns how many had joined. */
uint32_t finish_abandoned(struct slot *slot, struct sflight_call *call);

/*
 * Counts the end of a call; timed: it has CALL_TIMED.  How long it took comes first: whoever has
 * seen the end, by COUNT_ENDED or by the gate, finds that, too.
 */
static ALWAYS_INLINE void finish_count(struct slot *slot, struct sflight_call *c, bool timed)
{
    if (UNLIKELY(timed))
        gauges_took(slot, c->started_ns);
    gauges_count(slot, COUNT_ENDED);
}

/*
 * Takes a call that this thread leads out of the table, if nobody has ever looked at it: then there
 * is nobody to tell, and no hold but the leader's.  False: it has not ended.  *end_counted:
 * COUNT_ENDED has been counted.
 */
static ALWAYS_INLINE bool finish_unseen(struct slot *slot, struct sflight_call *c,
                                        bool *end_counted)
{
    bool timed = c->result.traits & CALL_TIMED; /* here, where the compiler may know the traits */

    *end_counted = false;
    uintptr_t word = table_unseen_word(&c->node);
    if (UNLIKELY(!table_unseen(&c->node, word)))
        return false;
    finish_count(slot, c, timed);
    *end_counted = true;
    if (UNLIKELY(!table_remove_unseen(&c->node, word)))
        return false; /* RACE: somebody has looked at the record since */
    PROBE(complete, c);
    finish_check_drainers(slot->group);
    return true;
}

/*
 * Ends a call that this thread leads; `ending`: 0 or ENDING_...; it keeps one hold.  False:
 * nobody has ever looked at it.
 */
static ALWAYS_INLINE bool finish_call(struct slot *slot, struct sflight_call *c, uint64_t ending)
{
    bool end_counted;

    if (LIKELY(finish_unseen(slot, c, &end_counted))) {
        /* Nobody else knows the record: the gate is for the leader's own holds. */
        gate_open_unseen(&c->gate, ending, c->extra_holds + 1);
        return false;
    }
    finish_seen(slot, c, ending, end_counted);
    return true;
}

#endif
