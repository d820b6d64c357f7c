/* SPDX-License-Identifier: BSD-2-Clause */
/* random.h - choices that nobody foresees, and that are the same in each run. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>

/* The state to begin with; each n has its own. */
static inline uint64_t random_from(uint64_t n)
{
    return (n + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1;
}

/* xorshift64 */
static inline uint32_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

/* 0 to n - 1 */
static inline unsigned random_pick(uint64_t *state, unsigned n)
{
    return random_next(state) % n;
}

#endif
