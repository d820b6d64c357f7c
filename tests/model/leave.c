/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leaving at a deadline, and a leader's death, against the end of the call:
 * src/call.c, table.c and park.c as they are.  The followers have joined before
 * the threads start: thread 1 with a deadline that may pass at any moment of
 * its sleep, thread 2 (with -DOTHER) without one, or (with -DOTHER_LEAVES) with
 * one as well.
 *
 *   default        thread 0, the leader, ends the call
 *   -DDIES         the leader abandons it, and followers may take it over
 *
 *   - a hold is given back once: the value is destroyed once, and the record is
 *     freed once, after its last user (I7, [HOLD]);
 *   - who does not leave always comes back, with the result or, if the leader
 *     dies, as the one new leader or with the new leader's result ([NUDGE],
 *     [ORPHAN]; -DLIVE);
 *   - the counters balance at the end;
 *   - the new leader sees what the old one wrote [ORPHAN].
 */
#define MODEL_THREADS 3
#include "model_call.h"

static int value;
static int work;
static _Atomic(int) n_destroyed;
static _Atomic(int) n_led;
static _Atomic(int) n_shut; /* followers who were told that the leader is dead */
static _Atomic(int) n_left;

static struct sflight_call *call;
static const struct timespec some_time;

static void destroy(void *v, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    assert(*(int *)v == 42);
    *(int *)v = 0;
    atomic_add_relaxed(&n_destroyed, 1);
}

static void lead(struct slot *slot)
{
    assert(atomic_add_relaxed(&n_led, 1) == 0);
    work++;
    value = 42;
    hold_set_value(call, &value, 0, destroy, NULL);
    finish_call(slot, call, 0);
    hold_release(slot, call);
}

static void follow(struct slot *slot, unsigned rank, const struct timespec *deadline)
{
    int rc = wait_for_end(slot, &thread_self.agent, call, rank, deadline);

    if (rc == JOIN_LEADS) {
        lead(slot);
    } else if (rc == JOIN_FOLLOWS) {
        if (atomic_load_relaxed(&call->gate) & ENDING_BADLY)
            atomic_add_relaxed(&n_shut, 1);
        else
            assert(*(int *)call->result.value == 42);
        hold_release(slot, call);
    } else {
        assert(rc == -ETIMEDOUT && deadline != NULL);
        atomic_add_relaxed(&n_left, 1);
    }
}

static void *follower_1(void *unused)
{
    (void)unused;
    follow(model_enter(1), 0, &some_time);
    return NULL;
}

static void *follower_2(void *unused)
{
    (void)unused;
#ifdef OTHER_LEAVES
    follow(model_enter(2), 1, &some_time);
#else
    follow(model_enter(2), 1, NULL);
#endif
    return NULL;
}

int main(void)
{
    struct sflight_call *joined;
    pthread_t threads[2];
    unsigned rank;

    model_init();
#ifdef DIES
    group.takeover = true;
#endif
    assert(join_or_claim(&group, &model_slot[0], "k", 1, NEWCOMER_BLOCKING(&thread_self.agent),
                         NULL, &call, &rank) == JOIN_LEADS);
    model_enter(1);
    assert(join_or_claim(&group, &model_slot[1], "k", 1, NEWCOMER_BLOCKING(&thread_self.agent),
                         NULL, &joined, &rank) == JOIN_FOLLOWS);
#ifdef OTHER
    model_enter(2);
    assert(join_or_claim(&group, &model_slot[2], "k", 1, NEWCOMER_BLOCKING(&thread_self.agent),
                         NULL, &joined, &rank) == JOIN_FOLLOWS);
#endif
    model_enter(0);

    pthread_create(&threads[0], NULL, follower_1, NULL);
#ifdef OTHER
    pthread_create(&threads[1], NULL, follower_2, NULL);
#endif
#ifdef DIES
    work = 1;
    lead_enter(&thread_self.agent, call, NULL);
    lead_abandon(call);
#else
    lead(&model_slot[0]);
#endif
    pthread_join(threads[0], NULL);
#ifdef OTHER
    pthread_join(threads[1], NULL);
#endif

    int led = atomic_load_relaxed(&n_led);
#if defined(DIES) && defined(OTHER) && !defined(OTHER_LEAVES)
    assert(led == 1); /* thread 2 was there all the time */
#endif
    assert(atomic_load_relaxed(&n_destroyed) == led);
#ifdef DIES
    assert(atomic_load_relaxed(&n_shut) == 0 || led == 0);
#endif
    REACHED(atomic_load_relaxed(&n_left) != 0);
    assert(atomic_load_relaxed(&model_n_freed) == 1);
    model_check_counters();
    return 0;
}
