/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A gate: closed until somebody opens it, once.  Threads wait at it: they spin, and
 * where there are more of them than CPUs let others run, for as long as that has lately
 * paid; then they park on a futex.
 *
 *   bits  0..7   PARKED  set by a waiter before it sleeps; cleared when the gate is open
 *                        and nobody sleeps any more (whoever was about to may set it again)
 *                OPEN    set once, by the opener
 *                NUDGED  look up: what the gate guards wants attention
 *                and four bits that the opener may use
 *   bits 32..63  holds: how many may use what lies behind the gate
 *
 * Opening sets OPEN and adds the holds in one read-modify-write.  The low half
 * is the futex word, so that holds can be given up without disturbing it.
 *
 * The lost wake-up, and why there is none: a waiter sets PARKED and sleeps only
 * if the word still has no OPEN; the opener sets OPEN in the same word and
 * wakes if it finds PARKED.  Whichever of the two read-modify-writes is second
 * sees the first; and the kernel compares the word again before it sleeps.
 *
 *     waiter                              opener
 *     or PARKED  -> no OPEN seen          add OPEN -> PARKED seen
 *     futex_wait(PARKED)                  futex_wake(FAN_OUT)
 *       asleep, or the word has changed     finds the sleeper, or it never slept
 *
 * Waking is a chain: the opener wakes FAN_OUT, and everybody who was parked
 * wakes FAN_OUT more as it leaves, so that the opener is soon done, however
 * many wait.  Who finds fewer has found the last, for nobody goes to sleep at an
 * open gate, and clears PARKED: the others need not ask the kernel.
 */
#ifndef SFLIGHT_GATE_H
#define SFLIGHT_GATE_H

#include "atomic.h"

#include <time.h>

typedef _Atomic(uint64_t) gate;

#define GATE_PARKED UINT64_C(1)
#define GATE_OPEN UINT64_C(2)
#define GATE_NUDGED UINT64_C(4)
#define GATE_USER_SHIFT 4 /* the first of the opener's bits */
#define GATE_HOLD (UINT64_C(1) << 32)

static inline uint32_t gate_holds(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

/* Has it lately paid? */
struct habit {
    uint32_t score;     /* 0 (never) to HABIT_SCORE_MAX (always) */
    uint32_t n_skipped; /* waits since it was last tried */
};

#define HABIT_SCORE_MAX 256

/* How waiting without parking has fared, kept by each thread for itself. */
struct spinner {
    uint64_t limit_ns; /* spin never longer than this; SPIN_ADAPTIVE: as this file sees fit */
    struct habit spin;
    struct habit yield; /* giving the CPU up instead */
    bool crowded;       /* there may be more threads than CPUs */
};

#define SPIN_ADAPTIVE UINT64_MAX

void spinner_init(struct spinner *s, uint64_t limit_ns);

enum gate_outcome {
    GATE_IS_CLOSED, /* of gate_spin(): park */
    GATE_IS_OPEN,
    GATE_IS_NUDGED,
    GATE_TIMED_OUT,
};

/*
 * Waits without sleeping, for as long as that may pay.  rank: how many were
 * waiting before; those that would leave no CPU for the others do not spin.  Those
 * of a crowd give the CPU up a few times, unless the deadline is near.
 */
enum gate_outcome gate_spin(gate *g, unsigned rank, struct spinner *s,
                            const struct timespec *deadline);

/*
 * Sleeps until the gate is open, is nudged, or the deadline has passed; an open
 * gate wins over either.
 */
enum gate_outcome gate_park(gate *g, const struct timespec *deadline);

/* Opens the gate, adds holds, wakes.  bits: the opener's, already shifted. */
void gate_open(gate *g, uint64_t bits, uint32_t holds);

/* Makes one waiter, if there is any, return GATE_IS_NUDGED. */
void gate_nudge(gate *g);

/*
 * Takes the nudge back, by the waiter that answers it.  It then looks at what
 * the nudge was about: a nudge set meanwhile is seen by the next look.
 */
void gate_answer(gate *g);

/* A gate before anybody else knows it; or, in a forked child, with nobody at it. */
static ALWAYS_INLINE void gate_init(gate *g)
{
    atomic_store_relaxed(g, 0);
}

/* Whoever finds it open sees what was written before it was opened. */
static ALWAYS_INLINE bool gate_is_open(gate *g)
{
    return atomic_load_acquire(g) & GATE_OPEN; /* [PUB-RESULT] */
}

/* Opens a gate that nobody else knows of. */
static ALWAYS_INLINE void gate_open_unseen(gate *g, uint64_t bits, uint32_t holds)
{
    REQUIRE(!(require_word(g) & GATE_OPEN));
    atomic_store_relaxed(g, GATE_OPEN | bits | GATE_HOLD * holds);
}

/* Nobody has come to it, nor opened it; for a thread that knows nobody else may do so. */
static ALWAYS_INLINE bool gate_is_untouched(const gate *g)
{
    return atomic_load_relaxed(g) == 0;
}

/* Opens it with one hold if it is untouched; several may try at once, and one does. */
static ALWAYS_INLINE void gate_open_untouched(gate *g)
{
    uint64_t word = atomic_load_relaxed(g); /* 0: the holder's alone; the CAS decides */
    if (word == 0)
        (void)atomic_cas_relaxed(g, &word, GATE_OPEN | GATE_HOLD);
}

/* One more hold, by somebody who keeps what lies behind the gate from going. */
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
        word = atomic_or_relaxed(g, GATE_MANY * GATE_HOLD | GATE_FAR); /* none orders anything */
        if ((word & GATE_FAR) != 0)
            atomic_sub_relaxed(g, GATE_HOLD); /* it was there already */
    }
}

/*
 * Gives up n holds, perhaps such as opening has not added yet.  True for the last of an open
 * gate, who sees what the others did before they gave theirs up.
 */
static ALWAYS_INLINE bool gate_drop_n(gate *g, uint32_t n)
{
    uint64_t word = atomic_sub_acq_rel(g, GATE_HOLD * n); /* [HOLD] */
    if (LIKELY(gate_holds(word) != n)) {
        if (UNLIKELY(gate_holds(word) >= GATE_MANY) && (word & GATE_OPEN))
            atomic_add_relaxed(g, GATE_HOLD * n); /* there are more than were counted */
        return false;
    }
    return word & GATE_OPEN;
}

static ALWAYS_INLINE bool gate_drop(gate *g)
{
    return gate_drop_n(g, 1);
}

/* Is the caller's hold the only one?  If so the others' last words are acquired. */
static ALWAYS_INLINE bool gate_hold_is_last(gate *g)
{
    REQUIRE((require_word(g) & GATE_OPEN) && gate_holds(require_word(g)) != 0);
    return gate_holds(atomic_load_acquire(g)) == 1; /* [HOLD] */
}

#endif
