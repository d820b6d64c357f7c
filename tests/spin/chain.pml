/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The chain of wakes: the opener wakes two, and everybody who has slept wakes two
 * more as it comes through (gate_park() of src/park.c).  Four waiters, of whom two
 * may be woken by their deadlines instead, at any moment.  All come through.
 *
 * -DFAULT=1  who has slept wakes nobody
 *        =2  whose deadline has passed wakes nobody, though the gate was open
 */
#define N 4
#include "futex.inc"

byte n_through;

proctype waiter(byte me; bool has_deadline)
{
    bool expired, slept;
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
    :: slept && !expired -> futex_wake_one(); futex_wake_one()
#else
    :: slept -> futex_wake_one(); futex_wake_one()
#endif
    :: else
    fi;
#endif
left:
    n_through++
}

active proctype opener()
{
    bool seen;
    atomic { open = true; seen = parked }
    if
    :: seen -> futex_wake_one(); futex_wake_one()
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
