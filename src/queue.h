/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A completion queue: many producers push, one consumer drains.
 *
 * `pushed` is a stack; a producer adds a whole chain with one CAS.  The
 * consumer takes all of it with one exchange, turns it round, and hands it out
 * from there.
 *
 * The descriptor is readable while there may be something: `signalled` says
 * that it has been, or is about to be, written.  A producer that finds the
 * stack empty writes, unless `signalled` is set; the consumer reads the
 * descriptor, then clears `signalled`, then takes the stack, in this order:
 *
 *     producer                          consumer
 *     push -> the stack was empty       read the descriptor
 *     swap signalled                    signalled = 0
 *       -> 0: write the descriptor      take the stack
 *
 * If the push comes before the take, the chain is taken.  If it comes after, it
 * finds an empty stack and `signalled` clear, and writes [SIGNAL].
 */
#ifndef SFLIGHT_QUEUE_H
#define SFLIGHT_QUEUE_H

#include "future.h"

int queue_create(struct sflight_queue **out);
int queue_destroy(struct sflight_queue *q);
int queue_fd(const struct sflight_queue *q);
int queue_drain(struct sflight_queue *q, sflight_completion *out, unsigned n);

/* The calling thread enqueues one more future, which will be pushed; or, in a forked child, one
   will not be. */
void queue_expect(struct sflight_queue *q);
void queue_expect_less(struct sflight_queue *q);

/* Pushes a chain, its newest future first. */
void queue_push(struct sflight_queue *q, struct sflight_future *newest,
                struct sflight_future *oldest);

#endif
