/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only file that knows ck_epoch.
 *
 * ck 0.7.1 was written for total store order; on weaker machines three things
 * must be added to what its functions do (compare ck's own later commits
 * 1faa673 and d1b348c):
 *   [EPOCH-ENTER]   begin reads the global epoch, and nothing keeps the section's
 *                   loads behind that read: a fence does.  Where stores reach
 *                   everybody at once (x86, ARMv8) an acquire fence would do; the
 *                   C11 model allows less, so it is a full one (tests/model/lanes.c).
 *   [EPOCH-RETIRE]  the entry is filed under the global epoch as read by call,
 *                   without a fence: a seq_cst fence puts that read behind the
 *                   unlink, so that no section which can still see the entry is
 *                   of a later epoch than the one it is filed under.
 *   Entries are filed inside a section of the filing lane, so that the epoch
 *   cannot run away by more than one meanwhile.
 *
 * A lane is borrowed by swapping its `busy` word [LANE].  What one borrower has left in the
 * lane's record is seen by the next, by that acquire and by the release store that gives the
 * lane back.
 */
#include "reclaim.h"

#include "cpu.h"

#include <ck_epoch.h>
#include <ck_stack.h>
#include <stddef.h>

#ifndef MAX_LANES /* fewer in a build for tests */
enum { MAX_LANES = 256 };
#endif
#ifndef MIN_LANES /* fewer in a build for tests */
enum { MIN_LANES = 8 };
#endif
enum {
    LANES_PER_CPU = 4, /* several, as a borrower may be preempted */
    /* Retired entries between two attempts to end a grace period: an attempt
       reads one line for each lane in use, about 100 ns for 8 lanes. */
    POLL_EVERY = 16,
};

struct lane {
    _Alignas(CACHE_LINE) _Atomic(uint32_t) busy;
    _Atomic(bool) registered; /* written by a borrower only */
    unsigned n_unpolled;      /* entries retired since the last poll; the borrower's */
    ck_epoch_record_t record;
};

_Static_assert(sizeof(ck_epoch_entry_t) == sizeof(struct reclaim_entry), "opaque entry");

static struct {
    ck_epoch_t epoch;
    unsigned mask; /* the number of lanes that hints are spread over, less one */
    struct lane lanes[MAX_LANES];
} domain;

void reclaim_init(void)
{
    unsigned n = MIN_LANES;
    while (n < MAX_LANES && n < LANES_PER_CPU * cpu_count())
        n *= 2;
    domain.mask = n - 1;
    ck_epoch_init(&domain.epoch);
}

/* Borrows the lane, unless it is borrowed: then returns false. */
static ALWAYS_INLINE bool lane_borrow(struct lane *lane)
{
    /* The load leaves the line of a busy lane where it is; the swap decides. */
    if (atomic_load_relaxed(&lane->busy) != 0 ||
        atomic_swap_acquire(&lane->busy, 1) != 0) /* [LANE] */
        return false;
    if (UNLIKELY(!atomic_load_relaxed(&lane->registered))) { /* ordered by busy */
        ck_epoch_register(&domain.epoch, &lane->record, NULL);
        atomic_store_relaxed(&lane->registered, true);
    }
    return true;
}

static void lane_give_back(struct lane *lane)
{
    atomic_store_release(&lane->busy, 0); /* [LANE] */
}

/* The hint's own lane is borrowed: borrows another one. */
static NOINLINE struct lane *lane_search(unsigned hint)
{
    struct lane *lane;
    unsigned n_turns = 0;

    for (;;) {
        for (unsigned i = 0; i <= domain.mask; i++) {
            lane = &domain.lanes[(hint + i) & domain.mask];
            if (lane_borrow(lane))
                return lane;
        }
        /* As many threads as lanes were preempted inside a section. */
        for (unsigned i = domain.mask + 1; i < MAX_LANES; i++) {
            lane = &domain.lanes[i];
            if (lane_borrow(lane))
                return lane;
        }
        cpu_back_off(&n_turns);
    }
}

static ALWAYS_INLINE struct lane *lane_any(unsigned hint)
{
    struct lane *lane = &domain.lanes[hint & domain.mask];
    return LIKELY(lane_borrow(lane)) ? lane : lane_search(hint);
}

static void section_begin(struct lane *lane)
{
    ck_epoch_begin(&lane->record, NULL);
    atomic_fence_after_rmw(); /* [EPOCH-ENTER] */
}

static void section_end(struct lane *lane)
{
    TSAN_RELEASE(&domain); /* [EPOCH-LEAVE] */
    (void)ck_epoch_end(&lane->record, NULL);
}

struct lane *reclaim_enter(unsigned hint)
{
    REQUIRE_NO_SECTION();
    struct lane *lane = lane_any(hint);
    section_begin(lane);
    REQUIRE_SECTION_BEGINS();
    return lane;
}

void reclaim_leave(struct lane *lane)
{
    REQUIRE_IN_SECTION();
    REQUIRE_SECTION_ENDS();
    section_end(lane);
    lane_give_back(lane);
}

/* Ends a grace period of the lane's entries, if it can, and gives those entries back. */
static void lane_poll(struct lane *lane)
{
    ck_stack_t ripe = CK_STACK_INITIALIZER;
    ck_stack_entry_t *cursor, *next;

    lane->n_unpolled = 0;
    (void)ck_epoch_poll_deferred(&lane->record, &ripe);
    atomic_fence_acquire(); /* what the sections read, before their memory is reused */
    TSAN_ACQUIRE(&domain);  /* [EPOCH-LEAVE] */
    CK_STACK_FOREACH_SAFE(&ripe, cursor, next)
    {
        ck_epoch_entry_t *entry = container_of(cursor, ck_epoch_entry_t, stack_entry);
        entry->function(entry);
    }
}

void reclaim_retire(unsigned hint, struct reclaim_entry *entry, reclaim_fn *fn)
{
    REQUIRE_NO_SECTION();
    struct lane *lane = lane_any(hint);
    union { /* ck's callback type, by another name */
        reclaim_fn *ours;
        ck_epoch_cb_t *cks;
    } callback = {.ours = fn};

    section_begin(lane);
    atomic_fence_seq_cst(); /* [EPOCH-RETIRE] */
    ck_epoch_call(&lane->record, (ck_epoch_entry_t *)(void *)entry, callback.cks);
    section_end(lane);

    if (++lane->n_unpolled >= POLL_EVERY)
        lane_poll(lane);
    lane_give_back(lane);
}

void reclaim_poll(unsigned hint)
{
    REQUIRE_NO_SECTION();
    struct lane *lane = lane_any(hint);

    if (lane->record.n_pending != 0)
        lane_poll(lane);
    lane_give_back(lane);
}

void reclaim_flush(void)
{
    REQUIRE_NO_SECTION();
    for (unsigned i = 0; i < MAX_LANES; i++) {
        struct lane *lane = &domain.lanes[i];
        if (!atomic_load_relaxed(&lane->registered))
            continue; /* what its borrowers retire from now on is not from before */
        unsigned n_turns = 0;
        while (!lane_borrow(lane))
            cpu_back_off(&n_turns);
        while (lane->record.n_pending != 0) {
            lane_poll(lane);
            if (lane->record.n_pending != 0)
                cpu_back_off(&n_turns); /* somebody is in a section, for a moment */
        }
        lane_give_back(lane);
    }
}

/*
 * The entries of a lane, counted anew: the fork may have stopped its borrower between counting
 * an entry and filing it or giving it back.
 */
static unsigned count_pending(const ck_epoch_record_t *record)
{
    unsigned n = 0;
    for (size_t i = 0; i < CK_EPOCH_LENGTH; i++)
        for (ck_stack_entry_t *e = record->pending[i].head; e != NULL; e = e->next)
            n++;
    return n;
}

void reclaim_after_fork(void)
{
    ck_stack_entry_t *cursor;

    for (unsigned i = 0; i < MAX_LANES; i++) {
        struct lane *lane = &domain.lanes[i];
        if (atomic_load_relaxed(&lane->registered))
            atomic_store_relaxed(&lane->registered, false);
        if (atomic_load_relaxed(&lane->busy) != 0)
            atomic_store_relaxed(&lane->busy, 0);
        if (lane->record.active != 0)
            lane->record.active = 0;
        unsigned n_pending = count_pending(&lane->record);
        if (lane->record.n_pending != n_pending)
            lane->record.n_pending = n_pending;
    }
    /* The fork may have stopped a borrower in the middle of registering its lane. */
    CK_STACK_FOREACH(&domain.epoch.records, cursor)
    {
        ck_epoch_record_t *record = container_of(cursor, ck_epoch_record_t, record_next);
        atomic_store_relaxed(&container_of(record, struct lane, record)->registered, true);
    }
}
