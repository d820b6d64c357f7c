/* SPDX-License-Identifier: BSD-2-Clause */
/* The one door to memory: the group's allocator, with what it gave counted. */
#ifndef SFLIGHT_ALLOC_H
#define SFLIGHT_ALLOC_H

#include "atomic.h"

#include <stddef.h>

struct alloc {
    void *ctx;
    void *(*alloc)(void *ctx, size_t size, size_t align);
    void (*free)(void *ctx, void *ptr, size_t size);
    _Atomic(uint64_t) bytes; /* given and not yet taken back */
};

/* alloc and free both NULL: the process's own aligned_alloc() and free(). */
void alloc_init(struct alloc *a, void *ctx, void *(*alloc)(void *, size_t, size_t),
                void (*free)(void *, void *, size_t));

/* The process's own, for what belongs to no group. */
extern struct alloc alloc_process;

/* Uninitialised memory, or NULL; errno is kept.  Size 0 is not asked for. */
void *alloc_get(struct alloc *a, size_t size, size_t align);

/*
 * The same, all zero and aligned for any type.  The process's own malloc has large
 * blocks from the kernel, which are zero already, page by page as they are used.
 */
void *alloc_get_zeroed(struct alloc *a, size_t size);

/* NULL is fine; size is what alloc_get() was asked for. */
void alloc_put(struct alloc *a, void *ptr, size_t size);

#endif
