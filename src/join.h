/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who gets a key: a newcomer claims it, or joins its call; and what makes a call lose its key
 * before its end: forgetting.
 *
 * join_or_claim() tries three ways, the cheapest first:
 *   an empty bucket    the newcomer's record is put in by one CAS, without a section; also where
 *                      the bucket's word says that the key is not there (link_excludes());
 *   join_straight()    the key's call stands among the first in its bucket, and joining takes one
 *                      addition; or none does, and one CAS puts the newcomer's in front;
 *   join_search()      a section, a walk through every array, and an insertion or a join.
 * A claim is counted (COUNT_LED, or COUNT_SEARCHES meanwhile) before it is tried, so that no
 * drainer misses it; and after a claim the newcomer looks once more whether the group has been
 * closed [DRAIN].
 *
 * A call is forgotten by key (join_forget()), by age (join_match()), or because nobody waits for
 * it any more (join_is_unwanted(), and who leaves it last).  It stays in its bucket until it
 * ends, and is then unlinked by record, never by key, so a newer call for the key is not touched.
 *
 * In all of this room, slot is the calling thread's or the common one, and no function is called
 * inside a section.
 */
#ifndef SFLIGHT_JOIN_H
#define SFLIGHT_JOIN_H

#include "finish.h"
#include "hash.h"
#include "remember.h"

enum join_role {
    JOIN_LEADS,   /* claimed: the newcomer leads the call, and must end it */
    JOIN_FOLLOWS, /* joined: the newcomer has a claim on a hold, and must take it or leave */
};

/*
 * Takes COUNT_LED back, for a claim that failed, and tells drainers, which may wait for the end of
 * the call that did not begin.
 */
void join_not_led(struct slot *slot);

/*
 * The general way of join_or_claim(): whatever the bucket has.  record: NULL, or one for the key.
 * given: as there; a record that was not given is used up here in any case.  lane: NULL; or the
 * section of a straight join that has failed, for which COUNT_SEARCHES has been counted.
 */
int join_search(struct slot *slot, const struct table_key *key, const struct newcomer *newcomer,
                struct sflight_call *record, bool given, struct lane *lane,
                struct sflight_call **out, unsigned *rank);

/*
 * True if nobody waits for the call any more.  In a group that forgets unwanted calls nobody
 * joins it any more then.  Elsewhere it is a hint: it orders nothing, but it is exact when nobody
 * joins or leaves.  By the leader or a holder.
 */
bool join_is_unwanted(struct sflight_call *call);

/* As the functions of the same names in singleflight.h; arguments have been checked. */
int join_forget(struct sflight_group *g, const void *key, size_t key_len);
int join_forget_unshared(struct sflight_group *g, const void *key, size_t key_len);

/*
 * Joins the key's call, if it stands among the first in this bucket, as a call that many want does.
 * Returns it; or NULL, COUNT_SEARCHES has been counted, and the thread is in the section *lane.
 * Then *word is the bucket's if it has nothing of that key that could be joined, and the key may be
 * claimed beside; 0: the general way decides.  slot: the calling thread's own.
 */
static ALWAYS_INLINE struct sflight_call *
join_straight(struct slot *slot, link_word *bucket, const struct table_key *key,
              const struct newcomer *newcomer, struct lane **lane, unsigned *rank, uintptr_t *word)
{
    unsigned n_passed = 0;

    gauges_count_own(slot, COUNT_SEARCHES); /* keeps the group while this thread is in it */
    *lane = reclaim_enter(thread_self.lane);
    *word = table_see_in_section(bucket);
    for (struct table_node *node = link_node(*word); node != NULL;) {
        uintptr_t next = atomic_load_acquire(&node->next); /* [CLAIM] */
        if (LIKELY(!(next & LINK_MARK) && table_key_equal(node, key))) {
            struct sflight_call *c = container_of(node, struct sflight_call, node);
            /* As join_match() has it; the addition decides. */
            uint64_t state = atomic_load_acquire(&c->state); /* [CLOSE] */
            if (LIKELY(!(state & (STATE_CLOSED | STATE_FORGOTTEN)))) {
                if (UNLIKELY((newcomer->owner != NULL &&
                              atomic_load_relaxed(&c->owner) == newcomer->owner) ||
                             !state_join(&c->state, newcomer->unit, &state)))
                    break;
                *rank = state_blocking(state);
                reclaim_leave(*lane);
                PROBE(join, c);
                gauges_count_own(slot, COUNT_JOINED); /* who is told of it may count on it */
                gauges_count_own(slot, COUNT_SEARCHES_ENDED);
                return c;
            }
        }
        node = link_node(next);
        if (++n_passed == TABLE_CROWDED)
            break;
        if (node == NULL)
            return NULL;
    }
    *word = 0;
    return NULL;
}

/* Joins the call that the slot remembers in its state; where others do so, too, by a joint. */
static ALWAYS_INLINE bool join_by_state(struct slot *slot, struct sflight_call *c)
{
    /* Of a key's calls one at most is neither closed nor forgotten.  The addition decides. */
    uint64_t state = atomic_load_relaxed(&c->state);

    if (UNLIKELY(state & (STATE_CLOSED | STATE_FORGOTTEN)))
        return false;
    if (UNLIKELY(slot->n_met + 1 > JOINT_AFTER) && remember_joint(slot))
        return true;
    if (UNLIKELY(!state_join(&c->state, STATE_ASYNC, &state)))
        return false;                          /* RACE: closed since it was looked at */
    slot->n_met += state > slot->joined_state; /* who leaves makes it smaller */
    slot->joined_state = state + STATE_ASYNC;
    return true;
}

/*
 * Joins the key's call, if it is the one that the slot remembers: then no hash is needed, no search
 * and no section.  Returns it, or NULL: then nothing has been joined.  By an agent that does not
 * block.  slot: the calling thread's.
 */
static ALWAYS_INLINE struct sflight_call *join_remembered(struct slot *slot, const void *key,
                                                          size_t len)
{
    struct sflight_call *c = slot->remembered;

    if (c == NULL || c->node.key_len != len || !bytes_equal(c->node.key, key, len))
        return NULL;
    if (UNLIKELY(group_has(slot->group, GROUP_CLOSED)))
        return NULL;
    struct joint *joint = slot->joint;
    gauges_count_own(slot, COUNT_SEARCHES); /* keeps the group while this thread is in it */
    if (LIKELY((joint != NULL && joint_join(joint)) || join_by_state(slot, c))) {
        PROBE(join, c);
        gauges_count_own(slot, COUNT_JOINED);
        gauges_count_own(slot, COUNT_SEARCHES_ENDED);
        return c;
    }
    gauges_count_own(slot, COUNT_SEARCHES_ENDED);
    remember_none(slot);
    return NULL;
}

/* Counts a call that was claimed in the section of join_straight(), and leaves that. */
static ALWAYS_INLINE void join_leads_beside(struct slot *slot, struct lane *lane)
{
    reclaim_leave(lane);
    gauges_count_own(slot, COUNT_LED);
    gauges_count_own(slot, COUNT_SEARCHES_ENDED);
}

/* After a claim: JOIN_LEADS; or -ESHUTDOWN, and the call has ended. */
static ALWAYS_INLINE int join_leads(struct sflight_group *g, struct slot *slot,
                                    struct sflight_call *call)
{
    PROBE(claim, call);
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) & GROUP_CLOSED))
        return finish_shut(slot, call);
    return JOIN_LEADS;
}

/* A record that is a batch's, and has its key. */
struct join_given {
    struct sflight_call *record;
    uint64_t hash; /* of the key */
};

/*
 * Claims the key in a bucket with that word, for which table_claim_unlooked() is allowed.  False:
 * the word has changed.
 */
static ALWAYS_INLINE bool join_claims_unlooked(struct slot *slot, link_word *bucket, uintptr_t word,
                                               uint64_t hash, struct sflight_call *record)
{
    gauges_count(slot, COUNT_LED); /* before the claim, so that a drainer cannot miss it */
    if (LIKELY(table_claim_unlooked(bucket, word, &record->node, link_fingerprint(hash))))
        return true;
    join_not_led(slot);
    return false;
}

/* As join_or_claim(), from the hash on; the group, which is the slot's, was not closed.  record: as
 * given.record. */
static ALWAYS_INLINE int join_hashed(struct sflight_group *g, struct slot *slot,
                                     struct table_key wanted, struct newcomer newcomer,
                                     struct sflight_call *record, struct sflight_call **out,
                                     unsigned *rank)
{
    const void *key = wanted.data;
    size_t len = wanted.len;
    uint64_t hash = wanted.hash;
    bool given = record != NULL;

    link_word *bucket = table_only_bucket(&g->table, hash);
    uintptr_t word = atomic_load_relaxed(bucket); /* a hint */
    struct lane *lane = NULL;
    if (word == 0 || table_may_claim_unlooked(word, hash)) {
        if (record == NULL && (record = call_new(slot, key, len, hash, &newcomer)) == NULL)
            return -ENOMEM;
        if (LIKELY(join_claims_unlooked(slot, bucket, word, hash, record))) {
            *out = record;
            goto leads;
        }
    } else if (!(word & LINK_FROZEN) && !slot->common && !group_has(g, GROUP_LIMITED)) {
        struct sflight_call *c =
            join_straight(slot, bucket, &wanted, &newcomer, &lane, rank, &word);
        if (LIKELY(c != NULL)) {
            *out = c;
            return JOIN_FOLLOWS;
        }
        /* Nothing is allocated for a record, so it is allowed inside the section. */
        struct sflight_call *spare = word != 0 && record == NULL ? call_spare(slot) : NULL;
        if (spare != NULL && key_fits(spare->memory, len))
            record = call_new(slot, key, len, hash, &newcomer);
        if (word != 0 && record != NULL &&
            table_claim_beside(bucket, &word, &record->node, link_fingerprint(hash))) {
            join_leads_beside(slot, lane);
            *out = record;
            goto leads;
        }
    }
    struct table_key searched = wanted; /* `wanted` and `newcomer` are in no memory */
    struct newcomer searcher = newcomer;
    struct sflight_call *found = NULL;
    unsigned before = 0;
    int role = join_search(slot, &searched, &searcher, record, given, lane, &found, &before);
    *out = found;
    *rank = before;
    if (role != JOIN_LEADS)
        return role;
leads:
    return join_leads(g, slot, *out);
}

/*
 * Claims the key or joins its call.  Returns an enum join_role, with the call in *out; or -EDEADLK
 * (the newcomer blocks, and its agent leads the key's call), -EAGAIN (the call has max_waiters
 * followers), -ENOMEM or -ESHUTDOWN.  given: NULL, or a record for this key: it is used up if
 * *out is set to it, and otherwise stays the calling function's.  *rank: for a follower, how many
 * blocked before it.
 */
static ALWAYS_INLINE int join_or_claim(struct sflight_group *g, struct slot *slot, const void *key,
                                       size_t len, struct newcomer newcomer,
                                       const struct join_given *given, struct sflight_call **out,
                                       unsigned *rank)
{
    if (UNLIKELY(group_has(g, GROUP_CLOSED))) /* looked at again after a claim */
        return -ESHUTDOWN;
    uint64_t hash = given != NULL ? given->hash : hash_key(key, len, g->seed);
    return join_hashed(g, slot, (struct table_key){hash, key, len}, newcomer,
                       given != NULL ? given->record : NULL, out, rank);
}

/* The same by a newcomer that does not block, whose slot may remember the call. */
static ALWAYS_INLINE int join_or_claim_async(struct sflight_group *g, struct slot *slot,
                                             const void *key, size_t len, enum call_kind kind,
                                             uint64_t state, struct sflight_call **call)
{
    unsigned rank;

    if ((*call = join_remembered(slot, key, len)) != NULL)
        return JOIN_FOLLOWS;
    int rc = join_or_claim(g, slot, key, len, (struct newcomer){NULL, kind, STATE_ASYNC, state},
                           NULL, call, &rank);
    if (rc == JOIN_FOLLOWS)
        remember_joined(slot, *call);
    return rc;
}

#endif
