/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A gate: a word that is closed until it is opened, once, and that counts the holds on what
 * lies behind it.  Threads wait at it: they spin; where there are more of them than CPUs they
 * let others run, for as long as that has lately paid; then they park on a futex.
 * Every change of a gate is made by a function of this room.
 *
 *   bits  0..2   PARKED, OPEN, NUDGED, from the lowest
 *   bits  4..7   the opener's own (GATE_USER_SHIFT)
 *   bits 32..63  holds: how many may use what lies behind the gate
 *
 * PARKED   A thread sleeps at the gate, or is about to.
 *          Set by a waiter before it sleeps (gate_park()).  Cleared by who wakes, the opener or
 *          a woken waiter, when the gate is open and nobody sleeps (wake_some()); a waiter that
 *          was about to sleep may set it once more, and then sees OPEN.
 *          Stale: where it is seen though nobody sleeps, a wake is wasted.  It is never missed:
 *          whoever must wake reads it with a read-modify-write of this word.
 * OPEN     What lies behind the gate may be used.
 *          Set once, by whoever ends the call (gate_open(), gate_open_unseen()); of a gate that
 *          nobody has come to, by a holder (gate_open_untouched()).  Never cleared, until the
 *          gate is used again (gate_init()).
 *          Stale: a gate may be open though it was read as closed.  A waiter does not rely on
 *          having read it as closed: see the lost wake-up below.
 * NUDGED   A waiter is to look at what the gate guards (at a call: whether it is an orphan).
 *          Set by gate_nudge(), after that which is to be looked at.  Cleared by gate_answer(),
 *          by the waiter that then looks.
 *          Stale: where it is seen though somebody has answered, the waiter looks in vain.
 *          It is not missed: the kernel compares the word, so no thread goes to sleep with it.
 * the opener's bits   Set with OPEN, in one step.  Constant from then on.
 * holds    Added with OPEN, in the same step; one more by gate_hold(), one less by gate_drop().
 *          A hold may be given up before OPEN has added it: the sum is then below 0, modulo
 *          2^32, and opening makes it right.  So the number means something only with OPEN.
 *          The last holder finds 1 when it gives its hold up, and nobody else may then use
 *          what lies behind.
 *
 * The low half is the futex word, so that a hold can be given up without disturbing a sleeper.
 *
 * The lost wake-up, and why there is none.  A waiter sets PARKED, and sleeps only if the word
 * had no OPEN.  The opener sets OPEN in the same word, and wakes if it finds PARKED.  Whichever
 * of the two read-modify-writes is second sees the first; and the kernel compares the word
 * again before the thread sleeps.
 *
 *     waiter                              opener
 *     or PARKED  -> no OPEN seen          add OPEN -> PARKED seen
 *     futex_wait(PARKED)                  futex_wake(FAN_OUT)
 *       sleeps, or the word has changed     finds the sleeper, or it never slept
 *
 * The order in which waiters are woken is a chain.  The opener wakes FAN_OUT sleepers, and each
 * waiter that was parked wakes FAN_OUT more as it leaves.  So the opener is soon done, however
 * many wait.  If there are more than that, the opener wakes such as went to sleep on other CPUs,
 * if there are any, and so keeps its own.  Where other processes want the CPUs, each link of the
 * chain would wait for some of their slices: there the opener wakes all, if its holds are not very
 * many.  Otherwise, which sleepers a wake finds is the kernel's choice: by priority, and among
 * equals the one that went to sleep first.  A wake of any that finds fewer than FAN_OUT has found
 * the last, because nobody goes to sleep at an open gate; it clears PARKED, and the other waiters
 * need not ask the kernel.
 */
#ifndef SFLIGHT_GATE_H
#define SFLIGHT_GATE_H

#include "rivals.h"

#include <time.h>

typedef _Atomic(uint64_t) gate;

#define GATE_PARKED UINT64_C(1)
#define GATE_OPEN UINT64_C(2)
#define GATE_NUDGED UINT64_C(4)
#define GATE_USER_SHIFT 4 /* the first of the opener's bits */
#define GATE_HOLD (UINT64_C(1) << 32)

/* The holds in a gate's word, as it was read. */
static inline uint32_t gate_holds(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

/* How often one way to wait has lately paid: it saw the gate open before the thread had to park. */
struct habit {
    uint32_t score;     /* 0 (never) to HABIT_SCORE_MAX (always) */
    uint32_t n_skipped; /* waits in which it was not tried, since it last was */
};

#define HABIT_SCORE_MAX 256

/* How a thread waits before it parks, and how that has fared.  Used by one thread at a time. */
struct spinner {
    uint64_t limit_ns; /* spin never longer than this; SPIN_ADAPTIVE: as gate.c decides */
    struct rivals *rivals;
    struct habit spin;
    struct habit yield; /* giving the CPU up instead */
    bool crowded;       /* there may be more threads than CPUs; set by the room that waits */
};

#define SPIN_ADAPTIVE UINT64_MAX

/* Sets a spinner up that has learnt nothing yet, but for the group's rivals.  limit_ns:
 * options.spin_ns. */
void spinner_init(struct spinner *s, uint64_t limit_ns, struct rivals *rivals);

enum gate_outcome {
    GATE_IS_CLOSED, /* of gate_spin() only: the thread should park */
    GATE_IS_OPEN,   /* and what was written before it was opened is seen */
    GATE_IS_NUDGED, /* to be answered with gate_answer() */
    GATE_TIMED_OUT, /* the deadline has passed */
};

/*
 * The functions with which a thread waits, this one first.  It keeps the record that the gate
 * is part of: it has a hold, or has joined, and so gets one.  deadline: NULL, or a valid one.
 *
 * This one does not sleep, and goes on for as long as that may pay.  rank: how many waited
 * before this thread; a thread whose spinning would leave no CPU for others does not spin.
 * In a crowd a thread gives the CPU up a few times, unless the deadline is near.
 */
enum gate_outcome gate_spin(gate *g, unsigned rank, struct spinner *s,
                            const struct timespec *deadline);

/*
 * Sleeps until the gate is open or nudged, or the deadline has passed; an open gate wins over
 * either.  Never returns GATE_IS_CLOSED.
 */
enum gate_outcome gate_park(gate *g, const struct timespec *deadline);

/*
 * Opens a gate that others may know, adds the holds, and wakes.  Once, by whoever ends the
 * call.  bits: the opener's, already shifted.  One of the holds is the calling function's own,
 * and keeps the gate until this returns.  rivals: the group's.
 */
void gate_open(gate *g, uint64_t bits, uint32_t holds, const struct rivals *rivals);

/*
 * Makes one waiter, if there is any, return GATE_IS_NUDGED.  By a function that has a hold, after
 * it has written what the waiter is to look at.
 */
void gate_nudge(gate *g);

/*
 * Takes a nudge back.  By the waiter that got GATE_IS_NUDGED, which then looks at what the
 * nudge was about, and waits again.  A nudge that comes meanwhile is found by that wait.
 */
void gate_answer(gate *g);

/* Sets up a gate that nobody else knows; or, in a forked child, one that nobody waits at. */
static ALWAYS_INLINE void gate_init(gate *g)
{
    atomic_store_relaxed(g, 0);
}

/* True if the gate is open; then what was written before it was opened is seen. */
static ALWAYS_INLINE bool gate_is_open(gate *g)
{
    return atomic_load_acquire(g) & GATE_OPEN; /* [PUB-RESULT] */
}

/* Opens a gate that no other thread can look at; or, in a forked child, any. */
static ALWAYS_INLINE void gate_open_unseen(gate *g, uint64_t bits, uint32_t holds)
{
    REQUIRE(!(require_word(g) & GATE_OPEN));
    atomic_store_relaxed(g, GATE_OPEN | bits | GATE_HOLD * holds);
}

/* True if nobody has come to the gate and nobody has opened it.  By a holder, after the call. */
static ALWAYS_INLINE bool gate_is_untouched(const gate *g)
{
    return atomic_load_relaxed(g) == 0;
}

/* Opens the gate with one hold, if it is untouched.  Holders may try at once; one does it. */
static ALWAYS_INLINE void gate_open_untouched(gate *g)
{
    uint64_t word = atomic_load_relaxed(g); /* the CAS decides */
    if (word == 0)
        (void)atomic_cas_relaxed(g, &word, GATE_OPEN | GATE_HOLD);
}

/* Adds a hold.  By a function that has a hold, or leads or has joined the call. */
static ALWAYS_INLINE void gate_hold(gate *g)
{
    atomic_add_relaxed(g, GATE_HOLD);
}

/*
 * The count of an open gate's holds never wraps: from GATE_MANY on it is no count any more, it
 * stays about there, and what lies behind the gate stays for ever.
 */
#define GATE_MANY UINT32_C(0x80000000)
#define GATE_FAR (UINT32_C(0x40000000) * GATE_HOLD) /* as far from it as from wrapping */

/* One more hold on an open gate, by somebody who has one; any number of times. */
static inline void gate_hold_again(gate *g)
{
    uint64_t word = atomic_add_relaxed(g, GATE_HOLD);

    if (UNLIKELY(gate_holds(word) >= GATE_MANY - 1)) {
        /* UNREACHED: two thousand million holds; none of these orders anything */
        word = atomic_or_relaxed(g, GATE_MANY * GATE_HOLD | GATE_FAR);
        if ((word & GATE_FAR) != 0)
            atomic_sub_relaxed(g, GATE_HOLD); /* it was there already */
    }
}

/*
 * Gives up n holds, perhaps such as opening has not added yet.  Returns true for the last hold
 * on an open gate: its holder sees what the others did before they gave theirs up, and is the
 * only one that may use what lies behind the gate.
 */
static ALWAYS_INLINE bool gate_drop_n(gate *g, uint32_t n)
{
    uint64_t word = atomic_sub_acq_rel(g, GATE_HOLD * n); /* [HOLD] */
    if (LIKELY(gate_holds(word) != n)) {
        if (UNLIKELY(gate_holds(word) >= GATE_MANY) && (word & GATE_OPEN))
            atomic_add_relaxed(g, GATE_HOLD * n); /* UNREACHED: there are more than were counted */
        return false;
    }
    return word & GATE_OPEN;
}

static ALWAYS_INLINE bool gate_drop(gate *g)
{
    return gate_drop_n(g, 1);
}

/* True if there are other holds than the calling function's on an open gate.  A hint. */
static ALWAYS_INLINE bool gate_has_others(const gate *g)
{
    return gate_holds(atomic_load_relaxed(g)) > 1; /* whoever gives one up looks again */
}

/*
 * True if the calling function's hold is the only one on an open gate: then it need not be
 * given up by gate_drop(), and what the other holders did before they gave theirs up is seen.
 */
static ALWAYS_INLINE bool gate_hold_is_last(gate *g)
{
    REQUIRE((require_word(g) & GATE_OPEN) && gate_holds(require_word(g)) != 0);
    return gate_holds(atomic_load_acquire(g)) == 1; /* [HOLD] */
}

#endif
