/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004), on ck_epoch.
 *
 * Whoever follows a pointer that it does not own does so inside a section.
 * What has been made unreachable is retired, and given back to its owner once
 * every section that was open at that moment has been left.
 *
 * A section is entered on a LANE: one of a few epoch records that belong to the
 * process, not to a thread.  A thread borrows a lane for the few dozen
 * nanoseconds of a section, so that
 *   - the cost of a grace period depends on the number of CPUs, not of threads;
 *   - no entry waits for a thread that has gone quiet, or has ended: the next
 *     borrower of the lane goes on with it.
 * Sections do not nest, and nothing inside one may block, park, allocate or
 * call user code.
 */
#ifndef SFLIGHT_RECLAIM_H
#define SFLIGHT_RECLAIM_H

#include "atomic.h"

struct lane;

/* Embedded in what is to be retired; the contents belong to reclaim.c. */
struct reclaim_entry {
    void *private[2];
};

/* Takes an entry back after its grace period; runs outside of sections. */
typedef void reclaim_fn(struct reclaim_entry *entry);

/* Once, before anything else. */
void reclaim_init(void);

/*
 * Enters a section.  hint spreads threads over lanes: any number that a thread
 * keeps using.  Waits only if every lane is borrowed.
 */
struct lane *reclaim_enter(unsigned hint);
void reclaim_leave(struct lane *lane);

/*
 * Hands over an entry that no new section can reach.  Outside of sections.  fn
 * runs once, on any thread, in here or in a later call of these functions.
 */
void reclaim_retire(unsigned hint, struct reclaim_entry *entry, reclaim_fn *fn);

/* Returns when fn has returned for everything retired before.  Outside of sections. */
void reclaim_flush(void);

/* In a forked child, before anything else: no other thread is in a section. */
void reclaim_after_fork(void);

#endif
