/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running user code that may leave in any way.
 *
 * fn may return; or throw, exit or cancel its thread, which unwinds the stack
 * through our frames: they are compiled with -fexceptions, so that a variable
 * with __attribute__((cleanup)) sees it; or call sflight_panic(), which unwinds
 * the stack up to here and no further.
 */
#ifndef SFLIGHT_INVOKE_H
#define SFLIGHT_INVOKE_H

#include "../include/singleflight.h"

#include <setjmp.h>

/* One fn that is running, and where a panic in it comes out. */
struct invocation {
    jmp_buf landing;
    struct sflight_call *const *calls; /* what it leads */
    size_t n;
};

enum { INVOKE_RETURNED, INVOKE_PANICKED };

/*
 * Runs one of the two and stores its return in *status.  Returns
 * INVOKE_RETURNED or, after a panic, INVOKE_PANICKED.  The calls' `invocation`
 * is set meanwhile.
 */
int invoke(sflight_fn *fn, sflight_many_fn *many, struct sflight_call *const *calls, size_t n,
           void *arg, int *status);

/* Unwinds to the invocation; never returns. */
_Noreturn void invoke_unwind(struct invocation *to);

#endif
