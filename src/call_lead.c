/* SPDX-License-Identifier: BSD-2-Clause */
#include "call_lead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stands in the frame above invoke(); sees the stack being unwound through it. */
struct guard {
    struct sflight_call *const *calls;
    size_t n; /* 0: fn has returned */
};

static void guard_fire(struct guard *guard)
{
    while (UNLIKELY(guard->n != 0))
        call_abandon(guard->calls[--guard->n]);
}

void call_lead(struct slot *slot, struct sflight_call *const *calls, size_t n, sflight_fn *fn,
               sflight_many_fn *many, void *arg)
{
    for (size_t i = 0; i < n; i++)
        call_enter(calls[i]);

    struct guard guard __attribute__((cleanup(guard_fire))) = {calls, n};
    int status = 0;
    bool panicked = invoke(fn, many, calls, n, arg, &status) == INVOKE_PANICKED;
    guard.n = 0;

    for (size_t i = n; i-- != 0;) {
        struct sflight_call *c = calls[i];
        call_exit(c);
        c->invocation = NULL;
        if (!c->status_set)
            c->status = status;
        if (UNLIKELY(panicked))
            slot_count(slot, COUNT_PANICKED);
        call_finish(slot, c, panicked ? ENDED_PANICKED : 0);
    }
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
