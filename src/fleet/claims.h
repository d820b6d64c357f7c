/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The claims that an engine thread has: found by number, and by the time of their timers.  For one
 * thread.  A claim is in one table, and in the heap while it has a timer.
 */
#ifndef SFLIGHT_FLEET_CLAIMS_H
#define SFLIGHT_FLEET_CLAIMS_H

#include "claim.h"

struct claims {
    struct claim **buckets; /* a power of two of them */
    size_t n_buckets, n;
    struct claim **heap; /* the soonest first */
    size_t n_timers, heap_size;
};

#define CLAIMS_NO_TIMER SIZE_MAX

/* false: no memory. */
bool claims_init(struct claims *t);

void claims_free(struct claims *t);

/* By c->number.  false: no memory for its timer; nothing is added. */
bool claims_add(struct claims *t, struct claim *c);

void claims_remove(struct claims *t, struct claim *c);

/* NULL: none has this number. */
struct claim *claims_find(const struct claims *t, uint64_t number);

/* The timer is c->flight.timer_ns from now on. */
void claims_set_timer(struct claims *t, struct claim *c);

/* The claim with the soonest timer; NULL: there is no timer. */
struct claim *claims_soonest(const struct claims *t);

/*
 * Walks: the first claim, and the one after it.  What is walked may be removed before the next is
 * asked for by what claims_next() has been told of it.  No claim may be added meanwhile.
 */
struct claims_walk {
    size_t bucket;
    struct claim *next;
};

struct claim *claims_first(const struct claims *t, struct claims_walk *w);
struct claim *claims_next(const struct claims *t, struct claims_walk *w);

#endif
