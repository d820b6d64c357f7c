/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who leads and who waits: a thread, or, in a group with a runtime, a fiber of it
 * (what singleflight.h calls a task).
 *
 * A thread's caller is in its thread-local storage.  A fiber has one while it is
 * in the library, on its stack: the outermost frame that leads a call enters it
 * into a list, by which the frames further in find it.
 */
#ifndef SFLIGHT_AGENT_H
#define SFLIGHT_AGENT_H

#include "call.h"

/*
 * Who calls.  *own is used for a fiber that leads nothing yet, and then belongs
 * to this frame, which must end with agent_leave(): by a cleanup, as fn may
 * unwind the stack.  Calls options.runtime.self.
 */
struct agent *agent_enter(struct agent *own, struct sflight_group *g);
void agent_leave(struct agent *own);

#define AGENT_FRAME(name) struct agent name __attribute__((cleanup(agent_leave)))

/* Who calls, if it leads anything; otherwise NULL. */
struct agent *agent_leading(struct sflight_group *g);

/* The caller leads a call of the group, in this frame or in one further out. */
bool agent_leads_one_of(struct sflight_group *g);

/* Before it leads: its inner frames will find it. */
void agent_leads(struct agent *c);

/*
 * About to wait for a call while leading others: would the wait close a
 * circle?  If not, the wait is noted until agent_waited(), and true is
 * returned.  The caller has joined the call.
 */
bool agent_may_wait(struct agent *c, struct sflight_call *call);
void agent_waited(struct agent *c);

/* Its last call has closed: on return nobody looks at it any more. */
void agent_unseen(void);

/* The same if the thread has no slot of its own: it may end without thread_end(). */
void agent_unseen_without_slot(const struct slot *slot);

/*
 * In a forked child, by who puts a group right: the caller if it is a fiber and leads a
 * call of the group, or NULL.
 */
struct agent *agent_forking(struct sflight_group *g);

/* Fibers of the parent's, of that group's runtime, are gone from the bins, but for that one. */
void agent_after_fork(struct sflight_group *g, const struct agent *kept);

/* Nobody looks for a circle: before anybody else does in the child. */
void agent_none_looks(void);

#endif
