/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state word of a call: how far its life has gone, and how many have joined it.
 * Every change of such a word is made by a function of this file.
 *
 *   bits 0..6    CLOSED, FORGOTTEN, SEALED, ORPHAN, STARTER, LEFT, TAKEN, from the lowest
 *   bits 7..30   joiners that block a thread or fiber
 *   bits 31..58  joiners that do not block
 *   bits 59..63  joints that have joiners, which do not block (joint.h)
 *
 * CLOSED     The number of joiners is final: whoever comes now leads a new call.
 *            Set by the leader that ends the call (state_close()); by a leader that dies while
 *            nobody blocks in the call (state_orphan_or_close()); by the last blocking joiner
 *            of an orphan, when it leaves (state_leave()).  Never cleared.
 * FORGOTTEN  The call has lost its key: whoever comes now leads a new call, those who have
 *            joined stay.  Set by state_forget(), state_expire(), state_leave() and
 *            state_seal().  Only state_expire() may set it after CLOSED, where it means nothing.
 *            Never cleared.
 * SEALED     The call was forgotten while it had no joiner, and gets none: an addition that
 *            comes after this bit is not a joiner, although the word has not CLOSED.  Set by
 *            state_forget(), in one step with FORGOTTEN; and by the last who leaves, in a group
 *            that forgets unwanted calls (state_leave()), or by its leader, when it asks whether
 *            anybody waits (state_seal()).  Never cleared.
 * ORPHAN     The leader has died, and a blocking joiner must take the call over.  Set by
 *            state_orphan_or_close(), cleared by state_take_over().  It stays beside CLOSED
 *            when the last blocking joiner left instead.  Also cleared in a forked child, where
 *            nobody blocks.
 * STARTER    Who has started the call, or has its permit, has a future of its own on it and
 *            waits: no joiner, but one hold more at the close.  Set with the claim, or by the
 *            permit's holder (state_add_starter()).  Cleared when it leaves (state_leave()).
 *            Also cleared when the call is taken over (state_take_over()): the starter is a
 *            joiner like the others from then on.
 * LEFT       Somebody has left who was counted here, or a joint has.  Set by state_leave().  Never
 *            cleared.
 * TAKEN      A follower has taken the call over: it blocks in fn, and waits for the call itself.
 *            Set by state_take_over().  Never cleared.
 * joiners    Each joiner adds itself (state_join(), state_join_below()).  It takes itself out
 *            when it leaves before CLOSED (state_leave()) or takes the call over
 *            (state_take_over()).  After CLOSED a joiner is in the count for good, and has a
 *            hold instead.
 *
 * joints     A joint that is made, or made busy, adds itself with its first joiner
 *            (state_add_joint()), and the last of its joiners takes it out when it leaves before
 *            CLOSED (state_leave()).  Where there are any, they are SHUT before CLOSED or
 *            FORGOTTEN is set: `shut` in what follows.
 *
 * "Never cleared" means: not before nobody can look at the record any more (state_init()).
 *
 * A joiner adds itself, but by a joint, with one addition, inside the section in which it found the
 * call, or without one, if its slot remembers the call.  If CLOSED or SEALED was in the word that
 * it added to, it has not joined: whoever set that bit has taken the count already.  It takes the
 * addition back, and until then the word has a joiner too many, which nobody counts: the count at
 * the close is in the word that the closing function returns, and a sealed word counts as 0
 * (state_joiners()).
 *
 * A stale value may be used where a read-modify-write of the same word decides afterwards.  For
 * example, a search that sees no CLOSED goes on to join, and the addition shows the word that
 * it added to.  A stale value must not be used where nothing decides afterwards: a function
 * that acts because nobody has joined must have seen that in the step that closes or seals.
 */
#ifndef SFLIGHT_STATE_H
#define SFLIGHT_STATE_H

#include "atomic.h"

typedef _Atomic(uint64_t) state_word;

#define STATE_CLOSED UINT64_C(1)
#define STATE_FORGOTTEN UINT64_C(2)
#define STATE_SEALED UINT64_C(4)
#define STATE_ORPHAN UINT64_C(8)
#define STATE_STARTER UINT64_C(16)
#define STATE_LEFT UINT64_C(32)
#define STATE_TAKEN UINT64_C(64)
#define STATE_BLOCKING (UINT64_C(1) << 7) /* one joiner that blocks its thread */
#define STATE_ASYNC (UINT64_C(1) << 31)   /* one that does not */
#define STATE_JOINT (UINT64_C(1) << 59)   /* a joint, which stands for such as do not */
#define STATE_BLOCKING_MASK ((UINT64_C(1) << 24) - 1)
#define STATE_ASYNC_MASK ((UINT64_C(1) << 28) - 1)
#ifndef STATE_JOINTS_MOST /* less in a build for tests */
#define STATE_JOINTS_MOST 31u
#endif

/* The joiners that block, in a word as it was read; counted even if it is sealed. */
static inline uint32_t state_blocking(uint64_t state)
{
    return (uint32_t)((state >> 7) & STATE_BLOCKING_MASK);
}

/* The joiners that do not block, but for those of joints; 0 if the word is sealed. */
static inline uint32_t state_async(uint64_t state)
{
    return state & STATE_SEALED ? 0 : (uint32_t)((state >> 31) & STATE_ASYNC_MASK);
}

/* The joints that have joiners. */
static inline uint32_t state_joints(uint64_t state)
{
    return (uint32_t)(state >> 59);
}

/* All joiners, those of a joint as one; 0 if the word is sealed. */
static inline uint32_t state_joiners(uint64_t state)
{
    return state & STATE_SEALED ? 0
                                : state_blocking(state) + state_async(state) + state_joints(state);
}

/* The word with all joiners of joints as its own; more: joint_more() or joint_close_all(). */
static inline uint64_t state_with_joints(uint64_t state, uint64_t more)
{
    uint64_t n = state_joints(state);

    return state - n * STATE_JOINT + (n + more) * STATE_ASYNC;
}

/*
 * The word at the close of a call that nobody has ever joined, or could have: nobody waits at its
 * gate, and nobody has a hold there, as those have who have left.
 */
static inline bool state_never_joined(uint64_t state)
{
    return (state & ~(STATE_FORGOTTEN | STATE_SEALED)) == 0;
}

/* Is there nobody who waits, but for a leader that has blocked from the beginning? */
static inline bool state_unwanted(uint64_t state)
{
    return !(state & (STATE_STARTER | STATE_TAKEN)) && state_joiners(state) == 0;
}

/* A record's word before anybody else knows it: 0 or STATE_STARTER. */
static ALWAYS_INLINE void state_init(state_word *word, uint64_t state)
{
    atomic_store_relaxed(word, state); /* published by [CLAIM] */
}

/* Who has the permit waits from here on; nothing is ordered by that. */
static inline void state_add_starter(state_word *word)
{
    (void)atomic_or_relaxed(word, STATE_STARTER);
}

/* There will be no future for who began the call, whose end this is. */
static inline void state_remove_starter(state_word *word)
{
    (void)atomic_and_relaxed(word, ~STATE_STARTER);
}

/*
 * Joins: adds a joiner of that unit (STATE_BLOCKING or STATE_ASYNC).  Only inside the section
 * in which the record was found, by a slot that remembers it, or with a hold on it.  Returns true,
 * and the joiner then has a claim on a hold; or false, and nothing has changed, if the call has
 * closed or is sealed. *state gets the word before the addition.  A call that was forgotten since
 * it was found may still be joined: the joiner began before the forgetting was over. Pairs with the
 * functions that set CLOSED: the count at the close is that of the joiners which got true here and
 * have not left.
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
    STATE_GONE, /* the call is closed or forgotten */
};

/*
 * The same where a call may have at most `limit` joiners.  *state: on entry the word as it was
 * last read, with acquire; on return the word that decided.  STATE_FULL and STATE_GONE have
 * changed nothing.
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
 * Joins, not blocking, by a joint that is to have this one joiner.  False, and nothing has changed:
 * the call is closed or forgotten, or has enough joints.  As state_join().
 */
static inline bool state_add_joint(state_word *word)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    do
        if ((state & (STATE_CLOSED | STATE_FORGOTTEN)) || state_joints(state) == STATE_JOINTS_MOST)
            return false;
    while (!atomic_cas_acq_rel(word, &state, state + STATE_JOINT)); /* [CLOSE] */
    return true;
}

/* The joiner is the word's own, at any moment: who closes counts it either way. */
/* RACE: another thread has shut that joint, or made it busy, meanwhile */
static inline void state_own_joint(state_word *word)
{
    (void)atomic_sub_relaxed(word, STATE_JOINT - STATE_ASYNC); /* one word */
}

/* Would a blocking joiner that leaves close the call?  Then its joints are to be SHUT first. */
static inline bool state_leave_closes(uint64_t state)
{
    return (state & STATE_ORPHAN) && state_blocking(state) == 1;
}

/*
 * A joiner of that unit leaves, which has joined and has neither left nor taken the call over;
 * or the starter (STATE_STARTER), which leaves as the joiner that it has become, if the call has
 * been taken over; or the last one of a joint (STATE_JOINT).  seals: if that leaves the call to
 * nobody, it is forgotten and sealed in the same step.  The new word says who was the last
 * (state_unwanted()).  *state: the word as it was last read, without CLOSED.  Returns true if the
 * joiner has left, and *state is the new word.  If that has CLOSED, this was the last blocking
 * joiner of an orphan: the call is closed, *state is the word at the close, and the joiner must end
 * the call.  Returns false if the word has changed: *state is the word now, to be looked at again.
 */
static inline bool state_leave(state_word *word, uint64_t unit, bool seals, uint64_t *state)
{
    if (unit == STATE_STARTER && (*state & STATE_TAKEN))
        unit = STATE_ASYNC;
    REQUIRE(unit == STATE_STARTER    ? (*state & STATE_STARTER) != 0
            : unit == STATE_BLOCKING ? state_blocking(*state) != 0
            : unit == STATE_JOINT    ? state_joints(*state) != 0
                                     : state_async(*state) != 0);
    uint64_t left = (*state - unit) | STATE_LEFT;

    if (unit == STATE_BLOCKING && state_leave_closes(*state))
        left |= STATE_CLOSED; /* the last that could have taken it over */
    else if (seals && state_unwanted(left))
        left |= STATE_FORGOTTEN | STATE_SEALED;
    if (!atomic_cas_acq_rel(word, state, left)) /* [CLOSE] */
        return false;
    *state = left;
    return true;
}

/*
 * Closes the call.  Only its leader, once.  *state is the word at the close, whose count is final.
 * Pairs with state_join() and state_leave().  False, and nothing has changed: it has joints, or it
 * has changed too often; then they are to be SHUT, and state_close_shut() is due.  The CAS that
 * fails has brought the line, which a load would have to share first.
 */
static ALWAYS_INLINE bool state_close(state_word *word, uint64_t *state)
{
    *state = 0; /* a guess */
    for (int tries = 0; tries < 3; tries++) {
        if (UNLIKELY(state_joints(*state) != 0))
            return false;
        if (LIKELY(atomic_cas_acq_rel(word, state, *state | STATE_CLOSED))) /* [CLOSE] */
            return true;
    }
    return false; /* RACE: others join and leave */
}

/* The same in one step, where what joints there are are SHUT.  Returns the word at the close. */
static inline uint64_t state_close_shut(state_word *word)
{
    return atomic_or_acq_rel(word, STATE_CLOSED); /* [CLOSE] */
}

enum state_abandoned {
    STATE_FOLLOWED,     /* the call is an orphan */
    STATE_CLOSED_ALONE, /* it is closed */
    STATE_SHUT_FIRST,   /* nothing has changed: it has joints, which are to be SHUT first */
};

/*
 * In the place of a leader that has died, once: if somebody blocks in the call, makes the call
 * an orphan; otherwise closes it.  *state gets the word before.  After STATE_FOLLOWED the call is
 * no longer the calling function's, which needs a hold to use the record.  Pairs with
 * state_take_over(), which sees what the dead leader wrote.
 */
static inline enum state_abandoned state_orphan_or_close(state_word *word, bool shut,
                                                         uint64_t *state)
{
    *state = atomic_load_relaxed(word); /* the CAS decides */
    for (;;) {                          /* RACE: again, if the state has changed */
        bool followed = state_blocking(*state) != 0 && !(*state & STATE_SEALED);
        uint64_t next = *state | (followed ? STATE_ORPHAN : STATE_CLOSED);
        if (!followed && !shut && state_joints(*state) != 0)
            return STATE_SHUT_FIRST;
        if (atomic_cas_acq_rel(word, state, next)) /* [ORPHAN] [CLOSE] */
            return followed ? STATE_FOLLOWED : STATE_CLOSED_ALONE;
    }
}

/* True if a blocking joiner may take the call over.  Only to look. */
static inline bool state_is_orphan(state_word *word)
{
    return atomic_load_relaxed(word) & STATE_ORPHAN; /* the CAS decides */
}

/* Of an ended call, by a holder: true if one of its followers led it at its end. */
static inline bool state_was_taken(state_word *word)
{
    return atomic_load_relaxed(word) & STATE_TAKEN; /* not changed since the gate was opened */
}

/*
 * A blocking joiner becomes the leader of an orphan, and is a joiner no more; from this step on
 * it counts as one who waits.  Returns true to one of those that try, and false if the call is no
 * orphan.  *starter: whether the starter waits; it has become a joiner in the same step.
 */
static inline bool state_take_over(state_word *word, bool *starter)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    while (state & STATE_ORPHAN) {
        uint64_t taken = ((state & ~(STATE_ORPHAN | STATE_STARTER)) - STATE_BLOCKING) | STATE_TAKEN;
        *starter = state & STATE_STARTER;
        if (*starter)
            taken += STATE_ASYNC;
        if (atomic_cas_acquire(word, &state, taken)) /* [ORPHAN] */
            return true;
    }
    return false;
}

/*
 * Forgets a call that has become too old.  Only inside the section in which it was found.
 * Returns true to one of those that try; the record stays in its bucket until the call ends.
 * Returns false if the call was closed or forgotten before.  After either the newcomer may lead
 * the next call for the key; if the call had closed, it sees what fn did.
 */
static inline bool state_expire(state_word *word)
{
    uint64_t state = atomic_or_acquire(word, STATE_FORGOTTEN); /* [FORGET] [CLOSE] */
    return !(state & (STATE_CLOSED | STATE_FORGOTTEN));
}

enum state_forgot {
    STATE_FORGOT,
    STATE_NOT_THERE,  /* the call is closed, or forgotten by somebody else */
    STATE_SHARED,     /* the call has joiners, and therefore is not forgotten */
    STATE_HAS_JOINTS, /* nothing has changed: it has joints, which are to be SHUT first */
};

/*
 * Forgets the call.  unshared: only if nobody has joined, and then the call is sealed as well.
 * Only inside the section in which it was found.  After STATE_FORGOT the record stays in its
 * bucket until the call ends; otherwise nothing has changed.  What the calling thread wrote
 * before is seen by the leader of the key's next call.
 */
static inline enum state_forgot state_forget(state_word *word, bool unshared, bool shut)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    for (;;) { /* RACE: again, if the state has changed */
        if (state & (STATE_CLOSED | STATE_FORGOTTEN))
            return STATE_NOT_THERE;
        if (unshared && state_joiners(state) != 0)
            return STATE_SHARED;
        if (!shut && state_joints(state) != 0)
            return STATE_HAS_JOINTS;
        uint64_t forgotten = state | STATE_FORGOTTEN | (unshared ? STATE_SEALED : 0);
        if (atomic_cas_release(word, &state, forgotten)) /* [FORGET] */
            return STATE_FORGOT;
    }
}

enum state_sealed {
    STATE_WANTED,     /* somebody waits: not sealed here */
    STATE_WAS_SEALED, /* nobody waits, nor can come */
    STATE_IS_SEALED,  /* the same from here on; it had been forgotten */
    STATE_SEALED_NOW, /* the same, and this caller has forgotten it */
};

/*
 * Seals a call that nobody waits for, and forgets it.  By who leads it.  Orders nothing: what
 * is done after it is done by [MARK] and [UNLINK].
 */
static inline enum state_sealed state_seal(state_word *word)
{
    uint64_t state = atomic_load_relaxed(word); /* the CAS decides */

    for (;;) { /* RACE: again, if the state has changed */
        if (!state_unwanted(state))
            return STATE_WANTED;
        if (state & (STATE_CLOSED | STATE_SEALED))
            return STATE_WAS_SEALED;
        if (atomic_cas_relaxed(word, &state, state | STATE_FORGOTTEN | STATE_SEALED)) /* [FORGET] */
            return state & STATE_FORGOTTEN ? STATE_IS_SEALED : STATE_SEALED_NOW;
    }
}

/*
 * In a forked child, by who is alone with the call: nobody blocks in it, and it has no joints any
 * more, which had so many joiners.  Who was between two steps of leaving one counts as having left.
 */
static inline void state_after_fork(state_word *word, bool had_joints, uint64_t n_of_joints)
{
    uint64_t kept = STATE_CLOSED | STATE_FORGOTTEN | STATE_SEALED | STATE_STARTER | STATE_LEFT |
                    STATE_TAKEN | STATE_ASYNC_MASK * STATE_ASYNC;
    uint64_t state = (atomic_load_relaxed(word) & kept) + n_of_joints * STATE_ASYNC;
    atomic_store_relaxed(word, had_joints ? state | STATE_LEFT : state); /* alone with the call */
}

/* But one that the forking thread's own batch has joined. */
static inline void state_rejoin_after_fork(state_word *word)
{
    atomic_store_relaxed(word,
                         atomic_load_relaxed(word) + STATE_BLOCKING); /* alone with the call */
}

/* Nobody will end it. */
static inline void state_end_by_fork(state_word *word)
{
    uint64_t state = atomic_load_relaxed(word); /* alone with the call */
    atomic_store_relaxed(word, (state | STATE_CLOSED) & ~STATE_ORPHAN);
}

#endif
