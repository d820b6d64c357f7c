/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Closing and draining against a call [DRAIN]: src/group.c, call.c, table.c and
 * park.c as they are; what sflight_group_close() does is written out.
 *
 * Thread 0 does a call, thread 1 closes the group and drains it.
 *   - what fn did is over when drain returns, and no fn begins after it (a data
 *     race with what the drainer does then, otherwise);
 *   - the drainer does not sleep for ever (-DLIVE).
 * With -DCHAIN the bucket is not empty, so that the claim is made in a section;
 * with -DLOOKER thread 2 looks into it, so that the
 * call may not end as one that nobody has seen.
 */
#define MODEL_THREADS 3
#define FUTEX_WORD uint32_t
#include "model_group.h"

static int what_fn_does;

static void thread_forget_group(struct sflight_group *g)
{
    (void)g;
}

static void do_one(struct slot *slot)
{
    struct sflight_call *c;
    unsigned rank;
    int role =
        join_or_claim(&group, slot, "k", 1, NEWCOMER_BLOCKING(&thread_self.agent), NULL, &c, &rank);

    if (role == JOIN_LEADS) {
        what_fn_does++;
        finish_call(slot, c, 0);
        hold_release(slot, c);
    } else {
        assert(role == -ESHUTDOWN);
    }
}

static void *drainer(void *unused)
{
    model_enter(1);
    (void)unused;
    atomic_or_acq_rel(&group.flags, GROUP_CLOSED); /* sflight_group_close() */
    assert(finish_drain(&group, NULL) == 0);
    what_fn_does = 0;
    REACHED(atomic_load_relaxed(&futex_n_queued) != 0);
    return NULL;
}

#ifdef LOOKER
static void *looker(void *unused)
{
    model_enter(2);
    (void)unused;
    assert(join_forget(&group, "x", 1) == 0);
    return NULL;
}
#endif

int main(void)
{
    pthread_t threads[2];

    model_init();
    model_register(3);
#ifdef CHAIN
    struct table_node *other = aligned_alloc(_Alignof(struct table_node), sizeof(*other));
    other->hash = 1;
    assert(table_claim_unlooked(table_only_bucket(&group.table, 0), 0, other, 0));
#endif
    pthread_create(&threads[0], NULL, drainer, NULL);
#ifdef LOOKER
    pthread_create(&threads[1], NULL, looker, NULL);
#endif
    do_one(&model_slot[0]);
    return 0;
}
