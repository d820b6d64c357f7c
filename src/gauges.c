/* SPDX-License-Identifier: BSD-2-Clause */
#include "gauges.h"

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
    REQUIRE_REGISTRY();
    add_slot(sum, &g->common, which);
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group)
        add_slot(sum, slot, which);
}

/*
 * Adds up over all slots: the down half of each gauge before its up half [GAUGE].  So each
 * difference is not below the truth of the moment between the two (gauges.h says why).
 */
static void group_sum(struct sflight_group *g, uint64_t sum[N_COUNTERS])
{
    memset(sum, 0, N_COUNTERS * sizeof(sum[0]));
    registry_lock();
    add_slots(sum, g, down_counters);
    add_slots(sum, g, end_counter);
    add_slots(sum, g, ~(down_counters | end_counter));
    registry_unlock();
}

/* A gauge's value; what is counted down was counted up, but for what a forked child inherits. */
static uint64_t gauge(const struct sflight_group *g, uint64_t up, uint64_t down)
{
    REQUIRE(g->generation != 0 || (int64_t)(up - down) >= 0);
    return gauges_difference(up, down);
}

enum flying gauges_flying(struct sflight_group *g)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    if (gauge(g, sum[COUNT_LED], sum[COUNT_ENDED]) != 0)
        return CALLS_FLY;
    return gauge(g, sum[COUNT_SEARCHES], sum[COUNT_SEARCHES_ENDED]) != 0 ? SEARCHES_FLY
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
    return gauge(g,
                 sum[COUNT_SEARCHES] + sum[COUNT_BATCHES] + sum[COUNT_JOINED] + sum[COUNT_LED] +
                     sum[COUNT_HELD],
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
        .in_flight = gauge(g, sum[COUNT_LED], sum[COUNT_ENDED]),
        .waiting = gauge(g, sum[COUNT_JOINED], sum[COUNT_RETURNED]),
        .held = gauge(g, sum[COUNT_ENDED] + sum[COUNT_HELD], sum[COUNT_RELEASED]),
        .retired_pending = gauge(g, sum[COUNT_RETIRED], sum[COUNT_RECLAIMED]),
        .buckets = atomic_load_relaxed(&g->table.n_buckets), /* statistics */
        .bytes = atomic_load_relaxed(&g->alloc.bytes),
    };
}
