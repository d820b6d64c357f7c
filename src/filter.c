/* SPDX-License-Identifier: BSD-2-Clause */
#include "filter.h"

#include "process.h"

/* Returns the bucket's word, with those nodes that are kept, in their order. */
static uintptr_t bucket_filter(link_word *bucket, bool (*keep)(struct table_node *node, void *ctx),
                               void *ctx)
{
    uintptr_t word = atomic_load_relaxed(bucket);
    struct table_node *node = link_node(word), *first = NULL, *last = NULL;

    while (node != NULL) {
        uintptr_t next = atomic_load_relaxed(&node->next);
        bool marked = next & LINK_MARK;
        if (keep(node, ctx) && !marked) {
            if (last != NULL)
                process_mend(&last->next, (uintptr_t)node);
            else
                first = node;
            last = node;
        }
        node = link_node(next);
    }
    if (last != NULL)
        process_mend(&last->next, 0);
    return (uintptr_t)first | (word & LINK_FROZEN) | (first != NULL ? LINK_SEEN : 0);
}

void filter_table(struct table *t, bool (*keep)(struct table_node *node, void *ctx), void *ctx)
{
    for (size_t i = 0; i <= t->shard_mask; i++) {
        struct shard *shard = &t->shards[i];
        process_mend(&shard->growing, false);
        for (struct bucket_array *a = atomic_load_relaxed(&shard->newest); a != NULL;
             a = a->previous) {
            size_t n_drained = 0;
            for (size_t b = 0; b <= a->mask; b++) {
                uintptr_t word = atomic_load_relaxed(&a->buckets[b]);
                if (link_node(word) != NULL) {
                    word = bucket_filter(&a->buckets[b], keep, ctx);
                    process_mend(&a->buckets[b], word);
                }
                n_drained += word == LINK_FROZEN;
            }
            process_mend(&a->n_drained, n_drained);
            process_mend(&a->sweep, 0); /* its last turn may have been stopped */
        }
    }
}
