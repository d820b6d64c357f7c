/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A group as data: the table of its calls, its options, and its slots; and the registry, the
 * list of all groups with its lock.
 *
 * A SLOT is one thread's share of one group: counters that only this thread writes, and call
 * records and futures that can be used without asking for memory.  thread.h finds a thread's
 * slot.  Slots live as long as the group; a slot whose thread has ended is handed to the next
 * thread that comes.
 *
 * The COMMON slot is part of the group.  Threads that can have no slot of their own use it,
 * several at a time.  It keeps no records and no futures, its counters are changed by
 * read-modify-writes, and whatever else belongs to one thread at a time is not used in it.
 */
#ifndef SFLIGHT_GROUP_H
#define SFLIGHT_GROUP_H

#include "../include/singleflight.h"
#include "alloc.h"
#include "gate.h"
#include "stats.h"
#include "table.h"

struct sflight_call;

enum { SLOT_SPARES = 32 }; /* spare records that a slot keeps */

struct slot {
    _Alignas(CACHE_LINE) struct sflight_call *prepared; /* the prepared record (do.h), or NULL */
    struct sflight_call *spare;                         /* spare records, linked by `outer` */
    unsigned n_spare;
    unsigned max_spare;                   /* 0 for the common slot */
    struct sflight_future *spare_futures; /* linked by `next` */
    unsigned n_spare_futures;
    uint32_t n_gone;  /* waiters given up since the last sweep, in whatever list */
    uint32_t n_swept; /* entries that sweep found: the next comes after as many given up */
    bool common;      /* this is the group's common slot */
    struct spinner spinner;
    struct sflight_group *group;
    struct slot *next_of_group;   /* in the list of all slots of the group */
    struct slot *next_of_thread;  /* in the list of the thread's slots, or of the idle ones */
    struct slot **prev_of_thread; /* the pointer to this slot there; NULL for an idle slot */
    struct counters counters;
};

#define GROUP_CLOSED 1u  /* in flags */
#define GROUP_FIBERS 2u  /* in flags: the group has a runtime whose fibers can be parked */
#define GROUP_DRAINER 4u /* in flags: one drainer; they are counted from this bit on */

struct sflight_group {
    /* read by every operation, written hardly ever */
    uint64_t number; /* unique in the process, never used twice, from 1 */
    _Atomic(uint32_t) flags;
    struct table table;
    uint64_t seed;
    uint32_t max_waiters;
    uint64_t max_age_ns;
    bool takeover;
    bool abort_on_panic;
    bool cancel_unwanted;
    uint16_t generation; /* one more in every forked child than in its parent */
    uint64_t spin_ns;

    /* written now and then */
    _Alignas(CACHE_LINE) struct alloc alloc;
    sflight_runtime runtime;      /* as given; all NULL: threads */
    _Atomic(uint32_t) n_threads;  /* that have a slot; written under the registry lock */
    _Atomic(uint32_t) drain_word; /* futex: changes when a call ends while somebody drains */
    _Atomic(struct sflight_future *) drain_waiters; /* fibers that drain */
    _Atomic(uint64_t) n_inherited; /* in a forked child: holds from before the fork, not released */
    struct thread *forked_by;      /* in a forked child: its first thread */
    struct sflight_call *orphans;  /* in a forked child: calls that nobody there will end */
    struct sflight_future *orphan_futures; /* futures on those that nobody has any more */
    struct slot common;
    /* under the registry lock, as are the links of slots */
    struct slot *slots;          /* all but the common one */
    struct slot *idle;           /* those whose thread has ended */
    struct sflight_group *next;  /* in the list of all groups */
    struct sflight_group **prev; /* the pointer to this group there */
};

/* False without a group, or without a key: NULL is one only with a length of 0. */
static ALWAYS_INLINE bool group_key_valid(const struct sflight_group *g, const void *key,
                                          size_t len)
{
    return g != NULL && (LIKELY(key != NULL) || len == 0);
}

/* True if the group has any of these flags.  GROUP_CLOSED may be set at any time. */
static inline bool group_has(struct sflight_group *g, uint32_t flags)
{
    return atomic_load_relaxed(&g->flags) & flags;
}

/*
 * True if whoever blocks for a call of this group hangs a waiter into the call's list, instead
 * of waiting at its gate (wait.h): the group has a runtime with park.
 */
static inline bool group_hangs(struct sflight_group *g)
{
    return atomic_load_relaxed(&g->flags) & GROUP_FIBERS; /* set before anybody has the group */
}

/*
 * The lock over all lists of groups, slots and queues.  Taken when a thread first uses a group
 * and when a thread ends; by stats, drain and fork; when a group or queue is made or destroyed;
 * in a forked child, when a call from before the fork is first used.  It is not recursive.
 */
void registry_lock(void);
void registry_unlock(void);

#ifdef SFLIGHT_CHECKED
extern _Thread_local bool registry_held; /* by the calling thread */
#define REQUIRE_REGISTRY() REQUIRE(registry_held)
#else
#define REQUIRE_REGISTRY() ((void)0)
#endif

/*
 * The list of all groups, under that lock.  registry_add() gives the group its number;
 * registry_first() returns NULL if there is none, the others follow by `next`.
 */
void registry_add(struct sflight_group *g);
void registry_remove(struct sflight_group *g);
struct sflight_group *registry_first(void);

#endif
