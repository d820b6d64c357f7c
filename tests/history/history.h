/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A history: what every caller of a group has seen, as text, one line for each
 * caller, execution of fn and forgetting.  `#` begins a comment.  Times are
 * nanoseconds of CLOCK_MONOTONIC; two that are equal have no order.
 *
 *   caller ID KIND KEY BEGAN RETURNED ANSWERS OUTCOME EXEC RELEASED
 *      KIND      how it asked: do, many, begin, start
 *      BEGAN     read before the library was called
 *      RETURNED  read after the answer was there; for a leader by permit, after the
 *                permit was given up; for a thread that ended inside, after it was joined
 *      ANSWERS   how often the library answered
 *      OUTCOME   see below
 *      EXEC      the execution whose result it got, or that it led itself; or -
 *      RELEASED  read before it gave up its last hold; - if it had none
 *   exec ID KEY LEADER BEGAN ENDED HOW DESTROYED AT
 *      LEADER    the caller whose fn ran
 *      BEGAN     read first thing in fn, ENDED last thing
 *      HOW       returned, panicked, died (exit, cancel, an abandoned permit)
 *      DESTROYED how often its value was destroyed, AT: when, - for never
 *   forget KEY BEGAN RETURNED ANSWER
 *   forget_unshared KEY BEGAN RETURNED ANSWER
 *   takeover
 *      the group has SFLIGHT_ABANDON_TAKEOVER
 *   stats LED JOINED TIMED_OUT REJECTED ABANDONED PANICKED TAKEN_OVER
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
    N_OUTCOMES
};
static const char *const outcome_names[N_OUTCOMES] = {
    "led", "joined", "timed_out", "rejected", "owner_dead", "panicked", "gone", "left", "dropped"};

enum how { HOW_RETURNED, HOW_PANICKED, HOW_DIED, N_HOWS };
static const char *const how_names[N_HOWS] = {"returned", "panicked", "died"};

enum kind { KIND_DO, KIND_MANY, KIND_BEGIN, KIND_START, N_KINDS };
static const char *const kind_names[N_KINDS] = {"do", "many", "begin", "start"};

#endif
