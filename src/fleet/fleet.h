/* SPDX-License-Identifier: BSD-2-Clause */
/* A fleet, and what blocking callers and event loops have in common. */
#ifndef SFLIGHT_FLEET_FLEET_H
#define SFLIGHT_FLEET_FLEET_H

#include "engine.h"

#define SFLIGHT_PLAIN /* the functions are defined here */
#include "../../include/singleflight_fleet.h"

struct sflight_fleet {
    struct member member;
    bool (*publish)(void *ctx, int status); /* or NULL */
    void *publish_ctx;
    uint32_t engine_timeout_ms;
    bool takes_over, has_tasks; /* options.group says so */
    sflight_options waits_options;
    atomic_bool is_closed;
};

static inline bool fleet_deadline_valid(const struct timespec *deadline)
{
    return deadline == NULL || (deadline->tv_nsec >= 0 && deadline->tv_nsec <= 999999999);
}

/* The outcome of a call of the process without asking the engine; FLIGHT_UNTOLD: it is to be asked.
 */
int fleet_alone(sflight_fleet *f, size_t key_len);

/*
 * Asks for the start of a claim, and makes the future that has a result when it is told.  false: no
 * memory, nothing was asked.
 */
bool fleet_begin(struct claim *c, sflight_future **out);

/*
 * Waits until the claim is told.  Returns its outcome; or OUTCOME_TIMED_OUT or _MEMORY, and the
 * claim has been left.
 */
int fleet_end(struct claim *c, sflight_future *wait, const struct timespec *deadline);

/* claim_call_ends(), if the claim is this process's: before the call ends, in whatever way. */
void fleet_call_ends(struct claim *c);

/* Both.  OUTCOME_MEMORY also says that it was not begun. */
int fleet_await(struct claim *c, const struct timespec *deadline);

/*
 * fn has returned with this result: makes of the claim what other processes get, and counts.  What
 * is to be asked then is RETURNED.
 */
void fleet_share(sflight_fleet *f, struct claim *c, const void *value, size_t size, int status);

/* Asks for the last time, and lets go of the claim; after that the fleet may be gone. */
void fleet_give(sflight_fleet *f, struct claim *c, unsigned what);

#endif
