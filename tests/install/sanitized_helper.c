/* SPDX-License-Identifier: BSD-2-Clause */
/* Somebody's C, compiled without a sanitizer: see sanitized.c. */
#include <singleflight.h>

void helper_panic(sflight_call *call, int depth);
void helper_fill(void (*fill)(char *to, size_t n));

void helper_panic(sflight_call *call, int depth)
{
    volatile char frame[200];
    frame[depth] = 1;
    if (depth > 0)
        helper_panic(call, depth - 1);
    else
        sflight_panic(call, "a panic");
    frame[depth] = 2;
}

void helper_fill(void (*fill)(char *to, size_t n))
{
    char frame[8192];
    fill(frame, sizeof frame);
}
