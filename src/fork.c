/* SPDX-License-Identifier: BSD-2-Clause */
/* See fork.h.  Nearly all of this runs in the child, whose only thread runs it. */
#include "fork.h"

#include "batch.h"

#include <errno.h>
#include <pthread.h>

/* --------------------------------------------------------------------- calls */

/* The agents that go on in the child, and what is left of the calls. */
struct survivors {
    const struct agent *thread, *fiber; /* those that forked; fiber: NULL if it leads nothing */
    struct remains remains;
};

/* For each call in a table: keeps it if it is the survivors' own, otherwise abandons it. */
static bool keep_own(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct survivors *s = ctx;
    const struct agent *owner = atomic_load_relaxed(&c->owner); /* no other thread */
    bool own = call_kind(c) == CALL_OF_PERMIT
                   ? c->begun_by == &thread_self
                   : owner != NULL && (owner == s->thread || owner == s->fiber);

    own = own && !(atomic_load_relaxed(&c->state) & STATE_CLOSED);
    if (!own)
        orphan_abandon(c, &s->remains);
    else if (call_kind(c) == CALL_OF_PERMIT) /* the others are kept by keep_led() */
        orphan_keep(c, &s->remains);
    return own;
}

/* Keeps the calls in g that the agent leads, and ends what its batches have joined. */
static void keep_led(const struct agent *agent, struct sflight_group *g, struct remains *remains)
{
    for (struct sflight_call *c = agent->leading; c != NULL; c = c->outer)
        if (c->group == g)
            orphan_keep(c, remains); /* in a table or, if it has been forgotten, not */
    batch_after_fork(agent, g, remains);
}

/* Settles all calls of the group that the fork can find. */
static struct remains calls_after_fork(struct sflight_group *g)
{
    struct survivors s = {.thread = &thread_self.agent, .fiber = agent_forking(g)};

    g->forked_by = &thread_self;
    table_filter_in_child(&g->table, keep_own, &s);
    keep_led(s.thread, g, &s.remains);
    if (s.fiber != NULL)
        keep_led(s.fiber, g, &s.remains);
    atomic_store_relaxed(&g->n_runners, /* alone in the child */
                         (agent_n_running(s.thread, g) + agent_n_running(s.fiber, g)) *
                             GROUP_RUNNER);
    /* No other fiber drains in the child. */
    orphan_waiters(&g->drain_waiters, &g->orphan_futures);
    return s.remains;
}

/* ------------------------------------------------------------------ counters */

static uint64_t counter(struct slot *slot, enum counter which)
{
    return atomic_load_relaxed(&slot->counters.n[which]); /* no other thread */
}

static void set_counter(struct slot *slot, enum counter which, uint64_t n)
{
    atomic_store_relaxed(&slot->counters.n[which], n); /* no other thread */
}

/* Sets the down halves of the slot's gauges such that their values are *remains. */
static void slot_after_fork(struct slot *slot, struct remains remains)
{
    call_recount_spares(slot);
    set_counter(slot, COUNT_ENDED, counter(slot, COUNT_LED) - remains.n_in_flight);
    set_counter(slot, COUNT_RETURNED, counter(slot, COUNT_JOINED) - remains.n_waiting);
    set_counter(slot, COUNT_SEARCHES_ENDED, counter(slot, COUNT_SEARCHES));
    set_counter(slot, COUNT_BATCHES_ENDED, counter(slot, COUNT_BATCHES) - remains.n_batches);
    set_counter(slot, COUNT_RECLAIMED, counter(slot, COUNT_RETIRED));
    set_counter(slot, COUNT_RELEASED,
                counter(slot, COUNT_ENDED) + counter(slot, COUNT_HELD) - remains.n_held);
}

/*
 * The slot's share of the holds, before that.  A hold may be counted in one slot and its release
 * in another, so the share may be below 0, or above the sum of all.
 */
static uint64_t counted_as_held(struct slot *slot)
{
    return counter(slot, COUNT_ENDED) + counter(slot, COUNT_HELD) - counter(slot, COUNT_RELEASED);
}

/* Makes the group the child's: threads that do not exist lead, wait for and hold nothing. */
static void group_after_fork(struct sflight_group *g)
{
    struct slot *mine = thread_self.slots;
    struct remains remains, none = {0};
    uint64_t n_held_by_all = counted_as_held(&g->common);

    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group)
        n_held_by_all += counted_as_held(slot);
    g->generation++;
    remains = calls_after_fork(g);

    while (mine != NULL && mine->group != g)
        mine = mine->next_of_thread;
    g->idle = NULL;
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group) {
        if (slot == mine)
            continue;
        slot_after_fork(slot, none);
        slot->prev_of_thread = NULL;
        slot->next_of_thread = g->idle;
        g->idle = slot;
    }
    if (mine == NULL) {
        slot_after_fork(&g->common, remains);
    } else {
        /*
         * This thread's holds, as its slot counts them; but no more than the sum of all.  Whoever
         * ends a call counts the holds of its futures, which others may have released.
         */
        uint64_t n_held = gauges_difference(counted_as_held(mine), 0);
        if (n_held > n_held_by_all)
            n_held = gauges_difference(n_held_by_all, 0);
        slot_after_fork(&g->common, none);
        remains.n_held += n_held;
        slot_after_fork(mine, remains);
    }
    atomic_store_relaxed(&g->n_inherited, remains.n_held);
    atomic_store_relaxed(&g->n_threads, mine != NULL); /* no other thread */
    /* Nobody drains in the child. */
    atomic_store_relaxed(&g->flags, atomic_load_relaxed(&g->flags) & (GROUP_DRAINER - 1));
}

/* ------------------------------------------------------------------ handlers */

static void fork_prepare(void)
{
    registry_lock();
    agent_before_fork();
}

static void fork_parent(void)
{
    agent_after_fork(false);
    registry_unlock();
}

static void fork_child(void)
{
    reclaim_after_fork();
    for (struct sflight_group *g = registry_first(); g != NULL; g = g->next)
        group_after_fork(g);
    queue_after_fork();
    agent_after_fork(true);
    registry_unlock();
}

int fork_init(void)
{
    return pthread_atfork(fork_prepare, fork_parent, fork_child) == 0 ? 0 : -ENOMEM;
}
