/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uncontended.c - what one call costs that nobody joins, one thread, 64 keys in
 * turn:
 *   call      run and release
 *   permit    a key is claimed and the call ended, without fn
 *   taken     the same as call, where another call of the key is in flight that
 *             was forgotten: its bucket is taken
 * "limit" is what nothing of the kind can do without:
 * the hash, a copy of the key and two locked operations, to begin and to end, on a
 * line that nobody else has.
 *
 * instructions.c counts the instructions of the same.
 */
#include "lib/bench.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { N_KEYS = 64, EVERY = 64 };

static char keys[N_KEYS][128];
static size_t key_len;
static struct bench_samples samples;

struct work {
    const struct flight_ops *ops;
    uint64_t n_runs;
};

static int fn(sflight_call *call, void *arg)
{
    struct work *w = arg;
    w->n_runs++;
    w->ops->set(call, w, sizeof(*w), NULL, NULL);
    return 0;
}

static void measured(struct bench_subject *s, uint64_t n)
{
    struct work w = {s->ops, 0};
    for (uint64_t i = 0; i < n; i++) {
        uint64_t begin = i % EVERY == 0 ? bench_now_ns() : 0;
        sflight_result r;
        int rc = s->ops->run(s->group, keys[i % N_KEYS], key_len, fn, &w, &r);
        BENCH_CHECK(rc == 0 && r.value == &w && r.leader && !r.shared);
        s->ops->release(&r);
        if (begin != 0)
            bench_sample(&samples, bench_now_ns() - begin);
    }
    BENCH_CHECK(w.n_runs == n);
}

static void measured_permit(struct bench_subject *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        sflight_call *call;
        int rc = s->ops->lead(s->group, keys[i % N_KEYS], key_len, &call);
        BENCH_CHECK(rc == 0 && call != NULL);
        s->ops->finish(call, 0);
    }
}

/* In another group: forgotten calls of all keys. */
struct taken {
    struct bench_subject s;
    sflight_call *calls[N_KEYS];
};

static void take(struct taken *t, const struct bench_subject *s)
{
    t->s = *s;
    bench_groups_create(&t->s, 1, 0);
    for (int i = 0; i < N_KEYS && s->ops != NULL; i++) {
        int rc = s->ops->lead(t->s.group, keys[i], key_len, &t->calls[i]);
        BENCH_CHECK(rc == 0 && t->calls[i] != NULL);
        BENCH_CHECK(s->ops->forget(t->s.group, keys[i], key_len) == 1);
    }
}

static void give_back(struct taken *t)
{
    for (int i = 0; i < N_KEYS && t->s.ops != NULL; i++)
        t->s.ops->finish(t->calls[i], 0);
    bench_groups_destroy(&t->s, 1);
}

static void measured_limit(uint64_t n)
{
    static struct {
        char key[128];
        _Alignas(64) _Atomic uint64_t word;
    } own;
    for (uint64_t i = 0; i < n; i++) {
        const char *key = keys[i % N_KEYS];
        uint64_t hash = XXH3_64bits_withSeed(key, key_len, 1);
        memcpy(own.key, key, key_len);
        __asm__ __volatile__("" : : "r"(own.key) : "memory");
        own.word += hash;
        own.word -= hash;
    }
}

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    struct taken *t = s->own;
    uint64_t at[4] = {bench_now_ns()};
    r->n_done = r->n;
    if (s->ops == NULL) {
        measured_limit(r->n);
        r->value[0] = (double)(bench_now_ns() - at[0]) / (double)r->n;
        r->value[1] = r->value[2] = r->value[0];
        return;
    }
    measured(&t->s, r->n);
    samples.n = 0;
    at[1] = bench_now_ns();
    measured_permit(s, r->n);
    at[2] = bench_now_ns();
    measured(s, r->n);
    at[3] = bench_now_ns();
    for (int i = 0; i < 3; i++) /* the last one first */
        r->value[i] = (double)(at[3 - i] - at[2 - i]) / (double)r->n;
    bench_round_samples(r, &samples);
}

int main(int argc, char **argv)
{
    static const size_t lengths[] = {13, 100};
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 80;
    bench.round_ms = 2;
    bench_begin(argc, argv, "uncontended", "What does one call cost that nobody joins?");
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "limit", NULL, NULL);
    for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
        key_len = lengths[k];
        for (int i = 0; i < N_KEYS; i++)
            snprintf(keys[i], sizeof(keys[i]), "product:%05d%0*d", i * 1543 % 100000,
                     (int)key_len - 13 + 1, i);
        struct taken taken[BENCH_SUBJECTS];
        bench_groups_create(s, n, 0);
        for (size_t i = 0; i < n; i++) {
            take(&taken[i], &s[i]);
            s[i].own = &taken[i];
        }
        bench_run(
            &(struct bench_case){.label = "key bytes",
                                 .x = (double)key_len,
                                 .sized = true,
                                 .metrics = {{"call", "ns"}, {"permit", "ns"}, {"taken", "ns"}},
                                 .round = round_of},
            s, n);
        for (size_t i = 0; i < n; i++)
            give_back(&taken[i]);
        bench_groups_destroy(s, n);
    }
    return bench_end();
}
