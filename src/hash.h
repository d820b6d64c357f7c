/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hash of a key: XXH3 with the group's random seed, so that nobody can
 * choose keys that share a bucket without knowing it.
 */
#ifndef SFLIGHT_HASH_H
#define SFLIGHT_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_key(const void *key, size_t len, uint64_t seed)
{
#ifdef SFLIGHT_TEST_HASH /* a build for tests: every key gets this hash */
    (void)key, (void)len, (void)seed;
    return SFLIGHT_TEST_HASH;
#else
    return XXH3_64bits_withSeed(key, len, seed);
#endif
}

#endif
