/* SPDX-License-Identifier: BSD-2-Clause */
#include "flight.h"

#include "frame.h"

#include <string.h>

#define MS UINT64_C(1000000) /* in ns */

/* ------------------------------------------------------------------------------------ parts */

/* So much later; never past FLIGHT_NEVER. */
static uint64_t later(uint64_t ns, uint64_t by_ns)
{
    return by_ns >= FLIGHT_NEVER - ns ? FLIGHT_NEVER : ns + by_ns;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* True if the token is one of this flight's, of any attempt. */
static bool is_own(const struct flight *f, const void *token)
{
    return memcmp(f->token, token, TOKEN_FLIGHT_LEN) == 0;
}

/* True if a W names a sibling. */
static bool is_sibling(const struct flight *f, const struct flight_reply *reply)
{
    return !reply->is_no_sibling && memcmp(f->token, reply->bytes, PROCESS_LEN) == 0;
}

static uint32_t send(struct flight *f, uint32_t command)
{
    f->unanswered |= command;
    return command;
}

/* Sends it, if there is a link; if not, the next link's coming does. */
static uint32_t send_if_up(struct flight *f, uint32_t command)
{
    return f->link->up ? send(f, command) : 0;
}

static uint32_t done(struct flight *f)
{
    f->state = FLIGHT_IN_DONE;
    f->timer_ns = FLIGHT_NEVER;
    return f->unanswered == 0 ? FLIGHT_ENDED : 0;
}

/* Gives the lead of a token back, or what may be one. */
static uint32_t drop(struct flight *f, const char *token, const struct flight_now *now)
{
    memcpy(f->drop_token, token, TOKEN_LEN);
    f->lost_claim = false;
    f->state = FLIGHT_IN_DROP;
    f->timer_ns = later(now->ns, f->options->lease_ns); /* then the engine has dropped it */
    return send_if_up(f, FLIGHT_SEND_DROP);
}

/* Nothing more is wanted from the engine. */
static uint32_t no_more(struct flight *f, const struct flight_now *now)
{
    if (f->unanswered & FLIGHT_SEND_CLAIM) {
        f->state = FLIGHT_IN_LATE;
        f->timer_ns = FLIGHT_NEVER;
        return 0;
    }
    if (f->lost_claim)
        return drop(f, f->token, now);
    return done(f);
}

static uint32_t tell(struct flight *f, enum flight_outcome outcome, const struct flight_now *now)
{
    f->outcome = outcome;
    return FLIGHT_TELL | no_more(f, now);
}

/* ------------------------------------------------------------------------- claiming, waiting */

/* Writes the attempt's number into the token; false: there are no more. */
static bool next_attempt(struct flight *f)
{
    struct token token;

    if (token_read(&token, f->token, TOKEN_LEN) != 0 || token.attempt == ATTEMPT_MAX)
        return false;
    token.attempt++;
    token_write(f->token, &token);
    return true;
}

/* In CLAIM, with a link. */
static uint32_t send_claim(struct flight *f, const struct flight_now *now)
{
    if ((f->lost_claim || f->behind_sibling) && !next_attempt(f))
        return tell(f, FLIGHT_ALONE_GAVE_UP, now);
    f->lost_claim = false;
    f->again = false;
    f->forgotten = false;
    if (!f->has_joined)
        memcpy(f->joined, f->token, TOKEN_LEN);
    f->rejoin = f->has_joined;
    return send(f, FLIGHT_SEND_CLAIM);
}

static uint32_t claim(struct flight *f, const struct flight_now *now)
{
    f->state = FLIGHT_IN_CLAIM;
    f->timer_ns = later(now->ns, f->options->engine_timeout_ns);
    return f->link->up ? send_claim(f, now) : 0;
}

/* Claims to see whether there is a result that no push has told of. */
static uint32_t recheck(struct flight *f, const struct flight_now *now)
{
    f->rechecks = true;
    return FLIGHT_RECHECKED | claim(f, now);
}

/* Waits for the leader that the last W has named. */
static uint32_t await(struct flight *f)
{
    f->state = FLIGHT_IN_WAIT;
    f->timer_ns = sooner(f->wait_until_ns, f->give_up_ns);
    return 0;
}

static uint32_t lead(struct flight *f, const struct flight_now *now)
{
    const struct flight_options *o = f->options;

    f->state = FLIGHT_IN_LEAD;
    f->outcome = FLIGHT_LEAD;
    f->lead_until_ns = later(now->ns, o->max_age_ns);
    f->timer_ns = sooner(later(now->ns, o->lease_ns / 3), f->lead_until_ns);
    return FLIGHT_TELL | (f->has_joined ? FLIGHT_TAKEN_OVER : 0);
}

/* A frame has come for a flight that is told by it. */
static uint32_t land(struct flight *f, const unsigned char *bytes, size_t len, bool was_pushed,
                     const struct flight_now *now)
{
    struct frame frame;
    uint32_t counted = !was_pushed && f->rechecks ? FLIGHT_RECHECK_HIT : 0;

    if (frame_read(&frame, bytes, len, SIZE_MAX) != 0)
        /* Of a push nobody knows who has sent it; the timer asks the engine. */
        return FLIGHT_BAD_FRAME | (was_pushed ? 0 : tell(f, FLIGHT_ALONE_REFUSED, now));
    if (frame.kind == FRAME_TOO_LARGE)
        return counted | tell(f, FLIGHT_ALONE_OVERSIZE, now);
    f->frame = bytes;
    f->frame_len = len;
    return counted | tell(f, FLIGHT_VALUE, now);
}

/* ---------------------------------------------------------------------------------- replies */

/* A W names who leads; it is no ghost of this flight. */
static uint32_t join(struct flight *f, const struct flight_reply *reply,
                     const struct flight_now *now)
{
    const struct flight_options *o = f->options;
    uint64_t left_ns = o->lease_ns, jitter_ns = ((o->lease_ns / 20) >> 16) * (now->random >> 16);

    if (reply->integer >= 0 && (uint64_t)reply->integer < FLIGHT_NEVER / MS)
        left_ns = (uint64_t)reply->integer * MS;
    f->wait_until_ns = later(later(now->ns, left_ns), MS + jitter_ns);
    f->behind_sibling = is_sibling(f, reply);
    if (!f->behind_sibling) {
        memcpy(f->joined, reply->bytes, TOKEN_LEN);
        f->has_joined = true;
    }
    if (f->give_up_ns == FLIGHT_NEVER)
        f->give_up_ns = later(later(now->ns, o->max_age_ns), 2 * o->lease_ns);
    f->rechecks = false;
    if (now->ns >= f->give_up_ns)
        return tell(f, FLIGHT_ALONE_GAVE_UP, now);
    return f->again ? claim(f, now) : await(f);
}

/* True if a W is in form; *is_ghost: it names an older attempt of this flight. */
static bool is_wait(const struct flight *f, const struct flight_reply *reply, bool *is_ghost)
{
    struct token token;

    if (reply->kind != FLIGHT_REPLY_WAIT || token_read(&token, reply->bytes, reply->len) != 0)
        return false;
    *is_ghost = is_own(f, reply->bytes);
    return memcmp(f->token, reply->bytes, TOKEN_LEN) != 0; /* that would have been an L */
}

static uint32_t claim_answered(struct flight *f, const struct flight_reply *reply,
                               const struct flight_now *now)
{
    bool is_ghost = false;

    if (reply->kind == FLIGHT_REPLY_LEAD)
        return f->forgotten ? send_claim(f, now) : lead(f, now);
    if (reply->kind == FLIGHT_REPLY_VALUE && f->has_joined)
        return land(f, reply->bytes, reply->len, false, now);
    if (!is_wait(f, reply, &is_ghost))
        return tell(f, FLIGHT_ALONE_REFUSED, now) |
               (reply->kind == FLIGHT_REPLY_ERROR ? 0 : FLIGHT_BAD_FRAME);
    if (!is_ghost)
        return join(f, reply, now);
    /* Nobody leads under that token, so it is taken out of the way.  The timer goes on. */
    memcpy(f->drop_token, reply->bytes, TOKEN_LEN);
    return FLIGHT_GHOST_DROPPED | send(f, FLIGHT_SEND_DROP) | send_claim(f, now);
}

static uint32_t late_answered(struct flight *f, const struct flight_reply *reply,
                              const struct flight_now *now)
{
    bool is_ghost = false;

    if (reply->kind == FLIGHT_REPLY_LEAD)
        return drop(f, f->token, now);
    if (is_wait(f, reply, &is_ghost) && is_ghost)
        return FLIGHT_GHOST_DROPPED | drop(f, (const char *)reply->bytes, now);
    return done(f);
}

static uint32_t lose_lead(struct flight *f, uint32_t why)
{
    if (f->is_void)
        return 0;
    f->is_void = true;
    f->timer_ns = FLIGHT_NEVER;
    return FLIGHT_VOID | why;
}

/* A lead that was told could not be given back, and so may have been another's meanwhile. */
static uint32_t lead_was_lost(const struct flight *f)
{
    return f->outcome == FLIGHT_LEAD && !f->is_void ? FLIGHT_LEASE_LOST : 0;
}

static uint32_t renew_answered(struct flight *f, const struct flight_reply *reply)
{
    if (reply->kind != FLIGHT_REPLY_INTEGER)
        return 0; /* the next renewal asks again */
    return reply->integer == 0 ? lose_lead(f, FLIGHT_LEASE_LOST) : FLIGHT_RENEWED;
}

static uint32_t publish_answered(struct flight *f, const struct flight_reply *reply)
{
    bool is_integer = reply->kind == FLIGHT_REPLY_INTEGER;
    uint32_t counted = FLIGHT_UNPUBLISHED;

    if (is_integer && reply->integer >= 0)
        counted = FLIGHT_PUBLISHED;
    else if (is_integer && !f->sent_before) /* else the lost one may have published */
        counted = FLIGHT_REFUSED;
    return counted | done(f);
}

static uint32_t drop_answered(struct flight *f, const struct flight_reply *reply)
{
    bool was_ours = reply->kind == FLIGHT_REPLY_INTEGER && reply->integer == 1;

    return done(f) | (was_ours ? 0 : lead_was_lost(f));
}

uint32_t flight_reply(struct flight *f, uint32_t command, const struct flight_reply *reply,
                      const struct flight_now *now)
{
    f->unanswered &= ~command;
    if (f->state == FLIGHT_IN_CLAIM && command == FLIGHT_SEND_CLAIM)
        return claim_answered(f, reply, now);
    if (f->state == FLIGHT_IN_LATE && command == FLIGHT_SEND_CLAIM)
        return late_answered(f, reply, now);
    if (f->state == FLIGHT_IN_LEAD && command == FLIGHT_SEND_RENEW)
        return renew_answered(f, reply);
    if (f->state == FLIGHT_IN_PUBLISH && command == FLIGHT_SEND_PUBLISH)
        return publish_answered(f, reply);
    if (f->state == FLIGHT_IN_DROP && command == FLIGHT_SEND_DROP)
        return drop_answered(f, reply);
    if (f->state == FLIGHT_IN_DONE)
        return done(f);
    return 0; /* a ghost was dropped; a renewal was answered after fn had returned */
}

/* ----------------------------------------------------------------------------------- pushes */

uint32_t flight_push(struct flight *f, const char token[TOKEN_LEN], const unsigned char *bytes,
                     size_t len, const struct flight_now *now)
{
    bool is_present = memcmp(f->token, token, TOKEN_LEN) == 0;
    bool is_behind_other = f->state == FLIGHT_IN_WAIT && !f->behind_sibling;
    char letter = len == 0 ? '\0' : (char)bytes[0];

    if (!is_own(f, token))
        return 0;
    if (letter == 'F') {
        if (f->state == FLIGHT_IN_LEAD && is_present)
            return lose_lead(f, FLIGHT_FORGOTTEN);
        f->forgotten |= f->state == FLIGHT_IN_CLAIM && is_present;
        return 0;
    }
    if (f->state != FLIGHT_IN_CLAIM && f->state != FLIGHT_IN_WAIT)
        return 0;
    if (letter == 'V' && is_behind_other)
        return is_present ? land(f, bytes + 1, len - 1, true, now) : 0;
    if (letter != 'V' && letter != 'G' && letter != 'X')
        return FLIGHT_BAD_FRAME;
    f->rechecks = false;
    if (f->state == FLIGHT_IN_WAIT)
        return claim(f, now);
    f->again = true; /* it may be older than the claim that is unanswered, or a sibling's */
    return 0;
}

/* ------------------------------------------------------------------------------------ links */

uint32_t flight_link_up(struct flight *f, const struct flight_now *now)
{
    switch (f->state) {
    case FLIGHT_IN_CLAIM:
        return send_claim(f, now);
    case FLIGHT_IN_WAIT:
        return recheck(f, now);
    case FLIGHT_IN_LEAD:
        return f->is_void || now->is_over ? 0 : send(f, FLIGHT_SEND_RENEW);
    case FLIGHT_IN_PUBLISH:
        return send(f, FLIGHT_SEND_PUBLISH);
    case FLIGHT_IN_DROP:
        return send(f, FLIGHT_SEND_DROP);
    default:
        return 0;
    }
}

uint32_t flight_link_down(struct flight *f, const struct flight_now *now)
{
    uint32_t lost = f->unanswered;

    f->unanswered = 0;
    f->lost_claim |= (lost & FLIGHT_SEND_CLAIM) != 0;
    f->sent_before |= (lost & FLIGHT_SEND_PUBLISH) != 0;
    if (f->state == FLIGHT_IN_CLAIM && now->ns < f->wait_until_ns)
        return await(f); /* who is waited for still leads, and its push may come */
    if (f->state == FLIGHT_IN_LATE || (f->state == FLIGHT_IN_DONE && lost != 0))
        return no_more(f, now);
    return 0;
}

uint32_t flight_inbox_up(struct flight *f, const struct flight_now *now)
{
    if (f->state == FLIGHT_IN_WAIT && f->link->up)
        return recheck(f, now);
    f->again |= f->state == FLIGHT_IN_CLAIM;
    return 0;
}

/* ----------------------------------------------------------------------------------- timers */

static uint32_t claim_timer(struct flight *f, const struct flight_now *now)
{
    f->link->shut = true;
    return tell(f, f->unanswered & FLIGHT_SEND_CLAIM ? FLIGHT_ALONE_SLOW : FLIGHT_ALONE_DOWN, now);
}

static uint32_t lead_timer(struct flight *f, const struct flight_now *now)
{
    if (now->ns >= f->lead_until_ns)
        return lose_lead(f, FLIGHT_AGED);
    f->timer_ns = f->lead_until_ns;
    if (now->is_over)
        return 0;
    f->timer_ns = sooner(later(now->ns, f->options->lease_ns / 3), f->timer_ns);
    return f->unanswered & FLIGHT_SEND_RENEW ? 0 : send_if_up(f, FLIGHT_SEND_RENEW);
}

uint32_t flight_timer(struct flight *f, const struct flight_now *now)
{
    if (now->ns < f->timer_ns || f->timer_ns == FLIGHT_NEVER)
        return 0;
    switch (f->state) {
    case FLIGHT_IN_CLAIM:
        return claim_timer(f, now);
    case FLIGHT_IN_WAIT:
        return now->ns >= f->give_up_ns ? tell(f, FLIGHT_ALONE_GAVE_UP, now) : recheck(f, now);
    case FLIGHT_IN_LEAD:
        return lead_timer(f, now);
    case FLIGHT_IN_PUBLISH:
        return FLIGHT_UNPUBLISHED | done(f);
    default:
        return lead_was_lost(f) | done(f);
    }
}

/* ----------------------------------------------------------------------------- the process's own
 */

uint32_t flight_start(struct flight *f, const struct flight_options *options,
                      struct flight_link *link, const char token[TOKEN_LEN],
                      const struct flight_now *now)
{
    *f = (struct flight){.options = options, .link = link, .give_up_ns = FLIGHT_NEVER};
    memcpy(f->token, token, TOKEN_LEN);
    memcpy(f->joined, token, TOKEN_LEN);
    if (link->shut)
        return tell(f, link->up ? FLIGHT_ALONE_SLOW : FLIGHT_ALONE_DOWN, now);
    return claim(f, now);
}

uint32_t flight_returned(struct flight *f, bool publish, const struct flight_now *now)
{
    if (f->state != FLIGHT_IN_LEAD)
        return 0;
    if (!publish)
        return drop(f, f->token, now);
    f->state = FLIGHT_IN_PUBLISH;
    f->timer_ns = later(now->ns, f->options->lease_ns);
    return send_if_up(f, FLIGHT_SEND_PUBLISH);
}

uint32_t flight_left(struct flight *f, const struct flight_now *now)
{
    if (f->state == FLIGHT_IN_LEAD)
        return drop(f, f->token, now);
    if (f->state == FLIGHT_IN_CLAIM || f->state == FLIGHT_IN_WAIT)
        return no_more(f, now);
    return 0;
}
