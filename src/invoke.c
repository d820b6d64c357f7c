/* SPDX-License-Identifier: BSD-2-Clause */
#include "invoke.h"

#include "call.h"

#include <stdlib.h>
#include <unwind.h>

/*
 * The frames a panic comes back to.  They have no cleanup of their own: the
 * guards that see other ways out stand in their callers, so that stopping just
 * before them is stopping in time.
 */
NOINLINE int invoke_one(sflight_fn *fn, struct sflight_call *const *calls, void *arg, int *status)
{
    struct invocation here;

    here.calls = calls;
    here.n = 1;
    calls[0]->invocation = &here;
    if (INVOKE_LAND(here.landing) != 0)
        return INVOKE_PANICKED;
    *status = fn(calls[0], arg);
    return INVOKE_RETURNED;
}

NOINLINE int invoke_many(sflight_many_fn *many, struct sflight_call *const *calls, size_t n,
                         void *arg, int *status)
{
    struct invocation here;

    here.calls = calls;
    here.n = n;
    for (size_t i = 0; i < n; i++)
        calls[i]->invocation = &here;
    if (INVOKE_LAND(here.landing) != 0)
        return INVOKE_PANICKED;
    *status = many(calls, n, arg);
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
    /* The stack grows downwards: this frame's is above the landing, so it is the caller of the one that lands. */
    if ((actions & _UA_END_OF_STACK) || _Unwind_GetCFA(context) > (uintptr_t)to)
        INVOKE_JUMP(to->landing);
    return _URC_NO_REASON;
}

_Noreturn void invoke_unwind(struct invocation *to)
{
    struct _Unwind_Exception exception = {0};

    (void)_Unwind_ForcedUnwind(&exception, stop_at, to);
    INVOKE_JUMP(to->landing); /* no unwind information on the way: skip the cleanups */
}
