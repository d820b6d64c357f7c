/* SPDX-License-Identifier: BSD-2-Clause */
/* Leading calls: running fn, and ending the calls whatever becomes of it. */
#ifndef SFLIGHT_LEAD_H
#define SFLIGHT_LEAD_H

#include <stdarg.h>

#include "finish.h"
#include "unwanted.h"

/*
 * Runs fn for a call, or many for n calls, that this caller leads, and ends them; the
 * caller, which may be on another thread now, then has one hold on each, but for those
 * that fn has abandoned: then it is false, or the place in calls is NULL.  If fn is
 * left by an unwinding of the stack, the calls are abandoned on its way.
 */
bool lead_run(struct agent *agent, struct sflight_call *call, sflight_fn *fn, void *arg);
void lead_run_many(struct agent *agent, struct sflight_call **calls, size_t n,
                   sflight_many_fn *many, void *arg);

/* Runs fn for a started call, on whatever thread this is, and ends the call. */
void lead_run_started(struct sflight_call *call, sflight_fn *fn, void *arg);

/* The calls of an invocation end in a panic, with that message and a backtrace. */
_Noreturn void lead_panic(struct sflight_call *call, const char *fmt, va_list ap);

/* The leader has left fn without returning, for good. */
void lead_abandon(struct sflight_call *call);

/* Ends calls led further in, whose fn was left by longjmp(). */
void lead_exit_inner(struct agent *agent, struct sflight_call *call);

/* The leader's fn begins and has ended, for the list of what the caller leads. */
static ALWAYS_INLINE void lead_enter(struct agent *agent, struct sflight_call *c,
                                     struct invocation *invocation)
{
    REQUIRE_NO_SECTION();
    atomic_store_relaxed(&c->inside, (uintptr_t)invocation); /* the leader's own */
    c->outer = agent->leading;
    agent->leading = c;
}

static ALWAYS_INLINE void lead_exit(struct agent *agent, struct sflight_call *c)
{
    REQUIRE(agent->leading != NULL);
    if (UNLIKELY(agent->leading != c))
        lead_exit_inner(agent, c);
    agent->leading = c->outer;
}

/* Stands in the frame above sflight_invoke(); sees the stack being unwound through it. */
struct lead_guard {
    struct sflight_call *call; /* NULL: fn has returned */
};

static ALWAYS_INLINE void lead_guard_check(struct lead_guard *guard)
{
    if (UNLIKELY(guard->call != NULL))
        lead_abandon(guard->call);
}

/* The same for a call with traits. */
void lead_ran_with_traits(struct sflight_call *call, int status);

/* fn has returned, or panicked: the caller leads the call no more, which is not ended yet. */
static ALWAYS_INLINE void lead_ran(struct agent *agent, struct sflight_call *c, int status)
{
    lead_exit(agent, c);
    if (LIKELY(c->result.traits == 0))
        c->result.status = status;
    else
        lead_ran_with_traits(c, status);
    atomic_store_relaxed(&c->inside, 0); /* the leader's own */
}

/*
 * Ends a call so run; end_counted: COUNT_ENDED has been counted.  True: the caller has a
 * hold; false: fn has abandoned the call, and there is nothing for its leader.
 */
bool lead_end(struct slot *slot, struct sflight_call *call, bool end_counted);

/* Runs fn for a call that this caller leads, and does not end it. */
static ALWAYS_INLINE void lead_invoke(struct agent *agent, struct sflight_call *call,
                                      sflight_fn *fn, void *arg)
{
    struct invocation here;
    here.calls = NULL;

    lead_enter(agent, call, &here);
    struct lead_guard guard __attribute__((cleanup(lead_guard_check))) = {call};
    int status = invoke_one(fn, call, arg, &here);
    guard.call = NULL;
    lead_ran(agent, call, status);
}

#endif
