/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inflight.c - does a call cost more when many others are in flight?
 *   steady    1..1,000,000 calls in flight: the oldest is ended and a new one
 *             begun, again and again, after each has been replaced once
 *   grow      from none to as many: the mean for a new one, and the longest
 *             pause, which is the minimum over the rounds of the longest of
 *             each round (a pause in which the thread was preempted is no pause
 *             of the table's)
 * "expected" is the library in a group that was told how many.  "limit" is what no
 * table can do without: the hash, a copy of the key into a record, and one locked
 * operation on the key's word for its beginning and one for its end.
 */
#include "lib/bench.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct bench_key *keys; /* 2 * n_calls */
static size_t n_calls;

/* ----------------------------------------------------------------- the limit */

struct limit_record {
    _Alignas(64) char key[BENCH_KEY_LEN];
    uint64_t hash;
    struct limit_record *next; /* spare */
};

/* Each word is the sum of the addresses of the records in it. */
struct limit {
    size_t mask;
    _Atomic uint64_t *words;
    struct limit_record *records, *spare;
    size_t n_made;
};
static struct limit limit;

static int limit_create(sflight_group **out, size_t expected_inflight)
{
    (void)expected_inflight;
    limit = (struct limit){.mask = 1};
    while (limit.mask < 2 * n_calls)
        limit.mask *= 2;
    limit.words = calloc(limit.mask--, sizeof(*limit.words));
    limit.records = aligned_alloc(64, (n_calls + 1) * sizeof(*limit.records));
    BENCH_CHECK(limit.words != NULL && limit.records != NULL);
    *out = (sflight_group *)&limit;
    return 0;
}

static int limit_lead(sflight_group *g, const void *key, size_t key_len, sflight_call **call)
{
    struct limit_record *r = limit.spare;
    (void)g;
    if (r != NULL)
        limit.spare = r->next;
    else
        r = &limit.records[limit.n_made++];
    memcpy(r->key, key, BENCH_KEY_LEN);
    r->hash = XXH3_64bits_withSeed(key, key_len, 1);
    atomic_fetch_add(&limit.words[r->hash & limit.mask], (uintptr_t)r);
    *call = (sflight_call *)r;
    return 0;
}

static void limit_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                      void *ctx)
{
    (void)call, (void)value, (void)size, (void)destroy, (void)ctx;
}

static void limit_finish(sflight_call *call, int status)
{
    struct limit_record *r = (struct limit_record *)call;
    (void)status;
    atomic_fetch_sub(&limit.words[r->hash & limit.mask], (uintptr_t)r);
    r->next = limit.spare;
    limit.spare = r;
}

static int limit_destroy(sflight_group *g)
{
    (void)g;
    for (size_t i = 0; i <= limit.mask; i++)
        BENCH_CHECK(limit.words[i] == 0);
    free(limit.words);
    free(limit.records);
    return 0;
}

static const struct flight_ops limit_ops = {.name = "limit",
                                            .create = limit_create,
                                            .lead = limit_lead,
                                            .finish = limit_finish,
                                            .set = limit_set,
                                            .destroy = limit_destroy};

/* --------------------------------------- the library, told how many there will be */

static int expecting_create(sflight_group **out, size_t expected_inflight)
{
    (void)expected_inflight;
    return flight_sflight.create(out, n_calls);
}

/* -------------------------------------------------------------- the question */

struct flight {
    sflight_call **calls; /* of the keys from first, in a ring */
    size_t slot, next;
};

static sflight_call *lead(struct bench_subject *s, size_t i)
{
    sflight_call *call;
    BENCH_CHECK(s->ops->lead(s->group, keys[i].text, BENCH_KEY_LEN, &call) == 0 && call != NULL);
    s->ops->set(call, &keys[i], sizeof(keys[i]), NULL, NULL);
    return call;
}

/* Ends the oldest and begins a new one. */
static void replace(struct bench_subject *s, struct flight *f)
{
    s->ops->finish(f->calls[f->slot], 0);
    f->calls[f->slot] = lead(s, f->next);
    if (++f->slot == n_calls)
        f->slot = 0;
    if (++f->next == 2 * n_calls)
        f->next = 0;
}

static void steady(struct bench_subject *s, struct bench_round *r)
{
    struct flight *f = s->own;
    static struct bench_samples samples;
    uint64_t begin = bench_now_ns();
    for (uint64_t i = 0; i < r->n; i++) {
        uint64_t from = i % 16 == 0 ? bench_now_ns() : 0;
        replace(s, f);
        if (from != 0)
            bench_sample(&samples, bench_now_ns() - from);
    }
    r->value[0] = (double)(bench_now_ns() - begin) / (double)r->n;
    r->n_done = r->n;
    bench_round_samples(r, &samples);
}

static long n_preempted(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return u.ru_nivcsw;
}

static void grow(struct bench_subject *s, struct bench_round *r)
{
    struct flight *f = s->own;
    uint64_t longest = 0, begin, last, now;
    BENCH_CHECK(s->ops->create(&s->group, 0) == 0);
    long preempted = n_preempted();
    begin = last = bench_now_ns();
    for (size_t i = 0; i < n_calls; i++) {
        f->calls[i] = lead(s, i);
        now = bench_now_ns();
        if (now - last > longest && now - last > 20000) {
            long before = preempted;
            preempted = n_preempted();
            if (preempted == before)
                longest = now - last;
            now = bench_now_ns();
        } else if (now - last > longest) {
            longest = now - last;
        }
        last = now;
    }
    r->value[0] = (double)(last - begin) / (double)n_calls;
    r->value[1] = (double)longest / 1000;
    r->n_done = n_calls;
    for (size_t i = 0; i < n_calls; i++)
        s->ops->finish(f->calls[i], 0);
    /* All keys are free again. */
    for (size_t i = 0; i < n_calls; i += n_calls / 64 + 1) {
        sflight_call *call = lead(s, i);
        s->ops->finish(call, 0);
    }
    BENCH_CHECK(s->ops->destroy(s->group) == 0);
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];
    double most = 1e6;

    bench_begin(argc, argv, "inflight", "Does a call cost more when many others are in flight?");
    if (bench.smoke)
        most = 1000;
    if (bench.max != 0)
        most = bench.max;
    size_t n = bench_subjects(s);
    struct flight_ops expecting = flight_sflight;
    expecting.create = expecting_create;
    n = bench_subject_add(s, n, "expected", &expecting, NULL);
    n = bench_subject_add(s, n, "limit", &limit_ops, NULL);
    keys = calloc((size_t)(2 * most), sizeof(*keys));
    BENCH_CHECK(keys != NULL);
    for (size_t i = 0; i < (size_t)(2 * most); i++)
        bench_key_set(&keys[i], i * 7919);

    for (n_calls = 1; (double)n_calls <= most; n_calls *= 10) {
        struct flight f[BENCH_SUBJECTS];
        for (size_t i = 0; i < n; i++) {
            f[i] = (struct flight){calloc(n_calls, sizeof(sflight_call *)), 0, n_calls};
            BENCH_CHECK(f[i].calls != NULL);
            s[i].own = &f[i];
        }
        if (n_calls >= 1000)
            bench_run(&(struct bench_case){.label = "grow",
                                           .x = (double)n_calls,
                                           .fewer = n_calls > 100000 ? 5 : 1,
                                           .metrics = {{"call", "ns"}, {"pause", "us"}},
                                           .round = grow},
                      s, n);
        bench_groups_create(s, n, 0);
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n_calls; k++)
                f[i].calls[k] = lead(&s[i], k);
            for (size_t k = 0; k < n_calls; k++)
                replace(&s[i], &f[i]); /* tables have grown meanwhile: that is over now */
        }
        bench_run(&(struct bench_case){.label = "steady",
                                       .x = (double)n_calls,
                                       .sized = true,
                                       .metrics = {{"call", "ns"}},
                                       .round = steady},
                  s, n);
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n_calls; k++)
                s[i].ops->finish(f[i].calls[k], 0);
            free(f[i].calls);
        }
        bench_groups_destroy(s, n);
    }
    free(keys);
    return bench_end();
}
