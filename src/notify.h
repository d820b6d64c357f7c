/* SPDX-License-Identifier: BSD-2-Clause */
/* Telling those who wait for a call without blocking a thread at its gate. */
#ifndef SFLIGHT_NOTIFY_H
#define SFLIGHT_NOTIFY_H

#include "queue.h"

/* Hangs a future up, to be told; if it is too late for that, tells it at once. */
void notify_hang(struct sflight_future *f, enum future_kind kind);

/*
 * Taking back what was hung for a callback or a queue (future.h): this, then the canceller
 * leaves the call; then one of the next two.
 */
void notify_take_back(struct sflight_future *f);

/* It has left: whoever has the last look frees the future. */
void notify_taken_back(struct slot *slot, struct sflight_future *f);

/*
 * The call had closed.  True: it is told as if nothing had been; the caller may still look
 * for it where it was put.  False: it has been passed by, and is the caller's to free.
 */
bool notify_give_again(struct sflight_future *f);

/* Takes it out of the callbacks that this thread is about to run; false: it is not there. */
bool notify_withdraw(struct sflight_future *f);

/* Its owner has no more use for it: gives it up, whoever is telling it. */
void notify_end(struct slot *slot, struct sflight_future *f);

/* Takes the result, which is there, and ends the future. */
int notify_take(struct slot *slot, struct sflight_future *f, sflight_result *r);

/* Gives a hung future a descriptor to be made readable. */
void notify_set_fd(struct sflight_future *f, int fd);

/* Tells every future of a list that was swapped out of a call, or of a group's drainers. */
void notify_all(struct sflight_group *g, struct sflight_future *list);

/* A waiter for a fiber, or, if that is NULL, for the calling thread; or NULL. */
struct sflight_future *notify_waiter_new(struct slot *slot, struct sflight_call *call, void *fiber);

/* Hangs it up; false if everybody has been told, and it is still the caller's. */
bool notify_waiter_hang(_Atomic(struct sflight_future *) *list, struct sflight_future *f);

enum notify_outcome {
    NOTIFY_TOLD,
    NOTIFY_NUDGED,    /* a waiter, which is out of the list: the call is still in flight */
    NOTIFY_TIMED_OUT, /* it is still hung */
};

/*
 * Parks the owner of a hung future until it is told: the fiber owned.fiber, or, if that
 * is NULL, the thread.  leaves: what a deadline makes of it: HUNG, it stays its owner's;
 * GONE, it is given up, and freed by who tells it.  Told or nudged, it is the owner's alone.
 */
enum notify_outcome notify_park(struct sflight_group *g, struct sflight_future *f,
                                const struct timespec *deadline, uint32_t leaves);

/* Gives up a waiter that is hung. */
void notify_waiter_end(struct sflight_group *g, struct sflight_future *f);

/* Nudges one waiter of the list, if there is any.  The caller keeps the call from going. */
void notify_nudge_one(struct sflight_group *g, _Atomic(struct sflight_future *) *list);

/* Has a blocking follower look at the call. */
void notify_nudge(struct sflight_call *c);

/*
 * A waiter has been given up: now and then all such are taken out of the list and
 * freed, so that there are never many more than others.  True if the list has been
 * searched for that: who looked for somebody to nudge may have found nobody.  The
 * caller keeps the call from going.
 */
bool notify_sweep(struct slot *slot, struct sflight_group *g,
                  _Atomic(struct sflight_future *) *list);

/* In a forked child: nobody is going to tell it, and its owner finds it told. */
bool notify_after_fork(struct sflight_future *f);

#endif
