/* SPDX-License-Identifier: BSD-2-Clause */
#include "lead.h"

#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Calls led further in, whose fn was left by longjmp(): their frames are gone. */
void call_exit_slow(struct caller *caller, struct sflight_call *c)
{
    while (caller->leading != c)
        call_abandon(caller->leading);
}

void call_abandon(struct sflight_call *c)
{
    call_exit(atomic_load_relaxed(&c->owner), c); /* written by this caller */
    c->invocation = NULL;
    c->result.extra_holds = c->result.started; /* not for places of the dead leader's batch */
    call_abandon_permit(thread_slot(c->group), c);
}

/* As struct call_guard, for several. */
struct many_guard {
    const struct invocation *invocation; /* NULL: many has returned */
};

static void many_guard_check(struct many_guard *guard)
{
    for (size_t i = guard->invocation != NULL ? guard->invocation->n : 0; i-- != 0;)
        call_abandon(guard->invocation->calls[i]);
}

void call_end(struct slot *slot, struct sflight_call *c, bool counted)
{
    uint64_t ended = 0;

    if (UNLIKELY(c->result.panicked)) { /* even if a catch (...) stopped it on its way */
        c->result.status = 0;
        slot_count(slot, COUNT_PANICKED);
        ended = ENDED_PANICKED;
    }
    /* The future of who has started it knows the record, though nobody has looked for it. */
    if (counted || c->result.started)
        call_finish_slow(slot, c, ended, counted);
    else
        call_finish(slot, c, ended);
}

void call_lead_many(struct caller *caller, struct sflight_call *const *calls, size_t n,
                    sflight_many_fn *many, void *arg)
{
    struct sflight_group *g = calls[0]->group;
    struct invocation here;
    here.calls = calls;
    here.n = n;

    caller_leads(caller);
    for (size_t i = 0; i < n; i++)
        call_enter(caller, calls[i], &here);
    struct many_guard guard __attribute__((cleanup(many_guard_check))) = {&here};
    int status = invoke_many(many, arg, &here);
    guard.invocation = NULL;
    struct slot *slot = thread_slot_again(g);
    while (n-- != 0) {
        call_ran(caller, calls[n], status);
        call_end(slot, calls[n], false);
    }
}

void call_lead(struct caller *caller, struct sflight_call *call, sflight_fn *fn, void *arg)
{
    struct sflight_group *g = call->group;

    caller_leads(caller);
    call_run(caller, call, fn, arg);
    call_end(thread_slot_again(g), call, false);
}

void call_lead_started(struct sflight_call *call, sflight_fn *fn, void *arg)
{
    CALLER_FRAME(own);
    struct caller *caller = caller_enter(&own, call->group);

    atomic_store_release(&call->owner, caller); /* [OWNER] */
    call_lead(caller, call, fn, arg);
    call_release(thread_slot_again(call->group), call);
}

/* --------------------------------------------------------------------- panic */

enum {
    PANIC_TEXT = 1024,  /* bytes of the message, its NUL included */
    PANIC_TRACE = 8192, /* of the whole */
    PANIC_FRAMES = 64,
};

/* The message, a newline, and a line for each frame. */
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

_Noreturn void call_panic(struct sflight_call *call, const char *fmt, va_list ap)
{
    struct invocation *to = call->invocation;
    char text[PANIC_TRACE];
    int saved = errno;

    panic_text(text, sizeof(text) - 1, fmt, ap);
    errno = saved;
    if (to == NULL || call->group->abort_on_panic) { /* outside of fn there is nowhere to go */
        fputs(text, stderr);
        abort();
    }
    size_t size = strlen(text);
    struct sflight_call *const *calls = to->calls != NULL ? to->calls : &call;
    size_t n = to->calls != NULL ? to->n : 1;
    for (size_t i = 0; i < n; i++) {
        struct sflight_call *c = calls[i];
        c->result.panicked = true;
        char *copy = call_alloc_value(c, size + 1);
        if (copy != NULL) {
            memcpy(copy, text, size + 1);
            c->result.size = size;
        } else {
            static char no_memory[] = "sflight_panic: no memory for the message";
            call_set_value(c, no_memory, sizeof(no_memory) - 1, NULL, NULL);
        }
    }
    invoke_unwind(to);
}
