/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the code tells the compiler (likely branches, inlining, alignment), and what the
 * compiler tells the code: which sanitizer it builds for.
 */
#ifndef SFLIGHT_COMPILER_H
#define SFLIGHT_COMPILER_H

#include <features.h>
#include <stddef.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ASSUME(x) ((x) ? (void)0 : __builtin_unreachable())
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Both supported machines have lines of 64 bytes.  If a line is larger, that costs only speed. */
#define CACHE_LINE 64

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * Do pthread_exit() and a cancellation unwind the stack?  glibc's do.  musl's run what was
 * registered by pthread_cleanup_push() and the destructors of thread-specific data, on top of
 * frames that stay as they are: no __attribute__((cleanup)) sees it.
 */
#ifdef __GLIBC__
#define EXIT_UNWINDS 1
#else
#define EXIT_UNWINDS 0
#endif

#if defined(__SANITIZE_THREAD__)
#define SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZE_THREAD 1
#endif
#endif

/*
 * The variant for helgrind and DRD, which know of atomic operations only that they are no mutexes:
 * each says what it orders.  It runs slower outside of valgrind, too.
 */
#ifdef SFLIGHT_VALGRIND
#include <valgrind/drd.h>
#include <valgrind/helgrind.h>
#define VALGRIND_TELL(addr, helgrind, drd)                                                         \
    do {                                                                                           \
        DO_CREQ_v_W(helgrind, void *, addr);                                                       \
        DO_CREQ_v_W(drd, void *, addr);                                                            \
    } while (0)
#define HAPPENS_BEFORE(addr)                                                                       \
    VALGRIND_TELL(addr, _VG_USERREQ__HG_USERSO_SEND_PRE, VG_USERREQ__DRD_ANNOTATE_HAPPENS_BEFORE)
#define HAPPENS_AFTER(addr)                                                                        \
    VALGRIND_TELL(addr, _VG_USERREQ__HG_USERSO_RECV_POST, VG_USERREQ__DRD_ANNOTATE_HAPPENS_AFTER)
#else
#define HAPPENS_BEFORE(addr) ((void)0)
#define HAPPENS_AFTER(addr) ((void)0)
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
#elif defined(SFLIGHT_VALGRIND)
#define TSAN_ACQUIRE(addr) HAPPENS_AFTER(addr)
#define TSAN_RELEASE(addr) HAPPENS_BEFORE(addr)
#else
#define TSAN_ACQUIRE(addr) ((void)(addr))
#define TSAN_RELEASE(addr) ((void)(addr))
#endif

/* Of a function: who has read what it writes over is gone, and ThreadSanitizer cannot know it. */
#ifdef SANITIZE_THREAD
#define UNSEEN_BY_TSAN __attribute__((no_sanitize("thread")))
#else
#define UNSEEN_BY_TSAN
#endif

/*
 * AddressSanitizer keeps a record of the frames on the stack.  To be called before frames are
 * given up without returning.  Weak: the program may have it where the library has not been
 * compiled for it.
 */
void __asan_handle_no_return(void) __attribute__((weak));
#define ASAN_FRAMES_GO()                                                                           \
    do {                                                                                           \
        if (__asan_handle_no_return != NULL)                                                       \
            __asan_handle_no_return();                                                             \
    } while (0)

#endif
