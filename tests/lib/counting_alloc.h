/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counting_alloc.h - an sflight_allocator that counts what is out, checks the
 * arguments of both functions, and fails on demand.
 */
#ifndef COUNTING_ALLOC_H
#define COUNTING_ALLOC_H

#include "api_test.h"

struct counting {
    atomic_size_t blocks; /* now */
    atomic_size_t bytes;  /* now */
    atomic_long calls;    /* of alloc, since the last counting_fail() */
    atomic_long fail_at;  /* the call that fails, counted from 1; 0: none */
    atomic_bool fail_on;  /* that one and all later ones fail */
    size_t max_size;      /* larger blocks are refused; 0: no limit */
};

/* Stands right before each block. */
struct counting_head {
    void *start;
    size_t size;
    size_t magic;
};
#define COUNTING_MAGIC ((size_t)0x5f1167a110c)

static inline void *counting_alloc(void *ctx, size_t size, size_t align)
{
    struct counting *c = ctx;
    assert_true(size > 0);
    assert_true(align >= sizeof(void *) && (align & (align - 1)) == 0);
    long call = atomic_fetch_add(&c->calls, 1) + 1;
    long fail_at = atomic_load(&c->fail_at);
    if (fail_at != 0 && (call == fail_at || (call > fail_at && atomic_load(&c->fail_on))))
        return NULL;
    if (c->max_size != 0 && size > c->max_size)
        return NULL;
    size_t head = (sizeof(struct counting_head) + align - 1) / align * align;
    size_t total = (head + size + align - 1) / align * align;
    char *start = aligned_alloc(align, total);
    assert_non_null(start);
    memset(start, 0xEE, head + size); /* the library may not count on zeros */
    struct counting_head *h = (struct counting_head *)(void *)(start + head) - 1;
    *h = (struct counting_head){start, size, COUNTING_MAGIC};
    atomic_fetch_add(&c->blocks, 1);
    atomic_fetch_add(&c->bytes, size);
    return start + head;
}

static inline void counting_free(void *ctx, void *ptr, size_t size)
{
    struct counting *c = ctx;
    assert_non_null(ptr);
    struct counting_head *h = (struct counting_head *)ptr - 1;
    assert_int_equal(h->magic, COUNTING_MAGIC);
    assert_int_equal(h->size, size);
    h->magic = 0;
    atomic_fetch_sub(&c->blocks, 1);
    atomic_fetch_sub(&c->bytes, size);
    void *start = h->start;
    memset(ptr, 0xDD, size);
    free(start);
}

static inline sflight_options counting_options(struct counting *c)
{
    sflight_options o = default_options();
    o.allocator = (sflight_allocator){c, counting_alloc, counting_free};
    return o;
}

/* From now on the k-th call fails; with go_on all later ones do, too. */
static inline void counting_fail(struct counting *c, long k, bool go_on)
{
    atomic_store(&c->calls, 0);
    atomic_store(&c->fail_on, go_on);
    atomic_store(&c->fail_at, k);
}

/* All is well again; true if a call has failed since counting_fail(). */
static inline bool counting_relent(struct counting *c)
{
    long k = atomic_exchange(&c->fail_at, 0);
    return k != 0 && atomic_load(&c->calls) >= k;
}

static inline void assert_nothing_allocated(struct counting *c)
{
    assert_int_equal(atomic_load(&c->blocks), 0);
    assert_int_equal(atomic_load(&c->bytes), 0);
}

#endif
