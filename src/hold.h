/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The value of a call, and the holds on it.
 *
 * A HOLD is the right to use the result of a call, and the duty to give it up once.  The end of a
 * call credits one to its leader and one to each joiner (gate.h has the count); hold_retain()
 * makes more.  Whoever gives up the last one destroys the value and gives the record back: at
 * once, or, if others may still look at the record, after a grace period.
 *
 * A hold is SOLE if the call has ended in the short way (do.h): its gate is still closed and
 * without a hold, and whoever has the result has the only hold.  hold_open_sole() makes it an
 * ordinary hold.
 *
 * In all of this room, slot is the calling thread's or the common one, and no function is called
 * inside a section.  destroy is user code: after it the slot may be another thread's, so the
 * functions that may call it return the slot to be used from then on.
 */
#ifndef SFLIGHT_HOLD_H
#define SFLIGHT_HOLD_H

#include "call.h"
#include "handle.h"

#include <errno.h>

/* How a call ended, in the opener's bits of its gate; none of them: fn returned. */
#define ENDING_ABANDONED (UINT64_C(1) << GATE_USER_SHIFT)
#define ENDING_PANICKED (UINT64_C(2) << GATE_USER_SHIFT)
#define ENDING_SHUT (UINT64_C(4) << GATE_USER_SHIFT)
#define ENDING_BADLY (ENDING_ABANDONED | ENDING_PANICKED | ENDING_SHUT)

/* Sets the value; the one before, if there is one, is destroyed.  By the leader of the call. */
void hold_set_value(struct sflight_call *call, void *value, size_t size,
                    sflight_destroy_fn *destroy, void *ctx);

/*
 * Sets the value to memory from the group's allocator and returns that; size may be 0.  NULL if
 * there is no memory, and nothing has changed.  By the leader of the call.
 */
void *hold_alloc_value(struct sflight_call *call, size_t size);

/* Makes one more hold, and counts it.  By a holder. */
void hold_retain(struct slot *slot, struct sflight_call *call);

/*
 * In a forked child, for a call that nobody there will end: opens its gate, so that its holders
 * find it abandoned.  The record is not given back by whoever gives up a hold.
 */
void hold_end_by_fork(struct sflight_call *call);

/* Gives up n holds, at least 1, of a call whose gate is open, at once. */
void hold_release_n(struct slot *slot, struct sflight_call *call, uint32_t n);

int hold_deliver_failure(struct slot *slot, struct sflight_call *call, uint64_t word,
                         sflight_result *r);

/*
 * Gives up a hold, perhaps one that the end of the call has not credited yet.  The caller counts
 * that as n holds given up afterwards, which are counted if destroy is left, too; inherited: as
 * such of before a fork.  Returns the slot to be used from then on.
 */
struct slot *hold_drop(struct slot *slot, struct sflight_call *call, uint32_t n, bool inherited);

/* The cleanup of a function's own hold, which is not counted; NULL: it has none. */
void hold_own_ends(struct sflight_call **own);

/* A function's own hold, which is counted: given up, with what it has to destroy, by a cleanup. */
struct hold_own {
    struct sflight_call *call;
    uint64_t salt; /* of the process that it was counted in */
    /* of a value that the call has no more */
    sflight_destroy_fn *destroy; /* NULL: there is none */
    void *value, *ctx;
    size_t size;
    bool left; /* the stack is being unwound through the function: destroy must return */
};
struct hold_own hold_own(struct slot *slot, struct sflight_call *call);
void hold_counted_ends(struct hold_own *own);

/* Takes the value out of the call, which has none then, for that cleanup to destroy. */
void hold_take_value(struct hold_own *own);

/*
 * Calls destroy, which is not NULL, for the value.  If it is left, n holds are counted as given up.
 * Returns the slot to be used from then on.
 */
struct slot *hold_destroy_value(struct slot *slot, struct sflight_call *call, uint32_t n);

/* hold_end_value(), of a call that has a destroy. */
struct slot *hold_value_ends(struct slot *slot, struct sflight_call *call, uint32_t n,
                             bool inherited);

/* The rare part of hold_count_released(), in a forked child. */
void hold_released_inherited(struct slot *slot);

/* Gives the record back.  By the last holder, when the value is destroyed. */
static ALWAYS_INLINE void hold_give_back(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(c->result.needs & NEEDS_GRACE))
        call_retire(slot, c);
    else
        call_discard(slot, c);
}

/*
 * The last hold is about to be given up: destroys the value, if there is one to be.  n, inherited:
 * as hold_drop().  Returns the slot to be used from then on.
 */
static ALWAYS_INLINE struct slot *hold_end_value(struct slot *slot, struct sflight_call *c,
                                                 uint32_t n, bool inherited)
{
    return c->result.destroy != NULL ? hold_value_ends(slot, c, n, inherited) : slot;
}

/* The last hold is given up: destroys the value and gives the record back.  As hold_end_value(). */
static ALWAYS_INLINE struct slot *hold_last(struct slot *slot, struct sflight_call *c, uint32_t n,
                                            bool inherited)
{
    slot = hold_end_value(slot, c, n, inherited);
    hold_give_back(slot, c);
    return slot;
}

/* The results of n futures of the call, which has ended, become the caller's. */
static ALWAYS_INLINE void hold_take(struct slot *slot, struct sflight_call *c, uint32_t n)
{
    gauges_count_n(slot, COUNT_TAKEN, n);
    if (UNLIKELY(call_is_inherited(c)))
        atomic_add_relaxed(&slot->group->n_inherited, n);
}

/* Counts n more holds, which the end of the call has credited. */
static inline void hold_count_held(struct slot *slot, struct sflight_call *c, uint32_t n)
{
    gauges_count_n(slot, COUNT_HELD, n);
    if (UNLIKELY(call_is_inherited(c)))
        atomic_add_relaxed(&slot->group->n_inherited, n);
}

/* A result has been given up; the last touch: the group may go now. */
static ALWAYS_INLINE void hold_count_released(struct slot *slot, bool inherited)
{
    if (UNLIKELY(inherited))
        hold_released_inherited(slot);
    else
        gauges_count(slot, COUNT_RELEASED);
}

/*
 * Gives up the last hold, of a call that is not from before a fork, and counts that.  The group may
 * go from then on.
 */
static ALWAYS_INLINE void hold_last_ends(struct slot *slot, struct sflight_call *c)
{
    gauges_count(hold_last(slot, c, 1, false), COUNT_RELEASED);
}

/* The same of a permit that nobody has looked at. */
static ALWAYS_INLINE void hold_unseen_ends(struct slot *slot, struct sflight_call *c)
{
    slot = hold_end_value(slot, c, 1, false);
    call_discard_clean(slot, c);
    gauges_count(slot, COUNT_RELEASED);
}

/* Gives up a hold on a call whose gate is open, and counts that.  The group may go from then on. */
static ALWAYS_INLINE void hold_release(struct slot *slot, struct sflight_call *c)
{
    bool inherited = call_is_inherited(c);

    if (LIKELY(gate_hold_is_last(&c->gate))) /* then there is nobody to see it given up */
        slot = hold_last(slot, c, 1, inherited);
    else
        slot = hold_drop(slot, c, 1, inherited);
    hold_count_released(slot, inherited);
}

/* The same of a hold that the end of the call may not have credited yet. */
static inline void hold_release_early(struct slot *slot, struct sflight_call *c)
{
    bool inherited = call_is_inherited(c);

    slot = hold_drop(slot, c, 1, inherited);
    hold_count_released(slot, inherited);
}

/* The result, whose hold is the call, is the user's. */
static ALWAYS_INLINE void hold_hand_out(sflight_result *r)
{
    r->hold = handle_new(HANDLE_RESULT, r->hold);
}

/* The call of a result that the user has, or NULL.  function: the user's. */
static ALWAYS_INLINE struct sflight_call *hold_call(const sflight_result *r, const char *function)
{
    (void)function; /* where there are no handles */
    return r->hold != NULL ? handle_record(HANDLE_RESULT, r->hold, function) : NULL;
}

/* The same, and zeroes the caller's size bytes: the result is the user's no more. */
static ALWAYS_INLINE struct sflight_call *hold_hand_in(sflight_result *r, size_t size,
                                                       const char *function)
{
    (void)function; /* where there are no handles */
    struct sflight_call *call =
        r->hold != NULL ? handle_end(HANDLE_RESULT, r->hold, function) : NULL;
    memset(r, 0, size);
    return call;
}

/*
 * Delivers the result to a holder that has seen the gate open.  Fills *r, which then has the
 * hold, and returns 0; or -ENOTRECOVERABLE after a panic, with its message in *r.  Where there
 * is nothing to deliver, gives the hold up, zeroes *r and returns -EOWNERDEAD or -ESHUTDOWN.
 * leader: as result.leader.
 */
static ALWAYS_INLINE int hold_deliver(struct slot *slot, struct sflight_call *c, bool leader,
                                      sflight_result *r)
{
    uint64_t word = atomic_load_relaxed(&c->gate); /* the holder has seen it open */
    REQUIRE(word & GATE_OPEN);

    r->value = c->result.value;
    r->size = c->result.size;
    r->status = c->result.status;
    r->leader = leader;
    r->shared = !leader || c->result.n_followers != 0;
    r->followers = c->result.n_followers;
    r->hold = c;
    if (UNLIKELY(word & ENDING_BADLY))
        return hold_deliver_failure(slot, c, word, r);
    hold_hand_out(r);
    return 0;
}

/*
 * True if hold_deliver() has nothing to deliver of this call, but a value to destroy, perhaps.  By
 * a holder that has seen the gate open.
 */
static ALWAYS_INLINE bool hold_delivers_none(const struct sflight_call *c)
{
    uint64_t word = atomic_load_relaxed(&c->gate); /* as in hold_deliver() */

    return (word & (ENDING_ABANDONED | ENDING_SHUT)) && c->result.destroy != NULL;
}

/*
 * True if the hold is sole.  By a holder.  The gate of a call that ended in the short way stays
 * closed and without a hold.
 */
static ALWAYS_INLINE bool hold_is_sole(const struct sflight_call *c)
{
    return gate_is_untouched(&c->gate);
}

/*
 * Makes a sole hold an ordinary one, as if the call had ended in the general way; changes nothing
 * if it is one already.  By a holder.  Several threads may do so at once, to make holds from one
 * result: one of them opens the gate.
 */
static ALWAYS_INLINE void hold_open_sole(struct sflight_call *c)
{
    gate_open_untouched(&c->gate);
}

#endif
