/* SPDX-License-Identifier: BSD-2-Clause */
#include "call_lead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void call_guard_fire(const struct invocation *invocation)
{
    for (size_t i = invocation->n; i-- != 0;)
        call_abandon(invocation->calls[i]);
}

void call_lead_many(struct slot *slot, struct sflight_call *const *calls, size_t n,
                    sflight_many_fn *many, void *arg)
{
    struct invocation here;
    here.calls = calls;
    here.n = n;

    for (size_t i = 0; i < n; i++)
        call_enter(calls[i], &here);
    struct call_guard guard __attribute__((cleanup(call_guard_check))) = {&here};
    struct invoke_outcome outcome = invoke_many(many, arg, &here);
    guard.invocation = NULL;
    while (n-- != 0)
        call_led(slot, calls[n], outcome, false);
}

void call_lead_started(struct sflight_call *call, sflight_fn *fn, void *arg)
{
    struct sflight_call *const calls[1] = {call};
    struct slot *slot = thread_slot(call->group);
    struct invocation here;
    here.calls = calls;
    here.n = 1;

    atomic_store_release(&call->owner, &thread_self); /* [OWNER] */
    call_enter(call, &here);
    struct call_guard guard __attribute__((cleanup(call_guard_check))) = {&here};
    struct invoke_outcome outcome = invoke_one(fn, call, arg, &here);
    guard.invocation = NULL;
    call_led(slot, call, outcome, true);
    call_release(slot, call);
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
