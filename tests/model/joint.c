/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The joints of a call against its end: src/joint.c, remember.c, join.c, wait.c and finish.c as
 * they are.  Thread 0 leads the call, and ends it.  Before the threads start thread 1 has joined it
 * three times, the last time by a joint.
 *
 *   - all who have joined have left, or get a hold at the close, and nobody else does (I5): the
 *     record comes back, no earlier, and the counters balance;
 *   - a call that has ended, or is forgotten, is not joined by who begins after that (I3, I4);
 *   - nobody joins an old call when a newer one for its key has been led (I1);
 *   - a joint is not read before it is filled in, nor after its record has come back ([JOINT]: a
 *     data race, or access to freed memory, otherwise).
 *
 *   -DCASE=1   thread 1 joins by its joint, which has a joiner, and drops both
 *   -DCASE=2   thread 1 drops its joiner, the only one, and joins by the joint again
 *   -DCASE=3   thread 1 has no joint yet, and makes one
 *   -DCASE=4   thread 1 drops one of two of its joint; the other one stays
 *   -DCASE=5   as 1, but thread 1 only joins; thread 0 forgets the key, and thread 2 leads another
 *              call for it meanwhile
 *   -DFORGETS  thread 0 forgets the key first, and leads another call for it; thread 1 only joins
 */
#define MODEL_LIMBO
#define JOINT_AFTER 0u
#if CASE == 5
#define FORGETS
#endif
#if CASE == 5
#define MODEL_THREADS 3
#else
#define MODEL_THREADS 2
#endif
#include "model_call.h"

static const struct newcomer newcomer = {NULL, CALL_OF_PERMIT, STATE_ASYNC, 0};
static struct sflight_call *call;
static _Atomic(int) lost;  /* the call has no key any more */
static _Atomic(int) again; /* and another one has been led since */

/* Nobody hangs anything up. */
void notify_ended(struct sflight_call *c)
{
    assert(atomic_load_relaxed(&c->waiters) == NULL);
    for (struct joint *j = joint_first(call_joints(c)); j != NULL; j = j->next)
        assert(atomic_load_relaxed(&j->waiters) == NULL);
}

void unwanted_tell(struct sflight_call *c)
{
    (void)c;
}

/* As the owner of a future drops it. */
static void drop(struct slot *slot)
{
    if (wait_leave(slot, call, STATE_ASYNC) == LEAVE_TOO_LATE) {
        hold_take(slot, call, 1);
        hold_release_early(slot, call);
    } else {
        gauges_count(slot, COUNT_RETURNED);
    }
}

/* As sflight_begin(), while the call is there. */
static void join(struct slot *slot)
{
    struct sflight_call *c;
    unsigned rank;

    if (join_remembered(slot, "k", 1) != NULL)
        return;
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &c, &rank) == JOIN_FOLLOWS);
    remember_joined(slot, c);
}

#ifdef FORGETS
static void end(struct slot *slot, struct sflight_call *c)
{
    finish_call(slot, c, 0);
    hold_release(slot, c);
}
#endif

/* It begins, and may have joined only if neither has been so before. */
static bool join_if_there(struct slot *slot)
{
    bool was_lost = atomic_load_acquire(&lost), was_led = atomic_load_acquire(&again);
    struct sflight_call *c = join_remembered(slot, "k", 1);

    if (c != NULL)
        assert(c == call && !was_lost && !was_led);
    return c != NULL;
}

#ifdef FORGETS
static bool joined;
#endif

static void *joiner(void *unused)
{
    struct slot *slot = model_enter(1);

    (void)unused;
#ifdef FORGETS
    joined = join_if_there(slot); /* what it has is dropped in the end */
#elif CASE == 1
    if (join_if_there(slot))
        drop(slot);
    drop(slot);
#elif CASE == 2
    drop(slot);
    if (join_if_there(slot))
        drop(slot);
#elif CASE == 3
    if (join_if_there(slot)) {
        REACHED(slot->joint != NULL);
        drop(slot);
    }
#else
    drop(slot);
#endif
    return NULL;
}

#if CASE == 5
static struct sflight_call *led; /* by thread 2; NULL: it has joined */

static void *other(void *unused)
{
    struct slot *slot = model_enter(2);
    struct sflight_call *c;
    unsigned rank;

    (void)unused;
    if (join_or_claim(&group, slot, "k", 1, newcomer, NULL, &c, &rank) == JOIN_LEADS) {
        led = c;
        atomic_store_release(&again, 1);
    }
    return NULL;
}
#endif

int main(void)
{
    struct slot *slot = &model_slot[0];
    pthread_t threads[2];
    unsigned rank;

    model_init();
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &call, &rank) == JOIN_LEADS);
    model_enter(1);
    join(&model_slot[1]);
    join(&model_slot[1]);
    assert(model_slot[1].remembered == call);
    drop(&model_slot[1]);
#if CASE == 3
    drop(&model_slot[1]);
#else
    join(&model_slot[1]);
    assert(model_slot[1].joint != NULL && joint_more(call_joints(call)) == 0);
#endif
#if CASE == 4
    join(&model_slot[1]);
    assert(joint_more(call_joints(call)) == 1);
#endif
#if CASE != 3
    drop(&model_slot[1]); /* the one that is counted in the state */
#endif
    model_enter(0);
    pthread_create(&threads[0], NULL, joiner, NULL);
#if CASE == 5
    pthread_create(&threads[1], NULL, other, NULL);
#endif
#if CASE == 5
    assert(join_forget(&group, "k", 1) == 1);
    atomic_store_release(&lost, 1);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    REACHED(led != NULL && joined);
#elif defined(FORGETS)
    struct sflight_call *next;
    assert(join_forget(&group, "k", 1) == 1);
    atomic_store_release(&lost, 1);
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &next, &rank) == JOIN_LEADS);
    atomic_store_release(&again, 1);
#endif
    finish_call(slot, call, 0);
    atomic_store_release(&lost, 1);
#if CASE == 1
    REACHED(call->result.n_followers == 2);
#elif CASE == 2 || CASE == 4
    REACHED(call->result.n_followers == 1);
#endif
    hold_release(slot, call);
#if CASE != 5
    pthread_join(threads[0], NULL);
#endif

#ifdef FORGETS
#if CASE == 5
    model_enter(2);
    if (led != NULL)
        end(&model_slot[2], led);
    else
        drop(&model_slot[2]);
#else
    end(slot, next);
#endif
    model_enter(1);
    if (joined)
        drop(&model_slot[1]);
#if CASE == 1 || CASE == 5
    drop(&model_slot[1]);
#endif
#endif
    model_enter(1);
#if CASE == 4
    drop(&model_slot[1]);
#endif
    remember_none(&model_slot[1]);
    take_from_others(&model_slot[0]); /* a record with joints is left to them */
    for (int i = 0; i < MODEL_THREADS; i++) {
        discard_ripe(&model_slot[i]);
        assert(model_slot[i].limbo.n == 0);
    }
    assert(model_count(COUNT_RETIRED) == model_count(COUNT_RECLAIMED));
    model_check_counters();
    return 0;
}
