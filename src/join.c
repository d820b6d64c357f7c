/* SPDX-License-Identifier: BSD-2-Clause */
#include "join.h"

/* ---------------------------------------------------------------------- join */

/* What a search is for, and what it has found. */
struct join {
    const struct agent *agent; /* NULL if it does not block */
    struct sflight_call *found;
    struct slot *slot;
    uint64_t unit; /* STATE_BLOCKING or STATE_ASYNC */
    unsigned rank; /* how many blocked before */
    int rc;        /* 0: joined */
};

/* A call for the key: joins it, or finds why not.  False: as if the call were not there. */
static bool join_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct join *join = ctx;
    struct sflight_group *g = join->slot->group;

    /*
     * A call that cannot be joined is not written to; whether it can, the addition below
     * decides.  If the call has closed, the newcomer may lead the next one: what the last run of
     * fn did comes before that [CLOSE].
     */
    uint64_t state = atomic_load_acquire(&c->state);
    if (state & (STATE_CLOSED | STATE_FORGOTTEN))
        return false;
    /* While the call is open, only this agent itself sets the owner to this agent. */
    if (join->agent != NULL && atomic_load_relaxed(&c->owner) == join->agent) {
        join->rc = -EDEADLK;
        return true;
    }
    if (g->max_age_ns != 0 && clock_now_ns() - c->started_ns > g->max_age_ns) {
        if (state_expire(&c->state)) {
            PROBE(expire, c);
            gauges_count(join->slot, COUNT_EXPIRED);
        }
        return false;
    }
    if (g->max_waiters == 0) {
        if (!state_join(&c->state, join->unit, &state))
            return false; /* RACE: closed since it was looked at */
    } else {
        switch (state_join_below(&c->state, join->unit, g->max_waiters, &state)) {
        case STATE_JOINED:
            break;
        case STATE_FULL:
            PROBE(reject, c);
            join->rc = -EAGAIN;
            return true;
        case STATE_GONE: /* RACE: closed or forgotten since it was looked at */
            return false;
        }
    }
    join->found = c;
    join->rank = state_blocking(state);
    return true;
}

NOINLINE void join_not_led(struct slot *slot)
{
    gauges_uncount(slot, COUNT_LED);
    atomic_fence_seq_cst(); /* [DRAIN] */
    finish_check_drainers(slot->group);
}

/* Counts the end of a search that returns rc, a failure.  The last use of the group. */
static int search_failed(struct slot *slot, int rc)
{
    gauges_count(slot, COUNT_HELD); /* keeps the group until the last of these */
    if (rc != -ENOMEM)
        gauges_count(slot, rc == -EDEADLK ? COUNT_DEADLOCKS : COUNT_REJECTED);
    gauges_count(slot, COUNT_SEARCHES_ENDED);
    gauges_count(slot, COUNT_RELEASED);
    return rc;
}

int join_search(struct slot *slot, const struct table_key *key, const struct newcomer *newcomer,
                struct sflight_call *record, bool given, struct lane *lane,
                struct sflight_call **out, unsigned *rank)
{
    struct sflight_group *g = slot->group;
    struct join join = {.agent = newcomer->owner, .slot = slot, .unit = newcomer->unit};
    struct table_search search = {
        .key = {key->hash, key->data, key->len}, .match = join_match, .ctx = &join};
    enum table_found found;

    if (lane == NULL) {
        /* Keeps the group while this thread is in it; and comes before a claim, for drainers. */
        gauges_count(slot, COUNT_SEARCHES);
        lane = reclaim_enter(thread_self.lane);
    }
    for (;;) {
        search.claim = record != NULL ? &record->node : NULL;
        found = table_search_in_section(&g->table, &search);
        struct sflight_call *spare = found == TABLE_ABSENT ? call_spare(slot) : NULL;
        if (spare != NULL && key_fits(spare->memory, key->len)) {
            /* Nothing is allocated for this, so it is allowed inside the section. */
            record = call_new(slot, key->data, key->len, key->hash, newcomer);
            search.claim = &record->node;
            if (table_claim_in_section(&search))
                found = TABLE_CLAIMED;
            else
                found =
                    table_search_in_section(&g->table, &search); /* RACE: claimed or left since */
        }
        reclaim_leave(lane);
        if (found != TABLE_ABSENT)
            break;
        record = call_new(slot, key->data, key->len, key->hash, newcomer);
        if (record == NULL)
            return search_failed(slot, -ENOMEM);
        lane = reclaim_enter(thread_self.lane);
    }
    if (found == TABLE_CLAIMED) {
        gauges_count(slot, COUNT_LED);
        gauges_count(slot, COUNT_SEARCHES_ENDED);
        if (UNLIKELY(search.crowded))
            table_relieve(&g->table, key->hash);
        *out = record;
        return JOIN_LEADS;
    }
    if (record != NULL && !given) {
        state_init(&record->state, 0); /* clean again */
        call_discard(slot, record);
    }
    if (join.rc != 0)
        return search_failed(slot, join.rc);
    PROBE(join, join.found);
    gauges_count(slot, COUNT_JOINED);
    gauges_count(slot, COUNT_SEARCHES_ENDED);
    *rank = join.rank;
    *out = join.found;
    return JOIN_FOLLOWS;
}

/* -------------------------------------------------------------------- forget */

/*
 * Is there nobody left that waits for the call?  Where unwanted calls are forgotten, who is told
 * so may count on it: nobody joins any more what its leader has given up.  Elsewhere it is a
 * hint, with no order, but exact when nothing moves.
 */
bool join_is_unwanted(struct sflight_call *c)
{
    if (call_kind(c) == CALL_OF_LEADER)
        return false; /* its leader waits for it */
    if (!state_unwanted(atomic_load_relaxed(&c->state)))
        return false; /* so it was; nothing hangs on what is since */
    if (!c->group->cancel_unwanted || (c->result.traits & CALL_GIVEN_UP))
        return true;     /* and a used permit's record may be a spare one */
    table_see(&c->node); /* a record that nobody has looked at is used again as it is */
    enum state_sealed sealed = state_seal(&c->state);
    if (sealed == STATE_SEALED_NOW) {
        PROBE(forget, c);
        gauges_count(thread_slot(c->group), COUNT_FORGOTTEN);
    }
    return sealed != STATE_WANTED;
}

struct forget {
    bool unshared_only;
    bool done;
    bool kept; /* because it is shared */
};

static bool forget_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct forget *forget = ctx;

    enum state_forgot rc = state_forget(&c->state, forget->unshared_only, false);
    if (rc == STATE_HAS_JOINTS) {
        finish_shut_joints(c);
        rc = state_forget(&c->state, forget->unshared_only, true);
    }
    switch (rc) {
    case STATE_FORGOT:
        PROBE(forget, c);
        forget->done = true;
        table_pass_by_in_section(node);
        return true;
    case STATE_SHARED:
        forget->kept = true;
        return true;
    default:
        return false;
    }
}

static void forget(struct sflight_group *g, const void *key, size_t len, struct forget *forget)
{
    struct slot *slot = thread_slot(g);
    struct table_search search = {
        .key = {hash_key(key, len, g->seed), key, len}, .match = forget_match, .ctx = forget};

    gauges_count(slot, COUNT_BATCHES); /* keeps the group while this thread is in it */
    struct lane *lane = reclaim_enter(thread_self.lane);
    (void)table_search_in_section(&g->table, &search);
    reclaim_leave(lane);
    if (forget->done)
        gauges_count(slot, COUNT_FORGOTTEN);
    gauges_count(slot, COUNT_BATCHES_ENDED); /* the last use of the group, which may go now */
}

int join_forget(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = false};
    forget(g, key, len, &f);
    return f.done;
}

int join_forget_unshared(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = true};
    forget(g, key, len, &f);
    return !f.kept;
}
