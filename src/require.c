/* SPDX-License-Identifier: BSD-2-Clause */
#include "require.h"

#ifdef SFLIGHT_CHECKED

#include <stdio.h>
#include <stdlib.h>

_Thread_local bool require_section;

void require_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "singleflight: %s:%d: required: %s\n", file, line, what);
    abort();
}

#ifdef SFLIGHT_DEBUG

#include <stdarg.h>

void require_misused(const char *function, const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    fprintf(stderr, "singleflight: %s(): %s\n", function, what);
    abort();
}

#endif

#else
typedef int require_nothing; /* a file is not empty */
#endif
