/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structs that may grow.  The functions without _sized have the layouts of 0.1.0; the others are
 * told what their caller has.  Where that is this library's layout, the structs are filled where
 * they stand; otherwise they are filled here and copied.
 */
#ifndef SFLIGHT_SIZES_H
#define SFLIGHT_SIZES_H

#include "../include/singleflight.h"

#include <string.h>

#define SIZES_END(type, last) (offsetof(type, last) + sizeof(((type *)NULL)->last))

_Static_assert(SIZES_END(sflight_options, runtime) == SFLIGHT_SIZE_OPTIONS, "as in 0.1.0");
_Static_assert(SIZES_END(sflight_stats, bytes) == SFLIGHT_SIZE_STATS, "as in 0.1.0");
_Static_assert(SIZES_END(sflight_result, hold) == SFLIGHT_SIZE_RESULT, "as in 0.1.0");
_Static_assert(offsetof(sflight_completion, result) + SFLIGHT_SIZE_RESULT ==
                   SFLIGHT_SIZE_COMPLETION,
               "as in 0.1.0");
_Static_assert(SIZES_END(sflight_completion, result) == sizeof(sflight_completion),
               "the result is last: it may grow");
_Static_assert(SIZES_END(sflight_options, durations) % _Alignof(sflight_options) == 0,
               "no padding, which could be anything, stands where a later member will");

enum {
    SIZES_MAX_OPTIONS = 4096, /* more is no struct_size */
    SIZES_CALLBACK_RESULT = 128,
    SIZES_CALLBACK_INFO = 128,
};

_Static_assert(sizeof(sflight_result) <= SIZES_CALLBACK_RESULT, "there is room for a callback's");
_Static_assert(sizeof(sflight_info) <= SIZES_CALLBACK_INFO, "there is room for a callback's");

/* Copies what both know; the rest of the caller's is zeroed. */
static inline void sizes_copy(void *to, size_t size, const void *from, size_t from_size)
{
    size_t both = size < from_size ? size : from_size;

    memcpy(to, from, both);
    memset((char *)to + both, 0, size - both);
}

#endif
