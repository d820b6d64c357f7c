/* SPDX-License-Identifier: BSD-2-Clause */
#include "call_lead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As struct call_guard, for several. */
struct guard {
    const struct invocation *invocation; /* NULL: many has returned */
};

static void guard_check(struct guard *guard)
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
    struct guard guard __attribute__((cleanup(guard_check))) = {&here};
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

_Noreturn void call_panic(struct sflight_call *call, const char *text)
{
    struct invocation *to = call->invocation;

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
