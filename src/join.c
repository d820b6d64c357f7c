/* SPDX-License-Identifier: BSD-2-Clause */
#include "join.h"

/* ---------------------------------------------------------------------- join */

struct join {
    const struct caller *caller; /* NULL if it does not block */
    struct sflight_call *found;
    struct sflight_call *expired; /* forgotten here because of its age */
    struct slot *slot;
    uint64_t unit; /* CALL_BLOCKING or CALL_ASYNC */
    unsigned rank;
    int rc; /* 0: joined */
};

/* A call of the right key: is it this caller's to join? */
static bool join_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct join *join = ctx;
    struct sflight_group *g = c->group;

    /*
     * What cannot be joined is left alone; the addition below decides.  If the
     * call has closed, this caller may lead the next: what the last run of fn did
     * comes before that [CLOSE].
     */
    uint64_t state = atomic_load_acquire(&c->state);
    if (state & (CALL_CLOSED | CALL_FORGOTTEN))
        return false;
    /* Only this caller writes its own name here while the call is open. */
    if (join->caller != NULL && atomic_load_relaxed(&c->owner) == join->caller) {
        join->rc = -EDEADLK;
        return true;
    }
    if (g->max_age_ns != 0 && clock_now_ns() - c->started_ns > g->max_age_ns) {
        if (state_expire(&c->state)) {
            slot_count(join->slot, COUNT_EXPIRED);
            join->expired = c; /* another one before it is unlinked by its leader */
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
            join->rc = -EAGAIN;
            return true;
        case STATE_GONE:
            return false; /* RACE: the same */
        }
    }
    join->found = c;
    join->rank = state_blocking(state);
    return true;
}

/*
 * What many want stands first in its bucket, and has been seen: joins it without a
 * search.  NULL, and it has not joined, where that is not so, or where the group's options
 * want a closer look.
 */
static ALWAYS_INLINE struct sflight_call *join_first(struct sflight_group *g,
                                                     const struct table_key *key,
                                                     const struct call_start *start, unsigned *rank)
{
    struct table_node *node = table_first_in_section(&g->table, key->hash);
    uint64_t state;

    if (node == NULL || !table_key_equal(node, key) || (g->max_waiters | g->max_age_ns) != 0)
        return NULL;
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    /* Only to look; the addition decides.  Nobody else writes this caller's name. */
    if ((atomic_load_relaxed(&c->state) & (CALL_CLOSED | CALL_FORGOTTEN)) ||
        (start->owner != NULL && atomic_load_relaxed(&c->owner) == start->owner) ||
        !state_join(&c->state, start->unit, &state))
        return NULL;
    *rank = state_blocking(state);
    return c;
}

/* A claim has failed that COUNT_LED had counted already; a drainer may wait for its end. */
NOINLINE void call_not_led(struct slot *slot)
{
    slot_uncount(slot, COUNT_LED);
    atomic_fence_seq_cst(); /* [DRAIN] */
    group_call_ended(slot->group);
}

static int search_failed(struct slot *slot, int rc)
{
    slot_count(slot, COUNT_HELD); /* keeps the group while this thread is in it */
    if (rc != -ENOMEM)
        slot_count(slot, rc == -EDEADLK ? COUNT_DEADLOCKS : COUNT_REJECTED);
    slot_count(slot, COUNT_LEFT);
    slot_count(slot, COUNT_RELEASED);
    return rc;
}

static ALWAYS_INLINE int search_joined(struct slot *slot, struct sflight_call *c,
                                       struct sflight_call **out)
{
    slot_count(slot, COUNT_JOINED);
    slot_count(slot, COUNT_LEFT);
    *out = c;
    return CALL_FOLLOWS;
}

/* Joins the key's call, or claims it, wherever that stands.  Ends the section. */
static NOINLINE int search(struct slot *slot, const struct table_key *key, struct call_start start,
                           struct sflight_call *mine, bool spare, struct lane *lane,
                           struct sflight_call **out, unsigned *rank)
{
    struct sflight_group *g = slot->group;
    struct join join = {.caller = start.owner, .slot = slot, .unit = start.unit};
    struct table_search search = {
        .key = {key->hash, key->data, key->len}, .match = join_match, .ctx = &join};
    enum table_found found;

    for (;;) {
        search.claim = mine != NULL ? &mine->node : NULL;
        found = table_search_in_section(&g->table, &search);
        if (found == TABLE_ABSENT && slot->spare != NULL && key->len <= TABLE_KEY_INLINE) {
            /* Nothing is allocated for this, so it need not be outside of the section. */
            mine = call_new(slot, key->data, key->len, key->hash, &start);
            search.claim = &mine->node;
            found = table_search_in_section(&g->table, &search);
        }
        if (UNLIKELY(join.expired != NULL))
            table_unlink_in_section(&g->table, &join.expired->node);
        reclaim_leave(lane);
        join.expired = NULL;
        if (found != TABLE_ABSENT)
            break;
        mine = call_new(slot, key->data, key->len, key->hash, &start);
        if (mine == NULL)
            return search_failed(slot, -ENOMEM);
        lane = reclaim_enter(thread_self.hint);
    }
    if (found == TABLE_CLAIMED) {
        slot_count(slot, COUNT_LED);
        slot_count(slot, COUNT_LEFT);
        if (UNLIKELY(search.crowded))
            table_relieve(&g->table, key->hash);
        *out = mine;
        return CALL_LEADS;
    }
    if (mine != NULL && !spare)
        call_discard(slot, mine);
    if (join.rc != 0)
        return search_failed(slot, join.rc);
    *rank = join.rank;
    return search_joined(slot, join.found, out);
}

int call_claim_or_join_slow(struct slot *slot, const struct table_key *key, struct call_start start,
                            struct sflight_call *mine, bool spare, struct sflight_call **out,
                            unsigned *rank)
{
    /* Keeps the group while this thread is in it, and before a claim, for drainers. */
    slot_count(slot, COUNT_ENTERED);
    struct lane *lane = reclaim_enter(thread_self.hint);
    struct sflight_call *c = join_first(slot->group, key, &start, rank);
    if (UNLIKELY(c == NULL))
        return search(slot, key, start, mine, spare, lane, out, rank);
    reclaim_leave(lane);
    if (UNLIKELY(mine != NULL) && !spare)
        call_discard(slot, mine);
    return search_joined(slot, c, out);
}

/* -------------------------------------------------------------------- forget */

/* Is there nobody left that waits for the call?  A hint, with no order, but exact when nothing
 * moves. */
bool call_unwanted(const struct sflight_call *c)
{
    if (call_kind(c) == CALL_OF_LEADER)
        return false; /* its leader waits for it */
    if (call_kind(c) == CALL_OF_STARTER && !atomic_load_relaxed(&c->result.starter_done))
        return false; /* RACE: its starter still waits */
    return state_joiners(atomic_load_relaxed(&c->state)) == 0;
}

/* Somebody has left, and still has a hold: does that leave the call to nobody? */
void forget_unwanted(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;

    atomic_fence_seq_cst(); /* of two who leave at once, the later sees both gone [UNWANTED] */
    if (!call_unwanted(c))
        return;
    if (!state_seal(&c->state))
        return;
    struct lane *lane = reclaim_enter(thread_self.hint);
    table_unlink_in_section(&g->table, &c->node);
    reclaim_leave(lane);
    slot_count(slot, COUNT_FORGOTTEN);
}

struct forget {
    struct sflight_call *call; /* to be unlinked */
    bool unshared_only;
    bool kept; /* because it is shared */
};

static bool forget_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct forget *forget = ctx;

    switch (state_forget(&c->state, forget->unshared_only)) {
    case STATE_FORGOT:
        forget->call = c;
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

    struct lane *lane = reclaim_enter(thread_self.hint);
    (void)table_search_in_section(&g->table, &search);
    if (forget->call != NULL)
        table_unlink_in_section(&g->table, &forget->call->node);
    reclaim_leave(lane);
    if (forget->call != NULL)
        slot_count(slot, COUNT_FORGOTTEN);
}

int call_forget(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = false};
    forget(g, key, len, &f);
    return f.call != NULL;
}

int call_forget_unshared(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = true};
    forget(g, key, len, &f);
    return !f.kept;
}
