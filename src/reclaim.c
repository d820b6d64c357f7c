/* SPDX-License-Identifier: BSD-2-Clause */
#include "reclaim.h"

#include "cpu.h"

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
    TURNS = 2,         /* so often has the epoch to go on, that all is ripe */
};

enum registered { UNREGISTERED, REGISTERING, REGISTERED };

struct lane reclaim_no_lane = {.record = {.active = 1}};
_Alignas(CACHE_LINE) ck_epoch_t reclaim_epoch;

static unsigned mask; /* the number of lanes that hints are spread over, less one */
static struct lane lanes[MAX_LANES];
static _Atomic(unsigned char) registered[MAX_LANES]; /* with ck */

void reclaim_init(void)
{
    unsigned n = MIN_LANES;
    while (n < MAX_LANES && n < LANES_PER_CPU * cpu_count())
        n *= 2;
    mask = n - 1;
    ck_epoch_init(&reclaim_epoch);
}

/* False: another thread is about to do that. */
static bool lane_register(struct lane *lane)
{
    _Atomic(unsigned char) *state = &registered[lane - lanes];
    unsigned char was = atomic_load_acquire(state); /* [LANE] */

    if (was != UNREGISTERED)
        return was == REGISTERED;
    if (!atomic_cas_relaxed(state, &was, REGISTERING))
        return false; /* RACE: another thread has come first */
    ck_epoch_register(&reclaim_epoch, &lane->record, NULL);
    atomic_store_release(state, REGISTERED); /* [LANE] */
    return true;
}

struct lane *reclaim_lane(unsigned hint)
{
    for (unsigned i = 0; i <= mask; i++) {
        struct lane *lane = &lanes[(hint + i) & mask];
        if (lane_register(lane))
            return lane;
    }
    return &reclaim_no_lane; /* RACE: others are about to register all of them */
}

static bool lane_try(struct lane *lane)
{
    /* The load leaves the line of a busy lane where it is; the CAS decides. */
    return lane_register(lane) && ck_pr_load_uint(&lane->record.active) == 0 &&
           reclaim_try_enter(lane);
}

NOINLINE struct lane *reclaim_enter_any(struct lane *first)
{
    unsigned hint = first == &reclaim_no_lane ? 0 : (unsigned)(first - lanes);
    unsigned n_turns = 0;

    for (;;) {
        for (unsigned i = 0; i <= mask; i++)
            if (lane_try(&lanes[(hint + i) & mask]))
                return &lanes[(hint + i) & mask];
        /* As many threads as lanes were preempted inside a section. */
        for (unsigned i = mask + 1; i < MAX_LANES; i++)
            if (lane_try(&lanes[i]))
                return &lanes[i];
        cpu_back_off(&n_turns);
    }
}

/*
 * ck looks at all lanes from a record of the caller's.  That one need not be borrowed: nothing is
 * ever filed there, and what is stored in its `epoch` is no later than that of a section which
 * begins meanwhile.
 */
unsigned reclaim_poll(struct lane *lane)
{
    REQUIRE_NO_SECTION();
    if (lane == &reclaim_no_lane)
        lane = reclaim_lane(0);
    unsigned epoch = ck_pr_load_uint(&reclaim_epoch.epoch);
    bool nobody = false;
    /* RACE: where all are being registered it has none, and others end grace periods. */
    int turns = lane != &reclaim_no_lane ? TURNS : 0;

    for (int i = 0; i < turns && !nobody && ck_epoch_poll(&lane->record); i++) {
        unsigned before = epoch;
        epoch = ck_pr_load_uint(&reclaim_epoch.epoch);
        nobody = epoch == before; /* otherwise ck has it go on */
    }
    atomic_fence_acquire();       /* what the sections read, before their memory is reused */
    TSAN_ACQUIRE(&reclaim_epoch); /* [EPOCH-LEAVE] */
    return epoch + (nobody ? TURNS : 0);
}

void reclaim_after_fork(void)
{
    ck_stack_entry_t *cursor;

    for (unsigned i = 0; i < MAX_LANES; i++) {
        if (atomic_load_relaxed(&registered[i]) != UNREGISTERED)
            atomic_store_relaxed(&registered[i], UNREGISTERED);
        if (lanes[i].record.active != 0)
            lanes[i].record.active = 0;
    }
    /* The fork may have stopped a thread in the middle of registering a lane. */
    CK_STACK_FOREACH(&reclaim_epoch.records, cursor)
    {
        ck_epoch_record_t *record = container_of(cursor, ck_epoch_record_t, record_next);
        struct lane *lane = container_of(record, struct lane, record);
        atomic_store_relaxed(&registered[lane - lanes], REGISTERED);
    }
}
