/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hotkey.c - everybody wants the same key, all the time: 2..256 threads, fn
 * computes for 0, 1, 10 or 100 us.  The time for a call is that of all threads
 * together: perfect coalescing, with a core for each thread, is the time of fn
 * divided by the number of threads; "limit" is that, measured.
 */
#include "lib/load.h"

static struct bench_load load = {.n_order = 1};

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    bench_load_round(&load, s, r);
}

int main(int argc, char **argv)
{
    static const unsigned fn_us[] = {0, 1, 10, 100};
    static const uint32_t only = 0;
    struct bench_subject s[BENCH_SUBJECTS];
    struct bench_key key;

    bench_begin(argc, argv, "hotkey", "What does a call cost when everybody wants the same key?");
    bench_key_set(&key, 42);
    load.keys = &key;
    load.order = &only;
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "limit", NULL, NULL);
    for (unsigned threads = 2; bench_wants(threads, 8) && (bench.max != 0 || threads <= 256);
         threads *= 2) {
        load.team = bench_team_create(threads);
        for (size_t i = 0; i < sizeof(fn_us) / sizeof(fn_us[0]); i++) {
            char label[32];
            snprintf(label, sizeof(label), "fn %u us", fn_us[i]);
            load.fn_ns = fn_us[i] * 1000;
            bench_groups_create(s, n, 0);
            bench_run(&(struct bench_case){.label = label,
                                           .x = threads,
                                           .longer = 1 + threads / 64.0,
                                           .metrics = BENCH_LOAD_METRICS,
                                           .round = round_of},
                      s, n);
            bench_groups_destroy(s, n);
        }
        bench_team_destroy(load.team);
    }
    return bench_end();
}
