/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flight may be ended, and freed, by any event: after one nothing of it is used here.  Events are
 * not nested: what a flight wants leads to no event of another one, and a connection that cannot be
 * written to is closed later (failure).
 */
#include "pilot.h"

#include "ask.h"
#include "frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS_NS UINT64_C(1000000)

uint64_t pilot_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64: only to spread processes in time. */
uint32_t pilot_random(struct pilot *p)
{
    uint64_t z = p->random += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 32);
}

static struct flight_now now(struct pilot *p, const struct claim *c)
{
    return (struct flight_now){.ns = p->now_ns,
                               .random = pilot_random(p),
                               .is_over = atomic_load_explicit(&c->is_over, memory_order_relaxed)};
}

void pilot_note_error(struct pilot *p, const char *text)
{
    pthread_mutex_lock(&p->error_lock);
    snprintf(p->last_error, sizeof(p->last_error), "%s", text);
    pthread_mutex_unlock(&p->error_lock);
}

/* ------------------------------------------------------------- commands */

/* Room for one more; false: no memory. */
static bool reserve_sent(struct pilot *p)
{
    if (p->n_sent < p->sent_size)
        return true;
    size_t size = p->sent_size == 0 ? 256 : 2 * p->sent_size;
    struct sent *larger = malloc(size * sizeof(*larger));
    if (larger == NULL)
        return false;
    for (size_t i = 0; i < p->n_sent; i++)
        larger[i] = p->sent[(p->sent_first + i) % p->sent_size];
    free(p->sent);
    p->sent = larger;
    p->sent_size = size;
    p->sent_first = 0;
    return true;
}

static void send_command(struct pilot *p, struct claim *c, uint32_t command,
                         const struct command *what)
{
    if (p->failure != NULL)
        return; /* lost, as all that is unanswered will be */
    if (!reserve_sent(p) || !link_send(&p->commands, what->n, what->args)) {
        p->failure = "out of memory";
        return;
    }
    if (p->n_sent == 0)
        p->answer_due_ns = p->now_ns + p->patience_ns;
    p->sent[(p->sent_first + p->n_sent++) % p->sent_size] =
        (struct sent){.claim = c, .command = command};
    count_add(&p->counts, COUNT_commands, 1);
}

static struct sent pop_sent(struct pilot *p)
{
    struct sent s = p->sent[p->sent_first];

    p->sent_first = (p->sent_first + 1) % p->sent_size;
    p->n_sent--;
    return s;
}

static void send_flight(struct pilot *p, struct claim *c, uint32_t command)
{
    struct command what;

    ask_of_flight(&what, c, command, p->channel, p->channel_len);
    send_command(p, c, command, &what);
}

/* -------------------------------------------------------------- outcomes */

static void tell_claim(struct claim *c, int outcome)
{
    c->outcome = outcome;
    c->is_told = true;
    if (c->wait != NULL) {
        sflight_call *wait = c->wait;
        c->wait = NULL;
        sflight_complete(wait, 0);
    } else if (c->told != NULL) {
        c->told(c);
    }
}

static int take_value(struct pilot *p, struct claim *c)
{
    struct frame f;
    int rc = frame_read(&f, c->flight.frame, c->flight.frame_len, c->member->max_value);

    if (rc == -EMSGSIZE)
        return FLIGHT_ALONE_OVERSIZE; /* the leader's fleet has a larger max_value */
    if (rc != 0) {
        count_add(&p->counts, COUNT_bad_frames, 1);
        return FLIGHT_ALONE_REFUSED;
    }
    c->value = malloc(f.value_len > 0 ? f.value_len : 1);
    if (c->value == NULL)
        return OUTCOME_MEMORY;
    memcpy(c->value, f.value, f.value_len);
    c->value_len = f.value_len;
    c->status = f.status;
    return FLIGHT_VALUE;
}

static void tell_flight(struct pilot *p, struct claim *c)
{
    int outcome = (int)c->flight.outcome;

    if (c->is_told)
        return; /* the caller has left */
    tell_claim(c, outcome == FLIGHT_VALUE ? take_value(p, c) : outcome);
}

/* Counts it among those that lead, or wait. */
static void gauge(struct claim *c)
{
    enum count in = COUNT_N;

    if (!c->is_ended && c->flight.state == FLIGHT_IN_WAIT)
        in = COUNT_waiting;
    if (!c->is_ended && (c->flight.state == FLIGHT_IN_LEAD ||
                         c->flight.state == FLIGHT_IN_PUBLISH || c->flight.state == FLIGHT_IN_DROP))
        in = COUNT_leading;
    if (in == c->gauge)
        return;
    if (c->gauge != COUNT_N)
        count_sub(&c->member->counts, c->gauge, 1);
    if (in != COUNT_N)
        count_add(&c->member->counts, in, 1);
    c->gauge = in;
}

static void count_actions(struct pilot *p, struct claim *c, uint32_t actions)
{
    static const struct {
        uint32_t action;
        enum count count;
    } counted[] = {
        {FLIGHT_TAKEN_OVER, COUNT_takeovers},
        {FLIGHT_LEASE_LOST, COUNT_leases_lost},
        {FLIGHT_AGED, COUNT_aged},
        {FLIGHT_FORGOTTEN, COUNT_forgotten},
        {FLIGHT_RENEWED, COUNT_renewals},
        {FLIGHT_PUBLISHED, COUNT_published},
        {FLIGHT_REFUSED, COUNT_refused},
        {FLIGHT_UNPUBLISHED, COUNT_unpublished},
        {FLIGHT_RECHECKED, COUNT_rechecks},
        {FLIGHT_RECHECK_HIT, COUNT_recheck_hits},
    };

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
        if (actions & counted[i].action)
            count_add(&c->member->counts, counted[i].count, 1);
    if (actions & FLIGHT_BAD_FRAME)
        count_add(&p->counts, COUNT_bad_frames, 1);
}

/* --------------------------------------------------------------- others */

static void remove_other(struct claim *c)
{
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    claim_let_go(c);
}

static void end_other(struct claim *c, int outcome)
{
    if (!c->is_told)
        tell_claim(c, outcome);
    remove_other(c);
}

static void add_other(struct pilot *p, struct claim *c)
{
    c->next = p->others;
    c->link = &p->others;
    if (c->next != NULL)
        c->next->link = &c->next;
    p->others = c;
}

static void send_other(struct pilot *p, struct claim *c)
{
    struct command what;

    ask_other(&what, c, p->channel, p->channel_len);
    send_command(p, c, 0, &what);
    c->is_sent = true;
}

/* The member has no flight any more. */
static void tell_quiet(struct pilot *p, struct member *m)
{
    for (struct claim *c = p->others, *next; c != NULL; c = next) {
        next = c->next;
        if (c->kind == CLAIM_QUIET && c->member == m)
            end_other(c, OUTCOME_DONE);
    }
}

static void other_answered(struct claim *c, const struct link_reply *r)
{
    if (r->value.type == LINK_INTEGER) {
        c->integer = r->value.integer;
        end_other(c, OUTCOME_DONE);
        return;
    }
    snprintf(c->error, sizeof(c->error), "%s",
             r->value.type == LINK_ERROR ? r->value.bytes : "an answer that makes no sense");
    end_other(c, OUTCOME_ERROR);
}

/* ---------------------------------------------------------------- flights */

/* One less, the last step of its end. */
static void count_ended(struct pilot *p, struct member *m)
{
    if (atomic_fetch_sub(&m->n_flights, 1) == 1)
        tell_quiet(p, m);
}

static void end_flight(struct pilot *p, struct claim *c)
{
    struct member *m = c->member;

    c->is_ended = true;
    gauge(c);
    claims_remove(&p->claims, c);
    claim_let_go(c);
    count_ended(p, m);
}

/* Does what the flight wants after an event, in the order of the actions. */
static void act(struct pilot *p, struct claim *c, uint32_t actions)
{
    for (uint32_t command = FLIGHT_SEND_DROP; command <= FLIGHT_SEND_PUBLISH; command <<= 1)
        if (actions & command)
            send_flight(p, c, command);
    count_actions(p, c, actions);
    gauge(c);
    if (actions & FLIGHT_TELL)
        tell_flight(p, c);
    if (actions & FLIGHT_VOID)
        claim_void(c);
    if (actions & FLIGHT_ENDED)
        end_flight(p, c);
    else
        claims_set_timer(&p->claims, c);
}

static void start_flight(struct pilot *p, struct claim *c)
{
    struct member *m = c->member;
    char token[TOKEN_LEN];
    struct flight_now at = now(p, c);

    c->number = ++p->last_number;
    if (!claims_add(&p->claims, c)) {
        c->is_ended = true;
        tell_claim(c, OUTCOME_MEMORY);
        claim_let_go(c);
        count_ended(p, m);
        return;
    }
    c->begun_ns = p->now_ns;
    token_write(token, &(struct token){.process = p->process, .counter = c->number});
    act(p, c, flight_start(&c->flight, &m->flight, &p->state, token, &at));
}

static void start(struct pilot *p, struct claim *c)
{
    if (c->kind == CLAIM_FLIGHT) {
        start_flight(p, c);
        return;
    }
    add_other(p, c);
    if (c->kind == CLAIM_QUIET && atomic_load(&c->member->n_flights) == 0)
        end_other(c, OUTCOME_DONE);
    else if (c->kind == CLAIM_COMMAND && p->state.up)
        send_other(p, c);
}

/* The caller does not wait any more. */
static void left(struct pilot *p, struct claim *c)
{
    struct flight_now at = now(p, c);

    if (c->kind == CLAIM_FLIGHT) {
        if (!c->is_told)
            tell_claim(c, OUTCOME_TIMED_OUT);
        if (!c->is_ended)
            act(p, c, flight_left(&c->flight, &at));
    } else if (!c->is_told) {
        /* The answer to what was sent is still to come. */
        tell_claim(c, OUTCOME_TIMED_OUT);
        if (!c->is_sent)
            remove_other(c);
    }
}

void pilot_asked(struct pilot *p, struct claim *c, unsigned what)
{
    struct flight_now at;

    p->now_ns = pilot_clock_ns();
    if (what & ASK_START)
        start(p, c);
    at = now(p, c);
    if ((what & ASK_RETURNED) && !c->is_ended)
        act(p, c, flight_returned(&c->flight, c->frame != NULL, &at));
    if (what & ASK_LEFT)
        left(p, c);
    claim_let_go(c);
}

void pilot_forget_member(struct pilot *p, struct member *m)
{
    struct claims_walk walk;

    for (size_t i = 0; i < p->n_sent; i++) {
        struct sent *s = &p->sent[(p->sent_first + i) % p->sent_size];
        if (s->claim != NULL && s->claim->member == m)
            s->claim = NULL;
    }
    for (struct claim *c = claims_first(&p->claims, &walk); c != NULL;
         c = claims_next(&p->claims, &walk))
        if (c->member == m) {
            c->is_told = true;
            end_flight(p, c);
        }
    for (struct claim *c = p->others, *next; c != NULL; c = next) {
        next = c->next;
        if (c->member == m)
            end_other(c, OUTCOME_TIMED_OUT);
    }
}

/* ---------------------------------------------------------------- events */

void pilot_tell_all(struct pilot *p, uint32_t (*event)(struct flight *, const struct flight_now *))
{
    struct claims_walk walk;

    for (struct claim *c = claims_first(&p->claims, &walk); c != NULL;
         c = claims_next(&p->claims, &walk)) {
        struct flight_now at = now(p, c);
        act(p, c, event(&c->flight, &at));
    }
}

void pilot_send_others(struct pilot *p)
{
    for (struct claim *c = p->others; c != NULL; c = c->next)
        if (c->kind == CLAIM_COMMAND)
            send_other(p, c);
}

void pilot_lose_answers(struct pilot *p)
{
    p->n_sent = 0;
    for (struct claim *c = p->others, *next; c != NULL; c = next) {
        next = c->next;
        c->is_sent = false;
        if (c->is_told)
            remove_other(c);
    }
}

/* True if a W names a flight of this process, but of another fleet; or that of a check. */
static bool is_is_no_sibling(const struct pilot *p, const struct claim *c,
                             const struct flight_reply *reply)
{
    struct token token;

    if (reply->kind != FLIGHT_REPLY_WAIT || token_read(&token, reply->bytes, reply->len) != 0 ||
        token.process != p->process)
        return false;
    const struct claim *leader = claims_find(&p->claims, token.counter);
    return leader != NULL && (leader->member != c->member || c->is_check);
}

/* How long the engine took to answer the flight's first claim. */
static void count_claim_ns(struct pilot *p, struct claim *c)
{
    struct counts *counts = &c->member->counts;
    uint64_t ns = p->now_ns - c->begun_ns;

    if (c->begun_ns == 0)
        return;
    c->begun_ns = 0;
    count_add(counts, COUNT_claim_ns_sum, ns);
    if (ns > count_read(counts, COUNT_claim_ns_max))
        count_set(counts, COUNT_claim_ns_max, ns);
}

void pilot_answered(struct pilot *p, const struct link_reply *r)
{
    struct sent s = pop_sent(p);
    struct flight_reply reply;

    p->answer_due_ns = p->now_ns + p->patience_ns;
    p->state.shut = false;
    if (r->value.type == LINK_ERROR)
        pilot_note_error(p, r->value.bytes);
    if (s.claim == NULL)
        return;
    if (s.command == 0) {
        other_answered(s.claim, r);
        return;
    }
    if (s.command == FLIGHT_SEND_CLAIM)
        count_claim_ns(p, s.claim);
    ask_reply(&reply, s.command, r);
    reply.is_no_sibling = is_is_no_sibling(p, s.claim, &reply);
    struct flight_now at = now(p, s.claim);
    act(p, s.claim, flight_reply(&s.claim->flight, s.command, &reply, &at));
}

void pilot_pushed(struct pilot *p, const struct link_value *message)
{
    struct token token;
    const char *bytes = message->bytes;

    count_add(&p->counts, COUNT_pushes, 1);
    if (message->len < TOKEN_LEN || token_read(&token, bytes, TOKEN_LEN) != 0 ||
        token.process != p->process) {
        count_add(&p->counts, COUNT_bad_frames, 1);
        return;
    }
    struct claim *c = claims_find(&p->claims, token.counter);
    if (c == NULL)
        return; /* it has ended meanwhile */
    struct flight_now at = now(p, c);
    act(p, c,
        flight_push(&c->flight, bytes, (const unsigned char *)bytes + TOKEN_LEN,
                    message->len - TOKEN_LEN, &at));
}

void pilot_run_timers(struct pilot *p)
{
    struct claim *c;

    while ((c = claims_soonest(&p->claims)) != NULL && c->flight.timer_ns <= p->now_ns) {
        struct flight_now at = now(p, c);
        act(p, c, flight_timer(&c->flight, &at));
    }
}
