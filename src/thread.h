/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each thread has: its slots, and the calls it leads.
 *
 * In thread-local storage there are two words, as that space is scarce for a library that
 * is loaded late.  One points to a struct thread, made by the first use of a group and
 * freed when the thread ends.  A thread that has none is BARE: there was no memory, or it
 * is ending.  It uses the common slots of its groups, and leads as a fiber does (agent.h).
 */
#ifndef SFLIGHT_THREAD_H
#define SFLIGHT_THREAD_H

#include "group.h"
#include "invoke.h"

/* An AGENT: a thread, or a fiber while it is in the library, that leads and waits (agent.h). */
struct agent {
    struct sflight_call *leading;               /* innermost; the others by call->outer */
    struct batch *batches;                      /* innermost; the others by batch->outer */
    _Atomic(struct sflight_call *) waiting_for; /* set under the lock in agent.c */
    struct running *running; /* started calls that it runs: innermost; the others by outer */
#if !EXIT_UNWINDS
    struct invoke_exit exit; /* of a thread: registered while it leads */
#endif

    /* of a fiber, or of a bare thread */
    void *fiber;                /* as its runtime calls it; NULL: a thread */
    const void *name;           /* what it is found by: the fiber, or the bare thread's words */
    sflight_runtime runtime;    /* a copy: the group may go first; all NULL of a thread */
    struct thread *was_bare;    /* of a bare thread: what it had before */
    bool listed;                /* in the list of its bin; its own */
    struct agent *next, **prev; /* there, under the bin's lock */
    uint64_t listed_in;         /* the process's salt, if it is listed */
};

/*
 * Where a thread finds its slot: by the group's key, in a table with open addressing.  In a forked
 * child a slot from before stands there by group_key_inherited(), which only thread_slot_slow()
 * looks for, until the thread uses the group.
 */
struct slot_place {
    uint64_t group; /* 0: free.  A group that is no more is never looked for. */
    struct slot *slot;
};

enum { THREAD_PLACES = 16 }; /* in the struct itself; a power of two */

struct thread {
    struct agent agent; /* first: has the same address */
    struct slot_place *places;
    uint64_t mask;      /* of a key: where in `places` to begin, in bytes; below the salt */
    struct slot *slots; /* under the registry lock */
    size_t n_places, n_used;
    uint64_t number;             /* never given twice; 0: nobody's */
    uint64_t salt;               /* of the process for which `places` is right */
    uint64_t listed_in;          /* the process in whose list it is; 0: in none yet */
    unsigned hint;               /* spreads threads over what is striped */
    struct lane *lane;           /* for reclaim_enter() */
    bool bare;                   /* nobody's: read only */
    bool ending;                 /* of a bare one: none is to be made any more */
    struct thread *next, **prev; /* in the list of all of a process, under the registry lock */
    bool last;                   /* there: next is a parent's */
    struct slot_place first[THREAD_PLACES];
};

/*
 * What a thread is in the middle of: user code that it runs for others.  In the frames of the
 * functions that run it.
 */
struct thread_frame {
    struct thread_frame *outer;
    struct sflight_future *first,
        **last;       /* callbacks still to be run; last: NULL if it runs none */
    int cancel_state; /* the thread's, before */
    const struct sflight_call
        *telling; /* whose sflight_call_on_unwanted() callback runs; or NULL */
};

struct words {
    struct thread *self;         /* never NULL */
    struct thread_frame *frames; /* the innermost; or NULL */
};

/* What a bare thread has: of one that can still get its own, and of one that cannot. */
extern struct thread thread_nobody __attribute__((visibility("hidden")));
extern struct thread thread_ended __attribute__((visibility("hidden")));

#ifndef thread_words /* a build for tests may have them elsewhere */
extern _Thread_local struct words thread_words __attribute__((visibility("hidden")));
#define THREAD_WORDS_INITIAL = {.self = &thread_nobody}
#endif
#define thread_self (*thread_words.self)

/* The outermost notify_all()'s that runs callbacks on this thread; or NULL. */
static inline struct thread_frame *thread_callbacks(void)
{
    struct thread_frame *frame = thread_words.frames;
    while (frame != NULL && frame->last == NULL)
        frame = frame->outer;
    return frame;
}

/* Who this is while it is bare: an address, which is no thread's number. */
static inline uint64_t thread_bare_identity(void)
{
    return (uintptr_t)&thread_words | 1;
}

/*
 * Who this is, for who gets a permit: a number that no other thread has, ever; but of a bare
 * thread, which can keep none, an address.
 */
static inline uint64_t thread_identity(void)
{
    return UNLIKELY(thread_self.bare) ? thread_bare_identity() : thread_self.number;
}

/*
 * Makes the calling thread's struct, if it has none and can have one; false: it is bare.  After
 * group_enter(), because it gets a lane.
 */
bool thread_make(void);

/* The calling thread's slot by the group's key, wherever its place is; or NULL.  Makes nothing. */
struct slot *thread_slot_search(uint64_t key);

/* The one slow way: finds the slot or makes it. */
struct slot *thread_slot_slow(struct sflight_group *g);

/* The first place to look for a group at, by its key. */
static ALWAYS_INLINE const struct slot_place *thread_place(uint64_t key)
{
    const struct thread *t = &thread_self;
    return (const void *)((const char *)t->places + (key & t->mask));
}

/* The slot if it stands at the first place to look at, otherwise NULL. */
static ALWAYS_INLINE struct slot *thread_slot_near(const struct sflight_group *g)
{
    uint64_t key = group_key(g);
    const struct slot_place *place = thread_place(key);
    if (UNLIKELY(place->group != key))
        return NULL;
    struct slot *slot = place->slot;
    ASSUME(slot != NULL);
    return slot;
}

/* The calling thread's slot in the group; the common one if it can have none. */
static ALWAYS_INLINE struct slot *thread_slot(struct sflight_group *g)
{
    struct slot *slot = thread_slot_near(g);
    return LIKELY(slot != NULL) ? slot : thread_slot_slow(g);
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

/* The slot if the thread has one already, otherwise NULL; makes nothing. */
static ALWAYS_INLINE struct slot *thread_slot_cached(const struct sflight_group *g)
{
    struct slot *slot = thread_slot_near(g);
    return LIKELY(slot != NULL) ? slot : thread_slot_search(group_key(g));
}

/*
 * Before a group is made: at_end is run by each thread that ends with a struct of its own.
 * Returns 0; or -ENOMEM while the process has no thread-specific key to spare.  Under the
 * registry lock.
 */
int thread_init(void (*at_end)(void *thread));

/* Gives back what thread_init() took: this copy of the library may be unloaded. */
void thread_fini(void);

/* The last of at_end(): the calling thread, which has no slots any more, is bare from here on. */
void thread_free(struct thread *thread);

/* Takes the slots of a group that is being destroyed from their threads; under the registry lock.
 */
void thread_forget_group(struct sflight_group *g);

#endif
