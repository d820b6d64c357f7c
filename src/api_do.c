/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: blocking callers, results, forget; argument checks only.  See singleflight.h. */
#include "../include/singleflight.h"

#include "batch.h"
#include "do.h"

#include <errno.h>
#include <string.h>

int sflight_do(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
               sflight_result *r)
{
    if (UNLIKELY(!group_key_valid(g, key, key_len) || fn == NULL || r == NULL)) {
        if (r != NULL)
            memset(r, 0, sizeof(*r));
        return -EINVAL;
    }
    return do_one(g, key, key_len, fn, arg, NULL, r);
}

int sflight_do_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r)
{
    if (!group_key_valid(g, key, key_len) || fn == NULL || r == NULL ||
        !clock_deadline_valid(deadline)) {
        if (r != NULL)
            memset(r, 0, sizeof(*r));
        return -EINVAL;
    }
    return do_one(g, key, key_len, fn, arg, deadline, r);
}

int sflight_do_many(sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
                    void *arg, const struct timespec *deadline, sflight_result *r, int *rc)
{
    if (g == NULL || fn == NULL || !clock_deadline_valid(deadline) ||
        (n != 0 && (keys == NULL || r == NULL || rc == NULL)))
        return -EINVAL;
    if (atomic_load_relaxed(&g->flags) & GROUP_CLOSED) /* each key looks again */
        return -ESHUTDOWN;
    return batch_do(g, keys, n, fn, arg, deadline, r, rc);
}

void sflight_result_release(sflight_result *r)
{
    if (r == NULL)
        return;
    struct sflight_call *call = r->hold;
    memset(r, 0, sizeof(*r));
    if (call == NULL)
        return;
    struct slot *slot = thread_slot_cached(call->group);
    if (UNLIKELY(slot == NULL || !do_release_short(slot, call)))
        do_release_any(slot, call);
}

int sflight_result_retain(const sflight_result *r, sflight_result *copy)
{
    if (copy == NULL)
        return -EINVAL;
    if (r == copy)
        return -EINVAL;
    if (r == NULL || r->hold == NULL) {
        memset(copy, 0, sizeof(*copy));
        return -EINVAL;
    }
    struct sflight_call *call = r->hold;
    hold_retain(thread_slot(call->group), call);
    *copy = *r;
    return 0;
}

int sflight_forget(sflight_group *g, const void *key, size_t key_len)
{
    return group_key_valid(g, key, key_len) ? join_forget(g, key, key_len) : -EINVAL;
}

int sflight_forget_unshared(sflight_group *g, const void *key, size_t key_len)
{
    return group_key_valid(g, key, key_len) ? join_forget_unshared(g, key, key_len) : -EINVAL;
}
