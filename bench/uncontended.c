/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one call costs that nobody joins: run and release, one thread, 13-byte
 * keys.  Every implementation runs the same loop, in turns, round after round;
 * the fastest round of each counts, for whatever else the machine does can only
 * slow a round down.
 *
 *     uncontended [ROUNDS [CALLS_PER_ROUND]]
 */
#include "baseline/flight.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { N_KEYS = 64, KEY_LEN = 13 };

static char keys[N_KEYS][KEY_LEN + 1];

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct work {
    const struct flight_ops *ops;
    int value;
};

static int fn(sflight_call *call, void *arg)
{
    struct work *w = arg;
    w->ops->set(call, &w->value, sizeof(w->value), NULL, NULL);
    return 0;
}

/* Nanoseconds for each call. */
static double round_of(const struct flight_ops *ops, sflight_group *g, long n)
{
    struct work w = {ops, 0};
    uint64_t begin = now_ns();
    for (long i = 0; i < n; i++) {
        sflight_result r;
        if (ops->run(g, keys[i % N_KEYS], KEY_LEN, fn, &w, &r) != 0 || r.value != &w.value)
            abort();
        ops->release(&r);
    }
    return (double)(now_ns() - begin) / (double)n;
}

/* Below this nothing of the kind can go: hash, key copy and three locked operations. */
static double round_of_limit(long n)
{
    static struct {
        char key[KEY_LEN + 3];
        _Alignas(64) _Atomic uint64_t word;
    } own;
    uint64_t begin = now_ns();
    for (long i = 0; i < n; i++) {
        const char *key = keys[i % N_KEYS];
        uint64_t hash = XXH3_64bits_withSeed(key, KEY_LEN, 1);
        __builtin_memcpy(own.key, key, KEY_LEN);
        __asm__ __volatile__("" : : "r"(own.key) : "memory");
        own.word += hash;
        own.word |= 1;
        own.word -= hash;
    }
    return (double)(now_ns() - begin) / (double)n;
}

int main(int argc, char **argv)
{
    const struct flight_ops *const all[] = {&flight_sflight, &flight_mutex64, &flight_mutex1};
    enum { N = sizeof(all) / sizeof(all[0]) };
    long rounds = argc > 1 ? atol(argv[1]) : 40;
    long n = argc > 2 ? atol(argv[2]) : 200000;
    sflight_group *groups[N];
    double best[N + 1];

    if (rounds < 1 || n < 1) {
        fprintf(stderr, "usage: %s [ROUNDS [CALLS_PER_ROUND]]\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < N_KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "product:%05d", i * 1543 % 100000);
    for (int i = 0; i < N; i++)
        if (all[i]->create(&groups[i], 0) != 0)
            return 1;
    for (long round = 0; round <= rounds; round++) {
        for (int i = 0; i <= N; i++) {
            double ns = i < N ? round_of(all[i], groups[i], n) : round_of_limit(n);
            if (round <= 1 || ns < best[i]) /* round 0 warms up */
                best[i] = ns;
        }
    }
    printf("%-14s %10s %10s\n", "", "ns/call", "of mutex64");
    for (int i = 0; i <= N; i++)
        printf("%-14s %10.1f %10.2f\n", i < N ? all[i]->name : "limit", best[i], best[i] / best[1]);
    for (int i = 0; i < N; i++)
        if (all[i]->destroy(groups[i]) != 0)
            return 1;
    return 0;
}
