/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The chain of wakes: the opener wakes two, or such as slept elsewhere, and everybody
 * who has slept wakes two more as it comes through, until one has found fewer than two
 * and has taken PARKED back (gate_park(), gate_open() and wake_some() of src/gate.c).
 * Four waiters, of whom two may be woken by their deadlines instead, at any moment.  All
 * come through.
 *
 * -DFAULT=1  who has slept wakes nobody
 *        =2  whose deadline has passed wakes nobody, though the gate was open
 *        =3  PARKED is taken back by who has found two
 *        =4  PARKED is taken back first, by who then finds two
 *        =5  the opener wakes nobody here, though nobody slept elsewhere
 */
#define N 4
#include "futex.inc"

byte n_through;

/* FUTEX_WAKE is one step, under the kernel's lock, and says how many it has woken. */
inline wake_two(few)
{
#if FAULT == 4
    parked = false;
#endif
    atomic {
        few = asleep[0] + asleep[1] + asleep[2] + asleep[3] < 2;
        futex_wake_one();
        futex_wake_one()
    };
    if
#if FAULT == 3
    :: true -> parked = false
#else
    :: few -> parked = false
    :: else
#endif
    fi
}

proctype waiter(byte me; bool has_deadline)
{
    bool expired, slept, few;
again:
    if
    :: open -> goto through
    :: !open && expired -> goto left
    :: else
    fi;
    atomic {
        parked = true;
        if
        :: open -> goto again
        :: else
        fi
    }
    slept = true;
    futex_sleep(me);
    if
    :: !asleep[me] /* a wake that it took, even if its deadline passes now: it is passed on */
        ->
        if
        :: has_deadline -> expired = true
        :: true
        fi
    :: atomic { asleep[me] && has_deadline -> asleep[me] = false; expired = true }
    fi;
    goto again;
through:
#if FAULT != 1
    if
#if FAULT == 2
    :: slept && parked && !expired -> wake_two(few)
#else
    :: slept && parked -> wake_two(few)
#endif
    :: else
    fi;
#endif
left:
    n_through++
}

#define ELSEWHERE (asleep[0] || asleep[2])

active proctype opener()
{
    bool seen, few;
    atomic { open = true; seen = parked }
    if
    :: atomic { seen && ELSEWHERE -> asleep[0] = false; asleep[2] = false }
#if FAULT != 5
    :: seen -> wake_two(few)
#endif
    :: else
    fi
}

init
{
    atomic {
        run waiter(0, false);
        run waiter(1, false);
        run waiter(2, true);
        run waiter(3, true)
    }
}

ltl holds { <>(n_through == N) }
