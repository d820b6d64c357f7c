/* SPDX-License-Identifier: BSD-2-Clause */
#include "lead.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__ /* musl has no backtrace() */
#include <execinfo.h>
#endif

/*
 * A fiber has one stack: whatever stands further in has been left.  Of a call that asked to be
 * told when it is unwanted it is not known where its fn runs (unwanted.h): it counts as running.
 */
static bool was_left(const struct agent *agent, struct sflight_call *inner, struct sflight_call *c)
{
    if (agent->fiber != NULL)
        return true;
    if ((inner->result.traits | c->result.traits) & CALL_TELLS)
        return false;
    uintptr_t in = atomic_load_relaxed(&inner->inside); /* both are this agent's own */
    uintptr_t out = atomic_load_relaxed(&c->inside);
    return in == 0 || invoke_is_left((struct invocation *)in, (struct invocation *)out);
}

void lead_exit_among(struct agent *agent, struct sflight_call *c)
{
    struct sflight_call *inner = agent->leading, **from = &agent->leading;

    while (inner != c) {
        struct sflight_call *next = inner->outer;
        if (was_left(agent, inner, c)) {
            lead_abandon(inner);
            next = agent->leading; /* those between may have gone with it */
        }
        inner = next;
    }
    while (*from != c)
        from = &(*from)->outer;
    *from = c->outer;
}

void lead_abandon(struct sflight_call *c)
{
    REQUIRE(require_word(&c->owner) != NULL);
    bool returned __attribute__((cleanup(invoke_must_return))) = false;
    int cancel_state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    lead_exit(atomic_load_relaxed(&c->owner), c); /* written by this caller */
    if (c->result.traits & CALL_TELLS)
        unwanted_stop(c);
    atomic_store_relaxed(&c->inside, 0); /* the leader's own */
    c->extra_holds = 0;                  /* not for places of the dead leader's batch */
    finish_abandoned(thread_slot(c->group), c);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
    returned = true;
}

/* As struct lead_guard, for several calls; NULL for one that many has abandoned. */
struct many_guard {
    struct agent *agent;
    struct sflight_call **calls;
    size_t n;       /* 0: the caller goes on with the calls */
    size_t n_flies; /* of them so many, from the first, have not ended */
    int status;
    bool returned; /* many has, or has panicked */
};

/* The caller's holds, for all places of its batch, on a call that has ended. */
static void give_up(struct sflight_call *c)
{
    uint32_t extra_holds = c->extra_holds;
    hold_count_held(thread_slot_again(c->group), c, extra_holds);
    hold_release_n(thread_slot_again(c->group), c, extra_holds + 1);
}

/* The callbacks of several calls. */
struct many_callbacks {
    struct thread_frame frame;
    bool left; /* the stack is being unwound through who ends the calls */
};

static void many_called_back(struct many_callbacks *c)
{
    bool returned __attribute__((cleanup(invoke_must_return))) = !c->left;

    callback_run(&c->frame);
    returned = true;
}

/* Callbacks run when all have ended: one that is left so keeps no call from its end. */
static void end_many(struct many_guard *m)
{
    struct many_callbacks callbacks __attribute__((cleanup(many_called_back)));

    callback_wait(&callbacks.frame);
    callbacks.left = true;
    while (m->n_flies != 0) {
        struct sflight_call *c = m->calls[--m->n_flies];
        m->calls[m->n_flies] = NULL; /* destroy, of one that was abandoned, may be left */
        (void)lead_ran(m->agent, c, m->status);
        if (lead_end(thread_slot_again(c->group), c, false))
            m->calls[m->n_flies] = c;
    }
    callbacks.left = false;
}

static void many_guard_check(struct many_guard *m)
{
    if (LIKELY(m->n == 0))
        return;
    bool ended __attribute__((cleanup(invoke_must_return))) = false;
    if (m->returned)
        end_many(m);
    for (size_t i = m->n; i-- != 0;)
        if (!m->returned)
            lead_abandon(m->calls[i]);
        else if (m->calls[i] != NULL)
            give_up(m->calls[i]);
    ended = true;
}

void lead_ran_with_traits(struct sflight_call *c, int status)
{
    if (c->result.traits & CALL_TELLS)
        unwanted_stop(c);
    if (!(c->result.traits & CALL_STATUS_SET))
        c->result.status = status;
}

bool lead_end(struct slot *slot, struct sflight_call *c, bool end_counted)
{
    unsigned traits = c->result.traits;
    uint64_t ending = 0;

    if (UNLIKELY(traits & CALL_PANICKED)) { /* even if a catch (...) stopped it on its way */
        c->result.status = 0;
        gauges_count(slot, COUNT_PANICKED);
        ending = ENDING_PANICKED;
    } else if (UNLIKELY(traits & CALL_ABANDONED)) {
        REQUIRE(!end_counted);
        c->extra_holds = 0; /* nor is there anything for other places of a batch */
        finish_abandoned(slot, c);
        return false;
    }
    /* The future of who has started it knows the record, though nobody has looked for it. */
    if (end_counted || (traits & CALL_HAS_STARTER))
        finish_seen(slot, c, ending, end_counted);
    else
        (void)finish_call(slot, c, ending);
    return true;
}

void lead_run_many(struct agent *agent, struct sflight_call **calls, size_t n,
                   sflight_many_fn *many, void *arg)
{
    struct invocation here;
    here.calls = calls;
    here.n = n;

    agent_leads(agent);
    for (size_t i = 0; i < n; i++)
        lead_enter(agent, calls[i], &here);
    struct many_guard guard __attribute__((cleanup(many_guard_check))) = {
        .agent = agent, .calls = calls, .n = n, .n_flies = n};
    guard.status = invoke_many(many, arg, &here);
    guard.returned = true;
    end_many(&guard);
    guard.n = 0;
}

bool lead_run(struct agent *agent, struct sflight_call *call, sflight_fn *fn, void *arg)
{
    struct sflight_group *g = call->group;

    agent_leads(agent);
    lead_invoke(agent, call, fn, arg);
    return lead_end(thread_slot_again(g), call, false);
}

void lead_run_started(struct sflight_call *call, sflight_fn *fn, void *arg)
{
    AGENT_FRAME(own);
    struct agent *agent = agent_enter(&own, call->group);
    struct running here __attribute__((cleanup(agent_ran)));

    agent_runs(&here, agent, call->group);
    atomic_store_release(&call->owner, agent); /* [OWNER] */
    if (lead_run(agent, call, fn, arg))
        hold_release(thread_slot_again(call->group), call);
}

/* --------------------------------------------------------------------- panic */

enum {
    PANIC_TEXT = 1024,  /* bytes of the message, its NUL included */
    PANIC_TRACE = 8192, /* bytes of message and backtrace */
    PANIC_FRAMES = 64,  /* of the backtrace */
};

/* On the heap: a thread's stack may be small. */
struct panic {
    void *frames[PANIC_FRAMES];
    char text[PANIC_TRACE];
};

/* Adds a line for each frame to the text, of which so much is used.  Returns how much is then. */
static size_t panic_trace(struct panic *p, size_t used, size_t size)
{
#ifdef __GLIBC__
    int n_frames = backtrace(p->frames, PANIC_FRAMES);

    for (int i = 0; i < n_frames && used < size; i++) {
        /* One at a time: for each it takes some of the stack. */
        char **name = backtrace_symbols(&p->frames[i], 1);
        int n = name != NULL ? snprintf(p->text + used, size - used, "\n  at %s", name[0])
                             : snprintf(p->text + used, size - used, "\n  at %p", p->frames[i]);
        used += n < 0 ? 0 : (size_t)n;
        free((void *)name);
    }
#else
    (void)p, (void)size;
#endif
    return used;
}

/* The message, a line for each frame, and a newline. */
static void panic_text(struct panic *p, const char *fmt, va_list ap)
{
    char *text = p->text;
    size_t size = sizeof(p->text) - 1;
    int n = vsnprintf(text, PANIC_TEXT, fmt, ap);
    size_t used = n < 0 ? 0 : n < PANIC_TEXT ? (size_t)n : PANIC_TEXT - 1;

    used = panic_trace(p, used, size);
    snprintf(text + (used < size ? used : size - 2), 2, "\n");
}

/* The destroy of a message that is in no memory of its own. */
static void keep_text(void *text, size_t size, void *ctx)
{
    (void)text, (void)size, (void)ctx;
}

static void panic_free(struct panic **p)
{
    alloc_put(&alloc_process, *p, sizeof(**p));
}

_Noreturn void lead_panic(struct sflight_call *call, const char *fmt, va_list ap)
{
    if (call->result.traits & CALL_TELLS)
        unwanted_stop(call); /* it stands in the place of what is needed here */
    static char no_memory[] = "sflight_panic: no memory for the message";
    struct invocation *to = (struct invocation *)atomic_load_relaxed(&call->inside); /* own */
    struct panic *p __attribute__((cleanup(panic_free))) =
        alloc_get(&alloc_process, sizeof(*p), _Alignof(max_align_t)); /* destroy may be left */
    char *text = no_memory;
    int saved = errno;

    if (p != NULL) {
        panic_text(p, fmt, ap);
        text = p->text;
    }
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
        if (c->result.traits & CALL_PANICKED)
            continue; /* something has stopped the first one on its way */
        char *copy = p != NULL ? hold_alloc_value(c, size + 1) : NULL;
        if (copy != NULL) {
            memcpy(copy, text, size + 1);
            c->result.size = size;
        } else {
            hold_set_value(c, no_memory, sizeof(no_memory) - 1, keep_text, NULL);
        }
        c->result.traits |= CALL_PANICKED; /* from here on it has no other value */
    }
    invoke_unwind(to);
}
