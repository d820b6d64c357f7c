/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A slot REMEMBERS the call that its thread joins again and again: then it need not be searched for
 * (join_remembered()), and no section is needed to look at it.  For its record is not used for
 * another call, and not freed, while a slot remembers it: it stays in its slot's limbo, one for
 * each slot at most [REMEMBER].  With it stays the memory of its key: one of more than
 * CALL_KEY_KEPT bytes is not remembered.  A group with GROUP_LIMITED has more to look at, and the
 * common slot remembers nothing.
 *
 * Where others join the same call meanwhile, the thread gets a joint of it (joint.h): its joins
 * find more joiners than the last one has left, and after JOINT_AFTER of those remember_joint()
 * makes one.  In a group where calls have ages there are none.
 *
 * remember_call(): by who has joined the call, and neither left nor taken its hold.
 */
#ifndef SFLIGHT_REMEMBER_H
#define SFLIGHT_REMEMBER_H

#include "call.h"

enum { REMEMBER_MOST = 255 }; /* so many slots, and no more, can remember one record */
#ifndef JOINT_AFTER           /* less in a build for tests */
#define JOINT_AFTER 8u
#endif

void remember_call(struct slot *slot, struct sflight_call *call);
void remember_none(struct slot *slot);

/*
 * Joins the call that the slot remembers, not blocking, by a joint, which later joins can use.
 * False, and nothing has changed: it cannot be joined so.
 */
bool remember_joint(struct slot *slot);

/* Of the slot's thread, for that call: where a future of its may hang; or NULL. */
static ALWAYS_INLINE struct joint *remember_joint_of(struct slot *slot, struct sflight_call *call)
{
    return slot->remembered == call ? slot->joint : NULL;
}

/* Notes that the slot's thread has joined the call, which it still has the claim on. */
static ALWAYS_INLINE void remember_joined(struct slot *slot, struct sflight_call *call)
{
    if (UNLIKELY(slot->common))
        return;
    if (LIKELY(slot->joined != call))
        slot->joined = call;
    else if (slot->remembered != call)
        remember_call(slot, call);
}

#endif
