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
struct thread thread_nobody = {
    .places = &no_place, .n_places = 1, .bare = true, .lane = &reclaim_no_lane};
struct thread thread_ended = {
    .places = &no_place, .n_places = 1, .bare = true, .ending = true, .lane = &reclaim_no_lane};

_Thread_local struct words thread_words THREAD_WORDS_INITIAL;

/*
 * All of this process; and of those that it is forked from, where who looks for leaks still finds
 * what threads had that do not exist: nobody else reads that.  One that is from there stays there.
 */
static struct thread *threads, *volatile threads_of_parents;
static uint64_t threads_in; /* the process, by its salt */

static pthread_key_t end_key;
static _Atomic(bool) has_key;
static _Atomic(uint64_t) n_numbers_given;

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

/* The place where it stands by that key, or where it can be put. */
static struct slot_place *place_search(const struct thread *t, uint64_t key)
{
    size_t i = (key & t->mask) / sizeof(struct slot_place);

    while (t->places[i].group != 0 && t->places[i].group != key) /* one at least is free */
        i = (i + 1) & (t->n_places - 1);
    return &t->places[i];
}

struct slot *thread_slot_search(uint64_t key)
{
    return place_search(&thread_self, key)->slot;
}

static void place_slot(struct thread *t, struct slot *slot, uint64_t key)
{
    *place_search(t, key) = (struct slot_place){key, slot};
    t->n_used++;
}

/* Places the slots that the thread has.  Of a group that is not right yet: not to be found. */
static void place_slots(struct thread *t)
{
    REQUIRE_REGISTRY();
    for (struct slot *slot = t->slots; slot != NULL; slot = slot->next_of_thread) {
        struct sflight_group *g = slot->group;
        bool right = atomic_load_relaxed(&g->salt) == process_salt(); /* under the lock */
        place_slot(t, slot, right ? group_key(g) : group_key_inherited(g));
    }
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

/* False if the registry lock is not to be had. */
static bool count_slots(const struct thread *t, size_t *n)
{
    *n = 0;
    if (!registry_lock_soon())
        return false;
    for (const struct slot *slot = t->slots; slot != NULL; slot = slot->next_of_thread)
        ++*n;
    registry_unlock();
    return true;
}

/*
 * Makes the table anew, for a quarter to be used, and one place more; false: no memory, or the
 * registry lock is not to be had.
 */
static NOINLINE bool places_renew(struct thread *t)
{
    size_t n = THREAD_PLACES, n_slots, n_old = t->n_places;
    struct slot_place *places = t->first, *old = t->places;

    if (!count_slots(t, &n_slots))
        return false;
    while (n < 4 * (n_slots + 1))
        n *= 2;
    if (n == n_old)
        places = old; /* nothing is looked for meanwhile */
    else if (n > THREAD_PLACES &&
             (places = alloc_get(&alloc_process, n * sizeof(*places), CACHE_LINE)) == NULL)
        return false;
    if (!registry_lock_soon()) {
        if (places != old) /* RACE: somebody has it since they were counted */
            places_free(places, n, t);
        return false;
    }
    places_set(t, places, n);
    place_slots(t); /* some may have gone meanwhile */
    registry_unlock();
    if (places != old)
        places_free(old, n_old, t);
    return true;
}

/*
 * The thread's first use of a group in this process, if it is a forked child: what it has is found
 * by group_key_inherited(), and its list mended, which another thread may have been about to
 * change.
 */
static NOINLINE void places_after_fork(struct thread *t)
{
    struct slot **prev = &t->slots;

    places_set(t, t->places, t->n_places);
    registry_lock();
    for (struct slot *slot = t->slots; slot != NULL; slot = slot->next_of_thread) {
        if (slot->prev_of_thread != prev)
            slot->prev_of_thread = prev; /* RACE: the fork came amid a change */
        prev = &slot->next_of_thread;
    }
    place_slots(t);
    registry_unlock();
    t->salt = process_salt();
}

/* Its slot from before a fork, which is found by the group's key from here on; or NULL. */
static struct slot *slot_inherited(struct thread *t, const struct sflight_group *g)
{
    struct slot_place *place = place_search(t, group_key_inherited(g));

    if (place->slot != NULL)
        place->group = group_key(g); /* the same place: they differ above the mask */
    return place->slot;
}

/* Can there be one more?  Without memory for a larger table it may become full but for one place.
 */
static bool has_place(struct thread *t)
{
    return t->n_used < t->n_places / 2 || places_renew(t) || t->n_used < t->n_places - 1;
}

/* ------------------------------------------------------------------- threads */

/* Enters the thread into the list of all, unless it is there, or in that of a parent's. */
static void enlist(struct thread *t)
{
    REQUIRE_REGISTRY();
    if (t->listed_in != 0)
        return;
    t->listed_in = process_salt();
    if (threads_in != t->listed_in) {
        threads_in = t->listed_in;
        if (threads != NULL)
            threads_of_parents = threads;
        threads = NULL;
    }
    t->last = threads == NULL;
    t->next = t->last ? threads_of_parents : threads;
    t->prev = &threads;
    if (!t->last)
        t->next->prev = &t->next;
    threads = t;
}

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
    t->number = 2 * (1 + atomic_add_relaxed(&n_numbers_given, 1)); /* even: no bare one's */
    t->hint = (unsigned)(t->number / 2);                           /* any spread will do */
    t->lane = reclaim_lane(t->hint);
    t->salt = process_salt_now();
    int saved = errno; /* it may need memory */
    int rc = pthread_setspecific(end_key, t);
    errno = saved;
    if (rc != 0) {
        alloc_put(&alloc_process, t, sizeof(*t));
        return false;
    }
    thread_words.self = t;
    if (registry_lock_soon()) { /* otherwise the first use of a group with its own slot does it */
        enlist(t);
        registry_unlock();
    }
    return true;
}

/* Nothing of a parent's is looked at: it may have been freed. */
static void unlist(struct thread *t)
{
    REQUIRE_REGISTRY();
    bool first = t->prev == &threads;

    *t->prev = first && t->last ? NULL : t->next;
    if (!t->last)
        t->next->prev = t->prev;
    else if (!first)
        container_of(t->prev, struct thread, next)->last = true;
}

void thread_free(struct thread *t)
{
    REQUIRE(t == &thread_self && t->slots == NULL);
    thread_words.self = &thread_ended;
    registry_lock();
    if (t->listed_in == process_salt())
        unlist(t);
    registry_unlock();
    places_free(t->places, t->n_places, t);
    alloc_put(&alloc_process, t, sizeof(*t));
}

/* --------------------------------------------------------------------- slots */

static void slot_to_thread(struct slot *slot)
{
    struct thread *t = &thread_self;

    atomic_add_relaxed(&slot->group->n_threads, 1); /* a hint */
    slot->owner = t->number;
    slot->next_of_thread = t->slots;
    slot->prev_of_thread = &t->slots;
    if (slot->next_of_thread != NULL)
        slot->next_of_thread->prev_of_thread = &slot->next_of_thread;
    t->slots = slot;
}

/* A new slot of the calling thread, or NULL. */
static struct slot *slot_new(struct sflight_group *g)
{
    size_t bytes = group_slot_bytes(g);
    struct slot *slot = alloc_get(&g->alloc, bytes, CACHE_LINE);
    if (slot == NULL)
        return NULL;
    memset((void *)slot, 0, bytes);
    slot->group = g;
    if (bytes > sizeof(*slot))
        slot->durations = (struct durations *)(void *)(slot + 1);
    slot->max_spare = SLOT_SPARES;
    spinner_init(&slot->spinner, g->spin_ns, &g->rivals);
    if (!registry_lock_soon()) {
        alloc_put(&g->alloc, slot, bytes); /* RACE: somebody has it since none was idle */
        return NULL;
    }
    slot->next_of_group = atomic_load_relaxed(&g->slots); /* under the lock */
    atomic_store_release(&g->slots, slot);                /* [SLOTS] */
    slot_to_thread(slot);
    registry_unlock();
    return slot;
}

NOINLINE struct slot *thread_slot_slow(struct sflight_group *g)
{
    struct slot *slot = thread_slot_search(group_key(g));

    if (LIKELY(slot != NULL))
        return slot;
    group_enter(g);
    if (!thread_make())
        return &g->common;
    if (UNLIKELY(thread_self.salt != process_salt())) {
        places_after_fork(&thread_self);
        slot = thread_slot_search(group_key(g)); /* the group is right */
    } else {
        slot = slot_inherited(&thread_self, g);
    }
    if (UNLIKELY(slot != NULL))
        return slot;
    if (!has_place(&thread_self))
        return &g->common;
    if (!registry_lock_soon())
        return &g->common; /* somebody stands still there: the next use tries again */
    enlist(&thread_self);
    slot = g->idle;
    if (slot != NULL) {
        g->idle = slot->next_of_thread;
        slot_to_thread(slot);
    }
    registry_unlock();
    if (slot == NULL && (slot = slot_new(g)) == NULL)
        return &g->common;
    place_slot(&thread_self, slot, group_key(g));
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
    for (struct slot *slot = atomic_load_relaxed(&g->slots); slot != NULL;
         slot = slot->next_of_group) {
        if (slot->prev_of_thread == NULL)
            continue; /* it is idle: no thread has it */
        *slot->prev_of_thread = slot->next_of_thread;
        if (slot->next_of_thread != NULL)
            slot->next_of_thread->prev_of_thread = slot->prev_of_thread;
    }
}
