/* SPDX-License-Identifier: BSD-2-Clause */
#include "do.h"

#include <errno.h>
#include <string.h>

struct sflight_call *call_make_ready(struct slot *slot)
{
    if (slot->spare == NULL)
        return NULL; /* the general way makes one */
    struct sflight_call *c = call_take(slot);
    call_reset(c, &CALL_START_BLOCKING(&thread_self.caller));
    slot->ready = c;
    return c;
}

int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
           const struct timespec *deadline, sflight_result *r)
{
    CALLER_FRAME(own);
    struct caller *caller = caller_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    struct sflight_call *call = NULL;
    unsigned rank = 0;

    int rc =
        call_claim_or_join(g, slot, key, key_len, CALL_START_BLOCKING(caller), NULL, &call, &rank);
    if (rc == CALL_FOLLOWS)
        rc = call_wait(slot, caller, call, rank, deadline);
    if (UNLIKELY(rc < 0)) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    bool leader = rc == CALL_LEADS;
    if (leader)
        call_lead(caller, call, fn, arg);
    return call_deliver(thread_slot_after(slot), call, leader, r);
}

void release_any(struct slot *slot, struct sflight_call *call)
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
