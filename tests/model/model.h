/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a harness needs to put the library's own source through GenMC: the
 * ground floor (futex, clock, cpu, hash, threads, reclamation) in versions that
 * the checker can follow.  Include this first, then the .c files to be checked.
 *
 * The guards of the replaced headers are defined here, so that the sources skip
 * them; atomic.h is the library's own.
 */
#ifndef MODEL_H
#define MODEL_H

#define SFLIGHT_BYTES_H
#define SFLIGHT_CLOCK_H
#define SFLIGHT_CPU_H
#define SFLIGHT_FUTEX_H
#define SFLIGHT_HASH_H
#define SFLIGHT_RECLAIM_H
#define SFLIGHT_THREAD_H

#include <assert.h>
#include <errno.h>
#include <genmc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The checker's errno.h has only some. */
#ifndef EOWNERDEAD
#define EOWNERDEAD 130
#define ENOTRECOVERABLE 131
#endif

#include "atomic.h"

/* Threads that do the same with the same argument: which is which is explored once only. */
static inline void model_start(pthread_t *threads, int n, void *(*fn)(void *))
{
    pthread_create(&threads[0], NULL, fn, NULL);
    for (int i = 1; i < n; i++)
        threads[i] = __VERIFIER_spawn_symmetric(fn, NULL, threads[i - 1]);
}

/* The C11 meaning, not the shortcut that x86 allows. */
#undef atomic_fence_after_rmw
#define atomic_fence_after_rmw() atomic_fence_seq_cst()

/* The checker takes one for a fence between threads, which would hide what lacks one. */
#undef atomic_fence_compiler
#define atomic_fence_compiler() ((void)0)

/* ------------------------------------------------------------ interest */

/*
 * Built with -DREACHED, a harness must fail at its REACHED(): that shows that
 * the checker gets to the point that the harness is about.
 */
#ifdef REACHED
#undef REACHED
#define REACHED(condition) assert(!(condition) && "reached")
#else
#define REACHED(condition) ((void)sizeof(condition))
#endif

/* --------------------------------------------------------------- waits */

/*
 * Waits for what others do.  Built with -DLIVE, and run with --check-liveness, it is
 * a loop as the checker wants it written, which it complains of if it never
 * ends; otherwise an execution in which it would have to wait is given up.
 */
#ifdef LIVE
#define model_await(condition)                                                                     \
    do {                                                                                           \
        __VERIFIER_loop_begin();                                                                   \
        for (;;) {                                                                                 \
            __VERIFIER_spin_start();                                                               \
            if (condition)                                                                         \
                break;                                                                             \
            __VERIFIER_spin_end(0);                                                                \
        }                                                                                          \
    } while (0)
#else
#define model_await(condition) __VERIFIER_assume(condition)
#endif

/* -------------------------------------------------------------- memory */

/* Word by word, where the size is not known to the compiler; all such memory is words. */
static inline void model_zero(void *p, size_t n)
{
    for (size_t i = 0; i < n / sizeof(uint64_t); i++)
        ((uint64_t *)p)[i] = 0;
}
#undef memset
#define memset(p, v, n)                                                                            \
    __builtin_choose_expr(__builtin_constant_p(n), __builtin_memset((p), (v), (n)),                \
                          model_zero((p), (n)))

/* Only keys are copied by name. */
static inline void model_copy(unsigned char *to, const unsigned char *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}
#undef memcpy
#define memcpy(to, from, n) model_copy((void *)(to), (const void *)(from), (n))

static inline int model_memcmp(const unsigned char *a, const unsigned char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return 1;
    return 0;
}
#undef memcmp
#define memcmp(a, b, n) model_memcmp((const void *)(a), (const void *)(b), (n))

/* Without arrays of its own, as src/bytes.h has: the checker loses its way on its stack then. */
enum { BYTES_SHORT = 24 };

static inline bool bytes_equal(const unsigned char *a, const unsigned char *b, size_t len)
{
    return len == 0 || memcmp(a, b, len) == 0;
}

static inline bool bytes_copy_short(unsigned char *to, const unsigned char *from, size_t len)
{
    if (len <= BYTES_SHORT)
        memcpy(to, from, len);
    return len <= BYTES_SHORT;
}

/* --------------------------------------------------------------- clock */

static inline uint64_t clock_now_ns(void)
{
    return 0;
}

static inline uint64_t clock_process_ns(void)
{
    return 0;
}

/* A deadline is one that may pass at any moment after the wait began. */
static inline struct timespec clock_after(uint32_t ns)
{
    return (struct timespec){.tv_nsec = ns};
}

static inline uint64_t clock_left_ns(const struct timespec *deadline)
{
    (void)deadline;
    return UINT64_MAX;
}

static inline void cpu_relax(void) {}
#define cpu_sleep(ns) ((void)(ns), cpu_yield())
#define cpu_back_off(n) ((void)(n), cpu_yield())

#ifndef OWN_YIELD
/* Until somebody else has gone on: the same look once more shows nothing new. */
static inline void cpu_yield(void)
{
    __VERIFIER_assume(0);
}
#endif

/* One CPU: nobody spins.  What a spinner sees, a parker sees at its first look. */
static inline unsigned cpu_count(void)
{
    return 1;
}

/* ---------------------------------------------------------------- hash */

static inline uint64_t hash_key(const void *key, size_t len, uint64_t seed)
{
    (void)key, (void)len;
    return seed; /* every key in the same bucket */
}

#endif
