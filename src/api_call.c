/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: inside fn.  Documented in singleflight.h. */
#include "../include/singleflight.h"

#include "join.h"
#include "lead.h"

#include <stdarg.h>

void sflight_call_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                      void *ctx)
{
    hold_set_value(handle_call(call, "sflight_call_set"), value, size, destroy, ctx);
}

void sflight_call_set_status(sflight_call *call, int status)
{
    call = handle_call(call, "sflight_call_set_status");
    call->result.status = status;
    call->result.traits |= CALL_STATUS_SET;
}

void *sflight_call_alloc(sflight_call *call, size_t size)
{
    return hold_alloc_value(handle_call(call, "sflight_call_alloc"), size);
}

bool sflight_call_unwanted(const sflight_call *call)
{
    call = handle_call(call, "sflight_call_unwanted");
    group_enter(call->group);
    /* No call is const: to its leader it looks so. */
    return join_is_unwanted((sflight_call *)call);
}

void sflight_call_on_unwanted(sflight_call *call, void (*cb)(void *arg), void *arg)
{
    if (call != NULL)
        unwanted_ask(handle_call(call, "sflight_call_on_unwanted"), cb, arg);
}

void sflight_call_abandon(sflight_call *call)
{
    call = handle_call(call, "sflight_call_abandon");
    call->result.traits |= CALL_ABANDONED;
}

const void *sflight_call_key(const sflight_call *call, size_t *len)
{
    call = handle_call(call, "sflight_call_key");
    if (len != NULL)
        *len = call->node.key_len;
    return call->node.key;
}

_Noreturn void sflight_panic(sflight_call *call, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    lead_panic(handle_call(call, "sflight_panic"), fmt, ap);
}
