/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A group as data: the table of its calls, its options, and its slots; and the registry, the
 * list of all groups with its lock.
 *
 * A SLOT is one thread's share of one group: counters that only this thread
 * writes, and a few call records ready for use.  A thread finds its slot
 * through a table of its own (thread.h), by the group's number, which is never
 * used twice.  Slots live as long as the group; one whose thread
 * has ended is handed to the next thread that comes.
 */
#ifndef SFLIGHT_GROUP_H
#define SFLIGHT_GROUP_H

#include "../include/singleflight.h"
#include "alloc.h"
#include "gate.h"
#include "lock.h"
#include "process.h"
#include "reclaim.h"
#include "stats.h"
#include "table.h"

struct sflight_call;

enum { SLOT_SPARES = 31 }; /* spare records that a slot keeps beside the one at hand */

struct slot {
    _Alignas(CACHE_LINE) struct sflight_call *prepared; /* the prepared record (do.h), or NULL */
    struct sflight_call *at_hand;         /* the spare record that is taken first, or NULL */
    struct sflight_call *spare;           /* the other spare ones, linked by node.spare */
    unsigned n_spare;                     /* of these */
    unsigned max_spare;                   /* 0 for the common slot */
    struct reclaim_limbo limbo;           /* records that wait for a grace period */
    struct sflight_future *spare_futures; /* linked by `next` */
    unsigned n_spare_futures;
    bool common; /* this is the group's common slot */
    struct spinner spinner;
    struct sflight_group *group;
    struct sflight_call *remembered; /* a call that its thread joins again and again; or NULL */
    const void *joined;              /* which one it has joined last; only an address */
    struct joint *joint;             /* of the remembered call; NULL: none is used (remember.h) */
    uint64_t joined_state;        /* of the remembered call, as this thread's last join left it */
    unsigned n_met;               /* its joins that have found more joiners there */
    uint64_t owner;               /* number of the thread that has it; 0: none */
    struct slot *next_of_group;   /* all slots of the group: set once */
    struct slot *next_of_thread;  /* all slots of the thread; or the group's idle ones */
    struct slot **prev_of_thread; /* what points here; NULL for an idle one */
    int64_t loose; /* of its results: of threads that have had it before, so anybody's */
    struct counters counters;
    struct durations *durations; /* NULL: the group does not ask for them; set once */
};

#define GROUP_CLOSED 1u  /* in flags */
#define GROUP_FIBERS 2u  /* in flags: the group has a runtime whose fibers can be parked */
#define GROUP_AWAITED 1u /* in n_runners: somebody may sleep until they are fewer */
#define GROUP_RUNNER 2u
#define GROUP_AGES 4u     /* in flags: max_age_ns is set, by an option of that name or durations */
#define GROUP_LIMITED 8u  /* in flags: max_waiters is set, or max_age_ns by its option */
#define GROUP_TIMED 16u   /* in flags: durations is set */
#define GROUP_DRAINER 32u /* in flags: one drainer; they are counted from this bit on */

struct sflight_group {
    /* read by every operation, written hardly ever */
    uint64_t number; /* unique in the process, not 0; any bits of it are spread */
    _Atomic(uint32_t) flags;
    struct table table;
    uint64_t seed;
    uint32_t max_waiters;
    uint64_t max_age_ns; /* 0: calls have no time; UINT64_MAX: they have, and none is too old */
    bool takeover;
    bool abort_on_panic;
    bool cancel_unwanted;
    _Atomic(uint64_t) salt; /* of the process that it was made in, or put right in */
    uint64_t spin_ns;

    /* written now and then */
    _Alignas(CACHE_LINE) struct alloc alloc;
    sflight_runtime runtime;      /* as given; all NULL: threads */
    _Atomic(uint32_t) n_threads;  /* that have a slot; written under the registry lock */
    _Atomic(uint32_t) drain_word; /* futex: changes when a call ends while somebody drains */
    _Atomic(struct sflight_future *) drain_waiters; /* fibers that drain */
    /* futex: threads and tasks that run started calls, in steps of GROUP_RUNNER, and a bit */
    _Atomic(uint32_t) n_runners;
    _Atomic(struct sflight_call *) retired; /* left to any slot's limbo */
    struct lock limbo_lock;                 /* of the common slot's */
    _Atomic(uint64_t) n_inherited;         /* of what is held, in a forked child: from the parent */
    struct sflight_call *orphans;          /* in a forked child: calls that nobody there will end */
    struct sflight_future *orphan_futures; /* futures on those that nobody has any more */
    _Alignas(CACHE_LINE) struct rivals rivals;
    struct slot common;
    _Atomic(struct slot *) slots; /* all: new ones come in front, and none goes */
    /* under the registry lock, as are the other links of slots */
    struct slot *idle;           /* of threads that have ended */
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

/* Behind a slot, or a group with its common one, stand its durations, if it is to have any. */
static inline size_t group_durations_bytes(bool timed)
{
    return timed ? sizeof(struct durations) : 0;
}

/* Of a slot. */
static inline size_t group_slot_bytes(struct sflight_group *g)
{
    return sizeof(struct slot) + group_durations_bytes(group_has(g, GROUP_TIMED));
}

/* Is the slot that thread's, by its number?  SLOT_OF_ANYBODY: any thread's. */
#define SLOT_OF_ANYBODY UINT64_MAX
static inline bool slot_is_of(const struct slot *slot, uint64_t thread)
{
    return slot->owner != 0 && (slot->owner == thread || thread == SLOT_OF_ANYBODY);
}

/* Under the registry lock: the slot has no thread any more, and is for the next that comes. */
static inline void slot_to_idle(struct slot *slot)
{
    slot->owner = 0;
    slot->prev_of_thread = NULL;
    slot->next_of_thread = slot->group->idle;
    slot->group->idle = slot;
}

/*
 * The lock over all lists of groups and slots.  Taken when a thread first uses a group, when
 * threads end, by create and destroy, and when a group is put right in a forked child; never by an
 * operation on a key besides, and by those not for long.  Who adds up over a group's slots does
 * without it.  A fork leaves it free, with a change half made perhaps: putting a group right makes
 * its lists anew, and a thread does so with its own.
 */
void registry_lock(void);
void registry_unlock(void);
/* The same by an operation on a key; false: who has it does not go on, after some 200 us. */
bool registry_lock_soon(void);
bool registry_try_lock(void); /* false: somebody has it */

#ifdef SFLIGHT_CHECKED
extern _Thread_local bool registry_held; /* by the calling thread */
#define REQUIRE_REGISTRY() REQUIRE(registry_held)
#else
#define REQUIRE_REGISTRY() ((void)0)
#endif

/* Gives a new group its number and puts it into the list of all; and takes it out, under the lock.
 */
void group_init(struct sflight_group *g);
void group_fini(struct sflight_group *g);

/* By what a thread finds its slot: in a forked child it is another. */
static ALWAYS_INLINE uint64_t group_key(const struct sflight_group *g)
{
    return g->number + process_salt();
}

/*
 * The same of a group that is not right yet: what no salt makes, also not that of a child which
 * nobody has noticed.
 */
static inline uint64_t group_key_inherited(const struct sflight_group *g)
{
    return g->number + PROCESS_SALT_NONE;
}

/*
 * Once: what is done in a forked child, under the registry lock: for the process, at the
 * first use of any group, and before that for the group itself, at its own.
 */
void group_put_right_by(void (*process)(void), void (*group)(struct sflight_group *g));

void group_put_right(struct sflight_group *g);

/* All, where somebody may have to do with any. */
void group_put_all_right(void);

/*
 * Before anything of a group is looked at: in a forked child its first use puts it right.
 * Who has found its slot by the group's key has come this way.
 */
static inline void group_enter(struct sflight_group *g)
{
    if (UNLIKELY(atomic_load_acquire(&g->salt) != process_salt())) /* [PROCESS] */
        group_put_right(g);
}

#endif
