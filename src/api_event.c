/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: event loops, manual leaders; argument checks only.  See singleflight.h. */
#define SFLIGHT_PLAIN /* these are the functions */
#include "../include/singleflight.h"

#include "async.h"
#include "permit.h"
#include "sizes.h"

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
    return permit_begin(g, key, key_len, lead, join);
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
    return permit_begin_enqueue(g, key, key_len, q, tag, lead, f);
}

int sflight_call_future(sflight_call *call, sflight_future **out)
{
    if (out != NULL)
        *out = NULL;
    if (call == NULL || out == NULL)
        return -EINVAL;
    return permit_future(handle_call(call, "sflight_call_future"), out);
}

uint32_t sflight_complete(sflight_call *call, int status)
{
    return permit_complete(handle_end(HANDLE_PERMIT, call, "sflight_complete"), status);
}

uint32_t sflight_abandon(sflight_call *call)
{
    return permit_abandon(handle_end(HANDLE_PERMIT, call, "sflight_abandon"));
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
    memset(r, 0, size);
    if (f == NULL || !clock_deadline_valid(deadline))
        return -EINVAL;
    int rc = async_get(handle_record(HANDLE_FUTURE, f, "sflight_future_get"), deadline, &full);
    if (rc != -ETIMEDOUT && rc != -EDEADLK)
        (void)handle_end(HANDLE_FUTURE, f, "sflight_future_get");
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
    int rc = -EINVAL;
    if (f != NULL)
        rc = async_poll(handle_record(HANDLE_FUTURE, f, "sflight_future_poll"), &full);
    if (f != NULL && rc != -EAGAIN)
        (void)handle_end(HANDLE_FUTURE, f, "sflight_future_poll");
    sizes_copy(r, size, &full, sizeof(full));
    return rc;
}

int sflight_future_poll(sflight_future *f, sflight_result *r)
{
    return sflight_future_poll_sized(f, r, SFLIGHT_SIZE_RESULT);
}

int sflight_future_fd(sflight_future *f)
{
    return f != NULL ? async_fd(handle_record(HANDLE_FUTURE, f, "sflight_future_fd")) : -EINVAL;
}

int sflight_future_then(sflight_future *f, void (*cb)(void *arg, int rc, sflight_result *r),
                        void *arg)
{
    if (f == NULL || cb == NULL)
        return -EINVAL;
    int rc = async_then(handle_give(f, "sflight_future_then"), cb, arg);
    handle_given(f, rc == 0);
    return rc;
}

int sflight_future_enqueue(sflight_future *f, sflight_queue *q, uint64_t tag)
{
    if (f == NULL || q == NULL)
        return -EINVAL;
    int rc = async_enqueue(handle_give(f, "sflight_future_enqueue"), q, tag);
    handle_given(f, rc == 0);
    return rc;
}

int sflight_future_drop(sflight_future *f)
{
    return f != NULL ? async_drop(handle_end(HANDLE_FUTURE, f, "sflight_future_drop")) : 0;
}

int sflight_future_cancel(sflight_future *f)
{
    if (f == NULL)
        return 0;
    int rc = async_cancel(handle_to_cancel(f));
    handle_cancelled(f);
    return rc;
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
        return queue_drain(q, out, n, false);
    while ((unsigned)n_out < n) {
        sflight_completion full;
        if (queue_drain(q, &full, 1, n_out != 0) == 0)
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

static sflight_result *result_at(sflight_completion *c, size_t size, unsigned i)
{
    return &((sflight_completion *)(void *)((char *)c + i * size))->result;
}

void sflight_completions_release_sized(sflight_completion *c, unsigned n, size_t size)
{
    static const char own_name[] = "sflight_completions_release";
    size_t result_size = size - offsetof(sflight_completion, result);

    if (c == NULL)
        return;
    for (unsigned i = 0, next; i < n; i = next) {
        struct sflight_call *call = hold_hand_in(result_at(c, size, i), result_size, own_name);
        for (next = i + 1;
             next < n && call != NULL && hold_call(result_at(c, size, next), own_name) == call;
             next++)
            (void)hold_hand_in(result_at(c, size, next), result_size, own_name);
        if (call == NULL)
            continue;
        hold_open_sole(call); /* a result need not be a queue's */
        hold_release_n(thread_slot(call->group), call, next - i);
    }
}

void sflight_completions_release(sflight_completion *c, unsigned n)
{
    sflight_completions_release_sized(c, n, SFLIGHT_SIZE_COMPLETION);
}
