/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All interleavings of a few calls on one key, in two or three processes, with a model of the
 * engine between them, in virtual time: a depth-first search over states, each visited once.
 *
 * What may happen at any moment: a call begins; the engine carries out the next command of a
 * process; the next reply, or the next push, reaches it; fn returns; a timer is due; a link or an
 * inbox is there again; a command that a lost link has carried is carried out after all, or never.
 * Time goes on when nothing is under way that takes no time.  Besides, so many faults (enum fault).
 *
 * What is checked: fleet promises 1 to 4 and 6, as far as one key shows them (see told(),
 * check_moment(), check_end()), and that the graph of states has no circle: nothing goes on for
 * ever.
 *
 * Usage: test_flight_interleavings             the part for every day
 *        test_flight_interleavings 011 2 [G]   one search: the process of each call, how many
 *                                              faults, G: values are too long for pushes
 */
#define ENGINE_KEYS 6
#define ENGINE_NAME_MAX 48
#define ENGINE_VALUE_MAX (9 * TOKEN_LEN)
#include "engine_model.h"

#include "../../src/fleet/flight.h"
#include "../../src/fleet/frame.h"
#include "../../src/fleet/scripts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    PROCESSES = 3,
    CALLS = 4,
    QUEUE = 6,
    BATCHES = 3, /* of commands that lost links have carried */
    DEPTH = 2000,
    ACTIONS = 96,
    PLACES_MAX = 1 << 27,           /* for hashes: 1 GiB */
    FRAME_LEN = FRAME_HEAD_LEN + 1, /* the value is the number of the call that has run */
    LEASE_MS = 3000,
    MAX_AGE_MS = 1500, /* one renewal; shorter than a lease, so that few moments matter */
    TIMEOUT_MS = 250,
};

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
    FAULTS
};

static const char *const fault_names[] = {
    "cut",   "inbox",  "push lost", "slot gone", "result gone", "crash", "stop",
    "stall", "forget", "error",     "unshared",  "too large",   "left",
};

#define BIT(fault) (1U << (fault))

/* Faults between which the oracle makes no difference are remembered as one of them. */
static const uint8_t fault_classes[] = {
    CUT,   INBOX,  PUSH_LOST, SLOT_GONE, INBOX,  CRASH,  STALL,
    STALL, FORGET, CUT,       FORGET,    FORGET, FORGET,
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

/* ------------------------------------------------------------------------------- the search's own
 */

static struct {
    struct world *at; /* [DEPTH] */
    struct action *done;
    int depth, deepest;
    uint64_t *seen; /* hashes; the lowest bit: it is on the way to the present state */
    uint64_t n_seen, n_places, n_steps, n_ends;
    uint64_t counted[32], outcomes[8];
    int64_t budget;
} search;

static void print_way(void)
{
    for (int i = 0; i < search.depth; i++) {
        const struct action *a = &search.done[i];
        fprintf(stderr, "# %6lld ms  %s%s%s %u\n", (long long)search.at[i].engine.now_ms,
                kind_names[a->kind], a->kind == FAULT ? ": " : "",
                a->kind == FAULT ? fault_names[a->fault] : "", a->who);
    }
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_way();                                                                           \
            fail_msg("does not hold: %s", #condition);                                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static struct flight_now now_of(const struct world *w)
{
    return (struct flight_now){.ns = (uint64_t)w->engine.now_ms * MS};
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
    search.outcomes[k->f.outcome]++;
    if (k->f.outcome == FLIGHT_VALUE) {
        struct frame frame;
        CHECK(frame_read(&frame, k->f.frame, k->f.frame_len, 1) == 0);
        CHECK(frame.kind == FRAME_VALUE && frame.status == 7 && frame.value_len == 1);
        int run = frame.value[0];
        CHECK(run < w->n_calls && run != c && w->call[run].has_published);
        CHECK(!(k->banned & 1U << run)); /* promises 1 and 6 */
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
            search.counted[i]++;
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
        CHECK(!k->is_void && k->runs);
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
    const struct flight_now now = now_of(w);

    for (int c = 0; c < w->n_calls; c++) {
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
                   string(PREFIX "i:", 4), search.budget, take_push, w, r);
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
                     SCRIPT_SLOT_LIST_MAX, r);
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

/* ----------------------------------------------------------------------------- what happens */

static void begin(struct world *w, int c)
{
    const struct flight_now now = now_of(w);
    struct call *k = &w->call[c];
    char token[TOKEN_LEN];

    token_write(token, &(struct token){.process = UINT64_C(0xa1b2c3d4e5f60700) + k->process,
                                       .counter = UINT64_C(0x17000000000000) + (uint64_t)c});
    k->begun = true;
    k->flying = true;
    k->limit_ms = w->engine.now_ms + TIMEOUT_MS;
    k->banned = w->forgotten;
    for (int i = 0; i < w->n_calls; i++) {
        const struct call *other = &w->call[i];
        int64_t old_ms = (2 + other->lost_renewals) * LEASE_MS;
        if (other->has_published ||
            (other->returned_ms != NEVER_MS && w->engine.now_ms - other->returned_ms > old_ms))
            k->banned |= (uint8_t)(1U << i);
    }
    perform(w, c, flight_start(&k->f, &options, &w->process[k->process].link, token, &now));
}

static void deliver_reply(struct world *w, int process)
{
    const struct flight_now now = now_of(w);
    struct process *p = &w->process[process];
    const struct reply m = p->replies[0];
    struct call *k = &w->call[m.call];

    forget_message(p->replies, &p->n_replies, sizeof(m));
    p->link.shut = false;
    CHECK(k->flying);
    bool had_joined = k->f.has_joined;
    uint32_t actions = flight_reply(
        &k->f, m.what,
        &(struct flight_reply){
            .kind = m.kind, .integer = m.integer, .bytes = (const void *)m.bytes, .len = m.len},
        &now);
    if (!had_joined && k->f.has_joined)
        k->limit_ms = w->engine.now_ms + MAX_AGE_MS + 2 * LEASE_MS + TIMEOUT_MS;
    perform(w, m.call, actions);
}

static void deliver_push(struct world *w, int process)
{
    const struct flight_now now = now_of(w);
    struct process *p = &w->process[process];
    const struct push m = p->pushes[0];
    unsigned char bytes[1 + FRAME_LEN];
    struct token token;

    forget_message(p->pushes, &p->n_pushes, sizeof(m));
    CHECK(token_read(&token, m.token, TOKEN_LEN) == 0);
    int c = (int)(token.counter & 0xff);
    bytes[0] = m.letter;
    memcpy(bytes + 1, m.frame, m.len);
    if (w->call[c].flying)
        perform(w, c, flight_push(&w->call[c].f, m.token, bytes, 1U + m.len, &now));
}

static void fn_returns(struct world *w, int c, bool publish)
{
    const struct flight_now now = now_of(w);
    struct call *k = &w->call[c];

    k->runs = false;
    k->answered = true;
    k->returned_ms = w->engine.now_ms;
    perform(w, c, flight_returned(&k->f, publish, &now));
}

static void to_batch(struct world *w, int process)
{
    struct process *p = &w->process[process];
    struct batch *b = w->batch;

    if (p->n_commands == 0)
        return;
    while (b->n != 0)
        b++;
    CHECK(b < w->batch + BATCHES);
    b->process = (uint8_t)process;
    b->n = p->n_commands;
    memcpy(b->commands, p->commands, sizeof(b->commands));
    memset(p->commands, 0, sizeof(p->commands));
    p->n_commands = 0;
}

static void count_lost_renewals(struct world *w, const struct process *p)
{
    for (int i = 0; i < p->n_commands; i++) {
        if (p->commands[i].what == FLIGHT_SEND_RENEW)
            w->call[p->commands[i].call].lost_renewals++;
    }
    for (int i = 0; i < p->n_replies; i++) {
        if (p->replies[i].what == FLIGHT_SEND_RENEW)
            w->call[p->replies[i].call].lost_renewals++;
    }
}

static void lose_link(struct world *w, int process)
{
    struct process *p = &w->process[process];

    count_lost_renewals(w, p);
    to_batch(w, process);
    memset(p->replies, 0, sizeof(p->replies));
    p->n_replies = 0;
    p->link.up = false;
}

static void lose_inbox(struct process *p)
{
    p->link.inbox = false;
    memset(p->pushes, 0, sizeof(p->pushes));
    p->n_pushes = 0;
}

static void crash(struct world *w, int process)
{
    lose_link(w, process);
    lose_inbox(&w->process[process]);
    w->process[process].crashed = true;
    w->process[process].stopped = false;
    for (int c = 0; c < w->n_calls; c++) {
        struct call *k = &w->call[c];
        if (k->process != process)
            continue;
        k->causes |= k->runs || k->flying;
        k->flying = false;
        k->runs = false;
        k->begun = true;
        memset(&k->f, 0, sizeof(k->f));
    }
}

static void forget(struct world *w)
{
    struct engine_reply r;

    for (int c = 0; c < w->n_calls; c++) {
        if (w->call[c].has_led)
            w->forgotten |= (uint8_t)(1U << c);
    }
    engine_drop(&w->engine, slot_name(), string("", 0), string(PREFIX "i:", 4), take_push, w, &r);
}

static void results_gone(struct world *w)
{
    for (size_t i = ENGINE_KEYS; i-- > 0;) {
        if (w->engine.key[i].name_len > slot_name().len)
            engine_remove(&w->engine, i);
    }
}

static int64_t next_moment(const struct world *w)
{
    int64_t now = w->engine.now_ms, next = NEVER_MS;

    for (int c = 0; c < w->n_calls; c++) {
        int64_t timer = w->call[c].flying ? to_ms(w->call[c].f.timer_ns) : NEVER_MS;
        if (timer > now && timer < next && !w->process[w->call[c].process].stopped)
            next = timer;
    }
    for (size_t i = 0; i < ENGINE_KEYS && w->engine.key[i].name_len != 0; i++) {
        if (w->engine.key[i].expires_ms < next)
            next = w->engine.key[i].expires_ms;
    }
    return next;
}

static void time_goes_on(struct world *w)
{
    engine_set_time(&w->engine, next_moment(w));
}

static void fault(struct world *w, const struct action *a)
{
    const struct flight_now now = now_of(w);
    struct process *p = &w->process[a->who < PROCESSES ? a->who : 0];
    struct call *k = &w->call[a->who];

    w->faults_left--;
    w->faults |= (uint16_t)BIT(fault_classes[a->fault]);
    switch ((enum fault)a->fault) {
    case CUT:
        lose_link(w, a->who);
        each_flight(w, a->who, flight_link_down);
        break;
    case INBOX:
        lose_inbox(p);
        break;
    case PUSH_LOST:
        forget_message(p->pushes, &p->n_pushes, sizeof(p->pushes[0]));
        break;
    case SLOT_GONE:
        engine_del(&w->engine, slot_name());
        break;
    case RESULT_GONE:
        results_gone(w);
        break;
    case CRASH:
        crash(w, a->who);
        break;
    case STOP:
        p->stopped = true;
        break;
    case STALL:
        time_goes_on(w);
        break;
    case FORGET:
        forget(w);
        break;
    case ERROR:
        answer(w, a->who, true);
        break;
    case UNSHARED:
        fn_returns(w, a->who, false);
        break;
    case LARGE:
        k->large = true;
        fn_returns(w, a->who, true);
        break;
    default:
        k->left = !k->told;
        k->answered = true;
        k->runs = false;
        perform(w, a->who, flight_left(&k->f, &now));
    }
}

static void apply(struct world *w, const struct action *a)
{
    const struct flight_now now = now_of(w);
    struct process *p = &w->process[a->who < PROCESSES ? a->who : 0];
    struct batch *b = &w->batch[a->who < BATCHES ? a->who : 0];
    struct command c;
    struct engine_reply r;

    switch ((enum kind)a->kind) {
    case BEGIN:
        begin(w, a->who);
        break;
    case CARRY_OUT:
        answer(w, a->who, false);
        break;
    case REPLY:
        deliver_reply(w, a->who);
        break;
    case PUSH:
        deliver_push(w, a->who);
        break;
    case RETURN:
        fn_returns(w, a->who, true);
        break;
    case TIMER:
        perform(w, a->who, flight_timer(&w->call[a->who].f, &now));
        break;
    case LINK:
        p->link.up = true;
        p->link.shut = false; /* the first reply to what every link begins with */
        each_flight(w, a->who, flight_link_up);
        break;
    case SUBSCRIBE:
        p->link.inbox = true;
        each_flight(w, a->who, flight_inbox_up);
        break;
    case RESUME:
        p->stopped = false;
        break;
    case LATE:
        c = b->commands[0];
        forget_message(b->commands, &b->n, sizeof(c));
        if (b->n == 0)
            b->process = 0;
        carry_out(w, &c, &r);
        break;
    case NEVER:
        memset(b, 0, sizeof(*b));
        break;
    case TIME:
        time_goes_on(w);
        break;
    default:
        fault(w, a);
    }
}

/* ------------------------------------------------------------------------- what can happen */

struct list {
    int n;
    struct action action[ACTIONS];
};

static void add(struct list *l, enum kind kind, int who)
{
    CHECK(l->n < ACTIONS);
    l->action[l->n++] = (struct action){.kind = (uint8_t)kind, .who = (uint8_t)who};
}

static void add_fault(struct list *l, enum fault what, int who)
{
    add(l, FAULT, who);
    l->action[l->n - 1].fault = (uint8_t)what;
}

static bool may_begin(const struct world *w, int c)
{
    const struct process *p = &w->process[w->call[c].process];

    if (w->call[c].begun || p->crashed || p->stopped)
        return false;
    for (int i = 0; i < c;
         i++) { /* the calls of a process are one after the other, but for a void */
        if (w->call[i].process == w->call[c].process && !w->call[i].answered && !w->call[i].is_void)
            return false;
    }
    return true;
}

/* What takes no time.  Returns true if there is something. */
static bool add_prompt(const struct world *w, struct list *l)
{
    int before = l->n;

    for (int i = 0; i < w->n_processes; i++) {
        const struct process *p = &w->process[i];
        if (p->n_commands != 0)
            add(l, CARRY_OUT, i);
        if (p->n_replies != 0 && !p->stopped)
            add(l, REPLY, i);
        if (p->n_pushes != 0 && !p->stopped)
            add(l, PUSH, i);
    }
    for (int c = 0; c < w->n_calls; c++) {
        const struct call *k = &w->call[c];
        if (k->flying && !w->process[k->process].stopped &&
            to_ms(k->f.timer_ns) <= w->engine.now_ms)
            add(l, TIMER, c);
    }
    return l->n != before;
}

/* True if a process has or will have a flight. */
static bool is_of_use(const struct world *w, int process)
{
    for (int c = 0; c < w->n_calls; c++) {
        if (w->call[c].process == process && (w->call[c].flying || !w->call[c].begun))
            return true;
    }
    return false;
}

/* What takes any time. */
static void add_slow(const struct world *w, struct list *l)
{
    for (int c = 0; c < w->n_calls; c++) {
        if (may_begin(w, c))
            add(l, BEGIN, c);
        if (w->call[c].runs && !w->process[w->call[c].process].stopped)
            add(l, RETURN, c);
    }
    for (int i = 0; i < w->n_processes; i++) {
        const struct process *p = &w->process[i];
        if (p->stopped)
            add(l, RESUME, i);
        if (p->crashed || p->stopped || !is_of_use(w, i))
            continue;
        if (!p->link.up)
            add(l, LINK, i);
        if (!p->link.inbox)
            add(l, SUBSCRIBE, i);
    }
    for (int i = 0; i < BATCHES; i++) {
        if (w->batch[i].n != 0) {
            add(l, LATE, i);
            add(l, NEVER, i);
        }
    }
}

static void add_faults_of_calls(const struct world *w, struct list *l)
{
    for (int c = 0; c < w->n_calls; c++) {
        const struct call *k = &w->call[c];
        if (w->process[k->process].stopped)
            continue;
        if (k->runs) {
            add_fault(l, UNSHARED, c);
            add_fault(l, LARGE, c);
        }
        if (k->flying && !k->answered)
            add_fault(l, LEFT, c);
    }
}

static void add_faults(const struct world *w, struct list *l, bool is_quiet)
{
    for (int i = 0; i < w->n_processes; i++) {
        const struct process *p = &w->process[i];
        if (p->crashed || !is_of_use(w, i))
            continue;
        add_fault(l, CRASH, i);
        if (p->n_commands != 0)
            add_fault(l, ERROR, i);
        if (p->stopped)
            continue;
        add_fault(l, STOP, i);
        if (p->link.up)
            add_fault(l, CUT, i);
        if (p->link.inbox)
            add_fault(l, INBOX, i);
        if (p->n_pushes != 0)
            add_fault(l, PUSH_LOST, i);
    }
    if (w->engine.key[0].name_len == slot_name().len) {
        add_fault(l, SLOT_GONE, 0);
        add_fault(l, FORGET, 0);
    }
    if (w->engine.key[0].name_len > slot_name().len || w->engine.key[1].name_len != 0)
        add_fault(l, RESULT_GONE, 0);
    if (!is_quiet && next_moment(w) != NEVER_MS)
        add_fault(l, STALL, 0);
    add_faults_of_calls(w, l);
}

/* ------------------------------------------------------------------------------- the oracle */

/* Before time goes on by itself. */
static void check_moment(const struct world *w)
{
    const unsigned lossy = BIT(PUSH_LOST) | BIT(SLOT_GONE);
    int64_t next = next_moment(w);

    for (int c = 0; c < w->n_calls; c++) {
        const struct call *k = &w->call[c];
        const struct process *p = &w->process[k->process];
        if (!k->flying || k->told || k->left || (w->faults & BIT(STALL)))
            continue;
        CHECK(next <= k->limit_ms); /* promise 4 */
        if (k->f.state != FLIGHT_IN_WAIT || !p->link.up || !p->link.inbox || (w->faults & lossy))
            continue;
        /* Nobody waits while its result lies there, unless a push was lost unnoticed. */
        char name[ENGINE_NAME_MAX];
        struct engine engine = w->engine;
        memcpy(name, slot_name().bytes, slot_name().len);
        size_t len = names_result(name, slot_name().len, k->f.joined);
        CHECK(engine_get(&engine, string(name, len)) == NULL);
    }
}

/* Nothing more can happen. */
static void check_end(const struct world *w)
{
    int n_led = 0, n_published = 0, n_dead = 0;
    bool alone = false, overlaps = false;

    CHECK(w->engine.key[0].name_len == 0); /* every key had a time to live */
    for (int c = 0; c < w->n_calls; c++) {
        const struct call *k = &w->call[c];
        CHECK(k->begun && !k->flying && !k->runs);
        CHECK(k->told || k->left || w->process[k->process].crashed);
        alone |= k->is_alone;
        overlaps |= k->overlaps != 0;
        n_led += k->has_led;
        n_published += k->has_published;
        n_dead += k->has_led && !k->has_published && w->process[k->process].crashed;
        for (int i = 0; i < w->n_calls; i++) /* promise 2 */
            CHECK(!(k->overlaps & 1U << i) || k->causes || w->call[i].causes);
    }
    search.n_ends++;
    if (w->has_aged || (w->faults & ~(BIT(CRASH) | BIT(INBOX) | BIT(PUSH_LOST))))
        return;
    CHECK(n_led == n_published + n_dead && !alone);
    CHECK(!overlaps || (w->faults & BIT(CRASH)));
}

/* -------------------------------------------------------------------------------- the search */

static uint64_t from_now(uint64_t ns, uint64_t now_ns)
{
    return ns == FLIGHT_NEVER ? ns : ns <= now_ns ? 0 : ns - now_ns;
}

/* A call without what has no meaning any more, and with times from now on. */
static struct call essence(const struct world *w, int c)
{
    struct call k = w->call[c];
    uint64_t now_ns = (uint64_t)w->engine.now_ms * MS;
    int64_t age_ms = w->engine.now_ms - k.returned_ms, old_ms = 5 * LEASE_MS;
    bool all_begun = true, waits = k.f.state == FLIGHT_IN_CLAIM || k.f.state == FLIGHT_IN_WAIT;

    for (int i = 0; i < w->n_calls; i++)
        all_begun &= w->call[i].begun;
    k.f.options = NULL;
    k.f.link = NULL;
    k.f.timer_ns = from_now(k.f.timer_ns, now_ns);
    k.f.wait_until_ns = waits ? from_now(k.f.wait_until_ns, now_ns) : 0;
    k.f.give_up_ns = waits ? from_now(k.f.give_up_ns, now_ns) : 0;
    k.f.lead_until_ns = k.f.state == FLIGHT_IN_LEAD ? from_now(k.f.lead_until_ns, now_ns) : 0;
    if (!waits) {
        memset(k.f.joined, 0, sizeof(k.f.joined));
        k.f.has_joined = k.f.rejoin = k.f.again = k.f.rechecks = k.f.forgotten = false;
    }
    if (k.f.state != FLIGHT_IN_DROP)
        memset(k.f.drop_token, 0, sizeof(k.f.drop_token));
    if (k.f.outcome != FLIGHT_LEAD)
        k.f.outcome = FLIGHT_UNTOLD;
    k.limit_ms = waits && k.flying ? k.limit_ms - w->engine.now_ms : 0;
    k.banned = waits && k.flying ? k.banned : 0;
    k.overlaps = k.causes ? 0 : k.overlaps;
    k.returned_ms = all_begun                   ? 0
                    : k.returned_ms == NEVER_MS ? -1
                    : age_ms < old_ms           ? age_ms
                                                : old_ms;
    return k;
}

/* What makes one state different from another, as far as it is used. */
static uint64_t hash_of(const struct world *w)
{
    static unsigned char bytes[sizeof(struct world)];
    unsigned char *at = bytes;

#define PUT(from, size) at = (unsigned char *)memcpy(at, from, size) + (size)
    for (size_t i = 0; i < ENGINE_KEYS && w->engine.key[i].name_len != 0; i++) {
        const struct engine_key *k = &w->engine.key[i];
        int64_t left_ms = k->expires_ms - w->engine.now_ms;
        PUT(&left_ms, sizeof(left_ms));
        PUT(&k->name_len, 2 * sizeof(k->len));
        PUT(k->name, k->name_len);
        PUT(k->value, k->len);
    }
    for (int i = 0; i < w->n_processes; i++) {
        const struct process *p = &w->process[i];
        PUT(p, offsetof(struct process, commands));
        PUT(p->commands, p->n_commands * sizeof(p->commands[0]));
        PUT(p->replies, p->n_replies * sizeof(p->replies[0]));
        PUT(p->pushes, p->n_pushes * sizeof(p->pushes[0]));
    }
    for (int i = 0; i < BATCHES; i++) {
        PUT(&w->batch[i], offsetof(struct batch, commands));
        PUT(w->batch[i].commands, w->batch[i].n * sizeof(w->batch[i].commands[0]));
    }
    for (int i = 0; i < w->n_calls; i++) {
        struct call k = essence(w, i);
        PUT(&k, sizeof(k));
    }
    PUT(&w->n_processes, sizeof(*w) - offsetof(struct world, n_processes));
#undef PUT
    return XXH3_64bits(bytes, (size_t)(at - bytes)) | 1;
}

static uint64_t *place_of(uint64_t hash)
{
    uint64_t at = (hash >> 1) & (search.n_places - 1);

    while (search.seen[at] != 0 && (search.seen[at] | 1) != hash)
        at = (at + 1) & (search.n_places - 1);
    return &search.seen[at];
}

static void grow(void)
{
    uint64_t *old = search.seen, n_old = search.n_places;

    search.n_places = n_old == 0 ? 1 << 16 : 2 * n_old;
    if (search.n_places > PLACES_MAX)
        fail_msg("more states than fit into memory");
    search.seen = calloc(search.n_places, sizeof(*search.seen));
    assert_non_null(search.seen);
    for (uint64_t i = 0; i < n_old; i++) {
        if (old[i] != 0)
            *place_of(old[i] | 1) = old[i];
    }
    free(old);
}

static void copy_world(struct world *to, const struct world *from)
{
    *to = *from;
    for (int c = 0; c < to->n_calls; c++)
        to->call[c].f.link = &to->process[to->call[c].process].link;
}

static void visit(void)
{
    struct world *w = &search.at[search.depth];
    struct list l = {.n = 0};
    uint64_t hash = hash_of(w), *place = place_of(hash);

    CHECK(*place != hash); /* else it is on the way to itself, and that goes on for ever */
    if (*place != 0)
        return;
    *place = hash;
    if (++search.n_seen > search.n_places / 8 * 7)
        grow();

    bool is_quiet = !add_prompt(w, &l);
    add_slow(w, &l);
    if (is_quiet && next_moment(w) != NEVER_MS) {
        check_moment(w);
        add(&l, TIME, 0);
    }
    if (l.n == 0)
        check_end(w);
    if (w->faults_left != 0)
        add_faults(w, &l, is_quiet);
    CHECK(search.depth + 1 < DEPTH);
    for (int i = 0; i < l.n; i++) {
        search.done[search.depth] = l.action[i];
        copy_world(&search.at[search.depth + 1], w);
        search.depth++;
        if (search.depth > search.deepest)
            search.deepest = search.depth;
        search.n_steps++;
        apply(&search.at[search.depth], &l.action[i]);
        visit();
        search.depth--;
    }
    *place_of(hash) &= ~UINT64_C(1);
}

/* processes: a digit for each call.  cold: nothing is connected yet. */
static void search_all(const char *processes, int n_faults, bool long_values, bool cold)
{
    free(search.seen);
    search.seen = NULL;
    search.n_seen = search.n_places = search.n_steps = search.n_ends = 0;
    search.depth = search.deepest = 0;
    search.budget = long_values ? 0 : SCRIPT_INLINE_BUDGET;
    grow();
    struct world *w = &search.at[0];
    memset(w, 0, sizeof(*w));
    w->n_calls = (uint8_t)strlen(processes);
    for (int c = 0; c < w->n_calls; c++) {
        struct call *k = &w->call[c];
        k->process = (uint8_t)(processes[c] - '0');
        k->returned_ms = NEVER_MS;
        if (k->process >= w->n_processes)
            w->n_processes = (uint8_t)(k->process + 1);
    }
    for (int i = 0; i < w->n_processes; i++)
        w->process[i].link = (struct flight_link){.up = !cold, .inbox = !cold};
    w->faults_left = (uint8_t)n_faults;
    w->faults = cold ? BIT(CUT) : 0;
    w->engine.now_ms = 1000;
    visit();
    print_message("calls of processes %s, %d faults%s%s: %llu states, %llu steps, %llu ends, "
                  "%d steps the longest way\n",
                  processes, n_faults, long_values ? ", long values" : "", cold ? ", cold" : "",
                  (unsigned long long)search.n_seen, (unsigned long long)search.n_steps,
                  (unsigned long long)search.n_ends, search.deepest);
}

static int setup(void **state)
{
    (void)state;
    search.at = calloc(DEPTH, sizeof(*search.at));
    search.done = calloc(DEPTH, sizeof(*search.done));
    return search.at == NULL || search.done == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(search.at);
    free(search.done);
    free(search.seen);
    return 0;
}

static void test_without_faults(void **state)
{
    (void)state;
    search_all("012", 0, false, false);
    search_all("012", 0, true, false);
    search_all("01", 0, false, true);
}

static void test_two_calls(void **state)
{
    (void)state;
    search_all("01", 1, true, true);
    search_all("01", 2, false, false);
}

/* The third call comes after the first two have ended, among other times. */
static void test_three_calls(void **state)
{
    (void)state;
    search_all("011", 1, false, false);
    search_all("012", 1, false, false);
}

/* The searches have been everywhere: all that a flight can ask for, and all outcomes. */
static void test_all_was_seen(void **state)
{
    (void)state;
    for (uint32_t bit = FLIGHT_SEND_DROP; bit <= FLIGHT_GHOST_DROPPED; bit <<= 1) {
        if (bit == FLIGHT_BAD_FRAME || bit == FLIGHT_ENDED << 1)
            continue; /* the model sends none; no bit */
        assert_true(search.counted[__builtin_ctz(bit)] > 0);
    }
    for (int i = FLIGHT_LEAD; i <= FLIGHT_ALONE_GAVE_UP; i++)
        assert_true(search.outcomes[i] > 0);
}

static const char *const *arguments;

static void test_one(void **state)
{
    (void)state;
    bool long_values = arguments[3] != NULL && arguments[3][0] == 'G';
    search_all(arguments[1], atoi(arguments[2]), long_values, false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_faults),
        cmocka_unit_test(test_two_calls),
        cmocka_unit_test(test_three_calls),
        cmocka_unit_test(test_all_was_seen),
    };
    const struct CMUnitTest one[] = {cmocka_unit_test(test_one)};

    arguments = (const char *const *)argv;
    if (argc > 2)
        return cmocka_run_group_tests(one, setup, teardown);
    return cmocka_run_group_tests(tests, setup, teardown);
}
