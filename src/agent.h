/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who leads and who waits: an agent.  And circles of waits, which are refused.
 *
 * A thread's agent is in its struct thread.  A fiber has one while it is
 * in the library, on its stack: the outermost frame that leads a call enters it
 * into a list, by which the frames further in find it.  A bare thread (thread.h) has one
 * in the same way, and stays bare while its frame stands.
 */
#ifndef SFLIGHT_AGENT_H
#define SFLIGHT_AGENT_H

#include "call.h"
#include "lock.h"

extern struct lock agent_waits; /* under which agents set their `waiting_for`, and look */

/* The calling fiber, as the group's runtime calls it; or NULL: a plain thread. */
static inline void *agent_fiber(const struct sflight_group *g)
{
    return g->runtime.self != NULL ? g->runtime.self(g->runtime.ctx) : NULL;
}

/*
 * Returns the agent that calls: the thread's; or the fiber's, which stands in a frame further
 * out, or, if the fiber leads nothing yet, is *own.  *own belongs to the calling function's frame,
 * which must end with agent_leave(own): AGENT_FRAME declares it with a cleanup that does so,
 * because fn may unwind the stack.  Calls options.runtime.self.
 */
struct agent *agent_enter(struct agent *own, struct sflight_group *g);
void agent_leave(struct agent *own);

#define AGENT_FRAME(name) struct agent name __attribute__((cleanup(agent_leave)))

/* The agent that calls, if it leads a call of any group; otherwise NULL. */
struct agent *agent_leading(struct sflight_group *g);

/* True if the agent that calls leads a call of this group, in whatever frame. */
bool agent_leads_one_of(struct sflight_group *g);

/* Stands in the frame that runs a started call. */
struct running {
    struct agent *agent;
    struct sflight_group *group;
    struct running *outer;
    uint64_t salt; /* of the process that it was begun in */
};

/* From here on, until agent_ran() at the end of the frame, it runs a started call. */
void agent_runs(struct running *here, struct agent *agent, struct sflight_group *g);
void agent_ran(struct running *here);

/* How many started calls of the group the caller runs. */
uint32_t agent_n_running_here(struct sflight_group *g);

/* Before it leads, or has a batch: its inner frames will find it, and a child that they fork. */
void agent_leads(struct agent *c);

/*
 * Where the exit of a thread unwinds nothing: left(agent) is to be run by the exit of a thread that
 * leads.  Once, before anything else.
 */
#if EXIT_UNWINDS
#define agent_left_by(left) ((void)0)
#else
void agent_left_by(void (*left)(void *agent));
#endif

/*
 * It begins to lead, or leads nothing any more.  A fiber's thread is not told: that would have to
 * be in the order of pthread_cleanup_push(), in which fibers do not lead.
 */
#if EXIT_UNWINDS
#define agent_begins(agent) ((void)0)
#define agent_ends(agent) ((void)0)
#else
void agent_begins(struct agent *agent);
void agent_ends(struct agent *agent);
#endif

/*
 * To be called when the agent that calls is about to wait for a call, while it leads others.  It
 * has joined the call, or has a future on it.  Returns -EDEADLK if the wait would close a circle;
 * -ETIMEDOUT if the deadline passes before that is known.  Otherwise notes the wait, until
 * agent_waited(), while it keeps the call, and returns 0.
 */
int agent_may_wait(struct agent *c, struct sflight_call *call, const struct timespec *deadline);
void agent_waited(struct agent *c);

/*
 * Before an agent goes, after the last call that it led has closed: when this returns, no other
 * agent looks at it any more.
 */
void agent_unseen(void);

/*
 * In a forked child, by the thread that forked, before anything else: its agent; NULL if it is
 * bare and leads nothing.
 */
struct agent *agent_fork(void);

/* How many started calls of the group that agent ran at the fork, and that fiber, or NULL. */
uint32_t agent_n_running_after_fork(const struct sflight_group *g, const struct agent *fiber);

/*
 * In a forked child, by who puts a group right: the caller if it is a fiber and leads a
 * call of the group, or NULL.
 */
struct agent *agent_forking(struct sflight_group *g);

/*
 * Agents of the parent's, fibers of that runtime or, with NULL, bare threads, are gone from the
 * bins, but for that one.
 */
void agent_after_fork(const sflight_runtime *runtime, const struct agent *kept);

/* Nobody looks for a circle: before anybody else does in the child. */
void agent_none_looks(void);

#endif
