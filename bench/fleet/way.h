/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * way.h - one interface for the ways in which processes share a run: the library's fleet, and what
 * programs do with the same engine without it.  The head of each file says what it imitates, and
 * where it is kinder to that than the original.
 */
#ifndef WAY_H
#define WAY_H

#include "engine.h"

/* What a run makes: flat bytes, a page of 1 KiB. */
struct way_value {
    uint64_t ended_ns; /* bench_now_ns() when the run ended */
    uint64_t run;      /* its number, unique in the fleet */
    char text[1024 - 2 * sizeof(uint64_t)];
};

/* Makes the value. */
typedef void way_run(struct way_value *v, void *arg);

struct way {
    const char *name;

    /* Connects, in the process that is to use it.  lock_ms: how long a dead process holds a key.
       Never NULL. */
    void *(*open)(const struct engine *e, uint32_t lock_ms);

    /* Gets the value of the key, from this process's run, or from another one's. */
    void (*get)(void *own, const char *key, way_run *run, void *arg, struct way_value *v);

    /* Waits until what was begun is done, and returns how many results the engine has refused so
       far; NULL: get() waits. */
    uint64_t (*settle)(void *own);

    void (*close)(void *own);

    bool threads; /* get() may be called by several */
};

extern const struct way way_fleet, way_alone, way_poll, way_dogpile, way_aside;

#endif
