/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Telling those who wait for a call, other than at its gate: futures and waiters (future.h).
 *
 * They hang in lists (list.h), those of a call, or that of a group's drainers.  Five verbs:
 * notify_hang() and notify_waiter_hang() put an entry in; notify_ended() and notify_all() tell all
 * entries, of a call's lists or of one that has been taken; notify_nudge() tells one waiter to
 * look; notify_park() waits to be told; notify_end() and notify_waiter_end() give an entry up.
 *
 * Every change of a future's state stands in this room, but for its first.  No function of this
 * room is called inside a section.  The functions that tell may run user code: unpark, callbacks,
 * and destroy where a result is given up.  A callback, and so what ends a call, may be left without
 * returning, when everybody has been told.
 */
#ifndef SFLIGHT_NOTIFY_H
#define SFLIGHT_NOTIFY_H

#include "callback.h"
#include "list.h"
#include "queue.h"
#include "retract.h"

/* Tells a future whose list has been told. */
void notify_late(struct sflight_future *f);

/*
 * Hangs a future of that kind into its call's list, or its joint's, by its owner; kind: OWNED, THEN
 * or QUEUED.  If the list has been told, tells the future at once.  A future of kind THEN or QUEUED
 * is consumed.  joint: f->joint, as it was before what goes with the kind was written.
 */
static ALWAYS_INLINE void notify_hang(struct sflight_future *f, enum future_kind kind,
                                      struct joint *joint)
{
    REQUIRE(future_kind(f) == FUTURE_PLAIN);
    struct sflight_call *call = future_set_kind(f, kind);
    if (kind == FUTURE_OWNED)
        atomic_store_relaxed(&f->owned.state, FUTURE_HUNG); /* published by [HANG] */
    if (UNLIKELY(!list_push(joint != NULL ? &joint->waiters : &call->waiters, f)))
        notify_late(f);
}

/* Hangs a future, which is consumed, for a queue: its completion there has the tag. */
static ALWAYS_INLINE void notify_enqueue(struct sflight_future *f, struct sflight_queue *q,
                                         uint64_t tag)
{
    struct joint *joint = f->joint;

    f->queued.to = q;
    f->queued.tag = tag;
    queue_expect(q);
    notify_hang(f, FUTURE_QUEUED, joint);
}

/* The owner of an OWNED future has no more use for it; true: the owner is to free it. */
bool notify_owner_goes(struct sflight_future *f);

/* Its owner has no more use for it: gives it up, whoever is telling it. */
static ALWAYS_INLINE void notify_end(struct slot *slot, struct sflight_future *f)
{
    if (LIKELY(future_kind(f) != FUTURE_OWNED) || notify_owner_goes(f))
        future_free(slot, f);
}

/*
 * The same, and delivers the result.  The owner has seen the gate open.  Returns as hold_deliver()
 * does.
 */
int notify_take(struct slot *slot, struct sflight_future *f, sflight_result *r);

/*
 * Gives a future of kind OWNED, which has none, a descriptor that is to be made readable.  By its
 * owner.
 */
void notify_set_fd(struct sflight_future *f, int fd);

/*
 * Tells all who hang in the call's lists, by whoever has opened its gate and keeps it.  In which
 * order, see notify.c.  The entries may be gone when it returns.
 */
void notify_ended(struct sflight_call *c);

/* The same of a list that was swapped out of a group's drainers, which the calling function keeps.
 */
void notify_all(struct sflight_group *g, struct sflight_future *list);

/*
 * A waiter of the agent that calls: fiber, or, if that is NULL, the calling thread.  call: NULL for
 * one that drains.  Returns it, owned by the calling function; or NULL, if there is no memory.
 */
struct sflight_future *notify_waiter_new(struct slot *slot, struct sflight_call *call, void *fiber);

/*
 * Hangs a waiter into a list.  Returns false if the list has been told: the waiter is as before,
 * the calling function's, to be freed.
 */
bool notify_waiter_hang(_Atomic(struct sflight_future *) *list, struct sflight_future *f);

enum notify_outcome {
    NOTIFY_TOLD,      /* the entry is the owner's alone */
    NOTIFY_NUDGED,    /* of a waiter: the same, and the call is still in flight */
    NOTIFY_TIMED_OUT, /* the entry is still hung */
};

/*
 * Parks the agent that owns a hung entry until it is told, nudged, or the deadline has passed:
 * the fiber owned.fiber, or, if that is NULL, the calling thread.  leaves: what a deadline
 * makes of the entry.  FUTURE_HUNG, of a future: it stays its owner's.  FUTURE_GONE, of a
 * waiter: it is given up, and freed by whoever takes the list.  A fiber may be on another thread
 * when this returns.
 */
enum notify_outcome notify_park(struct sflight_group *g, struct sflight_future *f,
                                const struct timespec *deadline, uint32_t leaves);

/* Gives up a waiter that was hung up: frees it, or leaves that to whoever takes the list. */
void notify_waiter_end(struct sflight_group *g, struct sflight_future *f);

/*
 * Has one blocking follower of the call, if there is any, look whether the call is an orphan: at
 * the gate or in the list, wherever the group's followers wait.  The calling function keeps the
 * call.
 */
void notify_nudge(struct sflight_call *c);

/*
 * In a forked child, for a future of kind OWNED whose list nobody will tell: its owner finds it
 * told.  Returns false if its owner has given it up: it is to be freed.
 */
bool notify_after_fork(struct sflight_future *f);

#endif
