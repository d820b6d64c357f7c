/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads come and go without telling the library.  The first use of a group by a thread
 * finds or makes its slot, and sets a pthread key.  The key's destructor, thread_end() in
 * lifecycle.c, hands the slots on when the thread ends.  Destructors of other keys may run
 * after it and call the library again: such a thread uses the group's common slot.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

_Thread_local struct thread thread_self;

static pthread_key_t end_key;
static _Atomic(unsigned) next_hint;

int thread_init(void (*at_end)(void *thread))
{
    return pthread_key_create(&end_key, at_end) == 0 ? 0 : -ENOMEM;
}

/* Makes a slot the calling thread's.  Under the registry lock. */
static void slot_to_thread(struct slot *slot)
{
    atomic_add_relaxed(&slot->group->n_threads, 1); /* a hint */
    slot->next_of_thread = thread_self.slots;
    slot->prev_of_thread = &thread_self.slots;
    if (slot->next_of_thread != NULL)
        slot->next_of_thread->prev_of_thread = &slot->next_of_thread;
    thread_self.slots = slot;
}

/* A new slot of the calling thread, or NULL. */
static struct slot *slot_new(struct sflight_group *g)
{
    struct slot *slot = alloc_get(&g->alloc, sizeof(*slot), CACHE_LINE);
    if (slot == NULL)
        return NULL;
    memset((void *)slot, 0, sizeof(*slot));
    slot->group = g;
    slot->max_spare = SLOT_SPARES;
    spinner_init(&slot->spinner, g->spin_ns);
    registry_lock();
    slot->next_of_group = g->slots;
    g->slots = slot;
    slot_to_thread(slot);
    registry_unlock();
    return slot;
}

NOINLINE struct slot *thread_slot_slow(struct sflight_group *g)
{
    struct thread *t = &thread_self;

    if (t->hint == 0)
        t->hint = 1 + atomic_add_relaxed(&next_hint, 1); /* any spread will do */
    if (pthread_getspecific(end_key) == NULL && pthread_setspecific(end_key, t) != 0)
        return &g->common;
    if (t->ending)
        return &g->common;

    registry_lock();
    struct slot *slot = t->slots;
    while (slot != NULL && slot->group != g)
        slot = slot->next_of_thread;
    if (slot == NULL && g->idle != NULL) {
        slot = g->idle;
        g->idle = slot->next_of_thread;
        slot_to_thread(slot);
    }
    registry_unlock();
    if (slot == NULL && (slot = slot_new(g)) == NULL)
        return &g->common;
    unsigned i = (unsigned)g->number % SLOT_CACHE;
    t->cache[i].group = g->number;
    t->cache[i].slot = slot;
    return slot;
}

NOINLINE struct slot *thread_slot_again(struct sflight_group *g)
{
    __asm__ __volatile__("" ::: "memory"); /* not a function whose calls can be merged */
    return thread_slot(g);
}

void thread_forget_group(struct sflight_group *g)
{
    REQUIRE_REGISTRY();
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group) {
        if (slot->prev_of_thread == NULL)
            continue; /* it is idle: no thread has it */
        *slot->prev_of_thread = slot->next_of_thread;
        if (slot->next_of_thread != NULL)
            slot->next_of_thread->prev_of_thread = slot->prev_of_thread;
    }
}
