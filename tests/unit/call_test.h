/* SPDX-License-Identifier: BSD-2-Clause */
/* call_test.h - one caller of the engine as an actor, whose steps a test takes one by one. */
#ifndef CALL_TEST_H
#define CALL_TEST_H

#include "../lib/group_test.h"
#include "unit_test.h"

#include "do.h"

struct party {
    struct actor actor;
    struct sflight_group *g;
    const char *key;
    const struct timespec *deadline;
    struct sflight_call *call;
    struct agent *self;
    struct slot *slot;
    unsigned rank;
    int rc; /* of the last step */
    sflight_result r;
};

static inline void step_claim(void *arg)
{
    struct party *p = arg;
    p->slot = thread_slot(p->g);
    p->self = &thread_self.agent;
    p->rc = join_or_claim(p->g, p->slot, p->key, strlen(p->key), NEWCOMER_BLOCKING(p->self), NULL,
                          &p->call, &p->rank);
}

static inline void step_enter(void *arg)
{
    struct party *p = arg;
    lead_enter(p->self, p->call, NULL);
}

/* fn has returned. */
static inline void step_finish(void *arg)
{
    struct party *p = arg;
    if (p->self->leading == p->call)
        lead_exit(p->self, p->call);
    finish_call(p->slot, p->call, 0);
    p->rc = hold_deliver(p->slot, p->call, true, &p->r);
}

static inline void step_abandon(void *arg)
{
    struct party *p = arg;
    lead_abandon(p->call);
}

static inline void step_wait(void *arg)
{
    struct party *p = arg;
    p->rc = wait_for_end(p->slot, p->self, p->call, p->rank, p->deadline);
    if (p->rc == JOIN_FOLLOWS)
        p->rc = hold_deliver(p->slot, p->call, false, &p->r);
    else if (p->rc == JOIN_LEADS)
        p->rc = 1;
}

enum { TAKEN_OVER = 1 }; /* rc of step_wait */

static inline void step_release(void *arg)
{
    struct party *p = arg;
    sflight_result_release(&p->r);
}

static inline void party_start(struct party *p, struct sflight_group *g, const char *key)
{
    memset((void *)p, 0, sizeof(*p));
    p->g = g;
    p->key = key;
    actor_start(&p->actor);
}

static inline int party_do(struct party *p, void (*step)(void *))
{
    actor_do(&p->actor, step, p);
    return p->rc;
}

static inline void party_leads(struct party *p)
{
    assert_int_equal(party_do(p, step_claim), JOIN_LEADS);
    party_do(p, step_enter);
}

static inline void party_joins(struct party *p, const struct party *leader)
{
    assert_int_equal(party_do(p, step_claim), JOIN_FOLLOWS);
    assert_ptr_equal(p->call, leader->call);
}

static inline void party_finishes(struct party *p)
{
    assert_int_equal(party_do(p, step_finish), 0);
}

static inline void party_waits(struct party *p, int rc)
{
    assert_int_equal(party_do(p, step_wait), rc);
}

static inline void party_gives_up(struct party *p)
{
    p->deadline = &in_the_past;
    party_waits(p, -ETIMEDOUT);
}

static inline void party_takes_over(struct party *p)
{
    party_waits(p, TAKEN_OVER);
    party_do(p, step_enter);
}

static inline void party_releases(struct party *p)
{
    party_do(p, step_release);
}

static inline void party_end(struct party *p)
{
    actor_end(&p->actor);
}

/* All for one key. */
static inline void parties_start(struct party *p, size_t n, struct sflight_group *g)
{
    for (size_t i = 0; i < n; i++)
        party_start(&p[i], g, "key");
}

static inline void parties_end(struct party *p, size_t n)
{
    struct sflight_group *g = p->g;
    for (size_t i = 0; i < n; i++)
        party_end(&p[i]);
    group_end(g);
}

static inline struct sflight_group *group_small(int on_abandon)
{
    sflight_options o = small_options();
    o.on_abandon = on_abandon;
    return group_new(&o);
}

static inline uint32_t joiners(const struct sflight_call *c)
{
    return state_joiners(atomic_load(&c->state));
}

/* A call that is joined, so that its record is retired. */
static inline void joined_call(struct sflight_group *g)
{
    sflight_call *permit, *none;
    sflight_future *joiner = NULL;

    assert_int_equal(sflight_begin(g, "joined", 6, &permit, &joiner), 0);
    assert_null(joiner);
    assert_int_equal(sflight_begin(g, "joined", 6, &none, &joiner), 0);
    assert_int_equal(sflight_future_drop(joiner), 1);
    assert_int_equal(sflight_complete(permit, 0), 0);
}

#endif
