/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Circles.  Only an agent that leads a call can close a circle of waits, so only such an agent
 * looks for one, when it is about to wait.  An edge "agent A waits for call C" is A's
 * `waiting_for`, which is set under one lock [WAITS] before A's wait, and taken back after it,
 * without the lock; C's owner is the next node.  C was not retired when the edge was set, and is
 * not before it has been taken back; so who looks does that in a section, in which C stays.
 *
 * A circle that is found is a real one.  Each edge of it was set before the lock was taken, and
 * seen later: so all were there when it was taken.  Say that every call in it is open when it is
 * looked at.  The last agent of the circle waits for a call that is led by the agent which looks:
 * that call stays open.  So the last agent stays waiting, and the call that it leads stays open; so
 * the agent before it stays waiting; and so on.  As the edges are set one after the other, exactly
 * the agent that sets the last one finds the circle.
 *
 * An owner that is looked at is still there.  It is looked at only while its call is open, and
 * an agent that goes makes sure, after its last call has closed, that nobody is looking: the agent
 * that looks counts itself in n_looking, and then loads whether the call is closed; the agent
 * that goes has closed the call, and then loads n_looking [LOOK].
 *
 * Fibers that lead are found by the pointer that their runtime has for them, in one of a number of
 * bins.  A bin that is empty, as most are, is not locked.
 */
#include "agent.h"

#include "reclaim.h"

#include <errno.h>
#include <string.h>

enum { BIN_BITS = 4 };

struct bin {
    _Alignas(CACHE_LINE) struct lock lock;
    _Atomic(uint32_t) n; /* agents in the list */
    struct agent *first;
};

struct lock agent_waits;
static struct running *inherited;   /* in a forked child: of who forked; under the registry lock */
static _Atomic(uint32_t) n_looking; /* agents that look for a circle */
static struct bin bins[1 << BIN_BITS];

/* ------------------------------------------------------------------ fibers */

static struct bin *bin_of(const void *name)
{
    return &bins[(uintptr_t)name * UINT64_C(0x9e3779b97f4a7c15) >> (64 - BIN_BITS)];
}

/* A fiber is one of its runtime, whichever group it uses; a bare thread is of none. */
static bool same_runtime(const sflight_runtime *a, const sflight_runtime *b)
{
    return b != NULL ? a->self == b->self && a->ctx == b->ctx : a->self == NULL;
}

static struct agent *bin_find(const struct bin *bin, const void *name,
                              const sflight_runtime *runtime)
{
    struct agent *c = bin->first;
    while (c != NULL && (c->name != name || !same_runtime(&c->runtime, runtime)))
        c = c->next;
    return c;
}

/* runtime: the fiber's, or NULL for a bare thread. */
static struct agent *named_agent(const void *name, const sflight_runtime *runtime)
{
    struct bin *bin = bin_of(name);

    /* What this agent has put there is seen by itself, wherever it runs. */
    if (atomic_load_relaxed(&bin->n) == 0)
        return NULL;
    lock_take(&bin->lock);
    struct agent *c = bin_find(bin, name, runtime);
    lock_give(&bin->lock);
    return c;
}

static void bin_insert(struct agent *c)
{
    struct bin *bin = bin_of(c->name);

    c->listed = true;
    lock_take(&bin->lock);
    c->listed_in = process_salt();
    atomic_add_relaxed(&bin->n, 1); /* for this agent itself */
    c->next = bin->first;
    c->prev = &bin->first;
    if (c->next != NULL)
        c->next->prev = &c->next;
    atomic_fence_compiler(); /* for a child that another thread forks */
    bin->first = c;
    lock_give(&bin->lock);
}

/* While the frame of *own stands the thread gets no struct, so that it has one agent only. */
static NOINLINE struct agent *bare_agent(struct agent *own)
{
    memset(own, 0, sizeof(*own));
    struct agent *outer = named_agent(&thread_words, NULL);
    if (outer != NULL)
        return outer;
    own->name = &thread_words;
    own->was_bare = thread_words.self;
    thread_words.self = &thread_ended;
    bin_insert(own);
    return own;
}

struct agent *agent_enter(struct agent *own, struct sflight_group *g)
{
    void *fiber = agent_fiber(g);

    own->name = NULL;
    if (LIKELY(fiber == NULL && !thread_self.bare))
        return &thread_self.agent;
    group_enter(g);
    if (fiber == NULL)
        return thread_make() ? &thread_self.agent : bare_agent(own);
    memset(own, 0, sizeof(*own));
    struct agent *outer = named_agent(fiber, &g->runtime);
    if (outer != NULL)
        return outer;
    own->name = own->fiber = fiber;
    own->runtime = g->runtime;
    return own;
}

/* The caller, if it has an agent already that its outer frames have made known. */
static struct agent *agent_here(struct sflight_group *g)
{
    void *fiber = agent_fiber(g);

    group_enter(g);
    if (fiber != NULL)
        return named_agent(fiber, &g->runtime);
    return thread_self.bare ? named_agent(&thread_words, NULL) : &thread_self.agent;
}

struct agent *agent_leading(struct sflight_group *g)
{
    struct agent *agent = agent_here(g);

    return agent != NULL && agent->leading != NULL ? agent : NULL;
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
    if (c->name != NULL && !c->listed)
        bin_insert(c);
}

void agent_runs(struct running *here, struct agent *agent, struct sflight_group *g)
{
    *here = (struct running){agent, g, agent->running, process_salt()};
    agent->running = here;
}

void agent_ran(struct running *here)
{
    here->agent->running = here->outer;
    if (UNLIKELY(here->salt != process_salt())) {
        /* RACE: forked inside, and this is the child; another thread may look at it */
        registry_lock();
        if (inherited == here)
            inherited = here->outer;
        registry_unlock();
    }
}

static uint32_t count_running(const struct running *r, const struct sflight_group *g)
{
    uint32_t n = 0;

    for (; r != NULL; r = r->outer)
        n += r->group == g;
    return n;
}

uint32_t agent_n_running_here(struct sflight_group *g)
{
    const struct agent *agent = agent_here(g);

    return agent != NULL ? count_running(agent->running, g) : 0;
}

/* Takes an agent out of its bin's list.  Under the bin's lock. */
static void bin_remove(struct bin *bin, struct agent *c)
{
    *c->prev = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    atomic_sub_relaxed(&bin->n, 1); /* for this agent itself */
}

void agent_leave(struct agent *own)
{
    if (own->name == NULL)
        return;
    if (own->listed) {
        struct bin *bin = bin_of(own->name);
        lock_take(&bin->lock);
        bin_remove(bin, own);
        lock_give(&bin->lock);
    }
    if (own->fiber == NULL)
        thread_words.self = own->was_bare;
    agent_unseen(); /* also if it has only claimed */
}

/* ------------------------------------------------------------ where nothing is unwound */

#if !EXIT_UNWINDS
static void (*agent_left)(void *agent);

void agent_left_by(void (*left)(void *agent))
{
    agent_left = left;
}

void agent_begins(struct agent *agent)
{
    if (agent->fiber == NULL)
        invoke_exits(&agent->exit, agent_left, agent);
}

void agent_ends(struct agent *agent)
{
    if (agent->fiber == NULL)
        invoke_exited(&agent->exit);
}
#endif

/* ----------------------------------------------------------------- circles */

int agent_may_wait(struct agent *self, struct sflight_call *call, const struct timespec *deadline)
{
    REQUIRE(self->leading != NULL && require_word(&self->waiting_for) == NULL);
    bool circle = false;

    if (!lock_take_until(&agent_waits, deadline)) /* [WAITS] */
        return -ETIMEDOUT;                        /* RACE: who has the lock does not go on */
    struct lane *lane = reclaim_enter(thread_self.lane);
    atomic_add_relaxed(&n_looking, 1);
    atomic_fence_seq_cst();                         /* [LOOK] */
    atomic_store_relaxed(&self->waiting_for, call); /* who looks has the lock after this one */
    for (struct sflight_call *c = call; c != NULL;) {
        struct agent *leader = atomic_load_acquire(&c->owner); /* [OWNER] */
        /* If the leader found nobody looking, it had closed the call: the fence shows CLOSED. */
        if (leader == NULL || (atomic_load_relaxed(&c->state) & STATE_CLOSED))
            break; /* no agent leads it, or those that wait for it are about to go on */
        circle = leader == self;
        /* Taken back meanwhile, it is a call that the section keeps. */
        struct sflight_call *next = atomic_load_relaxed(&leader->waiting_for);
        if (circle || next == c)
            break; /* the leader has just taken this call over, and its wait is about to end */
        c = next;
    }
    if (circle)
        atomic_store_relaxed(&self->waiting_for, NULL); /* under the lock */
    (void)atomic_sub_release(&n_looking, 1);            /* [LOOK] */
    reclaim_leave(lane);
    lock_give(&agent_waits);
    return circle ? -EDEADLK : 0;
}

void agent_waited(struct agent *self)
{
    REQUIRE(require_word(&self->waiting_for) != NULL);
    atomic_store_relaxed(&self->waiting_for, NULL); /* whoever still sees the call: see above */
}

void agent_unseen(void)
{
    atomic_fence_seq_cst(); /* [LOOK] */
    if (atomic_load_acquire(&n_looking) == 0)
        return;
    /* RACE: somebody looks for a circle at this moment. */
    lock_take(&agent_waits); /* [WAITS] */
    lock_give(&agent_waits);
}

/* -------------------------------------------------------------------- fork */

struct agent *agent_fork(void)
{
    struct agent *agent = &thread_self.agent;

    if (thread_self.bare) /* no lock: nobody else is there */
        agent = bin_find(bin_of(&thread_words), &thread_words, NULL);
    inherited = agent != NULL ? agent->running : NULL;
    return agent;
}

uint32_t agent_n_running_after_fork(const struct sflight_group *g, const struct agent *fiber)
{
    REQUIRE_REGISTRY();
    return count_running(inherited, g) + (fiber != NULL ? count_running(fiber->running, g) : 0);
}

struct agent *agent_forking(struct sflight_group *g)
{
    void *fiber = agent_fiber(g);

    return fiber != NULL ? bin_find(bin_of(fiber), fiber, &g->runtime) : NULL;
}

/* The links forward are whole wherever a thread was stopped; the others are made anew. */
static void bin_after_fork(struct bin *bin, const sflight_runtime *runtime,
                           const struct agent *kept)
{
    uint32_t n = 0;
    struct agent **prev = &bin->first;

    for (struct agent *c = bin->first, *next; c != NULL; c = next) {
        next = c->next;
        if (c == kept)
            c->listed_in = process_salt();
        else if (c->listed_in != process_salt() && same_runtime(&c->runtime, runtime))
            continue; /* its fiber does not exist */
        *prev = c;
        c->prev = prev;
        prev = &c->next;
        n++;
    }
    if (*prev != NULL)
        *prev = NULL;
    process_mend(&bin->n, n);
}

void agent_after_fork(const sflight_runtime *runtime, const struct agent *kept)
{
    for (size_t i = 0; i < 1 << BIN_BITS; i++) {
        if (atomic_load_relaxed(&bins[i].n) == 0)
            continue; /* it is counted first, and uncounted last */
        lock_take(&bins[i].lock);
        bin_after_fork(&bins[i], runtime, kept);
        lock_give(&bins[i].lock);
    }
}

void agent_none_looks(void)
{
    process_mend(&n_looking, 0); /* whoever looked does not exist */
}
