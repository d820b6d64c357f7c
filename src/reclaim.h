/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004), on ck_epoch.
 *
 * A thread that follows a pointer to something that it does not own does so inside a SECTION.
 * What has been made unreachable is retired.  It is given back to its owner after its grace
 * period: when every section that was open at that moment has been left.
 *
 * A section is entered on a LANE: one of a few epoch records that belong to the process, not
 * to a thread.  A thread borrows a lane for the few dozen nanoseconds of a section, so that
 *   - the cost of a grace period depends on the number of CPUs, not of threads;
 *   - no entry waits for a thread that has gone quiet, or has ended: the next borrower of the
 *     lane goes on with its entries.
 * Sections do not nest, and nothing inside one may block, park, allocate or call user code.
 */
#ifndef SFLIGHT_RECLAIM_H
#define SFLIGHT_RECLAIM_H

#include "atomic.h"

struct lane;

/* Embedded in what is to be retired.  Its contents belong to reclaim.c. */
struct reclaim_entry {
    void *private[2];
};

/* Takes an entry back after its grace period.  Runs outside of sections, on any thread. */
typedef void reclaim_fn(struct reclaim_entry *entry);

/* Once in the process, before any other function of this room. */
void reclaim_init(void);

/*
 * Enters a section; returns its lane, with which the same thread leaves it.  hint spreads
 * threads over lanes: any number that a thread keeps using.  Waits only if every lane is
 * borrowed.
 */
struct lane *reclaim_enter(unsigned hint);
void reclaim_leave(struct lane *lane);

/*
 * Hands over an entry that no new section can reach.  Outside of sections.  fn(entry) runs
 * once after the grace period: on any thread, inside this function, a later reclaim_retire(),
 * reclaim_poll() or reclaim_flush().
 */
void reclaim_retire(unsigned hint, struct reclaim_entry *entry, reclaim_fn *fn);

/*
 * Gives back now what was retired with that hint and can be, which is all if nobody is in a
 * section. Outside of sections.
 */
void reclaim_poll(unsigned hint);

/* Returns when fn has returned for every entry that was retired before.  Outside of sections. */
void reclaim_flush(void);

/* In a forked child, before any other function of this room: no thread is in a section there. */
void reclaim_after_fork(void);

#endif
