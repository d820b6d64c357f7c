/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lanes and epochs: src/reclaim.c as it is, over ck's algorithms in C11 (model_ck.h).
 *
 * Thread 0 unlinks an object, retires it and then polls its lane, as the retirements
 * after it would; thread 1 enters READS sections, one after the other, and looks
 * at the object in each if it finds it; thread 2 polls a lane of its own, so that
 * the epoch goes on.
 *   - nobody finds the object given back while in a section ([EPOCH-ENTER],
 *     [EPOCH-RETIRE]);
 *   - it is given back at most once.
 *
 * With -DREGISTERS the reader's lane is used for the first time.  With -DFREES
 * the object is memory that is really freed, and there is no thread 2, which could
 * end a grace period without anything being ordered before that in C11's sense:
 *   - what a section has read is read before the object is given back, and so
 *     it is not used after it was freed.
 * With -DSHARE two threads retire on the same lane, and thread 0 flushes in the
 * end:
 *   - a lane has one borrower at a time, who sees what the one before left there
 *     [LANE] (a data race otherwise);
 *   - each object is given back once (I11), and the flush waits for nobody, as
 *     nobody is in a section.
 *
 * Without [EPOCH-ENTER] (-DNO_ENTER) it goes wrong; README.md says why also with an
 * acquire fence (-DENTER_ACQUIRE).
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

static bool alone; /* nobody is in a section, or has a lane */

/* Somebody else is in the way: looks when there is something new. */
static void cpu_yield(void)
{
    assert(!alone);
    __VERIFIER_assume(0);
}

#ifdef NO_ENTER
#undef atomic_fence_after_rmw
#define atomic_fence_after_rmw() ((void)0)
#elif defined(ENTER_ACQUIRE)
#undef atomic_fence_after_rmw
#define atomic_fence_after_rmw() atomic_fence_acquire()
#endif

#include "reclaim.c"

enum { MINE = 0, READERS = 1, HELPERS = 2 }; /* lanes */

struct object {
    struct reclaim_entry entry;
    int alive;
};

static _Atomic(struct object *) linked;
static _Atomic(int) n_given_back;

static void give_back(struct reclaim_entry *entry)
{
    struct object *object = container_of(entry, struct object, entry);

    (void)object;
    atomic_add_relaxed(&n_given_back, 1);
#ifdef FREES
    free(object);
#endif
}

/* Before the threads start: otherwise each first borrower registers its lane. */
static void lane_register(unsigned i)
{
    reclaim_leave(reclaim_enter(i));
}

/* As whoever has retired POLL_EVERY entries. */
static void poll(unsigned i)
{
    struct lane *lane = lane_any(i);
    lane_poll(lane);
    lane_give_back(lane);
}

#ifdef SHARE
static void *retirer(void *unused)
{
    struct object *object = malloc(sizeof(*object));

    (void)unused;
    reclaim_retire(MINE, &object->entry, give_back);
    return NULL;
}
#else
static void *reader(void *unused)
{
    (void)unused;
    for (int i = 0; i < READS; i++) {
        struct lane *lane = reclaim_enter(READERS);
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
    (void)unused;
    for (int i = 0; i < HELPS; i++)
        poll(HELPERS);
    return NULL;
}
#endif
#endif

int main(void)
{
    pthread_t threads[2];

    reclaim_init();
    lane_register(MINE);
#ifdef SHARE
    domain.lanes[MINE].n_unpolled = POLL_EVERY - 1; /* the first of them polls */
    pthread_create(&threads[0], NULL, retirer, NULL);
    pthread_create(&threads[1], NULL, retirer, NULL);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    alone = true;
    reclaim_flush();
    assert(atomic_load_relaxed(&n_given_back) == 2);
    REACHED(atomic_load_relaxed(&domain.lanes[MINE + 1].registered)); /* one found it busy */
#else
    struct object *object = malloc(sizeof(*object));
    object->alive = 1;
    atomic_store_relaxed(&linked, object);
#ifndef REGISTERS
    lane_register(READERS);
#endif
    pthread_create(&threads[0], NULL, reader, NULL);
#ifndef FREES
    lane_register(HELPERS);
    pthread_create(&threads[1], NULL, helper, NULL);
#endif

    atomic_store_release(&linked, NULL);
    reclaim_retire(MINE, &object->entry, give_back);
    for (int i = 0; i < POLLS && atomic_load_relaxed(&n_given_back) == 0; i++)
        poll(MINE);
    REACHED(atomic_load_relaxed(&n_given_back) != 0 &&
            atomic_load_relaxed(&domain.epoch.epoch) > 2);
    pthread_join(threads[0], NULL);
    assert(atomic_load_relaxed(&n_given_back) <= 1);
#endif
    return 0;
}
