/* SPDX-License-Identifier: BSD-2-Clause */
/* See list.h. */
#include "list.h"

#ifndef SWEEP_AT_LEAST /* less in a build for tests */
enum { SWEEP_AT_LEAST = 64 };
#endif

static void list_let_go(struct sflight_call *c)
{
    atomic_sub_release(&c->gone, LIST_HELD); /* [SWEEP] */
}

/* By who has just set LIST_HELD.  False, and the list is let go: the call has ended. */
static bool list_held(struct sflight_call *c)
{
    atomic_fence_after_rmw(); /* [SWEEP] */
    if (LIKELY(!gate_is_open(&c->gate)))
        return true;
    list_let_go(c); /* RACE: it has just ended */
    return false;
}

static bool list_hold(struct sflight_call *c)
{
    uint32_t word = atomic_load_relaxed(&c->gone); /* the CAS decides */
    unsigned n_turns = 0;

    for (;;) { /* RACE: again, if the word has changed */
        if (word & LIST_HELD) {
            cpu_back_off(&n_turns);               /* RACE: a few steps, if that thread is running */
            word = atomic_load_relaxed(&c->gone); /* as above */
        } else if (atomic_cas_acquire(&c->gone, &word, word | LIST_HELD)) { /* [SWEEP] */
            return list_held(c);
        }
    }
}

/*
 * Takes f, which stands behind prev, or first (NULL), out of a list that is held.  Returns what
 * stands in front of it now.  A forked child finds the list whole at any moment.
 */
static struct sflight_future *list_remove(_Atomic(struct sflight_future *) *list,
                                          struct sflight_future *prev, struct sflight_future *f)
{
    if (prev == NULL) {
        prev = f;
        if (atomic_cas_acquire(list, &prev, f->next)) /* [HANG] */
            return NULL;
        while (prev->next != f) /* RACE: newer ones have come in front */
            prev = prev->next;
    }
    prev->next = f->next;
    atomic_fence_compiler(); /* for a child that another thread forks */
    return prev;
}

struct sflight_future *list_take_waiter(struct sflight_call *c)
{
    struct sflight_future *prev = NULL;

    if (!list_hold(c))
        return NULL; /* RACE: somebody else has ended it meanwhile */
    struct sflight_future *f = atomic_load_acquire(&c->waiters); /* [HANG] */
    while (f != NULL && future_kind(f) != FUTURE_WAITER) {
        prev = f;
        f = f->next;
    }
    if (f != NULL)
        (void)list_remove(&c->waiters, prev, f);
    list_let_go(c);
    return f;
}

/*
 * A sweep looks at each entry of the list.  It is due when as many have been given up as are left:
 * so giving one up costs O(1), and the list is never more than twice as long as it must be.
 */
static bool sweep_is_due(struct sflight_call *c, uint32_t n_gone)
{
    if (n_gone < SWEEP_AT_LEAST)
        return false;
    if (SWEEP_AT_LEAST == 1)
        return true;                                 /* in a build for tests */
    uint64_t state = atomic_load_relaxed(&c->state); /* a hint */
    if (n_gone < state_joiners(state))
        return false;
    return state_joints(state) == 0 ||
           (n_gone % SWEEP_AT_LEAST == 0 && /* not each time, as it looks at all joints */
            n_gone >= state_joiners(state) + joint_more(call_joints(c)));
}

/* Given up, and not being taken back any more. */
static bool is_gone(struct sflight_future *f)
{
    if (future_has_state(f))
        return atomic_load_acquire(&f->owned.state) == FUTURE_GONE;           /* [TELL] */
    return (atomic_load_acquire(&f->word) & FUTURE_BACK) == FUTURE_BACK_GONE; /* [TAKE-BACK] */
}

/* Takes those out of a list that is held that were given up, and puts them in front of others. */
static struct sflight_future *take_gone(_Atomic(struct sflight_future *) *list,
                                        struct sflight_future *gone)
{
    struct sflight_future *prev = NULL, *next;

    for (struct sflight_future *f = atomic_load_acquire(list); f != NULL; f = next) { /* [HANG] */
        next = f->next;
        if (!is_gone(f)) {
            prev = f;
            continue;
        }
        prev = list_remove(list, prev, f);
        f->next = gone;
        gone = f;
    }
    return gone;
}

void list_sweep(struct slot *slot, struct sflight_call *c)
{
    uint32_t word = atomic_add_relaxed(&c->gone, LIST_GONE) + LIST_GONE; /* a count */
    struct sflight_future *gone = NULL;

    if ((word & LIST_HELD) || !sweep_is_due(c, word / LIST_GONE))
        return;
    /* The count begins anew. */
    while (!atomic_cas_acquire(&c->gone, &word, LIST_HELD)) /* [SWEEP] */
        if (word & LIST_HELD) /* RACE: others give up at the same time, and one of them sweeps */
            return;
    if (!list_held(c))
        return; /* RACE: the call has just ended */
    gone = take_gone(&c->waiters, gone);
    for (struct joint *j = joint_first(call_joints(c)); j != NULL; j = j->next)
        gone = take_gone(&j->waiters, gone);
    list_let_go(c);
    while (gone != NULL) {
        struct sflight_future *f = gone;
        gone = f->next;
        future_free(slot, f);
    }
}
