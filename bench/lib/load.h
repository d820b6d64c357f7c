/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.h - threads that run calls as fast as they can, each checking what it
 * gets: the value of its key, led and joined as often as executions and leaders'
 * counts say.
 */
#ifndef LOAD_H
#define LOAD_H

#include "bench.h"

struct bench_load {
    struct bench_team *team;
    const struct bench_key *keys;
    const uint32_t *order; /* the keys to ask for, from a place of its own for each thread */
    size_t n_order;        /* 0: each thread has n_own keys of its own */
    uint32_t n_own;
    uint64_t fn_ns;          /* fn computes for that long, */
    bool sleeps;             /* or sleeps, */
    uint64_t fn_turns;       /* or computes as much, if not 0: fn_ns, unless it is preempted */
    struct bench_subject *s; /* set by bench_load_round */
};

/* One call for keys[key]. */
void bench_load_call(const struct bench_load *l, uint32_t key, struct bench_thread *t);

/* Computes: so many turns of a loop. */
void bench_compute(uint64_t n_turns);

/* One round: value[0] is nanoseconds for a call, value[1] runs of fn in 100 calls, value[2] CPU
   time for a call.  A subject without ops is what nothing of the kind can do without, when all
   threads want the same key: fn once for all of them; and for each of them the hash and one locked
   operation on a line of its own. */
void bench_load_round(struct bench_load *l, struct bench_subject *s, struct bench_round *r);
#define BENCH_LOAD_METRICS                                                                         \
    {                                                                                              \
        {"call", "ns"},                                                                            \
        {                                                                                          \
            "runs", "%"                                                                            \
        }                                                                                          \
    }

#endif
