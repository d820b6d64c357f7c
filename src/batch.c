/* SPDX-License-Identifier: BSD-2-Clause */
/* See batch.h for the order of things. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

/* One key of a batch. */
struct place {
    uint64_t hash;
    struct sflight_call *call;  /* a record for the key; then the call that is led or joined */
    struct sflight_call *taken; /* the call on which the caller's result has a hold; or NULL */
    size_t first;               /* of an alias: the index of its first place; else its own index */
    int role;                   /* enum join_role, or why there is none: a negative errno */
    unsigned rank;              /* as from join_or_claim() */
};

struct batch {
    struct batch *outer; /* the agent's next outer batch */
    struct agent *agent;
    struct sflight_group *group;
    struct sflight_call **lead; /* the calls led, in the order of their keys */
    size_t *order;              /* indexes of places, sorted by hash */
    size_t n;                   /* places */
    struct place places[];      /* in the order of the caller's keys; then `lead` and `order` */
};

static size_t batch_bytes(size_t n)
{
    return sizeof(struct batch) +
           n * (sizeof(struct place) + sizeof(struct sflight_call *) + sizeof(size_t));
}

/* The slot of the thread that the batch's agent is on now. */
static struct slot *batch_slot(const struct batch *b)
{
    return thread_slot_again(b->group);
}

/* True if place i has joined a call that it has not waited for yet. */
static bool joined(const struct batch *b, size_t i)
{
    const struct place *p = &b->places[i];
    return p->role == JOIN_FOLLOWS && p->first == i && p->call != NULL;
}

/* Gives up the holds that were delivered, and leaves what was joined. */
static void batch_undo(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct place *p = &b->places[i];
        if (p->taken != NULL)
            hold_release(batch_slot(b), p->taken);
        if (!joined(b, i))
            continue;
        struct timespec past = {0};
        /* With a deadline in the past nobody takes a call over. */
        if (wait_for_end(batch_slot(b), b->agent, p->call, UINT32_MAX, &past) == JOIN_FOLLOWS)
            hold_release(batch_slot(b), p->call);
    }
}

/* Takes a batch out of its agent's list and frees it. */
static void batch_end(struct batch *b)
{
    REQUIRE(b->agent->batches == b);
    struct slot *slot = batch_slot(b);

    b->agent->batches = b->outer;
    alloc_put(&slot->group->alloc, b, batch_bytes(b->n));
    gauges_count(slot, COUNT_BATCHES_ENDED); /* the last use of the group, which may go now */
}

void batch_abandon(struct batch *b)
{
    batch_undo(b);
    batch_end(b);
}

/* The cleanup of batch_do()'s frame: sees the stack being unwound through it. */
static void batch_guard_check(struct batch **guard)
{
    if (*guard != NULL)
        batch_abandon(*guard);
}

void batch_after_fork(const struct agent *agent, struct sflight_group *g, struct remains *remains)
{
    for (struct batch *b = agent->batches; b != NULL; b = b->outer) {
        if (b->group != g)
            continue;
        remains->n_batches++;
        for (size_t i = 0; i < b->n; i++) {
            if (!joined(b, i))
                continue;
            remains->n_waiting++;
            hold_end_by_fork(b->places[i].call);
            b->places[i].call->result.generation = g->generation;
        }
    }
}

/* For qsort_r(): by hash, equal hashes by index. */
static int by_hash(const void *a, const void *b, void *ctx)
{
    const struct place *places = ctx;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    if (places[i].hash != places[j].hash)
        return places[i].hash < places[j].hash ? -1 : 1;
    return i < j ? -1 : i > j;
}

static bool same_key(const sflight_key *a, const sflight_key *b)
{
    return a->len == b->len &&
           (a->data == NULL || b->data == NULL ? a->data == b->data || a->len == 0
                                               : memcmp(a->data, b->data, a->len) == 0);
}

/* Sets `first` in all places.  In `order`, equal hashes stand together, lower indexes first. */
static void find_aliases(struct batch *b, const sflight_key *keys)
{
    for (size_t i = 0; i < b->n; i++) {
        b->order[i] = i;
        b->places[i].first = i;
    }
    qsort_r(b->order, b->n, sizeof(*b->order), by_hash, b->places);
    for (size_t k = 1; k < b->n; k++) {
        size_t i = b->order[k];
        for (size_t l = k; l-- != 0 && b->places[b->order[l]].hash == b->places[i].hash;) {
            size_t first = b->places[b->order[l]].first;
            if (same_key(&keys[first], &keys[i])) {
                b->places[i].first = first;
                break;
            }
        }
    }
}

/*
 * Makes a batch and enters it into the agent's list, with a record for each key that is well formed
 * and no alias: all that can fail as a whole, before anything is claimed.  NULL: no memory.
 */
static struct batch *batch_begin(struct agent *agent, struct slot *slot, const sflight_key *keys,
                                 size_t n)
{
    struct alloc *alloc = &slot->group->alloc;

    if (n > SIZE_MAX / 2 / batch_bytes(1))
        return NULL;
    struct batch *b = alloc_get(alloc, batch_bytes(n), _Alignof(max_align_t));
    if (b == NULL)
        return NULL;
    memset(b, 0, batch_bytes(n));
    b->agent = agent;
    b->group = slot->group;
    b->n = n;
    b->lead = (struct sflight_call **)(void *)(b->places + n);
    b->order = (size_t *)(void *)(b->lead + n);
    for (size_t i = 0; i < n; i++) {
        if (!group_key_valid(slot->group, keys[i].data, keys[i].len))
            b->places[i].role = -EINVAL;
        else
            b->places[i].hash = hash_key(keys[i].data, keys[i].len, slot->group->seed);
    }
    find_aliases(b, keys);
    for (size_t i = 0; i < n; i++) {
        struct place *p = &b->places[i];
        if (p->first != i || p->role < 0)
            continue;
        p->call = call_new(slot, keys[i].data, keys[i].len, p->hash, &NEWCOMER_BLOCKING(agent));
        if (p->call == NULL) {
            while (i-- != 0)
                if (b->places[i].call != NULL)
                    call_discard(slot, b->places[i].call);
            alloc_put(alloc, b, batch_bytes(n));
            return NULL;
        }
    }
    gauges_count(slot, COUNT_BATCHES);
    b->outer = agent->batches;
    agent->batches = b;
    return b;
}

/* Claims or joins the key of each place that is no alias.  Returns how many calls are led. */
static size_t claim_all(struct slot *slot, struct batch *b, const sflight_key *keys)
{
    size_t n_lead = 0;

    for (size_t i = 0; i < b->n; i++) {
        struct place *p = &b->places[i], *first = &b->places[p->first];
        if (p->role < 0)
            continue;
        if (p->first != i) {
            p->role = first->role;
            if (p->role == JOIN_LEADS)
                first->call->result.extra_holds++;
            continue;
        }
        struct sflight_call *spare = p->call, *call = NULL;
        p->role = join_or_claim(slot->group, slot, keys[i].data, keys[i].len,
                                NEWCOMER_BLOCKING(b->agent), spare, &call, &p->rank);
        if (p->role == JOIN_LEADS) {
            b->lead[n_lead++] = call;
            continue;
        }
        p->call = p->role == JOIN_FOLLOWS ? call : NULL;
        if (call != spare) /* otherwise the record was claimed, and ended: the group has closed */
            call_discard(slot, spare);
    }
    return n_lead;
}

/* Delivers a call's result for place i, and notes the hold for batch_undo(). */
static int deliver(struct batch *b, size_t i, struct sflight_call *call, bool leader,
                   sflight_result *r)
{
    int rc = hold_deliver(batch_slot(b), call, leader, r);
    b->places[i].taken = r->hold;
    return rc;
}

/* Waits for the call that place i has joined, leads it if it was taken over, and delivers. */
static int wait_one(struct batch *b, size_t i, sflight_many_fn *fn, void *arg,
                    const struct timespec *deadline, sflight_result *r)
{
    struct place *p = &b->places[i];
    struct sflight_call *call = p->call;

    p->call = NULL; /* wait_for_end() undoes the join itself, if it fails */
    int rc = wait_for_end(batch_slot(b), b->agent, call, p->rank, deadline);
    if (rc < 0)
        return rc;
    bool leads = rc == JOIN_LEADS;
    if (leads)
        lead_run_many(b->agent, &call, 1, fn, arg);
    return deliver(b, i, call, leads, r);
}

int batch_do(struct sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
             void *arg, const struct timespec *deadline, sflight_result *r, int *rc)
{
    if (n == 0)
        return 0;
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    int saved = errno; /* qsort_r() may change it */
    struct batch *b = batch_begin(agent, slot, keys, n);
    errno = saved;
    if (b == NULL)
        return -ENOMEM;
    struct batch *guard __attribute__((cleanup(batch_guard_check))) = b;

    memset(r, 0, n * sizeof(*r));
    size_t n_lead = claim_all(slot, b, keys);
    if (n_lead != 0)
        lead_run_many(agent, b->lead, n_lead, fn, arg);
    for (size_t i = 0; i < n; i++) {
        struct place *p = &b->places[i];
        if (p->role != JOIN_LEADS)
            continue;
        if (p->first != i) /* the hold of an alias was credited when the call ended */
            gauges_count(batch_slot(b), COUNT_HELD);
        rc[i] = deliver(b, i, b->places[p->first].call, true, &r[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (joined(b, i))
            rc[i] = wait_one(b, i, fn, arg, deadline, &r[i]);
        else if (b->places[i].role < 0)
            rc[i] = b->places[i].role;
    }
    for (size_t i = 0; i < n; i++) {
        struct place *p = &b->places[i];
        if (p->role != JOIN_FOLLOWS || p->first == i)
            continue;
        rc[i] = rc[p->first];
        r[i] = r[p->first];
        if (r[i].hold != NULL)
            hold_retain(batch_slot(b), r[i].hold);
    }
    guard = NULL;
    batch_end(b);
    return 0;
}
