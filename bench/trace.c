/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace.c - a real shop's traffic (data/README.md): 64 threads take its 95,607
 * product pages in order, each as soon as it has the one before; making a page
 * takes 200 us of somebody else's time.  How long does it all take, how many
 * pages are made?  "none" makes each of them.
 */
#include "lib/load.h"

#include <endian.h>
#include <stdatomic.h>
#include <string.h>

/* clang-format off */
__asm__(".pushsection .rodata\n"
        "trace_begin: .incbin \"" TRACE "\"\n"
        "trace_end:\n"
        ".popsection\n");
/* clang-format on */
extern const unsigned char trace_begin[], trace_end[];

enum { N_THREADS = 64, FN_NS = 200000, N_PRODUCTS = 1 << 17 };

static struct bench_load load = {.fn_ns = FN_NS, .sleeps = true};
static uint32_t *order; /* of keys */
static uint32_t n_order;
static _Alignas(64) atomic_uint next;

/* Products are numbered as they first appear. */
static struct bench_key *read_trace(void)
{
    struct bench_key *keys = calloc(N_PRODUCTS, sizeof(*keys));
    uint32_t *seen = calloc(2 * N_PRODUCTS, sizeof(*seen)); /* product, by open addressing */
    uint32_t *number = calloc(2 * N_PRODUCTS, sizeof(*number)), n_keys = 0;
    n_order = (uint32_t)((trace_end - trace_begin) / 4);
    if (bench.smoke)
        n_order = 2000;
    order = calloc(n_order, sizeof(*order));
    BENCH_CHECK(keys != NULL && seen != NULL && number != NULL && order != NULL);
    BENCH_CHECK(n_order <= N_PRODUCTS);
    for (uint32_t i = 0; i < n_order; i++) {
        uint32_t product;
        memcpy(&product, trace_begin + 4 * (size_t)i, 4);
        product = be32toh(product);
        uint32_t slot = product * 2654435761u % (2 * N_PRODUCTS);
        while (number[slot] != 0 && seen[slot] != product)
            slot = (slot + 1) % (2 * N_PRODUCTS);
        if (number[slot] == 0) {
            seen[slot] = product;
            bench_key_set(&keys[n_keys], product);
            number[slot] = ++n_keys;
        }
        order[i] = number[slot] - 1;
    }
    free(seen);
    free(number);
    return keys;
}

static void body(struct bench_thread *t, void *arg)
{
    uint32_t i;
    (void)arg;
    while ((i = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)) < n_order)
        bench_load_call(&load, order[i], t);
}

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    load.s = s;
    next = 0;
    uint64_t ns = bench_team_run(load.team, body, NULL, 0);
    struct bench_counts sum = bench_team_sum(load.team, r);
    bench_check_counts(&sum);
    BENCH_CHECK(sum.n_calls == n_order);
    r->value[0] = (double)ns / 1e6;
    r->value[1] = (double)sum.n_runs;
    r->n_done = n_order;
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 7;
    bench_begin(argc, argv, "trace",
                "How long does a real shop's traffic take, 200 us for a page?");
    struct bench_key *keys = read_trace();
    load.keys = keys;
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "none", &flight_none, NULL);
    bench_groups_create(s, n, 0);
    load.team = bench_team_create(N_THREADS);
    bench_run(&(struct bench_case){.label = "threads",
                                   .x = N_THREADS,
                                   .metrics = {{"all", "ms"}, {"runs", ""}},
                                   .round = round_of},
              s, n);
    bench_team_destroy(load.team);
    bench_groups_destroy(s, n);
    free(keys);
    free(order);
    return bench_end();
}
