/* SPDX-License-Identifier: BSD-2-Clause */
/* Callers that do not block: permits, started calls, futures. */
#ifndef SFLIGHT_ASYNC_H
#define SFLIGHT_ASYNC_H

#include "lead.h"
#include "wait.h"

/* As the functions of the same names; arguments have been checked, results are zeroed. */
int async_begin(struct sflight_group *g, const void *key, size_t key_len,
                struct sflight_call **lead, struct sflight_future **join);
int async_begin_enqueue(struct sflight_group *g, const void *key, size_t key_len,
                        struct sflight_queue *q, uint64_t tag, struct sflight_call **lead,
                        struct sflight_future **out);
int async_call_future(struct sflight_call *call, struct sflight_future **out);
uint32_t async_complete(struct sflight_call *call, int status);
uint32_t async_abandon(struct sflight_call *call);
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

/* Of one call together. */
void async_release_completions(sflight_completion *c, unsigned n);

#endif
