/* SPDX-License-Identifier: BSD-2-Clause */
/* See table.h for the picture and the argument. */
#include "table.h"

#include <errno.h>
#include <string.h>

enum {
    GROWTH_SHIFT = 3, /* an array is 8 times as large as the one before: few to be searched */
    SWEEP = 8,        /* further buckets that a search of an old array freezes: about a line */
    SAMPLE = 32,      /* buckets that are looked at; 3/8 in use is one node for two buckets */
};

static size_t array_bytes(size_t n)
{
    return offsetof(struct bucket_array, buckets) + n * sizeof(link_word);
}

static struct bucket_array *array_new(struct table *t, size_t n, struct bucket_array *previous)
{
    struct bucket_array *a = alloc_get_zeroed(t->alloc, array_bytes(n));
    if (a == NULL)
        return NULL;
    a->mask = n - 1;
    a->previous = previous;
    atomic_store_relaxed(&a->older, previous); /* published by [GROW-ARRAY] */
    atomic_add_relaxed(&t->n_buckets, n);      /* a statistic */
    return a;
}

int table_init(struct table *t, struct alloc *alloc, size_t n_shards, size_t buckets_per_shard)
{
    t->alloc = alloc;
    t->shard_mask = n_shards - 1;
    atomic_store_relaxed(&t->n_buckets, 0);
    t->shards = alloc_get(alloc, n_shards * sizeof(struct shard), CACHE_LINE);
    if (t->shards == NULL)
        return -ENOMEM;
    memset((void *)t->shards, 0, n_shards * sizeof(struct shard));
    for (size_t i = 0; i < n_shards; i++) {
        struct bucket_array *a = array_new(t, buckets_per_shard, NULL);
        if (a == NULL) {
            table_destroy(t);
            return -ENOMEM;
        }
        atomic_store_relaxed(&t->shards[i].newest, a); /* nobody else yet */
    }
    return 0;
}

void table_destroy(struct table *t)
{
    for (size_t i = 0; i <= t->shard_mask; i++) {
        struct bucket_array *a = atomic_load_relaxed(&t->shards[i].newest);
        while (a != NULL) {
            struct bucket_array *previous = a->previous;
            alloc_put(t->alloc, a, array_bytes(a->mask + 1));
            a = previous;
        }
    }
    alloc_put(t->alloc, t->shards, (t->shard_mask + 1) * sizeof(struct shard));
}

static bool array_drained(struct bucket_array *a)
{
    /* Once true, true for ever.  Where it is true, what emptied the buckets is seen. */
    return atomic_load_acquire(&a->n_drained) == a->mask + 1; /* [DRAINED] */
}

/* The next array to be searched; takes drained ones out of the list on the way. */
static struct bucket_array *array_older(struct bucket_array *a)
{
    for (;;) {
        struct bucket_array *older = atomic_load_acquire(&a->older); /* [DRAINED] */
        if (LIKELY(older == NULL || !array_drained(older)))
            return older;
        struct bucket_array *next = atomic_load_acquire(&older->older); /* [DRAINED] */
        (void)atomic_cas_release(&a->older, &older, next);              /* [DRAINED] */
    }
}

/* The array that the node's bucket is in. */
static struct bucket_array *bucket_owner(struct table *t, struct table_node *node)
{
    struct bucket_array *a = atomic_load_acquire(&table_shard(t, node->hash)->newest);
    while (node->bucket < a->buckets || node->bucket > a->buckets + a->mask)
        a = a->previous;
    return a;
}

/* To be called by the function that made a bucket frozen and empty, which happens once. */
static void bucket_drained(struct bucket_array *a)
{
    (void)atomic_add_release(&a->n_drained, 1); /* [DRAINED] */
}

/* Freezes the bucket; returns its word, with FROZEN and, unless the bucket is empty, SEEN. */
static uintptr_t bucket_freeze(struct bucket_array *a, link_word *bucket)
{
    uintptr_t word = atomic_load_acquire(bucket);
    while (!(word & LINK_FROZEN)) {
        uintptr_t frozen = word | LINK_FROZEN | (word != 0 ? LINK_SEEN : 0);
        if (atomic_cas_acq_rel(bucket, &word, frozen)) { /* [FREEZE] */
            if (frozen == LINK_FROZEN)
                bucket_drained(a);
            return frozen;
        }
    }
    return word;
}

/* Freezes a few more buckets of an old array, so that those nobody asks for drain as well. */
static void array_sweep(struct bucket_array *a)
{
    if (atomic_load_relaxed(&a->sweep) > a->mask) /* a cursor: any order will do */
        return;
    size_t first = atomic_add_relaxed(&a->sweep, SWEEP);
    for (size_t i = first; i < first + SWEEP && i <= a->mask; i++)
        (void)bucket_freeze(a, &a->buckets[i]);
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
    return table_claim_beside(s->bucket, &s->word, s->claim);
}

enum table_found table_search_in_section(struct table *t, struct table_search *s)
{
    REQUIRE_IN_SECTION();
    struct shard *shard = table_shard(t, s->key.hash);
    unsigned n_passed = 0;

again:;
    struct bucket_array *newest = atomic_load_acquire(&shard->newest); /* [GROW-ARRAY] */
    for (struct bucket_array *a = array_older(newest); a != NULL; a = array_older(a)) {
        uintptr_t word = bucket_freeze(a, &a->buckets[s->key.hash & a->mask]);
        if (chain_match(link_node(word), s, &n_passed))
            return TABLE_MATCHED;
        array_sweep(a);
    }

    link_word *bucket = &newest->buckets[s->key.hash & newest->mask];
    uintptr_t word = atomic_load_acquire(bucket);
    for (;;) {
        if (UNLIKELY(word & LINK_FROZEN))
            goto again; /* whoever froze it had seen a newer array [FREEZE] */
        if (word != 0 && !(word & LINK_SEEN)) {
            if (!atomic_cas_acquire(bucket, &word, word | LINK_SEEN)) /* [SEEN] */
                continue; /* RACE: claimed, seen or removed since */
            word |= LINK_SEEN;
        }
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

/*
 * Replaces the first node of a bucket, which *word names, by its successor, and updates *word.
 * Returns false, with the word as it is now in *word, if the bucket has changed.
 */
static bool bucket_drop_first(struct table *t, link_word *bucket, uintptr_t *word,
                              struct table_node *successor)
{
    struct table_node *first = link_node(*word);
    uintptr_t shorter =
        (uintptr_t)successor | (*word & LINK_FROZEN) | (successor != NULL ? LINK_SEEN : 0);
    /* The bucket's array must be found before the node can be reused. */
    struct bucket_array *drains = shorter == LINK_FROZEN ? bucket_owner(t, first) : NULL;
    if (!atomic_cas_release(bucket, word, shorter)) /* [UNLINK] */
        return false;
    *word = shorter;
    if (drains != NULL)
        bucket_drained(drains);
    return true;
}

/* Unlinks every marked node from the bucket's start up to `last`, `last` included. */
static void chain_purge(struct table *t, link_word *bucket, const struct table_node *last)
{
again:; /* RACE: the bucket has changed */
    uintptr_t word = atomic_load_acquire(bucket);
    if (link_node(word) == NULL)
        return;
    if (!(word & LINK_SEEN)) {
        if (!atomic_cas_acquire(bucket, &word, word | LINK_SEEN)) /* [SEEN] */
            goto again; /* RACE: claimed, seen or removed since */
        word |= LINK_SEEN;
    }
    link_word *from = bucket;
    struct table_node *node = link_node(word);
    while (node != NULL) {
        uintptr_t next = atomic_load_acquire(&node->next);
        struct table_node *successor = link_node(next);
        if (!(next & LINK_MARK)) {
            from = &node->next;
        } else if (from == bucket) {
            if (!bucket_drop_first(t, bucket, &word, successor))
                goto again; /* RACE: claimed since, or another remover was first */
        } else {
            uintptr_t expected = (uintptr_t)node; /* without a mark: `from` is not being removed */
            if (!atomic_cas_release(from, &expected, (uintptr_t)successor)) /* [UNLINK] */
                goto again; /* RACE: another remover was there */
        }
        if (node == last)
            return;
        node = successor;
    }
}

void table_unlink_in_section(struct table *t, struct table_node *node)
{
    REQUIRE_IN_SECTION();
    (void)atomic_or_release(&node->next, LINK_MARK); /* [MARK] */
    chain_purge(t, node->bucket, node);
}

bool table_unlink_first(struct table *t, struct table_node *node)
{
    REQUIRE_NO_SECTION();
    uintptr_t word = atomic_load_acquire(node->bucket);
    if (link_node(word) != node)
        return false;
    /* With nothing behind it there is nothing that a mark would keep: insertions come in front. */
    uintptr_t next = atomic_load_acquire(&node->next); /* [UNLINK] */
    if (link_node(next) != NULL && !(next & LINK_MARK))
        next = atomic_or_acq_rel(&node->next, LINK_MARK); /* [MARK] */
    return bucket_drop_first(t, node->bucket, &word, link_node(next));
}

/* True if the buckets at this hash are mostly in use: a sample. */
static bool array_full(const struct bucket_array *a, uint64_t hash)
{
    size_t n = a->mask + 1 < SAMPLE ? a->mask + 1 : SAMPLE;
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        used += link_node(atomic_load_relaxed(&a->buckets[(hash + i) & a->mask])) != NULL;
    return used * 8 >= n * 3;
}

void table_relieve(struct table *t, uint64_t hash)
{
    REQUIRE_NO_SECTION();
    struct shard *shard = table_shard(t, hash);
    struct bucket_array *newest = atomic_load_acquire(&shard->newest);

    /* A long chain in an array that is not full comes from the keys: growing would not help. */
    if (!array_full(newest, hash) || newest->mask + 1 >= (SIZE_MAX >> (GROWTH_SHIFT + 8)))
        return;
    if (atomic_swap_acquire(&shard->growing, true)) /* [GROW-ONE] */
        return;
    if (newest == atomic_load_relaxed(&shard->newest)) { /* ordered by [GROW-ONE] */
        struct bucket_array *larger = array_new(t, (newest->mask + 1) << GROWTH_SHIFT, newest);
        if (larger != NULL)                               /* otherwise chains just get longer */
            atomic_store_release(&shard->newest, larger); /* [GROW-ARRAY] */
    }
    atomic_store_release(&shard->growing, false); /* [GROW-ONE] */
}
