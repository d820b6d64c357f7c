/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futures: joiners that do not block a thread.
 *
 * A future is one joiner's claim on the result.  Until it asks to be told it is
 * nothing but that; whoever has it can look whether the gate is open.  To be
 * told, it is given a kind and hung into the call's `waiters`:
 *
 *     IDLE --hang--> HUNG --teller--> TELLING --teller--> TOLD
 *                      |                 |
 *                      +------GONE-------+     by the owner, with an exchange
 *
 * What its owner still has, to wait for or with a descriptor, can go at any time.  Of TOLD and
 * GONE, whoever takes the second step frees it, so the teller never touches a descriptor that its
 * owner has closed.  HUNG may have two bits: FD, there is a descriptor to be made readable (an
 * owner that comes too late with its descriptor makes it readable itself); and FIBER, a fiber is
 * parked and is to be made to run.
 *
 * What has been given to a callback or a queue is not told by a step of its own: whoever
 * has the list looks at each, and puts those that are HUNG where they belong.  It is taken
 * back by leaving the call, which is one step with the close:
 *
 *     HUNG --canceller--> GOING --canceller, has left before the close--> GONE
 *      ^                   |  |
 *      +--the call closed--+  +--teller--> TOLD
 *
 * If it has left, the teller comes after the close, and so sees GOING or GONE.  It passes
 * what is GONE by and frees it; GOING it makes TOLD, and then the canceller frees it.  If the
 * call has closed before, the teller may have seen HUNG: the canceller sets that again, and
 * what is not TOLD is in the queue, or among the callbacks of its own thread, or too late.
 *
 * A WAITER is the same thing for a caller that blocks in a group with fibers: it is
 * not one more claim on the result, but only how its caller is told.  Its owner
 * never goes while it is being told, so that the fiber is still there when it is
 * made to run: it waits out the few steps from TELLING to TOLD.  A waiter can also
 * be NUDGED, for its caller to look at the call: it is then out of the list.
 */
#ifndef SFLIGHT_FUTURE_H
#define SFLIGHT_FUTURE_H

#include "hold.h"

/* Of a future's state. */
enum {
    FUTURE_IDLE,
    FUTURE_HUNG,
    FUTURE_TELLING,
    FUTURE_TOLD,
    FUTURE_NUDGED,
    FUTURE_GONE,
    FUTURE_GOING,
    FUTURE_STATE_MASK = 15,
    FUTURE_FD = 16, /* with HUNG only */
    FUTURE_FIBER = 32,
};

#ifndef FUTURE_SPARES         /* less in a build for tests */
enum { FUTURE_SPARES = 512 }; /* futures a slot keeps; the common one keeps none */
#endif

enum future_kind {
    FUTURE_PLAIN, /* not hung */
    FUTURE_OWNED, /* somebody may wait for it; it may have a descriptor */
    FUTURE_WAITER,
    FUTURE_THEN,
    FUTURE_QUEUED,
    FUTURE_UNWANTED, /* no claim: what on_unwanted() asked for (unwanted.h) */
};

struct sflight_future {
    struct sflight_call *call;
    union {
        struct sflight_future *next;   /* in the call's list, in a queue, or spare */
        struct invocation *invocation; /* of FUTURE_UNWANTED: whose place it takes */
    };
    union {
        struct {
            void (*cb)(void *arg);
            void *arg;
        } unwanted;
        struct {
            void (*cb)(void *arg, int rc, sflight_result *r);
            void *arg;
        } then;
        struct {
            struct sflight_queue *to;
            uint64_t tag;
        } queued;
        struct {
            void *fiber; /* that waits, if state says so; of a waiter: or NULL, a thread */
            int fd;      /* written by the owner; -1: none */
        } owned;
    };
    _Atomic(uint32_t) state;
    unsigned char kind; /* enum future_kind */
    bool starter;       /* of who has started the call, or has its permit: STATE_STARTER */
};

/* A call has ended: does the future of its starter, or of who had its permit, say `leader`? */
static inline bool future_leads(struct sflight_call *c, bool starter)
{
    return UNLIKELY(starter) && !state_was_taken(&c->state);
}

/* A claim for a joiner of the call; or NULL. */
struct sflight_future *future_new(struct slot *slot, struct sflight_call *call, bool starter);

/* Gives the memory back; the claim has been used. */
void future_free(struct slot *slot, struct sflight_future *f);

/* Takes the result, which is there, and frees a future that has been consumed. */
int future_take(struct sflight_future *f, sflight_result *r);

/* At the end of a group. */
void future_free_list(struct alloc *alloc, struct sflight_future *list);

/* The same for those that slots have spare. */
void future_free_spares(struct slot *slot);

#endif
