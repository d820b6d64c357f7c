/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller asks of the engine thread: a flight, a command, or to be told when a fleet has
 * nothing left there.  A claim has two owners, the caller and the engine thread; whoever lets go
 * last frees it.
 *
 *     caller                                  engine thread
 *     claim_new, engine_ask(START)  ------->  flight_start() ...
 *     waits              <------------------  told: outcome and what belongs to it are written
 *     runs fn
 *     engine_ask(RETURNED or LEFT)  ------->  publishes or drops, then lets go
 *     lets go
 *
 * What is marked E is the engine thread's from START on; the caller reads the outcome once it has
 * been told.
 */
#ifndef SFLIGHT_FLEET_CLAIM_H
#define SFLIGHT_FLEET_CLAIM_H

#include "counts.h"
#include "flight.h"

#include "../../include/singleflight.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct engine;

/* A fleet, as the engine thread knows it.  Constant, but for the numbers. */
struct member {
    struct engine *engine;
    struct flight_options flight;
    uint32_t lease_ms;
    size_t max_value; /* bytes */
    char name[NAME_MAX_LEN + 1];
    unsigned generation; /* of forks, and of the process: see engine_is_ours() */
    pid_t pid;
    sflight_group *group; /* the callers' */
    sflight_group *waits; /* the waits for the engine thread: one call for each claim */
    struct counts counts;
    atomic_size_t n_flights; /* asked for, and not ended */
};

enum claim_kind {
    CLAIM_FLIGHT,
    CLAIM_COMMAND, /* one script, sent again until it is answered */
    CLAIM_QUIET    /* told when the member has no flight */
};

/* The outcomes of a flight, and some that are no flight's. */
enum {
    OUTCOME_MEMORY = FLIGHT_ALONE_GAVE_UP + 1, /* alone */
    OUTCOME_FORKED,                            /* alone */
    OUTCOME_TIMED_OUT,
    OUTCOME_DONE, /* of what is no flight */
    OUTCOME_ERROR
};

/* What a caller asks of a claim. */
enum { ASK_START = 1, ASK_RETURNED = 2, ASK_LEFT = 4 };

enum { CLAIM_MAX_ERROR = 160 };

struct claim {
    struct member *member;
    enum claim_kind kind;
    atomic_int n_owners;
    size_t bytes; /* counted */

    /* Written by the caller before START, and with RETURNED. */
    sflight_call *wait;            /* ended when told; E.  Or NULL: */
    void (*told)(struct claim *c); /* is called instead, on the engine thread */
    void *told_arg;
    bool is_check;      /* of a FLIGHT: gets the result of another one of its own fleet, too */
    const char *script; /* of a COMMAND: of one key and the arguments given */
    bool with_inbox;    /* its second argument is the inbox prefix; else a lease */
    char token[TOKEN_LEN];
    size_t token_len;
    unsigned char *frame; /* to be published; freed with the claim */
    size_t frame_len;

    atomic_bool is_over; /* fn has returned: the caller writes it at any time */

    pthread_mutex_t call_lock;
    bool call_ends; /* under call_lock, by the caller: see claim_call_ends() */

    /* Under the engine's lock. */
    unsigned asked;
    struct claim *next_asked;

    /* The outcome. */
    int outcome;
    unsigned char *value; /* of VALUE; whoever takes it sets it to NULL */
    size_t value_len;
    int32_t status;
    int64_t integer;             /* of a COMMAND that is DONE */
    char error[CLAIM_MAX_ERROR]; /* of ERROR */

    /* E */
    struct flight flight;
    uint64_t number;            /* the token's counter */
    struct claim *next, **link; /* in the table, or among the others */
    size_t timer_at;            /* in the heap */
    uint64_t begun_ns;
    enum count gauge; /* that it is counted in; COUNT_N: none */
    bool is_told, is_ended, is_sent;

    size_t key_len;
    size_t slot_len;
    char slot[]; /* and room for a token */
};

/*
 * Of one owner.  prefix and member->name have passed names_check().  NULL: no memory.  key_len is
 * at most KEY_MAX_LEN.
 */
struct claim *claim_new(struct member *m, enum claim_kind kind, const char *prefix, const void *key,
                        size_t key_len);

/* One owner more: for one owner to do. */
static inline void claim_own(struct claim *c)
{
    atomic_fetch_add_explicit(&c->n_owners, 1, memory_order_relaxed);
}

/* One owner less. */
void claim_let_go(struct claim *c);

/* The key, inside the slot. */
static inline const char *claim_key(const struct claim *c)
{
    return c->slot + c->slot_len - 1 - c->key_len;
}

/* Makes the frame, and counts its bytes; false: no memory. */
bool claim_set_frame(struct claim *c, const void *value, size_t size, int32_t status,
                     bool is_too_large);

/* fn has returned: nothing is renewed from now on, though the engine is told later. */
static inline void claim_over(struct claim *c)
{
    atomic_store_explicit(&c->is_over, true, memory_order_relaxed); /* a moment later will do */
}

/* The caller is about to end the call of this process, after which the key may have another one. */
void claim_call_ends(struct claim *c);

/*
 * Forgets the call of this process; nothing from claim_call_ends() on.  It is forgotten by its key,
 * so that a call that came after it is, where something else has forgotten it before: the fleet's
 * user, or an option of the group.  Then one caller more runs fn, or waits.
 */
void claim_void(struct claim *c);

/* A sflight_destroy_fn for a claim's value. */
void claim_free_value(void *value, size_t size, void *ctx);

/* Counts the end of one call of the process: exactly once for each. */
void claim_count(struct member *m, int outcome);

#endif
