/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine thread does: flies the flights.  Events come from callers, from the two
 * connections and from the clock; each is given to its flight, and what the flight wants then is
 * done here.  Whoever brings an event sets now_ns before.
 */
#ifndef SFLIGHT_FLEET_PILOT_H
#define SFLIGHT_FLEET_PILOT_H

#include "claims.h"
#include "link.h"

#include <pthread.h>

/* A command that the engine has not answered. */
struct sent {
    struct claim *claim; /* NULL: nobody wants the answer */
    uint32_t command;    /* of FLIGHT_SENDS; 0: of a CLAIM_COMMAND */
};

struct pilot {
    struct link commands, inbox;
    struct flight_link state; /* as the flights see it */
    struct claims claims;
    struct claim *others; /* that are no flights */
    uint64_t process, last_number;
    uint64_t random;
    const char *prefix;
    char channel[INBOX_MAX_LEN + 1];
    size_t channel_len;
    struct sent *sent; /* a ring, in the order of the answers */
    size_t sent_size, n_sent, sent_first;
    uint64_t now_ns;        /* of the event that is handled */
    uint64_t patience_ns;   /* what is not answered for so long never is */
    uint64_t answer_due_ns; /* of the oldest command that is not answered */
    uint64_t ping_ns;
    bool is_pinged;      /* and has not answered */
    const char *failure; /* the connection for commands is to be closed, and why */
    uint64_t n_connections, n_inbox_connections; /* that the counts know of */
    atomic_int breaker;                          /* an outcome, for callers */
    atomic_size_t max_reply;                     /* bytes */
    struct counts counts;
    pthread_mutex_t error_lock;
    char last_error[LINK_MAX_ERROR];
};

/* A claim has been asked: see engine_ask().  Lets go of it for the list that it stood in. */
void pilot_asked(struct pilot *p, struct claim *c, unsigned what);

/* Lets go of everything of a member; nobody is told. */
void pilot_forget_member(struct pilot *p, struct member *m);

/* An event that each flight gets: flight_link_up(), _link_down() or _inbox_up(). */
void pilot_tell_all(struct pilot *p, uint32_t (*event)(struct flight *, const struct flight_now *));

/* The link for commands is there: what is no flight sends what it has to. */
void pilot_send_others(struct pilot *p);

/* The link for commands is gone, and so are the answers. */
void pilot_lose_answers(struct pilot *p);

/* The answer to the oldest command that is not answered; there is one. */
void pilot_answered(struct pilot *p, const struct link_reply *r);

/* A message of the inbox. */
void pilot_pushed(struct pilot *p, const struct link_value *message);

/* Those that have come. */
void pilot_run_timers(struct pilot *p);

/* CLOCK_MONOTONIC. */
uint64_t pilot_clock_ns(void);

uint32_t pilot_random(struct pilot *p);

/* Keeps it for loop_last_error(). */
void pilot_note_error(struct pilot *p, const char *text);

#endif
