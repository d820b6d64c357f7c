/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The epochs of ck 0.7.1, as src/reclaim.c uses them, transcribed to C11.
 *
 * From ck: ck_epoch_begin() and ck_epoch_end() without a section object,
 * ck_epoch_call(), ck_epoch_poll_deferred() with its scan and dispatch.  ck's
 * plain loads, stores and compare-and-swap are relaxed here, as on arm64; its
 * fence_memory is a seq_cst fence.  From reclaim.c: the two fences and the
 * section around the call.
 *
 * Thread 0 unlinks an object, retires it and polls until it gets it back;
 * thread 1 enters READS sections, one after the other, and looks at the object
 * in each if it finds it; thread 2 polls as well, so that the epoch goes on.
 *   - nobody finds the object given back while in a section.
 *
 * [EPOCH-ENTER] is a seq_cst fence here, unless -DENTER_ACQUIRE; README.md
 * says why.  Without any (-DNO_ENTER) it goes wrong.  The fence in
 * ck_epoch_begin() of the section around ck_epoch_call() and [EPOCH-RETIRE] do
 * the same: either can be left out (-DBARE_RETIRE, -DNO_RETIRE), not both.
 */
#include "model.h"

#ifndef READS
#define READS 2
#endif
#ifndef POLLS
#define POLLS 2 /* by thread 0 */
#endif
#ifndef HELPS
#define HELPS 2 /* by thread 2 */
#endif

enum { N_LANES = 2 }; /* thread 2 is never in a section */

struct record {
    _Atomic(unsigned) active;
    _Atomic(unsigned) epoch;
};

static _Atomic(unsigned) global_epoch;
static struct record records[N_LANES];

static _Atomic(int) linked; /* the object can be found */
static _Atomic(int) given_back;
static int filed = -1; /* thread 0's: under which epoch, modulo 4 */

static void section_begin(struct record *r)
{
    /* ck_epoch_begin() */
    atomic_store_relaxed(&r->active, 1);
    atomic_fence_seq_cst();
    unsigned e = atomic_load_relaxed(&global_epoch);
    atomic_store_relaxed(&r->epoch, e);
#ifdef ENTER_ACQUIRE
    atomic_fence_acquire(); /* [EPOCH-ENTER] */
#elif !defined(NO_ENTER)
    atomic_fence_seq_cst();
#endif
}

static void section_end(struct record *r)
{
    /* ck_epoch_end() */
    atomic_thread_fence(memory_order_release);
    atomic_store_relaxed(&r->active, 0);
}

static void dispatch(int *list, unsigned epoch)
{
    if (list != NULL && *list == (int)(epoch & 3)) {
        *list = -1;
        atomic_store_relaxed(&given_back, 1);
    }
}

/* ck_epoch_poll_deferred(); list: what is pending in the poller's record, or NULL. */
static void poll(int *list)
{
    unsigned epoch = atomic_load_relaxed(&global_epoch);
    bool any = false;

    atomic_fence_seq_cst();
    dispatch(list, epoch - 2);
    for (int i = 0; i < N_LANES; i++) {
        unsigned active = atomic_load_relaxed(&records[i].active);
        any |= active;
        if (active != 0 && atomic_load_relaxed(&records[i].epoch) != epoch)
            return;
    }
    if (!any) {
        for (unsigned e = 0; e < 4; e++)
            dispatch(list, e);
        return;
    }
    unsigned expected = epoch;
    (void)atomic_cas_relaxed(&global_epoch, &expected, epoch + 1);
    dispatch(list, epoch - 1);
}

static void *reader(void *unused)
{
    (void)unused;
    for (int i = 0; i < READS; i++) {
        section_begin(&records[1]);
        if (atomic_load_acquire(&linked))
            assert(!atomic_load_relaxed(&given_back));
        section_end(&records[1]);
    }
    return NULL;
}

static void *helper(void *unused)
{
    (void)unused;
    for (int i = 0; i < HELPS; i++)
        poll(NULL);
    return NULL;
}

int main(void)
{
    pthread_t threads[2];

    atomic_store_relaxed(&global_epoch, 1);
    atomic_store_relaxed(&linked, 1);
    pthread_create(&threads[0], NULL, reader, NULL);
    pthread_create(&threads[1], NULL, helper, NULL);

    atomic_store_release(&linked, 0);
    /* reclaim_retire() */
#ifndef BARE_RETIRE
    section_begin(&records[0]);
#endif
#ifndef NO_RETIRE
    atomic_fence_seq_cst(); /* [EPOCH-RETIRE] */
#endif
    filed = (int)(atomic_load_relaxed(&global_epoch) & 3); /* ck_epoch_call() */
#ifndef BARE_RETIRE
    section_end(&records[0]);
#endif
    for (int i = 0; i < POLLS && filed >= 0; i++)
        poll(&filed);
    REACHED(filed < 0 && atomic_load_relaxed(&global_epoch) > 2);
    return 0;
}
