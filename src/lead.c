/* SPDX-License-Identifier: BSD-2-Clause */
#include "lead.h"

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lead_exit_inner(struct agent *agent, struct sflight_call *c)
{
    while (agent->leading != c)
        lead_abandon(agent->leading);
}

void lead_abandon(struct sflight_call *c)
{
    REQUIRE(require_word(&c->owner) != NULL);
    lead_exit(atomic_load_relaxed(&c->owner), c); /* written by this agent itself */
    c->invocation = NULL;
    c->result.extra_holds = c->result.has_starter; /* none for places of the dead leader's batch */
    finish_abandoned(thread_slot(c->group), c);
}

/* As struct lead_guard, for several calls. */
struct many_guard {
    const struct invocation *invocation; /* NULL: many has returned, or panicked */
};

static void many_guard_check(struct many_guard *guard)
{
    for (size_t i = guard->invocation != NULL ? guard->invocation->n : 0; i-- != 0;)
        lead_abandon(guard->invocation->calls[i]);
}

void lead_end(struct slot *slot, struct sflight_call *c, bool end_counted)
{
    uint64_t ending = 0;

    if (UNLIKELY(c->result.panicked)) { /* even if a catch (...) has stopped the unwinding */
        c->result.status = 0;
        gauges_count(slot, COUNT_PANICKED);
        ending = ENDING_PANICKED;
    }
    /* A starter's future knows the record, even if nobody has looked for it in the table. */
    if (end_counted || c->result.has_starter)
        finish_seen(slot, c, ending, end_counted);
    else
        finish_call(slot, c, ending);
}

void lead_run_many(struct agent *agent, struct sflight_call *const *calls, size_t n,
                   sflight_many_fn *many, void *arg)
{
    struct sflight_group *g = calls[0]->group;
    struct invocation here;
    here.calls = calls;
    here.n = n;

    agent_leads(agent);
    for (size_t i = 0; i < n; i++)
        lead_enter(agent, calls[i], &here);
    struct many_guard guard __attribute__((cleanup(many_guard_check))) = {&here};
    int status = invoke_many(many, arg, &here);
    guard.invocation = NULL;
    struct slot *slot = thread_slot_again(g);
    while (n-- != 0) {
        lead_ran(agent, calls[n], status);
        lead_end(slot, calls[n], false);
    }
}

void lead_run(struct agent *agent, struct sflight_call *call, sflight_fn *fn, void *arg)
{
    struct sflight_group *g = call->group;

    agent_leads(agent);
    lead_invoke(agent, call, fn, arg);
    lead_end(thread_slot_again(g), call, false);
}

void lead_run_started(struct sflight_call *call, sflight_fn *fn, void *arg)
{
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, call->group);

    atomic_store_release(&call->owner, agent); /* [OWNER] */
    lead_run(agent, call, fn, arg);
    hold_release(thread_slot_again(call->group), call);
}

/* --------------------------------------------------------------------- panic */

enum {
    PANIC_TEXT = 1024,  /* bytes of the message, its NUL included */
    PANIC_TRACE = 8192, /* bytes of message and backtrace */
    PANIC_FRAMES = 64,  /* of the backtrace */
};

/* Fills text with the message and a line for each frame.  Ends it with a newline. */
static void panic_text(char *text, size_t size, const char *fmt, va_list ap)
{
    void *frames[PANIC_FRAMES];
    int n = vsnprintf(text, PANIC_TEXT, fmt, ap);
    size_t used = n < 0 ? 0 : n < PANIC_TEXT ? (size_t)n : PANIC_TEXT - 1;
    int n_frames = backtrace(frames, PANIC_FRAMES);
    char **names = backtrace_symbols(frames, n_frames);

    for (int i = 0; i < n_frames && used < size; i++) {
        n = names != NULL ? snprintf(text + used, size - used, "\n  at %s", names[i])
                          : snprintf(text + used, size - used, "\n  at %p", frames[i]);
        used += n < 0 ? 0 : (size_t)n;
    }
    snprintf(text + (used < size ? used : size - 2), 2, "\n");
    free((void *)names);
}

_Noreturn void lead_panic(struct sflight_call *call, const char *fmt, va_list ap)
{
    struct invocation *to = call->invocation;
    char text[PANIC_TRACE];
    int saved = errno;

    panic_text(text, sizeof(text) - 1, fmt, ap);
    errno = saved;
    if (to == NULL || call->group->abort_on_panic) { /* NULL: no fn of it is running */
        fputs(text, stderr);
        abort();
    }
    size_t size = strlen(text);
    struct sflight_call *const *calls = to->calls != NULL ? to->calls : &call;
    size_t n = to->calls != NULL ? to->n : 1;
    for (size_t i = 0; i < n; i++) {
        struct sflight_call *c = calls[i];
        c->result.panicked = true;
        char *copy = hold_alloc_value(c, size + 1);
        if (copy != NULL) {
            memcpy(copy, text, size + 1);
            c->result.size = size;
        } else {
            static char no_memory[] = "sflight_panic: no memory for the message";
            hold_set_value(c, no_memory, sizeof(no_memory) - 1, NULL, NULL);
        }
    }
    invoke_unwind(to);
}
