/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lifecycle_destroy() against the end of a call: src/group.c, call.c, table.c and
 * park.c as they are.
 *
 * Thread 0 leads a call and ends it; thread 1 does a call from start to end,
 * for another key of the same bucket, or with -DJOINS for the same; thread 2
 * tries to destroy the group, once thread 1 enters the library no more.
 *   - destroy says -EBUSY until every call that had begun has ended, and every
 *     caller that had joined has its result [GAUGE].
 */
#define MODEL_THREADS 3
#include "model_group.h"

static _Atomic(int) entered, ended, joined, returned;

static void thread_forget_group(struct sflight_group *g)
{
    (void)g;
    REACHED(1);
    assert(atomic_load_relaxed(&ended));
    assert(!atomic_load_relaxed(&joined) || atomic_load_relaxed(&returned));
    __VERIFIER_assume(0); /* the rest of lifecycle_destroy() is for one thread alone */
}

static void *other(void *unused)
{
    struct slot *slot = model_enter(1);
    struct sflight_call *c;
    unsigned rank;

    (void)unused;
#ifdef JOINS
    int role =
        join_or_claim(&group, slot, "a", 1, NEWCOMER_BLOCKING(&thread_self.agent), NULL, &c, &rank);
    atomic_store_relaxed(&joined, role == JOIN_FOLLOWS);
    atomic_store_release(&entered, 1);
    if (role == JOIN_FOLLOWS) {
        assert(wait_for_end(slot, &thread_self.agent, c, rank, NULL) == JOIN_FOLLOWS);
        atomic_store_relaxed(&returned, 1);
        hold_release(slot, c);
    } else {
        assert(role == JOIN_LEADS);
        finish_call(slot, c, 0);
        hold_release(slot, c);
    }
#else
    assert(join_or_claim(&group, slot, "b", 1, NEWCOMER_BLOCKING(&thread_self.agent), NULL, &c,
                         &rank) == JOIN_LEADS);
    finish_call(slot, c, 0);
    hold_release(slot, c);
    atomic_store_release(&entered, 1);
#endif
    return NULL;
}

static void *destroyer(void *unused)
{
    model_enter(2);
    (void)unused;
    model_await(atomic_load_acquire(&entered));
    (void)lifecycle_destroy(&group);
    return NULL;
}

int main(void)
{
    struct slot *slot = &model_slot[0];
    struct sflight_call *c;
    pthread_t threads[2];
    unsigned rank;

    model_init();
    model_register(2);
    assert(join_or_claim(&group, slot, "a", 1, NEWCOMER_BLOCKING(&thread_self.agent), NULL, &c,
                         &rank) == JOIN_LEADS);
    pthread_create(&threads[0], NULL, other, NULL);
    pthread_create(&threads[1], NULL, destroyer, NULL);
    finish_call(slot, c, 0);
    atomic_store_relaxed(&ended, 1);
    hold_release(slot, c);
    return 0;
}
