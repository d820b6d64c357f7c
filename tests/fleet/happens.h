/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens in a world: apply() does one action, which may be a fault. */
#ifndef SFLIGHT_TESTS_FLEET_HAPPENS_H
#define SFLIGHT_TESTS_FLEET_HAPPENS_H

#include "world.h"

static void begin(struct world *w, int c)
{
    const struct flight_now now = now_of(w, c);
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
        int n_late = other->lost_renewals > 1 ? other->lost_renewals - 1 : 0;
        int64_t old_ms = (2 + n_late) * LEASE_MS; /* F4 */
        if (other->has_published ||
            (other->returned_ms != NEVER_MS && w->engine.now_ms - other->returned_ms > old_ms))
            k->banned |= (uint8_t)(1U << i);
    }
    perform(w, c, flight_start(&k->f, &options, &w->process[k->process].link, token, &now));
}

static void deliver_reply(struct world *w, int process)
{
    struct process *p = &w->process[process];
    const struct reply m = p->replies[0];
    const struct flight_now now = now_of(w, m.call);
    struct call *k = &w->call[m.call];

    forget_message(p->replies, &p->n_replies, sizeof(m));
    p->link.shut = false;
    CHECK(k->flying);
    bool had_waited = k->f.give_up_ns != FLIGHT_NEVER;
    uint32_t actions = flight_reply(
        &k->f, m.what,
        &(struct flight_reply){
            .kind = m.kind, .integer = m.integer, .bytes = (const void *)m.bytes, .len = m.len},
        &now);
    if (!had_waited && k->f.give_up_ns != FLIGHT_NEVER)
        k->limit_ms = w->engine.now_ms + MAX_AGE_MS + 2 * LEASE_MS + TIMEOUT_MS;
    perform(w, m.call, actions);
}

static void deliver_push(struct world *w, int process)
{
    struct process *p = &w->process[process];
    const struct push m = p->pushes[0];
    unsigned char bytes[1 + FRAME_LEN];
    struct token token;

    forget_message(p->pushes, &p->n_pushes, sizeof(m));
    CHECK(token_read(&token, m.token, TOKEN_LEN) == 0);
    int c = (int)(token.counter & 0xff);
    const struct flight_now now = now_of(w, c);
    bytes[0] = m.letter;
    memcpy(bytes + 1, m.frame, m.len);
    if (w->call[c].flying)
        perform(w, c, flight_push(&w->call[c].f, m.token, bytes, 1U + m.len, &now));
}

static void report(struct world *w, int c, bool publish)
{
    const struct flight_now now = now_of(w, c);
    struct call *k = &w->call[c];

    k->is_over = false;
    perform(w, c, flight_returned(&k->f, publish, &now));
}

static void fn_returns(struct world *w, int c, bool publish)
{
    w->call[c].runs = false;
    w->call[c].answered = true;
    w->call[c].returned_ms = w->engine.now_ms;
    report(w, c, publish);
}

/* Its process has the result before the flight is told; which matters if it calls again. */
static void fn_returns_first(struct world *w, int c)
{
    struct call *k = &w->call[c];

    for (int i = c + 1; i < w->n_calls; i++) {
        if (w->call[i].process == k->process && !w->call[i].begun)
            k->is_over = true;
    }
    k->runs = false;
    k->answered = true;
    k->returned_ms = w->engine.now_ms;
    if (!k->is_over)
        report(w, c, true);
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
        k->is_over = false;
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

static void restart(struct world *w)
{
    memset(w->engine.key, 0, sizeof(w->engine.key));
    memset(w->batch, 0, sizeof(w->batch));
    for (int i = 0; i < w->n_processes; i++) {
        struct process *p = &w->process[i];
        if (p->crashed)
            continue;
        bool was_up = p->link.up;
        lose_inbox(p);
        memset(p->commands, 0, sizeof(p->commands));
        p->n_commands = 0;
        lose_link(w, i);
        if (was_up)
            each_flight(w, i, flight_link_down);
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
    const struct flight_now now = now_of(w, a->who);
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
    case RESTART:
        restart(w);
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
    const struct flight_now now = now_of(w, a->who);
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
        fn_returns_first(w, a->who);
        break;
    case REPORT:
        report(w, a->who, true);
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

#endif
