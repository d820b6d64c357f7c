/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zipf.c - some keys are wanted much more often than others: 100,000 keys, the
 * k-th of them with a probability of 1/k^0.99, fn computes for 1 us.
 */
#include "lib/load.h"

#include <gsl/gsl_randist.h>
#include <gsl/gsl_rng.h>
#include <math.h>

enum { N_KEYS = 100000, N_ORDER = 1 << 18 };

static struct bench_load load = {.n_order = N_ORDER, .fn_ns = 1000};

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    bench_load_round(&load, s, r);
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];
    struct bench_key *keys = calloc(N_KEYS, sizeof(*keys));
    uint32_t *order = calloc(N_ORDER, sizeof(*order));
    double *weights = calloc(N_KEYS, sizeof(*weights));
    BENCH_CHECK(keys != NULL && order != NULL && weights != NULL);

    bench_begin(argc, argv, "zipf",
                "What does a call cost when a few keys are hot and many are not?");
    for (unsigned i = 0; i < N_KEYS; i++) {
        bench_key_set(&keys[i], i);
        weights[i] = pow(i + 1, -0.99);
    }
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);
    gsl_ran_discrete_t *zipf = gsl_ran_discrete_preproc(N_KEYS, weights);
    for (unsigned i = 0; i < N_ORDER; i++)
        order[i] = (uint32_t)gsl_ran_discrete(rng, zipf);
    gsl_ran_discrete_free(zipf);
    gsl_rng_free(rng);
    free(weights);
    load.keys = keys;
    load.order = order;

    size_t n = bench_subjects(s);
    for (unsigned threads = 1; bench_wants(threads, 8) && (bench.max != 0 || threads <= 256);
         threads *= 4) {
        bench_groups_create(s, n, 0);
        load.team = bench_team_create(threads);
        bench_run(&(struct bench_case){.label = "threads",
                                       .x = threads,
                                       .longer = 1 + threads / 64.0,
                                       .metrics = BENCH_LOAD_METRICS,
                                       .round = round_of},
                  s, n);
        bench_team_destroy(load.team);
        bench_groups_destroy(s, n);
    }
    free(keys);
    free(order);
    return bench_end();
}
