/* SPDX-License-Identifier: BSD-2-Clause */
#include "fork.h"

#include "batch.h"
#include "filter.h"
#include "permit.h"

#include <errno.h>
#include <pthread.h>

/* The thread that forked, as whoever noticed it first in the child has found it. */
static struct {
    uint64_t id;      /* thread_identity() */
    uint64_t bare_id; /* what that was while it was bare, perhaps */
    bool unknown;
    const struct agent *agent; /* an address: it may have ended since; NULL: none */
} forker;

/* In the child, before it has a salt.  Nothing is locked, and nothing that grows is looked at. */
static void fork_noticed(bool by_handler)
{
    const struct agent *agent = agent_fork();

    /* A thread that is new, or has not used the library: somebody else may be the one. */
    forker.unknown = !by_handler && thread_self.bare && agent == NULL;
    forker.id = thread_identity();
    forker.bare_id = thread_bare_identity();
    forker.agent = agent;
    batch_fork(agent != NULL ? agent->batches : NULL);
    unwanted_fork();
    for (struct sflight_call *c = agent != NULL ? agent->leading : NULL; c != NULL; c = c->outer)
        table_see(&c->node); /* fn ends the general way, which looks at the group */
}

/* --------------------------------------------------------------------- calls */

struct survivors {
    const struct agent *fiber; /* that forked, or NULL */
    struct gauges_kept kept;
};

static bool keep_own(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct survivors *s = ctx;
    const struct agent *owner = atomic_load_relaxed(&c->owner); /* alone with the group */
    bool own = call_kind(c) == CALL_OF_PERMIT
                   ? (permit_begun_by(c) == forker.id || permit_begun_by(c) == forker.bare_id) &&
                         !(c->result.traits & CALL_GIVEN_UP) /* nor has anybody begun to end it */
                   : owner != NULL && (owner == forker.agent || owner == s->fiber);

    own = own && !(atomic_load_relaxed(&c->state) & STATE_CLOSED);
    if (own)
        orphan_keep(c, &s->kept);
    else
        orphan_abandon(c, &s->kept);
    return own;
}

/* Threads that do not exist in the child lead and wait for nothing. */
static void group_after_fork(struct sflight_group *g)
{
    struct survivors s = {.fiber = NULL};

    if (group_hangs(g)) {
        struct agent *fiber = agent_forking(g);
        agent_after_fork(&g->runtime, fiber);
        s.fiber = fiber;
    }
    filter_table(&g->table, keep_own, &s);
    batch_after_fork(g, s.fiber, &s.kept);
    uint64_t thread = forker.unknown ? SLOT_OF_ANYBODY : forker.id;
    uint64_t n_held = gauges_after_fork(g, thread, &s.kept);
    atomic_store_relaxed(&g->n_inherited, n_held);

    atomic_store_relaxed(&g->n_runners, /* the group is nobody else's yet */
                         agent_n_running_after_fork(g, s.fiber) * GROUP_RUNNER);

    uint32_t n_threads = 0;
    g->idle = NULL;
    for (struct slot *slot = atomic_load_relaxed(&g->slots); slot != NULL;
         slot = slot->next_of_group) {
        remember_none(slot);
        call_after_fork(slot);
        future_after_fork(slot);
        if (slot_is_of(slot, thread))
            n_threads++;
        else
            slot_to_idle(slot);
    }
    call_after_fork(&g->common);
    atomic_store_relaxed(&g->n_threads, n_threads);
    /* Nobody drains in the child. */
    (void)atomic_and_relaxed(&g->flags, GROUP_DRAINER - 1);
    orphan_waiters(&g->drain_waiters, &g->orphan_futures);
}

/* ------------------------------------------------------------------- process */

/* Nobody is in a section, nor looks for a circle. */
static void process_after_fork(void)
{
    reclaim_after_fork();
    agent_none_looks();
    agent_after_fork(NULL, forker.agent);
}

void fork_init(void)
{
    process_init(fork_noticed);
    group_put_right_by(process_after_fork, group_after_fork);
}

int fork_handle(void)
{
    int saved = errno; /* it may need memory */
    int rc = pthread_atfork(NULL, NULL, process_forked);

    errno = saved;
    return rc == 0 ? 0 : -ENOMEM;
}
