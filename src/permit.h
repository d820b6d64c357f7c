/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Permits: calls for which nothing runs.
 *
 * A PERMIT is the record itself: sflight_begin() claims the key, and whoever has the permit ends
 * the call with permit_complete() or permit_abandon(), on any thread.  No agent owns such a call,
 * and it is in no agent's list.
 */
#ifndef SFLIGHT_PERMIT_H
#define SFLIGHT_PERMIT_H

#include "join.h"
#include "lead.h"

/*
 * As sflight_begin(), sflight_begin_enqueue(), sflight_call_future(), sflight_complete() and
 * sflight_abandon().  Arguments have been checked, and what is delivered through a pointer has been
 * zeroed.  Outside of sections.
 */
int permit_begin(struct sflight_group *g, const void *key, size_t key_len,
                 struct sflight_call **lead, struct sflight_future **join);
int permit_begin_enqueue(struct sflight_group *g, const void *key, size_t key_len,
                         struct sflight_queue *q, uint64_t tag, struct sflight_call **lead,
                         struct sflight_future **out);
int permit_future(struct sflight_call *call, struct sflight_future **out);
uint32_t permit_complete(struct sflight_call *call, int status);
uint32_t permit_abandon(struct sflight_call *call);

/* Who has begun a permit that has not been used: a thread's number.  For fork() only. */
static inline uint64_t permit_begun_by(const struct sflight_call *call)
{
    return (uint64_t)call->node.tag << 32 | call->result.n_followers;
}

#endif
