/* SPDX-License-Identifier: BSD-2-Clause */
#include "orphan.h"

/*
 * A list that nobody is going to tell: a future that still has an owner is found told, the other
 * entries go to *unowned.  Returns how many of those were callbacks or enqueued, and get nothing.
 */
static uint32_t orphan_list(struct sflight_future *list, struct sflight_future **unowned)
{
    uint32_t n_consumed = 0;

    while (list != NULL) {
        struct sflight_future *f = list;
        list = f->next;
        if (f->kind == FUTURE_OWNED && notify_after_fork(f))
            continue;
        bool taken_back = atomic_load_relaxed(&f->state) == FUTURE_GONE; /* alone in the child */
        if (f->kind == FUTURE_QUEUED && !taken_back)
            queue_expect_less(f->queued.to);
        n_consumed += (f->kind == FUTURE_THEN || f->kind == FUTURE_QUEUED) && !taken_back;
        f->next = *unowned;
        *unowned = f;
    }
    return n_consumed;
}

void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned)
{
    struct sflight_future *f = atomic_load_relaxed(list), *kept = NULL; /* no other thread */

    if (f == WAITERS_TOLD)
        return; /* UNREACHED: a call that ended before the fork is neither kept nor abandoned */
    while (f != NULL) {
        struct sflight_future *next = f->next, **to = f->kind == FUTURE_WAITER ? unowned : &kept;
        f->next = *to;
        *to = f;
        f = next;
    }
    atomic_store_relaxed(list, kept);
}

void orphan_keep(struct sflight_call *c, struct remains *remains)
{
    uint64_t state = atomic_load_relaxed(&c->state); /* no other thread */
    state_after_fork(&c->state);
    unwanted_after_fork(c, false);
    gate_init(&c->gate);
    orphan_waiters(&c->waiters, &c->group->orphan_futures);
    c->result.generation = c->group->generation;
    remains->n_in_flight++;
    remains->n_waiting += state_async(state);
}

void orphan_abandon(struct sflight_call *c, struct remains *remains)
{
    uint64_t state = atomic_load_relaxed(&c->state); /* no other thread */

    remains->n_held += state_async(state);
    remains->n_held += (state & STATE_STARTER) != 0;
    unwanted_after_fork(c, true);
    struct sflight_future *list = atomic_load_relaxed(&c->waiters);
    if (list != WAITERS_TOLD)
        remains->n_held -= orphan_list(list, &c->group->orphan_futures);
    atomic_store_relaxed(&c->waiters, WAITERS_TOLD);
    hold_end_by_fork(c);
    c->outer = c->group->orphans;
    c->group->orphans = c;
}

void orphan_settle(struct sflight_call *c)
{
    struct sflight_group *g = c->group;
    struct remains remains = {0};

    registry_lock(); /* other threads of the child may have futures on the call as well */
    bool open = gate_is_open(&c->gate);
    if (!open && call_is_inherited(c, g)) {
        if (call_kind(c) == CALL_OF_PERMIT && c->begun_by == g->forked_by)
            orphan_keep(c, &remains);
        else
            orphan_abandon(c, &remains);
        gauges_count_n(&g->common, COUNT_LED, remains.n_in_flight);
        gauges_count_n(&g->common, COUNT_JOINED, remains.n_waiting);
        gauges_count_n(&g->common, COUNT_HELD, remains.n_held);
        atomic_add_relaxed(&g->n_inherited, remains.n_held);
    }
    registry_unlock();
}

void orphan_free_all(struct sflight_group *g)
{
    future_free_list(&g->alloc, g->orphan_futures);
    while (g->orphans != NULL) {
        struct sflight_call *c = g->orphans;
        g->orphans = c->outer;
        if (c->result.destroy != NULL)
            c->result.destroy(c->result.value, c->result.size, c->result.ctx);
        call_record_free(c);
    }
}
