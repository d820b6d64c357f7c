/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one door to the hash of a key: XXH3 with the group's random seed.  It is no PRF: who does
 * not know the seed cannot choose keys that share a bucket, but may find such by measuring.  What
 * that costs is bounded by the calls in flight, all of which a caller passes then.
 */
#ifndef SFLIGHT_HASH_H
#define SFLIGHT_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>

/* The hash of len bytes.  key may be NULL if len is 0. */
static inline __attribute__((always_inline)) uint64_t hash_key(const void *key, size_t len,
                                                               uint64_t seed)
{
#ifdef SFLIGHT_TEST_HASH /* a build for tests: every key gets this hash */
    (void)key, (void)len, (void)seed;
    return SFLIGHT_TEST_HASH;
#else
    if (len - 9 <= 16 - 9) /* most keys: without a call */
        return XXH3_len_9to16_64b(key, len, XXH3_kSecret, seed);
    return XXH3_64bits_withSeed(key, len, seed);
#endif
}

#endif
