/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lanes, epochs and limbos: src/reclaim.[ch] as they are, over ck's algorithms in C11 (model_ck.h).
 *
 * Thread 0 unlinks an object, retires it and then polls, as the retirements
 * after it would; thread 1 enters READS sections, one after the other, and looks
 * at the object in each if it finds it; thread 2 polls for itself, so that
 * the epoch goes on.
 *   - nobody finds the object given back while in a section ([EPOCH-ENTER],
 *     [EPOCH-RETIRE]);
 *   - it is given back at most once.
 *
 * With -DREGISTERS the reader's lane is used for the first time.  With -DSHARE all have one lane:
 * what a poll stores there is no harm to a section that is entered meanwhile.  With -DFREES
 * the object is memory that is really freed, and there is no thread 2, which could
 * end a grace period without anything being ordered before that in C11's sense:
 *   - what a section has read is read before the object is given back, and so
 *     it is not used after it was freed.
 * With -DMEET two threads enter sections on the same lane, used for the first time:
 *   - a lane has one borrower at a time [LANE];
 *   - nobody waits, as there are other lanes.
 *
 * Without [EPOCH-ENTER] (-DNO_ENTER) or [EPOCH-RETIRE] (-DNO_RETIRE) it goes wrong; README.md says
 * why also with an acquire fence for the former (-DENTER_ACQUIRE).
 */
#define OWN_YIELD
#include "model_ck.h"

#undef SFLIGHT_RECLAIM_H

/* So few that each is looked at. */
#define MAX_LANES 4
#define MIN_LANES 4

#ifndef READS
#define READS 2
#endif
#ifndef POLLS
#define POLLS 2 /* by thread 0 */
#endif
#ifndef HELPS
#define HELPS 1 /* by thread 2 */
#endif

/* Somebody else is in the way: there are always other lanes. */
static void cpu_yield(void)
{
    assert(0);
}

/* Both are called that: in reclaim_retire() and reclaim_try_enter(). */
#undef atomic_fence_after_rmw
#define atomic_fence_after_rmw() (__func__[8] == 'r' ? fence_retire() : fence_enter())
#ifdef NO_RETIRE
#define fence_retire() ((void)0)
#else
#define fence_retire() atomic_fence_seq_cst()
#endif
#ifdef NO_ENTER
#define fence_enter() ((void)0)
#elif defined(ENTER_ACQUIRE)
#define fence_enter() atomic_fence_acquire()
#else
#define fence_enter() atomic_fence_seq_cst()
#endif

#include "reclaim.c"

enum { MINE = 0, READERS = 1, HELPERS = 2 }; /* hints */

struct object {
    struct reclaim_entry entry;
    int alive;
};

static _Atomic(struct object *) linked;
static _Atomic(int) n_given_back;

static struct lane *lane_of(unsigned hint)
{
#ifdef SHARE
    return &lanes[MINE + 0 * hint];
#else
    return reclaim_lane(hint);
#endif
}

#ifdef MEET
static _Atomic(int) n_borrowers[MAX_LANES];
static _Atomic(int) n_elsewhere;

static void *meet(void *unused)
{
    struct lane *own = reclaim_lane(READERS);
    struct lane *lane = reclaim_enter(own);

    (void)unused;
    assert(atomic_add_relaxed(&n_borrowers[lane - lanes], 1) == 0);
    if (lane != &lanes[READERS])
        atomic_add_relaxed(&n_elsewhere, 1);
    atomic_sub_relaxed(&n_borrowers[lane - lanes], 1);
    reclaim_leave(lane);
    return NULL;
}
#else
static void *reader(void *unused)
{
    struct lane *own = lane_of(READERS);

    (void)unused;
    for (int i = 0; i < READS; i++) {
        struct lane *lane = reclaim_enter(own);
        struct object *object = atomic_load_acquire(&linked);
        if (object != NULL) {
            assert(atomic_load_relaxed(&n_given_back) == 0);
#ifdef FREES
            assert(object->alive);
#endif
        }
        reclaim_leave(lane);
    }
    return NULL;
}

#ifndef FREES
static void *helper(void *unused)
{
    struct lane *own = lane_of(HELPERS);

    (void)unused;
    for (int i = 0; i < HELPS; i++)
        (void)reclaim_poll(own);
    return NULL;
}
#endif

static void poll_and_take(struct reclaim_limbo *limbo)
{
    unsigned polled = reclaim_poll(lane_of(MINE));
    struct reclaim_entry *entry = reclaim_take(limbo, polled);

    if (entry == NULL)
        return;
    atomic_add_relaxed(&n_given_back, 1);
#ifdef FREES
    free(container_of(entry, struct object, entry));
#endif
}
#endif

int main(void)
{
    pthread_t threads[2];

    reclaim_init();
    (void)reclaim_lane(MINE);
#ifdef MEET
    model_start(threads, 2, meet);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    REACHED(atomic_load_relaxed(&n_elsewhere) == 1);
#else
    struct object *object = malloc(sizeof(*object));
    struct reclaim_limbo limbo = {.first = NULL};
    object->alive = 1;
    atomic_store_relaxed(&linked, object);
#ifndef REGISTERS
    (void)lane_of(READERS);
#endif
    pthread_create(&threads[0], NULL, reader, NULL);
#ifndef FREES
    (void)lane_of(HELPERS);
    pthread_create(&threads[1], NULL, helper, NULL);
#endif

    atomic_store_release(&linked, NULL);
    reclaim_retire(&limbo, &object->entry);
    for (int i = 0; i < POLLS && limbo.first != NULL; i++)
        poll_and_take(&limbo);
    REACHED(atomic_load_relaxed(&n_given_back) != 0 &&
            atomic_load_relaxed(&reclaim_epoch.epoch) > 2);
    pthread_join(threads[0], NULL);
    assert(atomic_load_relaxed(&n_given_back) <= 1);
#endif
    return 0;
}
