/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting in a slot, and adding up over all slots of a group. */
#ifndef SFLIGHT_GAUGES_H
#define SFLIGHT_GAUGES_H

#include "group.h"

/* Counts one event of the slot's group. */
static ALWAYS_INLINE void gauges_count(struct slot *slot, enum counter which)
{
    if (UNLIKELY(slot->common))
        atomic_add_release(&slot->counters.n[which], 1); /* [GAUGE] */
    else
        atomic_add_single_writer(&slot->counters.n[which], 1); /* [GAUGE] */
}

/* Counts n events. */
static inline void gauges_count_n(struct slot *slot, enum counter which, uint64_t n)
{
    if (UNLIKELY(slot->common))
        atomic_add_release(&slot->counters.n[which], n); /* [GAUGE] */
    else
        atomic_add_single_writer(&slot->counters.n[which], n); /* [GAUGE] */
}

/* Takes back one that was counted up before it was certain; only what goes down says more. */
static inline void gauges_uncount(struct slot *slot, enum counter which)
{
    if (UNLIKELY(slot->common))
        atomic_sub_relaxed(&slot->counters.n[which], 1); /* [GAUGE] */
    else
        atomic_add_single_writer(&slot->counters.n[which], -UINT64_C(1)); /* [GAUGE] */
}

/* Counts in a slot that is not the common one. */
static ALWAYS_INLINE void gauges_count_own(struct slot *slot, enum counter which)
{
    REQUIRE(!slot->common);
    atomic_add_single_writer(&slot->counters.n[which], 1); /* [GAUGE] */
}

/* After a fork a thread may release what another held in the parent: no less than 0. */
static inline uint64_t gauges_difference(uint64_t up, uint64_t down)
{
    return (int64_t)(up - down) > 0 ? up - down : 0;
}

/* What a drainer waits for. */
enum flying {
    NOTHING_FLIES,
    SEARCHES_FLY, /* that may become calls: over in a moment, and nobody says so */
    CALLS_FLY,
};

enum flying gauges_flying(struct sflight_group *g);

/*
 * True while anything keeps the group: runners, searches, batches, waiting followers, holds,
 * and calls, each of which becomes its leader's hold when it ends.
 */
bool gauges_in_use(struct sflight_group *g);

void gauges_stats(struct sflight_group *g, sflight_stats *out);

#endif
