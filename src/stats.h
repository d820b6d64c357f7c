/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of counters.  Each thread counts in words of its own, without a read-modify-write,
 * and a reader adds them up (gauges.h).  A gauge, such as the number of calls in flight, is
 * the difference of two counters; gauges.c says why it can be trusted.
 */
#ifndef SFLIGHT_STATS_H
#define SFLIGHT_STATS_H

#include "../include/singleflight.h"
#include "atomic.h"

enum counter {
    /* halves of gauges: what goes up, what goes down */
    COUNT_LED,      /* calls claimed */
    COUNT_ENDED,    /* calls ended; each leaves one hold, its leader's */
    COUNT_HELD,     /* holds besides those, by whoever gets one */
    COUNT_RELEASED, /* holds given up, of any sort */
    COUNT_JOINED,   /* joiners, blocking or not */
    COUNT_DEMOTED,  /* starters that have become joiners, as their calls were taken over */
    COUNT_RETURNED, /* joiners that wait no more: they have left, or have a hold */
    COUNT_CLAIMED,  /* holds of futures, by who ends the call */
    COUNT_SEARCHES, /* searches that may end in a claim */
    COUNT_SEARCHES_ENDED,
    COUNT_BATCHES, /* batches, and searches that never end in a claim; each keeps its group */
    COUNT_BATCHES_ENDED,
    COUNT_RETIRED,   /* records that wait for a grace period */
    COUNT_RECLAIMED, /* and those for which it is over */
    /* events; singleflight.h describes them at struct sflight_stats, but for these three */
    COUNT_FUTURES,      /* claims of joiners that do not block, and of starters */
    COUNT_FUTURES_LEFT, /* of those: given up without a result */
    COUNT_TAKEN,        /* of those: consumed; by whoever gets the result */
    COUNT_FORGOTTEN,
    COUNT_TIMED_OUT,
    COUNT_ABANDONED,
    COUNT_PANICKED,
    COUNT_TAKEN_OVER,
    COUNT_EXPIRED,
    COUNT_REJECTED,
    COUNT_DEADLOCKS,
    COUNT_PARKED,
    COUNT_SPUN,
    N_COUNTERS
};

struct counters {
    _Atomic(uint64_t) n[N_COUNTERS];
};

/* How long things took; only in a group with options.durations. */
struct durations {
    _Atomic(uint64_t) calls[SFLIGHT_DURATIONS];
    _Atomic(uint64_t) total_ns; /* of those */
    _Atomic(uint64_t) longest_wait_ns;
};

#endif
