/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: src/gate.c as it is, over the model of a futex.
 *
 * WAITERS threads park, one opens.  With -DCHAIN they keep their holds, so that
 * three waiters can be checked, one more than is woken at a time; with -DAT_ONCE
 * there are rivals, and the opener wakes all.
 *   - nobody sleeps for ever [PARK] (-DLIVE), the chain of wakes
 *     included, if there are more than two waiters;
 *   - who comes through the gate sees the result [PUB-RESULT] (a data race
 *     otherwise), and the opener's bits;
 *   - the holds add up, though each waiter gives one back while others come;
 *     exactly one is last, and the others' reads are done by then [HOLD]
 *     (a data race with the last one's write otherwise).
 */
#include "model.h"

#include "model_futex.h"

#define FAN_OUT 2

#include "gate.c"
#include "rivals.c"

#ifndef WAITERS
#define WAITERS 2
#endif

#ifdef AT_ONCE
static struct rivals rivals = {.until_ns = 1};
#else
static struct rivals rivals;
#endif
static gate g;
static int result;
static _Atomic(int) n_last;

/* As hold_release() does. */
static void release(void)
{
    if (gate_holds(atomic_load_acquire(&g)) != 1) {        /* [HOLD] */
        uint64_t word = atomic_sub_acq_rel(&g, GATE_HOLD); /* [HOLD] */
        if (!(word & GATE_OPEN) || gate_holds(word) != 1)
            return;
    }
    result = 0; /* destroyed */
    assert(atomic_add_relaxed(&n_last, 1) == 0);
}

static void *waiter(void *unused)
{
    (void)unused;
    assert(gate_park(&g, NULL) == GATE_IS_OPEN);
    assert(result == 42);
#ifndef CHAIN
    release();
#endif
    return NULL;
}

int main(void)
{
    pthread_t threads[WAITERS];

    model_start(threads, WAITERS, waiter);
    result = 42;
    gate_open(&g, UINT64_C(1) << GATE_USER_SHIFT, WAITERS + 1, &rivals);
    REACHED(atomic_load_relaxed(&futex_n_queued) == WAITERS);
#ifndef CHAIN
    release();
#endif
    for (int i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
#ifndef CHAIN
    assert(atomic_load_relaxed(&n_last) == 1);
#endif
    return 0;
}
