/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * churn.c - threads that come, run a few calls and go: what does it add to the
 * life of a thread that it used a group?  "thread" is the bare limit: a thread
 * that does nothing.
 */
#include "lib/bench.h"

#include <pthread.h>

static struct bench_key key;
static uint64_t n_calls;

struct life {
    struct bench_subject *s;
    uint64_t n_runs;
};

static int fn(sflight_call *call, void *arg)
{
    struct life *l = arg;
    l->n_runs++;
    l->s->ops->set(call, &key, sizeof(key), NULL, NULL);
    return 0;
}

static void *thread_main(void *arg)
{
    struct life *l = arg;
    for (uint64_t i = 0; l->s->ops != NULL && i < n_calls; i++) {
        sflight_result r;
        BENCH_CHECK(l->s->ops->run(l->s->group, key.text, BENCH_KEY_LEN, fn, l, &r) == 0);
        BENCH_CHECK(r.value == &key && r.leader);
        l->s->ops->release(&r);
    }
    return NULL;
}

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    struct life life = {s, 0};
    static struct bench_samples samples;
    uint64_t begin = bench_now_ns();
    for (uint64_t i = 0; i < r->n; i++) {
        pthread_t id;
        uint64_t from = bench_now_ns();
        BENCH_CHECK(pthread_create(&id, NULL, thread_main, &life) == 0);
        pthread_join(id, NULL);
        bench_sample(&samples, bench_now_ns() - from);
    }
    r->value[0] = (double)(bench_now_ns() - begin) / (double)r->n / 1000;
    r->n_done = r->n;
    BENCH_CHECK(s->ops == NULL || life.n_runs == r->n * n_calls);
    bench_round_samples(r, &samples);
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 25;
    bench_begin(argc, argv, "churn", "What does a thread's life cost that uses a group?");
    bench_key_set(&key, 42);
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "thread", NULL, NULL);
    bench_groups_create(s, n, 0);
    for (n_calls = 1; bench_wants((double)n_calls, 10) && n_calls <= 100; n_calls *= 10)
        bench_run(&(struct bench_case){.label = "calls",
                                       .x = (double)n_calls,
                                       .sized = true,
                                       .metrics = {{"thread", "us"}},
                                       .round = round_of},
                  s, n);
    bench_groups_destroy(s, n);
    return bench_end();
}
