/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A slot REMEMBERS the call that its thread joins again and again: then it need not be searched for
 * (join_remembered()), and no section is needed to look at it.  For its record is not used for
 * another call, and not freed, while a slot remembers it: it stays in its slot's limbo, one for
 * each slot at most [REMEMBER].  With it stays the memory of its key: one of more than
 * CALL_KEY_KEPT bytes is not remembered.  A group with GROUP_LIMITED has more to look at, and the
 * common slot remembers nothing.
 *
 * remember_call(): by who has joined the call, and neither left nor taken its hold.
 */
#ifndef SFLIGHT_REMEMBER_H
#define SFLIGHT_REMEMBER_H

#include "call.h"

enum { REMEMBER_MOST = 255 }; /* so many slots, and no more, can remember one record */

void remember_call(struct slot *slot, struct sflight_call *call);
void remember_none(struct slot *slot);

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
