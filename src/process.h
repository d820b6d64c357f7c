/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which process this is.  A child of fork() has another SALT than its parent: a number
 * that no ancestor of it had.  What carries a salt, such as a lock, a group or a
 * thread's way to its slot, is known in the child for the parent's by comparing it.
 *
 * The salt stands in a page that the kernel gives to a child empty (MADV_WIPEONFORK):
 * so nobody has to do anything at a fork, and whoever comes first in the child, also a
 * handler of pthread_atfork() or after a fork without handlers, finds 0 and makes the
 * new one.  Where the kernel refuses that, the handler in fork.c does it.
 */
#ifndef SFLIGHT_PROCESS_H
#define SFLIGHT_PROCESS_H

#include "atomic.h"

#if defined(__x86_64__)
enum { PROCESS_PAGE = 4096 };
#else
enum { PROCESS_PAGE = 65536 }; /* the largest there is */
#endif

enum { PROCESS_SALT_SHIFT = 40 };                            /* a table of places is smaller */
#define PROCESS_SALT_NONE (UINT64_MAX << PROCESS_SALT_SHIFT) /* no process's: of 16,777,215 */

union process_page {
    _Alignas(PROCESS_PAGE) struct {
        uint64_t salt;              /* 0: a child that nobody has noticed */
        uint32_t generation;        /* the same, shorter */
        _Atomic(uint32_t) noticing; /* somebody is about to change that, 1, or has, 2; 0: a child */
    };
    char whole[PROCESS_PAGE];
};

extern union process_page process_page __attribute__((visibility("hidden")));

/*
 * As it is: 0 in a child that nobody has noticed, which is nobody's.  Not atomic, and so an
 * operand of the addition that uses it: it changes once in a process, while that has only
 * one thread; or, after a fork without handlers, before process_noticed().  Who reads it earlier
 * than that, whether 0 or new, finds by it no slot and no group that is right, and so takes a
 * lock, which begins with process_salt_now().
 */
static ALWAYS_INLINE uint64_t process_salt(void)
{
    return process_page.salt;
}

/*
 * Have salt and generation, and what in_child has found, been written?  The salt alone does not
 * tell: a thread may see it before it sees what was written before it.
 */
#ifndef process_noticed /* a build for tests has its own */
static inline bool process_noticed(void)
{
    return atomic_load_acquire(&process_page.noticing) == 2; /* [PROCESS] */
}
#endif

void process_notice(void);

/* The same, never 0, and whatever belongs to it can be used. */
static inline uint64_t process_salt_now(void)
{
    if (UNLIKELY(!process_noticed()))
        process_notice();
    return process_salt();
}

/* As it is, shorter, for what has less room; its two low bits are 0. */
static ALWAYS_INLINE uint32_t process_generation(void)
{
    return process_page.generation;
}

/* In a forked child, by who is alone with it: writes only what changes; the rest is not copied. */
#define process_mend(p, v)                                                                         \
    do {                                                                                           \
        if (atomic_load_relaxed(p) != (v))                                                         \
            atomic_store_relaxed((p), (v)); /* alone with it */                                    \
    } while (0)

/*
 * Once, before anything else.  in_child is run in each child, by whoever notices it first: by
 * the handler, which is the thread that forked, or by any thread.
 */
void process_init(void (*in_child)(bool by_handler));

/* The handler of pthread_atfork(), in the child. */
void process_forked(void);

#endif
