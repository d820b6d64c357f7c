/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parts of a call's life that every call passes, inlined into the entry
 * points; what is rare is one call away, in call.c.
 */
#ifndef SFLIGHT_CALL_PATH_H
#define SFLIGHT_CALL_PATH_H

#include "call.h"
#include "clock.h"
#include "hash.h"

#include <errno.h>

enum {
    CALL_SPARES = 32,     /* records a slot keeps */
    CALL_KEY_KEPT = 1024, /* key memory up to this stays with a spare record */
};

/* ----------------------------------------------- what call.c does, if need be */

struct sflight_call *call_record_new(struct sflight_group *g);
bool call_key_long(struct sflight_call *call, const void *key, size_t len);
void call_discard_slow(struct slot *slot, struct sflight_call *call);
void call_not_led(struct slot *slot);
int call_claim_or_join_slow(struct slot *slot, const struct table_key *key, struct call_start start,
                            struct sflight_call *mine, bool spare, struct sflight_call **out,
                            unsigned *rank);
int call_shut(struct slot *slot, struct sflight_call *call);
void call_exit_slow(struct caller *caller, struct sflight_call *call);
void call_finish_slow(struct slot *slot, struct sflight_call *call, uint64_t ended, bool counted);
int call_deliver_failure(struct slot *slot, struct sflight_call *call, uint64_t word,
                         sflight_result *r);
struct slot *call_hold_drop(struct slot *slot, struct sflight_call *call);
struct slot *call_destroy_value(struct slot *slot, struct sflight_call *call);
void call_released_inherited(struct slot *slot);
void call_retire(struct slot *slot, struct sflight_call *call);

/* --------------------------------------------------------------- records */

/* At most TABLE_KEY_INLINE (24) bytes, by overlapping words. */
static ALWAYS_INLINE void key_copy_short(unsigned char *to, const unsigned char *from, size_t len)
{
    if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len != 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}

/* Gives back a record that nobody else can know. */
static ALWAYS_INLINE void call_discard(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(c->buffer != NULL || slot->n_spare >= slot->max_spare)) {
        call_discard_slow(slot, c);
        return;
    }
    c->outer = slot->spare;
    slot->spare = c;
    slot->n_spare++;
}

/* Nobody sees this before [CLAIM] publishes it. */
static ALWAYS_INLINE void call_reset(struct sflight_call *c, const struct call_start *start)
{
    atomic_store_relaxed(&c->state, 0);
    atomic_store_relaxed(&c->owner, start->owner);
    atomic_store_relaxed(&c->gate, 0);
    memset((void *)&c->result, 0, sizeof(c->result));
    c->result.generation = c->group->generation;
    atomic_store_relaxed(&c->result.kind, (unsigned char)start->kind);
}

/* A spare record, or a new one; or NULL. */
static ALWAYS_INLINE struct sflight_call *call_take(struct slot *slot)
{
    struct sflight_call *c = slot->spare;

    if (UNLIKELY(c == NULL))
        return call_record_new(slot->group);
    slot->spare = c->outer;
    slot->n_spare--;
    return c;
}

/* A record for the key, or NULL. */
static ALWAYS_INLINE struct sflight_call *call_new(struct slot *slot, const void *key, size_t len,
                                                   uint64_t hash, const struct call_start *start)
{
    struct sflight_call *c = call_take(slot);

    if (UNLIKELY(c == NULL))
        return NULL;
    if (LIKELY(len <= TABLE_KEY_INLINE)) {
        c->node.key = c->node.key_inline;
        key_copy_short(c->node.key_inline, key, len);
    } else if (!call_key_long(c, key, len)) {
        call_discard(slot, c);
        return NULL;
    }
    c->node.hash = hash;
    c->node.key_len = len;
    call_reset(c, start);
    if (UNLIKELY(slot->group->max_age_ns != 0))
        c->started_ns = clock_now_ns();
    return c;
}

/* ----------------------------------------------------------- claim or join */

/* A caller that blocks, and runs fn itself if it leads. */
#define CALL_START_BLOCKING(caller) ((struct call_start){caller, CALL_OF_LEADER, CALL_BLOCKING})

/*
 * Claims the key or joins its call.  Returns an enum call_role with *out set,
 * or -EDEADLK (this thread leads the key and would block), -EAGAIN (full), -ENOMEM or
 * -ESHUTDOWN.  spare: NULL, or a record for this key, which is used up if *out
 * is set to it and otherwise stays the caller's.  *rank: for a follower, how
 * many blocked before it.
 */
static ALWAYS_INLINE int call_claim_or_join(struct sflight_group *g, struct slot *slot,
                                            const void *key, size_t len, struct call_start start,
                                            struct sflight_call *spare, struct sflight_call **out,
                                            unsigned *rank)
{
    struct sflight_call *mine = spare;

    if (UNLIKELY(atomic_load_relaxed(&g->flags) & GROUP_CLOSED)) /* looked at again below */
        return -ESHUTDOWN;
    uint64_t hash = mine != NULL ? mine->node.hash : hash_key(key, len, g->seed);
    link_word *bucket = table_empty_bucket(&g->table, hash);
    if (bucket != NULL) {
        if (mine == NULL && (mine = call_new(slot, key, len, hash, &start)) == NULL)
            return -ENOMEM;
        slot_count(slot, COUNT_LED); /* before the claim, so that a drainer cannot miss it */
        if (LIKELY(table_claim_empty(bucket, &mine->node))) {
            *out = mine;
            goto leads;
        }
        call_not_led(slot);
    }
    struct table_key wanted = {hash, key, len};
    struct sflight_call *found = NULL;
    unsigned before = 0;
    int role = call_claim_or_join_slow(slot, &wanted, start, mine, spare != NULL, &found, &before);
    *out = found;
    *rank = before;
    if (role != CALL_LEADS)
        return role;
leads:
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) & GROUP_CLOSED))
        return call_shut(slot, *out);
    return CALL_LEADS;
}

/* -------------------------------------------------------------------- lead */

/* The leader's fn begins and has ended, for the list of what the caller leads. */
static ALWAYS_INLINE void call_enter(struct caller *caller, struct sflight_call *c,
                                     struct invocation *invocation)
{
    c->invocation = invocation;
    c->outer = caller->leading;
    caller->leading = c;
}

static ALWAYS_INLINE void call_exit(struct caller *caller, struct sflight_call *c)
{
    if (UNLIKELY(caller->leading != c))
        call_exit_slow(caller, c);
    caller->leading = c->outer;
}

/* Ends a call that this thread leads; `ended`: 0 or ENDED_...; it keeps one hold. */
static ALWAYS_INLINE void call_finish(struct slot *slot, struct sflight_call *c, uint64_t ended)
{
    bool counted = false;

    if (LIKELY(table_unseen(&c->node))) {
        slot_count(slot, COUNT_ENDED);
        counted = true;
        if (LIKELY(table_remove_unseen(&c->node))) {
            /* Nobody else knows the record: this is for its holders alone. */
            atomic_store_relaxed(&c->gate, GATE_OPEN | ended |
                                               GATE_HOLD * (c->result.extra_holds + UINT64_C(1)));
            group_call_ended(slot->group);
            return;
        }
        /* Somebody has come just now. */
    }
    call_finish_slow(slot, c, ended, counted);
}

/* ------------------------------------------------------------------- holds */

/* Nobody can reach the result any more: the record is no longer needed. */
static ALWAYS_INLINE void call_give_back(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(c->result.seen))
        call_retire(slot, c);
    else
        call_discard(slot, c);
}

/* Returns the slot to use from here on: destroy may have come to another thread. */
static ALWAYS_INLINE struct slot *call_last(struct slot *slot, struct sflight_call *c)
{
    if (c->result.destroy != NULL)
        slot = call_destroy_value(slot, c);
    call_give_back(slot, c);
    return slot;
}

/* A result has been given up; the last touch: the group may go now. */
static ALWAYS_INLINE void call_count_released(struct slot *slot, bool inherited)
{
    if (UNLIKELY(inherited))
        call_released_inherited(slot);
    else
        slot_count(slot, COUNT_RELEASED);
}

/* Gives up one hold of a call whose gate is open. */
static ALWAYS_INLINE void call_release(struct slot *slot, struct sflight_call *c)
{
    bool inherited = call_is_inherited(c, slot->group);

    /* The only holder need not say so; the others' last words are acquired. */
    if (LIKELY(gate_holds(atomic_load_acquire(&c->gate)) == 1)) /* [HOLD] */
        slot = call_last(slot, c);
    else
        slot = call_hold_drop(slot, c);
    call_count_released(slot, inherited);
}

/*
 * Fills *r from a call with its gate open, for a caller that has a hold, and
 * returns 0; or, where there is nothing to deliver, gives the hold up, zeroes
 * *r and returns why not.  A panic delivers its message and -ENOTRECOVERABLE.
 */
static ALWAYS_INLINE int call_deliver(struct slot *slot, struct sflight_call *c, bool leader,
                                      sflight_result *r)
{
    uint64_t word = atomic_load_relaxed(&c->gate); /* the caller has seen it open */

    r->value = c->result.value;
    r->size = c->result.size;
    r->status = c->result.status;
    r->leader = leader;
    r->shared = !leader || c->result.n_followers != 0;
    r->followers = c->result.n_followers;
    r->hold = c;
    if (UNLIKELY(word & ENDED_BADLY))
        return call_deliver_failure(slot, c, word, r);
    return 0;
}

#endif
