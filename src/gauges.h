/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counting in a slot, and adding up over all slots of a group.
 *
 * Only the slot's own thread counts in it, by a load and a store; in the common slot every
 * thread counts, by read-modify-writes.  A GAUGE is the difference of two counters (stats.h),
 * one that goes up and one that goes down.  Its value is never below the truth, but for a moment
 * where gauges_stats() says so, and so a group is never taken for unused while something keeps it:
 *   - whatever passes from one gauge to another, as a joiner that becomes a holder, is counted
 *     up in the new one before it is counted down in the old one;
 *   - a down half is written with release and read with acquire, and every down half is read
 *     before any up half [GAUGE].  Whoever sees something counted down in the old gauge so sees
 *     it counted up in the new one;
 *   - only an up half is ever taken back, that of a claim which was counted and then failed.
 */
#ifndef SFLIGHT_GAUGES_H
#define SFLIGHT_GAUGES_H

#include "group.h"

/* Counts one event.  slot: the calling thread's, or the common one. */
static ALWAYS_INLINE void gauges_count(struct slot *slot, enum counter which)
{
    if (UNLIKELY(slot->common))
        atomic_add_release(&slot->counters.n[which], 1); /* [GAUGE] */
    else
        atomic_add_single_writer(&slot->counters.n[which], 1); /* [GAUGE] */
}

/* Counts n events at once. */
static inline void gauges_count_n(struct slot *slot, enum counter which, uint64_t n)
{
    if (UNLIKELY(slot->common))
        atomic_add_release(&slot->counters.n[which], n); /* [GAUGE] */
    else
        atomic_add_single_writer(&slot->counters.n[which], n); /* [GAUGE] */
}

/* Takes back one that was counted up before it was certain.  Orders nothing: no down half. */
static inline void gauges_uncount(struct slot *slot, enum counter which)
{
    if (UNLIKELY(slot->common))
        /* RACE: another claims as well.  [GAUGE] */
        atomic_sub_relaxed(&slot->counters.n[which], 1);
    else
        atomic_add_single_writer(&slot->counters.n[which], -UINT64_C(1)); /* [GAUGE] */
}

/* Counts one event in a slot that is not the common one. */
static ALWAYS_INLINE void gauges_count_own(struct slot *slot, enum counter which)
{
    REQUIRE(!slot->common);
    atomic_add_single_writer(&slot->counters.n[which], 1); /* [GAUGE] */
}

/* How many a slot has counted.  By its thread, or when that is ending or gone; else a hint. */
static inline uint64_t gauges_counted(struct slot *slot, enum counter which)
{
    return atomic_load_relaxed(&slot->counters.n[which]);
}

/* The place of a duration in struct durations. */
static inline unsigned gauges_place(uint64_t ns)
{
    return 63 - (unsigned)__builtin_clzll(ns | 1);
}

/*
 * A call that was claimed at that time ends; somebody was blocked since that time.  slot: as above,
 * of a group with GROUP_TIMED.
 */
void gauges_took(struct slot *slot, uint64_t claimed_ns);
void gauges_waited(struct slot *slot, uint64_t since_ns);

/* No less than 0, where threads count at the same moment. */
static inline uint64_t gauges_difference(uint64_t up, uint64_t down)
{
    return (int64_t)(up - down) > 0 ? up - down : 0;
}

/* What a drainer waits for. */
enum flying {
    NOTHING_FLIES,
    SEARCHES_FLY, /* which may become calls; they end in a moment, and no drainer is told */
    CALLS_FLY,    /* calls in flight; their end is told (finish_check_drainers()) */
};

/* Under the registry lock: the slot's thread ends, and what it holds is anybody's. */
void gauges_leave(struct slot *slot);

/* What a forked child has of a group. */
struct gauges_kept {
    uint64_t n_in_flight; /* calls */
    uint64_t n_waiting;   /* joiners of those */
    uint64_t n_futures;   /* of those: futures, and starters */
    uint64_t n_lost;      /* futures that nobody will tell, nor can */
    uint64_t n_batches;   /* of the forking thread */
};

/*
 * In a forked child, under the registry lock: forker is the number of the thread that
 * forked, or SLOT_OF_ANYBODY if that is not known.  Other threads that were running lead, wait for
 * and hold nothing; what those have held that had ended is kept, as are all futures.  Returns how
 * many results are held.
 */
uint64_t gauges_after_fork(struct sflight_group *g, uint64_t forker,
                           const struct gauges_kept *kept);

enum flying gauges_flying(struct sflight_group *g);

/*
 * True while anything keeps the group: runners, searches, batches, waiting followers, holds,
 * and calls, each of which becomes its leader's hold when it ends.
 */
bool gauges_in_use(struct sflight_group *g);

/* Fills *out, as sflight_group_stats(). */
void gauges_stats(struct sflight_group *g, sflight_stats *out);

#endif
