/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A completion queue: many producers push futures, one consumer drains them.
 *
 * `pushed` is a stack of chains, in each of which the oldest future stands first.  A producer adds
 * a chain with one CAS.  The consumer takes all of the stack with one exchange and hands it out
 * from there: what was pushed first comes first.  So where there are several chains, it turns their
 * order round; the last future of each names the first of the chain below, with QUEUE_BELOW.
 *
 * The descriptor is readable while there may be something to drain.  QUEUE_SIGNALLED, in the same
 * word, says that it has been written, or is about to be; where something has been pushed it is
 * set.  A producer that finds it clear sets it with its push, and then writes.  Only a drain that
 * finds nothing makes the descriptor unreadable: while completions keep coming nobody writes or
 * reads it, and a push is one CAS.  It reads the descriptor, and then takes the stack and clears
 * QUEUE_SIGNALLED in one step [SIGNAL]:
 *
 *     producer                            consumer
 *     CAS: push, and set SIGNALLED        read the descriptor
 *       -> was clear: write it            swap: take the stack, and clear SIGNALLED
 *
 * If the push comes before that swap, the chain is taken.  If it comes after, the producer finds
 * SIGNALLED clear, or set by another one that comes after the swap, and writes.
 *
 * A queue belongs to no group.  It is in use, and is not destroyed, while a future that was
 * enqueued has not been drained.
 */
#ifndef SFLIGHT_QUEUE_H
#define SFLIGHT_QUEUE_H

#include "future.h"
#include "thread.h"

#ifndef STRIPES /* less in a build for tests */
enum { STRIPES = 16 };
#endif

/* In the word `pushed`: the chain that it names has another below it.  In `next`: see above. */
#define QUEUE_BELOW ((uintptr_t)1)
#define QUEUE_SIGNALLED ((uintptr_t)2) /* in `pushed` only */

struct sflight_queue {
    _Alignas(CACHE_LINE) _Atomic(uintptr_t) pushed;
    _Atomic(uint32_t) n_pushing; /* producers that signal, and so still touch the queue */
    int fd;
    _Atomic(uint64_t) salt; /* of the process in which n_pushing is right */

    _Alignas(CACHE_LINE) struct sflight_future *ready; /* the consumer's own list, oldest first */
    _Atomic(uint64_t) n_drained;                       /* written by the consumer */

    /*
     * How many futures were ever enqueued: the sum over all stripes.  A thread counts in one
     * stripe.  The first thread that comes to a stripe owns it, and counts there without a
     * read-modify-write; the other threads that come to it count in a word of their own.
     */
    struct stripe {
        _Alignas(CACHE_LINE) _Atomic(uint64_t) n_by_owner;
        _Atomic(const struct thread *) owner;
        _Alignas(CACHE_LINE) _Atomic(uint64_t) n_by_others;
    } enqueued[STRIPES];
};

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
 * True if the calling thread owns the stripe, or has just become its owner.  A thread that has
 * ended leaves its stripe to the thread that has the same struct thread next.
 */
static ALWAYS_INLINE bool queue_owns(struct stripe *s)
{
    const struct thread *owner = atomic_load_relaxed(&s->owner); /* one's own stays */
    return owner == &thread_self || (owner == NULL && !thread_self.bare &&
                                     atomic_cas_relaxed(&s->owner, &owner, &thread_self));
}

/*
 * Counts one more future that the calling thread enqueues: before it is hung up, and with that
 * before it is pushed.
 */
static ALWAYS_INLINE void queue_expect(struct sflight_queue *q)
{
    struct stripe *s = &q->enqueued[thread_self.hint % STRIPES];

    /* No order of its own: the push comes later, and orders it [PUSH]. */
    if (LIKELY(queue_owns(s)))
        atomic_add_single_writer(&s->n_by_owner, 1);
    else
        atomic_add_relaxed(&s->n_by_others, 1);
}

/* In a forked child: a future that was enqueued will not be pushed. */
void queue_expect_less(struct sflight_queue *q);

/* By the consumer: one that was expected will not come. */
void queue_forgo(struct sflight_queue *q);

/* By the consumer: takes out one that has been pushed, as if drained; false: it is not there. */
bool queue_withdraw(struct sflight_queue *q, struct sflight_future *f);

/*
 * Pushes a chain of futures, linked by `next` from the oldest to the newest; those were counted by
 * queue_expect(), and are the consumer's from then on.  Any thread.
 */
void queue_push(struct sflight_queue *q, struct sflight_future *oldest,
                struct sflight_future *newest);

#endif
