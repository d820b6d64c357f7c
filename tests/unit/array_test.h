/* SPDX-License-Identifier: BSD-2-Clause */
/* array_test.h - an older array as if who made the larger one had frozen nothing of it yet. */
#ifndef ARRAY_TEST_H
#define ARRAY_TEST_H

#include "shard.h"

/* Only buckets that are empty; goes_on: newcomers freeze some of them by the way. */
static inline void array_thaw(struct bucket_array *a, bool goes_on)
{
    for (size_t i = 0; i <= a->mask; i++) {
        uintptr_t frozen = LINK_FROZEN;
        if (atomic_compare_exchange_strong(&a->buckets[i], &frozen, 0))
            atomic_fetch_sub(&a->n_drained, 1);
    }
    atomic_store(&a->sweep, goes_on ? 0 : a->mask + 1);
}

#endif
