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
 * Only what its owner still has, to wait for or with a descriptor, can go once it
 * is hung; the others have been consumed.  Of TOLD and GONE, whoever takes the
 * second step frees it, so the teller never touches a descriptor that its owner
 * has closed.  HUNG may have two bits: FD, there is a descriptor to be made
 * readable (an owner that comes too late with its descriptor makes it readable
 * itself); and FIBER, a fiber is parked and is to be made to run.
 *
 * A WAITER is the same thing for a caller that blocks in a group with fibers: it is
 * not one more claim on the result, but only how its caller is told.  Its owner
 * never goes while it is being told, so that the fiber is still there when it is
 * made to run: it waits out the few steps from TELLING to TOLD.  A waiter can also
 * be NUDGED, for its caller to look at the call: it is then out of the list.
 */
#ifndef SFLIGHT_FUTURE_H
#define SFLIGHT_FUTURE_H

#include "../include/singleflight.h"
#include "atomic.h"

struct alloc;
struct sflight_group;
struct slot;

#ifndef FUTURE_SPARES         /* less in a build for tests */
enum { FUTURE_SPARES = 512 }; /* futures a slot keeps; the common one keeps none */
#endif

enum future_kind {
    FUTURE_PLAIN, /* not hung */
    FUTURE_OWNED, /* somebody may wait for it; it may have a descriptor */
    FUTURE_WAITER,
    FUTURE_THEN,
    FUTURE_QUEUED,
};

struct sflight_future {
    struct sflight_call *call;
    struct sflight_future *next; /* in the call's list, in a queue, or spare */
    union {
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
    bool starter;       /* its hold is the one that a started call keeps for its starter */
};

/* A claim for a joiner of the call; or NULL. */
struct sflight_future *future_new(struct slot *slot, struct sflight_call *call, bool starter);

/* Gives the memory back; the claim has been used. */
void future_free(struct slot *slot, struct sflight_future *f);

/* Takes the result, which is there, and frees the future. */
int future_take(struct sflight_future *f, sflight_result *r);

/* Leaves the call or gives up the result, and frees the future. */
void future_drop(struct sflight_future *f);

/* Tells every future of a list that was swapped out of a call, or of a group's drainers. */
void future_tell(struct sflight_group *g, struct sflight_future *list);

/* A waiter for a fiber, or, if that is NULL, for the calling thread; or NULL. */
struct sflight_future *waiter_new(struct slot *slot, struct sflight_call *call, void *fiber);

/* Hangs it up; false if everybody has been told, and it is still the caller's. */
bool waiter_hang(_Atomic(struct sflight_future *) *list, struct sflight_future *f);

enum waiter_outcome {
    WAITER_TOLD,      /* it is out of the list, and the caller's */
    WAITER_NUDGED,    /* the same, and the call is still in flight */
    WAITER_TIMED_OUT, /* it has been given up */
};

/* Parks until then. */
enum waiter_outcome waiter_park(struct sflight_group *g, struct sflight_future *f,
                                const struct timespec *deadline);

/* Gives a waiter up that may be hung, or is the caller's. */
void waiter_end(struct sflight_group *g, struct sflight_future *f);

/* Nudges one waiter of the list, if there is any.  The caller keeps the call from going. */
void waiters_nudge(struct sflight_group *g, _Atomic(struct sflight_future *) *list);

/*
 * A waiter has been given up: now and then all such are taken out of the list and
 * freed, so that there are never many more than others.  True if the list has been
 * searched for that: who looked for somebody to nudge may have found nobody.  The
 * caller keeps the call from going.
 */
bool waiters_swept(struct slot *slot, struct sflight_group *g,
                   _Atomic(struct sflight_future *) *list);

/* In a forked child: takes waiters out of the list, for their callers do not exist. */
void waiters_drop(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned);

/* As the functions of the same names; arguments have been checked. */
int future_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r);
int future_poll(struct sflight_future *f, sflight_result *r);
int future_fd(struct sflight_future *f);
int future_then(struct sflight_future *f, void (*cb)(void *, int, sflight_result *), void *arg);
int future_enqueue(struct sflight_future *f, struct sflight_queue *q, uint64_t tag);

/*
 * In a forked child: nobody is going to tell this list.  Returns how many of it
 * had been consumed, and now get nothing; what has no owner goes to *unowned.
 */
uint32_t future_list_alone(struct sflight_future *list, struct sflight_future **unowned);

/* At the end of a group. */
void future_free_list(struct alloc *alloc, struct sflight_future *list);

/* The same for those that slots have spare. */
void future_free_spares(struct slot *slot);

#endif
