/* SPDX-License-Identifier: BSD-2-Clause */
/* The general way of what do.h describes. */
#include "do.h"

#include <errno.h>
#include <string.h>

struct sflight_call *do_prepare(struct slot *slot)
{
    if (slot->spare == NULL)
        return NULL; /* the general way makes one */
    struct sflight_call *c = call_take(slot);
    call_reset(c, &NEWCOMER_BLOCKING(&thread_self.agent));
    slot->prepared = c;
    return c;
}

int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
           const struct timespec *deadline, sflight_result *r)
{
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    struct sflight_call *call = NULL;
    unsigned rank = 0;

    int rc = join_or_claim(g, slot, key, key_len, NEWCOMER_BLOCKING(agent), NULL, &call, &rank);
    if (rc == JOIN_FOLLOWS)
        rc = wait_for_end(slot, agent, call, rank, deadline);
    if (UNLIKELY(rc < 0)) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    bool leader = rc == JOIN_LEADS;
    if (leader && UNLIKELY(!lead_run(agent, call, fn, arg))) {
        memset(r, 0, sizeof(*r));
        return -EOWNERDEAD;
    }
    return hold_deliver(thread_slot_if_moved(slot), call, leader, r);
}

void do_release_any(struct slot *slot, struct sflight_call *call)
{
    if (slot == NULL)
        slot = thread_slot(call->group);
    if (hold_is_sole(call)) {
        slot = do_destroy_short(slot, call);
        if (slot == thread_slot_cached(call->group) && do_release_short(slot, call))
            return;
        slot = thread_slot_again(call->group); /* destroy may have forked */
    }
    hold_open_sole(call);
    hold_release(slot, call);
}
