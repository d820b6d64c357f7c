/* SPDX-License-Identifier: BSD-2-Clause */
/* The one door to memory: an allocator, a group's or the process's own, and its count of bytes. */
#ifndef SFLIGHT_ALLOC_H
#define SFLIGHT_ALLOC_H

#include "atomic.h"

#include <stddef.h>

struct alloc {
    void *ctx;
    void *(*alloc)(void *ctx, size_t size, size_t align);
    void (*free)(void *ctx, void *ptr, size_t size);
    _Atomic(uint64_t) bytes; /* given out and not given back */
};

/* Sets *a up, before it is used.  alloc and free both NULL: the process's own memory. */
void alloc_init(struct alloc *a, void *ctx, void *(*alloc)(void *, size_t, size_t),
                void (*free)(void *, void *, size_t));

/* The process's own allocator, posix_memalign() and free(): for what belongs to no group. */
extern struct alloc alloc_process;

/*
 * Returns uninitialised memory, to be given back with alloc_put(); or NULL.  size is not 0;
 * align is a power of two, no less than a pointer's.  Any thread, outside of sections; errno is
 * kept.
 */
void *alloc_get(struct alloc *a, size_t size, size_t align);

/*
 * The same, all zero, and aligned for any type.  The process's own malloc takes large blocks
 * from the kernel, which makes them zero page by page, as they are used.
 */
void *alloc_get_zeroed(struct alloc *a, size_t size);

/* Gives memory back; size: as it was asked for.  NULL is fine; errno is kept. */
void alloc_put(struct alloc *a, void *ptr, size_t size);

#endif
