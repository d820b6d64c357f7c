/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine thread does: flies the flights.  Events come from callers, from the two
 * connections and from the clock; each is given to its flight, and what the flight wants then is
 * done here.
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
    uint64_t now_ns; /* of the event that is handled */
    uint64_t ping_every_ns, ping_ns;
    bool is_pinged;      /* and has not answered */
    const char *failure; /* the connection for commands is to be closed, and why */
    uint64_t n_connections, n_inbox_connections; /* that the counts know of */
    atomic_int breaker;                          /* an outcome, for callers */
    atomic_size_t max_reply;                     /* bytes */
    struct counts counts;
    pthread_mutex_t error_lock;
    char last_error[LINK_MAX_ERROR];
};

/* prefix and o are kept.  false: no memory. */
bool pilot_init(struct pilot *p, const struct link_options *o, const char *prefix, uint64_t process,
                uint32_t lease_ms);

void pilot_free(struct pilot *p);

/* Waits for wake_fd, or what else there is to do, and does it, once. */
void pilot_run(struct pilot *p, int wake_fd);

/* A claim has been asked: see engine_ask().  Lets go of it for the list that it stood in. */
void pilot_asked(struct pilot *p, struct claim *c, unsigned what);

/* Lets go of everything of a member; nobody is told. */
void pilot_forget_member(struct pilot *p, struct member *m);

/* By any thread: replies may be so long. */
void pilot_allow_reply(struct pilot *p, size_t bytes);

/* By any thread: the outcome of a flight that would be told so at once, or FLIGHT_UNTOLD. */
int pilot_breaker(struct pilot *p);

/* By any thread. */
void pilot_last_error(struct pilot *p, char *buf, size_t n);

/* In the child of a fork. */
void pilot_close_in_child(struct pilot *p);

#endif
