/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forgetting against the end of a call and against joiners: the word `state` of
 * src/call.c, and the table as a place where at most one joinable call of the key is
 * found.  Two callers, of whom the first calls twice, and one that forgets, with or
 * without "unless it is shared".  A record is never used again here.
 *
 *   - fn runs for one call at a time, unless it was forgotten in between;
 *   - whoever joined is counted at the close, or was counted as not having joined:
 *     everybody comes back;
 *   - no caller gets the result of a call that somebody had returned from, or that was
 *     forgotten, before it began;
 *   - forget_unshared, if it says that it forgot, leaves the result to the leader;
 *   - a call that has ended takes itself out of the table, and no other.
 *
 * -DFAULT=1  the result is published before the call is closed
 *        =2  the end of a call takes the key out of the table, whatever stands there
 *        =3  forget_unshared sets no SEALED
 *        =4  a joiner does not look for CLOSED in what it added to
 *        =5  forget_unshared finds nobody who has joined, and sets SEALED later
 */
#define CALLS 4
#define CLOSED 1
#define FORGOTTEN 2
#define SEALED 4
#define JOINER 8

#define BIT(c) (1 << (c))
#define RUNS_UNFORGOTTEN(c) ((running & BIT(c)) != 0 && (state[c] & FORGOTTEN) == 0)

byte state[CALLS]; /* by call; 0 is nobody's */
bool open[CALLS];  /* gates */
byte credits[CALLS];
byte found;        /* what a search finds: the call that was claimed last, unless unlinked */
byte n_calls;      /* claimed so far */
byte running;      /* set of calls whose fn runs */
byte gone;         /* set of calls: somebody has returned with the result, or forgot it */
byte alone;        /* set of calls that forget_unshared said are their leaders' only */
bool bad;
byte n_done;

inline check(condition)
{
    if
    :: condition
    :: else -> bad = true
    fi
}

inline unlink(c)
{
    atomic {
        if
#if FAULT == 2
        :: true -> found = 0
#else
        :: found == c -> found = 0
        :: else
#endif
        fi
    }
}

inline lead(c)
{
    atomic { /* fn begins */
        running = running | BIT(c);
        check(RUNS_UNFORGOTTEN(1) + RUNS_UNFORGOTTEN(2) + RUNS_UNFORGOTTEN(3) <= 1)
    }
    running = running & ~BIT(c);
#if FAULT == 1
    credits[c] = state[c] / JOINER;
    open[c] = true;
#endif
    atomic { joined = state[c]; state[c] = state[c] | CLOSED }
    unlink(c);
#if FAULT != 1
    credits[c] = ((joined & SEALED) -> 0 : joined / JOINER);
    open[c] = true;
#endif
    skip
}

/* One sflight_do(). */
inline call()
{
    atomic { stale = gone; c = 0 } /* calls whose result this caller must not get */
search:
    atomic { c = found; joined = 0 }
    if
    :: c != 0 && !(state[c] & (CLOSED | FORGOTTEN)) ->
        atomic { joined = state[c]; state[c] = state[c] + JOINER }
        if
#if FAULT == 4
        :: joined & SEALED -> c = 0
        :: !(joined & SEALED)
#else
        :: joined & (CLOSED | SEALED) -> c = 0
        :: !(joined & (CLOSED | SEALED))
#endif
        fi
    :: else -> c = 0
    fi;
    if
    :: c != 0 -> /* a follower */
        open[c];
        atomic {
            check(credits[c] > 0 && !(alone & BIT(c)));
            if
            :: credits[c] > 0 -> credits[c]--
            :: else
            fi
        }
    :: c == 0 ->
        /* The claim: it fails if the table has changed in between. */
        atomic {
            if
            :: found == 0 || (state[found] & (CLOSED | FORGOTTEN)) ->
                n_calls++;
                c = n_calls;
                found = c
            :: else
            fi
        }
        if
        :: c == 0 -> goto search
        :: c != 0 -> lead(c)
        fi
    fi;
    atomic {
        check(!(stale & BIT(c)));
        gone = gone | BIT(c);
        c = 0; joined = 0; stale = 0
    }
}

active proctype twice()
{
    byte c, joined, stale, n;
    do
    :: n < 2 -> call(); n++
    :: n == 2 -> break
    od;
    n_done++
}

active proctype once()
{
    byte c, joined, stale;
    call();
    n_done++
}

active proctype forgetter()
{
    byte c;
    bool unshared, set;
    if
    :: unshared = true
    :: unshared = false
    fi;
    c = found;
    if
    :: c != 0 ->
#if FAULT == 5
        if
        :: unshared && state[c] == 0 -> set = true
        :: else
        fi;
#endif
        atomic { /* the CAS, with what it was compared with */
            if
#if FAULT == 5
            :: set -> state[c] = state[c] | FORGOTTEN | SEALED
#elif FAULT == 3
            :: unshared && state[c] == 0 -> state[c] = FORGOTTEN; set = true
#else
            :: unshared && state[c] == 0 -> state[c] = FORGOTTEN | SEALED; set = true
#endif
            :: !unshared && !(state[c] & (CLOSED | FORGOTTEN)) ->
                state[c] = state[c] | FORGOTTEN; set = true
            :: else
            fi
        }
        if
        :: set ->
            unlink(c);
            atomic {
                gone = gone | BIT(c);
                if
                :: unshared -> alone = alone | BIT(c)
                :: else
                fi
            }
        :: else
        fi
    :: else
    fi;
    n_done++
}

ltl holds { <>(n_done == 3) && [](!bad) }
