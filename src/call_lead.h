/* SPDX-License-Identifier: BSD-2-Clause */
/* Leading calls: running fn, and ending the calls whatever becomes of it. */
#ifndef SFLIGHT_CALL_LEAD_H
#define SFLIGHT_CALL_LEAD_H

#include "call.h"

/*
 * Runs fn for a call, or many for n calls, that this thread leads, and ends
 * them; the caller then has one hold on each.  If fn is left by an unwinding of
 * the stack, the calls are abandoned on its way.
 */
void call_lead(struct slot *slot, struct sflight_call *call, sflight_fn *fn, void *arg);
void call_lead_many(struct slot *slot, struct sflight_call *const *calls, size_t n,
                    sflight_many_fn *many, void *arg);

/* The calls of an invocation end in a panic; text is copied for each. */
_Noreturn void call_panic(struct sflight_call *call, const char *text);

#endif
