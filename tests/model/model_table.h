/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For harnesses that need table.c only: nodes, sections, and a grace period
 * after which a node is really freed (see model_call.h).
 */
#ifndef MODEL_TABLE_H
#define MODEL_TABLE_H

#include "model.h"

#ifndef MODEL_THREADS
#define MODEL_THREADS 3
#endif

#include "shard.c"
#include "table.c"

void *alloc_get(struct alloc *a, size_t size, size_t align)
{
    (void)a;
    return aligned_alloc(align, size); /* the low bits of a node's address are free */
}

void alloc_put(struct alloc *a, void *ptr, size_t size)
{
    (void)a, (void)size;
    free(ptr);
}

static _Atomic(int) model_in_section[MODEL_THREADS];

static void section_enter(int thread)
{
    atomic_store_relaxed(&model_in_section[thread], 1);
    atomic_fence_seq_cst();
}

static void section_leave(int thread)
{
    atomic_store_release(&model_in_section[thread], 0);
}

static void node_retire(struct table_node *node)
{
    atomic_fence_seq_cst();
    for (int i = 0; i < MODEL_THREADS; i++)
        model_await(atomic_load_acquire(&model_in_section[i]) == 0);
    free(node);
}

static struct shard shard;
static struct table table;

static struct bucket_array *array_make(size_t n, struct bucket_array *older)
{
    struct bucket_array *a = malloc(sizeof(*a));
    a->buckets = aligned_alloc(SHARD_ALIGN, SHARD_ALIGN);
    a->mask = n - 1;
    a->previous = older;
    atomic_store_relaxed(&a->older, older);
    atomic_store_relaxed(&a->n_drained, 0);
    atomic_store_relaxed(&a->sweep, 0);
    for (size_t i = 0; i < n; i++)
        atomic_store_relaxed(&a->buckets[i], 0);
    return a;
}

static void table_make(void)
{
    table.shards = &shard;
    atomic_store_relaxed(&shard.newest, array_make(1, NULL));
    shard_settle(&shard);
}

/* One bucket for all.  With -DAPART keys have fingerprints of their own; else one for all. */
static uint64_t hash_of(unsigned char key)
{
#ifdef APART
    return (uint64_t)(key % 8) << 32;
#else
    (void)key;
    return 0;
#endif
}

static void node_key(struct table_node *node, unsigned char key)
{
    node->hash = table_short_hash(hash_of(key));
    node->key_len = 1;
    node->key = node->key_inline;
    node->key_inline[0] = key;
}

static struct table_node *node_make(unsigned char key)
{
    struct table_node *node = aligned_alloc(_Alignof(struct table_node), sizeof(*node));
    node_key(node, key);
    return node;
}

/* As join_or_claim(), outside of a section. */
static bool node_claim_unlooked(struct table_node *node)
{
    uint64_t hash = (uint64_t)node->hash << 32;
    link_word *bucket = table_only_bucket(&table, hash);
    uintptr_t word = atomic_load_relaxed(bucket);
    return (word == 0 || table_may_claim_unlooked(word, hash)) &&
           table_claim_unlooked(bucket, word, node, link_fingerprint(hash));
}

/* Removes a node of one's own, as finish_call() and finish_closed() do, and frees it. */
static void node_remove(int thread, struct table_node *node)
{
    if (table_unseen(node, table_unseen_word(node)) &&
        table_remove_unseen(node, table_unseen_word(node))) {
        free(node); /* nobody has seen it */
        return;
    }
    if (!table_unlink_first(&table, node)) {
        section_enter(thread);
        table_unlink_in_section(&table, node);
        section_leave(thread);
    }
    node_retire(node);
}

static bool match_any(struct table_node *node, void *ctx)
{
    *(struct table_node **)ctx = node;
    return true;
}

/* In a section: the node with the key, or NULL, and then `claim` (or NULL) has been inserted. */
static struct table_node *node_search(unsigned char key, struct table_node *claim)
{
    struct table_node *found = NULL;
    struct table_search search;

    search.key.hash = hash_of(key);
    search.key.data = &key;
    search.key.len = 1;
    search.match = match_any;
    search.ctx = &found;
    search.claim = claim;
    (void)table_search_in_section(&table, &search);
    return found;
}

static uintptr_t bucket_now(void)
{
    return atomic_load_relaxed(&atomic_load_relaxed(&shard.newest)->buckets[0]);
}

#endif
