/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way of a call that nobody joins, from claim to release, in one piece, and
 * with as few stores as can be: a locked instruction waits for all of them.
 *
 * It uses a READY record, one that each slot may have.  That is a record as such a
 * call leaves it, so that the next has hardly anything to fill in:
 *   - state and gate are 0, there is no invocation, waiter or value to destroy;
 *   - owner is the slot's thread, kind is CALL_OF_LEADER;
 *   - of the result only value, size, ctx and status may be set.
 * The gate of a call that ended so stays 0: its result has one holder.  If that is to
 * change, or if it is given up the general way, it is opened (hold_open_sole).
 *
 * What turns out otherwise goes the general way, before the claim or after fn.
 */
#ifndef SFLIGHT_DO_H
#define SFLIGHT_DO_H

#include "lead.h"
#include "wait.h"

/* Gives the slot a ready record, and returns it; or NULL, if none is spare. */
struct sflight_call *do_prepare(struct slot *slot);

/* As sflight_do_until(), whatever the group and its calls are like. */
int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
           const struct timespec *deadline, sflight_result *r);

/* Gives a hold up; slot: NULL if it is not at hand. */
void do_release_any(struct slot *slot, struct sflight_call *call);

/*
 * Claims the key; or returns NULL, and nothing has happened.  slot: the thread's own,
 * as thread_slot_cached() finds it.
 */
static ALWAYS_INLINE struct sflight_call *do_claim_short(struct sflight_group *g, struct slot *slot,
                                                         const void *key, size_t len, uint64_t hash)
{
    link_word *bucket = table_empty_bucket(&g->table, hash);
    struct sflight_call *c = slot->prepared;

    if (UNLIKELY(bucket == NULL || g->max_age_ns != 0 ||
                 (c == NULL && (c = do_prepare(slot)) == NULL)))
        return NULL;
    if (LIKELY(len <= TABLE_KEY_INLINE)) {
        c->node.key = c->node.key_inline;
        call_copy_key_short(c->node.key_inline, key, len);
    } else if (len > CALL_KEY_KEPT || !call_key_long(c, key, len)) {
        return NULL;
    }
    c->node.hash = hash;
    c->node.key_len = len;
    c->result.value = NULL;
    c->result.size = 0;
    /* Both before the claim: for a child that another thread forks; for drainers. */
    slot->prepared = NULL;
    gauges_count_own(slot, COUNT_LED);
    if (LIKELY(table_claim_empty(bucket, &c->node)))
        return c;
    join_not_led(slot);
    slot->prepared = c;
    return NULL;
}

/*
 * fn has returned: takes the call out of the table and fills *r, which is the only
 * hold.  False if somebody has looked at the record, or fn did not simply return:
 * then only *end_counted may have changed, to say that COUNT_ENDED has been.
 */
static ALWAYS_INLINE bool do_finish_short(struct slot *slot, struct sflight_call *c,
                                          sflight_result *r, bool *end_counted)
{
    *end_counted = false;
    if (UNLIKELY(c->result.panicked || !table_unseen(&c->node)))
        return false;
    gauges_count_own(slot, COUNT_ENDED);
    *end_counted = true;
    if (UNLIKELY(!table_remove_unseen(&c->node)))
        return false;
    finish_check_drainers(c->group);
    r->value = c->result.value;
    r->size = c->result.size;
    r->status = c->result.status;
    r->leader = true;
    r->shared = false;
    r->followers = 0;
    r->hold = c;
    return true;
}

/* Before such a record can be ready; returns the slot to use from here on. */
static ALWAYS_INLINE struct slot *do_destroy_short(struct slot *slot, struct sflight_call *c)
{
    if (c->result.destroy != NULL) {
        slot = hold_destroy_value(slot, c);
        c->result.destroy = NULL;
    }
    c->result.status_set = false;
    return slot;
}

/*
 * Gives up the only hold on a call that ended so, and makes its record ready.
 * False, and nothing has happened, where that is not all.
 */
static ALWAYS_INLINE bool do_release_short(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(!hold_is_sole(c) || c->result.destroy != NULL || c->result.status_set ||
                 call_is_inherited(c) || atomic_load_relaxed(&c->owner) != &thread_self.agent ||
                 slot->prepared != NULL))
        return false;
    slot->prepared = c;
    gauges_count_own(slot, COUNT_RELEASED); /* the last touch: the group may go now */
    return true;
}

static ALWAYS_INLINE int do_one(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                void *arg, const struct timespec *deadline, sflight_result *r)
{
    struct slot *slot = thread_slot_cached(g);
    struct sflight_call *call = NULL;
    bool end_counted;

    if (LIKELY(!group_has(g, GROUP_CLOSED | GROUP_FIBERS) && slot != NULL))
        call = do_claim_short(g, slot, key, key_len, hash_key(key, key_len, g->seed));
    if (UNLIKELY(call == NULL))
        return do_any(g, key, key_len, fn, arg, deadline, r);
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(group_has(g, GROUP_CLOSED))) {
        memset(r, 0, sizeof(*r));
        return finish_shut(slot, call);
    }
    lead_invoke(&thread_self.agent, call, fn, arg);
    if (LIKELY(do_finish_short(slot, call, r, &end_counted)))
        return 0;
    slot = thread_slot_again(g); /* fn may have forked */
    lead_end(slot, call, end_counted);
    return hold_deliver(slot, call, true, r);
}

#endif
