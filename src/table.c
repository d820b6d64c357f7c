/* SPDX-License-Identifier: BSD-2-Clause */
/* See table.h for the picture and the argument. */
#include "table.h"

#include <errno.h>
#include <string.h>

int table_init(struct table *t, struct alloc *alloc, size_t n_shards, size_t buckets_per_shard)
{
    t->alloc = alloc;
    t->shard_mask = n_shards - 1;
    atomic_store_relaxed(&t->n_buckets, n_shards * buckets_per_shard); /* a statistic */
    t->shards = alloc_get(alloc, n_shards * sizeof(struct shard), CACHE_LINE);
    if (t->shards == NULL)
        return -ENOMEM;
    memset((void *)t->shards, 0, n_shards * sizeof(struct shard));
    for (size_t i = 0; i < n_shards; i++)
        if (shard_init(&t->shards[i], alloc, buckets_per_shard) != 0) {
            table_destroy(t);
            return -ENOMEM;
        }
    return 0;
}

void table_destroy(struct table *t)
{
    for (size_t i = 0; i <= t->shard_mask; i++)
        shard_destroy(&t->shards[i], t->alloc);
    alloc_put(t->alloc, t->shards, (t->shard_mask + 1) * sizeof(struct shard));
}

/* Walks a chain from its first node; true if the search ends there.  *n_passed counts nodes. */
static bool chain_match(struct table_node *node, struct table_search *s, unsigned *n_passed)
{
    while (node != NULL) {
        uintptr_t next = atomic_load_acquire(&node->next); /* [CLAIM] */
        /* The call of a marked node has been forgotten or has ended. */
        if (!(next & LINK_MARK) && table_key_equal(node, &s->key) && s->match(node, s->ctx))
            return true;
        node = link_node(next);
        ++*n_passed;
    }
    return false;
}

bool table_claim_in_section(struct table_search *s)
{
    REQUIRE_IN_SECTION();
    s->crowded = s->n_passed >= TABLE_CROWDED;
    return table_claim_beside(s->bucket, &s->word, s->claim, link_fingerprint(s->key.hash));
}

enum table_found table_search_in_section(struct table *t, struct table_search *s)
{
    REQUIRE_IN_SECTION();
    struct shard *shard = table_shard(t, s->key.hash);
    unsigned n_passed = 0;

again:;
    struct bucket_array *newest = atomic_load_acquire(&shard->newest); /* [GROW-ARRAY] */
    for (struct bucket_array *a = shard_older(newest); a != NULL; a = shard_older(a)) {
        uintptr_t word = shard_freeze(a, &a->buckets[s->key.hash & a->mask]);
        if (chain_match(link_node(word), s, &n_passed))
            return TABLE_MATCHED;
    }

    link_word *bucket = &newest->buckets[s->key.hash & newest->mask];
    uintptr_t word = atomic_load_acquire(bucket);
    for (;;) {
        if (UNLIKELY(word & LINK_FROZEN))
            goto again; /* whoever froze it had seen a newer array [FREEZE] */
        if (!table_set_seen(bucket, &word))
            continue; /* RACE: the bucket has changed */
        n_passed = 0;
        if (chain_match(link_node(word), s, &n_passed))
            return TABLE_MATCHED;
        s->bucket = bucket;
        s->word = word;
        s->n_passed = n_passed;
        if (s->claim == NULL)
            return TABLE_ABSENT;
        if (table_claim_in_section(s))
            return TABLE_CLAIMED;
        word = s->word;
    }
}

/* What takes the place of a node whose next word this is: that of its successor, or 0. */
static uintptr_t successor_word(uintptr_t next)
{
    return link_node(next) != NULL ? (next & ~LINK_MARK) | LINK_SEEN : 0;
}

/*
 * Replaces the first node of a bucket, which *word names, by its successor, and updates *word.
 * Returns false, with the word as it is now in *word, if the bucket has changed.
 */
static bool bucket_drop_first(struct table *t, link_word *bucket, uintptr_t *word,
                              uintptr_t successor)
{
    struct table_node *first = link_node(*word);
    uintptr_t shorter = successor | (*word & LINK_FROZEN);
    /* The bucket's array must be found before the node can be reused. */
    struct bucket_array *drains =
        shorter == LINK_FROZEN ? shard_array_of(table_shard_of_node(t, first), bucket) : NULL;
    if (!atomic_cas_release(bucket, word, shorter)) /* [UNLINK] */
        return false;
    *word = shorter;
    if (drains != NULL)
        shard_drained(drains);
    return true;
}

/* Unlinks every marked node from the bucket's start up to `last`, and that, marked or not. */
static void chain_purge(struct table *t, link_word *bucket, const struct table_node *last)
{
again:; /* RACE: the bucket has changed */
    uintptr_t word = atomic_load_acquire(bucket);
    if (link_node(word) == NULL)
        return;
    if (!table_set_seen(bucket, &word))
        goto again; /* RACE: the bucket has changed */
    link_word *from = bucket;
    uintptr_t from_word = word; /* without a mark: `from` is not being removed */
    struct table_node *node = link_node(word);
    while (node != NULL) {
        uintptr_t next = atomic_load_acquire(&node->next);
        uintptr_t successor = successor_word(next);
        if (!(next & LINK_MARK) && node != last) {
            from = &node->next;
            from_word = next;
        } else if (from == bucket) {
            if (!bucket_drop_first(t, bucket, &word, successor))
                goto again; /* RACE: claimed since, or another remover was first */
        } else {
            if (!atomic_cas_release(from, &from_word, successor)) /* [UNLINK] */
                goto again; /* RACE: another remover was there */
            from_word = successor;
        }
        if (node == last)
            return;
        node = link_node(next);
    }
}

void table_pass_by_in_section(struct table_node *node)
{
    REQUIRE_IN_SECTION();
    uintptr_t word = atomic_load_relaxed(node->bucket); /* the CAS decides */

    /* Who claims beside it does not look for what has left from behind it: it comes with this. */
    if (link_node(word) == node &&
        link_node(atomic_load_acquire(&node->next)) == NULL) /* [UNLINK] */
        (void)atomic_cas_release(node->bucket, &word,        /* [CLAIM] */
                                 (word & ~LINK_FINGERPRINT) | LINK_PASSED);
}

/*
 * Before a node is removed that others may look at.  With nothing behind it there is nothing that a
 * mark would keep.  Returns its next word.
 */
static uintptr_t node_mark(struct table_node *node)
{
    uintptr_t next = atomic_load_acquire(&node->next); /* [UNLINK] */

    if (link_node(next) != NULL && !(next & LINK_MARK))
        next = atomic_or_acq_rel(&node->next, LINK_MARK); /* [MARK] */
    return next;
}

void table_unlink_in_section(struct table *t, struct table_node *node)
{
    REQUIRE_IN_SECTION();
    (void)node_mark(node);
    chain_purge(t, node->bucket, node);
}

bool table_unlink_first(struct table *t, struct table_node *node)
{
    REQUIRE_NO_SECTION();
    uintptr_t word = atomic_load_acquire(node->bucket);
    if (link_node(word) != node)
        return false;
    return bucket_drop_first(t, node->bucket, &word, successor_word(node_mark(node)));
}

link_word *table_next_bucket(struct table *t, struct table_place *at)
{
    REQUIRE_NO_SECTION();
    for (; at->shard <= t->shard_mask; at->shard++) {
        if (at->array == NULL)
            at->array = atomic_load_acquire(&t->shards[at->shard].newest); /* [GROW-ARRAY] */
        for (; at->array != NULL; at->array = shard_older(at->array), at->bucket = 0)
            while (at->bucket <= at->array->mask) {
                link_word *bucket = &at->array->buckets[at->bucket++];
                /* What was claimed before the walk is seen in any order. */
                if (link_node(atomic_load_relaxed(bucket)) != NULL)
                    return bucket;
            }
    }
    return NULL;
}

void table_look_in_section(link_word *bucket, void (*look)(struct table_node *, void *), void *ctx)
{
    REQUIRE_IN_SECTION();
    uintptr_t next = atomic_load_acquire(bucket); /* [CLAIM] */

    while (!table_set_seen(bucket, &next))
        ;
    for (struct table_node *node = link_node(next); node != NULL; node = link_node(next)) {
        look(node, ctx);
        next = atomic_load_acquire(&node->next); /* [CLAIM] */
    }
}

void table_relieve(struct table *t, uint64_t hash)
{
    REQUIRE_NO_SECTION();
    size_t more = shard_grow(table_shard(t, hash), t->alloc, hash);
    if (more != 0)
        atomic_add_relaxed(&t->n_buckets, more); /* a statistic */
}
