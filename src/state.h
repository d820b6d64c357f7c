/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state word of a call: how far its life has gone, and how many have joined it.
 * Everything that changes such a word stands in this file.
 *
 *   bits 0..3    CLOSED     joiners are final; who comes now leads a new call.
 *                           Set by who leads the call, or by the last follower that
 *                           could have taken it over and leaves.  Never cleared.
 *                FORGOTTEN  the table has given the key up.  Set by whoever forgets the
 *                           call, by a caller that finds it too old, and by who leaves it
 *                           to nobody; only before CLOSED.  Never cleared.
 *                SEALED     forgotten while it had no joiner, and never will have one:
 *                           additions that raced with it do not count.  Set with
 *                           FORGOTTEN, in the same step.  Never cleared.
 *                ORPHAN     the leader died and a blocking follower must take over.
 *                           Set by who abandons the call while somebody blocks in it,
 *                           cleared by the follower that takes it over.
 *   bits 4..33   joiners that block, each its own
 *   bits 34..63  joiners that do not block a thread, each its own
 *
 * A joiner adds itself with one addition inside the section in which it found the
 * call.  If CLOSED or SEALED was in what it added to, it has not joined: whoever set
 * the bit has taken the count already.  The addition is taken back, and until then
 * the word has a count too many, which nobody reads as one: who closed the call has
 * the word as it was at the close, and a sealed word counts as 0 (state_joiners()).
 *
 * A stale value may be acted upon where a read-modify-write of the same word decides
 * afterwards: a walker that sees no CLOSED goes on to add itself, and the addition
 * shows what it added to.  It must not be acted upon where nothing decides: whoever
 * believes that nobody has joined has to have read it in the step that closes or
 * seals.
 */
#ifndef SFLIGHT_STATE_H
#define SFLIGHT_STATE_H

#include "atomic.h"

typedef _Atomic(uint64_t) state_word;

#define STATE_CLOSED UINT64_C(1)
#define STATE_FORGOTTEN UINT64_C(2)
#define STATE_SEALED UINT64_C(4)
#define STATE_ORPHAN UINT64_C(8)
#define STATE_BLOCKING (UINT64_C(1) << 4) /* one joiner that blocks its thread */
#define STATE_ASYNC (UINT64_C(1) << 34)   /* one that does not */
#define STATE_COUNT_MASK ((UINT64_C(1) << 30) - 1)

static inline uint32_t state_blocking(uint64_t state)
{
    return (uint32_t)((state >> 4) & STATE_COUNT_MASK);
}
static inline uint32_t state_async(uint64_t state)
{
    return state & STATE_SEALED ? 0 : (uint32_t)((state >> 34) & STATE_COUNT_MASK);
}
static inline uint32_t state_joiners(uint64_t state)
{
    return state & STATE_SEALED ? 0 : state_blocking(state) + state_async(state);
}

/* A record's word before anybody else knows it. */
static ALWAYS_INLINE void state_init(state_word *word)
{
    atomic_store_relaxed(word, 0); /* published by [CLAIM] */
}

/*
 * Joins: adds a joiner of that unit (STATE_BLOCKING or STATE_ASYNC).  False if the call
 * had closed or was sealed.  *state: what was added to.  A call forgotten since it was
 * looked at may still be joined: this caller began before the forgetting was over.
 * Pairs with state_close() and the other ways to close: the count at the close has
 * exactly those who get true here.
 */
static ALWAYS_INLINE bool state_join(state_word *word, uint64_t unit, uint64_t *state)
{
    *state = atomic_add_acq_rel(word, unit); /* [CLOSE] */
    if (LIKELY(!(*state & (STATE_CLOSED | STATE_SEALED))))
        return true;
    /* Whoever closed it has the count; only a forked child looks again. */
    atomic_sub_relaxed(word, unit); /* RACE: closed since it was looked at */
    return false;
}

enum state_joined {
    STATE_JOINED,
    STATE_FULL,
    STATE_GONE, /* closed or forgotten */
};

/*
 * The same where a call may have at most that many joiners.  *state: as it was read
 * last, with acquire; then what was added to.
 */
static inline enum state_joined state_join_below(state_word *word, uint64_t unit, uint32_t limit,
                                                 uint64_t *state)
{
    for (;;) {
        if (*state & (STATE_CLOSED | STATE_FORGOTTEN))
            return STATE_GONE; /* RACE: closed since it was looked at */
        if (state_joiners(*state) >= limit)
            return STATE_FULL;
        if (atomic_cas_acq_rel(word, state, *state + unit)) /* [CLOSE] */
            return STATE_JOINED;
    }
}

/*
 * A joiner leaves, if the word is *state, as it was read last, without CLOSED: true.
 * Otherwise *state is what it is now.  The last blocking joiner of an orphan closes
 * the call: *state then is the word at the close, and has CLOSED.
 */
static inline bool state_leave(state_word *word, uint64_t unit, uint64_t *state)
{
    REQUIRE(unit == STATE_BLOCKING ? state_blocking(*state) != 0 : state_async(*state) != 0);
    uint64_t left = *state - unit;

    if ((*state & STATE_ORPHAN) && unit == STATE_BLOCKING && state_blocking(*state) == 1)
        left |= STATE_CLOSED;                   /* the last that could have taken it over */
    if (!atomic_cas_acq_rel(word, state, left)) /* [CLOSE] */
        return false;
    *state = left;
    return true;
}

/* Closes; returns the word at the close.  Pairs with state_join() and state_leave(). */
static inline uint64_t state_close(state_word *word)
{
    REQUIRE(!(require_word(word) & STATE_CLOSED));
    return atomic_or_acq_rel(word, STATE_CLOSED); /* [CLOSE] */
}

/*
 * A leader that died ends its part: closes, or, if somebody blocks in the call, makes it
 * an orphan and returns true.  *state: the word before.  Pairs with state_take_over(),
 * which sees what the dead leader wrote.
 */
static inline bool state_orphan_or_close(state_word *word, uint64_t *state)
{
    *state = atomic_load_relaxed(word); /* the CAS decides */
    for (;;) {                          /* RACE: again, if the state has changed */
        bool followed = state_blocking(*state) != 0 && !(*state & STATE_SEALED);
        uint64_t next = *state | (followed ? STATE_ORPHAN : STATE_CLOSED);
        if (atomic_cas_acq_rel(word, state, next)) /* [ORPHAN] [CLOSE] */
            return followed;
    }
}

/* A blocking joiner becomes the leader of an orphan; of several, one gets true. */
static inline bool state_take_over(state_word *word)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    while (state & STATE_ORPHAN)
        if (atomic_cas_acquire(word, &state,
                               (state & ~STATE_ORPHAN) - STATE_BLOCKING)) /* [ORPHAN] */
            return true;
    return false;
}

/*
 * The call has become too old to be joined: true for the one caller that forgets it.  Who
 * does, or finds it closed, may lead the next call, after what the last run of fn did.
 */
static inline bool state_expire(state_word *word)
{
    uint64_t state = atomic_or_acquire(word, STATE_FORGOTTEN); /* [FORGET] [CLOSE] */
    return !(state & (STATE_CLOSED | STATE_FORGOTTEN));
}

enum state_forgot {
    STATE_FORGOT,
    STATE_NOT_THERE, /* closed, or forgotten by another */
    STATE_SHARED,    /* and therefore kept */
};

/*
 * Forgets the call: what the caller wrote before is seen by whoever leads the next.
 * unshared: only if nobody has joined, and then it is sealed.
 */
static inline enum state_forgot state_forget(state_word *word, bool unshared)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    for (;;) { /* RACE: again, if the state has changed */
        if (state & (STATE_CLOSED | STATE_FORGOTTEN))
            return STATE_NOT_THERE;
        if (unshared && state_joiners(state) != 0)
            return STATE_SHARED;
        uint64_t forgotten = state | STATE_FORGOTTEN | (unshared ? STATE_SEALED : 0);
        if (atomic_cas_release(word, &state, forgotten)) /* [FORGET] */
            return STATE_FORGOT;
    }
}

/*
 * Forgets and seals a call that nobody wants, if still nobody has joined: true for one caller.
 * Orders nothing: what is done after it is done by [MARK] and [UNLINK].
 */
static inline bool state_seal(state_word *word)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    while (!(state & (STATE_CLOSED | STATE_FORGOTTEN)) && state_joiners(state) == 0)
        if (atomic_cas_relaxed(word, &state, state | STATE_FORGOTTEN | STATE_SEALED)) /* [FORGET] */
            return true;
    return false;
}

/* In a forked child, by who is alone with the call: nobody blocks in it. */
static inline void state_after_fork(state_word *word)
{
    uint64_t kept = STATE_CLOSED | STATE_FORGOTTEN | STATE_SEALED | STATE_COUNT_MASK * STATE_ASYNC;
    atomic_store_relaxed(word, atomic_load_relaxed(word) & kept);
}

/* But one that the forking thread's own batch has joined. */
static inline void state_rejoin_after_fork(state_word *word)
{
    atomic_store_relaxed(word, atomic_load_relaxed(word) + STATE_BLOCKING);
}

/* Nobody will end it. */
static inline void state_end_by_fork(state_word *word)
{
    atomic_store_relaxed(word, (atomic_load_relaxed(word) | STATE_CLOSED) & ~STATE_ORPHAN);
}

#endif
