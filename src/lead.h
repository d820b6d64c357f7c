/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leading calls: running fn, and ending the calls however fn is left.
 *
 * fn may be left in four ways:
 *   return            lead_ran() takes the status, lead_end() ends the call;
 *   sflight_panic()   lead_panic() sets the message and unwinds the stack up to sflight_invoke(),
 *                     and then as for a return, with ENDING_PANICKED;
 *   an exception, pthread_exit(), a cancellation
 *                     the stack is unwound through the frame that invoked fn, where a guard sees
 *                     it and abandons the call (lead_abandon()); where the latter two unwind
 *                     nothing, the thread's exit does that (agent_begins());
 *   longjmp()         past that frame, which nothing sees: the call is abandoned when the fn of
 *                     an outer call of the agent ends (lead_exit_among()), or when the thread
 *                     ends (thread_end()).
 *
 * The calls that an agent leads are linked from agent->leading by `outer`, the innermost first.  A
 * call is in that list while its fn runs.
 *
 * fn may come to another thread, if the agent is a fiber.  So no slot is kept across it.
 */
#ifndef SFLIGHT_LEAD_H
#define SFLIGHT_LEAD_H

#include <stdarg.h>

#include "finish.h"
#include "unwanted.h"

/*
 * Runs fn for a call, or many for n calls, that the agent leads, and ends them.  The agent, which
 * may be on another thread then, has one hold on each, but for those that fn has abandoned: then it
 * is false, or the place in calls is NULL.  Does not return if the stack is unwound by
 * anything but a panic: the calls are then abandoned.
 */
bool lead_run(struct agent *agent, struct sflight_call *call, sflight_fn *fn, void *arg);
void lead_run_many(struct agent *agent, struct sflight_call **calls, size_t n,
                   sflight_many_fn *many, void *arg);

/* Runs fn for a started call, by whatever agent calls, ends the call, and gives its hold up. */
void lead_run_started(struct sflight_call *call, sflight_fn *fn, void *arg);

/*
 * As sflight_panic(): for call, and for all calls of the same invocation, sets the message with a
 * backtrace as the value and unwinds the stack.  Or aborts, if no fn of the call is running, or if
 * the group's options say so.
 */
_Noreturn void lead_panic(struct sflight_call *call, const char *fmt, va_list ap);

/*
 * Abandons a call whose fn was left without returning, and those led further in.  By its leader, or
 * by the leader's thread as it ends.
 */
void lead_abandon(struct sflight_call *call);

/*
 * The same where it is not the call that the agent led last.  Ends those led further in whose
 * fn was left by longjmp(); others are run by coroutines on the same thread, and go on.
 */
void lead_exit_among(struct agent *agent, struct sflight_call *call);

/* Enters a call into the list of those that the agent leads: its fn is about to run. */
static ALWAYS_INLINE void lead_enter(struct agent *agent, struct sflight_call *c,
                                     struct invocation *invocation)
{
    REQUIRE_NO_SECTION();
    atomic_store_relaxed(&c->inside, (uintptr_t)invocation); /* the leader's own */
    if (agent->leading == NULL)
        agent_begins(agent);
    c->outer = agent->leading;
    agent->leading = c;
}

/* Takes a call, and all that are further in, out of that list: its fn has been left. */
static ALWAYS_INLINE void lead_exit(struct agent *agent, struct sflight_call *c)
{
    REQUIRE(agent->leading != NULL);
    if (UNLIKELY(agent->leading != c))
        lead_exit_among(agent, c);
    else
        agent->leading = c->outer;
    if (agent->leading == NULL)
        agent_ends(agent);
}

/* Stands in the frame that calls sflight_invoke(), and sees the stack being unwound through it. */
struct lead_guard {
    struct sflight_call *call; /* NULL: fn has returned, or panicked */
};

/* The cleanup of such a guard. */
static ALWAYS_INLINE void lead_guard_check(struct lead_guard *guard)
{
    if (UNLIKELY(guard->call != NULL))
        lead_abandon(guard->call);
}

/* The same for a call with traits. */
void lead_ran_with_traits(struct sflight_call *call, int status);

/*
 * fn has returned, or panicked: the caller leads the call no more, which is not ended yet.  Returns
 * the traits that fn has left it with.
 */
static ALWAYS_INLINE unsigned lead_ran(struct agent *agent, struct sflight_call *c, int status)
{
    lead_exit(agent, c);
    unsigned traits = c->result.traits;
    if (LIKELY(traits == 0))
        c->result.status = status;
    else
        lead_ran_with_traits(c, status);
    atomic_store_relaxed(&c->inside, 0); /* the leader's own */
    return traits;
}

/*
 * Ends a call so run; end_counted: COUNT_ENDED has been counted.  True: the caller has a
 * hold; false: fn has abandoned the call, and there is nothing for its leader.
 */
bool lead_end(struct slot *slot, struct sflight_call *call, bool end_counted);

/*
 * Runs fn for a call that the agent leads, and does not end the call.  Otherwise as lead_run().
 * Returns as lead_ran().
 */
static ALWAYS_INLINE unsigned lead_invoke(struct agent *agent, struct sflight_call *call,
                                          sflight_fn *fn, void *arg)
{
    struct invocation here;
    here.calls = NULL;

    lead_enter(agent, call, &here);
    struct lead_guard guard __attribute__((cleanup(lead_guard_check))) = {call};
    int status = invoke_one(fn, call, arg, &here);
    guard.call = NULL;
    return lead_ran(agent, call, status);
}

#endif
