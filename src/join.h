/* SPDX-License-Identifier: BSD-2-Clause */
/* Claiming a key or joining its call; forgetting. */
#ifndef SFLIGHT_JOIN_H
#define SFLIGHT_JOIN_H

#include "finish.h"
#include "hash.h"

enum call_role {
    CALL_LEADS,   /* this caller must run its fn and finish the call */
    CALL_FOLLOWS, /* joined: it must wait for the call */
};

/* What is rare in a claim. */
void call_not_led(struct slot *slot);
int call_claim_or_join_slow(struct slot *slot, const struct table_key *key, struct call_start start,
                            struct sflight_call *mine, bool spare, struct sflight_call **out,
                            unsigned *rank);

/* Nobody waits for the call any more. */
bool call_unwanted(const struct sflight_call *call);

/* Somebody has left, and still has a hold: forgets the call if that leaves it to nobody. */
void forget_unwanted(struct slot *slot, struct sflight_call *c);

/* As the functions of the same names in singleflight.h. */
int call_forget(struct sflight_group *g, const void *key, size_t key_len);
int call_forget_unshared(struct sflight_group *g, const void *key, size_t key_len);

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

#endif
