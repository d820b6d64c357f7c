/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A history: what every caller of a group has seen, as text, one line for each
 * caller, execution of fn and forgetting.  `#` begins a comment.  Times are
 * nanoseconds of CLOCK_MONOTONIC; two that are equal have no order.
 *
 *   caller ID KIND KEY BEGAN RETURNED ANSWERS OUTCOME EXEC RELEASED FOLLOWERS
 *      KIND      how it asked: do, many, begin, start; own is a permit with a future of its
 *                holder's, which is what is answered
 *      BEGAN     read before the library was called
 *      RETURNED  read after the answer was there; for a leader by permit, after the
 *                permit was given up; for a thread that ended inside, after it was joined
 *      ANSWERS   how often the library answered
 *      OUTCOME   see below
 *      EXEC      the execution whose result it got, or that it led itself; or -
 *      RELEASED  read before it gave up its last hold; - if it had none
 *      FOLLOWERS as its result said; - if it had none
 *   exec ID KEY LEADER BEGAN ENDED HOW DESTROYED AT OVER FOLLOWERS TOLD
 *      LEADER    the caller whose fn ran
 *      BEGAN     read first thing in fn, ENDED last thing
 *      HOW       returned, panicked, died (exit, cancel, an abandoned permit)
 *      DESTROYED how often its value was destroyed, AT: when, - for never
 *      OVER      of a permit: read after it was given up; otherwise -
 *      FOLLOWERS of a permit: how many there were, as who gave it up was told; otherwise -
 *      TOLD      how often its leader was told that nobody waits
 *   forget KEY BEGAN RETURNED ANSWER
 *   forget_unshared KEY BEGAN RETURNED ANSWER
 *   takeover
 *      the group has SFLIGHT_ABANDON_TAKEOVER
 *   cancel_unwanted
 *      the group has that option, and only callers that leave make it forget
 *   stats LED JOINED TIMED_OUT REJECTED ABANDONED PANICKED TAKEN_OVER FORGOTTEN
 *      the group's, at the end
 */
#ifndef HISTORY_H
#define HISTORY_H

#include <stdint.h>

enum outcome {
    OUTCOME_LED,        /* returned from its own execution */
    OUTCOME_JOINED,     /* got the result of another's; of a starter: of its thread's */
    OUTCOME_TIMED_OUT,  /* -ETIMEDOUT */
    OUTCOME_REJECTED,   /* -EAGAIN */
    OUTCOME_OWNER_DEAD, /* -EOWNERDEAD */
    OUTCOME_PANICKED,   /* -ENOTRECOVERABLE */
    OUTCOME_GONE,       /* its thread ended inside fn, or it abandoned its permit */
    OUTCOME_LEFT,       /* the same, for a key of a batch that another led */
    OUTCOME_DROPPED,    /* its future was dropped */
    OUTCOME_LAST,       /* the same, and it was the last that waited */
    OUTCOME_CANCELLED,  /* it was taken back from a callback or a queue */
    N_OUTCOMES
};
static const char *const outcome_names[N_OUTCOMES] = {
    "led",  "joined", "timed_out", "rejected", "owner_dead", "panicked",
    "gone", "left",   "dropped",   "last",     "cancelled"};

enum how { HOW_RETURNED, HOW_PANICKED, HOW_DIED, N_HOWS };
static const char *const how_names[N_HOWS] = {"returned", "panicked", "died"};

enum kind { KIND_DO, KIND_MANY, KIND_BEGIN, KIND_OWN, KIND_START, N_KINDS };
static const char *const kind_names[N_KINDS] = {"do", "many", "begin", "own", "start"};

#endif
