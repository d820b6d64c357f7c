/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event counters.  Each thread counts in words of its own, without a
 * read-modify-write; a reader adds them up.  Gauges are differences of two
 * counters; group.c says why they can be trusted.
 */
#ifndef SFLIGHT_STATS_H
#define SFLIGHT_STATS_H

#include "atomic.h"

enum counter {
    /* pairs: up, down */
    COUNT_LED,
    COUNT_ENDED, /* each gives its leader a hold */
    COUNT_HELD,  /* holds besides those, by whoever gets one */
    COUNT_RELEASED,
    COUNT_JOINED,
    COUNT_RETURNED, /* joined callers that have left the library's wait */
    COUNT_CLAIMED,  /* holds of futures, by who ends the call */
    COUNT_SEARCHES, /* searches that may end in a claim */
    COUNT_SEARCHES_ENDED,
    COUNT_BATCHES, /* each keeps its group until its end */
    COUNT_BATCHES_ENDED,
    COUNT_RETIRED,
    COUNT_RECLAIMED,
    /* events */
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

#endif
