/* SPDX-License-Identifier: BSD-2-Clause */
/* The value of a call, and who holds it. */
#ifndef SFLIGHT_HOLD_H
#define SFLIGHT_HOLD_H

#include "call.h"

#include <errno.h>

/* Sets the value; the one before, if there is one, is destroyed. */
void hold_set_value(struct sflight_call *call, void *value, size_t size,
                    sflight_destroy_fn *destroy, void *ctx);

/* Value memory from the group's allocator; size may be 0.  NULL if there is none. */
void *hold_alloc_value(struct sflight_call *call, size_t size);

/* One more hold, by somebody who has one. */
void hold_retain(struct slot *slot, struct sflight_call *call);

/* In a forked child: nobody will end this call, which the forking thread has joined. */
void hold_end_by_fork(struct sflight_call *call);

int hold_deliver_failure(struct slot *slot, struct sflight_call *call, uint64_t word,
                         sflight_result *r);
struct slot *hold_drop(struct slot *slot, struct sflight_call *call);
struct slot *hold_destroy_value(struct slot *slot, struct sflight_call *call);
void hold_released_inherited(struct slot *slot);

/* Nobody can reach the result any more: the record is no longer needed. */
static ALWAYS_INLINE void hold_give_back(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(c->result.needs_grace))
        call_retire(slot, c);
    else
        call_discard(slot, c);
}

/* Returns the slot to use from here on: destroy may have come to another thread. */
static ALWAYS_INLINE struct slot *hold_last(struct slot *slot, struct sflight_call *c)
{
    if (c->result.destroy != NULL)
        slot = thread_slot_again(hold_destroy_value(slot, c)->group); /* it may have forked */
    hold_give_back(slot, c);
    return slot;
}

/* The result of a future's call, which has ended, becomes the caller's. */
static inline void hold_take(struct slot *slot, struct sflight_call *c)
{
    gauges_count(slot, COUNT_TAKEN);
    if (UNLIKELY(call_is_inherited(c)))
        atomic_add_relaxed(&slot->group->n_inherited, 1);
}

/* A result has been given up; the last touch: the group may go now. */
static ALWAYS_INLINE void hold_count_released(struct slot *slot, bool inherited)
{
    if (UNLIKELY(inherited))
        hold_released_inherited(slot);
    else
        gauges_count(slot, COUNT_RELEASED);
}

/* Gives up one hold of a call whose gate is open. */
static ALWAYS_INLINE void hold_release(struct slot *slot, struct sflight_call *c)
{
    bool inherited = call_is_inherited(c);

    if (LIKELY(gate_hold_is_last(&c->gate))) /* and need not say so */
        slot = hold_last(slot, c);
    else
        slot = hold_drop(slot, c);
    hold_count_released(slot, inherited);
}

/*
 * Fills *r from a call with its gate open, for a caller that has a hold, and
 * returns 0; or, where there is nothing to deliver, gives the hold up, zeroes
 * *r and returns why not.  A panic delivers its message and -ENOTRECOVERABLE.
 */
static ALWAYS_INLINE int hold_deliver(struct slot *slot, struct sflight_call *c, bool leader,
                                      sflight_result *r)
{
    uint64_t word = atomic_load_relaxed(&c->gate); /* the caller has seen it open */
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
    return 0;
}

/*
 * The gate of a call that nobody joined stays closed, without a hold, when the call has
 * ended (do.h): its result then has one holder, whoever has it.
 */
static ALWAYS_INLINE bool hold_is_sole(const struct sflight_call *c)
{
    return gate_is_untouched(&c->gate);
}

/*
 * From here on it is as if the call had ended the general way.  Several threads may
 * come here at once, to make holds from one result: one of them opens the gate.
 */
static ALWAYS_INLINE void hold_open_sole(struct sflight_call *c)
{
    gate_open_untouched(&c->gate);
}

#endif
