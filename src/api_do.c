/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: blocking callers, results, forget.  Documented in singleflight.h. */
#include "../include/singleflight.h"

#include "call_alone.h"
#include "call_batch.h"
#include "call_fiber.h"
#include "call_lead.h"
#include "clock.h"
#include "thread.h"

#include <errno.h>
#include <string.h>

static NOINLINE int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                           void *arg, const struct timespec *deadline, sflight_result *r)
{
    if (group_has_fibers(g))
        return call_do_by_fiber(g, key, key_len, fn, arg, deadline, r);

    struct slot *slot = thread_slot(g);
    struct caller *caller = &thread_self.caller;
    struct sflight_call *call = NULL;
    unsigned rank = 0;

    int rc =
        call_claim_or_join(g, slot, key, key_len, CALL_START_BLOCKING(caller), NULL, &call, &rank);
    if (rc == CALL_FOLLOWS)
        rc = call_wait_at_gate(slot, caller, call, rank, deadline);
    if (UNLIKELY(rc < 0)) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    bool leader = rc == CALL_LEADS;
    if (leader)
        call_lead(caller, call, fn, arg);
    return call_deliver(slot, call, leader, r);
}

static ALWAYS_INLINE int do_one(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                                void *arg, const struct timespec *deadline, sflight_result *r)
{
    struct slot *slot = thread_slot_known(g);
    struct sflight_call *call = NULL;
    bool counted;

    if (LIKELY(!group_has(g, GROUP_CLOSED | GROUP_FIBERS) && slot != NULL))
        call = call_claim_alone(g, slot, key, key_len, hash_key(key, key_len, g->seed));
    if (UNLIKELY(call == NULL))
        return do_any(g, key, key_len, fn, arg, deadline, r);
    atomic_fence_after_rmw(); /* [DRAIN] */
    if (UNLIKELY(group_has(g, GROUP_CLOSED))) {
        memset(r, 0, sizeof(*r));
        return call_shut(slot, call);
    }
    call_run(&thread_self.caller, call, fn, arg);
    if (LIKELY(call_finish_alone(slot, call, r, &counted)))
        return 0;
    call_end(slot, call, counted);
    return call_deliver(slot, call, true, r);
}

static bool arguments_valid(const sflight_group *g, const void *key, size_t key_len)
{
    if (UNLIKELY(key == NULL) && key_len != 0)
        return false;
    return g != NULL;
}

int sflight_do(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
               sflight_result *r)
{
    if (UNLIKELY(!arguments_valid(g, key, key_len) || fn == NULL || r == NULL)) {
        if (r != NULL)
            memset(r, 0, sizeof(*r));
        return -EINVAL;
    }
    return do_one(g, key, key_len, fn, arg, NULL, r);
}

int sflight_do_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r)
{
    if (!arguments_valid(g, key, key_len) || fn == NULL || r == NULL ||
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
    return call_batch(g, keys, n, fn, arg, deadline, r, rc);
}

/* slot: NULL if it is not at hand. */
static NOINLINE void release_any(struct slot *slot, struct sflight_call *call)
{
    if (slot == NULL)
        slot = thread_slot(call->group);
    if (call_held_alone(call)) {
        slot = call_destroy_alone(slot, call);
        if (slot == thread_slot_known(call->group) && call_release_alone(slot, call))
            return;
    }
    call_alone_no_more(call);
    call_release(slot, call);
}

void sflight_result_release(sflight_result *r)
{
    if (r == NULL)
        return;
    struct sflight_call *call = r->hold;
    memset(r, 0, sizeof(*r));
    if (call == NULL)
        return;
    struct slot *slot = thread_slot_known(call->group);
    if (UNLIKELY(slot == NULL || !call_release_alone(slot, call)))
        release_any(slot, call);
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
    call_retain(thread_slot(call->group), call);
    *copy = *r;
    return 0;
}

int sflight_forget(sflight_group *g, const void *key, size_t key_len)
{
    return arguments_valid(g, key, key_len) ? call_forget(g, key, key_len) : -EINVAL;
}

int sflight_forget_unshared(sflight_group *g, const void *key, size_t key_len)
{
    return arguments_valid(g, key, key_len) ? call_forget_unshared(g, key, key_len) : -EINVAL;
}
