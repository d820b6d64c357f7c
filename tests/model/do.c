/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claim, join, close, publish, release: src/call.c, table.c and park.c as they
 * are.  Thread 0 does one call for a key, thread 1 two in a row.
 *   - a follower gets what the leader wrote, before it is destroyed
 *     ([PUB-RESULT], [HOLD]: a data race, or the assertion, otherwise);
 *   - each value is destroyed once;
 *   - a caller never gets the result of a call that it has returned from (I3);
 *   - nobody waits for ever (-DLIVE): who joins is counted (I5);
 *   - the counters balance at the end;
 *   - a record is not touched after it has been freed (I6, I7), and the record
 *     of an unseen call may be used again at once.
 */
#define MODEL_THREADS 2
#include "model_call.h"

static int values[3]; /* by number of the do */
static _Atomic(int) n_destroyed[3];
#ifdef EXCLUSIVE
static int n_runs; /* of the key's fn, counted without any care */
#endif

static void destroy(void *value, size_t size, void *ctx)
{
    int *v = value;

    (void)size, (void)ctx;
    assert(*v == 1);
    *v = 2;
    assert(atomic_add_relaxed(&n_destroyed[v - values], 1) == 0);
}

/* Returns whose value it was. */
static int do_one(struct slot *slot, int number)
{
    struct sflight_call *c;
    unsigned rank;
    int role =
        join_or_claim(&group, slot, "k", 1, NEWCOMER_BLOCKING(&thread_self.agent), NULL, &c, &rank);

    if (role == JOIN_LEADS) {
        values[number] = 1;
#ifdef EXCLUSIVE
        n_runs++;
#endif
        hold_set_value(c, &values[number], 0, destroy, NULL);
        finish_call(slot, c, 0);
    } else {
        assert(role == JOIN_FOLLOWS);
        assert(wait_for_end(slot, &thread_self.agent, c, rank, NULL) == JOIN_FOLLOWS);
    }
    int *v = c->result.value;
    assert(*v == 1);
    assert(role == JOIN_FOLLOWS || v == &values[number]);
    hold_release(slot, c);
    REACHED(role == JOIN_FOLLOWS);
    return (int)(v - values);
}

static void *other(void *unused)
{
    struct slot *slot = model_enter(1);

    (void)unused;
    int first = do_one(slot, 1);
#ifndef ONCE
    int second = do_one(slot, 2);
    assert(first != second);
#endif
    return NULL;
}

int main(void)
{
    pthread_t thread;

    model_init();
    pthread_create(&thread, NULL, other, NULL);
    do_one(&model_slot[0], 0);
    pthread_join(thread, NULL);
    assert(link_node(atomic_load_relaxed(&atomic_load_relaxed(&model_shard.newest)->buckets[0])) ==
           NULL);
    model_check_counters();
    return 0;
}
