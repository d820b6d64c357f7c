/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c - how much memory does it take?  As the allocator counts it.
 *   group     an empty group
 *   thread    each of 64 threads that has used the group and lives on
 *   call      each of n calls in flight, tables included
 *   storm     what a group keeps after 64 threads have run many calls each and
 *             are gone, and no call is in flight
 */
#include "lib/bench.h"

#include <malloc.h>
#include <stdint.h>

#include <jemalloc/jemalloc.h>

enum { N_THREADS = 64, N_STORM_KEYS = 1000 };

static struct bench_key *keys;
static size_t n_calls;
static struct bench_team *team;

static double allocated(void)
{
    uint64_t epoch = 1;
    size_t bytes, size = sizeof(bytes), epoch_size = sizeof(epoch);
    BENCH_CHECK(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
    BENCH_CHECK(mallctl("epoch", &epoch, &epoch_size, &epoch, epoch_size) == 0);
    BENCH_CHECK(mallctl("stats.allocated", &bytes, &size, NULL, 0) == 0);
    return (double)bytes;
}

static int fn(sflight_call *call, void *arg)
{
    struct bench_subject *s = arg;
    s->ops->set(call, s, sizeof(*s), NULL, NULL);
    return 0;
}

static void run(struct bench_subject *s, size_t key)
{
    sflight_result r;
    int rc = s->ops->run(s->group, keys[key].text, BENCH_KEY_LEN, fn, s, &r);
    BENCH_CHECK(rc == 0 && r.value == s);
    s->ops->release(&r);
}

static void create(struct bench_subject *s)
{
    BENCH_CHECK(s->ops->create(&s->group, 0) == 0);
}

static void destroy(struct bench_subject *s)
{
    BENCH_CHECK(s->ops->destroy(s->group) == 0);
}

static void group_round(struct bench_subject *s, struct bench_round *r)
{
    double before = allocated();
    create(s);
    r->value[0] = allocated() - before;
    destroy(s);
}

/* What the allocator keeps for the thread is not the group's. */
static void allocate_body(struct bench_thread *t, void *arg)
{
    (void)t, (void)arg;
    free(malloc(200));
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
}

static void once_body(struct bench_thread *t, void *arg)
{
    run(arg, t->number);
    mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
}

static void thread_round(struct bench_subject *s, struct bench_round *r)
{
    team = bench_team_create(N_THREADS);
    bench_team_run(team, allocate_body, NULL, 0);
    create(s);
    run(s, N_THREADS);
    double before = allocated();
    bench_team_run(team, once_body, s, 0);
    r->value[0] = (allocated() - before) / N_THREADS;
    bench_team_destroy(team);
    destroy(s);
}

static void call_round(struct bench_subject *s, struct bench_round *r)
{
    sflight_call **calls = calloc(n_calls, sizeof(sflight_call *));
    BENCH_CHECK(calls != NULL);
    create(s);
    double before = allocated();
    for (size_t i = 0; i < n_calls; i++) {
        int rc = s->ops->lead(s->group, keys[i].text, BENCH_KEY_LEN, &calls[i]);
        BENCH_CHECK(rc == 0 && calls[i] != NULL);
    }
    r->value[0] = (allocated() - before) / (double)n_calls;
    r->n_done = n_calls;
    for (size_t i = 0; i < n_calls; i++)
        s->ops->finish(calls[i], 0);
    destroy(s);
    free(calls);
}

static void storm_body(struct bench_thread *t, void *arg)
{
    for (size_t i = 0; i < n_calls; i++)
        run(arg, (i * 7 + t->number) % N_STORM_KEYS);
}

static void storm_round(struct bench_subject *s, struct bench_round *r)
{
    double before = allocated();
    create(s);
    team = bench_team_create(N_THREADS);
    bench_team_run(team, storm_body, s, 0);
    bench_team_destroy(team);
    r->value[0] = allocated() - before;
    r->n_done = n_calls * N_THREADS;
    destroy(s);
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];
    size_t most = 1000000;

    bench.rounds = 3;
    bench_begin(argc, argv, "memory", "How many bytes does it take?");
    size_t n = bench_subjects(s);
    if (bench.smoke)
        most = 1000;
    keys = calloc(most, sizeof(*keys));
    BENCH_CHECK(keys != NULL);
    for (size_t i = 0; i < most; i++)
        bench_key_set(&keys[i], i * 7919);
    bench_run(
        &(struct bench_case){
            .label = "group", .x = 1, .metrics = {{"bytes", "B"}}, .round = group_round},
        s, n);
    bench_run(
        &(struct bench_case){
            .label = "thread", .x = N_THREADS, .metrics = {{"bytes", "B"}}, .round = thread_round},
        s, n);
    for (n_calls = 1000; n_calls <= most; n_calls *= 10)
        bench_run(&(struct bench_case){.label = "call",
                                       .x = (double)n_calls,
                                       .fewer = n_calls > 100000 ? 5 : 1, /* it is the same */
                                       .metrics = {{"bytes", "B"}},
                                       .round = call_round},
                  s, n);
    n_calls = bench.smoke ? 100 : 10000;
    bench_run(&(struct bench_case){.label = "storm",
                                   .x = (double)n_calls * N_THREADS,
                                   .metrics = {{"bytes", "B"}},
                                   .round = storm_round},
              s, n);
    free(keys);
    return bench_end();
}
