/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate's futex word (src/park.h) and the kernel's queue behind it, for N
 * threads with numbers from 0.  A waiter compares and queues in one step; a waker
 * takes any sleepers, not the longest asleep, which is more than the kernel does.
 */
bool parked, open, nudged; /* bits of the word */
bool asleep[N];

#define WORD_IS_PARKED (parked && !open && !nudged)

inline futex_sleep(me)
{
    atomic {
        if
        :: WORD_IS_PARKED -> asleep[me] = true
        :: else
        fi
    }
}

#define TAKE(i) asleep[i] -> asleep[i] = false

/* Takes one sleeper, if there is any. */
inline futex_wake_one()
{
    atomic {
        if
        :: TAKE(0)
        :: TAKE(1)
#if N > 2
        :: TAKE(2)
#endif
#if N > 3
        :: TAKE(3)
#endif
#if N > 4
        :: TAKE(4)
#endif
        :: else
        fi
    }
}
