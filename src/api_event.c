/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: event loops, manual leaders; argument checks only.  See singleflight.h. */
#define SFLIGHT_PLAIN /* these are the functions */
#include "../include/singleflight.h"

#include "async.h"
#include "sizes.h"

#include <limits.h>

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

int sflight_begin_enqueue(sflight_group *g, const void *key, size_t key_len, sflight_queue *q,
                          uint64_t tag, sflight_call **lead, sflight_future **f)
{
    if (lead != NULL)
        *lead = NULL;
    if (f != NULL)
        *f = NULL;
    if (lead == NULL || q == NULL || !group_key_valid(g, key, key_len))
        return -EINVAL;
    return async_begin_enqueue(g, key, key_len, q, tag, lead, f);
}

int sflight_call_future(sflight_call *call, sflight_future **out)
{
    if (out != NULL)
        *out = NULL;
    return call != NULL && out != NULL ? async_call_future(call, out) : -EINVAL;
}

uint32_t sflight_complete(sflight_call *call, int status)
{
    return async_complete(call, status);
}

uint32_t sflight_abandon(sflight_call *call)
{
    return async_abandon(call);
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

int sflight_future_get_sized(sflight_future *f, const struct timespec *deadline, sflight_result *r,
                             size_t size)
{
    sflight_result full = {0};

    if (r == NULL)
        return -EINVAL;
    int rc = f != NULL && clock_deadline_valid(deadline) ? async_get(f, deadline, &full) : -EINVAL;
    sizes_copy(r, size, &full, sizeof(full));
    return rc;
}

int sflight_future_get(sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    return sflight_future_get_sized(f, deadline, r, SFLIGHT_SIZE_RESULT);
}

int sflight_future_poll_sized(sflight_future *f, sflight_result *r, size_t size)
{
    sflight_result full = {0};

    if (r == NULL)
        return -EINVAL;
    int rc = f != NULL ? async_poll(f, &full) : -EINVAL;
    sizes_copy(r, size, &full, sizeof(full));
    return rc;
}

int sflight_future_poll(sflight_future *f, sflight_result *r)
{
    return sflight_future_poll_sized(f, r, SFLIGHT_SIZE_RESULT);
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

int sflight_future_drop(sflight_future *f)
{
    return f != NULL ? async_drop(f) : 0;
}

int sflight_future_cancel(sflight_future *f)
{
    return f != NULL ? async_cancel(f) : 0;
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

int sflight_queue_drain_sized(sflight_queue *q, sflight_completion *out, unsigned n, size_t size)
{
    int n_out = 0;

    if (q == NULL || (out == NULL && n != 0))
        return -EINVAL;
    if (n > INT_MAX)
        n = INT_MAX;
    if (size == sizeof(*out))
        return queue_drain(q, out, n);
    while ((unsigned)n_out < n) {
        sflight_completion full;
        if (queue_drain(q, &full, 1) == 0)
            break;
        sizes_copy((char *)out + (size_t)n_out * size, size, &full, sizeof(full));
        n_out++;
    }
    return n_out;
}

int sflight_queue_drain(sflight_queue *q, sflight_completion *out, unsigned n)
{
    return sflight_queue_drain_sized(q, out, n, SFLIGHT_SIZE_COMPLETION);
}

void sflight_completions_release_sized(sflight_completion *c, unsigned n, size_t size)
{
    if (c != NULL)
        async_release_completions(c, n, size);
}

void sflight_completions_release(sflight_completion *c, unsigned n)
{
    sflight_completions_release_sized(c, n, SFLIGHT_SIZE_COMPLETION);
}
