/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection to the engine, made again whenever it is lost.  The only room, beside tls, that
 * knows hiredis.  For one thread; nothing here blocks.
 *
 *     CLOSED --retry_ns--> [RESOLVING] -> [ASKING a sentinel | SECURING] -> GREETING --> UP
 *       ^                       |                 |                            |         |
 *       +------ link_fail(): next try after 0 to 50 ms, 100 ms ... 2 s ------------------+
 *
 * SECURING is the handshake of TLS: until it is done nothing else is read or written.
 * GREETING sends AUTH, SELECT, CLIENT SETNAME and, for the inbox, SUBSCRIBE; and waits for the
 * answers.  An address, of a name or of sentinels, is asked for again at each try.
 *
 * Replies are bounded before they are believed: the bytes of one are at most max_reply, and the
 * elements of an array at most LINK_MAX_ELEMENTS.  A connection that sends more, or what is no
 * RESP, is closed.
 */
#ifndef SFLIGHT_FLEET_LINK_H
#define SFLIGHT_FLEET_LINK_H

#include "address.h"
#include "dial.h"
#include "resolve.h"
#include "tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINK_MAX_ELEMENTS = 4,
    LINK_MAX_ERROR = 160,
    LINK_GREETING_MS = 3000, /* a stage that is not over by then is given up, but UP */
};

#define LINK_NEVER UINT64_MAX

enum link_type { LINK_NIL, LINK_INTEGER, LINK_STRING, LINK_ERROR, LINK_ARRAY, LINK_OTHER };

struct link_value {
    enum link_type type;
    int64_t integer;
    const char *bytes; /* of a string or an error; with a NUL behind them */
    size_t len;
};

/* Of an array the elements, which are no arrays: else it is OTHER. */
struct link_reply {
    struct link_value value;
    struct link_value elements[LINK_MAX_ELEMENTS];
    size_t n_elements;
};

enum link_stage {
    LINK_CLOSED,
    LINK_RESOLVING,
    LINK_SECURING,
    LINK_ASKING,
    LINK_GREETING,
    LINK_UP,
};

/* What connections of an engine have in common; constant. */
struct link_options {
    struct address address;
    const char *user, *password; /* or NULL */
    int database;
    struct tls *tls;         /* of a TLS address */
    const char *client_name; /* of CLIENT SETNAME */
    uint32_t timeout_ms;     /* TCP_USER_TIMEOUT */
};

/* One argument of a command. */
struct link_arg {
    const void *bytes;
    size_t len;
};

struct link {
    const struct link_options *options;
    const char *channel; /* of the inbox; NULL: for commands */
    size_t channel_len;
    void (*on_up)(void *ctx);
    void (*on_down)(void *ctx, const char *why); /* or could not be made; may not use the link */
    void (*on_reply)(void *ctx, const struct link_reply *r); /* may call link_fail() */
    void *ctx;
    size_t max_reply; /* bytes */

    enum link_stage stage;
    uint64_t retry_ns;        /* of CLOSED: when to try; of others, but UP: when to give up */
    unsigned n_tries;         /* since it was of use */
    unsigned server;          /* of the address: that is tried */
    unsigned n_greetings;     /* answers of GREETING that are not there yet */
    unsigned optional_answer; /* that many are left when CLIENT SETNAME is answered */
    uint64_t n_connections;   /* that came to UP, ever */
    struct lookup *lookup;
    char master_host[256]; /* as a sentinel says */
    int master_port;
    size_t n_unfinished;     /* bytes of the reply that is being read */
    void *context;           /* redisContext */
    bool has_output;         /* link_flush() could not write all of it */
    struct tls_session *tls; /* of the context; NULL: it has none */
    dial_note fd_to_close;   /* in a forked child */
    bool is_handling;        /* link_fail() is called inside on_reply */
    bool has_failed;
};

/* false: no memory.  For one thread at a time in the whole process. */
bool link_init(struct link *l, const struct link_options *options);

/* The descriptor to be polled, or -1; *events gets what for. */
int link_fd(const struct link *l, short *events);

/* When link_run() has something to do without the descriptor. */
uint64_t link_timer_ns(const struct link *l);

/* Does what there is to do: connects, reads, gives up. */
void link_run(struct link *l, bool is_ready, uint64_t now_ns, uint32_t random);

/* Adds a command to what is to be sent; the link must be UP.  false: no memory, none is added. */
bool link_send(struct link *l, size_t n, const struct link_arg *args);

/* Goes on with a handshake, and sends what the socket takes; to be called before link_fd(). */
void link_flush(struct link *l, uint64_t now_ns, uint32_t random);

/* Closes the connection and calls on_down; the next try comes after a while. */
void link_fail(struct link *l, const char *why, uint64_t now_ns, uint32_t random);

/* Closes it for good; no call. */
void link_free(struct link *l);

#endif
