/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world for flights: processes with their calls, the engine's model between them, and all that is
 * under way.  It can be copied.  The program that includes this can say how a world has come about
 * (print_way()).
 */
#ifndef SFLIGHT_TESTS_FLEET_WORLD_H
#define SFLIGHT_TESTS_FLEET_WORLD_H

#define ENGINE_KEYS 6
#define ENGINE_NAME_MAX 48
#define ENGINE_VALUE_MAX (14 * TOKEN_LEN)
#include "engine_model.h"

#include "../../src/fleet/flight.h"
#include "../../src/fleet/frame.h"
#include "../../src/fleet/scripts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    PROCESSES = 3,
    CALLS = 4,
    QUEUE = 6,
    BATCHES = 4, /* of commands that lost links have carried */
    DEPTH = 2000,
    ACTIONS = 96,
    N_WALKS = 200000,
    PLACES_MAX = 1 << 27,           /* for hashes: 1 GiB */
    FRAME_LEN = FRAME_HEAD_LEN + 1, /* the value is the number of the call that has run */
    LEASE_MS = 3000,
    MAX_AGE_MS = 1500, /* one renewal; shorter than a lease, so that few moments matter */
    TIMEOUT_MS = 250,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define MS UINT64_C(1000000)
#define PREFIX "p:"
#define NEVER_MS INT64_MAX

static const struct flight_options options = {
    .lease_ns = LEASE_MS * MS,
    .max_age_ns = MAX_AGE_MS * MS,
    .engine_timeout_ns = TIMEOUT_MS * MS,
};

/* A fault, and what it is done to. */
enum fault {
    CUT,         /* process: its link is lost, with all replies; commands may come later */
    INBOX,       /* process: its inbox is lost, with all pushes, until it is subscribed again */
    PUSH_LOST,   /* process: one push is lost, and nobody notices */
    SLOT_GONE,   /* the slot is evicted */
    RESULT_GONE, /* all results are evicted */
    CRASH,       /* process */
    STOP,        /* process: it does nothing for any time */
    STALL,       /* time goes on though something is under way */
    FORGET,      /* somebody forgets the key */
    ERROR,       /* process: a command is answered with an error, and not carried out */
    UNSHARED,    /* call: fn returns what is not to be shared */
    LARGE,       /* call: fn returns what is too large to be shared */
    LEFT,        /* call: its caller leaves */
    RESTART,     /* the engine is another, empty one: all links and inboxes are lost */
    FAULTS
};

static const char *const fault_names[] = {
    "cut",   "inbox",  "push lost", "slot gone", "result gone", "crash", "stop",
    "stall", "forget", "error",     "unshared",  "too large",   "left",  "restart",
};

#define BIT(fault) (1U << (fault))

/* Faults between which the oracle makes no difference are remembered as one of them. */
static const uint8_t fault_classes[] = {
    CUT,   INBOX,  PUSH_LOST, SLOT_GONE, INBOX,  CRASH,  STALL,
    STALL, FORGET, CUT,       FORGET,    FORGET, FORGET, CUT,
};

struct command {
    uint8_t what; /* of FLIGHT_SENDS, which all fit */
    uint8_t call, rejoin, large;
    char token[TOKEN_LEN], joined[TOKEN_LEN];
};

struct reply {
    uint8_t what, call, kind, len;
    int32_t integer;
    char bytes[TOKEN_LEN];
};

struct push {
    char token[TOKEN_LEN];
    uint8_t letter, len;
    uint8_t frame[FRAME_LEN];
};

struct process {
    struct flight_link link;
    bool crashed, stopped;
    uint8_t n_commands, n_replies, n_pushes;
    struct command commands[QUEUE];
    struct reply replies[QUEUE];
    struct push pushes[QUEUE];
};

struct batch {
    uint8_t process, n;
    struct command commands[QUEUE];
};

struct call {
    struct flight f;
    uint8_t process;
    bool begun, flying, told, left, answered, runs, has_led, has_published, is_void, large,
        is_alone;
    bool is_over;     /* fn has returned, and the flight has not been told */
    bool causes;      /* it has a counter that explains runs that overlap */
    uint8_t overlaps; /* sets of calls: whose run was under way when this call's began */
    uint8_t banned;   /* whose value must not be had: it is older than the call, or forgotten */
    uint8_t lost_renewals;
    int64_t returned_ms; /* when fn did, or NEVER_MS */
    int64_t limit_ms;    /* when it must have been told */
};

struct world {
    struct engine engine;
    struct process process[PROCESSES];
    struct batch batch[BATCHES];
    struct call call[CALLS];
    uint8_t n_processes, n_calls, faults_left, forgotten; /* forgotten: a set of calls */
    uint16_t faults;                                      /* a set of enum fault: what has been */
    bool has_aged;                                        /* fn was held beyond max_age */
};

enum kind {
    BEGIN,
    CARRY_OUT,
    REPLY,
    PUSH,
    RETURN,
    REPORT,
    TIMER,
    LINK,
    SUBSCRIBE,
    RESUME,
    LATE,
    NEVER,
    TIME,
    FAULT
};

static const char *const kind_names[] = {
    "call begins",
    "engine carries out",
    "reply",
    "push",
    "fn returns",
    "flight is told",
    "timer",
    "link is up",
    "inbox is up",
    "goes on",
    "carried out late",
    "never carried out",
    "time goes on",
    "fault",
};

struct action {
    uint8_t kind, who, fault;
};

static void print_way(void);

static struct {
    uint64_t counted[32], outcomes[8]; /* by the bit of an enum flight_action; by outcome */
} seen;

static struct {
    int64_t budget;     /* 0: values are too long for pushes */
    bool with_restarts; /* each is many losses at once, and leads to many states */
} setting;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_way();                                                                           \
            fail_msg("does not hold: %s", #condition);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* For a call's flight. */
static struct flight_now now_of(const struct world *w, int c)
{
    return (struct flight_now){.ns = (uint64_t)w->engine.now_ms * MS,
                               .is_over = w->call[c].is_over};
}

static int64_t to_ms(uint64_t ns)
{
    return ns == FLIGHT_NEVER ? NEVER_MS : (int64_t)((ns + MS - 1) / MS);
}

static struct engine_string string(const char *bytes, size_t len)
{
    return (struct engine_string){bytes, len};
}

static struct engine_string slot_name(void)
{
    return string("p:n{:k}", 7);
}

static void make_frame(uint8_t out[FRAME_LEN], const struct command *c)
{
    frame_write_head(out, c->large ? FRAME_TOO_LARGE : FRAME_VALUE, 7);
    out[FRAME_HEAD_LEN] = c->call;
}

/* ------------------------------------------------------------------------ what flights ask for */

static void forget_message(void *queue, uint8_t *n, size_t size)
{
    (*n)--;
    memmove(queue, (char *)queue + size, *n * size);
    memset((char *)queue + *n * size, 0, size);
}

static bool is_mentioned(const struct process *p, int c)
{
    for (int i = 0; i < p->n_commands; i++) {
        if (p->commands[i].call == c)
            return true;
    }
    for (int i = 0; i < p->n_replies; i++) {
        if (p->replies[i].call == c)
            return true;
    }
    return false;
}

static void told(struct world *w, int c)
{
    struct call *k = &w->call[c];

    CHECK(!k->told && !k->left);
    k->told = true;
    seen.outcomes[k->f.outcome]++;
    if (k->f.outcome == FLIGHT_VALUE) {
        struct frame frame;
        CHECK(frame_read(&frame, k->f.frame, k->f.frame_len, 1) == 0);
        CHECK(frame.kind == FRAME_VALUE && frame.status == 7 && frame.value_len == 1);
        int run = frame.value[0];
        CHECK(run < w->n_calls && run != c && w->call[run].has_published);
        CHECK(!(k->banned & 1U << run));           /* promises 1 and 6 */
        CHECK(w->call[run].process != k->process); /* who asks there again has had it */
        k->answered = true;
        return;
    }
    if (k->f.outcome != FLIGHT_LEAD) {
        CHECK(w->faults != 0 || w->has_aged);
        k->causes = true;
        /* Behind a leader that has died, waiting may take as long as promise 4 has it. */
        k->is_alone = k->f.outcome != FLIGHT_ALONE_GAVE_UP || !(w->faults & BIT(CRASH));
        k->answered = true;
        return;
    }
    k->runs = true;
    k->has_led = true;
    for (int i = 0; i < w->n_calls; i++) {
        if (i != c && w->call[i].runs)
            k->overlaps |= (uint8_t)(1U << i);
    }
}

static void send_command(struct world *w, int c, uint32_t what)
{
    struct call *k = &w->call[c];
    struct process *p = &w->process[k->process];
    struct command *m = &p->commands[p->n_commands];

    CHECK(p->link.up && p->n_commands < QUEUE);
    p->n_commands++;
    m->what = (uint8_t)what;
    m->call = (uint8_t)c;
    m->rejoin = what == FLIGHT_SEND_CLAIM && k->f.rejoin;
    m->large = k->large;
    memcpy(m->token, what == FLIGHT_SEND_DROP ? k->f.drop_token : k->f.token, TOKEN_LEN);
    memcpy(m->joined, k->f.joined, TOKEN_LEN);
    /* Nothing is renewed once fn has returned, nor once the lead is void. */
    CHECK(what != FLIGHT_SEND_RENEW || (k->runs && !k->is_void));
    CHECK(what != FLIGHT_SEND_PUBLISH || (k->has_led && !k->runs));
}

static void perform(struct world *w, int c, uint32_t actions)
{
    const uint32_t causes = FLIGHT_VOID | FLIGHT_LEASE_LOST | FLIGHT_REFUSED | FLIGHT_UNPUBLISHED;
    const unsigned late = BIT(CUT) | BIT(STALL);
    struct call *k = &w->call[c];

    for (uint32_t i = 0; i < 32; i++) {
        if (actions & UINT32_C(1) << i)
            seen.counted[i]++;
    }
    for (uint32_t what = FLIGHT_SEND_DROP; what <= FLIGHT_SEND_PUBLISH; what <<= 1) {
        if (actions & what)
            send_command(w, c, what);
    }
    if (actions & FLIGHT_TELL)
        told(w, c);
    k->f.frame = NULL;
    k->f.frame_len = 0;
    if (actions & FLIGHT_VOID) {
        CHECK(!k->is_void && (k->runs || k->is_over));
        k->is_void = true;
    }
    k->causes |= (actions & causes) != 0;
    w->has_aged |= (actions & FLIGHT_AGED) != 0;
    if (actions & FLIGHT_ENDED) {
        CHECK(k->told || k->left);
        CHECK(!is_mentioned(&w->process[k->process], c));
        struct engine_key *slot = engine_get(&w->engine, slot_name());
        /* What is nobody's lead is given back. */
        CHECK(slot == NULL || memcmp(slot->value, k->f.token, TOKEN_FLIGHT_LEN) != 0 ||
              (w->faults & late));
        k->flying = false;
        memset(&k->f, 0, sizeof(k->f));
    }
}

/* An event for each flight of a process. */
static void each_flight(struct world *w, int p,
                        uint32_t (*event)(struct flight *, const struct flight_now *))
{
    for (int c = 0; c < w->n_calls; c++) {
        const struct flight_now now = now_of(w, c);
        if (w->call[c].flying && w->call[c].process == p)
            perform(w, c, event(&w->call[c].f, &now));
    }
}

/* -------------------------------------------------------------------------------- the engine */

static void take_push(void *ctx, struct engine_string channel, struct engine_string token,
                      char letter, struct engine_string frame)
{
    struct world *w = ctx;
    char name[INBOX_MAX_LEN];

    for (int i = 0; i < w->n_processes; i++) {
        struct process *p = &w->process[i];
        struct token t;
        CHECK(token_read(&t, token.bytes, token.len) == 0);
        if (t.process != UINT64_C(0xa1b2c3d4e5f60700) + (uint64_t)i)
            continue;
        CHECK(names_inbox(name, PREFIX, t.process) == channel.len &&
              memcmp(name, channel.bytes, channel.len) == 0);
        if (!p->link.inbox || !w->call[t.counter & 0xff].flying)
            return; /* lost; or for nobody */
        CHECK(p->n_pushes < QUEUE && frame.len <= FRAME_LEN);
        struct push *m = &p->pushes[p->n_pushes++];
        memcpy(m->token, token.bytes, TOKEN_LEN);
        m->letter = (uint8_t)letter;
        m->len = (uint8_t)frame.len;
        memcpy(m->frame, frame.bytes, frame.len);
    }
}

static void carry_out_publish(struct world *w, const struct command *c, struct engine_string result,
                              struct engine_reply *r)
{
    uint8_t frame[FRAME_LEN];
    struct engine_key *slot = engine_get(&w->engine, slot_name());
    bool leads = slot != NULL && memcmp(slot->value, c->token, TOKEN_LEN) == 0;

    make_frame(frame, c);
    engine_publish(&w->engine, slot_name(), result, string(c->token, TOKEN_LEN),
                   string((char *)frame, c->large ? FRAME_HEAD_LEN : FRAME_LEN), SCRIPT_LINGER_MS,
                   string(PREFIX "i:", 4), setting.budget, take_push, w, r);
    CHECK(leads || r->integer < 0 || w->call[c->call].has_published); /* promise 3 */
    if (leads) {
        CHECK(!w->call[c->call].has_published);
        w->call[c->call].has_published = true;
    }
}

static void carry_out(struct world *w, const struct command *c, struct engine_reply *r)
{
    const struct engine_string token = string(c->token, TOKEN_LEN), prefix = string(PREFIX "i:", 4);
    char name[ENGINE_NAME_MAX];
    memcpy(name, slot_name().bytes, slot_name().len);
    size_t len =
        names_result(name, slot_name().len, c->what == FLIGHT_SEND_CLAIM ? c->joined : c->token);

    switch (c->what) {
    case FLIGHT_SEND_CLAIM:
        engine_claim(&w->engine, slot_name(), string(name, len), token, LEASE_MS, c->rejoin,
                     FRAME_LEN, SCRIPT_SLOT_LIST_MAX, r);
        break;
    case FLIGHT_SEND_PUBLISH:
        carry_out_publish(w, c, string(name, len), r);
        break;
    case FLIGHT_SEND_RENEW:
        engine_renew(&w->engine, slot_name(), token, LEASE_MS, r);
        break;
    default:
        engine_drop(&w->engine, slot_name(), token, prefix, take_push, w, r);
        break;
    }
}

/* The engine carries out the next command of a process; or answers it with an error. */
static void answer(struct world *w, int process, bool is_error)
{
    static const uint8_t kinds[] = {FLIGHT_REPLY_LEAD, FLIGHT_REPLY_WAIT, FLIGHT_REPLY_VALUE,
                                    FLIGHT_REPLY_INTEGER};
    struct process *p = &w->process[process];
    const struct command c = p->commands[0];
    struct engine_reply r = {.kind = ENGINE_INTEGER};

    forget_message(p->commands, &p->n_commands, sizeof(c));
    if (!is_error)
        carry_out(w, &c, &r);
    CHECK(p->n_replies < QUEUE && r.len <= sizeof(p->replies[0].bytes));
    struct reply *m = &p->replies[p->n_replies++];
    m->what = c.what;
    m->call = c.call;
    m->kind = is_error ? FLIGHT_REPLY_ERROR : kinds[r.kind];
    m->integer = (int32_t)r.integer;
    m->len = (uint8_t)r.len;
    memcpy(m->bytes, r.bytes, r.len);
}

#endif
