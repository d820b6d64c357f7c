/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One shard of the table: arrays of buckets, which take over from one another.  It knows words,
 * not the nodes that they name.
 *
 * A bucket's word has the address of a node, or is empty, and has in its low bits:
 *
 *   FROZEN       nothing is inserted here any more: a larger array is in use.  Set by who makes
 *                that, by newcomers, and by a search of the old array; never cleared.
 *   SEEN         see table.h.  Set here as well, by whoever freezes a bucket that is not empty.
 *   FINGERPRINT  what is known of the bucket's only node without looking at it: three bits of
 *                its hash, or that every search passes it by (LINK_PASSED).  0: nothing is
 *                known, or there are more nodes.
 *
 * Growing.  When a walk is long and the shard's buckets are mostly in use, a larger array
 * takes over; the old one stays, linked as `older`.  A search first freezes and searches the
 * key's bucket in every older array.  Nothing comes into a frozen bucket, so it empties as
 * its calls end.  An array whose buckets are all frozen and empty is DRAINED, and is skipped
 * from then on; once there is none but the newest, its place stands in one word (`only`).
 * Arrays live as long as the table: a claim reads them outside of sections.
 */
#ifndef SFLIGHT_SHARD_H
#define SFLIGHT_SHARD_H

#include "alloc.h"
#include "atomic.h"

typedef _Atomic(uintptr_t) link_word;

#define LINK_FROZEN ((uintptr_t)1)
#define LINK_SEEN ((uintptr_t)2)
#define LINK_FINGERPRINT ((uintptr_t)0x3c)
#define LINK_PASSED ((uintptr_t)4) /* in FINGERPRINT; that of a hash has the highest bit */
#define LINK_BITS ((uintptr_t)0x3f)

static ALWAYS_INLINE uintptr_t link_fingerprint(uint64_t hash)
{
    return ((hash >> 30) & 0x1c) | 0x20; /* bits that choose neither shard nor bucket */
}

/* True if the word shows that no node of its bucket has the key of this hash and could match. */
static ALWAYS_INLINE bool link_excludes(uintptr_t word, uint64_t hash)
{
    uintptr_t known = word & LINK_FINGERPRINT;
    return known != 0 && known != link_fingerprint(hash);
}

struct bucket_array {
    size_t mask;
    _Atomic(struct bucket_array *) older; /* the next one to be searched; NULL at the end */
    struct bucket_array *previous;        /* the one made before this, drained or not */
    _Atomic(size_t) n_drained;            /* buckets that are frozen and empty */
    _Atomic(size_t) sweep;                /* buckets before this one were frozen */
    link_word *buckets;                   /* aligned to SHARD_ALIGN */
};

enum { SHARD_ALIGN = 64 }; /* what it leaves free in an address has room for a logarithm of two */

struct shard {
    /*
     * While no older array has to be searched: where the newest one's buckets are, and in the low
     * bits the logarithm of their number; or 0: look at `newest`.  A caller that still has the
     * word of before a growth is as one that came before the growth: it finds what is frozen.
     */
    _Alignas(32) _Atomic(uintptr_t) only;
    _Atomic(struct bucket_array *) newest;
    _Atomic(bool) growing; /* also: who may write `only` */
};

/* A first array of n buckets, a power of two.  Returns 0 or -ENOMEM. */
int shard_init(struct shard *shard, struct alloc *alloc, size_t n);

/* Frees the arrays.  No other thread uses them. */
void shard_destroy(struct shard *shard, struct alloc *alloc);

/* The rare part of shard_only_bucket(). */
link_word *shard_only_bucket_slow(struct shard *shard, uint64_t hash);

/*
 * The bucket of this hash in the newest array.  If older ones have to be searched, because there
 * its bucket is not frozen, or may have the key: a word that is in no array, and is frozen for
 * ever.  Needs no section.
 */
static ALWAYS_INLINE link_word *shard_only_bucket(struct shard *shard, uint64_t hash)
{
    uintptr_t only = atomic_load_acquire(&shard->only); /* [GROW-ARRAY] */

    if (UNLIKELY(only == 0))
        return shard_only_bucket_slow(shard, hash);
    uint64_t above = ~UINT64_C(0) << (only % SHARD_ALIGN);
    return (link_word *)(only & ~(uintptr_t)(SHARD_ALIGN - 1)) + (hash & ~above);
}

/* The next array to be searched; takes drained ones out of the list on the way. */
struct bucket_array *shard_older(struct bucket_array *a);

/* Freezes the bucket; returns its word, with FROZEN and, unless the bucket is empty, SEEN. */
uintptr_t shard_freeze(struct bucket_array *a, link_word *bucket);

/* The array that the bucket is in. */
struct bucket_array *shard_array_of(struct shard *shard, const link_word *bucket);

/* To be called by the function that made a bucket frozen and empty, which happens once. */
void shard_drained(struct bucket_array *a);

/*
 * Makes a larger array the newest, if the buckets at this hash are mostly in use.  Returns how
 * many buckets there are more: 0, if they are not, or there is no memory.
 */
size_t shard_grow(struct shard *shard, struct alloc *alloc, uint64_t hash);

#endif
