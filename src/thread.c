/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads come and go without telling.  The first use of a group by a thread
 * finds or makes its slot and sets a pthread key, whose destructor hands the
 * slots on when the thread ends.  Destructors of other keys may run after ours
 * and call the library again: such a thread uses the group's common slot.
 *
 * Places are only this thread's.  One of a group that has been destroyed stays
 * until the table is made anew, out of the list of slots, which the destroyer keeps
 * up to date: that is when half of the places are used, and its size then follows
 * how many slots there are.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static struct slot_place no_place;
struct thread thread_nobody = {.places = &no_place, .n_places = 1, .bare = true};
struct thread thread_ended = {.places = &no_place, .n_places = 1, .bare = true, .ending = true};

_Thread_local struct words thread_words THREAD_WORDS_INITIAL;

/* All: in a forked child those of threads that do not exist are still known to who looks for leaks.
 */
static struct thread *threads;

static pthread_key_t end_key;
static _Atomic(bool) has_key;
static _Atomic(unsigned) next_hint;

int thread_init(void (*at_end)(void *thread))
{
    REQUIRE_REGISTRY();
    if (atomic_load_relaxed(&has_key)) /* under the lock */
        return 0;
    if (pthread_key_create(&end_key, at_end) != 0)
        return -ENOMEM;
    atomic_store_release(&has_key, true);
    return 0;
}

void thread_fini(void)
{
    REQUIRE_REGISTRY();
    if (!atomic_load_relaxed(&has_key)) /* under the lock */
        return;
    atomic_store_relaxed(&has_key, false);
    (void)pthread_key_delete(end_key);
}

/* -------------------------------------------------------------------- places */

struct slot *thread_slot_search(const struct sflight_group *g)
{
    const struct thread *t = &thread_self;
    size_t last = t->n_places - 1; /* one place at least is free */

    for (size_t i = (g->number & t->mask) / sizeof(struct slot_place); t->places[i].group != 0;
         i = (i + 1) & last)
        if (t->places[i].group == g->number)
            return t->places[i].slot;
    return NULL;
}

static void place_slot(struct thread *t, struct slot *slot)
{
    uint64_t number = slot->group->number;
    size_t i = (number & t->mask) / sizeof(struct slot_place);

    while (t->places[i].group != 0)
        i = (i + 1) & (t->n_places - 1);
    t->places[i] = (struct slot_place){number, slot};
    t->n_used++;
}

static void places_set(struct thread *t, struct slot_place *places, size_t n)
{
    memset(places, 0, n * sizeof(*places));
    t->places = places;
    t->n_places = n;
    t->mask = (n - 1) * sizeof(*places);
    t->n_used = 0;
}

static void places_free(struct slot_place *places, size_t n, const struct thread *t)
{
    if (places != t->first)
        alloc_put(&alloc_process, places, n * sizeof(*places));
}

static size_t count_slots(const struct thread *t)
{
    size_t n = 0;
    registry_lock();
    for (const struct slot *slot = t->slots; slot != NULL; slot = slot->next_of_thread)
        n++;
    registry_unlock();
    return n;
}

/* Makes the table anew, for a quarter to be used, and one place more; false: no memory. */
static NOINLINE bool places_renew(struct thread *t)
{
    size_t n = THREAD_PLACES, n_slots = count_slots(t), n_old = t->n_places;
    struct slot_place *places = t->first, *old = t->places;

    while (n < 4 * (n_slots + 1))
        n *= 2;
    if (n == n_old)
        places = old; /* nothing is looked for meanwhile */
    else if (n > THREAD_PLACES &&
             (places = alloc_get(&alloc_process, n * sizeof(*places), CACHE_LINE)) == NULL)
        return false;
    places_set(t, places, n);
    registry_lock(); /* some may have gone meanwhile */
    for (struct slot *slot = t->slots; slot != NULL; slot = slot->next_of_thread)
        place_slot(t, slot);
    registry_unlock();
    if (places != old)
        places_free(old, n_old, t);
    return true;
}

/* Can there be one more?  Without memory for a larger table it may become full but for one place.
 */
static bool has_place(struct thread *t)
{
    return t->n_used < t->n_places / 2 || places_renew(t) || t->n_used < t->n_places - 1;
}

/* ------------------------------------------------------------------- threads */

bool thread_make(void)
{
    if (LIKELY(!thread_self.bare))
        return true;
    if (thread_self.ending || !atomic_load_acquire(&has_key))
        return false;
    struct thread *t = alloc_get(&alloc_process, sizeof(*t), CACHE_LINE);
    if (t == NULL)
        return false;
    memset(t, 0, sizeof(*t));
    places_set(t, t->first, THREAD_PLACES);
    t->hint = 1 + atomic_add_relaxed(&next_hint, 1); /* any spread will do */
    if (pthread_setspecific(end_key, t) != 0) {
        alloc_put(&alloc_process, t, sizeof(*t));
        return false;
    }
    registry_lock();
    t->next = threads;
    t->prev = &threads;
    if (t->next != NULL)
        t->next->prev = &t->next;
    threads = t;
    registry_unlock();
    thread_words.self = t;
    return true;
}

void thread_free(struct thread *t)
{
    REQUIRE(t == &thread_self && t->slots == NULL);
    thread_words.self = &thread_ended;
    registry_lock();
    *t->prev = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    registry_unlock();
    places_free(t->places, t->n_places, t);
    alloc_put(&alloc_process, t, sizeof(*t));
}

/* --------------------------------------------------------------------- slots */

static void slot_to_thread(struct slot *slot)
{
    struct thread *t = &thread_self;

    atomic_add_relaxed(&slot->group->n_threads, 1); /* a hint */
    slot->next_of_thread = t->slots;
    slot->prev_of_thread = &t->slots;
    if (slot->next_of_thread != NULL)
        slot->next_of_thread->prev_of_thread = &slot->next_of_thread;
    t->slots = slot;
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
    struct slot *slot = thread_slot_search(g);

    if (LIKELY(slot != NULL))
        return slot;
    if (!thread_make() || !has_place(&thread_self))
        return &g->common;
    registry_lock();
    slot = g->idle;
    if (slot != NULL) {
        g->idle = slot->next_of_thread;
        slot_to_thread(slot);
    }
    registry_unlock();
    if (slot == NULL && (slot = slot_new(g)) == NULL)
        return &g->common;
    place_slot(&thread_self, slot);
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
