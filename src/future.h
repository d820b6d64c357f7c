/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The record of a future: its memory, and the states that notify.c leads it through.
 *
 * A FUTURE is the claim of one joiner that does not block, or of a starter, on the result of a
 * call.  Its OWNER is whoever got it from the library, until it is consumed.  A future that has
 * not been asked to tell anybody is nothing but the claim, and its owner can look whether
 * the gate is open.  To be told, a future gets a kind and is hung into the call's list.
 *
 * A WAITER is the same record for an agent that blocks where nobody waits at a gate (wait.h), and
 * for a fiber that drains.  It is no claim on the result, only the way to tell the agent, which
 * is the waiter's owner.
 *
 * The TELLER of an entry is the thread that has taken the list that the entry was in.
 *
 *     kinds                     consumed when hung   freed by
 *     FUTURE_PLAIN    not hung          -            the owner
 *     FUTURE_OWNED    get, fd           no           the owner, or the teller: see GONE
 *     FUTURE_WAITER   a waiter          no           the same
 *     FUTURE_THEN     a callback        yes          the teller
 *     FUTURE_QUEUED   in a queue        yes          the queue's consumer
 *
 *     IDLE --owner--> HUNG --teller--> TELLING --teller--> TOLD, or NUDGED
 *                      |                  |                  |
 *                      +------------------+------owner-------+--> GONE
 *
 * Every change of a state but the first stands in notify.c and notify.h, and pairs by [TELL]:
 *
 * IDLE     Nobody but the owner knows the record.  So is what is PLAIN, and a waiter that does not
 *          hang.
 * HUNG     In the list; the owner may wait.  Set by the owner before it hangs the entry up
 *          (notify_hang(), notify_waiter_hang()), published by [HANG].  Two bits go with HUNG only:
 *    FD      there is a descriptor, to be made readable.  Set by the owner (notify_set_fd()), with
 *            a CAS.  If the entry is being told already, the CAS fails, and the owner itself
 *            makes the descriptor readable.
 *    FIBER   the owner is a fiber that parks, to be made to run.  Its waiter has it from the
 *            start; as owner of a future it sets it before it parks, and clears it at a deadline
 *            (notify_park()), with a CAS.
 * TELLING  The teller has begun (tell_owner(), tell_waiter(): a CAS from HUNG).  It now uses what
 *          the bits named: it makes the descriptor readable, and makes the fiber run.  A fiber
 *          that happens to run meanwhile waits in notify_park() until TELLING is over.  So the
 *          fiber is still there when unpark is called.
 * TOLD     The teller is done: the entry is the owner's alone.  Set with a CAS (tell_owner()),
 *          because the owner of a future may have gone; or with a store (tell_waiter()).  A
 *          teller that wakes a thread does so after this step, and uses the address only.
 * NUDGED   As TOLD, but the call is still in flight: the agent is to look whether it is an
 *          orphan.  Of a waiter only (tell_waiter()).  The agent may hang the waiter up again.
 * GONE     The owner has no more use for the entry.  Set by the owner: of a future with a swap,
 *          from any of these (notify_owner_goes()); of a waiter with a CAS from HUNG
 *          (notify_park()).  Whichever of TOLD and GONE comes second frees the entry.  The swap
 *          found TOLD: the owner frees it.  The swap found TELLING, so the teller's CAS to TOLD
 *          fails: the teller closes the descriptor and frees the entry.  GONE came before the
 *          teller: the entry stays in the list, and a sweep (list_sweep()) or the teller frees it.
 *          So no teller uses a descriptor that the owner has closed.
 *
 * A consumed entry has no such state, and is told by no step of its own: the teller looks at each,
 * and puts it where it belongs.  It is taken back (async_cancel()) by leaving the call, which is
 * one step with the close, or, where that is out of a joint, with what makes the joint FINAL after
 * the close.  How far that has gone stands in its `word`; these pair by [TAKE-BACK]:
 *
 *     none --canceller--> GOING --canceller, has left--> GONE
 *      ^                   |  |
 *      +---it is too late--+  +--teller--> TOLD
 *
 * If the canceller has left, the teller comes after that step, and so sees GOING or GONE.  It
 * passes by what is GONE, and frees it, as a sweep does before that; GOING it makes TOLD, and then
 * the canceller frees it.  If it was too late, the teller may have seen neither: the canceller
 * clears GOING again, and what is not TOLD is in the queue, or among the callbacks of the
 * canceller's thread, or has been passed on.
 */
#ifndef SFLIGHT_FUTURE_H
#define SFLIGHT_FUTURE_H

#include "hold.h"

/* The states of a future of kind OWNED or WAITER, and the bits that go with HUNG. */
enum {
    FUTURE_IDLE,
    FUTURE_HUNG,
    FUTURE_TELLING,
    FUTURE_TOLD,
    FUTURE_NUDGED,
    FUTURE_GONE,
    FUTURE_STATE_MASK = 15,
    FUTURE_FD = 16,
    FUTURE_FIBER = 32,
};

#ifndef FUTURE_SPARES          /* less in a build for tests */
enum { FUTURE_SPARES = 1024 }; /* spare futures that a slot keeps; the common slot keeps none */
#endif
enum {
    FUTURE_SPARES_UNUSED = 64, /* of those, once they are not needed any more */
    FUTURE_AGED = 8,           /* more than that go so many at a time */
};

enum future_kind {
    FUTURE_PLAIN, /* not hung */
    FUTURE_OWNED, /* somebody may wait for it; it may have a descriptor */
    FUTURE_WAITER,
    FUTURE_THEN,
    FUTURE_QUEUED,
    FUTURE_UNWANTED, /* no claim: what on_unwanted() asked for (unwanted.h) */
};

/* The low bits of a future's `word`. */
#define FUTURE_KIND ((uintptr_t)7)    /* enum future_kind */
#define FUTURE_STARTER ((uintptr_t)8) /* its claim is that of STATE_STARTER, not a joiner's */
#define FUTURE_BACK ((uintptr_t)48)   /* of a consumed one that is taken back: one of these */
#define FUTURE_BACK_GOING ((uintptr_t)16)
#define FUTURE_BACK_GONE ((uintptr_t)32)
#define FUTURE_BACK_TOLD ((uintptr_t)48)
#define FUTURE_BITS ((uintptr_t)63)

_Static_assert(_Alignof(struct sflight_call) > FUTURE_BITS, "room for the bits");

struct sflight_future {
    /*
     * The call that the claim is on (of a fiber that drains: NULL), and the bits above.  Written by
     * the owner; of what has been hung nothing changes but FUTURE_BACK.
     */
    _Atomic(uintptr_t) word;
    union {
        struct sflight_future *next;   /* in a list, in a queue, among callbacks, or spare */
        struct invocation *invocation; /* of FUTURE_UNWANTED: whose place it takes */
    };
    union {
        struct joint *joint; /* of FUTURE_PLAIN: in whose list it is to hang; NULL: its call's */
        struct {
            void (*cb)(void *arg);
            void *arg;
        } unwanted;
        struct {
            void (*cb)(void *arg, int rc, sflight_result *r);
            void *arg;
        } then;
        struct {
            struct sflight_queue *to;
            uint64_t tag;
        } queued;
        struct {
            void *fiber; /* that parks; NULL: a thread.  Valid with FIBER, and in a waiter */
            int fd;      /* written by the owner; -1: none.  Of FUTURE_OWNED only */
            _Atomic(uint32_t) state;
        } owned; /* or a waiter */
    };
#ifdef SFLIGHT_DEBUG
    void *handle; /* what its owner has; NULL: nobody has got it (handle.h) */
#endif
};

#ifndef SFLIGHT_DEBUG
_Static_assert(sizeof(struct sflight_future) == CACHE_LINE / 2, "two to a line");
#endif

/* What is in a word; of a future that no other thread can be changing but for FUTURE_BACK. */
static ALWAYS_INLINE uintptr_t future_word(const struct sflight_future *f)
{
    return atomic_load_relaxed(&f->word); /* [HANG] and [TAKE-BACK] order what needs it */
}

static ALWAYS_INLINE struct sflight_call *future_word_call(uintptr_t word)
{
    return (struct sflight_call *)(word & ~FUTURE_BITS);
}

static ALWAYS_INLINE struct sflight_call *future_call(const struct sflight_future *f)
{
    return future_word_call(future_word(f));
}

static ALWAYS_INLINE enum future_kind future_kind(const struct sflight_future *f)
{
    return (enum future_kind)(future_word(f) & FUTURE_KIND);
}

static ALWAYS_INLINE bool future_starter(const struct sflight_future *f)
{
    return future_word(f) & FUTURE_STARTER;
}

/* It becomes one of that kind.  By its owner; it is FUTURE_PLAIN.  Returns its call. */
static ALWAYS_INLINE struct sflight_call *future_set_kind(struct sflight_future *f,
                                                          enum future_kind kind)
{
    uintptr_t word = future_word(f);

    atomic_store_relaxed(&f->word, word | (uintptr_t)kind); /* published by [HANG] */
    return future_word_call(word);
}

/* Does it have a state, and so an owner? */
static ALWAYS_INLINE bool future_has_state(const struct sflight_future *f)
{
    return future_kind(f) == FUTURE_OWNED || future_kind(f) == FUTURE_WAITER;
}

/* A call has ended: does the future of its starter, or of who had its permit, say `leader`? */
static inline bool future_leads(struct sflight_call *c, bool starter)
{
    return UNLIKELY(starter) && !state_was_taken(&c->state);
}

/* Nobody is going to look at it, nor at its owner. */
static inline bool future_is_over(struct sflight_future *f)
{
    if (!future_has_state(f))
        return true;
    uint32_t state = require_word(&f->owned.state);
    return (state & FUTURE_STATE_MASK) != FUTURE_HUNG && state != FUTURE_TELLING;
}

/* Makes a block of spare futures, and returns one more; or NULL. */
struct sflight_future *future_new_block(struct slot *slot);

/* Sets up all of a record but what goes with a kind: it is FUTURE_PLAIN. */
static ALWAYS_INLINE void future_init(struct sflight_future *f, struct sflight_call *call,
                                      bool starter)
{
    /* Published by [HANG]. */
    atomic_store_relaxed(&f->word, (uintptr_t)call | (starter ? FUTURE_STARTER : 0));
    f->joint = NULL;
#ifdef SFLIGHT_DEBUG
    f->handle = NULL;
#endif
}

/*
 * A record of kind PLAIN, the calling function's alone; or NULL, if there is no memory.  The claim
 * itself is made by join_or_claim(); future_init() may say later what is claimed.  slot: the
 * calling thread's, or the common one, as below.
 */
static ALWAYS_INLINE struct sflight_future *future_new(struct slot *slot, struct sflight_call *call,
                                                       bool starter)
{
    struct sflight_future *f = slot->spare_futures;

    if (LIKELY(f != NULL)) {
        slot->spare_futures = f->next;
        slot->n_spare_futures--;
    } else if ((f = future_new_block(slot)) == NULL) {
        return NULL;
    }
    future_init(f, call, starter);
    return f;
}

/*
 * For who will need a future perhaps, before there is anything to undo: false if there is no
 * memory. Otherwise one of the next two is due.  *f: NULL if one is spare, and stays so until then.
 */
static ALWAYS_INLINE bool future_secure(struct slot *slot, struct sflight_future **f)
{
    *f = NULL;
    return LIKELY(slot->spare_futures != NULL) || (*f = future_new(slot, NULL, false)) != NULL;
}

/* As future_new(), and never NULL. */
static ALWAYS_INLINE struct sflight_future *
future_secured(struct slot *slot, struct sflight_future *f, struct sflight_call *call, bool starter)
{
    if (LIKELY(f == NULL))
        return future_new(slot, call, starter);
    future_init(f, call, starter);
    return f;
}

/* Gives n of the slot's spare futures back, which has that many. */
void future_give_back(struct slot *slot, unsigned n);

/* The rare part of future_free_chain(). */
void future_free_common(struct slot *slot, struct sflight_future *first, unsigned n);

/*
 * Gives n records back that nobody else uses, linked by `next` from the first to the last.  Their
 * claims have been used, or passed on.
 */
static ALWAYS_INLINE void future_free_chain(struct slot *slot, struct sflight_future *first,
                                            struct sflight_future *last, unsigned n)
{
    REQUIRE(future_is_over(first) && future_is_over(last));
    if (UNLIKELY(slot->common)) {
        future_free_common(slot, first, n);
        return;
    }
    last->next = slot->spare_futures;
    atomic_fence_compiler(); /* for a child that another thread forks */
    slot->spare_futures = first;
    slot->n_spare_futures += n;
    while (UNLIKELY(slot->n_spare_futures >= FUTURE_SPARES))
        future_give_back(slot, FUTURE_SPARES / 2);
}

static ALWAYS_INLINE void future_free(struct slot *slot, struct sflight_future *f)
{
    future_free_chain(slot, f, f, 1);
}

/* No future was needed: see future_secure(). */
static ALWAYS_INLINE void future_unneeded(struct slot *slot, struct sflight_future *f)
{
    if (UNLIKELY(f != NULL))
        future_free(slot, f);
}

/*
 * Once for each call with futures, when it ends: what is spare while those are in use is not
 * needed, and goes by and by.
 */
static ALWAYS_INLINE void future_age(struct slot *slot)
{
    if (UNLIKELY(slot->n_spare_futures > FUTURE_SPARES_UNUSED))
        future_give_back(slot, FUTURE_AGED);
}

/*
 * For a consumed future whose call has ended: frees the future and delivers the result.  Returns
 * as hold_deliver() does.  By the teller, or the queue's consumer.
 */
int future_take(struct sflight_future *f, sflight_result *r);

/* Frees a list, linked by `next`, for good. */
void future_free_list(struct alloc *alloc, struct sflight_future *list);

/* In a forked child: the fork may have come between the slot's list and its count. */
void future_after_fork(struct slot *slot);

/* At the end of a group: frees the slot's spare records for good. */
void future_free_spares(struct slot *slot);

/* Its owner is the user from here on, who gets what is returned. */
static inline struct sflight_future *future_hand_out(struct sflight_future *f)
{
#ifdef SFLIGHT_DEBUG
    f->handle = handle_new(HANDLE_FUTURE, f);
    return f->handle;
#else
    return f;
#endif
}

/* The user's future is another record from here on. */
static inline void future_hand_on(struct sflight_future *from, struct sflight_future *to)
{
#ifdef SFLIGHT_DEBUG
    to->handle = from->handle;
    handle_moved(to->handle, to);
#else
    (void)from, (void)to;
#endif
}

#endif
