/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock that no fork has to know of: held in the parent, it is free in the child.
 *
 * The word is 0, or the process's generation with HELD, and CONTENDED if somebody may
 * sleep; a word of another generation is as good as 0.  What such a lock guards may be
 * found in the middle of a change: each of them says what is done about that.
 */
#ifndef SFLIGHT_LOCK_H
#define SFLIGHT_LOCK_H

#include "atomic.h"

#include <time.h>

struct lock {
    _Atomic(uint32_t) word;
};

void lock_take(struct lock *lock);
bool lock_take_until(struct lock *lock, const struct timespec *deadline); /* false: it has passed */
bool lock_try(struct lock *lock); /* false: somebody has it */
void lock_give(struct lock *lock);

#endif
