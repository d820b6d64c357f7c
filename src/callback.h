/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running the callbacks of futures whose calls have ended.
 *
 * Callbacks may end calls, whose callbacks may end calls: they are run one after the other by the
 * outermost frame of the thread (thread_callbacks()), not inside one another.  The thread may be
 * anybody's: a cancellation waits until all have run.
 *
 * One may be left by an exception, or by its thread: the others are run before that goes on, up
 * through the frame.  If another is left meanwhile, the process aborts.
 */
#ifndef SFLIGHT_CALLBACK_H
#define SFLIGHT_CALLBACK_H

#include "future.h"

/* Runs those of a list, linked by `next`, oldest first; or leaves that to a frame further out. */
void callback_run_list(struct sflight_future *list);

/*
 * Callbacks that are due on this thread wait, from here until callback_run(), which is the
 * cleanup of the calling function's frame.  An agent does not park meanwhile.
 */
void callback_wait(struct thread_frame *frame);
void callback_run(struct thread_frame *frame);

#endif
