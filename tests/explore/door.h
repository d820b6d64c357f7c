/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other side of the one door: included before each file of the library, and
 * before the scenarios (cc -include).  The guards of the replaced headers are
 * defined here, so that the sources skip them; what pthread.h and stdlib.h have
 * goes by other names.
 *
 * Every operation behind these names may let another thread go on, and is
 * checked; see memory.h.
 */
#ifndef EXPLORE_DOOR_H
#define EXPLORE_DOOR_H

#define SFLIGHT_ATOMIC_H
#define SFLIGHT_CLOCK_H
#define SFLIGHT_CPU_H
#define SFLIGHT_EVENT_FD_H
#define SFLIGHT_FUTEX_H
#define SFLIGHT_HASH_H
#define SFLIGHT_RECLAIM_H
#define SFLIGHT_REQUIRE_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../src/compiler.h"
#include "memory.h"
#include "sched.h"

/* --------------------------------------------------------------- require.h */

#define REQUIRE(condition)                                                                         \
    ((condition) ? (void)0 : explore_fail("%s: required: %s", SITE, #condition))
#define REQUIRE_IN_SECTION() REQUIRE(door_in_section())
#define REQUIRE_NO_SECTION() REQUIRE(!door_in_section())
#define require_word(p) ((EX_TYPE(p))(uintptr_t)door_peek((p), sizeof(*(p))))

/* As it was written last; nobody else goes on meanwhile, and no race is looked for. */
uint64_t door_peek(const volatile void *p, unsigned size);
bool door_in_section(void);

/* ---------------------------------------------------------------- atomic.h */

/* Where the library passes a point, by its line and by its function. */
#define HERE door_here(__func__, SITE)
static inline const char *door_here(const char *function, const char *site)
{
    sched_function = function;
    return site;
}

#define EX_TYPE(p) __typeof__((void)0, *(p))
#define EX_BITS(v) ((uint64_t)(uintptr_t)(v))
#define EX_LOAD(p, order) ((EX_TYPE(p))(uintptr_t)door_load((p), sizeof(*(p)), order, HERE))
#define EX_RMW(p, op, v, order)                                                                    \
    ((EX_TYPE(p))(uintptr_t)door_rmw((p), sizeof(*(p)), op, EX_BITS(v), order, HERE))
#define EX_CAS(p, e, v, order) door_cas((p), sizeof(*(p)), (e), EX_BITS(v), order, HERE)

#define atomic_load_relaxed(p) EX_LOAD(p, EX_RELAXED)
#define atomic_load_acquire(p) EX_LOAD(p, EX_ACQUIRE)
#define atomic_store_relaxed(p, v) door_store((p), sizeof(*(p)), EX_BITS(v), EX_RELAXED, HERE)
#define atomic_store_release(p, v) door_store((p), sizeof(*(p)), EX_BITS(v), EX_RELEASE, HERE)

/* Also those that are not in use, for when an order is weakened. */
#define atomic_add_relaxed(p, v) EX_RMW(p, RMW_ADD, v, EX_RELAXED)
#define atomic_add_acquire(p, v) EX_RMW(p, RMW_ADD, v, EX_ACQUIRE)
#define atomic_add_release(p, v) EX_RMW(p, RMW_ADD, v, EX_RELEASE)
#define atomic_add_acq_rel(p, v) EX_RMW(p, RMW_ADD, v, EX_ACQ_REL)
#define atomic_sub_relaxed(p, v) EX_RMW(p, RMW_SUB, v, EX_RELAXED)
#define atomic_sub_acquire(p, v) EX_RMW(p, RMW_SUB, v, EX_ACQUIRE)
#define atomic_sub_release(p, v) EX_RMW(p, RMW_SUB, v, EX_RELEASE)
#define atomic_sub_acq_rel(p, v) EX_RMW(p, RMW_SUB, v, EX_ACQ_REL)
#define atomic_or_relaxed(p, v) EX_RMW(p, RMW_OR, v, EX_RELAXED)
#define atomic_or_acquire(p, v) EX_RMW(p, RMW_OR, v, EX_ACQUIRE)
#define atomic_or_release(p, v) EX_RMW(p, RMW_OR, v, EX_RELEASE)
#define atomic_or_acq_rel(p, v) EX_RMW(p, RMW_OR, v, EX_ACQ_REL)
#define atomic_and_relaxed(p, v) EX_RMW(p, RMW_AND, v, EX_RELAXED)
#define atomic_and_acquire(p, v) EX_RMW(p, RMW_AND, v, EX_ACQUIRE)
#define atomic_and_release(p, v) EX_RMW(p, RMW_AND, v, EX_RELEASE)
#define atomic_and_acq_rel(p, v) EX_RMW(p, RMW_AND, v, EX_ACQ_REL)
#define atomic_swap_relaxed(p, v) EX_RMW(p, RMW_SWAP, v, EX_RELAXED)
#define atomic_swap_acquire(p, v) EX_RMW(p, RMW_SWAP, v, EX_ACQUIRE)
#define atomic_swap_release(p, v) EX_RMW(p, RMW_SWAP, v, EX_RELEASE)
#define atomic_swap_acq_rel(p, v) EX_RMW(p, RMW_SWAP, v, EX_ACQ_REL)
#define atomic_cas_relaxed(p, e, v) EX_CAS(p, e, v, EX_RELAXED)
#define atomic_cas_acquire(p, e, v) EX_CAS(p, e, v, EX_ACQUIRE)
#define atomic_cas_release(p, e, v) EX_CAS(p, e, v, EX_RELEASE)
#define atomic_cas_acq_rel(p, e, v) EX_CAS(p, e, v, EX_ACQ_REL)

/* One writer: that is checked where the store finds another value than was read. */
#define atomic_add_single_writer(p, v) door_count((p), sizeof(*(p)), EX_BITS(v), EX_RELEASE, HERE)

#define atomic_fence_acquire() memory_fence(EX_ACQUIRE, false)
#define atomic_fence_seq_cst() door_fence(HERE)
#define atomic_fence_compiler() ((void)0)
#define atomic_fence_after_rmw() door_fence_after_rmw(HERE)

void door_fence(const char *site);
void door_fence_after_rmw(const char *site);

uint64_t door_load(const volatile void *p, unsigned size, int order, const char *site);
void door_store(volatile void *p, unsigned size, uint64_t value, int order, const char *site);
void door_count(volatile void *p, unsigned size, uint64_t more, int order, const char *site);
uint64_t door_rmw(volatile void *p, unsigned size, enum memory_rmw op, uint64_t value, int order,
                  const char *site);
/* *expected is of the same size as *p. */
bool door_cas(volatile void *p, unsigned size, void *expected, uint64_t value, int order,
              const char *site);

/* ------------------------------------------------- futex.h, clock.h, cpu.h */

int futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline);
uint32_t futex_wake(uint32_t *word, uint32_t n);
/* Threads with even numbers are on one CPU, the others on another. */
uint32_t futex_wake_elsewhere(uint32_t *word, uint32_t n);

uint64_t clock_now_ns(void);
uint64_t clock_process_ns(void);
uint64_t clock_left_ns(const struct timespec *deadline);

static inline struct timespec clock_after(uint32_t ns)
{
    uint64_t at = clock_now_ns() + ns;
    return (struct timespec){.tv_sec = (time_t)(at / 1000000000u),
                             .tv_nsec = (long)(at % 1000000000u)};
}

#ifndef EXPLORE_DOOR_INSIDE
#define futex_wait(word, expected, deadline) (HERE, futex_wait((word), (expected), (deadline)))
#define futex_wake(word, n) (HERE, futex_wake((word), (n)))
#define futex_wake_elsewhere(word, n) (HERE, futex_wake_elsewhere((word), (n)))
#define clock_now_ns() (HERE, clock_now_ns())
#define clock_left_ns(deadline) (HERE, clock_left_ns(deadline))
#endif

static inline bool clock_deadline_valid(const struct timespec *deadline)
{
    return deadline == NULL || (deadline->tv_nsec >= 0 && deadline->tv_nsec <= 999999999);
}

#define cpu_relax() sched_yield_point(HERE)
#define cpu_yield() sched_yield_point(HERE)
#define cpu_sleep(ns) ((void)(ns), sched_yield_point(HERE))
#define cpu_back_off(n) (++*(n), sched_yield_point(HERE))
unsigned cpu_count(void);

/* -------------------------------------------------------------- event_fd.h */

int event_fd_new(void);
void event_fd_close(int fd);
void event_fd_set(int fd);
void event_fd_clear(int fd);
#ifndef EXPLORE_DOOR_INSIDE
#define event_fd_set(fd) (HERE, event_fd_set(fd))
#define event_fd_clear(fd) (HERE, event_fd_clear(fd))
#endif

/* --------------------------------------------------------------- reclaim.h */

struct lane {
    int unused;
};
extern struct lane reclaim_no_lane;
struct reclaim_entry {
    struct reclaim_entry *next;
    unsigned epoch;
};
struct reclaim_limbo {
    struct reclaim_entry *first, *last;
    unsigned n_unpolled, n;
};
enum { RECLAIM_POLL_EVERY = 1 };

void reclaim_init(void);
struct lane *reclaim_lane(unsigned hint);
struct lane *reclaim_enter(struct lane *lane);
void reclaim_leave(struct lane *lane);
void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry);
unsigned reclaim_poll(struct lane *lane);
struct reclaim_entry *reclaim_take(struct reclaim_limbo *limbo, unsigned polled);
struct reclaim_entry *reclaim_take_unseen(struct reclaim_limbo *limbo);
void reclaim_after_fork(void);
void reclaim_limbo_after_fork(struct reclaim_limbo *limbo);
#ifndef EXPLORE_DOOR_INSIDE
#define reclaim_enter(lane) (HERE, reclaim_enter(lane))
#define reclaim_leave(lane) (HERE, reclaim_leave(lane))
#define reclaim_retire(limbo, entry) (HERE, reclaim_retire((limbo), (entry)))
#endif

/* ---------------------------------------------------------- stdlib, string */

static inline void process_free(void *p)
{
    free(p);
}
void *door_alloc(size_t align, size_t size, const char *site);
void *door_calloc(size_t n, size_t size, const char *site);
void door_free(void *p);
void *door_memset(void *p, int value, size_t size);
void *door_memcpy(void *to, const void *from, size_t size);
int door_memcmp(const void *a, const void *b, size_t size);

#define aligned_alloc(align, size) door_alloc((align), (size), HERE)
#define posix_memalign(p, align, size)                                                             \
    ((*(p) = door_alloc((align), (size), HERE)) != NULL ? 0 : ENOMEM)
#define calloc(n, size) door_calloc((n), (size), HERE)
#define free door_free /* members of this name, too */
#undef memset
#define memset(p, value, size) door_memset((p), (value), (size))
#undef memcpy
#define memcpy(to, from, size) door_memcpy((to), (from), (size))
#undef memcmp
#define memcmp(a, b, size) door_memcmp((a), (b), (size))

/* ------------------------------------------------------------------- lock */

#define process_noticed() (process_page.salt != 0) /* its own process_notice() has no races */

#include "../../src/lock.h"

/* name: as the library calls it. */
bool door_lock_take(struct lock *lock, const struct timespec *deadline, const char *name);
bool door_lock_try(struct lock *lock, const char *name);
#ifndef EXPLORE_DOOR_INSIDE
#define lock_take(lock) (HERE, (void)door_lock_take((lock), NULL, #lock))
#define lock_take_until(lock, deadline) (HERE, door_lock_take((lock), (deadline), #lock))
#define lock_try(lock) (HERE, door_lock_try((lock), #lock))
#define lock_give(lock) (HERE, lock_give(lock))
#endif

/* ------------------------------------------------------------------ thread */

/* A thread's own words become what this points to: some for each coroutine. */
#define _Thread_local
#define thread_words (*door_words)
#define THREAD_WORDS_INITIAL
extern struct words *door_words;

int door_mutex_lock(pthread_mutex_t *mutex, const char *site);
int door_mutex_unlock(pthread_mutex_t *mutex);
int door_once(pthread_once_t *once, void (*fn)(void));
int door_key_create(pthread_key_t *key, void (*destroy)(void *));
int door_key_delete(pthread_key_t key);
int door_setspecific(pthread_key_t key, const void *value);
int door_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int door_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                       void *arg);

#define pthread_mutex_lock(mutex) door_mutex_lock((mutex), SITE)
#define pthread_mutex_trylock(mutex) door_mutex_lock((mutex), SITE)
#define pthread_mutex_unlock(mutex) door_mutex_unlock(mutex)
#define pthread_once(once, fn) door_once((once), (fn))
#define pthread_key_create(key, destroy) door_key_create((key), (destroy))
#define pthread_key_delete(key) door_key_delete(key)
#define pthread_setspecific(key, value) door_setspecific((key), (value))
#define pthread_atfork(prepare, parent, child) door_atfork((prepare), (parent), (child))
#define pthread_create(thread, attr, fn, arg) door_thread_create((thread), (attr), (fn), (arg))
#define pthread_attr_init(attr) ((void)(attr), 0)
#define pthread_attr_setdetachstate(attr, state) ((void)(attr), (void)(state), 0)
#define pthread_attr_destroy(attr) ((void)(attr), 0)
#define pthread_setcancelstate(state, old) ((void)(state), *(old) = 0, 0)
#define pthread_sigmask(how, set, old) ((void)(how), (void)(set), (void)(old), 0)

/* --------------------------------------------------------- for scenarios */

/* What the library's surroundings do in this run; set before its group is made. */
struct door {
    unsigned n_cpus;    /* 1: nobody spins */
    bool lazy_reclaim;  /* what is retired does not come back before the group's end */
    bool no_spares;     /* records are freed as soon as they are not needed */
    bool forks_noticed; /* by a handler: another thread than 0 may be first in the child */
    bool common_slots;  /* threads cannot have slots of their own */
    bool fingerprints;  /* the second byte of a key distinguishes it from others in its bucket */
    unsigned failures;  /* allocations and descriptors: one in so many fails; 0: none */
    unsigned
        joint_after; /* so often a thread finds that others join, too, before it makes a joint */
    unsigned joints_most; /* of a call */
    unsigned haste;       /* a reading of the clock jumps ahead, one in so many; 0: none */
    void (*left)(void);   /* called by whoever has left a section; or NULL */
};
extern struct door door;
#define JOINT_AFTER door.joint_after
#define STATE_JOINTS_MOST door.joints_most

/* ------------------------------------------------------------------ hash.h */

/* The first byte: keys that begin alike stand in one bucket. */
static inline uint64_t hash_key(const void *key, size_t len, uint64_t seed)
{
    const unsigned char *bytes = key;

    (void)seed;
    if (len == 0)
        return 0;
    return door.fingerprints && len > 1 ? (uint64_t)bytes[1] << 32 | bytes[0] : bytes[0];
}

void door_reset(void);
/* After a run: nothing is open, borrowed, pending or allocated. */
void door_check_end(void);

/* Forks, seen by the child: everybody else is gone.  By thread 0. */
void door_fork(void);
struct sflight_group;
struct sflight_queue;
/* As if somebody gave up n results that nobody has any more, or drained a future. */
void door_release_lost(struct sflight_group *g, uint64_t n);
void door_drain_lost(struct sflight_queue *queue);
void door_detached_join(void);   /* threads that the library made have ended */
void door_wait_readable(int fd); /* as poll(2) would */
bool door_readable(int fd);
bool door_has_mutex(void);
const char *door_lock_of(int thread); /* that the thread holds, by its name; or NULL */
/* Coroutines that are parked change their threads, and what belongs to a thread. */
void door_swap_threads(int a, int b);

#endif
