/* SPDX-License-Identifier: BSD-2-Clause */
#include "call_lead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

NOINLINE void call_guard_fire(const struct invocation *invocation)
{
    for (size_t i = invocation->n; i-- != 0;)
        call_abandon(invocation->calls[i]);
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
    struct call_guard guard __attribute__((cleanup(call_guard_check))) = {&here};
    struct invoke_outcome outcome = invoke_many(many, arg, &here);
    guard.invocation = NULL;
    struct slot *slot = thread_slot_again(g);
    while (n-- != 0)
        call_led(slot, caller, calls[n], outcome, false);
}

static ALWAYS_INLINE void lead(struct caller *caller, struct sflight_call *call, sflight_fn *fn,
                               void *arg, bool known)
{
    struct sflight_call *const calls[1] = {call};
    struct invocation here;
    here.calls = calls;
    here.n = 1;

    caller_leads(caller);
    call_enter(caller, call, &here);
    struct call_guard guard __attribute__((cleanup(call_guard_check))) = {&here};
    struct invoke_outcome outcome = invoke_one(fn, call, arg, &here);
    guard.invocation = NULL;
    call_led(thread_slot_again(call->group), caller, call, outcome, known);
}

void call_lead_as(struct caller *caller, struct sflight_call *call, sflight_fn *fn, void *arg)
{
    lead(caller, call, fn, arg, false);
}

void call_lead_started(struct sflight_call *call, sflight_fn *fn, void *arg)
{
    CALLER_FRAME(own);
    struct caller *caller = caller_enter(&own, call->group);

    atomic_store_release(&call->owner, caller); /* [OWNER] */
    lead(caller, call, fn, arg, true);
    call_release(thread_slot_again(call->group), call);
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
