/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the code tells the compiler (likely branches, inlining, alignment), and what the
 * compiler tells the code: which sanitizer it builds for.
 */
#ifndef SFLIGHT_COMPILER_H
#define SFLIGHT_COMPILER_H

#include <stddef.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Both supported machines have lines of 64 bytes.  If a line is larger, that costs only speed. */
#define CACHE_LINE 64

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#if defined(__SANITIZE_THREAD__)
#define SANITIZE_THREAD 1
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZE_ADDRESS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZE_THREAD 1
#elif __has_feature(address_sanitizer)
#define SANITIZE_ADDRESS 1
#endif
#endif

/*
 * ThreadSanitizer sees neither fences nor the inline assembly of ck.  These two macros tell
 * it what an epoch orders.
 */
#ifdef SANITIZE_THREAD
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define TSAN_ACQUIRE(addr) __tsan_acquire(addr)
#define TSAN_RELEASE(addr) __tsan_release(addr)
#else
#define TSAN_ACQUIRE(addr) ((void)(addr))
#define TSAN_RELEASE(addr) ((void)(addr))
#endif

/*
 * AddressSanitizer keeps a record of the frames on the stack.  To be called before frames are
 * given up without returning.
 */
#ifdef SANITIZE_ADDRESS
void __asan_handle_no_return(void);
#define ASAN_FRAMES_GO() __asan_handle_no_return()
#else
#define ASAN_FRAMES_GO() ((void)0)
#endif

#endif
