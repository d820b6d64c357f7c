/* SPDX-License-Identifier: BSD-2-Clause */
/* Leading calls: running fn, and ending the calls whatever becomes of it. */
#ifndef SFLIGHT_CALL_LEAD_H
#define SFLIGHT_CALL_LEAD_H

#include "call_path.h"

/*
 * Runs fn for a call, or many for n calls, that this thread or caller leads, and
 * ends them; the caller then has one hold on each.  If fn is left by an unwinding of
 * the stack, the calls are abandoned on its way.
 */
static ALWAYS_INLINE void call_lead(struct slot *slot, struct sflight_call *call, sflight_fn *fn,
                                    void *arg);
void call_lead_many(struct caller *caller, struct sflight_call *const *calls, size_t n,
                    sflight_many_fn *many, void *arg);

/* The same for any caller, a fiber included, which may end on another thread. */
void call_lead_as(struct caller *caller, struct sflight_call *call, sflight_fn *fn, void *arg);

/* Runs fn for a started call, on whatever thread this is, and ends the call. */
void call_lead_started(struct sflight_call *call, sflight_fn *fn, void *arg);

/* The calls of an invocation end in a panic; text is copied for each. */
_Noreturn void call_panic(struct sflight_call *call, const char *text);

/* Stands in the frame above sflight_invoke(); sees the stack being unwound through it. */
struct call_guard {
    const struct invocation *invocation; /* NULL: fn has returned */
};

void call_guard_fire(const struct invocation *invocation);

static ALWAYS_INLINE void call_guard_check(struct call_guard *guard)
{
    if (UNLIKELY(guard->invocation != NULL))
        call_guard_fire(guard->invocation);
}

/* fn has returned, or panicked.  known: others know the record, though nobody has looked for it. */
static ALWAYS_INLINE void call_led(struct slot *slot, struct caller *caller, struct sflight_call *c,
                                   struct invoke_outcome outcome, bool known)
{
    uint64_t ended = 0;

    call_exit(caller, c);
    c->invocation = NULL;
    if (LIKELY(!c->result.status_set))
        c->result.status = (int)outcome.status;
    if (UNLIKELY(c->result.panicked)) { /* even if a catch (...) stopped it on its way */
        c->result.status = 0;
        slot_count(slot, COUNT_PANICKED);
        ended = ENDED_PANICKED;
    }
    if (known)
        call_finish_slow(slot, c, ended, false);
    else
        call_finish(slot, c, ended);
}

static ALWAYS_INLINE void call_lead(struct slot *slot, struct sflight_call *call, sflight_fn *fn,
                                    void *arg)
{
    struct sflight_call *const calls[1] = {call};
    struct invocation here;
    here.calls = calls;
    here.n = 1;

    call_enter(&thread_self.caller, call, &here);
    struct call_guard guard __attribute__((cleanup(call_guard_check))) = {&here};
    struct invoke_outcome outcome = invoke_one(fn, call, arg, &here);
    guard.invocation = NULL;
    call_led(slot, &thread_self.caller, call, outcome, false);
}

#endif
