/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: blocking callers, results, forget; argument checks only.  See singleflight.h. */
#define SFLIGHT_PLAIN /* these are the functions */
#include "../include/singleflight.h"

#include "batch.h"
#include "do.h"
#include "sizes.h"

#include <errno.h>
#include <string.h>

/* Into this library's own layout. */
static ALWAYS_INLINE int do_direct(sflight_group *g, const void *key, size_t key_len,
                                   sflight_fn *fn, void *arg, const struct timespec *deadline,
                                   sflight_result *r)
{
    if (UNLIKELY(!group_key_valid(g, key, key_len) || fn == NULL || r == NULL ||
                 !clock_deadline_valid(deadline))) {
        if (r != NULL)
            memset(r, 0, sizeof(*r));
        return -EINVAL;
    }
    return do_one(g, key, key_len, fn, arg, deadline, r);
}

int sflight_do_until_sized(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                           void *arg, const struct timespec *deadline, sflight_result *r,
                           size_t size)
{
    sflight_result full;

    int rc = do_direct(g, key, key_len, fn, arg, deadline, r != NULL ? &full : NULL);
    if (r != NULL)
        sizes_copy(r, size, &full, sizeof(full));
    return rc;
}

int sflight_do(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
               sflight_result *r)
{
    if (sizeof(*r) != SFLIGHT_SIZE_RESULT)
        return sflight_do_until_sized(g, key, key_len, fn, arg, NULL, r, SFLIGHT_SIZE_RESULT);
    return do_direct(g, key, key_len, fn, arg, NULL, r);
}

int sflight_do_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r)
{
    if (sizeof(*r) != SFLIGHT_SIZE_RESULT)
        return sflight_do_until_sized(g, key, key_len, fn, arg, deadline, r, SFLIGHT_SIZE_RESULT);
    return do_direct(g, key, key_len, fn, arg, deadline, r);
}

int sflight_do_many_sized(sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
                          void *arg, const struct timespec *deadline, sflight_result *r, int *rc,
                          size_t size)
{
    if (g == NULL || fn == NULL || !clock_deadline_valid(deadline) ||
        (n != 0 && (keys == NULL || r == NULL || rc == NULL)))
        return -EINVAL;
    if (atomic_load_relaxed(&g->flags) & GROUP_CLOSED) /* each key looks again */
        return -ESHUTDOWN;
    return batch_do(g, keys, n, fn, arg, deadline, r, size, rc);
}

int sflight_do_many(sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
                    void *arg, const struct timespec *deadline, sflight_result *r, int *rc)
{
    return sflight_do_many_sized(g, keys, n, fn, arg, deadline, r, rc, SFLIGHT_SIZE_RESULT);
}

static ALWAYS_INLINE void release(sflight_result *r, size_t size)
{
    if (r == NULL)
        return;
    struct sflight_call *call = hold_hand_in(r, size, "sflight_result_release");
    if (call == NULL)
        return;
    struct slot *slot = thread_slot_near(call->group);
    if (UNLIKELY(slot == NULL ||
                 !(hold_is_sole(call) ? do_release_short(slot, call) : do_release_one(slot, call))))
        do_release_any(slot, call);
}

void sflight_result_release_sized(sflight_result *r, size_t size)
{
    release(r, size);
}

void sflight_result_release(sflight_result *r)
{
    release(r, SFLIGHT_SIZE_RESULT);
}

int sflight_result_retain_sized(const sflight_result *r, sflight_result *copy, size_t size)
{
    if (copy == NULL)
        return -EINVAL;
    if (r == copy)
        return -EINVAL;
    if (r == NULL || r->hold == NULL) {
        memset(copy, 0, size);
        return -EINVAL;
    }
    struct sflight_call *call = hold_call(r, "sflight_result_retain");
    hold_retain(thread_slot(call->group), call);
    memcpy(copy, r, size);
    copy->hold = call;
    hold_hand_out(copy);
    return 0;
}

int sflight_result_retain(const sflight_result *r, sflight_result *copy)
{
    return sflight_result_retain_sized(r, copy, SFLIGHT_SIZE_RESULT);
}

int sflight_forget(sflight_group *g, const void *key, size_t key_len)
{
    return group_key_valid(g, key, key_len) ? join_forget(g, key, key_len) : -EINVAL;
}

int sflight_forget_unshared(sflight_group *g, const void *key, size_t key_len)
{
    return group_key_valid(g, key, key_len) ? join_forget_unshared(g, key, key_len) : -EINVAL;
}
