/* SPDX-License-Identifier: BSD-2-Clause */
/* The rare part of what call.h describes. */
#include "call.h"

#include <string.h>

enum {
    /* So many do not stay in a limbo: more than there are where sections come and go. */
    LIMBO_MANY = 4 * RECLAIM_POLL_EVERY,
    /* To end grace periods costs more than a record.  A slot that has retired so many may have
       one more in its limbo, up to RECLAIM_POLL_EVERY, before that is done for want of a spare. */
    RETIRED_FOR_ONE = 64,
};

static void drop_memory(struct sflight_call *c)
{
    key_drop(&c->memory, &c->group->alloc);
    c->result.needs &= (unsigned char)~NEEDS_MEMORY;
}

void call_record_free(struct sflight_call *c)
{
    drop_memory(c);
    if (call_joints(c) != 0)
        joint_free_all(&c->joints, &c->group->alloc);
    alloc_put(&c->group->alloc, c, sizeof(*c));
}

void call_discard_slow(struct slot *slot, struct sflight_call *c)
{
    if (slot->n_spare >= slot->max_spare) {
        call_record_free(c);
        return;
    }
    drop_memory(c);
    call_add_spare(slot, c);
}

void call_leave_slot(struct slot *slot)
{
    struct sflight_call *c = slot->prepared;

    slot->prepared = NULL;
    if (c != NULL) { /* perhaps one more than max_spare: a forked child must not free anything */
        call_clean_leaders(c);
        REQUIRE(call_is_clean(c));
        call_add_spare(slot, c);
    }
}

bool call_key_long(struct sflight_call *c, const void *key, size_t len)
{
    if (UNLIKELY(!key_has_room(c->memory, len))) {
        c->result.needs |= NEEDS_MEMORY; /* first: for a child that another thread forks */
        if (!key_make_room(&c->memory, &c->group->alloc, len))
            return false;
        if (c->memory->capacity <= CALL_KEY_KEPT)
            c->result.needs &= (unsigned char)~NEEDS_MEMORY;
    }
    memcpy(c->memory->bytes, key, len);
    c->node.key = c->memory->bytes;
    return true;
}

/* ------------------------------------------------------------------- retired */

static struct sflight_call *call_of(struct reclaim_entry *entry)
{
    return entry != NULL ? container_of(entry, struct sflight_call, retired) : NULL;
}

/* As call_is_clean() has it; published by [CLAIM]. */
static void clean(struct sflight_call *c)
{
    gate_init(&c->gate);
    c->result.destroy = NULL;
    c->result.needs &= (unsigned char)~NEEDS_GRACE;
    call_clean_leaders(c);
    state_init(&c->state, 0);
    atomic_store_relaxed(&c->waiters, NULL);
    atomic_store_relaxed(&c->gone, 0);
    if (UNLIKELY(call_joints(c) != 0))
        joint_free_all(&c->joints, &c->group->alloc); /* nobody looks at them any more */
}

static void reclaimed(struct slot *slot, struct sflight_call *c)
{
    clean(c);
    call_discard_clean(slot, c);
    gauges_count(slot, COUNT_RECLAIMED);
}

/* Discards those whose grace period is over, or can be ended. */
static NOINLINE void discard_ripe(struct slot *slot)
{
    struct sflight_call *c;
    unsigned polled = reclaim_poll(thread_self.lane);

    for (unsigned n = slot->limbo.n; n > 0; n--) { /* each once */
        if ((c = call_of(reclaim_take(&slot->limbo, polled))) == NULL)
            break;
        if (UNLIKELY(atomic_load_acquire(&c->result.n_remembering) != 0)) /* [REMEMBER] */
            reclaim_retire(&slot->limbo, &c->retired);                    /* it waits on */
        else
            reclaimed(slot, c);
    }
    slot->limbo.n_unpolled = 0;
}

/* Leaves a record to whoever of the group takes it. */
static void leave_to_others(struct sflight_group *g, struct sflight_call *c)
{
    struct sflight_call *next = atomic_load_relaxed(&g->retired); /* the CAS decides */

    do
        c->outer = next;
    while (!atomic_cas_release(&g->retired, &next, c)); /* [RETURN] */
}

/* Goes on with what others have left.  A stamp may be a later one. */
static void take_from_others(struct slot *slot)
{
    struct sflight_call *next, *c = atomic_swap_acquire(&slot->group->retired, NULL); /* [RETURN] */

    for (; c != NULL; c = next) {
        next = c->outer;
        reclaim_retire(&slot->limbo, &c->retired);
    }
}

/* In the common slot any thread retires. Who has the lock of its limbo goes on; nobody waits. */
static NOINLINE void retire_in_common(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = slot->group;

    leave_to_others(g, c);
    if (!lock_try(&g->limbo_lock))
        return; /* RACE: another thread is at it */
    take_from_others(slot);
    discard_ripe(slot);
    lock_give(&g->limbo_lock);
}

/*
 * Discards what is ripe.  What cannot be, because somebody stands still in a section, does not
 * stay if it is much: the thread may be quiet from here on.
 */
static NOINLINE void discard_or_leave(struct slot *slot, bool large)
{
    unsigned n = slot->limbo.n;
    struct sflight_call *c;

    discard_ripe(slot);
    if (slot->limbo.n < n && atomic_load_relaxed(&slot->group->retired) != NULL) {
        take_from_others(slot);
        discard_ripe(slot);
    }
    if (large || slot->limbo.n > LIMBO_MANY)
        while ((c = call_of(reclaim_take_unseen(&slot->limbo))) != NULL)
            leave_to_others(slot->group, c);
}

void call_retire(struct slot *slot, struct sflight_call *c)
{
    bool large = (c->result.needs & NEEDS_MEMORY) || joint_first(call_joints(c)) != NULL;

    gauges_count(slot, COUNT_RETIRED);
    if (UNLIKELY(slot->common)) {
        retire_in_common(slot, c);
        return;
    }
    reclaim_retire(&slot->limbo, &c->retired);
    if (UNLIKELY(slot->limbo.n_unpolled >= RECLAIM_POLL_EVERY || large))
        discard_or_leave(slot, large);
}

struct sflight_call *call_record_new(struct slot *slot)
{
    struct sflight_group *g = slot->group;
    unsigned n = slot->common ? 0 : slot->limbo.n_unpolled;
    bool few = n <= gauges_counted(slot, COUNT_RETIRED) / RETIRED_FOR_ONE;
    struct sflight_call *c = few ? alloc_get(&g->alloc, sizeof(*c), CACHE_LINE) : NULL;

    if (c == NULL && !slot->common && slot->limbo.first != NULL) {
        discard_or_leave(slot, false);
        if (call_spare(slot) != NULL)
            return call_take(slot);
    }
    if (!few)
        c = alloc_get(&g->alloc, sizeof(*c), CACHE_LINE);
    if (c != NULL) {
        c->memory = NULL;
        c->result.needs = 0;
        atomic_store_relaxed(&c->result.n_remembering, 0); /* nobody knows the record */
        c->group = g;
        atomic_store_relaxed(&c->inside, 0);
        if (g->max_age_ns == 0)
            atomic_store_relaxed(&c->joints, 0); /* nobody knows the record */
        clean(c);
    }
    return c;
}

void call_after_fork(struct slot *slot)
{
    call_leave_slot(slot);
    slot->n_spare = 0;
    for (struct sflight_call *c = slot->spare; c != NULL; c = c->node.spare)
        slot->n_spare++;
    reclaim_limbo_after_fork(&slot->limbo);
}

void call_free_all(struct slot *slot)
{
    struct sflight_call *c;

    if (slot->common)
        take_from_others(slot);
    while ((c = call_of(reclaim_take_unseen(&slot->limbo))) != NULL)
        call_record_free(c);
    while ((c = slot->spare) != NULL) {
        slot->spare = c->node.spare;
        call_record_free(c);
    }
    if (slot->at_hand != NULL)
        call_record_free(slot->at_hand);
    if (slot->prepared != NULL)
        call_record_free(slot->prepared);
}
