/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Telling who leads a call, but does not wait for it, that nobody does any more.
 *
 * A call's word `inside` is 0, or, while fn runs, the address of its invocation.  What is to
 * be told stands in a future (of kind FUTURE_UNWANTED), which takes the word's place:
 *
 *     0, invocation --ask--> ARMED --teller--> RUNNING ----> 0, invocation, ARMED
 *                              |                  | leader: +AWAITED, sleeps
 *                              |                  | teller: +MISSED
 *                              +--leader: stop----+
 *
 * The leader asks and stops; a teller is whoever has left the call to nobody, and has a hold
 * on it.  Of a teller and a leader that stops one gets the future, by a CAS, and frees it.  A
 * leader ends its call after it has stopped, and it waits for a callback that another thread
 * is in: so none runs after the end.  It does not wait for one that it is in itself, and takes
 * the word from it.
 *
 * What is asked for inside a callback for the same call takes the word's place when that has
 * ended, ARMED.  Who leaves the call to nobody meanwhile says so, MISSED, to who runs it.
 *
 * Either who asks sees that everybody has left, or who leaves last sees what was asked
 * [UNWANTED].
 */
#ifndef SFLIGHT_UNWANTED_H
#define SFLIGHT_UNWANTED_H

#include "future.h"

/* Has cb(arg) called, once, when the call is left to nobody; NULL: nothing any more. */
void unwanted_ask(struct sflight_call *call, void (*cb)(void *arg), void *arg);

/* The caller has left the call, perhaps to nobody, and has a hold.  Runs user code. */
void unwanted_tell(struct sflight_call *call);

/* From here on nothing is told.  For the leader; `inside` is as if it had not asked. */
void unwanted_stop(struct sflight_call *call);

/* In the child, before it has a salt, by the thread that noticed the fork. */
void unwanted_fork(void);

/*
 * In a forked child, under the registry lock: threads that told do not exist.  ends: nor does the
 * leader.  Returns true if the thread that forked did so inside a callback for this call, which
 * goes on, and with a hold.
 */
bool unwanted_after_fork(struct sflight_call *call, bool ends);

#endif
