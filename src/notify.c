/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every step of the states of future.h stands here.  Whoever takes a list or an entry is its
 * teller; the other end of each step is the owner's, marked [TELL] as well.
 */
#include "notify.h"

#include "cpu.h"
#include "event_fd.h"
#include "futex.h"

#include <errno.h>

bool notify_owner_goes(struct sflight_future *f)
{
    int fd = f->owned.fd;
    uint32_t state = atomic_swap_acq_rel(&f->owned.state, FUTURE_GONE); /* [TELL] */

    if (state == FUTURE_TELLING)
        return false; /* RACE: the teller closes the descriptor and frees the future */
    if (fd >= 0)
        event_fd_close(fd);
    return state == FUTURE_TOLD; /* otherwise it stays in the list, and the teller frees it */
}

int notify_take(struct slot *slot, struct sflight_future *f, sflight_result *r)
{
    struct sflight_call *c = future_call(f);
    bool starter = future_starter(f);

    notify_end(slot, f);
    hold_take(slot, c, 1);
    return hold_deliver(slot, c, future_leads(c, starter), r);
}

/* ------------------------------------------------------------------- telling */

/*
 * Wakes the owner of an entry, which has the state that is given.  A fiber is made to run, and
 * so must still be there.  A thread may have gone on, and freed the entry: only the address of its
 * state is used.
 */
static void wake_owner(struct sflight_group *g, struct sflight_future *f, uint32_t state)
{
    if (state & FUTURE_FIBER)
        g->runtime.unpark(g->runtime.ctx, f->owned.fiber);
    else
        futex_wake((uint32_t *)(void *)&f->owned.state, 1);
}

/* Tells an OWNED future: wakes an owner that is in async_get(), makes its descriptor readable. */
static void tell_owner(struct sflight_group *g, struct sflight_future *f)
{
    uint32_t state = atomic_load_acquire(&f->owned.state); /* [TELL] */

    while (state != FUTURE_GONE) {
        uint32_t hung = state;
        if (!atomic_cas_acq_rel(&f->owned.state, &state, FUTURE_TELLING)) /* [TELL] */
            continue; /* RACE: its owner has changed it */
        if (hung & FUTURE_FD)
            event_fd_set(f->owned.fd);
        if (hung & FUTURE_FIBER)
            wake_owner(g, f, hung); /* the fiber does not go on before TOLD */
        state = FUTURE_TELLING;
        if (atomic_cas_acq_rel(&f->owned.state, &state, FUTURE_TOLD)) { /* [TELL] */
            if (!(hung & FUTURE_FIBER))
                wake_owner(g, f, hung); /* an address: the future may have gone */
            return;
        }
        if (f->owned.fd >= 0)            /* RACE: its owner has gone meanwhile */
            event_fd_close(f->owned.fd); /* RACE: dropped while it is told */
    }
    future_free(thread_slot(g), f); /* its owner has gone */
}

/*
 * Tells a waiter: what is FUTURE_TOLD or FUTURE_NUDGED.  Returns false if its agent has given the
 * waiter up; it is then freed.
 */
static bool tell_waiter(struct sflight_group *g, struct sflight_future *f, uint32_t what)
{
    uint32_t state = atomic_load_acquire(&f->owned.state); /* [TELL] */

    if (state == FUTURE_GONE ||
        !atomic_cas_acquire(&f->owned.state, &state, FUTURE_TELLING)) { /* [TELL] */
        future_free(thread_slot(g), f);
        return false;
    }
    if (state & FUTURE_FIBER)
        wake_owner(g, f, state);
    atomic_store_release(&f->owned.state, what); /* [TELL] */
    if (!(state & FUTURE_FIBER))
        wake_owner(g, f, state);
    return true;
}

/*
 * Pushes a future for a queue, and with it those behind it that go there and need no closer look;
 * returns the one behind those.
 */
static struct sflight_future *push_together(struct sflight_future *newest)
{
    struct sflight_queue *q = newest->queued.to;
    struct sflight_future *oldest = newest, *f = newest->next;

    while (f != NULL && (future_word(f) & (FUTURE_KIND | FUTURE_BACK)) == FUTURE_QUEUED &&
           f->queued.to == q) {
        struct sflight_future *next = f->next;
        f->next = oldest;
        oldest = f;
        f = next;
    }
    queue_push(q, oldest, newest);
    return f;
}

/* Callbacks that are to be run, in that order. */
struct callbacks {
    struct sflight_future *first, **end;
};

/*
 * The order in which those who wait for a call are told, which this and notify_ended() decide.
 *
 *   1. Before it is called, whoever ends the call has opened the gate, and has told the drainers
 *      (finish_closed()).  Threads parked at the gate are woken in a chain, in the kernel's
 *      order (gate.h).
 *   2. Then the entries of the call's list, and those of each joint's, each list in its order,
 *      which is newest first:
 *        an owner     has its descriptor made readable and is woken;
 *        a waiter     is made to run, or woken;
 *        queued ones  that stand together and go to one queue are pushed together, turned round:
 *                     its consumer gets the oldest of them first.  Of two such chains of a list
 *                     for one queue the newer is pushed, and drained, first.
 *   3. Last the callbacks, of each list oldest first.  They are user code, and may take long.
 */
static void tell(struct sflight_group *g, struct sflight_future *list, struct callbacks *callbacks)
{
    struct sflight_future *first = NULL, **end = NULL;

    while (list != NULL) {
        struct sflight_future *f = list;
        list = f->next;
        switch (future_kind(f)) {
        case FUTURE_QUEUED:
            if (retract_pass(g, f))
                list = push_together(f);
            break;
        case FUTURE_THEN:
            if (!retract_pass(g, f))
                break;
            f->next = first; /* turns the order round: what came first goes first */
            end = first == NULL ? &f->next : end;
            first = f;
            break;
        case FUTURE_WAITER:
            (void)tell_waiter(g, f, FUTURE_TOLD);
            break;
        default:
            tell_owner(g, f);
        }
    }
    if (first != NULL) {
        *callbacks->end = first;
        callbacks->end = end;
    }
}

void notify_all(struct sflight_group *g, struct sflight_future *list)
{
    REQUIRE_NO_SECTION();
    struct callbacks callbacks = {NULL, &callbacks.first};

    tell(g, list, &callbacks);
    callback_run_list(callbacks.first);
}

void notify_ended(struct sflight_call *c)
{
    REQUIRE_NO_SECTION();
    struct callbacks callbacks = {NULL, &callbacks.first};

    tell(c->group, atomic_swap_acq_rel(&c->waiters, WAITERS_TOLD), &callbacks); /* [NOTIFY] */
    for (struct joint *j = joint_first(call_joints(c)); UNLIKELY(j != NULL); j = j->next)
        tell(c->group, atomic_swap_acq_rel(&j->waiters, WAITERS_TOLD), &callbacks); /* [NOTIFY] */
    callback_run_list(callbacks.first);
}

NOINLINE void notify_late(struct sflight_future *f)
{
    f->next = NULL;
    notify_all(future_call(f)->group, f);
}

/* ------------------------------------------------------------------- waiters */

struct sflight_future *notify_waiter_new(struct slot *slot, struct sflight_call *call, void *fiber)
{
    struct sflight_future *f = future_new(slot, call, false);
    if (f != NULL) {
        (void)future_set_kind(f, FUTURE_WAITER);
        f->owned.fiber = fiber;
        atomic_store_relaxed(&f->owned.state, FUTURE_IDLE); /* published by [HANG] */
    }
    return f;
}

bool notify_waiter_hang(_Atomic(struct sflight_future *) *list, struct sflight_future *f)
{
    /* Published by [HANG]. */
    atomic_store_relaxed(&f->owned.state,
                         f->owned.fiber != NULL ? FUTURE_HUNG | FUTURE_FIBER : FUTURE_HUNG);
    if (list_push(list, f))
        return true;
    /* RACE: all have been told on the way here. */
    atomic_store_relaxed(&f->owned.state, FUTURE_IDLE); /* nobody else has seen it */
    return false;
}

enum notify_outcome notify_park(struct sflight_group *g, struct sflight_future *f,
                                const struct timespec *deadline, uint32_t leaves)
{
    REQUIRE(future_has_state(f) && require_word(&f->owned.state) != FUTURE_IDLE);
    void *fiber = f->owned.fiber;
    bool expired = clock_left_ns(deadline) == 0;
    unsigned n_turns = 0;

    for (;;) {
        uint32_t state = atomic_load_acquire(&f->owned.state); /* [TELL] */
        if (state == FUTURE_TOLD)
            return NOTIFY_TOLD;
        if (state == FUTURE_NUDGED)
            return NOTIFY_NUDGED;
        bool hung = (state & FUTURE_STATE_MASK) == FUTURE_HUNG;
        /* A fiber does not leave while it is being told: the teller is about to make it run. */
        if (expired && (hung || (leaves == FUTURE_HUNG && fiber == NULL))) {
            uint32_t left = leaves == FUTURE_GONE ? FUTURE_GONE : state & ~(uint32_t)FUTURE_FIBER;
            if (left == state || atomic_cas_release(&f->owned.state, &state, left)) /* [TELL] */
                return NOTIFY_TIMED_OUT;
        } else if (fiber == NULL) {
            /* A waiter is not given up while it is being told: no deadline, TOLD is near. */
            expired = futex_wait((uint32_t *)(void *)&f->owned.state, state,
                                 hung || leaves == FUTURE_HUNG ? deadline : NULL) == -ETIMEDOUT;
        } else if (!hung) {
            /* RACE: it is being told: a few steps, if that thread is running */
            cpu_back_off(&n_turns);
        } else if (!(state & FUTURE_FIBER)) {
            (void)atomic_cas_release(&f->owned.state, &state, state | FUTURE_FIBER); /* [TELL] */
        } else {
            g->runtime.park(g->runtime.ctx, fiber, deadline);
            expired = clock_left_ns(deadline) == 0;
        }
    }
}

void notify_waiter_end(struct sflight_group *g, struct sflight_future *f)
{
    static const struct timespec past;

    if (notify_park(g, f, &past, FUTURE_GONE) != NOTIFY_TIMED_OUT)
        future_free(thread_slot_again(g), f);
}

/* -------------------------------------------------------------------- nudges */

static void nudge_hung(struct sflight_call *c)
{
    struct sflight_future *f;

    /*
     * Either this thread sees the waiter that an agent has hung up, or the agent sees, before it
     * parks, that the call is an orphan [NUDGE].
     */
    do {
        atomic_fence_seq_cst(); /* [NUDGE] */
        f = list_take_waiter(c);
    } while (f != NULL && !tell_waiter(c->group, f, FUTURE_NUDGED));
}

void notify_nudge(struct sflight_call *c)
{
    if (group_hangs(c->group))
        nudge_hung(c);
    else
        gate_nudge(&c->gate);
}

/* -------------------------------------------------------------------- owners */

void notify_set_fd(struct sflight_future *f, int fd)
{
    REQUIRE(future_kind(f) == FUTURE_OWNED);
    f->owned.fd = fd;
    uint32_t state = FUTURE_HUNG;
    if (!atomic_cas_acq_rel(&f->owned.state, &state, FUTURE_HUNG | FUTURE_FD)) /* [TELL] */
        event_fd_set(fd); /* it has been, or is being, told without one */
}

bool notify_after_fork(struct sflight_future *f)
{
    if (atomic_load_relaxed(&f->owned.state) == FUTURE_GONE)
        return false;
    atomic_store_relaxed(&f->owned.state, FUTURE_TOLD); /* its owner waits in orphan_settle() */
    return true;
}
