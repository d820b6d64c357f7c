/* SPDX-License-Identifier: BSD-2-Clause */
#include "key.h"

enum { ROUNDED = 64 }; /* it comes in multiples of this */

bool key_make_room(struct key_memory **memory, struct alloc *alloc, size_t len)
{
    if (len > SIZE_MAX - sizeof(**memory) - ROUNDED)
        return false;
    size_t capacity = (len + ROUNDED - 1) / ROUNDED * ROUNDED;
    struct key_memory *m = alloc_get(alloc, sizeof(*m) + capacity, _Alignof(max_align_t));
    if (m == NULL)
        return false;
    m->capacity = capacity;
    key_drop(memory, alloc);
    atomic_fence_compiler(); /* for a child that another thread forks */
    *memory = m;
    return true;
}

void key_drop(struct key_memory **memory, struct alloc *alloc)
{
    struct key_memory *m = *memory;

    *memory = NULL;
    atomic_fence_compiler(); /* as above */
    if (m != NULL)
        alloc_put(alloc, m, sizeof(*m) + m->capacity);
}
