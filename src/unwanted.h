/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Telling who leads a call, but does not wait for it, that nobody does any more.
 *
 * A call's word `inside` is 0, or, while fn runs, the address of its invocation.  What is to
 * be told stands in a future (of kind FUTURE_UNWANTED), which takes the word's place:
 *
 *     0, invocation --ask--> ARMED --teller--> ARMED+RUNNING ----> 0, invocation
 *                              |                    | leader: +AWAITED, sleeps
 *                              +--leader: stop------+
 *
 * The leader asks and stops; a teller is whoever has left the call to nobody, and has a hold
 * on it.  Of a teller and a leader that stops one gets the future, by a CAS, and frees it.  A
 * leader ends its call after it has stopped, and it waits for a callback that another thread
 * is in: so none runs after the end.  It does not wait for one that it is in itself.
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

/* In a forked child: threads that told do not exist.  ends: nor does the leader. */
void unwanted_after_fork(struct sflight_call *call, bool ends);

#endif
