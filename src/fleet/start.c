/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callers that do not block.  A start whose caller leads the call of this process asks the engine,
 * and its future is the call's own.  One that joins follows that call by a callback, and its future
 * is on a call of its own, in the group of the waits: so it can go on when the leader is lost.
 *
 *     begin --leads--> asks the engine --LEAD, ALONE--> lead(permit) ... complete, abandon
 *       |                    |                                                    |
 *       |                    '--VALUE--> lead(NULL), ends the call                |
 *       |                                        |                                |
 *       '--joins--> followed() <-----------------+--------------------------------+
 *             ^        |  the call has ended: lead(NULL), passes the result on
 *             '--------'  the leader is lost: begins again
 */
#include "fleet.h"
#include "guard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Owned by the leader's side while it leads, and by the follower's while it follows. */
struct sflight_fleet_permit {
    sflight_fleet *fleet;
    void (*lead)(sflight_fleet_permit *permit, void *arg);
    void *arg;
    bool is_lead_called;
    atomic_int n_owners;
    sflight_call *call;    /* of this process, which it leads */
    struct claim *claim;   /* NULL: alone */
    sflight_call *passed;  /* what its future is on, while it follows */
    sflight_result result; /* that is passed on */
    size_t key_len;
    unsigned char key[];
};

static void permit_let_go(struct sflight_fleet_permit *p)
{
    if (atomic_fetch_sub_explicit(&p->n_owners, 1, memory_order_acq_rel) == 1)
        free(p);
}

static void call_lead(struct sflight_fleet_permit *p, struct sflight_fleet_permit *permit)
{
    if (p->is_lead_called)
        return;
    p->is_lead_called = true;
    p->lead(permit, p->arg);
}

/* --------------------------------------------------------------- leads */

/* On the engine thread: the engine has answered, or has not. */
static void told(struct claim *c)
{
    struct sflight_fleet_permit *p = c->told_arg;
    int outcome = c->outcome;

    claim_count(&p->fleet->member, outcome);
    if (outcome == FLIGHT_VALUE) {
        int status = c->status;
        call_lead(p, NULL);
        sflight_call_set(p->call, c->value, c->value_len, claim_free_value, NULL);
        c->value = NULL;
        claim_let_go(c);
        (void)sflight_complete(p->call, status);
        permit_let_go(p);
        return;
    }
    if (outcome == FLIGHT_LEAD)
        p->claim = c;
    else
        claim_let_go(c);
    call_lead(p, p);
}

/* p->call is this caller's. */
static void ask_for(struct sflight_fleet_permit *p)
{
    struct member *m = &p->fleet->member;
    int outcome = fleet_alone(p->fleet, p->key_len);
    struct claim *c = NULL;

    if (outcome == FLIGHT_UNTOLD) {
        c = engine_claim(m, CLAIM_FLIGHT, p->key, p->key_len);
        if (c == NULL)
            outcome = OUTCOME_MEMORY;
    }
    if (c == NULL) {
        claim_count(m, outcome);
        call_lead(p, p);
        return;
    }
    c->told = told;
    c->told_arg = p;
    engine_ask(c, ASK_START);
}

/* ------------------------------------------------------------- follows */

static void release_passed(void *value, size_t size, void *ctx)
{
    struct sflight_fleet_permit *p = ctx;

    (void)value;
    (void)size;
    sflight_result_release_sized(&p->result, sizeof(p->result));
    permit_let_go(p);
}

typedef void told_fn(void *arg, int rc, sflight_result *r);

/* Leads the key's call, or follows it; either way followed is told of its end.  false: neither. */
static bool go_on(struct sflight_fleet_permit *p, told_fn *followed)
{
    sflight_group *g = p->fleet->member.group;
    sflight_future *f;
    sflight_call *call;

    if (sflight_begin(g, p->key, p->key_len, &call, &f) != 0)
        return false;
    if (call != NULL && sflight_call_future(call, &f) != 0) {
        (void)sflight_abandon(call);
        return false;
    }
    if (call != NULL) {
        atomic_fetch_add_explicit(&p->n_owners, 1, memory_order_relaxed);
        p->call = call;
    }
    (void)sflight_future_then(f, followed, p); /* of a future that is new it always succeeds */
    if (call != NULL)
        ask_for(p);
    return true;
}

/* The call that it has followed, or led, has ended. */
static void followed(void *arg, int rc, sflight_result *r)
{
    struct sflight_fleet_permit *p = arg;
    sflight_call *passed = p->passed;

    if (rc == -EOWNERDEAD && !p->is_lead_called && p->fleet->takes_over && go_on(p, followed))
        return;
    call_lead(p, NULL);
    if (rc != 0) {
        sflight_result_release_sized(r, sizeof(*r));
        (void)sflight_abandon(passed);
        permit_let_go(p);
        return;
    }
    p->result = *r;
    sflight_call_set(passed, r->value, r->size, release_passed, p);
    (void)sflight_complete(passed, r->status);
}

/* A future on a call that is this start's alone; false: no memory. */
static bool make_passed(struct sflight_fleet_permit *p, sflight_future **out)
{
    sflight_group *waits = p->fleet->member.waits;
    sflight_call *none;

    if (sflight_begin(waits, &p, sizeof(p), &p->passed, out) != 0)
        return false;
    if (sflight_begin(waits, &p, sizeof(p), &none, out) == 0)
        return true;
    (void)sflight_abandon(p->passed);
    return false;
}

/* --------------------------------------------------------------- start */

static int lead_or_follow(struct sflight_fleet_permit *p, sflight_future **out)
{
    sflight_future *join;
    int rc = sflight_begin(p->fleet->member.group, p->key, p->key_len, &p->call, &join);

    if (rc != 0)
        return rc;
    if (p->call != NULL) {
        rc = sflight_call_future(p->call, out);
        if (rc != 0)
            (void)sflight_abandon(p->call);
        else
            ask_for(p);
        return rc;
    }
    if (!make_passed(p, out)) {
        (void)sflight_future_drop(join);
        return -ENOMEM;
    }
    (void)sflight_future_then(join, followed, p);
    return 0;
}

int sflight_fleet_start(sflight_fleet *f, const void *key, size_t key_len,
                        void (*lead)(sflight_fleet_permit *permit, void *arg), void *arg,
                        sflight_future **out)
{
    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    if (f == NULL || lead == NULL || (key == NULL && key_len > 0))
        return -EINVAL;
    volatile int saved = errno; /* clang takes malloc() for one that leaves errno alone */
    struct sflight_fleet_permit *p = calloc(1, sizeof(*p) + key_len);
    errno = saved;
    if (p == NULL)
        return -ENOMEM;
    p->fleet = f;
    p->lead = lead;
    p->arg = arg;
    atomic_init(&p->n_owners, 1);
    p->key_len = key_len;
    if (key_len > 0)
        memcpy(p->key, key, key_len);
    int rc = lead_or_follow(p, out);
    if (rc != 0) {
        *out = NULL;
        free(p);
    }
    return rc;
}

/* ------------------------------------------------------------- permits */

/* The call has ended, and a callback may have left its end otherwise than by return. */
static void end_permit(void *arg)
{
    struct sflight_fleet_permit *p = arg;
    sflight_fleet *f = p->fleet;
    struct claim *c = p->claim;

    permit_let_go(p);
    if (c != NULL)
        fleet_give(f, c, ASK_RETURNED);
}

uint32_t sflight_fleet_complete(sflight_fleet_permit *permit, int status, void *value, size_t size,
                                sflight_destroy_fn *destroy, void *ctx)
{
    if (permit->claim != NULL) {
        claim_over(permit->claim);
        fleet_share(permit->fleet, permit->claim, value, size, status);
        fleet_call_ends(permit->claim);
    }
    if (value != NULL || destroy != NULL)
        sflight_call_set(permit->call, value, size, destroy, ctx);
    GUARD(guard, end_permit, permit, false); /* callbacks do not park */
    return sflight_complete(permit->call, status);
}

uint32_t sflight_fleet_abandon(sflight_fleet_permit *permit)
{
    if (permit->claim != NULL) {
        fleet_call_ends(permit->claim);
        count_add(&permit->fleet->member.counts, COUNT_unshared, 1);
    }
    GUARD(guard, end_permit, permit, false); /* callbacks do not park */
    return sflight_abandon(permit->call);
}

const void *sflight_fleet_permit_key(const sflight_fleet_permit *permit, size_t *len)
{
    return sflight_call_key(permit->call, len);
}
