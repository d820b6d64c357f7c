/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers of sflight_fleet_counters, in its order: counted by any thread, read by any. */
#ifndef SFLIGHT_FLEET_COUNTS_H
#define SFLIGHT_FLEET_COUNTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* X(name, is_gauge) */
#define COUNTS(X)                                                                                  \
    X(led, false)                                                                                  \
    X(received, false)                                                                             \
    X(timed_out, false)                                                                            \
    X(alone_down, false)                                                                           \
    X(alone_slow, false)                                                                           \
    X(alone_refused, false)                                                                        \
    X(alone_oversize, false)                                                                       \
    X(alone_gave_up, false)                                                                        \
    X(alone_forked, false)                                                                         \
    X(alone_memory, false)                                                                         \
    X(joined, false)                                                                               \
    X(published, false)                                                                            \
    X(refused, false)                                                                              \
    X(unpublished, false)                                                                          \
    X(unshared, false)                                                                             \
    X(too_large, false)                                                                            \
    X(takeovers, false)                                                                            \
    X(leases_lost, false)                                                                          \
    X(aged, false)                                                                                 \
    X(forgotten, false)                                                                            \
    X(renewals, false)                                                                             \
    X(rechecks, false)                                                                             \
    X(recheck_hits, false)                                                                         \
    X(claim_ns_sum, false)                                                                         \
    X(claim_ns_max, false)                                                                         \
    X(commands, false)                                                                             \
    X(pushes, false)                                                                               \
    X(bad_frames, false)                                                                           \
    X(reconnects, false)                                                                           \
    X(inbox_reconnects, false)                                                                     \
    X(connected, true)                                                                             \
    X(inbox_ready, true)                                                                           \
    X(leading, true)                                                                               \
    X(waiting, true)                                                                               \
    X(bytes, true)

#define COUNT_ENUM(name, is_gauge) COUNT_##name,
enum count { COUNTS(COUNT_ENUM) COUNT_N };
#undef COUNT_ENUM

struct counts {
    atomic_uint_least64_t n[COUNT_N];
};

/* Relaxed, as a number orders nothing. */
static inline void count_add(struct counts *c, enum count which, uint64_t n)
{
    atomic_fetch_add_explicit(&c->n[which], n, memory_order_relaxed);
}

static inline void count_sub(struct counts *c, enum count which, uint64_t n)
{
    atomic_fetch_sub_explicit(&c->n[which], n, memory_order_relaxed);
}

static inline void count_set(struct counts *c, enum count which, uint64_t n)
{
    atomic_store_explicit(&c->n[which], n, memory_order_relaxed);
}

static inline uint64_t count_read(struct counts *c, enum count which)
{
    return atomic_load_explicit(&c->n[which], memory_order_relaxed);
}

#endif
