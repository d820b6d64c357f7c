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

#include "compiler.h"

#include <setjmp.h>

/*
 * gcc's built-in pair saves three words where setjmp() saves all registers:
 * about 4 ns less for each call led.  clang has it for some machines only, and
 * the sanitizers must see longjmp() to know which stack has gone.
 */
#if defined(__GNUC__) && !defined(__clang__) && !defined(SANITIZED)
typedef void *invoke_landing[5];
#define INVOKE_LAND(landing) __builtin_setjmp(landing)
#define INVOKE_JUMP(landing) __builtin_longjmp(landing, 1)
#else
typedef jmp_buf invoke_landing;
#define INVOKE_LAND(landing) _setjmp(landing)
#define INVOKE_JUMP(landing) longjmp(landing, 1)
#endif

/* One fn that is running, and where a panic in it comes out. */
struct invocation {
    invoke_landing landing;
    struct sflight_call *const *calls; /* what it leads */
    size_t n;
};

enum { INVOKE_RETURNED, INVOKE_PANICKED };

/*
 * Runs fn for calls[0], or many for calls[0..n-1], and stores what it returns
 * in *status.  Returns INVOKE_RETURNED or, after a panic, INVOKE_PANICKED.  The
 * calls' `invocation` is where a panic goes; it is left for the caller to clear.
 */
int invoke_one(sflight_fn *fn, struct sflight_call *const *calls, void *arg, int *status);
int invoke_many(sflight_many_fn *many, struct sflight_call *const *calls, size_t n, void *arg,
                int *status);

/* Unwinds to the invocation; never returns. */
_Noreturn void invoke_unwind(struct invocation *to);

#endif
