/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: inside fn.  Documented in singleflight.h. */
#include "../include/singleflight.h"

#include "call_lead.h"
#include "call_path.h"

#include <errno.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sflight_call_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                      void *ctx)
{
    call_set_value(call, value, size, destroy, ctx);
}

void sflight_call_set_status(sflight_call *call, int status)
{
    call->result.status = status;
    call->result.status_set = true;
}

void *sflight_call_alloc(sflight_call *call, size_t size)
{
    return call_alloc_value(call, size);
}

bool sflight_call_unwanted(const sflight_call *call)
{
    return call_unwanted(call);
}

const void *sflight_call_key(const sflight_call *call, size_t *len)
{
    if (len != NULL)
        *len = call->node.key_len;
    return call->node.key;
}

enum {
    PANIC_TEXT = 1024,  /* bytes of the message, its NUL included */
    PANIC_TRACE = 8192, /* of the whole */
    PANIC_FRAMES = 64,
};

/* The message, a newline, and a line for each frame. */
static void panic_text(char *text, size_t size, const char *fmt, va_list ap)
{
    void *frames[PANIC_FRAMES];
    int n = vsnprintf(text, PANIC_TEXT, fmt, ap);
    size_t used = n < 0 ? 0 : n < PANIC_TEXT ? (size_t)n : PANIC_TEXT - 1;
    int n_frames = backtrace(frames, PANIC_FRAMES);
    char **names = backtrace_symbols(frames, n_frames);

    for (int i = 0; i < n_frames && used < size; i++) {
        n = names != NULL ? snprintf(text + used, size - used, "\n  at %s", names[i])
                          : snprintf(text + used, size - used, "\n  at %p", frames[i]);
        used += n < 0 ? 0 : (size_t)n;
    }
    snprintf(text + (used < size ? used : size - 2), 2, "\n");
    free((void *)names);
}

_Noreturn void sflight_panic(sflight_call *call, const char *fmt, ...)
{
    char text[PANIC_TRACE];
    int saved = errno;
    va_list ap;

    va_start(ap, fmt);
    panic_text(text, sizeof(text) - 1, fmt, ap);
    va_end(ap);
    errno = saved;
    call_panic(call, text);
}
