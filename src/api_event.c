/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: event loops, manual leaders; argument checks only.  See singleflight.h. */
#include "../include/singleflight.h"

#include "async.h"

#include <limits.h>
#include <string.h>

int sflight_begin(sflight_group *g, const void *key, size_t key_len, sflight_call **lead,
                  sflight_future **join)
{
    if (lead != NULL)
        *lead = NULL;
    if (join != NULL)
        *join = NULL;
    if (lead == NULL || join == NULL || !group_key_valid(g, key, key_len))
        return -EINVAL;
    return async_begin(g, key, key_len, lead, join);
}

void sflight_complete(sflight_call *call, int status)
{
    async_complete(call, status);
}

void sflight_abandon(sflight_call *call)
{
    async_abandon(call);
}

int sflight_start(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                  sflight_future **out)
{
    if (out != NULL)
        *out = NULL;
    if (out == NULL || fn == NULL || !group_key_valid(g, key, key_len))
        return -EINVAL;
    return async_start(g, key, key_len, fn, arg, out);
}

int sflight_future_get(sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    if (r != NULL)
        memset(r, 0, sizeof(*r));
    if (f == NULL || r == NULL || !clock_deadline_valid(deadline))
        return -EINVAL;
    return async_get(f, deadline, r);
}

int sflight_future_poll(sflight_future *f, sflight_result *r)
{
    if (r != NULL)
        memset(r, 0, sizeof(*r));
    if (f == NULL || r == NULL)
        return -EINVAL;
    return async_poll(f, r);
}

int sflight_future_fd(sflight_future *f)
{
    return f != NULL ? async_fd(f) : -EINVAL;
}

int sflight_future_then(sflight_future *f, void (*cb)(void *arg, int rc, sflight_result *r),
                        void *arg)
{
    return f != NULL && cb != NULL ? async_then(f, cb, arg) : -EINVAL;
}

int sflight_future_enqueue(sflight_future *f, sflight_queue *q, uint64_t tag)
{
    return f != NULL && q != NULL ? async_enqueue(f, q, tag) : -EINVAL;
}

void sflight_future_drop(sflight_future *f)
{
    if (f != NULL)
        async_drop(f);
}

int sflight_queue_create(sflight_queue **out)
{
    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    return queue_create(out);
}

int sflight_queue_destroy(sflight_queue *q)
{
    return q == NULL ? 0 : queue_destroy(q);
}

int sflight_queue_fd(sflight_queue *q)
{
    return q != NULL ? queue_fd(q) : -EINVAL;
}

int sflight_queue_drain(sflight_queue *q, sflight_completion *out, unsigned n)
{
    if (q == NULL || (out == NULL && n != 0))
        return -EINVAL;
    return queue_drain(q, out, n < INT_MAX ? n : INT_MAX);
}
