/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A blocking caller with one key, from claim to release: sflight_do().
 *
 * There are two ways through it.  The GENERAL way, do_any(), is the one that all other rooms
 * describe: join_or_claim(), then wait_for_end() or lead_run(), then hold_deliver().
 *
 * The SHORT way is that of a call which nobody joins, the common case, in one piece:
 *
 *   do_claim_short()     one CAS puts the record into an empty bucket, or one whose word says that
 *                        the key is not there;
 *   lead_invoke()        runs fn;
 *   do_finish_short()    one CAS takes the record out again, if nobody has looked at it;
 *   do_release_short()   the record is prepared for the next call.
 *
 * Where its bucket has other calls, do_company() looks at them: it claims beside them, in a
 * section, and the rest is the same; or of a call that it joins, it waits for the end.
 *
 * Those two CAS are its only writes to words that other threads write.  Besides, it has as few
 * stores as possible, because a locked instruction waits for all stores before it.  So it uses a
 * PREPARED record, of which each slot may have one (slot->prepared).  That is a record as such a
 * call leaves it, in which hardly anything is to be filled in:
 *   - state and gate are 0; there is no invocation, no waiter, and no value to destroy;
 *   - the owner is the slot's thread, the kind is CALL_OF_LEADER;
 *   - of the result only value, size, ctx and status may be set, and NEEDS_MEMORY.
 * The gate of a call that ended in the short way stays 0: its hold is sole (hold.h), and
 * r->hold names the record.  Where another hold is made, or the hold is given up in the general
 * way, the gate is opened first (hold_open_sole()).
 *
 * A call leaves the short way for the general one before the claim, if something there is not as
 * the short way needs it; after fn, if somebody has looked at the record, or fn has panicked; and
 * at the release, if the record cannot be prepared.
 */
#ifndef SFLIGHT_DO_H
#define SFLIGHT_DO_H

#include "lead.h"
#include "wait.h"

/*
 * Makes a spare record the slot's prepared one, and returns it; or NULL, if none is spare.  slot:
 * the calling thread's own, which has no prepared record.  May be called in a section.
 */
struct sflight_call *do_prepare(struct slot *slot);

/* The general way, for any group and key.  As sflight_do_until(); arguments have been checked. */
int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
           const struct timespec *deadline, sflight_result *r);

/*
 * The same for a bucket that is not empty, or the frozen word that stands for none, in a group
 * without a limit, a runtime or an end: joins the key's call, or claims it beside what is there.
 * slot: the calling thread's own.
 */
int do_company(sflight_group *g, struct slot *slot, link_word *bucket, const struct table_key *key,
               sflight_fn *fn, void *arg, const struct timespec *deadline, sflight_result *r);

/*
 * Gives up a hold, sole or not: the general way of sflight_result_release().  slot: the calling
 * thread's own, or NULL if it is not in the cache.
 */
void do_release_any(struct slot *slot, struct sflight_call *call);

/* The slot's prepared record, which is made if need be.  Otherwise as do_prepare(). */
static ALWAYS_INLINE struct sflight_call *do_prepared(struct slot *slot)
{
    return LIKELY(slot->prepared != NULL) ? slot->prepared : do_prepare(slot);
}

/* Fills a prepared record in for the key; false if there is no memory for one so long. */
static ALWAYS_INLINE bool do_fill(struct sflight_call *c, const void *key, size_t len,
                                  uint64_t hash)
{
    if (UNLIKELY(!call_set_key(c, key, len, CALL_KEY_KEPT, hash)))
        return false;
    c->result.value = NULL;
    c->result.size = 0;
    return true;
}

/*
 * Claims the key in the short way, with the slot's prepared record, in a bucket with this word, for
 * which table_claim_unlooked() is allowed.  Returns the record, which has no fingerprint: it is not
 * in its bucket for long, as a rule; or NULL, and nothing has changed.  slot: the calling thread's
 * own.
 */
static ALWAYS_INLINE struct sflight_call *do_claim_short(struct slot *slot, link_word *bucket,
                                                         uintptr_t word, const void *key,
                                                         size_t len, uint64_t hash)
{
    struct sflight_call *c = do_prepared(slot);

    if (UNLIKELY(c == NULL))
        return NULL;
    if (UNLIKELY(!do_fill(c, key, len, hash)))
        return NULL;
    /* Both before the claim: for a child that another thread forks, and for drainers. */
    slot->prepared = NULL;
    gauges_count_own(slot, COUNT_LED);
    if (LIKELY(table_claim_unlooked(bucket, word, &c->node, 0)))
        return c;
    join_not_led(slot);
    slot->prepared = c;
    return NULL;
}

/*
 * Ends a call that was claimed in the short way, after fn: takes its record out of the table, fills
 * *r, which then has the sole hold, and returns true.  Returns false if somebody has looked at the
 * record, or fn has panicked: the call has not ended, and lead_end() is to end it.  alone: claimed
 * by do_claim_short() in an empty bucket.  traits: as lead_ran() has found them.  *end_counted:
 * COUNT_ENDED has been counted.
 */
static ALWAYS_INLINE bool do_finish_short(sflight_group *g, struct slot *slot,
                                          struct sflight_call *c, unsigned traits,
                                          sflight_result *r, bool alone, bool *end_counted)
{
    uintptr_t word = alone ? (uintptr_t)&c->node : table_unseen_word(&c->node);

    *end_counted = false;
    if (UNLIKELY((traits & ~CALL_STATUS_SET) != 0 || !table_unseen(&c->node, word)))
        return false;
    gauges_count_own(slot, COUNT_ENDED);
    *end_counted = true;
    if (UNLIKELY(!(alone ? table_remove_alone(&c->node) : table_remove_unseen(&c->node, word))))
        return false;
    PROBE(complete, c);
    finish_check_drainers(g);
    r->value = c->result.value;
    r->size = c->result.size;
    r->status = c->result.status;
    r->leader = true;
    r->shared = false;
    r->followers = 0;
    r->hold = c;
    hold_hand_out(r);
    return true;
}

/*
 * Makes the record of a sole hold such that it can be prepared: destroys its value, if it has a
 * destroy.  By the holder.  Returns the slot to be used from then on.
 */
static ALWAYS_INLINE struct slot *do_destroy_short(struct slot *slot, struct sflight_call *c)
{
    if (c->result.destroy != NULL) {
        slot = hold_destroy_value(slot, c, 1);
        c->result.destroy = NULL;
    }
    c->result.traits = 0;
    return slot;
}

/*
 * Gives up a sole hold, and makes the record the slot's prepared one.  Returns false, and nothing
 * has changed, if there is more to do: a value is to be destroyed, the record
 * is not of this thread, or the slot has a prepared record.  slot: the calling thread's own.
 */
static ALWAYS_INLINE bool do_release_short(struct slot *slot, struct sflight_call *c)
{
    REQUIRE(hold_is_sole(c));
    if (UNLIKELY(c->result.destroy != NULL || c->result.traits != 0 || call_is_inherited(c) ||
                 atomic_load_relaxed(&c->owner) != &thread_self.agent || slot->prepared != NULL))
        return false;
    slot->prepared = c;
    gauges_count_own(slot, COUNT_RELEASED); /* the last use of the group, which may go now */
    return true;
}

/*
 * Gives up one of several holds.  Returns false, and nothing has changed, if it is the only one, or
 * is of before a fork.  slot: the calling thread's own.
 */
static ALWAYS_INLINE bool do_release_one(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(!gate_has_others(&c->gate) || call_is_inherited(c)))
        return false;
    if (UNLIKELY(gate_drop(&c->gate)))
        hold_last_ends(slot, c); /* RACE: the others have been given up meanwhile */
    else
        gauges_count_own(slot, COUNT_RELEASED); /* the last use of the group, which may go now */
    return true;
}

/* Leads a call that has been claimed with a prepared record; otherwise as do_one(). */
static ALWAYS_INLINE int do_lead(sflight_group *g, struct slot *slot, struct sflight_call *call,
                                 bool alone, sflight_fn *fn, void *arg, sflight_result *r)
{
    bool end_counted;

    PROBE(claim, call);
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(group_has(g, GROUP_CLOSED))) {
        memset(r, 0, sizeof(*r));
        return finish_shut(slot, call);
    }
    unsigned traits = lead_invoke(&thread_self.agent, call, fn, arg);
    if (LIKELY(do_finish_short(g, slot, call, traits, r, alone, &end_counted)))
        return 0;
    slot = thread_slot_again(g); /* fn may have forked */
    if (LIKELY(lead_end(slot, call, end_counted)))
        return hold_deliver(slot, call, true, r);
    memset(r, 0, sizeof(*r));
    return -EOWNERDEAD;
}

/* As sflight_do_until(), in the short way as far as that goes; arguments have been checked. */
static ALWAYS_INLINE int do_one(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                void *arg, const struct timespec *deadline, sflight_result *r)
{
    struct slot *slot = thread_slot_cached(g);
    if (UNLIKELY(slot == NULL))
        return do_any(g, key, key_len, fn, arg, deadline, r);
    uint32_t flags = atomic_load_relaxed(&g->flags); /* looked at again after a claim */
    if (UNLIKELY(flags & (GROUP_CLOSED | GROUP_FIBERS | GROUP_AGES)))
        return do_any(g, key, key_len, fn, arg, deadline, r);
    uint64_t hash = hash_key(key, key_len, g->seed);
    link_word *bucket = table_only_bucket(&g->table, hash);
    /* Only a hint: the CAS decides. */
    if (UNLIKELY(atomic_load_relaxed(bucket) != 0)) {
        if (LIKELY(!(flags & GROUP_LIMITED)))
            return do_company(g, slot, bucket, &(struct table_key){hash, key, key_len}, fn, arg,
                              deadline, r);
    } else {
        struct sflight_call *call = do_claim_short(slot, bucket, 0, key, key_len, hash);
        if (LIKELY(call != NULL))
            return do_lead(g, slot, call, true, fn, arg, r);
    }
    return do_any(g, key, key_len, fn, arg, deadline, r);
}

#endif
