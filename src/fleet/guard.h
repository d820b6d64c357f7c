/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.h - what is done however a block is left: by return, by what unwinds the stack (a panic, an
 * exception, with glibc also the end of the thread), or by the end of the thread, which with musl
 * runs what is registered and unwinds nothing.
 */
#ifndef SFLIGHT_FLEET_GUARD_H
#define SFLIGHT_FLEET_GUARD_H

#include <pthread.h>

struct guard {
    void (*left)(void *arg);
    void *arg;
#ifndef __GLIBC__
    struct __ptcb registered; /* musl's */
#endif
};

static inline void guard_begin(struct guard *g, void (*left)(void *arg), void *arg)
{
    g->left = left;
    g->arg = arg;
#ifndef __GLIBC__
    _pthread_cleanup_push(&g->registered, left, arg);
#endif
}

static inline void guard_end(struct guard *g)
{
#ifndef __GLIBC__
    _pthread_cleanup_pop(&g->registered, 0);
#endif
    g->left(g->arg);
}

/* Has left(arg) called when the block ends in which this stands. */
#define GUARD(name, left, arg)                                                                     \
    struct guard name __attribute__((cleanup(guard_end)));                                         \
    guard_begin(&name, left, arg)

#endif
