/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a call.
 *
 *   claim --> run fn --> [unseen?] --yes--> remove: one CAS, the record is free at once
 *     ^                     | no
 *     |                     v
 *     |                   close --> unlink --> publish: gate opens, holds are credited
 *     |                                           |
 *     |   join (followers) ---- wait at the gate -+--> take --> release --> retire
 *     |     |                                              last holder: destroy
 *     |     +-- leave at a deadline: take one's joiner back, or, if the call has
 *     |                              closed, the hold that is being credited
 *     +-- takeover: the leader died, a follower goes on with the same record
 *
 * state, one word:
 *   bits 0..3    CLOSED    joiners are final; who comes now leads a new call
 *                FORGOTTEN the table has given the key up
 *                SEALED    forgotten while it had no joiner, and never will have one:
 *                          additions that raced with it do not count
 *                ORPHAN    the leader died and a blocking follower must take over
 *   bits 4..33   blocking joiners
 *   bits 34..63  joiners that do not block a thread
 * A joiner adds itself with one fetch_add inside the section in which it found
 * the call.  If it finds CLOSED or SEALED in what it added to, it has not
 * joined: whoever set the bit has taken the count already.
 *
 * Holds are counted in the gate's high half: one for each joiner in the count
 * at the close, one for the leader.  Publishing adds them in the
 * read-modify-write that opens the gate, so a holder that gives its hold back
 * before that just makes the sum smaller.  Who brings it to 0 with the gate
 * open is the last.
 *
 * A joiner that does not block has a future (future.h).  Those that want to be
 * told hang themselves into the list `waiters`; whoever opens the gate then
 * swaps the list for WAITERS_TOLD and tells them, and who finds that mark, or
 * the gate open, tells itself [NOTIFY].
 *
 * What every call passes is inlined: see call_path.h.
 */
#ifndef SFLIGHT_CALL_H
#define SFLIGHT_CALL_H

#include "group.h"
#include "invoke.h"
#include "park.h"
#include "reclaim.h"
#include "table.h"
#include "thread.h"

#define CALL_CLOSED UINT64_C(1)
#define CALL_FORGOTTEN UINT64_C(2)
#define CALL_SEALED UINT64_C(4)
#define CALL_ORPHAN UINT64_C(8)
#define CALL_BLOCKING (UINT64_C(1) << 4) /* one joiner that blocks its thread */
#define CALL_ASYNC (UINT64_C(1) << 34)   /* one that does not */
#define CALL_COUNT_MASK ((UINT64_C(1) << 30) - 1)

static inline uint32_t state_blocking(uint64_t state)
{
    return (uint32_t)((state >> 4) & CALL_COUNT_MASK);
}
static inline uint32_t state_async(uint64_t state)
{
    return (uint32_t)((state >> 34) & CALL_COUNT_MASK);
}
static inline uint32_t state_joiners(uint64_t state)
{
    return state & CALL_SEALED ? 0 : state_blocking(state) + state_async(state);
}

/* How a call ended: the gate's user bits. */
#define ENDED_ABANDONED (UINT64_C(1) << GATE_USER_SHIFT)
#define ENDED_PANICKED (UINT64_C(2) << GATE_USER_SHIFT)
#define ENDED_SHUT (UINT64_C(4) << GATE_USER_SHIFT)
#define ENDED_BADLY (ENDED_ABANDONED | ENDED_PANICKED | ENDED_SHUT)

struct sflight_call {
    /* read by whoever walks the bucket */
    _Alignas(CACHE_LINE) struct table_node node;

    /* written by joiners */
    _Alignas(CACHE_LINE) _Atomic(uint64_t) state;
    _Atomic(struct caller *) owner; /* whose fn runs; NULL if nobody's does */
    struct sflight_group *group;
    uint64_t started_ns; /* if the group has max_age_ns */
    union {
        struct sflight_call *outer; /* the leader's next outer call; or the next spare record */
        struct thread *begun_by;    /* of a manual call; for fork() only */
    };
    struct key_buffer *buffer;     /* memory for long keys, kept with the record */
    struct invocation *invocation; /* where sflight_panic() goes; NULL outside of fn */
    _Atomic(struct sflight_future *) waiters;

    /* written by the leader, then read by everybody */
    _Alignas(CACHE_LINE) gate gate;
    union {
        struct result { /* until the last hold is gone */
            void *value;
            size_t size;
            sflight_destroy_fn *destroy;
            void *ctx;
            int status;
            uint32_t n_followers; /* at the close */
            uint32_t extra_holds; /* places of a batch that name the same key; the starter */
            uint16_t generation;  /* the group's, when the record was taken */
            bool panicked;
            bool status_set;
            _Atomic(unsigned char) kind; /* enum call_kind */
            bool started; /* by sflight_start(): one of the extra holds is for the starter */
            _Atomic(bool) starter_done; /* its starter has left, or the call has ended */
            bool seen; /* others may still look at the record: it needs a grace period */
        } result;
        struct reclaim_entry retired; /* after it */
    };
};

_Static_assert(sizeof(struct sflight_call) == 3 * CACHE_LINE, "three lines");

/* In `waiters`: the gate has been opened, and they were told. */
#define WAITERS_TOLD ((struct sflight_future *)1)

enum call_kind {
    CALL_OF_LEADER,  /* led by a caller that blocks in fn */
    CALL_OF_PERMIT,  /* sflight_begin(): led by whoever has the permit */
    CALL_OF_STARTER, /* sflight_start(): fn runs elsewhere */
};

/* How a caller comes, and how it leads if it does. */
struct call_start {
    struct caller *owner; /* of the new record: this caller, if it blocks; otherwise NULL */
    enum call_kind kind;  /* of the new record */
    uint64_t unit;        /* CALL_BLOCKING or CALL_ASYNC: as what it would join */
};

enum call_role {
    CALL_LEADS,   /* this caller must run its fn and finish the call */
    CALL_FOLLOWS, /* joined: it must wait for the call */
};

/*
 * Waits for a call joined.  Returns CALL_FOLLOWS when the result is there and
 * this caller has a hold; CALL_LEADS if it has taken the call over; or, the
 * join undone, -ETIMEDOUT, -EDEADLK or (a group with fibers) -ENOMEM.  A fiber may
 * have come to another thread, and the slot with it be another one's.
 */
int call_wait(struct slot *slot, struct caller *caller, struct sflight_call *call, unsigned rank,
              const struct timespec *deadline);

/* The two kinds of it: at the gate; hung into `waiters`. */
int call_wait_at_gate(struct slot *slot, struct caller *caller, struct sflight_call *call,
                      unsigned rank, const struct timespec *deadline);
int call_wait_hung(struct caller *caller, struct sflight_call *call,
                   const struct timespec *deadline);

/* The leader died: goes on with the call, or returns false. */
bool call_take_over(struct slot *slot, struct caller *caller, struct sflight_call *call);

/* What became of a joiner that wanted to leave. */
enum call_leave {
    LEAVE_LEFT,     /* it has not joined after all */
    LEAVE_RETURNED, /* it was counted at the close, and its hold is given back */
    LEAVE_TOO_LATE, /* the gate is open: it has a hold, to be released */
};

/* Takes a join back, at any moment; unit as it joined.  Never waits for the leader. */
enum call_leave call_leave(struct slot *slot, struct sflight_call *call, uint64_t unit);

/* Nobody waits for the call any more. */
bool call_unwanted(const struct sflight_call *call);

/* The starter of a call drops its future, before it has seen the gate open. */
void call_starter_leaves(struct slot *slot, struct sflight_call *call);

/* The leader has left fn without returning, for good. */
void call_abandon(struct sflight_call *call);

/* The same for a call that no running fn leads. */
void call_abandon_permit(struct slot *slot, struct sflight_call *call);

/* One more hold, by somebody who has one. */
void call_retain(struct slot *slot, struct sflight_call *call);

/* As the functions of the same names in singleflight.h. */
int call_forget(struct sflight_group *g, const void *key, size_t key_len);
int call_forget_unshared(struct sflight_group *g, const void *key, size_t key_len);

/* Sets the value; the one before, if there is one, is destroyed. */
void call_set_value(struct sflight_call *call, void *value, size_t size,
                    sflight_destroy_fn *destroy, void *ctx);

/* Value memory from the group's allocator; size may be 0.  NULL if there is none. */
void *call_alloc_value(struct sflight_call *call, size_t size);

/* What is left of a group's calls in a forked child. */
struct call_remains {
    uint64_t n_in_flight; /* the forking thread's */
    uint64_t n_waiting;   /* futures on those */
    uint64_t n_held;      /* futures on the others, which are found abandoned */
    uint64_t n_batches;   /* this thread's */
};

/* In a forked child: nobody will end this call, which the forking thread has joined. */
void call_ended_by_fork(struct sflight_call *call);

/* The record was taken before a fork of which this process, whose group is g, is the child. */
static inline bool call_is_inherited(const struct sflight_call *call, const struct sflight_group *g)
{
    return call->result.generation != g->generation;
}

/*
 * In a forked child, before a future or a permit is used that is from before the fork:
 * its call may have left the table already, where the fork would have found it.  Then
 * it ends here, or, if it is a permit of the thread that forked, is the child's.
 */
void call_inherited(struct sflight_call *call);

static inline void call_check_inherited(struct sflight_call *call)
{
    if (UNLIKELY(call_is_inherited(call, call->group)))
        call_inherited(call);
}

/* In a forked child: drops the calls that other threads led. */
struct call_remains call_after_fork(struct sflight_group *g);

/* The slot's thread ends: its ready record, if it has one, becomes a spare one. */
void call_keep_none_ready(struct slot *slot);

/* At the end of a group: frees its spare records and what a fork left. */
void call_free_spares(struct slot *slot);

/* In a forked child: the slot's thread may have been stopped between record and count. */
void call_recount_spares(struct slot *slot);
void call_free_orphans(struct sflight_group *g);

#endif
