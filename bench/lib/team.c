/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

enum { STACK_SIZE = 256 * 1024 };

struct bench_team {
    unsigned n;
    pthread_barrier_t begin, end;                /* the threads and whoever runs them */
    void (*body)(struct bench_thread *, void *); /* NULL: that was all */
    void *arg;
    _Alignas(64) atomic_bool stopped;
    pthread_t *ids;
    struct bench_thread *threads;
    uint64_t *ends_ns; /* when each came back */
};

static void *thread_main(void *arg)
{
    struct bench_thread *t = arg;
    prctl(PR_SET_TIMERSLACK, 1); /* sleeps end when they should */
    for (;;) {
        pthread_barrier_wait(&t->team->begin);
        if (t->team->body == NULL)
            return NULL;
        t->team->body(t, t->team->arg);
        t->team->ends_ns[t->number] = bench_now_ns();
        pthread_barrier_wait(&t->team->end);
    }
}

/*
 * The CPUs this process may use.  A team that has one for each thread gets one
 * for each thread: the scheduler takes longer than a round to spread them.
 */
static unsigned find_cpus(size_t cpus[CPU_SETSIZE])
{
    cpu_set_t set;
    unsigned n = 0;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            cpus[n++] = i;
    return n;
}

unsigned bench_n_cpus(void)
{
    size_t cpus[CPU_SETSIZE];
    return find_cpus(cpus);
}

struct bench_team *bench_team_create(unsigned n)
{
    size_t cpus[CPU_SETSIZE];
    unsigned n_cpus = find_cpus(cpus);
    struct bench_team *t = aligned_alloc(64, sizeof(*t));
    pthread_attr_t attr;
    BENCH_CHECK(t != NULL && n > 0);
    memset(t, 0, sizeof(*t));
    t->n = n;
    t->ids = calloc(n, sizeof(*t->ids));
    t->threads = calloc(n, sizeof(*t->threads));
    t->ends_ns = calloc(n, sizeof(*t->ends_ns));
    BENCH_CHECK(t->ids != NULL && t->threads != NULL && t->ends_ns != NULL);
    BENCH_CHECK(pthread_barrier_init(&t->begin, NULL, n + 1) == 0);
    BENCH_CHECK(pthread_barrier_init(&t->end, NULL, n + 1) == 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    for (unsigned i = 0; i < n; i++) {
        t->threads[i].number = i;
        t->threads[i].team = t;
        if (n > 1 && n <= n_cpus && !bench.scheduled) {
            cpu_set_t own;
            CPU_ZERO(&own);
            CPU_SET(cpus[i], &own);
            pthread_attr_setaffinity_np(&attr, sizeof(own), &own);
        }
        BENCH_CHECK(pthread_create(&t->ids[i], &attr, thread_main, &t->threads[i]) == 0);
    }
    pthread_attr_destroy(&attr);
    return t;
}

void bench_team_destroy(struct bench_team *t)
{
    t->body = NULL;
    pthread_barrier_wait(&t->begin);
    for (unsigned i = 0; i < t->n; i++)
        pthread_join(t->ids[i], NULL);
    pthread_barrier_destroy(&t->begin);
    pthread_barrier_destroy(&t->end);
    free(t->ids);
    free(t->threads);
    free(t->ends_ns);
    free(t);
}

unsigned bench_team_size(const struct bench_team *t)
{
    return t->n;
}

struct bench_thread *bench_team_thread(struct bench_team *t, unsigned number)
{
    return &t->threads[number];
}

bool bench_stopped(const struct bench_thread *t)
{
    return atomic_load_explicit(&t->team->stopped, memory_order_relaxed);
}

void bench_team_start(struct bench_team *t, void (*body)(struct bench_thread *, void *), void *arg)
{
    for (unsigned i = 0; i < t->n; i++)
        t->threads[i].counts = (struct bench_counts){0};
    t->body = body;
    t->arg = arg;
    atomic_store(&t->stopped, false);
    pthread_barrier_wait(&t->begin);
}

void bench_team_wait(struct bench_team *t)
{
    pthread_barrier_wait(&t->end);
}

uint64_t bench_team_run(struct bench_team *t, void (*body)(struct bench_thread *, void *),
                        void *arg, uint64_t ns)
{
    uint64_t begin = bench_now_ns(), end = begin;
    bench_team_start(t, body, arg);
    if (ns != 0) {
        bench_sleep_ns(ns);
        atomic_store(&t->stopped, true);
    }
    bench_team_wait(t);
    for (unsigned i = 0; i < t->n; i++)
        if (t->ends_ns[i] > end)
            end = t->ends_ns[i];
    return end - begin;
}

struct bench_counts bench_team_sum(struct bench_team *t, struct bench_round *r)
{
    struct bench_counts sum = {0};
    for (unsigned i = 0; i < t->n; i++) {
        const struct bench_counts *c = &t->threads[i].counts;
        sum.n_calls += c->n_calls;
        sum.n_runs += c->n_runs;
        sum.n_led += c->n_led;
        sum.n_joined += c->n_joined;
        sum.n_followers += c->n_followers;
        bench_round_samples(r, &t->threads[i].samples);
    }
    return sum;
}
