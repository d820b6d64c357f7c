/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callers that do not block: started calls, and the owner's side of futures.
 *
 * A STARTED call is claimed by its starter, and its fn runs elsewhere.  The call has an extra hold
 * for the starter, on which the starter's future is a claim (STATE_STARTER).  Which comes first,
 * that the starter leaves or that the call closes, is decided by the call's state [CLOSE].
 *
 * A future of kind OWNED stays in the call's list until the list is told.  If its owner wants to
 * have it called back or enqueued after all, a new record takes over its claim (copied()).
 */
#ifndef SFLIGHT_ASYNC_H
#define SFLIGHT_ASYNC_H

#include "lead.h"
#include "wait.h"

/*
 * As the functions of singleflight.h: sflight_start(), and sflight_future_get(), _poll(), _fd(),
 * _then(), _enqueue(), _drop().  Arguments have been checked, and what is delivered through a
 * pointer has been zeroed.  Outside of sections.
 */
int async_start(struct sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                struct sflight_future **out);

int async_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r);
int async_poll(struct sflight_future *f, sflight_result *r);
int async_fd(struct sflight_future *f);
int async_then(struct sflight_future *f, void (*cb)(void *, int, sflight_result *), void *arg);
int async_enqueue(struct sflight_future *f, struct sflight_queue *q, uint64_t tag);

/* Leaves the call or gives up the result, and frees the future.  1: the last who waited. */
int async_drop(struct sflight_future *f);

int async_cancel(struct sflight_future *f);

#endif
