/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A completion queue: many producers push futures, one consumer drains them.
 *
 * `pushed` is a stack: a producer adds a whole chain with one CAS, the newest future first.  The
 * consumer takes all of the stack with one exchange, turns it round, and hands it out from
 * there: what was pushed first comes first, and in a chain the oldest future.
 *
 * The descriptor is readable while there may be something to drain.  `signalled` says that it has
 * been written, or is about to be.  A producer that finds the stack empty writes, unless
 * `signalled` is set.  Only a drain that finds nothing makes the descriptor unreadable: while
 * completions keep coming nobody writes or reads it.  It reads the descriptor, then clears
 * `signalled`, then looks at the stack once more, in this order:
 *
 *     producer                          consumer
 *     push -> the stack was empty       take the stack -> nothing
 *     swap signalled                    read the descriptor
 *       -> 0: write the descriptor      signalled = 0
 *                                       take the stack
 *
 * If the push comes before the last take, the chain is taken.  If it comes after, the producer
 * finds an empty stack and `signalled` clear, and writes [SIGNAL].
 *
 * A queue belongs to no group.  It is in use, and is not destroyed, while a future that was
 * enqueued has not been drained.
 */
#ifndef SFLIGHT_QUEUE_H
#define SFLIGHT_QUEUE_H

#include "future.h"

/* As the functions of singleflight.h; arguments have been checked. */
int queue_create(struct sflight_queue **out);
int queue_destroy(struct sflight_queue *q);
int queue_fd(const struct sflight_queue *q);

/*
 * By the consumer, one thread at a time.  goes_on: the same drain has taken some before, and so
 * leaves the descriptor as it is.
 */
int queue_drain(struct sflight_queue *q, sflight_completion *out, unsigned n, bool goes_on);

/*
 * Counts one more future that the calling thread enqueues: before it is hung up, and with that
 * before it is pushed.
 */
void queue_expect(struct sflight_queue *q);

/* In a forked child: a future that was enqueued will not be pushed. */
void queue_expect_less(struct sflight_queue *q);

/* By the consumer: one that was expected will not come. */
void queue_forgo(struct sflight_queue *q);

/* By the consumer: takes out one that has been pushed, as if drained; false: it is not there. */
bool queue_withdraw(struct sflight_queue *q, struct sflight_future *f);

/*
 * Pushes a chain of futures, linked by `next` from the newest to the oldest; those were counted by
 * queue_expect(), and are the consumer's from then on.  Any thread.
 */
void queue_push(struct sflight_queue *q, struct sflight_future *newest,
                struct sflight_future *oldest);

#endif
