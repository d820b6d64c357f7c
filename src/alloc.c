/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *default_alloc(void *ctx, size_t size, size_t align)
{
    void *ptr;

    (void)ctx;
    if (size > SIZE_MAX - align) /* what is laid out around it must not wrap either */
        return NULL;
    return posix_memalign(&ptr, align, size) == 0 ? ptr : NULL;
}

static void default_free(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    (void)size;
    free(ptr);
}

struct alloc alloc_process = {.alloc = default_alloc, .free = default_free};

void alloc_init(struct alloc *a, void *ctx, void *(*alloc)(void *, size_t, size_t),
                void (*free)(void *, void *, size_t))
{
    a->ctx = ctx;
    a->alloc = alloc != NULL ? alloc : default_alloc;
    a->free = free != NULL ? free : default_free;
    atomic_store_relaxed(&a->bytes, 0);
}

void *alloc_get(struct alloc *a, size_t size, size_t align)
{
    REQUIRE_NO_SECTION();
    int saved = errno;
    void *ptr = a->alloc(a->ctx, size, align);
    errno = saved;
    if (ptr != NULL)
        atomic_add_relaxed(&a->bytes, size); /* a statistic: orders nothing */
    return ptr;
}

void *alloc_get_zeroed(struct alloc *a, size_t size)
{
    void *ptr;

    if (a->alloc != default_alloc) {
        ptr = alloc_get(a, size, _Alignof(max_align_t));
        return ptr != NULL ? memset(ptr, 0, size) : NULL;
    }
    volatile int saved = errno; /* clang takes calloc() for one that leaves errno alone */
    ptr = calloc(1, size);
    errno = saved;
    if (ptr != NULL)
        atomic_add_relaxed(&a->bytes, size); /* a statistic: orders nothing */
    return ptr;
}

void alloc_put(struct alloc *a, void *ptr, size_t size)
{
    REQUIRE_NO_SECTION();
    if (ptr == NULL)
        return;
    int saved = errno;
    atomic_sub_relaxed(&a->bytes, size); /* a statistic: orders nothing */
    a->free(a->ctx, ptr, size);
    errno = saved;
}
