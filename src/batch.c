/* SPDX-License-Identifier: BSD-2-Clause */
/* See batch.h for the order of things. */
#include "batch.h"

#include "sizes.h"

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
    size_t *order;              /* indexes, by hash and key */
    sflight_result *results;    /* where they are delivered: the caller's, or here */
    size_t n;
    size_t bytes;          /* of this block */
    uint64_t salt;         /* of the process that it was begun in */
    struct place places[]; /* by index */
};

static struct batch
    *inherited_batches; /* in a forked child: by the thread that forked; registry lock */

/* here: the results of the batch are delivered there. */
static size_t batch_bytes(size_t n, bool here)
{
    return sizeof(struct batch) + n * (sizeof(struct place) + sizeof(struct sflight_call *) +
                                       sizeof(size_t) + here * sizeof(sflight_result));
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
        if (p->taken != NULL) {
            (void)hold_hand_in(&b->results[i], sizeof(b->results[i]), "sflight_do_many");
            hold_release(batch_slot(b), p->taken);
        }
        if (!joined(b, i))
            continue;
        struct sflight_call *call = p->call;
        p->call = NULL; /* for a child that is forked meanwhile */
        if (wait_no_more(batch_slot(b), call))
            hold_release(batch_slot(b), call);
    }
}

/* Takes a batch out of its agent's list and frees it. */
static void batch_end(struct batch *b)
{
    REQUIRE(b->agent->batches != NULL);
    struct slot *slot = batch_slot(b);
    struct batch **from = &b->agent->batches;

    bool is_inherited = b->salt != process_salt();

    if (UNLIKELY(is_inherited))
        registry_lock();         /* another thread may look at it */
    while (UNLIKELY(*from != b)) /* others are coroutines' of the same thread */
        from = &(*from)->outer;
    *from = b->outer;
    if (UNLIKELY(is_inherited)) {
        if (inherited_batches == b)
            inherited_batches = b->outer;
        registry_unlock();
    }
    alloc_put(&slot->group->alloc, b, b->bytes);
    gauges_count(slot, COUNT_BATCHES_ENDED); /* the last use of the group, which may go now */
}

void batch_abandon(struct batch *b)
{
    bool returned __attribute__((cleanup(invoke_must_return))) = false;
    int cancel_state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    batch_undo(b);
    batch_end(b);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
    returned = true;
}

/* The cleanup of batch_do()'s frame: sees the stack being unwound through it. */
static void batch_guard_check(struct batch **guard)
{
    if (*guard != NULL)
        batch_abandon(*guard);
}

void batch_fork(struct batch *innermost)
{
    inherited_batches = innermost;
}

/* One that it has joined; the batch's thread does nothing in the group until this is done. */
static void joined_after_fork(struct sflight_call *c, struct gauges_kept *kept)
{
    kept->n_waiting++;
    if (gate_is_open(&c->gate))
        return; /* it had ended, or has been abandoned; its result is yet to be got */
    if (!call_is_inherited(c))
        state_rejoin_after_fork(&c->state);
    else
        orphan_abandon(c, kept); /* RACE: it has left the table */
}

static void list_after_fork(struct batch *b, struct sflight_group *g, struct gauges_kept *kept)
{
    for (; b != NULL; b = b->outer) {
        if (b->group != g)
            continue; /* RACE: which group is put right first */
        kept->n_batches++;
        for (size_t i = 0; i < b->n; i++)
            if (joined(b, i))
                joined_after_fork(b->places[i].call, kept);
    }
}

void batch_after_fork(struct sflight_group *g, const struct agent *fiber, struct gauges_kept *kept)
{
    REQUIRE_REGISTRY();
    list_after_fork(inherited_batches, g, kept);
    if (fiber != NULL)
        list_after_fork(fiber->batches, g, kept);
}

struct by_key {
    const struct place *places;
    const sflight_key *keys;
};

/* Bytes only: which is the smaller does not matter, as long as equal keys stand together. */
static int compare_keys(const sflight_key *a, const sflight_key *b)
{
    int by_len = (a->len > b->len) - (a->len < b->len);
    return by_len != 0 || a->len == 0 ? by_len : memcmp(a->data, b->data, a->len);
}

static int by_key(const void *a, const void *b, void *ctx)
{
    const struct by_key *by = ctx;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    if (by->places[i].hash != by->places[j].hash)
        return by->places[i].hash < by->places[j].hash ? -1 : 1;
    int keys = compare_keys(&by->keys[i], &by->keys[j]);
    return keys != 0 ? keys : i < j ? -1 : i > j;
}

/*
 * Sets `first` everywhere.  Malformed keys have no aliases; of the others equal ones stand
 * together, lower indexes before higher ones, whatever their hashes are.
 */
static void find_aliases(struct batch *b, const sflight_key *keys)
{
    struct by_key by = {b->places, keys};
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++) {
        b->places[i].first = i;
        if (b->places[i].role == 0)
            b->order[n++] = i;
    }
    qsort_r(b->order, n, sizeof(*b->order), by_key, &by);
    for (size_t k = 1; k < n; k++) {
        size_t before = b->order[k - 1], i = b->order[k];
        if (b->places[before].hash == b->places[i].hash &&
            compare_keys(&keys[before], &keys[i]) == 0)
            b->places[i].first = b->places[before].first;
    }
}

/*
 * Makes a batch and enters it into the agent's list, with a record for each key that is well formed
 * and no alias: all that can fail as a whole, before anything is claimed.  r: where the results are
 * delivered, or NULL: in the batch.  NULL: no memory.
 */
static struct batch *batch_begin(struct agent *agent, struct slot *slot, const sflight_key *keys,
                                 size_t n, sflight_result *r)
{
    struct alloc *alloc = &slot->group->alloc;

    if (n > SIZE_MAX / 2 / batch_bytes(1, true))
        return NULL;
    size_t bytes = batch_bytes(n, r == NULL);
    struct batch *b = alloc_get(alloc, bytes, _Alignof(max_align_t));
    if (b == NULL)
        return NULL;
    memset(b, 0, bytes);
    b->bytes = bytes;
    b->agent = agent;
    b->group = slot->group;
    b->n = n;
    b->salt = process_salt();
    b->lead = (struct sflight_call **)(void *)(b->places + n);
    b->order = (size_t *)(void *)(b->lead + n);
    b->results = r != NULL ? r : (sflight_result *)(void *)(b->order + n);
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
            alloc_put(alloc, b, bytes);
            return NULL;
        }
    }
    gauges_count(slot, COUNT_BATCHES);
    agent_leads(agent); /* it is to be found by a child that is forked inside the batch */
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
                first->call->extra_holds++;
            continue;
        }
        struct sflight_call *spare = p->call, *call = NULL;
        struct join_given given = {spare, p->hash};
        p->role = join_or_claim(slot->group, slot, keys[i].data, keys[i].len,
                                NEWCOMER_BLOCKING(b->agent), &given, &call, &p->rank);
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
    b->places[i].taken = hold_call(r, "sflight_do_many");
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
    if (call == NULL)
        return -EOWNERDEAD; /* fn has abandoned it */
    return deliver(b, i, call, leads, r);
}

int batch_do(struct sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
             void *arg, const struct timespec *deadline, sflight_result *out, size_t size, int *rc)
{
    if (n == 0)
        return 0;
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, g);
    struct slot *slot = thread_slot_again(g);
    int saved = errno; /* qsort_r() may change it */
    struct batch *b = batch_begin(agent, slot, keys, n, size == sizeof(*out) ? out : NULL);
    errno = saved;
    if (b == NULL)
        return -ENOMEM;
    struct batch *guard __attribute__((cleanup(batch_guard_check))) = b;

    sflight_result *r = b->results;
    memset(r, 0, n * sizeof(*r));
    size_t n_lead = claim_all(slot, b, keys);
    if (n_lead != 0)
        lead_run_many(agent, b->lead, n_lead, fn, arg);
    size_t n_delivered = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *p = &b->places[i];
        if (p->role != JOIN_LEADS)
            continue;
        if (p->first == i)
            p->call = b->lead[n_delivered++];
        if (b->places[p->first].call == NULL) {
            rc[i] = -EOWNERDEAD; /* fn has abandoned it */
            continue;
        }
        if (p->first != i) /* its hold was credited at the end of the call */
            hold_count_held(batch_slot(b), b->places[p->first].call, 1);
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
        struct sflight_call *call = hold_call(&r[i], "sflight_do_many");
        if (call == NULL)
            continue;
        hold_retain(batch_slot(b), call);
        r[i].hold = call;
        hold_hand_out(&r[i]);
    }
    for (size_t i = 0; r != out && i < n; i++)
        sizes_copy((char *)out + i * size, size, &r[i], sizeof(*r));
    guard = NULL;
    batch_end(b);
    return 0;
}
