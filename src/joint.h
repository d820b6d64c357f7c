/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Joints: more words in which joiners of one call are counted, and more lists to hang in.
 *
 * Where several threads join one call again and again, its state and its list go from CPU to CPU.
 * So a thread that notices that makes a JOINT of the call, on a line of its own: there its joiners
 * that do not block are counted, and its futures hang.  While it has any, the joint counts in the
 * call's state as one (STATE_JOINT).  This room knows neither calls nor futures: a call's joints
 * are one word, a list to which joints are only added, with a bit.
 *
 *   joiners    bits 0..2: SHUT, FINAL, IDLE; from bit 3 on: how many
 *
 * IDLE    It has no joiners.  Who takes the last one out sets it, in the same step, and takes its
 *         STATE_JOINT out of the state afterwards, as a joiner that leaves.  Who makes it busy
 *         again has put another one there before.  So a joint that is not IDLE has one in the
 *         state; those beyond are of agents that are between the two steps.
 * SHUT    Nobody joins by it any more.  Set on all that may not be IDLE before the call closes or
 *         is forgotten: the bit in the list's word first, so that no joint comes behind it
 *         (joint_shut_all()).  Of one that is IDLE nothing is to be set: to make it busy takes a
 *         STATE_JOINT, which a call that is closed or forgotten does not get.  So while somebody
 *         can still join an old call, nobody leads a newer one for its key.  A call that goes on
 *         all the same, because a follower has come that blocks, is joined without joints.
 * FINAL   Its number of joiners is, too.  Set after the call has closed (joint_close_all()).
 *
 * A joiner does not know where it is counted: it leaves from the state, if that has any that do not
 * block, or from any joint that has.  As each has its one somewhere, and none is counted twice,
 * there always is one: who finds none has met others that came and went meanwhile.
 *
 * At the close there are as many joiners as the state says, with one for each STATE_JOINT, and for
 * each joint that is not IDLE one less than it has (joint_close_all()).  The STATE_JOINT of one
 * that is IDLE, or not in the list, is that of an agent that has joined and been too late: to take
 * it out again, or to hang its joint up.
 *
 * A joint's memory goes with the record of its call, after a grace period.
 */
#ifndef SFLIGHT_JOINT_H
#define SFLIGHT_JOINT_H

#include "alloc.h"
#include "compiler.h"

#include <stdbool.h>

struct sflight_future;

#define JOINT_SHUT UINT64_C(1)
#define JOINT_FINAL UINT64_C(2)
#define JOINT_IDLE UINT64_C(4)
#define JOINT_ONE UINT64_C(8)

struct joint {
    _Alignas(CACHE_LINE) _Atomic(uint64_t) joiners;
    _Atomic(struct sflight_future *) waiters; /* as a call's */
    struct joint *next;                       /* in its call's list */
    const void *maker;                        /* only an address */
};

typedef _Atomic(uintptr_t) joint_list; /* the joint that was added last, and JOINT_LIST_SHUT */

#define JOINT_LIST_SHUT ((uintptr_t)1)

/* The joints of a list as it was read; NULL: none. */
static inline struct joint *joint_first(uintptr_t list)
{
    return (struct joint *)(list & ~JOINT_LIST_SHUT);
}

/* Joins by it; false, and nothing has changed: it is IDLE or SHUT. */
static ALWAYS_INLINE bool joint_join(struct joint *j)
{
    uint64_t n = atomic_load_relaxed(&j->joiners); /* the CAS decides */

    while (LIKELY(!(n & (JOINT_SHUT | JOINT_IDLE))))
        if (LIKELY(atomic_cas_acq_rel(&j->joiners, &n, n + JOINT_ONE))) /* [JOINT] */
            return true;
    return false;
}

/* One that has one joiner and is in no list; or NULL. */
struct joint *joint_new(struct alloc *alloc, const void *maker);

/*
 * Adds a new one to the list, or makes one busy that is IDLE: it has one joiner then.  By who has
 * put a STATE_JOINT into the state for it.  False, and nothing has changed: the list, or the joint,
 * is SHUT, or the joint is busy.
 */
bool joint_add(joint_list *list, struct joint *j);
bool joint_revive(struct joint *j);

/*
 * That maker's; or, where there are as many as that, the n-th of them, counted round, to be shared.
 * NULL: another one may be made.
 */
struct joint *joint_choose(joint_list *list, const void *maker, unsigned most, uint64_t n);

/* Before the call closes or is forgotten, any number of times: nobody joins by one any more. */
void joint_shut_all(joint_list *list);

/* After it has closed: how many joiners there are beyond one for each that is not IDLE. */
uint64_t joint_close_all(joint_list *list);

/* The same at any moment, with those who come and go meanwhile or without. */
uint64_t joint_more_now(joint_list *list);

/* The same, as it is shown, or a hint; nothing is ordered by that. */
uint64_t joint_more(uintptr_t list);

enum joint_left {
    JOINT_NONE, /* of none; nothing has changed */
    JOINT_LEFT, /* the joint has others */
    JOINT_LAST, /* the joint is IDLE: a STATE_JOINT is to be taken out */
};

/* Takes a joiner out of one of them; of that one, if it has any; own: NULL, or one of the list's.
 */
enum joint_left joint_leave(joint_list *list, struct joint *own);

/*
 * In a forked child: how many joiners they had.  From here on they are there for their lists only,
 * and the call, if it goes on, is joined without joints.
 */
uint64_t joint_after_fork(joint_list *list);

/* Frees them all.  Nobody else looks at them. */
void joint_free_all(joint_list *list, struct alloc *alloc);

#endif
