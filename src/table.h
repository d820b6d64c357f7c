/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sharded, growing hash table of intrusive nodes, claimed and removed by compare-and-swap.
 * It knows keys, not what the nodes mean.  The OWNER of a node is whoever claimed it.
 *
 * A bucket is one word: the first node of a chain, with some bits.
 *
 *     bucket word                node.next                    node.next
 *   +-------------------+      +-------------------+        +----------------+
 *   | node | FP | F | S |----->| node | FP | M | S |------->| NULL | FP | M |
 *   +-------------------+      +-------------------+        +----------------+
 *
 *   S   SEEN         somebody may have dereferenced the first node.  Set by a walk, inside
 *                    a section, before it dereferences that node; also by an owner (table_see()),
 *                    and where a bucket is frozen.  A claim puts a node in without SEEN; but for
 *                    that of an unseen node, each removal leaves SEEN on what it leaves in the
 *                    bucket.
 *   F   FROZEN       nothing is inserted here any more: a larger array is in use.  Set by who
 *                    makes that, by newcomers, and by a search; never cleared.
 *   FP  FINGERPRINT  of a node that is alone in its bucket: it was claimed in an empty one, with
 *                    a fingerprint; or LINK_PASSED, which table_pass_by_in_section() puts in its
 *                    place.  Otherwise 0.
 *   M   MARK         this node is being removed: its next pointer is final.  Set by whoever
 *                    removes it, unless it is the last; cleared when the node is claimed again.
 *
 * A node's next word is the bucket's as it was when the node was claimed, with all its bits,
 * until something behind it is removed.  That of a node claimed in an empty bucket names no node,
 * and has the node's own fingerprint.
 *
 * Claiming.  A node goes in at the head only, by a CAS from the very word at which the
 * search for its key began.  Every insertion changes that word, so success means that
 * nothing was inserted since: the key is unique.  No ABA: the first node of a word that was
 * searched had been SEEN, so it is not reused before the searcher's section ends.  A word
 * that is empty, or whose fingerprint excludes the key (link_excludes()), says by itself that
 * the key is not there, of whichever nodes it has been the word meanwhile.  So claiming there
 * dereferences nothing, and needs no section.
 *
 * Removing.  If the word is still the node without SEEN, nobody has looked at the node,
 * nobody can, and nothing behind it has changed (every walk starts by setting SEEN): one CAS
 * to what was there before, and its owner can reuse it at once, without a grace period.
 * Otherwise as Harris (2001) and Michael (2002) do: mark, then unlink.  Nothing can change
 * behind the last node, for insertions come in front, so that needs no mark.  A remover walks
 * the chain and unlinks every marked node up to its own.  Another remover may have unlinked
 * this one: in either case the node is unreachable when the removal returns.
 *
 * Growing: shard.h.
 */
#ifndef SFLIGHT_TABLE_H
#define SFLIGHT_TABLE_H

#include "bytes.h"
#include "shard.h"

#define TABLE_KEY_INLINE BYTES_SHORT

enum { TABLE_CROWDED = 3 }; /* a search that passes so many nodes has the shard looked at */

struct table_node {
    _Alignas(LINK_BITS + 1) link_word next;
    union {
        link_word *bucket; /* where the node was inserted */
        void *spare;       /* the owner's own, while the node is nowhere */
    };
    size_t key_len;
    const unsigned char *key; /* key_inline, or memory of the node's owner */
    unsigned char key_inline[TABLE_KEY_INLINE];
    uint32_t hash; /* table_short_hash() */
    uint32_t tag;  /* the owner's own */
};

/* What a node keeps of its key's hash: it chooses the shard, and tells most other keys. */
static ALWAYS_INLINE uint32_t table_short_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

#define LINK_MARK ((uintptr_t)1) /* in node.next, which is never frozen */

/* The node that a bucket's or a node's word names, or NULL. */
static inline struct table_node *link_node(uintptr_t word)
{
    return (struct table_node *)(word & ~LINK_BITS);
}

struct table {
    struct shard *shards;
    size_t shard_mask;
    struct alloc *alloc;
    _Atomic(uint64_t) n_buckets;
};

/* Sets *t up; both numbers are powers of two.  Returns 0, or -ENOMEM with nothing left over. */
int table_init(struct table *t, struct alloc *alloc, size_t n_shards, size_t buckets_per_shard);

/* Frees all arrays.  No other thread uses the table; nodes are not looked at. */
void table_destroy(struct table *t);

/* By the high bits; a shard chooses the bucket by the low ones. */
static inline struct shard *table_shard(struct table *t, uint64_t hash)
{
    return &t->shards[(hash >> 48) & t->shard_mask];
}

static inline struct shard *table_shard_of_node(struct table *t, const struct table_node *node)
{
    return table_shard(t, (uint64_t)node->hash << 32);
}

/* As shard_only_bucket(). */
static ALWAYS_INLINE link_word *table_only_bucket(struct table *t, uint64_t hash)
{
    return shard_only_bucket(table_shard(t, hash), hash);
}

struct table_key {
    uint64_t hash;
    const void *data;
    size_t len;
};

/* True if the node has this key. */
static inline bool table_key_equal(const struct table_node *node, const struct table_key *key)
{
    return node->hash == table_short_hash(key->hash) && node->key_len == key->len &&
           bytes_equal(node->key, key->data, key->len);
}

/* Has the first node of a bucket with this word been SEEN, and may others still come there? */
static ALWAYS_INLINE bool table_word_seen(uintptr_t word)
{
    return (word & (LINK_SEEN | LINK_FROZEN)) == LINK_SEEN;
}

/*
 * Sets SEEN, if the word names a node: from then on that may be dereferenced.  False, with the word
 * as it is now, if it has changed.
 */
static ALWAYS_INLINE bool table_set_seen(link_word *bucket, uintptr_t *word)
{
    if (link_node(*word) == NULL || (*word & LINK_SEEN))
        return true;
    if (!atomic_cas_acquire(bucket, word, *word | LINK_SEEN)) /* [SEEN] */
        return false; /* RACE: claimed, seen or removed since */
    *word |= LINK_SEEN;
    return true;
}

/*
 * The word of a bucket, whose first node may be looked at inside the section; 0 if there is none,
 * or the bucket is frozen or changes at this moment: table_search_in_section() decides.
 */
static ALWAYS_INLINE uintptr_t table_see_in_section(link_word *bucket)
{
    REQUIRE_IN_SECTION();
    uintptr_t word = atomic_load_acquire(bucket); /* [CLAIM] */
    if (LIKELY(table_word_seen(word)))
        return word;
    return word == 0 || (word & LINK_FROZEN) || !table_set_seen(bucket, &word) ? 0 : word;
}

/*
 * Claims the key of the calling function's node, which nothing in the bucket had as this was its
 * word; false, with the word as it is now, if that has changed.  fingerprint: the node's, or 0.
 */
static ALWAYS_INLINE bool table_claim(link_word *bucket, uintptr_t *word, struct table_node *node,
                                      uintptr_t fingerprint)
{
    bool alone = *word == 0;
    REQUIRE(!(*word & LINK_FROZEN));
    node->bucket = bucket;
    atomic_store_relaxed(&node->next, alone ? fingerprint : *word); /* published by the CAS */
    return atomic_cas_acq_rel(bucket, word,
                              (uintptr_t)node | (alone ? fingerprint : 0)); /* [CLAIM] */
}

/* The same in the section in which the word was searched. */
static ALWAYS_INLINE bool table_claim_beside(link_word *bucket, uintptr_t *word,
                                             struct table_node *node, uintptr_t fingerprint)
{
    REQUIRE_IN_SECTION();
    return table_claim(bucket, word, node, fingerprint);
}

/* The same without a section: the word is empty, or excludes the key. */
static ALWAYS_INLINE bool table_claim_unlooked(link_word *bucket, uintptr_t word,
                                               struct table_node *node, uintptr_t fingerprint)
{
    REQUIRE_NO_SECTION();
    return table_claim(bucket, &word, node, fingerprint);
}

/* True if a newcomer may claim the key of this hash by table_claim_unlooked() in such a bucket. */
static ALWAYS_INLINE bool table_may_claim_unlooked(uintptr_t word, uint64_t hash)
{
    return !(word & LINK_FROZEN) && link_excludes(word, hash);
}

/* The bucket's word while the node is first there and nobody has looked at it.  By its owner. */
static ALWAYS_INLINE uintptr_t table_unseen_word(struct table_node *node)
{
    /* Nobody else writes this next pointer while the node is unseen. */
    uintptr_t next = atomic_load_relaxed(&node->next);
    return (uintptr_t)node | (link_node(next) == NULL ? next : 0);
}

/* True if the node is so still, word being that word.  By its owner; a hint. */
static ALWAYS_INLINE bool table_unseen(struct table_node *node, uintptr_t word)
{
    return atomic_load_relaxed(node->bucket) == word;
}

/*
 * By the node's owner, while the node is in its bucket: from here on it is as if somebody else had
 * looked at it.  What is in front of it is seen then, and leaves SEEN on it when it goes.
 */
static inline void table_see(struct table_node *node)
{
    uintptr_t word = atomic_load_relaxed(node->bucket); /* the CAS decides */
    while (!table_set_seen(node->bucket, &word))
        ;
}

/*
 * By the node's owner: removes it if nobody has ever looked at it, and returns true; nobody
 * else knows the node then, and it can be reused at once.  Otherwise returns false.  word: as
 * table_unseen_word().
 */
static ALWAYS_INLINE bool table_remove_unseen(struct table_node *node, uintptr_t word)
{
    uintptr_t next = atomic_load_relaxed(&node->next); /* as there */
    return atomic_cas_release(node->bucket, &word,
                              link_node(next) != NULL ? next : 0); /* [CLAIM] [SEEN] */
}

/*
 * The same, if it was claimed in an empty bucket, without a fingerprint: nothing is behind it, for
 * nothing comes there, and what comes in front shows in the bucket.
 */
static ALWAYS_INLINE bool table_remove_alone(struct table_node *node)
{
    uintptr_t expected = (uintptr_t)node;
    REQUIRE(require_word(node->bucket) != expected || require_word(&node->next) == 0);
    return atomic_cas_release(node->bucket, &expected, 0); /* [CLAIM] [SEEN] */
}

/*
 * What a search does with a node of the right key, which may be being removed: true ends the search
 * at this node, false goes on as if the node did not exist.  Runs inside the section.
 */
typedef bool table_match_fn(struct table_node *node, void *ctx);

enum table_found {
    TABLE_ABSENT,  /* no match, and nothing was inserted */
    TABLE_MATCHED, /* match() returned true */
    TABLE_CLAIMED, /* no match, and `claim` was inserted */
};

struct table_search {
    struct table_key key;
    table_match_fn *match;
    void *ctx;
    struct table_node *claim; /* to be inserted if there is no match; or NULL */
    bool crowded;             /* out: table_relieve() should be called after the section */
    /* out, of TABLE_ABSENT: where the search has ended; for table_claim_in_section() */
    link_word *bucket;
    uintptr_t word;
    unsigned n_passed;
};

/* Searches every array for the key.  Inside a section. */
enum table_found table_search_in_section(struct table *t, struct table_search *search);

/*
 * After TABLE_ABSENT, in the same section: inserts `claim`, which has been filled in since.  False:
 * the bucket has changed, and is to be searched again.
 */
bool table_claim_in_section(struct table_search *search);

/*
 * Lets newcomers pass the node by without a look, whatever their key, if it is alone in its
 * bucket.  In the section in which a search has found it, by who has seen to it that no search
 * matches it any more.  What the calling thread wrote before is seen by who claims beside it.
 */
void table_pass_by_in_section(struct table_node *node);

/* Removes a node that is, or was, in the table.  Inside a section; by anybody who keeps it. */
void table_unlink_in_section(struct table *t, struct table_node *node);

/*
 * The same by the node's owner, without a section.  Returns false, and the node is still there,
 * if another node would have to be looked at.
 */
bool table_unlink_first(struct table *t, struct table_node *node);

/* Where a walk over the whole table is; all zero: at its beginning. */
struct table_place {
    size_t shard;
    struct bucket_array *array; /* NULL: the newest one of the shard */
    size_t bucket;              /* the next of it to be looked at */
};

/*
 * The next bucket with a node in it; NULL: that was the last.  Outside of sections.  A node stays
 * in its bucket, so a walk comes by each once at most; and by each that is there all the while:
 * arrays made meanwhile have none of those.
 */
link_word *table_next_bucket(struct table *t, struct table_place *at);

/* Shows look() each node of the bucket.  Inside a section. */
void table_look_in_section(link_word *bucket, void (*look)(struct table_node *node, void *ctx),
                           void *ctx);

/* Grows the hash's shard, if its buckets are mostly in use.  Outside of sections. */
void table_relieve(struct table *t, uint64_t hash);

#endif
