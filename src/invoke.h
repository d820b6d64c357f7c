/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Running user code that may be left in any way.
 *
 * fn may return.  It may throw, exit or cancel its thread, which unwinds the stack through the
 * library's frames: they are compiled with -fexceptions, so that a variable with
 * __attribute__((cleanup)) sees it.  Or it may call sflight_panic(), which unwinds the stack up
 * to sflight_invoke() and no further.
 *
 * Stopping an unwinding takes a frame with a personality routine that says so.  C has no way to
 * ask for one, so the frame is a few lines of assembly in invoke.c.  It costs nothing until a
 * panic happens, where setjmp() would cost 4 ns for each call.
 *
 * Where the exit of a thread unwinds nothing (EXIT_UNWINDS), who has to know of it registers a
 * struct invoke_exit while user code runs.
 */
#ifndef SFLIGHT_INVOKE_H
#define SFLIGHT_INVOKE_H

#include "../include/singleflight.h"
#include "compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <unwind.h>

/*
 * The calls that one invocation of fn leads.  It stands in the frame of the function that
 * invokes fn.  The exception of a panic stands there as well, because the frames below are
 * given up one by one, while cleanups run on them.
 */
struct invocation {
    struct sflight_call *const *calls;  /* NULL: one call only, whose `invocation` is this */
    size_t n;                           /* how many calls; unused if `calls` is NULL */
    struct _Unwind_Exception exception; /* set by invoke_unwind() */
};

/*
 * Calls fn(a, b, c) and returns what fn returns, or 0 if invoke_unwind(here) was called.  Does not
 * return if the stack is unwound by anything else.
 */
int sflight_invoke(const void *a, void *b, void *c, void (*fn)(void), struct invocation *here)
    __attribute__((visibility("hidden")));

/* Calls fn for one call, as sflight_invoke(). */
static ALWAYS_INLINE int invoke_one(sflight_fn *fn, struct sflight_call *call, void *arg,
                                    struct invocation *here)
{
    return sflight_invoke(call, arg, NULL, (void (*)(void))fn, here);
}

/* Calls many for the n calls of *here, as sflight_invoke(). */
static ALWAYS_INLINE int invoke_many(sflight_many_fn *many, void *arg, struct invocation *here)
{
    return sflight_invoke(here->calls, (void *)here->n, arg, (void (*)(void))many, here);
}

/*
 * The invocation `outer` of this thread ends.  Has `inner`, which began after it, been left by
 * longjmp()?  If both stood on the thread's own stack; not so if it is a coroutine's.
 */
bool invoke_is_left(const struct invocation *inner, const struct invocation *outer);

/*
 * The cleanup of a flag that is set when user code has returned.  It stands where that must:
 * as the stack is being unwound already, or nothing could go on.  Otherwise the process aborts,
 * as in C++.
 */
_Noreturn void invoke_left(void);
static ALWAYS_INLINE void invoke_must_return(const bool *returned)
{
    if (UNLIKELY(!*returned))
        invoke_left();
}

#if EXIT_UNWINDS
#define invoke_exits(at, left, arg) ((void)0)
#define invoke_exited(at) ((void)0)
#else
/* Registered with the thread, as by pthread_cleanup_push(), which musl's macros do so. */
struct invoke_exit {
    struct __ptcb registered;
};

/*
 * Has the exit of the calling thread run left(arg), until invoke_exited().  What was registered by
 * others meanwhile has to be gone by then, or to stand in frames that have been left.
 */
static inline void invoke_exits(struct invoke_exit *at, void (*left)(void *), void *arg)
{
    _pthread_cleanup_push(&at->registered, left, arg);
}

/* Also if it has been run. */
static inline void invoke_exited(struct invoke_exit *at)
{
    _pthread_cleanup_pop(&at->registered, 0);
}
#endif

/* Unwinds the stack, running cleanups, until sflight_invoke() returns to where `to` stands. */
_Noreturn void invoke_unwind(struct invocation *to);

#endif
