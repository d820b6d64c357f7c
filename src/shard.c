/* SPDX-License-Identifier: BSD-2-Clause */
/* See shard.h for the argument. */
#include "shard.h"

#include "require.h"

#include <errno.h>
#include <string.h>

#ifndef FREEZE_MORE /* both less in a build for tests */
enum {
    FREEZE_FIRST = 1024, /* buckets that who makes a larger array freezes: some microseconds */
    FREEZE_MORE = 32,    /* that each newcomer freezes then: four lines */
};
#endif

enum {
    GROWTH_SHIFT = 3, /* an array is 8 times as large as the one before: few to be searched */
    SAMPLE = 128,     /* buckets that are looked at; 3/8 in use is one node for two buckets */
};

static size_t array_bytes(size_t n)
{
    return sizeof(struct bucket_array) + SHARD_ALIGN + n * sizeof(link_word);
}

static struct bucket_array *array_new(struct alloc *alloc, size_t n, struct bucket_array *previous)
{
    struct bucket_array *a = alloc_get_zeroed(alloc, array_bytes(n));
    if (a == NULL)
        return NULL;
    a->mask = n - 1;
    a->buckets =
        (link_word *)(((uintptr_t)(a + 1) + SHARD_ALIGN - 1) & ~(uintptr_t)(SHARD_ALIGN - 1));
    a->previous = previous;
    atomic_store_relaxed(&a->older, previous); /* published by [GROW-ARRAY] */
    return a;
}

/* By who may write `only`, or while nobody else knows the shard. */
static void shard_settle(struct shard *shard)
{
    struct bucket_array *newest = atomic_load_relaxed(&shard->newest); /* [GROW-ONE] */

    /* With it comes what [DRAINED] has brought. */
    if (atomic_load_acquire(&newest->older) == NULL)                    /* [DRAINED] */
        atomic_store_release(&shard->only, (uintptr_t)newest->buckets | /* [GROW-ARRAY] */
                                               (unsigned)__builtin_ctzll(newest->mask + 1));
}

int shard_init(struct shard *shard, struct alloc *alloc, size_t n)
{
    struct bucket_array *a = array_new(alloc, n, NULL);
    if (a == NULL)
        return -ENOMEM;
    atomic_store_relaxed(&shard->newest, a); /* nobody else yet */
    shard_settle(shard);
    return 0;
}

void shard_destroy(struct shard *shard, struct alloc *alloc)
{
    struct bucket_array *a = atomic_load_relaxed(&shard->newest);
    while (a != NULL) {
        struct bucket_array *previous = a->previous;
        alloc_put(alloc, a, array_bytes(a->mask + 1));
        a = previous;
    }
}

static bool array_drained(struct bucket_array *a)
{
    /* Once true, true for ever.  Where it is true, what emptied the buckets is seen. */
    return atomic_load_acquire(&a->n_drained) == a->mask + 1; /* [DRAINED] */
}

struct bucket_array *shard_older(struct bucket_array *a)
{
    for (;;) {
        struct bucket_array *older = atomic_load_acquire(&a->older); /* [DRAINED] */
        if (LIKELY(older == NULL || !array_drained(older)))
            return older;
        struct bucket_array *next = atomic_load_acquire(&older->older); /* [DRAINED] */
        (void)atomic_cas_release(&a->older, &older, next);              /* [DRAINED] */
    }
}

/* Freezes n more of the array's buckets. */
static void array_sweep(struct bucket_array *a, size_t n)
{
    if (atomic_load_relaxed(&a->sweep) > a->mask) /* a cursor: any order will do */
        return;
    size_t first = atomic_add_relaxed(&a->sweep, n);
    for (size_t i = first; i < first + n && i <= a->mask; i++)
        (void)shard_freeze(a, &a->buckets[i]);
}

static const link_word nowhere = LINK_FROZEN;

link_word *shard_only_bucket_slow(struct shard *shard, uint64_t hash)
{
    struct bucket_array *newest = atomic_load_acquire(&shard->newest); /* [GROW-ARRAY] */
    struct bucket_array *older = shard_older(newest);

    if (older == NULL && !atomic_swap_acquire(&shard->growing, true)) { /* [GROW-ONE] */
        shard_settle(shard);
        atomic_store_release(&shard->growing, false); /* [GROW-ONE] */
    }
    for (; older != NULL; older = shard_older(older)) {
        array_sweep(older, FREEZE_MORE); /* so that buckets which nobody asks for drain as well */
        /* Nothing comes into it; what left it comes before this claim [UNLINK]. */
        uintptr_t word = atomic_load_acquire(&older->buckets[hash & older->mask]);
        if (word != LINK_FROZEN && !((word & LINK_FROZEN) && link_excludes(word, hash)))
            return (link_word *)&nowhere; /* frozen: nobody writes it */
    }
    return &newest->buckets[hash & newest->mask];
}

struct bucket_array *shard_array_of(struct shard *shard, const link_word *bucket)
{
    struct bucket_array *a = atomic_load_acquire(&shard->newest); /* [GROW-ARRAY] */
    while (bucket < a->buckets || bucket > a->buckets + a->mask)
        a = a->previous;
    return a;
}

void shard_drained(struct bucket_array *a)
{
    (void)atomic_add_release(&a->n_drained, 1); /* [DRAINED] */
}

uintptr_t shard_freeze(struct bucket_array *a, link_word *bucket)
{
    uintptr_t word = atomic_load_acquire(bucket);
    while (!(word & LINK_FROZEN)) {
        uintptr_t frozen = word | LINK_FROZEN | (word != 0 ? LINK_SEEN : 0);
        if (atomic_cas_acq_rel(bucket, &word, frozen)) { /* [FREEZE] */
            if (frozen == LINK_FROZEN)
                shard_drained(a);
            return frozen;
        }
    }
    return word;
}

/* True if the buckets at this hash are mostly in use: a sample. */
static bool array_full(const struct bucket_array *a, uint64_t hash)
{
    size_t n = a->mask + 1 < SAMPLE ? a->mask + 1 : SAMPLE;
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        used += (atomic_load_relaxed(&a->buckets[(hash + i) & a->mask]) & ~LINK_BITS) != 0;
    return used * 8 >= n * 3;
}

size_t shard_grow(struct shard *shard, struct alloc *alloc, uint64_t hash)
{
    struct bucket_array *newest = atomic_load_acquire(&shard->newest); /* [GROW-ARRAY] */
    struct bucket_array *larger = NULL;

    /* A long chain in an array that is not full comes from the keys: growing would not help. */
    if (!array_full(newest, hash) || newest->mask + 1 >= (SIZE_MAX >> (GROWTH_SHIFT + 8)))
        return 0;
    if (atomic_swap_acquire(&shard->growing, true)) /* [GROW-ONE] */
        return 0;
    if (newest == atomic_load_relaxed(&shard->newest)) { /* ordered by [GROW-ONE] */
        larger = array_new(alloc, (newest->mask + 1) << GROWTH_SHIFT, newest);
        if (larger != NULL) {                             /* otherwise chains just get longer */
            atomic_store_relaxed(&shard->only, 0);        /* no order: see there */
            atomic_store_release(&shard->newest, larger); /* [GROW-ARRAY] */
        }
    }
    atomic_store_release(&shard->growing, false); /* [GROW-ONE] */
    if (larger == NULL)
        return 0;
    array_sweep(newest, FREEZE_FIRST);
    return larger->mask + 1;
}
