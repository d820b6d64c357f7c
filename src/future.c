/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of futures.  Their states are described in future.h and changed in notify.c. */
#include "future.h"

/*
 * Futures come in blocks.  Asking for memory and giving it back are locked operations, if nothing
 * else, and so happen once for many futures.  A block is given back when all of its futures have
 * been.
 */
struct future_block {
    _Atomic(uint32_t) n_out; /* its futures that are in use or spare */
    _Alignas(CACHE_LINE / 2) struct sflight_future futures[]; /* none on two lines */
};

#ifndef BLOCK_BYTES          /* less in a build for tests */
enum { BLOCK_BYTES = 1024 }; /* its alignment, by which a future finds its block */
#endif
enum {
    /* Its size.  Two blocks can follow one another with what malloc() keeps in between. */
    BLOCK_SIZE = BLOCK_BYTES - 2 * sizeof(size_t),
    PER_BLOCK = (BLOCK_SIZE - sizeof(struct future_block)) / sizeof(struct sflight_future),
};

static struct future_block *block_of(struct sflight_future *f)
{
    return (struct future_block *)((uintptr_t)f & ~(uintptr_t)(BLOCK_BYTES - 1));
}

/* Gives n futures of a block back, and the block if they were the last. */
static void block_put(struct alloc *alloc, struct future_block *block, uint32_t n)
{
    if (atomic_sub_acq_rel(&block->n_out, n) == n) /* [BLOCK] */
        alloc_put(alloc, block, BLOCK_SIZE);       /* nobody uses any of it [BLOCK] */
}

void future_free_list(struct alloc *alloc, struct sflight_future *list)
{
    while (list != NULL) {
        struct future_block *block = block_of(list);
        uint32_t n = 0;
        for (; list != NULL && block_of(list) == block; n++)
            list = list->next; /* futures of one block mostly stand together */
        block_put(alloc, block, n);
    }
}

struct sflight_future *future_new_block(struct slot *slot)
{
    struct future_block *block = alloc_get(&slot->group->alloc, BLOCK_SIZE, BLOCK_BYTES);
    if (block == NULL)
        return NULL;
    uint32_t n = slot->common ? 1 : PER_BLOCK; /* several threads cannot share a list */
    atomic_store_relaxed(&block->n_out, n);    /* nobody else yet */
    for (uint32_t i = n; --i != 0;) {
        block->futures[i].next = slot->spare_futures;
        slot->spare_futures = &block->futures[i];
        slot->n_spare_futures++;
    }
    return &block->futures[0];
}

void future_give_back(struct slot *slot, unsigned n_all)
{
    struct sflight_future *list = slot->spare_futures, **end = &list;

    for (unsigned n = 0; n < n_all; n++)
        end = &(*end)->next;
    slot->spare_futures = *end;
    slot->n_spare_futures -= n_all;
    *end = NULL;
    future_free_list(&slot->group->alloc, list);
}

void future_free_common(struct slot *slot, struct sflight_future *first, unsigned n)
{
    while (n-- != 0) {
        struct sflight_future *f = first;
        first = f->next;
        block_put(&slot->group->alloc, block_of(f), 1);
    }
}

int future_take(struct sflight_future *f, sflight_result *r)
{
    REQUIRE(future_kind(f) == FUTURE_THEN || future_kind(f) == FUTURE_QUEUED);
    struct sflight_call *c = future_call(f);
    struct slot *slot = thread_slot(c->group);
    bool starter = future_starter(f);

    handle_delivered(f->handle, f,
                     future_kind(f) == FUTURE_QUEUED ? "sflight_queue_drain"
                                                     : "the callback of sflight_future_then");
    future_free(slot, f);
    hold_take(slot, c, 1);
    return hold_deliver(slot, c, future_leads(c, starter), r);
}

void future_after_fork(struct slot *slot)
{
    slot->n_spare_futures = 0;
    for (struct sflight_future *f = slot->spare_futures; f != NULL; f = f->next)
        slot->n_spare_futures++;
}

void future_free_spares(struct slot *slot)
{
    future_free_list(&slot->group->alloc, slot->spare_futures);
}
