/* SPDX-License-Identifier: BSD-2-Clause */
#include "invoke.h"

#include "call.h"

#include <stdlib.h>
#include <unwind.h>

/*
 * The frame a panic comes back to.  It has no cleanup of its own: the guards
 * that see other ways out stand in its callers, so that stopping just before
 * them is stopping in time.
 */
NOINLINE int invoke(sflight_fn *fn, sflight_many_fn *many, struct sflight_call *const *calls,
                    size_t n, void *arg, int *status)
{
    struct invocation here;

    here.calls = calls;
    here.n = n;
    for (size_t i = 0; i < n; i++)
        calls[i]->invocation = &here;
    if (_setjmp(here.landing) != 0)
        return INVOKE_PANICKED;
    *status = fn != NULL ? fn(calls[0], arg) : many(calls, n, arg);
    return INVOKE_RETURNED;
}

/* Called for each frame on the way up, before its cleanups run. */
static _Unwind_Reason_Code stop_at(int version, _Unwind_Action actions,
                                   _Unwind_Exception_Class exception_class,
                                   struct _Unwind_Exception *exception,
                                   struct _Unwind_Context *context, void *arg)
{
    struct invocation *to = arg;

    (void)version, (void)exception_class, (void)exception;
    /* The stack grows downwards: this frame's is above the landing, so it is invoke()'s caller. */
    if ((actions & _UA_END_OF_STACK) || _Unwind_GetCFA(context) > (uintptr_t)to)
        longjmp(to->landing, 1);
    return _URC_NO_REASON;
}

_Noreturn void invoke_unwind(struct invocation *to)
{
    struct _Unwind_Exception exception = {0};

    (void)_Unwind_ForcedUnwind(&exception, stop_at, to);
    longjmp(to->landing, 1); /* no unwind information on the way: skip the cleanups */
}
