/* SPDX-License-Identifier: BSD-2-Clause */
/* A table in a forked child: what is dropped from it. */
#ifndef SFLIGHT_FILTER_H
#define SFLIGHT_FILTER_H

#include "table.h"

/* As if somebody had looked at the node, which is in the table; by a thread that is alone. */
static inline void filter_see(struct table_node *node)
{
    if (atomic_load_relaxed(node->bucket) == (uintptr_t)node)
        atomic_store_relaxed(node->bucket, (uintptr_t)node | LINK_SEEN);
}

/*
 * Calls keep() for every node and drops those for which it says false.  Only
 * while nobody else uses the table.
 */
void filter_table(struct table *t, bool (*keep)(struct table_node *node, void *ctx), void *ctx);

#endif
