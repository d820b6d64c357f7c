/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Circles.  Only who leads a call can close a circle of waits, so only such a
 * caller, about to wait, comes here.  One mutex guards the `waiting_for` of all
 * callers [WAITS].  An edge "T waits for call C" stands from before T's wait until
 * after it; C's owner is the next node.  If every edge of a circle is there and
 * every call in it is open at the time it is looked at, all these waits are real:
 * the call that the last one waits for is led by the caller that looks, and stays
 * open; so the one before stays waiting, and its call stays open; and so on.  As
 * the edges are set one after the other, exactly the last caller finds the circle.
 *
 * An owner is looked at only while its call is open, and a caller that goes away
 * makes sure, after its last call has closed, that nobody is looking: so the owner
 * is still there.  Who looks says so and then looks whether the call is closed;
 * who goes has closed the call and then looks whether anybody looks [LOOK].
 *
 * Fibers that lead are found by what their runtime calls them, in one of a number
 * of bins.  A bin that is empty, as most are, is not locked.
 */
#include "agent.h"

#include "lock.h"

#include <string.h>

enum { BIN_BITS = 4 };

struct bin {
    _Alignas(CACHE_LINE) struct lock lock;
    _Atomic(uint32_t) n;
    struct agent *first;
};

static struct lock waits;
static _Atomic(uint32_t) n_looking;
static struct bin bins[1 << BIN_BITS];

/* ------------------------------------------------------------------ fibers */

static struct bin *bin_of(const void *fiber)
{
    return &bins[(uintptr_t)fiber * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BIN_BITS)];
}

/* A fiber is one of its runtime, whichever group it uses. */
static bool same_runtime(const sflight_runtime *a, const sflight_runtime *b)
{
    return a->self == b->self && a->ctx == b->ctx;
}

static struct agent *bin_find(const struct bin *bin, const void *fiber,
                              const struct sflight_group *g)
{
    struct agent *c = bin->first;
    while (c != NULL && (c->fiber != fiber || !same_runtime(&c->runtime, &g->runtime)))
        c = c->next;
    return c;
}

static struct agent *fiber_leading(const void *fiber, const struct sflight_group *g)
{
    struct bin *bin = bin_of(fiber);

    /* What this fiber has put there is seen by itself, wherever it runs. */
    if (atomic_load_relaxed(&bin->n) == 0)
        return NULL;
    lock_take(&bin->lock);
    struct agent *c = bin_find(bin, fiber, g);
    lock_give(&bin->lock);
    return c;
}

static void *fiber_self(const struct sflight_group *g)
{
    return g->runtime.self != NULL ? g->runtime.self(g->runtime.ctx) : NULL;
}

struct agent *agent_enter(struct agent *own, struct sflight_group *g)
{
    void *fiber = fiber_self(g);

    own->fiber = NULL;
    if (LIKELY(fiber == NULL))
        return &thread_self.agent;
    group_enter(g);
    memset(own, 0, sizeof(*own));
    struct agent *outer = fiber_leading(fiber, g);
    if (outer != NULL)
        return outer;
    own->fiber = fiber;
    own->runtime = g->runtime;
    return own;
}

struct agent *agent_leading(struct sflight_group *g)
{
    void *fiber = fiber_self(g);

    group_enter(g);
    if (fiber != NULL)
        return fiber_leading(fiber, g);
    return thread_self.agent.leading != NULL ? &thread_self.agent : NULL;
}

bool agent_leads_one_of(struct sflight_group *g)
{
    const struct agent *agent = agent_leading(g);

    for (const struct sflight_call *c = agent != NULL ? agent->leading : NULL; c != NULL;
         c = c->outer)
        if (c->group == g)
            return true;
    return false;
}

void agent_leads(struct agent *c)
{
    if (c->fiber == NULL || c->listed)
        return;
    c->listed = true;
    struct bin *bin = bin_of(c->fiber);
    lock_take(&bin->lock);
    atomic_add_relaxed(&bin->n, 1); /* for this fiber itself */
    c->next = bin->first;
    c->prev = &bin->first;
    c->listed_in = process_salt();
    if (c->next != NULL)
        c->next->prev = &c->next;
    atomic_fence_compiler(); /* for a child that another thread forks */
    bin->first = c;
    lock_give(&bin->lock);
}

static void bin_remove(struct bin *bin, struct agent *c)
{
    *c->prev = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    atomic_sub_relaxed(&bin->n, 1); /* for this fiber itself */
}

void agent_leave(struct agent *own)
{
    if (own->fiber == NULL)
        return;
    if (own->listed) {
        struct bin *bin = bin_of(own->fiber);
        lock_take(&bin->lock);
        bin_remove(bin, own);
        lock_give(&bin->lock);
    }
    agent_unseen(); /* also if it has only claimed */
}

/* ----------------------------------------------------------------- circles */

bool agent_may_wait(struct agent *self, struct sflight_call *call)
{
    REQUIRE(self->leading != NULL && self->waiting_for == NULL);
    bool circle = false;

    lock_take(&waits); /* [WAITS] */
    atomic_add_relaxed(&n_looking, 1);
    atomic_fence_seq_cst(); /* [LOOK] */
    self->waiting_for = call;
    for (struct sflight_call *c = call; c != NULL;) {
        struct agent *leader = atomic_load_acquire(&c->owner); /* [OWNER] */
        /* Closed before who leads it looked for us: seen because of the fence. */
        if (leader == NULL || (atomic_load_relaxed(&c->state) & STATE_CLOSED))
            break; /* nobody leads it, or its waiters are about to go on */
        circle = leader == self;
        if (circle || leader->waiting_for == c)
            break; /* who waits for what it leads has just taken it over, and goes on */
        c = leader->waiting_for;
    }
    if (circle)
        self->waiting_for = NULL;
    (void)atomic_sub_release(&n_looking, 1); /* [LOOK] */
    lock_give(&waits);
    return !circle;
}

void agent_waited(struct agent *self)
{
    REQUIRE(self->waiting_for != NULL);
    lock_take(&waits); /* [WAITS] */
    self->waiting_for = NULL;
    lock_give(&waits);
}

void agent_unseen(void)
{
    atomic_fence_seq_cst(); /* [LOOK] */
    if (atomic_load_acquire(&n_looking) == 0)
        return;
    /* RACE: somebody looks for a circle at this moment. */
    lock_take(&waits); /* [WAITS] */
    lock_give(&waits);
}

/* A thread that has no slot of its own may end without thread_end(): nobody may look at it then. */
void agent_unseen_without_slot(const struct slot *slot)
{
    if (UNLIKELY(slot->common))
        agent_unseen();
}

/* -------------------------------------------------------------------- fork */

struct agent *agent_forking(struct sflight_group *g)
{
    void *fiber = fiber_self(g);

    return fiber != NULL ? bin_find(bin_of(fiber), fiber, g) : NULL;
}

/* The links forward are whole wherever a thread was stopped; the others are made anew. */
static void bin_after_fork(struct bin *bin, const struct sflight_group *g, const struct agent *kept)
{
    uint32_t n = 0;
    struct agent **prev = &bin->first;

    for (struct agent *c = bin->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c == kept)
            c->listed_in = process_salt();
        else if (c->listed_in != process_salt() && same_runtime(&c->runtime, &g->runtime))
            continue; /* its fiber does not exist */
        *prev = c;
        c->prev = prev;
        prev = &c->next;
        n++;
    }
    if (*prev != NULL)
        *prev = NULL;
    if (atomic_load_relaxed(&bin->n) != n)
        atomic_store_relaxed(&bin->n, n); /* under the bin's lock */
}

void agent_after_fork(struct sflight_group *g, const struct agent *kept)
{
    for (size_t i = 0; i < 1 << BIN_BITS; i++) {
        lock_take(&bins[i].lock);
        bin_after_fork(&bins[i], g, kept);
        lock_give(&bins[i].lock);
    }
}

void agent_none_looks(void)
{
    if (atomic_load_relaxed(&n_looking) != 0)
        atomic_store_relaxed(&n_looking, 0); /* whoever looked does not exist */
}
