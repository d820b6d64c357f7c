/* SPDX-License-Identifier: BSD-2-Clause */
/* gate.c - who leaves hands the place to the first in the queue. */
#include "gate.h"

#include <stdbool.h>

struct gate_waiter { /* on its thread's stack */
    STAILQ_ENTRY(gate_waiter) link;
    pthread_cond_t admitted_changed;
    bool admitted;
};

void gate_init(struct gate *g, unsigned n)
{
    pthread_mutex_init(&g->lock, NULL);
    g->n_free = n;
    STAILQ_INIT(&g->waiting);
}

void gate_enter(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (g->n_free != 0) {
        g->n_free--;
    } else {
        struct gate_waiter w = {.admitted = false};
        pthread_cond_init(&w.admitted_changed, NULL);
        STAILQ_INSERT_TAIL(&g->waiting, &w, link);
        while (!w.admitted)
            pthread_cond_wait(&w.admitted_changed, &g->lock);
        pthread_cond_destroy(&w.admitted_changed);
    }
    pthread_mutex_unlock(&g->lock);
}

void gate_leave(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    struct gate_waiter *first = STAILQ_FIRST(&g->waiting);
    if (first != NULL) {
        STAILQ_REMOVE_HEAD(&g->waiting, link);
        first->admitted = true;
        /* Under the lock: without it the waiter could be gone already. */
        pthread_cond_signal(&first->admitted_changed);
    } else {
        g->n_free++;
    }
    pthread_mutex_unlock(&g->lock);
}
