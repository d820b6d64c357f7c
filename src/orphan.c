/* SPDX-License-Identifier: BSD-2-Clause */
#include "orphan.h"

/*
 * A list that nobody is going to tell, as who hangs there does not know yet: a future that still
 * has an owner is found told, the other entries go to *unowned.  Returns how many of those were
 * callbacks or enqueued, and get nothing.  here: the thread that forked is taking one back, and
 * frees it.
 */
static uint32_t orphan_list(struct sflight_future *list, bool here, struct sflight_future **unowned)
{
    uint32_t n_consumed = 0;

    while (list != NULL) {
        struct sflight_future *f = list;
        list = f->next;
        if (future_kind(f) == FUTURE_OWNED && notify_after_fork(f))
            continue;
        if (here && retract_after_fork(f))
            continue;
        bool taken_back =
            (future_word(f) & FUTURE_BACK) == FUTURE_BACK_GONE; /* of a consumed one */
        if (future_kind(f) == FUTURE_QUEUED && !taken_back)
            queue_expect_less(f->queued.to);
        n_consumed +=
            (future_kind(f) == FUTURE_THEN || future_kind(f) == FUTURE_QUEUED) && !taken_back;
        f->next = *unowned;
        *unowned = f;
    }
    return n_consumed;
}

void orphan_waiters(_Atomic(struct sflight_future *) *list, struct sflight_future **unowned)
{
    struct sflight_future *f = atomic_load_relaxed(list), *kept = NULL; /* alone with it */

    if (f == WAITERS_TOLD)
        return; /* UNREACHED: a call that ended before the fork is neither kept nor abandoned */
    while (f != NULL) {
        struct sflight_future *next = f->next,
                              **to = future_kind(f) == FUTURE_WAITER ? unowned : &kept;
        f->next = *to;
        *to = f;
        f = next;
    }
    atomic_store_relaxed(list, kept);
}

/* Who has joined by a joint is counted in the state, and who hangs there hangs in the call's list.
 */
static void move_joints(struct sflight_call *c)
{
    uintptr_t joints = call_joints(c);
    struct sflight_future *list = atomic_load_relaxed(&c->waiters); /* alone with the call */

    state_after_fork(&c->state, joints != 0, joints != 0 ? joint_after_fork(&c->joints) : 0);
    for (struct joint *j = joint_first(joints); j != NULL; j = j->next) {
        struct sflight_future *first = atomic_load_relaxed(&j->waiters),
                              *last = first; /* as above */
        if (first == NULL)
            continue;
        while (last->next != NULL)
            last = last->next;
        last->next = list;
        list = first;
        atomic_store_relaxed(&j->waiters, NULL); /* as above */
    }
    atomic_store_relaxed(&c->waiters, list); /* as above */
}

/*
 * In the child only the forking thread is left: nobody blocks in its calls.
 * Futures are not threads, and stay.
 */
void orphan_keep(struct sflight_call *c, struct gauges_kept *kept)
{
    move_joints(c);
    gate_init(&c->gate);
    if (unwanted_after_fork(c, false))
        gate_hold(&c->gate); /* who leaves goes on when the callback has returned */
    orphan_waiters(&c->waiters, &c->group->orphan_futures);
    atomic_store_relaxed(&c->gone, 0); /* nobody holds the list: alone with the call */
    uint64_t state = atomic_load_relaxed(&c->state); /* alone with the group */
    kept->n_in_flight++;
    kept->n_waiting += state_async(state);
    kept->n_futures += state_async(state);
    kept->n_futures += (state & STATE_STARTER) != 0;
    orphan_kept(c);
}

/*
 * Nobody tells what hangs there.  Until that is said, the owners of what hangs there come here,
 * too, and wait for the registry lock.
 */
static uint32_t tell_nobody(struct sflight_group *g, _Atomic(struct sflight_future *) *waiters,
                            bool here)
{
    struct sflight_future *list = atomic_load_relaxed(waiters); /* under the lock */
    uint32_t n_lost = 0;

    if (list != WAITERS_TOLD)
        n_lost = orphan_list(list, here, &g->orphan_futures);
    atomic_store_release(waiters, WAITERS_TOLD); /* [NOTIFY] */
    return n_lost;
}

static uint32_t tell_none(struct sflight_call *c, bool here)
{
    uint32_t n_lost = tell_nobody(c->group, &c->waiters, here);

    for (struct joint *j = joint_first(call_joints(c)); j != NULL; j = j->next)
        n_lost += tell_nobody(c->group, &j->waiters, here);
    return n_lost;
}

/* Nobody will end this call; whoever has a future on it finds it abandoned. */
void orphan_abandon(struct sflight_call *c, struct gauges_kept *kept)
{
    bool here = unwanted_after_fork(c, true);

    kept->n_lost += tell_none(c, here);
    atomic_store_relaxed(&c->gone, 0);
    atomic_store_relaxed(&c->owner, NULL);
    state_end_by_fork(&c->state);
    hold_end_by_fork(c);
    c->outer = c->group->orphans;
    c->group->orphans = c;
}

bool orphan_told(struct sflight_call *c)
{
    bool told = atomic_load_acquire(&c->waiters) == WAITERS_TOLD; /* [NOTIFY] */

    for (struct joint *j = joint_first(call_joints(c)); j != NULL; j = j->next)
        told = told && atomic_load_acquire(&j->waiters) == WAITERS_TOLD; /* [NOTIFY] */
    return told;
}

void orphan_settle(struct sflight_call *c)
{
    struct gauges_kept unused = {0}; /* its futures are counted, and none will be told */

    registry_lock(); /* other threads of the child may have futures on it, too */
    if (!gate_is_open(&c->gate))
        orphan_abandon(c, &unused); /* RACE: the fork came as another thread was ending it */
    else
        (void)tell_none(c, false); /* RACE: its gate had been opened, no more */
    registry_unlock();
}

void orphan_free_all(struct sflight_group *g)
{
    future_free_list(&g->alloc, g->orphan_futures);
    while (g->orphans != NULL) {
        struct sflight_call *c = g->orphans;
        g->orphans = c->outer;
        if (c->result.destroy != NULL)
            c->result.destroy(c->result.value, c->result.size, c->result.ctx);
        call_record_free(c);
    }
}
