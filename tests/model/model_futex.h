/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One futex, as the kernel has it: under one lock, a waiter compares and
 * queues, and a waker takes waiters off the queue, first come first served.  A
 * waiter that nobody wakes waits for ever: with -DLIVE that is reported.
 *
 * A wait with a deadline gives up at a moment of the scheduler's choice, unless
 * it has been woken before.
 */
#ifndef MODEL_FUTEX_H
#define MODEL_FUTEX_H

#include "model.h"

#ifndef FUTEX_WAITS
#define FUTEX_WAITS 6 /* waits, all together */
#endif

/* What the futex is part of; its low half is the futex. */
#ifndef FUTEX_WORD
#define FUTEX_WORD uint64_t
#endif
typedef _Atomic(FUTEX_WORD) model_futex_word;

static pthread_mutex_t futex_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(int) futex_n_queued;           /* written under the lock, as the next */
static int futex_queued[FUTEX_WAITS];         /* 1: asleep */
static _Atomic(int) futex_woken[FUTEX_WAITS]; /* what sleepers look at */

static int futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline)
{
    pthread_mutex_lock(&futex_lock);
    if ((uint32_t)atomic_load_relaxed((model_futex_word *)(void *)word) != expected) {
        pthread_mutex_unlock(&futex_lock);
        return 0;
    }
    int me = atomic_add_relaxed(&futex_n_queued, 1);
    assert(me < FUTEX_WAITS);
    futex_queued[me] = 1;
    pthread_mutex_unlock(&futex_lock);

    if (deadline != NULL) {
        pthread_mutex_lock(&futex_lock);
        int asleep = futex_queued[me];
        futex_queued[me] = 0;
        pthread_mutex_unlock(&futex_lock);
        return asleep ? -ETIMEDOUT : 0;
    }
    model_await(atomic_load_relaxed(&futex_woken[me]));
    return 0;
}

/* first, and from there on every step-th */
static uint32_t model_wake(uint32_t n, int first, int step)
{
    uint32_t left = n;

    pthread_mutex_lock(&futex_lock);
    int n_queued = atomic_load_relaxed(&futex_n_queued);
    for (int i = first; i < n_queued && left != 0; i += step) {
        if (futex_queued[i]) {
            futex_queued[i] = 0;
            atomic_store_relaxed(&futex_woken[i], 1);
            left--;
        }
    }
    pthread_mutex_unlock(&futex_lock);
    return n - left;
}

static uint32_t futex_wake(uint32_t *word, uint32_t n)
{
    (void)word;
    return model_wake(n, 0, 1);
}

/* Those that went to sleep as the second, the fourth and so on were on another CPU. */
static uint32_t futex_wake_elsewhere(uint32_t *word, uint32_t n)
{
    (void)word;
    return model_wake(n, 1, 2);
}

#endif
