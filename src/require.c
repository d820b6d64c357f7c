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

#else
typedef int require_nothing; /* a file is not empty */
#endif
