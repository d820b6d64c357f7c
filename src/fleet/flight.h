/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One claim of one process on one key in the whole fleet, as a state machine.  This room is pure:
 * events in, actions out.  It knows no clock, no socket, no thread, no memory: the time and a
 * random number are arguments of each event, and what is to be done is the event's return value.
 *
 *                             start
 *      breaker, no answer in    |            V reply, V push
 *      engine_timeout, error    v  <------.  ------------------> told VALUE
 *     told ALONE <----------- CLAIM       | G, X, timer, inbox or link up again:
 *        |                     | |        | claim again, rejoin = 1
 *        |                   L | | W      |
 *        |                     | '-----> WAIT ----> told VALUE (push V)
 *        |    told LEAD <------'          |  '----> told ALONE (T, promise 4)
 *        |        |
 *        |       LEAD   renews every lease/3; F, RENEW 0, max_age: void
 *        |        |
 *        |        | fn returned          | fn left otherwise, nobody wants it, not to be shared
 *        |        v                      v
 *        |     PUBLISH                  DROP     sent on each new link until answered,
 *        |        |                      | ^     for one lease
 *        |        v                      v |
 *        |       DONE <----------------- DONE
 *        |                                 |
 *        '--> LATE: told, or left, but the claim is not answered yet; L -> DROP, else -> DONE
 *
 * Words.  The slot is the engine's key that holds the leader's token, then those of who waits.  A
 * lead is a slot that begins with our token.  A link is one connection for commands: replies come
 * in the order of the commands, or never.  What a lost link has carried may still be carried out,
 * at any later time, or not at all.
 *
 * A token names a flight in all engines and processes: 16 hex digits of the process, 14 of a
 * counter, 2 of the attempt.  The attempt is another one whenever a claim is sent after one whose
 * reply was lost with its link.
 *
 * Invariants, and which promise each keeps:
 *
 * F1  At most one claim of an attempt is unanswered, and a claim that was lost with its link is
 *     the last of its attempt.  So an L that is acted upon is the last word of its attempt: no
 *     claim of that token is carried out afterwards, and once the slot has been published or
 *     dropped it does not come back.  An L that was lost belongs to an attempt that nobody
 *     publishes under: a ghost, which has no result, ever.                        (promise 1)
 * F2  A result is read only under a token that this flight has joined: a W named it, after the
 *     start.  With F1: the result under it was published after that W.  A push V is published to
 *     a token that was in the list, so after that token's claim.                  (promise 1)
 * F3  The first claim reads no result.                                            (promise 1)
 * F4  Only the lead of an L that was told is published under, by a script that compares the
 *     token, and no renewal begins once fn has returned; at most one is unanswered on a link.
 *                                                                                 (promises 1, 3)
 * F5  In every state but WAIT and LEAD the timer is set or a reply is awaited; in WAIT the timer
 *     is set; in LEAD the process itself runs.  The limit of promise 4 begins with the first W,
 *     and is never set again.                                                     (promise 4)
 * F6  Who is told ALONE or VALUE, or has left, holds no lead: an L that comes later is dropped.
 *     A claim that was lost with its link is dropped on the next link; a ghost in the way is
 *     dropped by its own flight; else both are gone after one lease.              (promises 2, 6)
 * F7  A flight is told once, void at most once, and ended once; it is ended only when nothing of
 *     it is unanswered.
 */
#ifndef SFLIGHT_FLEET_FLIGHT_H
#define SFLIGHT_FLEET_FLIGHT_H

#include "names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLIGHT_NEVER UINT64_MAX /* as a time: no timer */

/* What all flights of a fleet share; constant while one of them lives. */
struct flight_options {
    uint64_t lease_ns;          /* at least 3 ms */
    uint64_t max_age_ns;        /* a lead is not renewed past this, from its L on */
    uint64_t engine_timeout_ns; /* longest wait for an answer, or for a link */
};

/*
 * The way to an engine, shared by all flights that use it.  The owner of the connections keeps
 * up and inbox, sets shut when a connection cannot be made, and clears it when any reply comes:
 * so it sends something on each new link.  A flight sets shut when engine_timeout has passed
 * without an answer or a link.
 */
struct flight_link {
    bool up;    /* commands can be sent */
    bool inbox; /* the inbox channel is subscribed: pushes arrive */
    bool shut;  /* the breaker: flights that start are told ALONE at once */
};

/* The moment of an event. */
struct flight_now {
    uint64_t ns;     /* monotonic; never less than at an earlier event of the same flight */
    uint32_t random; /* any; evenly distributed, so that waiters do not claim in one moment */
};

/*
 * What an event asks for: a set of these.  The caller does it in the order in which they stand
 * here, before the next event of this flight.
 */
enum flight_action {
    /* Commands, to be written to the link in this order.  Each is answered by flight_reply(). */
    FLIGHT_SEND_DROP = 1 << 0,    /* of f->drop_token */
    FLIGHT_SEND_CLAIM = 1 << 1,   /* of f->token; f->rejoin; result under f->joined */
    FLIGHT_SEND_RENEW = 1 << 2,   /* of f->token */
    FLIGHT_SEND_PUBLISH = 1 << 3, /* of f->token, with the frame that fn has left */

    FLIGHT_TELL = 1 << 4,  /* f->outcome, to the caller that waits for it */
    FLIGHT_VOID = 1 << 5,  /* the lead is no more: forget the local call; fn goes on */
    FLIGHT_ENDED = 1 << 6, /* no more events: f may be freed, and its frame */

    /* To be counted. */
    FLIGHT_TAKEN_OVER = 1 << 8,    /* told LEAD after it has waited for another leader */
    FLIGHT_LEASE_LOST = 1 << 9,    /* the lead is no more, or may have been no more */
    FLIGHT_AGED = 1 << 10,         /* void because max_age is over */
    FLIGHT_FORGOTTEN = 1 << 11,    /* void because somebody has forgotten the key */
    FLIGHT_RENEWED = 1 << 12,      /* a renewal was answered with 1 */
    FLIGHT_PUBLISHED = 1 << 13,    /* the engine has taken the frame */
    FLIGHT_REFUSED = 1 << 14,      /* the engine has refused it: the lead was no more */
    FLIGHT_UNPUBLISHED = 1 << 15,  /* nobody knows: no answer in a lease, or an error */
    FLIGHT_RECHECKED = 1 << 16,    /* claims again, to look whether a push was lost */
    FLIGHT_RECHECK_HIT = 1 << 17,  /* and one was: the value came by a claim's reply */
    FLIGHT_BAD_FRAME = 1 << 18,    /* a reply or a push that is none of ours */
    FLIGHT_GHOST_DROPPED = 1 << 19 /* with FLIGHT_SEND_DROP: an older attempt's slot */
};

#define FLIGHT_SENDS                                                                               \
    (FLIGHT_SEND_DROP | FLIGHT_SEND_CLAIM | FLIGHT_SEND_RENEW | FLIGHT_SEND_PUBLISH)

enum flight_state {
    FLIGHT_IN_CLAIM, /* a claim is unanswered, or waits for the link */
    FLIGHT_IN_WAIT,
    FLIGHT_IN_LEAD,
    FLIGHT_IN_PUBLISH,
    FLIGHT_IN_DROP,
    FLIGHT_IN_LATE,
    FLIGHT_IN_DONE /* ended, or will be with the last reply */
};

enum flight_outcome {
    FLIGHT_UNTOLD,
    FLIGHT_LEAD,           /* run fn, then flight_returned() */
    FLIGHT_VALUE,          /* f->frame, which holds a V frame until the event has returned */
    FLIGHT_ALONE_DOWN,     /* run fn for this process only: there is no link */
    FLIGHT_ALONE_SLOW,     /* ... no answer in engine_timeout, or the breaker is shut */
    FLIGHT_ALONE_REFUSED,  /* ... the engine answers with an error, or with what is no answer */
    FLIGHT_ALONE_OVERSIZE, /* ... the leader's value is too large to be shared (T) */
    FLIGHT_ALONE_GAVE_UP   /* ... others have been waited for as long as promise 4 allows */
};

/* A claim.  Its owner reads it, and changes nothing; it may be moved between events. */
struct flight {
    const struct flight_options *options;
    struct flight_link *link;
    char token[TOKEN_LEN];      /* of the present attempt */
    char joined[TOKEN_LEN];     /* whom the last W named, if has_joined; else the own token */
    char drop_token[TOKEN_LEN]; /* of FLIGHT_SEND_DROP */
    enum flight_state state;
    enum flight_outcome outcome;
    uint32_t unanswered;    /* of FLIGHT_SENDS: sent on the present link, not answered yet */
    bool rejoin;            /* the claim is to look for the result under joined first */
    bool has_joined;        /* a W has come, ever */
    bool rechecks;          /* the claim looks whether a push was lost */
    bool again;             /* a push overtook the claim's reply: if that is W, claim once more */
    bool lost_claim;        /* a claim of this attempt was lost with its link */
    bool forgotten;         /* F overtook the claim's reply: if that is L, claim once more */
    bool is_void;           /* the lead is no more, or is not to be renewed */
    bool sent_before;       /* PUBLISH has been sent on an earlier link */
    uint64_t timer_ns;      /* call flight_timer() then; FLIGHT_NEVER: no timer */
    uint64_t wait_until_ns; /* when the lease of who is waited for ends, and a little more */
    uint64_t give_up_ns;    /* promise 4; FLIGHT_NEVER before the first W */
    uint64_t lead_until_ns; /* max_age of the lead */
    const unsigned char *frame; /* of FLIGHT_VALUE: whose memory the event's caller has */
    size_t frame_len;
};

enum flight_reply_kind {
    FLIGHT_REPLY_LEAD,    /* {'L'} */
    FLIGHT_REPLY_WAIT,    /* {'W', token, pttl in ms} */
    FLIGHT_REPLY_VALUE,   /* {'V', frame} */
    FLIGHT_REPLY_INTEGER, /* of RENEW, PUBLISH and DROP */
    FLIGHT_REPLY_ERROR    /* an error, or anything else: nil, another type, a wrong array */
};

struct flight_reply {
    enum flight_reply_kind kind;
    int64_t integer;            /* of INTEGER; of WAIT the pttl */
    const unsigned char *bytes; /* of WAIT the token, of VALUE the frame; until the event returns */
    size_t len;
};

/*
 * All events return a set of enum flight_action.  They are for one thread at a time, and none of
 * them is allowed once a set with FLIGHT_ENDED was returned.
 */

/*
 * Begins a flight.  token: of attempt 0, never used before.  With a shut breaker it is told ALONE
 * and ended at once; without a link it waits for one, engine_timeout at most.
 */
uint32_t flight_start(struct flight *f, const struct flight_options *options,
                      struct flight_link *link, const char token[TOKEN_LEN],
                      const struct flight_now *now);

/*
 * A reply to a command that was sent.  command: the one bit of FLIGHT_SENDS.  Replies that say
 * that the engine is of no use now (READONLY, LOADING, MASTERDOWN) are not for the flight: the
 * link is closed instead.
 */
uint32_t flight_reply(struct flight *f, uint32_t command, const struct flight_reply *reply,
                      const struct flight_now *now);

/*
 * A push whose token names this flight; of which attempt does not matter to the caller.  token:
 * the first TOKEN_LEN bytes of the message, bytes: the rest, a letter (V G X F) and, with V, a
 * frame.
 */
uint32_t flight_push(struct flight *f, const char token[TOKEN_LEN], const unsigned char *bytes,
                     size_t len, const struct flight_now *now);

/* link->up was false and is true: for each flight, in any order. */
uint32_t flight_link_up(struct flight *f, const struct flight_now *now);

/* link->up was true and is false: what is unanswered will never be answered. */
uint32_t flight_link_down(struct flight *f, const struct flight_now *now);

/* link->inbox was false and is true: what was pushed before is lost. */
uint32_t flight_inbox_up(struct flight *f, const struct flight_now *now);

/* f->timer_ns has come.  Too early, or without a timer: nothing happens. */
uint32_t flight_timer(struct flight *f, const struct flight_now *now);

/*
 * fn has returned, after FLIGHT_LEAD was told; once.  publish: there is a frame (V, or T for a
 * value that is too large), which stays until FLIGHT_ENDED.  false: fn was left otherwise, or
 * its result is not to be shared: the waiters are told at once.
 */
uint32_t flight_returned(struct flight *f, bool publish, const struct flight_now *now);

/*
 * Nobody wants the outcome any more, whether it was told or not: the caller has left, and no
 * follower takes over.  Not after flight_returned(); a lead is dropped.
 */
uint32_t flight_left(struct flight *f, const struct flight_now *now);

#endif
