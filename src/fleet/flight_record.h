/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a flight is: its record, what is said to it, and what it asks for.  flight.h has the
 * events, and the proof.
 */
#ifndef SFLIGHT_FLEET_FLIGHT_RECORD_H
#define SFLIGHT_FLEET_FLIGHT_RECORD_H

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
    bool is_over;    /* fn has returned; flight_returned() comes when its callers have been told */
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
    FLIGHT_VOID = 1 << 5,  /* the lead is no more: forget the local call, while fn goes on */
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
    char joined[TOKEN_LEN];     /* whom the last W named that was no sibling; else the own token */
    char drop_token[TOKEN_LEN]; /* of FLIGHT_SEND_DROP */
    enum flight_state state;
    enum flight_outcome outcome;
    uint32_t unanswered;    /* of FLIGHT_SENDS: sent on the present link, not answered yet */
    bool rejoin;            /* the claim is to look for the result under joined first */
    bool has_joined;        /* a W has named one that is no sibling, ever */
    bool behind_sibling;    /* the last W named a sibling */
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
    bool is_no_sibling;         /* of WAIT: the token is of this process, but no sibling's */
    const unsigned char *bytes; /* of WAIT the token, of VALUE the frame; until the event returns */
    size_t len;
};

#endif
