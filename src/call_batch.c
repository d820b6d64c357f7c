/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claims all keys, then runs fn for those it leads, then waits for the others.
 * As nobody waits while it has work of its own to do, two batches cannot wait
 * for each other.
 *
 * A key that is named again is an ALIAS of its first place and is never
 * claimed.  An alias of a call that is led here gets its hold with the
 * publication (extra_holds); one of a call that is joined gets it from its
 * first place's result.
 */
#include "call_batch.h"

#include "call_lead.h"
#include "call_path.h"
#include "hash.h"

#include <errno.h>
#include <stdlib.h>

struct place {
    uint64_t hash;
    struct sflight_call *call; /* spare before the claim; led or joined after it */
    size_t first;              /* of an alias: where its key stands first; else its own index */
    int role;                  /* enum call_role, or why there is none */
    unsigned rank;
};

struct batch {
    struct place *places;       /* by index */
    struct sflight_call **lead; /* the calls led, in the order of their keys */
    size_t *order;              /* indexes, by hash */
    size_t n;
};

/* fn may unwind the stack past us. */
struct batch_guard {
    struct slot *slot;
    struct batch *batch;
    sflight_result *r; /* delivered so far; NULL: the caller has got them */
};

static size_t batch_bytes(size_t n)
{
    return n * (sizeof(struct place) + sizeof(struct sflight_call *) + sizeof(size_t));
}

static void batch_end(struct batch_guard *guard)
{
    struct batch *b = guard->batch;
    struct slot *slot = guard->slot;

    for (size_t i = 0; guard->r != NULL && i < b->n; i++) {
        if (guard->r[i].hold != NULL)
            call_release(slot, guard->r[i].hold);
        memset(&guard->r[i], 0, sizeof(guard->r[i]));
    }
    for (size_t i = 0; i < b->n; i++) {
        struct place *p = &b->places[i];
        if (p->role != CALL_FOLLOWS || p->first != i || p->call == NULL)
            continue;
        /* Joined, but fn was left before this call could be waited for. */
        struct timespec past = {0};
        int rc = call_wait(slot, p->call, UINT32_MAX, &past);
        if (rc == CALL_FOLLOWS) {
            call_release(slot, p->call);
        } else if (rc == CALL_LEADS) {
            call_enter(p->call, NULL);
            call_abandon(p->call);
        }
    }
    alloc_put(&slot->group->alloc, b->places, batch_bytes(b->n));
    slot_count(slot, COUNT_RELEASED); /* the last touch: the group may go now */
}

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

/* Sets `first` everywhere.  Equal hashes stand together, lower indexes before higher ones. */
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
            size_t j = b->order[l];
            if (b->places[j].first == j && same_key(&keys[j], &keys[i])) {
                b->places[i].first = j;
                break;
            }
        }
    }
}

/* Everything that can fail as a whole, before anything is claimed. */
static int prepare(struct slot *slot, struct batch *b, const sflight_key *keys, size_t n)
{
    struct alloc *alloc = &slot->group->alloc;

    if (n > SIZE_MAX / batch_bytes(1))
        return -ENOMEM;
    b->n = n;
    b->places = alloc_get(alloc, batch_bytes(n), _Alignof(max_align_t));
    if (b->places == NULL)
        return -ENOMEM;
    memset(b->places, 0, batch_bytes(n));
    b->lead = (struct sflight_call **)(void *)(b->places + n);
    b->order = (size_t *)(void *)(b->lead + n);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].data == NULL && keys[i].len != 0)
            b->places[i].role = -EINVAL;
        else
            b->places[i].hash = hash_key(keys[i].data, keys[i].len, slot->group->seed);
    }
    find_aliases(b, keys);
    for (size_t i = 0; i < n; i++) {
        struct place *p = &b->places[i];
        if (p->first != i || p->role < 0)
            continue;
        p->call = call_new(slot, keys[i].data, keys[i].len, p->hash, CALL_START_BLOCKING);
        if (p->call == NULL) {
            while (i-- != 0)
                if (b->places[i].call != NULL)
                    call_discard(slot, b->places[i].call);
            alloc_put(alloc, b->places, batch_bytes(n));
            return -ENOMEM;
        }
    }
    return 0;
}

/* Returns how many calls this caller leads. */
static size_t claim_all(struct slot *slot, struct batch *b, const sflight_key *keys)
{
    size_t n_lead = 0;

    for (size_t i = 0; i < b->n; i++) {
        struct place *p = &b->places[i], *first = &b->places[p->first];
        if (p->role < 0)
            continue;
        if (p->first != i) {
            p->role = first->role;
            if (p->role == CALL_LEADS)
                first->call->result.extra_holds++;
            continue;
        }
        struct sflight_call *spare = p->call, *call = NULL;
        p->role = call_claim_or_join(slot->group, slot, keys[i].data, keys[i].len,
                                     CALL_START_BLOCKING, spare, &call, &p->rank);
        if (p->role == CALL_LEADS) {
            b->lead[n_lead++] = call;
            continue;
        }
        p->call = p->role == CALL_FOLLOWS ? call : NULL;
        if (call != spare) /* otherwise claimed, and ended at once: the group has been closed */
            call_discard(slot, spare);
    }
    return n_lead;
}

/* One result for a call that is led: an alias's hold was credited at its end. */
static void deliver_led(struct slot *slot, struct batch *b, size_t i, sflight_result *r, int *rc)
{
    struct place *p = &b->places[i];
    if (p->first != i)
        slot_count(slot, COUNT_HELD);
    *rc = call_deliver(slot, b->places[p->first].call, true, r);
}

static void wait_one(struct slot *slot, struct place *p, sflight_many_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r, int *rc)
{
    struct sflight_call *call = p->call;

    p->call = NULL; /* from here on the join is call_wait()'s */
    *rc = call_wait(slot, call, p->rank, deadline);
    if (*rc < 0) {
        memset(r, 0, sizeof(*r));
        return;
    }
    bool leads = *rc == CALL_LEADS;
    if (leads)
        call_lead_many(slot, &call, 1, fn, arg);
    *rc = call_deliver(slot, call, leads, r);
}

int call_batch(struct slot *slot, const sflight_key *keys, size_t n, sflight_many_fn *fn, void *arg,
               const struct timespec *deadline, sflight_result *r, int *rc)
{
    struct batch batch;

    if (n == 0)
        return 0;
    int failed = prepare(slot, &batch, keys, n);
    if (failed != 0)
        return failed;
    slot_count(slot, COUNT_HELD); /* a batch keeps its group until batch_end() */
    struct batch_guard guard __attribute__((cleanup(batch_end), unused)) = {slot, &batch, r};

    memset(r, 0, n * sizeof(*r));
    size_t n_lead = claim_all(slot, &batch, keys);
    if (n_lead != 0) {
        call_lead_many(slot, batch.lead, n_lead, fn, arg);
        for (size_t i = 0; i < n; i++)
            if (batch.places[i].role == CALL_LEADS)
                deliver_led(slot, &batch, i, &r[i], &rc[i]);
    }
    for (size_t i = 0; i < n; i++) {
        struct place *p = &batch.places[i];
        if (p->role == CALL_LEADS)
            continue;
        rc[i] = p->role;
        if (p->role == CALL_FOLLOWS && p->first == i)
            wait_one(slot, p, fn, arg, deadline, &r[i], &rc[i]);
        else if (p->role == CALL_FOLLOWS)
            rc[i] = 0; /* filled below */
        p->call = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        struct place *p = &batch.places[i];
        if (p->role != CALL_FOLLOWS || p->first == i)
            continue;
        rc[i] = rc[p->first];
        r[i] = r[p->first];
        if (r[i].hold != NULL)
            call_retain(slot, r[i].hold);
    }
    guard.r = NULL;
    return 0;
}
