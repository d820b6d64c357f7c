/* SPDX-License-Identifier: BSD-2-Clause */
/* For harnesses that include gauges.c and lifecycle.c: what those call besides. */
#ifndef MODEL_GROUP_H
#define MODEL_GROUP_H

#include "model_call.h"

typedef int pthread_once_t;
#define PTHREAD_ONCE_INIT 0
#define GRND_NONBLOCK 1

static int pthread_once(pthread_once_t *once, void (*fn)(void))
{
    (void)once, (void)fn;
    return 0;
}
#include <sys/syscall.h>
#include <unistd.h>
#undef syscall
#define syscall(number, to, size, flags) ((long)(size)) /* getrandom */

/* What is not run here, but translated: word by word. */
#undef memset
#define memset(p, v, n) model_zero((p), (n))

static void reclaim_init(void) {}
static int thread_init(void (*at_end)(void *thread))
{
    (void)at_end;
    return 0;
}
uint32_t agent_n_running_here(struct sflight_group *g)
{
    (void)g;
    return 0;
}
int fork_handle(void)
{
    return 0;
}
void fork_init(void) {}
static void thread_fini(void) {}
static void thread_free(struct thread *thread)
{
    (void)thread;
}
void alloc_init(struct alloc *a, void *ctx, void *(*alloc)(void *, size_t, size_t),
                void (*release)(void *, void *, size_t))
{
    (void)a, (void)ctx, (void)alloc, (void)release;
}

/* For the end of the process, of which there is none here; the checker's own stops at it. */
#define pthread_mutex_trylock(mutex) ((void)(mutex), EBUSY)

/* lifecycle_destroy() gets here once it is certain that nobody uses the group. */
static void thread_forget_group(struct sflight_group *g);

/* In its caller's frame: the checker takes a frame at the address of an ended one for freed. */
#include "gauges.h"
enum flying gauges_flying(struct sflight_group *g) __attribute__((always_inline));

#define _SYS_RANDOM_H 1
#include "gauges.c"
#include "group.c"
#include "lifecycle.c"

/* After model_init(): the group and the slots of n threads are in the registry. */
static void model_register(int n)
{
    right_in = process_salt();
    groups = &group;
    group.prev = &groups;
    for (int i = 0; i < n; i++) {
        model_slot[i].next_of_group = group.slots;
        group.slots = &model_slot[i];
    }
}

#endif
