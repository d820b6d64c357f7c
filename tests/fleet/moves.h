/* SPDX-License-Identifier: BSD-2-Clause */
/* What can happen in a world, faults too; what must hold meanwhile, and in the end. */
#ifndef SFLIGHT_TESTS_FLEET_MOVES_H
#define SFLIGHT_TESTS_FLEET_MOVES_H

#include "happens.h"

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
        if (k->is_over && !w->process[k->process].stopped)
            add(l, REPORT, c);
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
        if (setting.with_restarts)
            add_fault(l, RESTART, 0);
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
        CHECK(k->begun && !k->flying && !k->runs && !k->is_over);
        CHECK(k->told || k->left || w->process[k->process].crashed);
        alone |= k->is_alone;
        overlaps |= k->overlaps != 0;
        n_led += k->has_led;
        n_published += k->has_published;
        n_dead += k->has_led && !k->has_published && w->process[k->process].crashed;
        for (int i = 0; i < w->n_calls; i++) /* promise 2 */
            CHECK(!(k->overlaps & 1U << i) || k->causes || w->call[i].causes);
    }
    if (w->has_aged || (w->faults & ~(BIT(CRASH) | BIT(INBOX) | BIT(PUSH_LOST))))
        return;
    CHECK(n_led == n_published + n_dead && !alone);
    CHECK(!overlaps || (w->faults & BIT(CRASH)));
}

#endif
