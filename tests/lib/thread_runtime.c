/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A runtime whose tasks are the program's threads, for the `hooks` variant of the
 * tests: every group is given it (SFLIGHT_TEST_RUNTIME), so that all that is asserted
 * of groups with threads is asserted of callers who park by hooks.
 *
 * park returns early now and then, without a reason.
 */
#include <singleflight.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct token {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool there;
    unsigned n_parks;
    struct token *next;
};

static _Thread_local struct token *mine;
static _Atomic(struct token *)
    all; /* they stay, also those of threads that a fork has left behind */

static void *self(void *ctx)
{
    (void)ctx;
    if (mine == NULL) {
        pthread_condattr_t attr;
        struct token *t = calloc(1, sizeof(*t));
        if (t == NULL)
            abort();
        pthread_mutex_init(&t->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&t->cond, &attr);
        pthread_condattr_destroy(&attr);
        t->next = atomic_load(&all);
        while (!atomic_compare_exchange_weak(&all, &t->next, t))
            ;
        mine = t;
    }
    return mine;
}

static void park(void *ctx, void *task, const struct timespec *deadline)
{
    struct token *t = task;
    int saved, rc = 0;

    (void)ctx;
    if (t != mine)
        abort();
    if (++t->n_parks % 7 == 0)
        return;
    struct timespec zero = {0};
    if (deadline != NULL && deadline->tv_sec < 0)
        deadline = &zero;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &saved); /* pthread_cond_wait() is a point */
    pthread_mutex_lock(&t->lock);
    while (!t->there && rc != ETIMEDOUT)
        rc = deadline == NULL ? pthread_cond_wait(&t->cond, &t->lock)
                              : pthread_cond_timedwait(&t->cond, &t->lock, deadline);
    t->there = false;
    pthread_mutex_unlock(&t->lock);
    pthread_setcancelstate(saved, &saved);
}

static void unpark(void *ctx, void *task)
{
    struct token *t = task;

    (void)ctx;
    pthread_mutex_lock(&t->lock);
    t->there = true;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->lock);
}

const sflight_runtime thread_runtime = {.self = self, .park = park, .unpark = unpark};
