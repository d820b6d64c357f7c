/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disjoint.c - do threads that want different things disturb each other?  Each
 * of 1..n threads asks for 16 keys of its own.  The time for a call is that of
 * all threads together: with twice the threads, and a core for each, half.
 */
#include "lib/load.h"

#include <unistd.h>

enum { N_OWN = 16 };

static struct bench_load load = {.n_own = N_OWN};

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    bench_load_round(&load, s, r);
    BENCH_CHECK(r->value[1] == 100); /* everybody led */
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];
    unsigned most = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

    bench.rounds = 60;
    bench_begin(argc, argv, "disjoint",
                "Do threads that want different things disturb each other?");
    if (bench.max != 0)
        most = (unsigned)bench.max;
    struct bench_key *keys = calloc(most, N_OWN * sizeof(*keys));
    BENCH_CHECK(keys != NULL);
    for (unsigned i = 0; i < most * N_OWN; i++)
        bench_key_set(&keys[i], i);
    load.keys = keys;
    size_t n = bench_subjects(s);
    for (unsigned threads = 1; threads <= most && bench_wants(threads, 2);
         threads = threads < most && threads * 2 > most ? most : threads * 2) {
        bench_groups_create(s, n, 0);
        load.team = bench_team_create(threads);
        bench_run(
            &(struct bench_case){
                .label = "threads", .x = threads, .metrics = BENCH_LOAD_METRICS, .round = round_of},
            s, n);
        bench_team_destroy(load.team);
        bench_groups_destroy(s, n);
    }
    free(keys);
    return bench_end();
}
