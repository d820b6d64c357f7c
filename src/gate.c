/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate.h"

#include "clock.h"
#include "cpu.h"
#include "futex.h"

#include <errno.h>

#ifndef FAN_OUT /* less in a build for tests */
enum { FAN_OUT = 8 };
#endif

enum {
    /* Beside rivals the opener wakes all itself, with so many holds.  More would have its CPU
       before it is done. */
    WAKES_ALL = 64,
    /* What a park and its wake cost on a virtual machine with 2 CPUs.  A thread that spins for
       so long and then parks has spent at most twice what the better choice would have. */
    SPIN_MAX_NS = 20000,
    /* The same in a crowd, where another thread could use the CPU meanwhile, and join: a spin
       then pays only for calls that are much shorter. */
    SPIN_CROWDED_NS = 4000,
    RELAX_PER_LOOK = 16, /* looks at the gate between two readings of the clock */
    /* In a crowd a thread gives the CPU up: that costs a fraction of a park and its wake, and
       the threads that get the CPU may join.  It does so this many times, each a turn of all
       other threads of the CPU; and for at least SPIN_MAX_NS, in case there are none. */
    YIELDS = 4,
    /* A turn may last as long as the time slices of others, so a thread does not give the CPU
       up with less than this left until its deadline. */
    YIELD_LEFT_NS = 50000000,
    /* A way to wait that has hardly ever paid (HABIT_SCORE_MIN) is still tried in one wait of
       so many.  Each result moves the score by 1/8 of what is left towards it. */
    HABIT_RETRY = 32,
    HABIT_SCORE_MIN = HABIT_SCORE_MAX / 8,
    HABIT_SCORE_SHIFT = 3,
};

static uint32_t *futex_word(gate *g)
{
    /* The low half; both supported machines are little-endian. */
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half comes first");
    return (uint32_t *)(void *)g;
}

void spinner_init(struct spinner *s, uint64_t limit_ns, struct rivals *rivals)
{
    const struct habit untried = {.score = HABIT_SCORE_MAX / 2};

    *s =
        (struct spinner){.limit_ns = limit_ns, .rivals = rivals, .spin = untried, .yield = untried};
}

/* True if this wait should try it; otherwise the wait is counted as one that has not. */
static bool habit_tries(struct habit *h)
{
    if (h->score < HABIT_SCORE_MIN && ++h->n_skipped < HABIT_RETRY)
        return false;
    h->n_skipped = 0;
    return true;
}

static void habit_learn(struct habit *h, bool paid)
{
    int score = (int)h->score;

    if (paid)
        score += (HABIT_SCORE_MAX - score) >> HABIT_SCORE_SHIFT;
    else
        score -= score >> HABIT_SCORE_SHIFT;
    h->score = (uint32_t)score;
}

/* How long this wait may spin: nanoseconds, or 0 for not at all. */
static uint64_t spin_budget(struct spinner *s, unsigned rank)
{
    if (rank >= cpu_count() - 1)
        return 0;
    if (s->limit_ns != SPIN_ADAPTIVE)
        return s->limit_ns;
    if (!habit_tries(&s->spin))
        return 0;
    return s->crowded ? SPIN_CROWDED_NS : SPIN_MAX_NS;
}

static enum gate_outcome gate_look(gate *g)
{
    uint64_t word = atomic_load_acquire(g); /* [PUB-RESULT] */

    if (word & GATE_OPEN)
        return GATE_IS_OPEN;
    return word & GATE_NUDGED ? GATE_IS_NUDGED : GATE_IS_CLOSED;
}

static enum gate_outcome spin(gate *g, uint64_t budget_ns, struct spinner *s)
{
    uint64_t begin = clock_now_ns(), passed_ns;
    enum gate_outcome outcome = GATE_IS_CLOSED;

    do {
        for (int i = 0; i < RELAX_PER_LOOK && outcome == GATE_IS_CLOSED; i++) {
            cpu_relax();
            outcome = gate_look(g);
        }
        passed_ns = clock_now_ns() - begin;
    } while (outcome == GATE_IS_CLOSED && passed_ns < budget_ns);
    /* Whoever sleeps is woken in the middle of others' slices, whoever spins loses its own. */
    if (UNLIKELY(passed_ns >= RIVALS_SLICE_NS && passed_ns - RIVALS_SLICE_NS >= budget_ns) &&
        rivals_took(s->rivals, begin + passed_ns))
        s->spin.score = 0;
    else
        habit_learn(&s->spin, outcome != GATE_IS_CLOSED);
    return outcome;
}

static enum gate_outcome yield(gate *g, const struct timespec *deadline, struct spinner *s)
{
    enum rivals_advice advice = rivals_advise(s->rivals);
    if (advice == RIVALS_THERE)
        return GATE_IS_CLOSED;

    uint64_t begin = clock_now_ns(), before, now = begin;
    int n_yields = 0;
    enum gate_outcome outcome;

    do {
        before = now;
        cpu_yield();
        outcome = gate_look(g);
        now = clock_now_ns();
        if (UNLIKELY(now - before >= RIVALS_SLICE_NS) && rivals_took(s->rivals, now))
            return outcome;
    } while (outcome == GATE_IS_CLOSED && (++n_yields < YIELDS || now - begin < SPIN_MAX_NS) &&
             clock_left_ns(deadline) > YIELD_LEFT_NS);
    if (advice == RIVALS_PROBE)
        rivals_gone(s->rivals);
    habit_learn(&s->yield, outcome != GATE_IS_CLOSED);
    return outcome;
}

enum gate_outcome gate_spin(gate *g, unsigned rank, struct spinner *s,
                            const struct timespec *deadline)
{
    if (atomic_load_acquire(g) & GATE_OPEN) /* [PUB-RESULT] */
        return GATE_IS_OPEN;

    enum gate_outcome outcome = GATE_IS_CLOSED;
    uint64_t left_ns = clock_left_ns(deadline);
    if (left_ns == 0)
        return GATE_TIMED_OUT;
    uint64_t budget_ns = spin_budget(s, rank);
    if (budget_ns != 0)
        outcome = spin(g, budget_ns < left_ns ? budget_ns : left_ns, s);
    if (outcome == GATE_IS_CLOSED && s->crowded && s->limit_ns == SPIN_ADAPTIVE &&
        left_ns > YIELD_LEFT_NS && habit_tries(&s->yield))
        outcome = yield(g, deadline, s);
    return outcome;
}

/* Wakes up to n sleepers of an open gate, and clears PARKED if those were the last. */
static void wake_some(gate *g, uint32_t n)
{
    /* Nobody goes to sleep at an open gate: fewer than asked for are the last. */
    if (futex_wake(futex_word(g), n) < n)
        (void)atomic_and_relaxed(g, ~GATE_PARKED); /* only spares the others a system call */
}

enum gate_outcome gate_park(gate *g, const struct timespec *deadline)
{
    REQUIRE_NO_SECTION();
    bool expired = false, slept = false;

    for (;;) {
        uint64_t word = atomic_load_acquire(g); /* [PUB-RESULT] */
        if (word & GATE_OPEN) {
            if (slept && (word & GATE_PARKED))
                wake_some(g, FAN_OUT);
            return GATE_IS_OPEN;
        }
        if (expired)
            return GATE_TIMED_OUT;
        if (!(word & GATE_PARKED))
            word = atomic_or_relaxed(g, GATE_PARKED); /* [PARK]: one word, any order */
        if (word & GATE_OPEN)
            continue; /* RACE: opened since */
        if (word & GATE_NUDGED)
            return GATE_IS_NUDGED;
        slept = true;
        expired = futex_wait(futex_word(g), (uint32_t)GATE_PARKED, deadline) == -ETIMEDOUT;
    }
}

void gate_open(gate *g, uint64_t bits, uint32_t holds, const struct rivals *rivals)
{
    REQUIRE(!(require_word(g) & GATE_OPEN));
    uint64_t word =
        atomic_add_release(g, GATE_OPEN + bits + GATE_HOLD * holds); /* [PUB-RESULT] [PARK] */
    if (!(word & GATE_PARKED))
        return;
    if (holds <= WAKES_ALL + 1 && rivals_there(rivals)) {
        wake_some(g, UINT32_MAX);
        return;
    }
    /* Where there are many, whoever is woken here would soon have this thread's CPU. */
    if (holds > FAN_OUT && futex_wake_elsewhere(futex_word(g), FAN_OUT) != 0)
        return; /* each of them goes on with it */
    wake_some(g, FAN_OUT);
}

void gate_nudge(gate *g)
{
    uint64_t word = atomic_or_release(g, GATE_NUDGED); /* [NUDGE] */
    if (word & GATE_PARKED)
        futex_wake(futex_word(g), 1);
}

void gate_answer(gate *g)
{
    uint64_t word = atomic_and_acquire(g, ~GATE_NUDGED); /* [NUDGE] */
    if ((word & GATE_OPEN) && (word & GATE_PARKED))
        wake_some(g, FAN_OUT); /* RACE: it may have been the opener that woke this thread */
}
