/* SPDX-License-Identifier: BSD-2-Clause */
/* The general way of what do.h describes. */
#include "do.h"

#include <errno.h>
#include <string.h>

struct sflight_call *do_prepare(struct slot *slot)
{
    if (call_spare(slot) == NULL)
        return NULL; /* the general way makes one */
    struct sflight_call *c = call_take(slot);
    call_reset(c, &NEWCOMER_BLOCKING(&thread_self.agent));
    atomic_fence_compiler(); /* for a child that another thread forks */
    slot->prepared = c;
    return c;
}

/* From what became of the agent on: rc, an enum join_role or a failure. */
static ALWAYS_INLINE int one_goes_on(struct slot *slot, struct agent *agent,
                                     struct sflight_call *call, int rc, unsigned rank,
                                     sflight_fn *fn, void *arg, const struct timespec *deadline,
                                     sflight_result *r)
{
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

int do_any(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
           const struct timespec *deadline, sflight_result *r)
{
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    struct sflight_call *call = NULL;
    unsigned rank = 0;

    int rc = join_or_claim(g, slot, key, key_len, NEWCOMER_BLOCKING(agent), NULL, &call, &rank);
    return one_goes_on(slot, agent, call, rc, rank, fn, arg, deadline, r);
}

int do_company(sflight_group *g, struct slot *slot, link_word *bucket, const struct table_key *key,
               sflight_fn *fn, void *arg, const struct timespec *deadline, sflight_result *r)
{
    struct agent *agent = &thread_self.agent;
    struct newcomer newcomer = NEWCOMER_BLOCKING(agent);
    struct lane *lane;
    unsigned rank = 0;
    int rc = JOIN_FOLLOWS;
    struct sflight_call *call;

    uintptr_t word = atomic_load_relaxed(bucket); /* a hint: the CAS decides */
    if (table_may_claim_unlooked(word, key->hash)) {
        call = do_claim_short(slot, bucket, word, key->data, key->len, key->hash);
        if (LIKELY(call != NULL))
            return do_lead(g, slot, call, false, fn, arg, r);
    }
    call = join_straight(slot, bucket, key, &newcomer, &lane, &rank, &word);
    if (UNLIKELY(call == NULL)) {
        /* Nothing is allocated for a record, so it is allowed inside the section. */
        struct sflight_call *c = word != 0 ? do_prepared(slot) : NULL;
        if (c != NULL && key_fits(c->memory, key->len) &&
            do_fill(c, key->data, key->len, key->hash)) {
            slot->prepared = NULL; /* before the claim: for a child that another thread forks */
            if (LIKELY(table_claim_beside(bucket, &word, &c->node, 0))) {
                join_leads_beside(slot, lane);
                return do_lead(g, slot, c, false, fn, arg, r);
            }
            slot->prepared = c;
        }
        rc = join_search(slot, key, &newcomer, NULL, false, lane, &call, &rank);
        if (rc == JOIN_LEADS)
            rc = join_leads(g, slot, call);
    }
    return one_goes_on(slot, agent, call, rc, rank, fn, arg, deadline, r);
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
