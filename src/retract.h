/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking back futures that were consumed: given to a callback or a queue.  See future.h. */
#ifndef SFLIGHT_RETRACT_H
#define SFLIGHT_RETRACT_H

#include "future.h"

/*
 * By the teller, of a consumed future, before it goes where it belongs.  False: it is being taken
 * back, and is not to be touched any more.
 */
bool retract_pass(struct sflight_group *g, struct sflight_future *f);

/*
 * Taking back what was hung for a callback or a queue (future.h): this, then the canceller
 * leaves the call; then one of the next two.
 */
void retract_begin(struct sflight_future *f);

/* It has left: whoever has the last look frees the future. */
void retract_end(struct slot *slot, struct sflight_future *f);

/*
 * The call had closed.  True: it is told as if nothing had been; the caller may still look
 * for it where it was put.  False: it has been passed by, and is the caller's to free.
 */
bool retract_undo(struct sflight_future *f);

/*
 * In a forked child, of the list of a call that is abandoned there: the thread that forked is
 * taking one back.  True: it is this one, which will be passed by and is that thread's to free.
 */
bool retract_after_fork(struct sflight_future *f);

/* Takes it out of the callbacks that this thread is about to run; false: it is not there. */
bool retract_callback(struct sflight_future *f);

#endif
