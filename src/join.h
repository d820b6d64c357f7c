/* SPDX-License-Identifier: BSD-2-Clause */
/* Claiming a key or joining its call; forgetting. */
#ifndef SFLIGHT_JOIN_H
#define SFLIGHT_JOIN_H

#include "finish.h"
#include "hash.h"

enum join_role {
    JOIN_LEADS,   /* this caller must run its fn and finish the call */
    JOIN_FOLLOWS, /* joined: it must wait for the call */
};

/* What is rare in a claim. */
void join_not_led(struct slot *slot);
int join_or_claim_seen(struct slot *slot, const struct table_key *key, struct newcomer newcomer,
                       struct sflight_call *record, bool given, struct sflight_call **out,
                       unsigned *rank);

/* Nobody waits for the call any more. */
bool join_is_unwanted(struct sflight_call *call);

/* The caller has left the call to nobody, forgot it so, and still has a hold. */
void join_unlink_unwanted(struct slot *slot, struct sflight_call *c);

/* As the functions of the same names in singleflight.h. */
int join_forget(struct sflight_group *g, const void *key, size_t key_len);
int join_forget_unshared(struct sflight_group *g, const void *key, size_t key_len);

/*
 * Claims the key or joins its call.  Returns an enum join_role with *out set,
 * or -EDEADLK (this thread leads the key and would block), -EAGAIN (full), -ENOMEM or
 * -ESHUTDOWN.  spare: NULL, or a record for this key, which is used up if *out
 * is set to it and otherwise stays the caller's.  *rank: for a follower, how
 * many blocked before it.
 */
static ALWAYS_INLINE int join_or_claim(struct sflight_group *g, struct slot *slot, const void *key,
                                       size_t len, struct newcomer newcomer,
                                       struct sflight_call *given, struct sflight_call **out,
                                       unsigned *rank)
{
    struct sflight_call *record = given;

    if (UNLIKELY(atomic_load_relaxed(&g->flags) & GROUP_CLOSED)) /* looked at again below */
        return -ESHUTDOWN;
    uint64_t hash = record != NULL ? record->node.hash : hash_key(key, len, g->seed);
    link_word *bucket = table_empty_bucket(&g->table, hash);
    if (bucket != NULL) {
        if (record == NULL && (record = call_new(slot, key, len, hash, &newcomer)) == NULL)
            return -ENOMEM;
        gauges_count(slot, COUNT_LED); /* before the claim, so that a drainer cannot miss it */
        if (LIKELY(table_claim_empty(bucket, &record->node))) {
            *out = record;
            goto leads;
        }
        join_not_led(slot);
    }
    struct table_key wanted = {hash, key, len};
    struct sflight_call *found = NULL;
    unsigned before = 0;
    int role = join_or_claim_seen(slot, &wanted, newcomer, record, given != NULL, &found, &before);
    *out = found;
    *rank = before;
    if (role != JOIN_LEADS)
        return role;
leads:
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(atomic_load_relaxed(&g->flags) & GROUP_CLOSED))
        return finish_shut(slot, *out);
    return JOIN_LEADS;
}

#endif
