/* SPDX-License-Identifier: BSD-2-Clause */
/* The comparison of two keys of equal length, and copies of short ones. */
#ifndef SFLIGHT_BYTES_H
#define SFLIGHT_BYTES_H

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { BYTES_SHORT = 24 };

/* Most keys are short: these are compared by overlapping words, without a call. */
static ALWAYS_INLINE bool bytes_equal(const unsigned char *a, const unsigned char *b, size_t len)
{
    uint64_t x[3], y[3];

    if (UNLIKELY(len < 8 || len > BYTES_SHORT))
        return len == 0 || memcmp(a, b, len) == 0;
    size_t middle = len > 16 ? 8 : 0;
    memcpy(&x[0], a, 8);
    memcpy(&y[0], b, 8);
    memcpy(&x[1], a + middle, 8);
    memcpy(&y[1], b + middle, 8);
    memcpy(&x[2], a + len - 8, 8);
    memcpy(&y[2], b + len - 8, 8);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

/* Copies a short key, by overlapping words; false, and nothing is copied, if it is longer. */
static ALWAYS_INLINE bool bytes_copy_short(unsigned char *to, const unsigned char *from, size_t len)
{
    if (LIKELY(len - 8 <= 16 - 8)) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len > BYTES_SHORT) {
        return false;
    } else if (len > 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len != 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
    return true;
}

#endif
