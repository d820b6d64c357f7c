/* SPDX-License-Identifier: BSD-2-Clause */
#include "call_lead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stands in the frame above invoke_...(); sees the stack being unwound through it. */
struct guard {
    struct sflight_call *const *calls;
    size_t n; /* 0: fn has returned */
};

static inline void guard_fire(struct guard *guard)
{
    while (UNLIKELY(guard->n != 0))
        call_abandon(guard->calls[--guard->n]);
}

static ALWAYS_INLINE void end_one(struct slot *slot, struct sflight_call *c, int outcome, int status)
{
    call_exit(c);
    c->invocation = NULL;
    if (!c->status_set)
        c->status = status;
    if (UNLIKELY(outcome == INVOKE_PANICKED)) {
        slot_count(slot, COUNT_PANICKED);
        call_finish(slot, c, ENDED_PANICKED);
    } else {
        call_finish(slot, c, 0);
    }
}

void call_lead(struct slot *slot, struct sflight_call *call, sflight_fn *fn, void *arg)
{
    call_enter(call);

    struct guard guard __attribute__((cleanup(guard_fire))) = {&call, 1};
    int status = 0;
    int outcome = invoke_one(fn, &call, arg, &status);
    guard.n = 0;

    end_one(slot, call, outcome, status);
}

void call_lead_many(struct slot *slot, struct sflight_call *const *calls, size_t n,
                    sflight_many_fn *many, void *arg)
{
    for (size_t i = 0; i < n; i++)
        call_enter(calls[i]);

    struct guard guard __attribute__((cleanup(guard_fire))) = {calls, n};
    int status = 0;
    int outcome = invoke_many(many, calls, n, arg, &status);
    guard.n = 0;

    while (n-- != 0)
        end_one(slot, calls[n], outcome, status);
}

_Noreturn void call_panic(struct sflight_call *call, const char *text)
{
    struct invocation *to = call->invocation;

    if (to == NULL || call->group->abort_on_panic) { /* outside of fn there is nowhere to go */
        fputs(text, stderr);
        abort();
    }
    size_t size = strlen(text);
    for (size_t i = 0; i < to->n; i++) {
        struct sflight_call *c = to->calls[i];
        char *copy = call_alloc_value(c, size + 1);
        if (copy != NULL) {
            memcpy(copy, text, size + 1);
            c->size = size;
        } else {
            static char no_memory[] = "sflight_panic: no memory for the message";
            call_set_value(c, no_memory, sizeof(no_memory) - 1, NULL, NULL);
        }
    }
    invoke_unwind(to);
}
