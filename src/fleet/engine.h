/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine thread: one for each process and engine.  It has the two connections, takes what
 * callers ask, hands events to the flights and does what these want.
 *
 *     callers --asked list, eventfd--> engine thread --commands--> link --+
 *        ^                              |  ^                             engine
 *        '--- sflight_complete() -------'  '--- replies, pushes, timers <-'
 *
 * It waits for nothing but poll(), and for no caller; a caller waits for it only in
 * engine_leave() and engine_settle(), and in claim_call_ends() while it forgets that call.
 */
#ifndef SFLIGHT_FLEET_ENGINE_H
#define SFLIGHT_FLEET_ENGINE_H

#include "claim.h"

/* What engines are told apart by; the strings are the caller's. */
struct engine_options {
    const char *address, *prefix;
    const char *user, *password;                /* or NULL */
    const char *ca_file, *cert_file, *key_file; /* or NULL */
    int database;
    uint32_t lease_ms; /* of the first fleet: how long a dead connection may last */
};

/*
 * Makes m a member of the engine with these options, which is made if need be, and sets m->engine
 * and what engine_is_ours() looks at.  0, or a negative errno.
 */
int engine_enter(struct member *m, const struct engine_options *o);

/*
 * Ends what the member has there, without telling the engine, and waits for that.  The last one
 * ends the thread.
 */
void engine_leave(struct member *m);

/* Of the engine with this prefix: the key's claim; see claim_new(). */
struct claim *engine_claim(struct member *m, enum claim_kind kind, const void *key, size_t key_len);

/*
 * Asks for a part of a claim's life: START, then RETURNED or LEFT, at most once each.  Does not
 * wait.
 */
void engine_ask(struct claim *c, unsigned what);

/*
 * The same, and the caller lets go of the claim.  Once it has been looked at the member may be
 * gone, so the caller uses neither any more.
 */
void engine_give(struct claim *c, unsigned what);

/* Returns when everything that was asked before has been looked at. */
void engine_settle(struct engine *e);

/* The outcome of a flight that would be alone at once, or FLIGHT_UNTOLD. */
int engine_breaker(struct engine *e);

/* False in the child of a fork: the engine is the parent's. */
bool engine_is_ours(const struct member *m);

/* True on the thread of any engine. */
bool engine_thread_calls(void);

/* The engine's own numbers. */
struct counts *engine_counts(struct engine *e);

/* Copies the last error, cut, with a NUL; n is not 0. */
void engine_last_error(struct engine *e, char *buf, size_t n);

#endif
