/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each thread has, in thread-local storage: its slots, itself as an agent, the callbacks
 * that it is to run.  And the way from a thread to its slot in a group.
 *
 * A thread finds its slot in a small cache, by the group's number; the rest of the way takes the
 * registry lock.  A slot belongs to a thread, and an agent that is a fiber may go on on
 * another thread whenever user code has run, which parking a fiber is.  So no slot, and nothing
 * else of thread_self, is used across such a point: it is found anew, by thread_slot_again().
 */
#ifndef SFLIGHT_THREAD_H
#define SFLIGHT_THREAD_H

#include "group.h"

/* An AGENT: a thread, or a fiber while it is in the library, that leads and waits (agent.h). */
struct agent {
    struct sflight_call *leading;     /* the innermost call it leads; the others by `outer` */
    struct batch *batches;            /* its innermost batch; the others by `outer` */
    struct sflight_call *waiting_for; /* under the mutex in agent.c; or NULL */

    /* of a fiber only */
    void *fiber;                /* as its runtime calls it; NULL: the agent is a thread */
    sflight_runtime runtime;    /* a copy, as the group may be destroyed first */
    bool listed;                /* it is in its bin's list; used by the agent itself */
    struct agent *next, **prev; /* in that list, under the bin's lock */
    bool forks;                 /* used during a fork: it is the fiber that called fork() */
};

enum { SLOT_CACHE = 16 }; /* groups a thread can use in turn without taking the registry lock */

struct thread {
    struct {
        uint64_t group; /* its number; 0: the entry is empty */
        struct slot *slot;
    } cache[SLOT_CACHE];
    struct agent agent;               /* this thread, where it is the agent */
    struct slot *slots;               /* under the registry lock */
    struct sflight_future *callbacks; /* to be run by the outermost notify_all(), oldest first */
    struct sflight_future **last_callback; /* where the next one is put */
    bool in_callback;                      /* one of them is running */
    unsigned hint;                         /* for reclaim_enter() */
    bool ending;                           /* the destructor of its thread-specific data has run */
};

extern _Thread_local struct thread thread_self __attribute__((visibility("hidden")));

/* The rare part of thread_slot(): finds a slot of the thread, takes over an idle one, makes one. */
struct slot *thread_slot_slow(struct sflight_group *g);

/*
 * The calling thread's slot in the group; the common one if the thread can have none.  Outside
 * of sections.  Good until user code runs.
 */
static ALWAYS_INLINE struct slot *thread_slot(struct sflight_group *g)
{
    unsigned i = (unsigned)g->number % SLOT_CACHE;
    if (LIKELY(thread_self.cache[i].group == g->number))
        return thread_self.cache[i].slot;
    return thread_slot_slow(g);
}

/*
 * The same after user code has run or a fiber has been parked.  The thread may be another one,
 * and this function is not inlined, because the compiler may keep the address of thread-local
 * data for as long as one function runs.
 */
struct slot *thread_slot_again(struct sflight_group *g);

/* The same where only a fiber can have come to another thread; slot: as it was before. */
static inline struct slot *thread_slot_if_moved(struct slot *slot)
{
    return UNLIKELY(group_hangs(slot->group)) ? thread_slot_again(slot->group) : slot;
}

/* The calling thread's slot if it is in the cache, otherwise NULL.  Takes no lock. */
static inline struct slot *thread_slot_cached(struct sflight_group *g)
{
    unsigned i = (unsigned)g->number % SLOT_CACHE;
    return thread_self.cache[i].group == g->number ? thread_self.cache[i].slot : NULL;
}

/*
 * Once in the process, before any other function of this room.  at_end(&thread_self) is run by
 * each thread that has used a slot of its own, when it ends.  Returns 0 or -ENOMEM.
 */
int thread_init(void (*at_end)(void *thread));

/* Takes the slots of a group that is being destroyed from their threads.  Under the registry lock.
 */
void thread_forget_group(struct sflight_group *g);

#endif
