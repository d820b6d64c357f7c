/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parking against publishing: gate_park() and gate_open() of src/gate.c.
 *
 * Two waiters, of whom each may also give up at a deadline and may be woken for
 * nothing once; one opener.  Nobody waits for ever at an open gate, and who comes
 * through finds the result written.
 *
 * -DFAULT=1  the opener looks for PARKED before it sets OPEN
 *        =2  a waiter sets PARKED, and sleeps without the kernel comparing
 *        =3  the result is written after the gate is open
 */
#define N 2
#include "futex.inc"

bool result;    /* written */
bool early;     /* somebody came through before that */
byte n_back;    /* waiters that have returned */
bool spurious[N];

proctype waiter(byte me; bool has_deadline)
{
    bool expired, slept;
again:
    if
    :: open -> goto through
    :: !open && expired -> goto back
    :: else
    fi;
    atomic { /* or PARKED */
        parked = true;
        if
        :: open -> goto again
        :: else
        fi
    }
    slept = true;
#if FAULT == 2
    atomic { asleep[me] = true }
#else
    futex_sleep(me);
#endif
    if
    :: !asleep[me]
    :: atomic { asleep[me] && has_deadline -> asleep[me] = false; expired = true }
    :: atomic { asleep[me] && !spurious[me] -> asleep[me] = false; spurious[me] = true }
    fi;
    goto again;
through:
    if
    :: slept -> futex_wake_one(); futex_wake_one()
    :: else
    fi;
    if
    :: !result -> early = true
    :: else
    fi;
back:
    n_back++
}

active proctype opener()
{
    bool seen;
#if FAULT == 3
    atomic { open = true; seen = parked }
    result = true;
#else
    result = true;
#if FAULT == 1
    seen = parked;
    open = true;
#else
    atomic { open = true; seen = parked } /* one read-modify-write */
#endif
#endif
    if
    :: seen -> futex_wake_one(); futex_wake_one()
    :: else
    fi
}

init
{
    bool with;
    if
    :: with = true
    :: with = false
    fi;
    atomic { run waiter(0, false); run waiter(1, with) }
}

ltl holds { <>(n_back == N) && [](!early) }
