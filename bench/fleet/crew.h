/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crew.h - processes that do what the program says: each has opened one way, and gets keys by it
 * when it is told to, by one thread or by several.
 */
#ifndef CREW_H
#define CREW_H

#include "way.h"

#include <stdatomic.h>

enum { CREW_MAX = 8, CREW_THREADS = 50 };

struct order {
    unsigned n_threads; /* 1 to CREW_THREADS */
    bool own_keys;      /* each thread has a key of its own */
    bool gated;         /* a run lasts until crew_open_gate(), */
    uint64_t run_ns;    /* or so long, asleep */
    char key[32];
};

/* Of one get(). */
struct outcome {
    uint64_t back_ns;      /* bench_now_ns() when it returned */
    uint64_t value_run;    /* whose value it was, */
    uint64_t value_end_ns; /* and when that run ended */
    bool ran;              /* it was this thread's run */
};

struct crew;

/* lock_ms: as for way.open. */
struct crew *crew_create(const struct way *way, const struct engine *e, unsigned n,
                         uint32_t lock_ms);

/* Ends the processes, those that were killed included. */
void crew_destroy(struct crew *c);

/* Has a process begin, or wait for the end of that; it does not stand in another one's way. */
void crew_begin(struct crew *c, unsigned process, const struct order *o);
void crew_wait(struct crew *c, unsigned process);

/* What a thread of the process came to, once it was waited for. */
const struct outcome *crew_outcome(const struct crew *c, unsigned process, unsigned thread);

/* Waits until so many runs of the process have begun since crew_create(); when the last one did. */
uint64_t crew_wait_for_runs(const struct crew *c, unsigned process, unsigned n);
unsigned crew_runs(const struct crew *c, unsigned process);

/* Lets the process's gated runs end, all that are under way and those to come; or not any more. */
void crew_open_gate(struct crew *c, unsigned process);
void crew_shut_gate(struct crew *c, unsigned process);

void crew_kill(struct crew *c, unsigned process);
void crew_stop(const struct crew *c, unsigned process);
void crew_continue(const struct crew *c, unsigned process);

/* The process's count of late results that were refused: as its sflight_fleet_stats() says. */
uint64_t crew_refused(const struct crew *c, unsigned process);

#endif
