/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.h - lets so many threads in at a time, in the order in which they came.
 * In front of the database it is what a connection pool of that size would be.
 */
#ifndef GATE_H
#define GATE_H

#include <pthread.h>
#include <sys/queue.h>

struct gate {
    pthread_mutex_t lock;
    unsigned n_free;
    STAILQ_HEAD(, gate_waiter) waiting; /* empty while n_free is not 0 */
};

void gate_init(struct gate *g, unsigned n);

/* Waits until this thread may go in; gate_leave() is due afterwards. */
void gate_enter(struct gate *g);
void gate_leave(struct gate *g);

#endif
