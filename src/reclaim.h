/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004), on ck_epoch: the only room that
 * knows ck.
 *
 * A thread that follows a pointer to something that it does not own does so inside a SECTION.
 * What has been made unreachable is retired into a LIMBO of its owner, and can be taken out of it
 * after its grace period: when every section that was open at that moment has been left.  So what
 * waits there is nobody else's, and whoever knows that nobody can look at it takes it out at once.
 *
 * A section is entered on a LANE: one of a few epoch records that belong to the process, not
 * to a thread.  A thread borrows a lane for the few nanoseconds of a section, so that the cost of a
 * grace period depends on the number of CPUs, not of threads.  Sections do not nest, and nothing
 * inside one may block, park, allocate or call user code.
 *
 * Of a lane's epoch record ck looks at `active`, and at `epoch` while that is not 0.  Here
 * `active` is also what a lane is borrowed by: taken from 0 to 1 by one CAS, where ck_epoch_begin()
 * would write it, for whoever has borrowed a lane otherwise.
 *
 * ck 0.7.1 was written for total store order; on weaker machines two fences are needed (compare
 * ck's own later commits 1faa673 and d1b348c):
 *   [EPOCH-ENTER]   nothing keeps the section's loads behind the store of `active` and the load of
 *                   the global epoch: a fence does.  Where stores reach everybody at once (x86,
 *                   ARMv8) an acquire fence would do for the latter; the C11 model allows less, so
 *                   it is a full one (tests/model/lanes.c).
 *   [EPOCH-RETIRE]  an entry is stamped with the global epoch: a seq_cst fence puts that load
 *                   behind the unlink, so that no section which can still see the entry is of a
 *                   later epoch than its stamp.
 * The epoch goes on by one when all open sections are of the present one.  So when it is two more
 * than an entry's stamp, no section is left that can see the entry.
 */
#ifndef SFLIGHT_RECLAIM_H
#define SFLIGHT_RECLAIM_H

#include "atomic.h"

#include <ck_epoch.h>

struct lane {
    _Alignas(CACHE_LINE) ck_epoch_record_t record;
};

/* Borrowed for ever: of a thread that has none. */
extern struct lane reclaim_no_lane __attribute__((visibility("hidden")));

extern ck_epoch_t reclaim_epoch __attribute__((visibility("hidden")));

/* Embedded in what is to be retired. */
struct reclaim_entry {
    struct reclaim_entry *next;
    unsigned epoch;
};

/* What has been retired, oldest first.  Of one thread at a time. */
struct reclaim_limbo {
    struct reclaim_entry *first, *last; /* last: while there is a first */
    unsigned n_unpolled;                /* retired since reclaim_poll() was called for it */
    unsigned n;                         /* entries */
};

/*
 * Retired entries between two attempts to end a grace period: an attempt reads one line for each
 * lane in use, about 100 ns for 8 lanes.
 */
enum { RECLAIM_POLL_EVERY = 16 };

/* Once in the process, before any other function of this room. */
void reclaim_init(void);

/* The lane that a thread tries first; hint: any number, which spreads threads over lanes. */
struct lane *reclaim_lane(unsigned hint);

/* The rare part of reclaim_enter(): this lane is borrowed.  Waits only if every lane is. */
struct lane *reclaim_enter_any(struct lane *lane);

/* Borrows the lane and enters a section, unless it is borrowed: then returns false. */
static ALWAYS_INLINE bool reclaim_try_enter(struct lane *lane)
{
    ck_epoch_record_t *record = &lane->record;

    if (UNLIKELY(!ck_pr_cas_uint(&record->active, 0, 1))) /* [LANE] */
        return false;
    unsigned epoch = ck_pr_load_uint(&reclaim_epoch.epoch);
    atomic_fence_after_rmw(); /* [EPOCH-ENTER] [LANE] */
    /* Until then there is one from before, which at most keeps the global one from going on. */
    ck_pr_store_uint(&record->epoch, epoch);
    return true;
}

/*
 * Enters a section; returns its lane, with which the same thread leaves it.  lane: the one to try
 * first.
 */
static ALWAYS_INLINE struct lane *reclaim_enter(struct lane *lane)
{
    REQUIRE_NO_SECTION();
    if (UNLIKELY(!reclaim_try_enter(lane)))
        lane = reclaim_enter_any(lane);
    REQUIRE_SECTION_BEGINS();
    return lane;
}

static ALWAYS_INLINE void reclaim_leave(struct lane *lane)
{
    REQUIRE_IN_SECTION();
    REQUIRE_SECTION_ENDS();
    TSAN_RELEASE(&reclaim_epoch);              /* [EPOCH-LEAVE] */
    ck_pr_fence_release();                     /* as ck_epoch_end() */
    ck_pr_store_uint(&lane->record.active, 0); /* [LANE] */
}

/*
 * Hands over an entry that no new section can reach.  Outside of sections.  By the limbo's
 * thread, which calls reclaim_poll() for every RECLAIM_POLL_EVERY of them.
 */
static ALWAYS_INLINE void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry)
{
    REQUIRE_NO_SECTION();
    atomic_fence_after_rmw(); /* [EPOCH-RETIRE] */
    entry->epoch = ck_pr_load_uint(&reclaim_epoch.epoch);
    entry->next = NULL;
    atomic_fence_compiler(); /* for a child that another thread forks */
    if (limbo->first == NULL)
        limbo->first = entry;
    else
        limbo->last->next = entry;
    limbo->last = entry;
    limbo->n++;
    limbo->n_unpolled++;
}

/*
 * Ends grace periods as far as it can, which is all if nobody is in a section.  Outside of
 * sections.  lane: as reclaim_enter().  Returns what reclaim_take() needs to know of that.
 */
unsigned reclaim_poll(struct lane *lane);

/* Takes the oldest entry out of a limbo, if its grace period is over; NULL: it is not. */
static inline struct reclaim_entry *reclaim_take(struct reclaim_limbo *limbo, unsigned polled)
{
    struct reclaim_entry *entry = limbo->first;

    /* A stamp of so long ago that the difference begins anew may wait for another poll. */
    if (entry == NULL || polled - entry->epoch < 2)
        return NULL;
    limbo->first = entry->next;
    limbo->n--;
    atomic_fence_compiler(); /* as reclaim_retire() */
    return entry;
}

/* The same of an entry that nobody can look at, and so need not wait. */
static inline struct reclaim_entry *reclaim_take_unseen(struct reclaim_limbo *limbo)
{
    struct reclaim_entry *entry = limbo->first;

    if (entry == NULL)
        return NULL;
    limbo->first = entry->next;
    limbo->n--;
    atomic_fence_compiler(); /* as reclaim_retire() */
    return entry;
}

/* In a forked child, before any other function of this room: no thread is in a section there. */
void reclaim_after_fork(void);

/* In a forked child: the fork may have stopped the limbo's thread in the middle of a change. */
static inline void reclaim_limbo_after_fork(struct reclaim_limbo *limbo)
{
    limbo->n = 0;
    for (struct reclaim_entry *entry = limbo->first; entry != NULL; entry = entry->next) {
        limbo->last = entry;
        limbo->n++;
    }
}

#endif
