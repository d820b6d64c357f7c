/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Takeover: call_abandon_permit(), take_over() and call_leave() of src/call.c over
 * gate_nudge(), gate_answer() and gate_park() of src/gate.c.
 *
 * The leader dies; N followers have joined, of whom one has no deadline, and the
 * others one that may pass at any moment.  Who takes over may die as well, DEATHS
 * leaders in all.  Never two lead, and every follower comes back: with the result,
 * after leading, at its deadline, or told that nobody was left to take over; and the
 * call ends.
 *
 * -DFAULT=1  a follower that leaves does not pass the nudge on
 *        =2  the nudge is taken back after ORPHAN has been looked at
 *        =3  the nudge comes before ORPHAN
 *        =4  taking over is a look and a store
 *        =5  the last follower leaves an orphan without closing it
 */
#define N 3
#define DEATHS 2
#include "futex.inc"

/* The word `state`. */
#define CLOSED 1
#define ORPHAN 2
#define BLOCKING 4 /* one follower that blocks */
byte state = N * BLOCKING;

byte n_leading = 1, n_deaths, n_back;
bool two_leaders;

inline nudge()
{
    atomic { nudged = true; was_parked = parked }
    if
    :: was_parked -> futex_wake_one()
    :: else
    fi
}

inline publish()
{
    atomic { open = true; was_parked = parked }
    if
    :: was_parked -> futex_wake_one(); futex_wake_one()
    :: else
    fi
}

/* The leader has died: somebody else goes on, or nobody. */
inline abandon()
{
    n_leading--;
    n_deaths++;
#if FAULT == 3
    nudge();
#endif
    atomic {
        seen = state;
        state = state | (seen >= BLOCKING -> ORPHAN : CLOSED)
    }
    if
    :: seen < BLOCKING -> publish()
    :: seen >= BLOCKING ->
#if FAULT == 3
        skip
#else
        nudge()
#endif
    fi;
    seen = 0
}

proctype leader() /* the first */
{
    bool was_parked;
    byte seen;
    abandon()
}

proctype follower(byte me; bool has_deadline)
{
    bool expired, slept, was_parked, took;
    byte seen;
again:
    if
    :: open -> goto through
    :: !open && expired -> goto leave
    :: else
    fi;
    atomic { /* or PARKED */
        parked = true;
        if
        :: open -> goto again
        :: !open && nudged -> goto answer
        :: else
        fi
    }
    slept = true;
    futex_sleep(me);
    if
    :: !asleep[me]
    :: !asleep[me] && has_deadline -> expired = true /* woken, and its deadline passes */
    :: atomic { asleep[me] && has_deadline -> asleep[me] = false; expired = true }
    fi;
    goto again;

answer:
#if FAULT != 2
    nudged = false;
#endif
#if FAULT == 4
    took = (state & ORPHAN) != 0;
    if
    :: took -> state = (state & ~ORPHAN) - BLOCKING
    :: else
    fi;
#else
    atomic {
        took = (state & ORPHAN) != 0;
        if
        :: took -> state = (state & ~ORPHAN) - BLOCKING
        :: else
        fi
    }
#endif
#if FAULT == 2
    nudged = false;
#endif
    if
    :: !took -> goto again
    :: took ->
        atomic { n_leading++; two_leaders = two_leaders || n_leading > 1 }
        if
        :: n_deaths < DEATHS -> abandon()
        :: n_leading--; state = state | CLOSED; publish()
        fi
    fi;
    goto back;

leave:
    seen = state;
    if
    :: seen & CLOSED -> goto back /* counted: it gives the hold back that is on its way */
    :: !(seen & CLOSED) && (seen & ORPHAN) && seen / BLOCKING > 1 ->
#if FAULT == 1
        skip
#else
        nudge() /* whoever was nudged may be this one */
#endif
    :: else
    fi;
    atomic { /* the CAS */
        took = state == seen;
        if
#if FAULT == 5
        :: took -> state = seen - BLOCKING
#else
        :: took && (seen & ORPHAN) && seen / BLOCKING == 1 -> state = (seen - BLOCKING) | CLOSED
        :: took && !((seen & ORPHAN) && seen / BLOCKING == 1) -> state = seen - BLOCKING
#endif
        :: else
        fi
    }
    if
    :: !took -> goto leave
#if FAULT != 5
    :: took && (seen & ORPHAN) && seen / BLOCKING == 1 -> publish()
#endif
    :: else
    fi;
    goto back;

through:
    if
    :: slept -> futex_wake_one(); futex_wake_one()
    :: else
    fi;
back:
    n_back++
}

init
{
    atomic {
        run leader();
        run follower(0, false);
        run follower(1, true);
        run follower(2, true)
    }
}

ltl holds { <>(n_back == N && (state & CLOSED)) && [](!two_leaders) }
