/* SPDX-License-Identifier: BSD-2-Clause */
#include "load.h"

#include <stdatomic.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { STATUS = 7, EVERY = 16 /* so many short calls for each whose duration is taken */ };

struct run {
    const struct bench_load *load;
    uint32_t key;
    struct bench_counts *counts;
};

void bench_compute(uint64_t n_turns)
{
    for (volatile uint64_t i = 0; i < n_turns; i++)
        ;
}

static void work(const struct bench_load *l)
{
    if (l->fn_turns != 0)
        bench_compute(l->fn_turns);
    else if (l->sleeps)
        bench_sleep_ns(l->fn_ns);
    else
        bench_spin_ns(l->fn_ns);
}

static int fn(sflight_call *call, void *arg)
{
    struct run *run = arg;
    const struct bench_load *l = run->load;
    run->counts->n_runs++;
    work(l);
    l->s->ops->set(call, (void *)(uintptr_t)&l->keys[run->key], sizeof(l->keys[0]), NULL, NULL);
    return STATUS;
}

void bench_load_call(const struct bench_load *l, uint32_t key, struct bench_thread *t)
{
    struct run run = {l, key, &t->counts};
    const struct flight_ops *ops = l->s->ops;
    bool sampled = l->fn_ns >= 1000 || t->counts.n_calls % EVERY == 0;
    uint64_t begin = sampled ? bench_now_ns() : 0;
    sflight_result r;
    int rc = ops->run(l->s->group, l->keys[key].text, BENCH_KEY_LEN, fn, &run, &r);
    BENCH_CHECK(rc == 0 && r.status == STATUS && r.value == &l->keys[key]);
    bench_count(&t->counts, &r);
    ops->release(&r);
    if (sampled)
        bench_sample(&t->samples, bench_now_ns() - begin);
}

static void body(struct bench_thread *t, void *arg)
{
    const struct bench_load *l = arg;
    uint32_t own = t->number * l->n_own;
    size_t next = l->n_order != 0 ? t->number * (l->n_order / bench_team_size(t->team)) : 0;
    do {
        if (l->n_order == 0) {
            bench_load_call(l, own + (uint32_t)next, t);
            next = next + 1 == l->n_own ? 0 : next + 1;
        } else {
            bench_load_call(l, l->order[next], t);
            next = next + 1 == l->n_order ? 0 : next + 1;
        }
    } while (!bench_stopped(t));
}

static void limit_round(const struct bench_load *l, struct bench_round *r)
{
    static _Alignas(64) atomic_uint_least64_t word;
    unsigned n_threads = bench_team_size(l->team), n_cpus = bench_n_cpus();
    uint64_t n = 0, begin = bench_now_ns(), now = begin;
    double fn_ns = 0;
    if (l->fn_ns != 0) {
        for (; now - begin < r->ns; n++) {
            work(l);
            now = bench_now_ns();
        }
        fn_ns = (double)(now - begin) / (double)n;
    }
    begin = now;
    for (n = 0; n < 10000; n++)
        atomic_fetch_add(&word, XXH3_64bits_withSeed(l->keys[l->order[0]].text, BENCH_KEY_LEN, 1));
    double join_ns = (double)(bench_now_ns() - begin) / (double)n;
    double led = fn_ns / n_threads, joined = join_ns / (n_threads < n_cpus ? n_threads : n_cpus);
    r->value[0] = led > joined ? led : joined;
    r->value[1] = 100.0 / n_threads;
    r->n_done = n;
}

void bench_load_round(struct bench_load *l, struct bench_subject *s, struct bench_round *r)
{
    if (s->ops == NULL) {
        limit_round(l, r);
        return;
    }
    l->s = s;
    uint64_t cpu_ns = bench_cpu_ns();
    uint64_t ns = bench_team_run(l->team, body, l, r->ns);
    struct bench_counts sum = bench_team_sum(l->team, r);
    bench_check_counts(&sum);
    r->value[0] = (double)ns / (double)sum.n_calls;
    r->value[1] = 100 * (double)sum.n_runs / (double)sum.n_calls;
    r->value[2] = (double)(bench_cpu_ns() - cpu_ns) / (double)sum.n_calls;
    r->n_done = sum.n_calls;
}
