/* SPDX-License-Identifier: BSD-2-Clause */
/* table_test.h - a table, items to put into it, and the steps that threads take on it. */
#ifndef TABLE_TEST_H
#define TABLE_TEST_H

#include "unit_test.h"

#include "reclaim.h"
#include "table.h"

struct item {
    _Alignas(CACHE_LINE) struct table_node node;
    uint64_t hash;
    bool closed; /* there, but to be passed over */
};

struct fixture {
    struct flaky flaky;
    struct alloc alloc;
    struct table table;
};

static inline struct table *table_up(struct fixture *f, size_t shards, size_t buckets)
{
    memset((void *)f, 0, sizeof(*f));
    alloc_init(&f->alloc, &f->flaky, flaky_alloc, flaky_free);
    assert_int_equal(table_init(&f->table, &f->alloc, shards, buckets), 0);
    return &f->table;
}

static inline void table_down(struct fixture *f)
{
    table_destroy(&f->table);
    assert_int_equal(f->alloc.bytes, 0);
    assert_int_equal(f->flaky.blocks, 0);
}

static inline struct item *item_set(struct item *i, uint64_t hash, unsigned number)
{
    memset((void *)i, 0, sizeof(*i));
    i->hash = hash;
    i->node.hash = table_short_hash(hash);
    i->node.key = i->node.key_inline;
    i->node.key_len = sizeof(number);
    memcpy(i->node.key_inline, &number, sizeof(number));
    return i;
}

/* What another thread does while a search looks at a node of the right key. */
struct meanwhile {
    struct item *found;
    unsigned n_looks;
    void (*act)(struct meanwhile *m, struct item *at);
    struct table *table;
    struct item *other;
};

/* This thread plays the other one, too, which is in no section. */
static inline void act_as_another(struct meanwhile *m, struct item *at)
{
    REQUIRE_SECTION_ENDS();
    m->act(m, at);
    REQUIRE_SECTION_BEGINS();
}

static inline bool match(struct table_node *node, void *ctx)
{
    struct meanwhile *m = ctx;
    struct item *i = container_of(node, struct item, node);
    m->n_looks++;
    if (m->act != NULL)
        act_as_another(m, i);
    if (i->closed)
        return false;
    m->found = i;
    return true;
}

static inline enum table_found search_with(struct table *t, const struct item *key,
                                           struct item *claim, struct meanwhile *m, bool *crowded)
{
    struct table_search s = {.key = {key->hash, key->node.key, key->node.key_len},
                             .match = match,
                             .ctx = m,
                             .claim = claim != NULL ? &claim->node : NULL};
    struct lane *lane = reclaim_enter(&reclaim_no_lane);
    enum table_found found = table_search_in_section(t, &s);
    reclaim_leave(lane);
    if (crowded != NULL)
        *crowded = s.crowded;
    return found;
}

static inline enum table_found search_or_claim(struct table *t, struct item *i)
{
    struct meanwhile m = {0};
    return search_with(t, i, i, &m, NULL);
}

static inline bool claim_empty(struct table *t, struct item *i)
{
    link_word *bucket = table_only_bucket(t, i->hash);
    return atomic_load(bucket) == 0 &&
           table_claim_unlooked(bucket, 0, &i->node, link_fingerprint(i->hash));
}

/* As join_or_claim(): in a bucket whose word says that the key is not there. */
static inline bool claim_unlooked(struct table *t, struct item *i)
{
    link_word *bucket = table_only_bucket(t, i->hash);
    uintptr_t word = atomic_load(bucket);
    return (word == 0 || table_may_claim_unlooked(word, i->hash)) &&
           table_claim_unlooked(bucket, word, &i->node, link_fingerprint(i->hash));
}

/* As its owner sees it. */
static inline bool unseen(struct item *i)
{
    return table_unseen(&i->node, table_unseen_word(&i->node));
}

static inline bool remove_unseen(struct item *i)
{
    return table_remove_unseen(&i->node, table_unseen_word(&i->node));
}

static inline bool present(struct table *t, struct item *i)
{
    struct meanwhile m = {0};
    bool matched = search_with(t, i, NULL, &m, NULL) == TABLE_MATCHED;
    return matched && m.found == i;
}

static inline void claim(struct table *t, struct item *i)
{
    assert_int_equal(search_or_claim(t, i), TABLE_CLAIMED);
}

static inline void unlink_item(struct table *t, struct item *i)
{
    struct lane *lane = reclaim_enter(&reclaim_no_lane);
    table_unlink_in_section(t, &i->node);
    reclaim_leave(lane);
}

/* The first step of a remover. */
static inline void mark(struct item *i)
{
    (void)atomic_or_acq_rel(&i->node.next, LINK_MARK);
}

static inline bool reachable(const struct item *i)
{
    struct table_node *n = link_node(atomic_load(i->node.bucket));
    while (n != NULL && n != &i->node)
        n = link_node(atomic_load(&n->next));
    return n != NULL;
}

#endif
