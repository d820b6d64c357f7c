/* SPDX-License-Identifier: BSD-2-Clause */
/* What each thread has: its slots, the calls it leads, the callbacks it is to run. */
#ifndef SFLIGHT_THREAD_H
#define SFLIGHT_THREAD_H

#include "group.h"

struct agent {
    struct sflight_call *leading;     /* innermost; the others by call->outer */
    struct batch *batches;            /* innermost; the others by batch->outer */
    struct sflight_call *waiting_for; /* under the lock in agent.c */

    /* of a fiber */
    void *fiber;                /* as its runtime calls it; NULL: a thread */
    sflight_runtime runtime;    /* a copy: the group may go first */
    bool listed;                /* in the list of its bin; its own */
    struct agent *next, **prev; /* there, under the bin's lock */
    uint64_t listed_in;         /* the process's salt, if it is listed */
};

enum { SLOT_CACHE = 16 }; /* groups a thread can use in turn without taking the registry lock */

struct thread {
    struct {
        uint64_t group; /* its key; 0 is nobody's */
        struct slot *slot;
    } cache[SLOT_CACHE];
    struct agent agent;
    struct slot *slots;               /* under the registry lock */
    struct sflight_future *callbacks; /* to be run by the outermost notify_all() */
    struct sflight_future **last_callback;
    bool in_callback;
    uint64_t number; /* never given twice; 0: it has not used the library */
    uint64_t salt;   /* of the process in which its slots are in order */
    unsigned hint;   /* for reclaim_enter() */
    bool ending;     /* its destructor has run */
};

extern _Thread_local struct thread thread_self __attribute__((visibility("hidden")));

struct slot *thread_slot_slow(struct sflight_group *g);

/* The calling thread's slot in the group; the common one if it can have none. */
static ALWAYS_INLINE struct slot *thread_slot(struct sflight_group *g)
{
    uint64_t key = group_key(g);
    unsigned i = (unsigned)key % SLOT_CACHE;
    if (LIKELY(thread_self.cache[i].group == key))
        return thread_self.cache[i].slot;
    return thread_slot_slow(g);
}

/*
 * The same after user code has run or a fiber has been parked: the thread may be
 * another one, and what the compiler knows of thread_self may be the old one's.
 */
struct slot *thread_slot_again(struct sflight_group *g);

/* The same where only a fiber can have come to another thread. */
static inline struct slot *thread_slot_if_moved(struct slot *slot)
{
    return UNLIKELY(group_hangs(slot->group)) ? thread_slot_again(slot->group) : slot;
}

/* The slot if it is at hand, otherwise NULL; makes nothing. */
static inline struct slot *thread_slot_cached(struct sflight_group *g)
{
    uint64_t key = group_key(g);
    unsigned i = (unsigned)key % SLOT_CACHE; /* the salt is above that */
    return thread_self.cache[i].group == key ? thread_self.cache[i].slot : NULL;
}

/* Once, before anything else: at_end is run by each thread that ends.  Returns 0 or -ENOMEM. */
int thread_init(void (*at_end)(void *thread));

/* Takes the slots of a group that is being destroyed from their threads; under the registry lock.
 */
void thread_forget_group(struct sflight_group *g);

#endif
