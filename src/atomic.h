/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one door to shared memory: every access to a word that another thread may touch goes
 * through these names, and only this file knows how they are made.  The order is part of the
 * name, so that it can be read where it is used.  Each use that orders something carries a
 * tag, such as [PUB-RESULT]; src/README.md lists each tag with both of its ends.
 */
#ifndef SFLIGHT_ATOMIC_H
#define SFLIGHT_ATOMIC_H

#include "compiler.h"
#include "require.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Valgrind's tools are told of whatever orders something, in the variant for them. */
#ifdef SFLIGHT_VALGRIND
#define atomic_tell_after(p, operation)                                                            \
    __extension__({                                                                                \
        __auto_type found_ = (operation);                                                          \
        HAPPENS_AFTER(p);                                                                          \
        found_;                                                                                    \
    })
#define atomic_tell(p, operation)                                                                  \
    __extension__({                                                                                \
        HAPPENS_BEFORE(p);                                                                         \
        atomic_tell_after(p, operation);                                                           \
    })
#else
#define atomic_tell_after(p, operation) (operation)
#define atomic_tell(p, operation) (operation)
#endif

#define atomic_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define atomic_load_acquire(p) atomic_tell_after(p, atomic_load_explicit((p), memory_order_acquire))
#define atomic_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define atomic_store_release(p, v)                                                                 \
    do {                                                                                           \
        HAPPENS_BEFORE(p);                                                                         \
        atomic_store_explicit((p), (v), memory_order_release);                                     \
    } while (0)

#define atomic_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define atomic_add_release(p, v)                                                                   \
    atomic_tell(p, atomic_fetch_add_explicit((p), (v), memory_order_release))
#define atomic_add_acq_rel(p, v)                                                                   \
    atomic_tell(p, atomic_fetch_add_explicit((p), (v), memory_order_acq_rel))
#define atomic_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define atomic_sub_release(p, v)                                                                   \
    atomic_tell(p, atomic_fetch_sub_explicit((p), (v), memory_order_release))
#define atomic_sub_acq_rel(p, v)                                                                   \
    atomic_tell(p, atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel))
#define atomic_or_relaxed(p, v) atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define atomic_or_acquire(p, v)                                                                    \
    atomic_tell(p, atomic_fetch_or_explicit((p), (v), memory_order_acquire))
#define atomic_or_release(p, v)                                                                    \
    atomic_tell(p, atomic_fetch_or_explicit((p), (v), memory_order_release))
#define atomic_or_acq_rel(p, v)                                                                    \
    atomic_tell(p, atomic_fetch_or_explicit((p), (v), memory_order_acq_rel))
#define atomic_and_relaxed(p, v) atomic_fetch_and_explicit((p), (v), memory_order_relaxed)
#define atomic_and_acquire(p, v)                                                                   \
    atomic_tell(p, atomic_fetch_and_explicit((p), (v), memory_order_acquire))
#define atomic_swap_acquire(p, v)                                                                  \
    atomic_tell(p, atomic_exchange_explicit((p), (v), memory_order_acquire))
#define atomic_swap_release(p, v)                                                                  \
    atomic_tell(p, atomic_exchange_explicit((p), (v), memory_order_release))
#define atomic_swap_acq_rel(p, v)                                                                  \
    atomic_tell(p, atomic_exchange_explicit((p), (v), memory_order_acq_rel))

/*
 * Strong: fails only if the word has another value than *expected, which then gets the value
 * found: with acquire if the exchange itself has acquire, otherwise relaxed.
 */
#define atomic_cas_with(p, expected, v, order, failed)                                             \
    atomic_tell(p, atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_##order, memory_order_##failed))
#define atomic_cas_relaxed(p, expected, v) atomic_cas_with(p, expected, v, relaxed, relaxed)
#define atomic_cas_acquire(p, expected, v) atomic_cas_with(p, expected, v, acquire, acquire)
#define atomic_cas_release(p, expected, v) atomic_cas_with(p, expected, v, release, relaxed)
#define atomic_cas_acq_rel(p, expected, v) atomic_cas_with(p, expected, v, acq_rel, acquire)

/*
 * Adds to a counter that only the calling thread writes, while others read it.  It is no
 * read-modify-write, so with a second writer additions would be lost.
 */
#define atomic_add_single_writer(p, v) atomic_store_release((p), atomic_load_relaxed(p) + (v))

/*
 * A fence is there to keep a store before a later load, and for nothing else.  What is to be
 * acquired or released is acquired or released by a load, a store or a read-modify-write.
 * The exception is reclaim.c, which says what its fences are for.
 */
#ifdef SANITIZE_THREAD
/* ThreadSanitizer has no fences; what they order is annotated where it matters. */
#define atomic_fence_acquire() ((void)0)
#define atomic_fence_seq_cst() ((void)0)
#else
#define atomic_fence_acquire() atomic_thread_fence(memory_order_acquire)
#define atomic_fence_seq_cst() atomic_thread_fence(memory_order_seq_cst)
#endif

/*
 * Keeps the compiler from moving accesses across it.  For fork() by another thread: its child
 * finds the memory as this thread had left it at some instruction.
 */
#define atomic_fence_compiler() atomic_signal_fence(memory_order_seq_cst)

/*
 * Orders a read-modify-write, and the stores before it, before later loads.  On x86 every
 * read-modify-write is a full barrier already, so only the compiler must be held back (Intel
 * SDM vol. 3A, 9.2.3.9).
 */
#if defined(__x86_64__) && !defined(SANITIZE_THREAD)
#define atomic_fence_after_rmw() atomic_signal_fence(memory_order_seq_cst)
#else
#define atomic_fence_after_rmw() atomic_fence_seq_cst()
#endif

#endif
