/* SPDX-License-Identifier: BSD-2-Clause */
#include "park.h"

#include "clock.h"
#include "cpu.h"
#include "futex.h"

#include <errno.h>

enum {
    FAN_OUT = 2,
    /* What a park and its wake cost on a 2-core virtual machine: spinning for
       that long costs at most twice what the better choice would have. */
    SPIN_MAX_NS = 20000,
    /* The same where another thread could use the CPU meanwhile, and join: such a
       spin has to be for calls much shorter than that. */
    SPIN_CROWDED_NS = 4000,
    /* A spinner that never succeeds still tries one wait in so many. */
    SPIN_RETRY = 32,
    SPIN_SCORE_MIN = SPIN_SCORE_MAX / 8,
    SPIN_SCORE_SHIFT = 3,
    RELAX_PER_LOOK = 16, /* steps between two readings of the clock */
};

static uint32_t *futex_word(gate *g)
{
    /* The low half; both supported machines are little-endian. */
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half comes first");
    return (uint32_t *)(void *)g;
}

void spinner_init(struct spinner *s, uint64_t limit_ns)
{
    s->limit_ns = limit_ns;
    s->score = SPIN_SCORE_MAX / 2;
    s->n_skipped = 0;
    s->crowded = false;
}

/* How long this wait may spin: 0, or nanoseconds. */
static uint64_t spin_budget(struct spinner *s, unsigned rank)
{
    if (rank >= cpu_count() - 1)
        return 0;
    if (s->limit_ns != SPIN_ADAPTIVE)
        return s->limit_ns;
    if (s->score < SPIN_SCORE_MIN && ++s->n_skipped < SPIN_RETRY)
        return 0;
    s->n_skipped = 0;
    return s->crowded ? SPIN_CROWDED_NS : SPIN_MAX_NS;
}

enum gate_outcome gate_spin(gate *g, unsigned rank, struct spinner *s,
                            const struct timespec *deadline)
{
    uint64_t word = atomic_load_acquire(g); /* [PUB-RESULT] */
    if (word & GATE_OPEN)
        return GATE_IS_OPEN;

    uint64_t left_ns = clock_left_ns(deadline);
    if (left_ns == 0)
        return GATE_TIMED_OUT;
    uint64_t budget_ns = spin_budget(s, rank);
    if (budget_ns == 0)
        return GATE_IS_CLOSED;
    if (budget_ns > left_ns)
        budget_ns = left_ns;
    uint64_t begin = clock_now_ns();
    do {
        for (int i = 0; i < RELAX_PER_LOOK; i++) {
            cpu_relax();
            word = atomic_load_acquire(g); /* [PUB-RESULT] */
            if (word & (GATE_OPEN | GATE_NUDGED)) {
                s->score += (SPIN_SCORE_MAX - s->score) >> SPIN_SCORE_SHIFT;
                return word & GATE_OPEN ? GATE_IS_OPEN : GATE_IS_NUDGED;
            }
        }
    } while (clock_now_ns() - begin < budget_ns);
    s->score -= s->score >> SPIN_SCORE_SHIFT;
    return GATE_IS_CLOSED;
}

enum gate_outcome gate_park(gate *g, const struct timespec *deadline)
{
    bool expired = false, slept = false;

    for (;;) {
        uint64_t word = atomic_load_acquire(g); /* [PUB-RESULT] */
        if (word & GATE_OPEN) {
            if (slept)
                futex_wake(futex_word(g), FAN_OUT);
            return GATE_IS_OPEN;
        }
        if (expired)
            return GATE_TIMED_OUT;
        if (!(word & GATE_PARKED))
            word = atomic_or_relaxed(g, GATE_PARKED); /* [PARK]: one word, any order */
        if (word & GATE_OPEN)
            continue;
        if (word & GATE_NUDGED)
            return GATE_IS_NUDGED;
        slept = true;
        expired = futex_wait(futex_word(g), (uint32_t)GATE_PARKED, deadline) == -ETIMEDOUT;
    }
}

void gate_open(gate *g, uint64_t bits, uint32_t holds)
{
    uint64_t word =
        atomic_add_release(g, GATE_OPEN + bits + GATE_HOLD * holds); /* [PUB-RESULT] [PARK] */
    if (word & GATE_PARKED)
        futex_wake(futex_word(g), FAN_OUT);
}

void gate_nudge(gate *g)
{
    uint64_t word = atomic_or_release(g, GATE_NUDGED); /* [NUDGE] */
    if (word & GATE_PARKED)
        futex_wake(futex_word(g), 1);
}

void gate_answer(gate *g)
{
    (void)atomic_and_acquire(g, ~GATE_NUDGED); /* [NUDGE] */
}
