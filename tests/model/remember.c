/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A call that a thread remembers, against its end: src/call.c and join.c as they are, with a limbo
 * from which records come back.  Thread 1 has joined thread 0's call before the threads start.  It
 * begins for the key again, and gives up what it gets.  Thread 0 ends the call meanwhile, and takes
 * a record for another key: the call's, if it can have it.
 *
 *   - a record is not used for another call while a slot remembers it, and whoever uses it comes
 *     after all that the slot's thread has read of it ([REMEMBER]: a data race, or access to freed
 *     memory, otherwise);
 *   - a call that has ended, or is forgotten, is not joined by who begins after that (I3, I4);
 *   - who leads the key's next call sees what the last one's leader did (I2);
 *   - nobody is left in the call's count (I5), and the counters balance at the end;
 *   - in the end no record waits: what was remembered has been given back as well.
 *
 *   default        the call is remembered before the threads start
 *   -DMEANWHILE    thread 1 has joined once, and its second join remembers it, or comes too late
 *   -DANEW         thread 1 leads the key's next call, if it comes too late
 *   -DAGAIN=n      thread 1 begins n times
 *   -DFREES        no record is kept: what comes back is freed
 *   -DFORGETS      thread 0 forgets the key first
 *   -DCLAIMS       thread 0 claims the other key, which is in the same bucket, and ends that call
 *   -DENDS         thread 1 ends, and begins nothing: it remembers no longer
 */
#define MODEL_THREADS 2
#define MODEL_LIMBO
#include "model_call.h"

#ifndef AGAIN
#define AGAIN 1
#endif

static const struct newcomer newcomer = {NULL, CALL_OF_PERMIT, STATE_ASYNC, 0};
static struct sflight_call *call;
static _Atomic(int) lost; /* the call has no key any more */
static int n_led;         /* of the key's calls, counted without any care */

/* Nobody hangs anything up. */
void notify_ended(struct sflight_call *c)
{
    assert(atomic_load_relaxed(&c->waiters) == NULL);
}

void unwanted_tell(struct sflight_call *c)
{
    (void)c;
}

/* As the owner of a future drops it. */
static void drop(struct slot *slot, struct sflight_call *c)
{
    if (wait_leave(slot, c, STATE_ASYNC) == LEAVE_TOO_LATE) {
        hold_take(slot, c, 1);
        hold_release_early(slot, c);
    } else {
        gauges_count(slot, COUNT_RETURNED);
    }
}

static void end(struct slot *slot, struct sflight_call *c)
{
    finish_call(slot, c, 0);
    hold_release(slot, c);
}

static struct sflight_call *remembered(struct slot *slot)
{
    struct sflight_call *c = join_remembered(slot, "k", 1);

    assert(c == NULL || (c == call && c == slot->remembered && c->node.key_inline[0] == 'k'));
    return c;
}

/* As sflight_begin(), which ends at once what it leads. */
static struct sflight_call *begin(struct slot *slot)
{
    struct sflight_call *c = remembered(slot);
    unsigned rank;

    if (c != NULL)
        return c;
    int role = join_or_claim(&group, slot, "k", 1, newcomer, NULL, &c, &rank);
    if (role == JOIN_FOLLOWS) {
        remember_joined(slot, c);
        return c;
    }
    assert(role == JOIN_LEADS);
#ifndef FORGETS
    n_led++;
#endif
    end(slot, c);
    return NULL;
}

static void *joiner(void *unused)
{
    struct slot *slot = model_enter(1);

    (void)unused;
#ifdef ENDS
    remember_none(slot);
    call_leave_slot(slot);
#else
    for (int i = 0; i < AGAIN; i++) {
        bool was_lost = atomic_load_acquire(&lost);
#if defined(ANEW) || defined(MEANWHILE)
        struct sflight_call *c = begin(slot);
#else
        struct sflight_call *c = remembered(slot);
#endif
        if (c == NULL)
            continue;
        assert(c == call && !was_lost);
        drop(slot, c);
    }
#endif
    return NULL;
}

int main(void)
{
    struct slot *slot = &model_slot[0];
    struct sflight_call *c;
    pthread_t thread;
    unsigned rank;

    model_init();
#ifdef FREES
    model_slot[0].max_spare = model_slot[1].max_spare = 0;
#endif
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &call, &rank) == JOIN_LEADS);
    model_enter(1);
    drop(&model_slot[1], begin(&model_slot[1]));
#ifndef MEANWHILE
    drop(&model_slot[1], begin(&model_slot[1]));
    assert(model_slot[1].remembered == call);
#endif
    model_enter(0);
    pthread_create(&thread, NULL, joiner, NULL);

#ifdef FORGETS
    assert(join_forget(&group, "k", 1) == 1);
    atomic_store_release(&lost, 1);
#endif
    n_led++;
    finish_call(slot, call, 0);
    atomic_store_release(&lost, 1);
    hold_release(slot, call);
    discard_ripe(slot);
#ifdef CLAIMS
    assert(join_or_claim(&group, slot, "q", 1, newcomer, NULL, &c, &rank) == JOIN_LEADS);
    REACHED(c == call);
    end(slot, c);
#else
    c = call_new(slot, "q", 1, group.seed, &newcomer);
    REACHED(c == call);
    call_discard(slot, c);
#endif
    pthread_join(thread, NULL);

    model_enter(1);
    remember_none(&model_slot[1]);
    call_leave_slot(&model_slot[1]);
    for (int i = 0; i < MODEL_THREADS; i++) {
        discard_ripe(&model_slot[i]);
        assert(model_slot[i].limbo.n == 0);
    }
    assert(model_count(COUNT_RETIRED) == model_count(COUNT_RECLAIMED));
    assert(link_node(atomic_load_relaxed(&atomic_load_relaxed(&model_shard.newest)->buckets[0])) ==
           NULL);
    model_check_counters();
    return 0;
}
