/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preconditions of functions inside the library.  A build with -DSFLIGHT_CHECKED, as
 * those for tests, sanitizers and the explorer are, checks them and aborts with one line
 * that names the place; in any other build they cost nothing and are not evaluated.
 *
 * And preconditions of users.  A build with -DSFLIGHT_DEBUG, which is one for users who
 * look for their own mistakes, has those of the library and these: what is wrong is found
 * by the room `handle`, and the line names the user's function.
 */
#ifndef SFLIGHT_REQUIRE_H
#define SFLIGHT_REQUIRE_H

#include <stdbool.h>

#if defined(SFLIGHT_DEBUG) && !defined(SFLIGHT_CHECKED)
#define SFLIGHT_CHECKED
#endif

#ifdef SFLIGHT_DEBUG
/* A user's mistake in this function, which gets no further. */
_Noreturn void require_misused(const char *function, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#endif

#ifdef SFLIGHT_CHECKED

/* The calling thread is inside a section (reclaim.h). */
extern _Thread_local bool require_section __attribute__((visibility("hidden")));

_Noreturn void require_failed(const char *file, int line, const char *what);

#define REQUIRE(condition) ((condition) ? (void)0 : require_failed(__FILE__, __LINE__, #condition))
#define REQUIRE_SECTION_BEGINS() ((void)(require_section = true))
#define REQUIRE_SECTION_ENDS() ((void)(require_section = false))
#define REQUIRE_IN_SECTION() REQUIRE(require_section)
#define REQUIRE_NO_SECTION() REQUIRE(!require_section)

#else

#define REQUIRE(condition) ((void)sizeof((condition) ? 1 : 0))
#define REQUIRE_SECTION_BEGINS() ((void)0)
#define REQUIRE_SECTION_ENDS() ((void)0)
#define REQUIRE_IN_SECTION() ((void)0)
#define REQUIRE_NO_SECTION() ((void)0)

#endif

/* A shared word as it is now, for a condition of REQUIRE() only: it orders nothing. */
#define require_word(p) atomic_load_relaxed(p)

#endif
