/* SPDX-License-Identifier: BSD-2-Clause */
#include "gauges.h"

#include "clock.h"

#include <string.h>

/*
 * The down halves of gauges.  COUNT_ENDED has a turn of its own between the others: it is the
 * down half of the calls in flight, and an up half of the holds.
 */
static const uint32_t down_counters = 1u << COUNT_RELEASED | 1u << COUNT_RETURNED |
                                      1u << COUNT_SEARCHES_ENDED | 1u << COUNT_BATCHES_ENDED |
                                      1u << COUNT_RECLAIMED;
static const uint32_t end_counter = 1u << COUNT_ENDED;

static void add_slot(uint64_t sum[N_COUNTERS], struct slot *slot, uint32_t which)
{
    for (unsigned i = 0; i < N_COUNTERS; i++)
        if (which & 1u << i)
            sum[i] += atomic_load_acquire(&slot->counters.n[i]); /* [GAUGE] */
}

static void add_slots(uint64_t sum[N_COUNTERS], struct sflight_group *g, uint32_t which)
{
    add_slot(sum, &g->common, which);
    for (struct slot *slot = atomic_load_acquire(&g->slots); /* [SLOTS] */
         slot != NULL; slot = slot->next_of_group)
        add_slot(sum, slot, which);
}

/*
 * Adds up over all slots: the down half of each gauge before its up half [GAUGE].  So each
 * difference is not below the truth of the moment between the two (gauges.h says why).  A slot that
 * comes meanwhile is seen by whoever sees what was counted down after something counted up in it.
 */
static void group_sum(struct sflight_group *g, uint64_t sum[N_COUNTERS])
{
    memset(sum, 0, N_COUNTERS * sizeof(sum[0]));
    add_slots(sum, g, down_counters);
    add_slots(sum, g, end_counter);
    add_slots(sum, g, ~(down_counters | end_counter));
}

/* ------------------------------------------------------------- how long */

/* Since that time; 0 if the clock has gone back. */
static uint64_t since(uint64_t then_ns)
{
    return gauges_difference(clock_now_ns(), then_ns);
}

/* Orders nothing: who may count on it has seen what its thread did next, such as COUNT_ENDED. */
static void durations_add(struct slot *slot, _Atomic(uint64_t) *sum, uint64_t n)
{
    if (UNLIKELY(slot->common))
        atomic_add_relaxed(sum, n); /* as said */
    else
        atomic_add_single_writer(sum, n);
}

void gauges_took(struct slot *slot, uint64_t claimed_ns)
{
    uint64_t ns = since(claimed_ns);

    durations_add(slot, &slot->durations->calls[gauges_place(ns)], 1);
    durations_add(slot, &slot->durations->total_ns, ns);
}

void gauges_waited(struct slot *slot, uint64_t since_ns)
{
    _Atomic(uint64_t) *longest = &slot->durations->longest_wait_ns;
    uint64_t ns = since(since_ns), n = atomic_load_relaxed(longest); /* as said */

    while (n < ns && !atomic_cas_relaxed(longest, &n, ns))
        continue; /* RACE: in the common slot, another thread has waited for longer */
}

/* Adds up over all slots; relaxed, as they were counted. */
static void durations_sum(struct sflight_group *g, sflight_stats *out)
{
    for (struct slot *slot = &g->common; slot != NULL;
         slot = slot == &g->common ? atomic_load_acquire(&g->slots) /* [SLOTS] */
                                   : slot->next_of_group) {
        struct durations *d = slot->durations;
        for (unsigned i = 0; i < SFLIGHT_DURATIONS; i++)
            out->durations[i] += atomic_load_relaxed(&d->calls[i]);
        out->total_ns += atomic_load_relaxed(&d->total_ns);
        uint64_t longest = atomic_load_relaxed(&d->longest_wait_ns);
        if (out->longest_wait_ns < longest)
            out->longest_wait_ns = longest;
    }
}

/* ----------------------------------------------------- of threads that go */

/* What is right is not written: in a forked child it would be copied. */
static void set_counter(struct slot *slot, enum counter which, uint64_t n)
{
    if (gauges_counted(slot, which) != n)
        atomic_store_release(&slot->counters.n[which], n); /* [GAUGE] */
}

/* Results that the slot's thread has got and not released; below 0 if it released others'. */
static int64_t results(struct slot *slot)
{
    return (int64_t)(gauges_counted(slot, COUNT_ENDED) + gauges_counted(slot, COUNT_HELD) +
                     gauges_counted(slot, COUNT_TAKEN) - gauges_counted(slot, COUNT_RELEASED));
}

void gauges_leave(struct slot *slot)
{
    REQUIRE_REGISTRY();
    slot->loose = results(slot);
}

/* With n_results kept; and nothing else. */
static void slot_after_fork(struct slot *slot, int64_t n_results)
{
    set_counter(slot, COUNT_ENDED, gauges_counted(slot, COUNT_LED));
    set_counter(slot, COUNT_RELEASED,
                gauges_counted(slot, COUNT_ENDED) + gauges_counted(slot, COUNT_HELD) +
                    gauges_counted(slot, COUNT_TAKEN) - (uint64_t)n_results);
    set_counter(slot, COUNT_CLAIMED, gauges_counted(slot, COUNT_TAKEN));
    set_counter(slot, COUNT_FUTURES_LEFT,
                gauges_counted(slot, COUNT_FUTURES) - gauges_counted(slot, COUNT_TAKEN));
    set_counter(slot, COUNT_RETURNED,
                gauges_counted(slot, COUNT_JOINED) + gauges_counted(slot, COUNT_DEMOTED));
    set_counter(slot, COUNT_SEARCHES_ENDED, gauges_counted(slot, COUNT_SEARCHES));
    set_counter(slot, COUNT_BATCHES_ENDED, gauges_counted(slot, COUNT_BATCHES));
    if (slot->loose != 0)
        slot->loose = 0;
}

uint64_t gauges_after_fork(struct sflight_group *g, uint64_t forker, const struct gauges_kept *kept)
{
    REQUIRE_REGISTRY();
    int64_t n_all = results(&g->common), n_kept = n_all;
    uint64_t n_futures = 0;

    for (struct slot *slot = &g->common; slot != NULL;
         slot = slot == &g->common ? atomic_load_relaxed(&g->slots) : slot->next_of_group) {
        n_futures += gauges_counted(slot, COUNT_FUTURES) -
                     gauges_counted(slot, COUNT_FUTURES_LEFT) - gauges_counted(slot, COUNT_TAKEN);
        if (slot == &g->common)
            continue;
        n_all += results(slot);
        n_kept += slot_is_of(slot, forker) ? results(slot) : slot->loose;
    }
    /* Where results have been handed on: there are not more than all. */
    if (n_kept > n_all)
        n_kept = n_all;
    if (n_kept < 0)
        n_kept = 0; /* RACE: the fork came between two counts */
    n_futures = gauges_difference(n_futures, kept->n_lost);

    int64_t n_loose = n_kept;
    for (struct slot *slot = atomic_load_relaxed(&g->slots); slot != NULL;
         slot = slot->next_of_group) {
        int64_t n = slot_is_of(slot, forker) ? results(slot) - slot->loose : 0;
        n = n < 0 ? 0 : n > n_kept ? n_kept : n;
        slot_after_fork(slot, n);
        n_loose -= n;
    }
    struct slot *common = &g->common;
    slot_after_fork(common, n_loose);
    /* From here on as they are: each difference is one of sums. */
    set_counter(common, COUNT_ENDED, gauges_counted(common, COUNT_ENDED) - kept->n_in_flight);
    set_counter(common, COUNT_RELEASED, gauges_counted(common, COUNT_RELEASED) - kept->n_in_flight);
    set_counter(common, COUNT_RETURNED, gauges_counted(common, COUNT_RETURNED) - kept->n_waiting);
    set_counter(common, COUNT_BATCHES_ENDED,
                gauges_counted(common, COUNT_BATCHES_ENDED) - kept->n_batches);
    set_counter(common, COUNT_FUTURES_LEFT, gauges_counted(common, COUNT_FUTURES_LEFT) - n_futures);
    set_counter(common, COUNT_CLAIMED,
                gauges_counted(common, COUNT_CLAIMED) +
                    gauges_difference(n_futures, kept->n_futures));
    return (uint64_t)n_kept;
}

/* A gauge's value; what is counted down was counted up. */
static uint64_t gauge(uint64_t up, uint64_t down)
{
    REQUIRE((int64_t)(up - down) >= 0);
    return gauges_difference(up, down);
}

enum flying gauges_flying(struct sflight_group *g)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    if (gauge(sum[COUNT_LED], sum[COUNT_ENDED]) != 0)
        return CALLS_FLY;
    return gauge(sum[COUNT_SEARCHES], sum[COUNT_SEARCHES_ENDED]) != 0 ? SEARCHES_FLY
                                                                      : NOTHING_FLIES;
}

/*
 * Everything that keeps the group: runners, searches, batches, waiting followers, holds,
 * and calls, each of which becomes its leader's hold when it ends.
 */
bool gauges_in_use(struct sflight_group *g)
{
    uint64_t sum[N_COUNTERS];

    if (atomic_load_acquire(&g->n_runners) >= GROUP_RUNNER) /* [RUNNER] */
        return true;
    group_sum(g, sum);
    if (gauge(sum[COUNT_LED], sum[COUNT_ENDED]) != 0)
        return true; /* RACE: a starter may have given up the hold that the end is about to count */
    return gauge(sum[COUNT_SEARCHES] + sum[COUNT_BATCHES] + sum[COUNT_JOINED] + sum[COUNT_DEMOTED] +
                     sum[COUNT_LED] + sum[COUNT_HELD] + sum[COUNT_CLAIMED],
                 sum[COUNT_SEARCHES_ENDED] + sum[COUNT_BATCHES_ENDED] + sum[COUNT_RETURNED] +
                     sum[COUNT_RELEASED]) != 0;
}

void gauges_stats(struct sflight_group *g, sflight_stats *out)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    *out = (sflight_stats){
        .led = sum[COUNT_LED],
        .joined = sum[COUNT_JOINED],
        .forgotten = sum[COUNT_FORGOTTEN],
        .timed_out = sum[COUNT_TIMED_OUT],
        .abandoned = sum[COUNT_ABANDONED],
        .panicked = sum[COUNT_PANICKED],
        .taken_over = sum[COUNT_TAKEN_OVER],
        .expired = sum[COUNT_EXPIRED],
        .rejected = sum[COUNT_REJECTED],
        .deadlocks = sum[COUNT_DEADLOCKS],
        .parked = sum[COUNT_PARKED],
        .spun = sum[COUNT_SPUN],
        .in_flight = gauge(sum[COUNT_LED], sum[COUNT_ENDED]),
        /*
         * RACE: who has just joined counts that after the search, and who gives a future up as its
         * call ends perhaps before the ender counts it; both are in use all the while.
         */
        .waiting = gauges_difference(sum[COUNT_JOINED] + sum[COUNT_DEMOTED], sum[COUNT_RETURNED]),
        .held = gauges_difference(sum[COUNT_ENDED] + sum[COUNT_HELD] + sum[COUNT_CLAIMED],
                                  sum[COUNT_RELEASED]),
        .retired_pending = gauges_difference(sum[COUNT_RETIRED], sum[COUNT_RECLAIMED]),
        .buckets = atomic_load_relaxed(&g->table.n_buckets), /* statistics */
        .bytes = atomic_load_relaxed(&g->alloc.bytes),
    };
    if (g->common.durations != NULL)
        durations_sum(g, out);
}
