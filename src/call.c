/* SPDX-License-Identifier: BSD-2-Clause */
/* The rare part of what call.h describes: memory for records and keys. */
#include "call.h"

#include <string.h>

enum {
    BUFFER_ROUNDED = 64, /* key memory comes in multiples of this */
};

struct key_buffer {
    size_t capacity;
    unsigned char bytes[];
};

/* Frees the record's key memory, if it has any. */
static void buffer_drop(struct sflight_call *c)
{
    if (c->buffer != NULL)
        alloc_put(&c->group->alloc, c->buffer, sizeof(*c->buffer) + c->buffer->capacity);
    c->buffer = NULL;
}

/* By a thread that does not use the record's group: to be found by one that does. */
static void record_return(struct sflight_call *c)
{
    struct sflight_call *first = atomic_load_relaxed(&c->group->returned); /* the CAS decides */

    do
        c->outer = first;
    while (!atomic_cas_release(&c->group->returned, &first, c)); /* [RETURN] */
}

void call_take_returned(struct slot *slot)
{
    struct sflight_call *c = atomic_swap_acquire(&slot->group->returned, NULL); /* [RETURN] */

    while (c != NULL) {
        struct sflight_call *next = c->outer;
        call_discard(slot, c);
        c = next;
    }
}

void call_record_free(struct sflight_call *c)
{
    buffer_drop(c);
    alloc_put(&c->group->alloc, c, sizeof(*c));
}

struct sflight_call *call_record_new(struct sflight_group *g)
{
    struct sflight_call *c = alloc_get(&g->alloc, sizeof(*c), CACHE_LINE);
    if (c != NULL) {
        c->buffer = NULL;
        atomic_store_relaxed(&c->inside, 0);
        atomic_store_relaxed(&c->waiters, NULL); /* both published by [CLAIM] */
        c->group = g;
    }
    return c;
}

void call_discard_slow(struct slot *slot, struct sflight_call *c)
{
    if (slot->n_spare >= slot->max_spare) {
        call_record_free(c);
        return;
    }
    /* Spare records are a stack: those that are at its bottom, and keep more, stay the same. */
    size_t kept = slot->n_spare < CALL_KEYS_KEPT ? CALL_KEY_KEPT : CALL_KEY_SMALL;
    if (c->buffer != NULL && c->buffer->capacity > kept)
        buffer_drop(c);
    c->outer = slot->spare;
    atomic_fence_compiler(); /* for a child that another thread forks */
    slot->spare = c;
    slot->n_spare++;
}

void call_keep_none_prepared(struct slot *slot)
{
    struct sflight_call *c = slot->prepared;

    slot->prepared = NULL;
    if (c != NULL) { /* perhaps one more than max_spare: a forked child must not free anything */
        c->outer = slot->spare;
        slot->spare = c;
        slot->n_spare++;
    }
}

bool call_key_long(struct sflight_call *c, const void *key, size_t len)
{
    if (c->buffer == NULL || c->buffer->capacity < len) {
        if (len > SIZE_MAX - sizeof(*c->buffer) - BUFFER_ROUNDED)
            return false;
        size_t capacity = (len + BUFFER_ROUNDED - 1) / BUFFER_ROUNDED * BUFFER_ROUNDED;
        struct key_buffer *b =
            alloc_get(&c->group->alloc, sizeof(*b) + capacity, _Alignof(max_align_t));
        if (b == NULL)
            return false;
        buffer_drop(c);
        b->capacity = capacity;
        c->buffer = b;
    }
    memcpy(c->buffer->bytes, key, len);
    c->node.key = c->buffer->bytes;
    return true;
}

/* Discards a retired record after its grace period.  Runs on any thread, outside of sections. */
static void call_reclaimed(struct reclaim_entry *entry)
{
    struct sflight_call *c = container_of(entry, struct sflight_call, retired);
    struct sflight_group *g = c->group;
    struct slot *slot = thread_slot_cached(g);

    atomic_store_relaxed(&c->waiters, NULL); /* published by [CLAIM] */
    if (slot != NULL) {
        call_discard(slot, c);
    } else {
        record_return(c);
        slot = &g->common; /* to count in */
    }
    gauges_count(slot, COUNT_RECLAIMED);
}

void call_retire(struct slot *slot, struct sflight_call *c)
{
    bool long_key = c->buffer != NULL && c->buffer->capacity > CALL_KEY_KEPT;

    if (UNLIKELY(atomic_load_relaxed(&slot->group->returned) != NULL)) /* the swap decides */
        call_take_returned(slot);
    gauges_count(slot, COUNT_RETIRED);
    reclaim_retire(thread_self.hint, &c->retired, call_reclaimed);
    if (UNLIKELY(long_key))
        reclaim_poll(thread_self.hint); /* threads may be quiet from here on */
}

void call_recount_spares(struct slot *slot)
{
    call_keep_none_prepared(slot);
    slot->n_spare = 0;
    for (struct sflight_call *c = slot->spare; c != NULL; c = c->outer)
        slot->n_spare++;
}

void call_free_spares(struct slot *slot)
{
    if (slot->prepared != NULL)
        call_record_free(slot->prepared);
    while (slot->spare != NULL) {
        struct sflight_call *c = slot->spare;
        slot->spare = c->outer;
        call_record_free(c);
    }
}
