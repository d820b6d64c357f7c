/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.h - what is done however a block is left: by return, by what unwinds the stack (a panic, an
 * exception, with glibc also the end of the thread), or by the end of the thread, which with musl
 * runs what is registered and unwinds nothing.  There a task that may be parked in the block is not
 * registered, for that would have to end in order.
 */
#ifndef SFLIGHT_FLEET_GUARD_H
#define SFLIGHT_FLEET_GUARD_H

#include <pthread.h>
#include <stdbool.h>

struct guard {
    void (*left)(void *arg);
    void *arg;
#ifndef __GLIBC__
    bool is_registered;
    struct __ptcb registered; /* musl's */
#endif
};

static inline void guard_begin(struct guard *g, void (*left)(void *arg), void *arg, bool parks)
{
    g->left = left;
    g->arg = arg;
#ifndef __GLIBC__
    g->is_registered = !parks;
    if (!parks)
        _pthread_cleanup_push(&g->registered, left, arg);
#endif
    (void)parks;
}

static inline void guard_end(struct guard *g)
{
#ifndef __GLIBC__
    if (g->is_registered)
        _pthread_cleanup_pop(&g->registered, 0);
#endif
    g->left(g->arg);
}

/* Has left(arg) called when the block ends in which this stands.  parks: a task may be parked. */
#define GUARD(name, left, arg, parks)                                                              \
    struct guard name __attribute__((cleanup(guard_end)));                                         \
    guard_begin(&name, left, arg, parks)

#endif
