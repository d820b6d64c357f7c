/* SPDX-License-Identifier: BSD-2-Clause */
#include "joint.h"

struct joint *joint_new(struct alloc *alloc, const void *maker)
{
    struct joint *j = alloc_get(alloc, sizeof(*j), CACHE_LINE);

    if (j != NULL) {
        atomic_store_relaxed(&j->joiners, JOINT_ONE); /* published by [JOINT] */
        atomic_store_relaxed(&j->waiters, NULL);
        j->maker = maker;
    }
    return j;
}

bool joint_add(joint_list *list, struct joint *j)
{
    uintptr_t first = atomic_load_relaxed(list); /* the CAS decides */

    do {
        if (first & JOINT_LIST_SHUT)
            return false; /* RACE: the call is about to close, or to be forgotten */
        j->next = (struct joint *)first;
    } while (!atomic_cas_acq_rel(list, &first, (uintptr_t)j)); /* [JOINT] */
    return true;
}

bool joint_revive(struct joint *j)
{
    uint64_t n = JOINT_IDLE;

    return atomic_cas_acq_rel(&j->joiners, &n, JOINT_ONE); /* [JOINT] */
}

struct joint *joint_choose(joint_list *list, const void *maker, unsigned most, uint64_t n)
{
    struct joint *first = joint_first(atomic_load_acquire(list)), *j = first; /* [JOINT] */
    unsigned length = 0;

    for (; j != NULL && j->maker != maker; j = j->next)
        length++;
    if (j != NULL || length < most)
        return j;
    for (j = first, n %= length; n != 0; n--)
        j = j->next;
    return j;
}

void joint_shut_all(joint_list *list)
{
    uintptr_t first = atomic_or_acq_rel(list, JOINT_LIST_SHUT); /* [JOINT] */

    for (struct joint *j = joint_first(first); j != NULL; j = j->next)
        (void)atomic_or_acq_rel(&j->joiners, JOINT_SHUT); /* [JOINT] */
}

static uint64_t beyond_one(uint64_t joiners)
{
    return joiners & JOINT_IDLE ? 0 : joiners / JOINT_ONE - 1;
}

uint64_t joint_close_all(joint_list *list)
{
    uint64_t n = 0;

    for (struct joint *j = joint_first(atomic_load_acquire(list)); j != NULL;
         j = j->next)                                                 /* [JOINT] */
        n += beyond_one(atomic_or_acq_rel(&j->joiners, JOINT_FINAL)); /* [JOINT] */
    return n;
}

uint64_t joint_more_now(joint_list *list)
{
    uint64_t n = 0;

    for (struct joint *j = joint_first(atomic_load_acquire(list)); j != NULL;
         j = j->next)                                       /* [JOINT] */
        n += beyond_one(atomic_or_relaxed(&j->joiners, 0)); /* the newest value, not an older one */
    return n;
}

uint64_t joint_more(uintptr_t list)
{
    uint64_t n = 0;

    for (struct joint *j = joint_first(list); j != NULL; j = j->next)
        n += beyond_one(atomic_load_relaxed(&j->joiners)); /* as it is shown */
    return n;
}

static enum joint_left leave_one(struct joint *j)
{
    uint64_t n = atomic_load_acquire(&j->joiners); /* [JOINT] FINAL: the call has closed */

    while (n >= JOINT_ONE && !(n & JOINT_FINAL)) { /* RACE: again, if it has changed */
        bool last = n < 2 * JOINT_ONE;
        uint64_t left = (n - JOINT_ONE) | (last ? JOINT_IDLE : 0);
        if (atomic_cas_acq_rel(&j->joiners, &n, left)) /* [JOINT] */
            return last ? JOINT_LAST : JOINT_LEFT;
    }
    return JOINT_NONE;
}

enum joint_left joint_leave(joint_list *list, struct joint *own)
{
    struct joint *j = joint_first(atomic_load_acquire(list)); /* [JOINT] */
    enum joint_left left = own != NULL ? leave_one(own) : JOINT_NONE;

    while (left == JOINT_NONE && j != NULL) {
        struct joint *next = j->next; /* who has left must not look */
        left = leave_one(j);
        j = next;
    }
    return left; /* RACE: JOINT_NONE: others have come and gone */
}

uint64_t joint_after_fork(joint_list *list)
{
    uint64_t n = 0;

    for (struct joint *j = joint_first(atomic_load_relaxed(list)); j != NULL; j = j->next) {
        uint64_t joiners = atomic_load_relaxed(&j->joiners); /* alone with the call */
        n += joiners / JOINT_ONE;
        atomic_store_relaxed(&j->joiners, JOINT_SHUT | JOINT_FINAL | JOINT_IDLE); /* as above */
    }
    (void)atomic_or_relaxed(list, JOINT_LIST_SHUT); /* none is looked for any more */
    return n;
}

void joint_free_all(joint_list *list, struct alloc *alloc)
{
    struct joint *j = joint_first(atomic_load_relaxed(list)), *next; /* nobody else */

    atomic_store_relaxed(list, 0); /* nobody else */
    atomic_fence_compiler();       /* for a child that another thread forks */
    for (; j != NULL; j = next) {
        next = j->next;
        alloc_put(alloc, j, sizeof(*j));
    }
}
