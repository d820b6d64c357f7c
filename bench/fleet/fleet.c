/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fleet.c - what does it cost that processes share a run, and what becomes of them when the leader
 * or the engine fails?  Beside what programs do with the same engine without the library (way.h).
 *
 *     fleet [--tcp] [OPTION...]
 *
 * The engine is a redis-server of the program's own, on a unix socket, or with --tcp on 127.0.0.1.
 *
 * Cases
 *   flight     8 processes want a key at once, a run takes 5 ms
 *   commands   the same, counted by the engine; and with 16 threads in each process
 *   lone       one process alone, its run takes no time: until the call is back; beside a PING
 *   killed     the leader is killed: until another process runs
 *   stopped    the leader is stopped until another one's run is under way, and then publishes
 *   gone       the engine is killed, or frozen: until a call has its own run
 */
#include "../lib/bench.h"
#include "crew.h"

#include <math.h>
#include <singleflight_fleet.h>
#include <string.h>
#include <unistd.h>

enum {
    N_PROCESSES = 8,
    N_THREADS = 16, /* in each, of "commands" */
    N_STOPS = 20,   /* with CREW_THREADS keys each */
    N_BASELINE_STOPS = 5,
    N_OUTAGES = 10,
    N_CALLS_AFTER = 100,
    LOCK_MS = 10000, /* of the ways that do not renew it: it must exceed the longest run */
    STOP_MS = 300,   /* the lock or lease where the leader is stopped */
    TIMEOUT_MS = 250 /* sflight_fleet_options.engine_timeout_ms, the default */
};

static const uint64_t ms = 1000000;

static struct engine engine;
static redisContext *side; /* the program's own connection */
static bool is_tcp;

static const char *next_key(void)
{
    static unsigned n;
    static char key[32];
    snprintf(key, sizeof(key), "page/%u", n++);
    return key;
}

static struct order order(unsigned n_threads, uint64_t run_ns)
{
    struct order o = {.n_threads = n_threads, .run_ns = run_ns};
    snprintf(o.key, sizeof(o.key), "%s", next_key());
    return o;
}

/* What a subject of a case has: a way, and processes that use it. */
struct subject {
    const struct way *way;
    struct crew *crew;
};

static struct subject *subject(const struct bench_subject *s)
{
    return s->own;
}

/* The wanted ones of the ways. */
static size_t subjects(struct bench_subject s[BENCH_SUBJECTS], struct subject *own,
                       const struct way *const *ways)
{
    size_t n = 0;
    for (size_t i = 0; ways[i] != NULL; i++) {
        own[i] = (struct subject){.way = ways[i]};
        n = bench_subject_add(s, n, ways[i]->name, NULL, &own[i]);
    }
    return n;
}

static void crews_create(struct bench_subject *s, size_t n, uint32_t lock_ms)
{
    for (size_t i = 0; i < n; i++)
        subject(&s[i])->crew = crew_create(subject(&s[i])->way, &engine, N_PROCESSES, lock_ms);
}

static void crews_destroy(struct bench_subject *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        crew_destroy(subject(&s[i])->crew);
}

/* All processes want the key of o; returns when all have it, how long that was. */
static uint64_t fly(struct crew *c, const struct order *o)
{
    const uint64_t begin = bench_now_ns();
    for (unsigned i = 0; i < N_PROCESSES; i++)
        crew_begin(c, i, o);
    for (unsigned i = 0; i < N_PROCESSES; i++)
        crew_wait(c, i);
    return bench_now_ns() - begin;
}

static unsigned runs(const struct crew *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < N_PROCESSES; i++)
        n += crew_runs(c, i);
    return n;
}

/* --------------------------------------------------------------------- flight */

/* Sorts them. */
static double median(double *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t k = i; k > 0 && v[k - 1] > v[k]; k--) {
            const double swap = v[k];
            v[k] = v[k - 1];
            v[k - 1] = swap;
        }
    }
    return n == 0 ? NAN : v[n / 2];
}

static void flight_round(struct bench_subject *s, struct bench_round *r)
{
    enum { MOST = 200 };
    static struct bench_samples samples;
    static double wakes[MOST * N_PROCESSES];
    struct crew *c = subject(s)->crew;
    const uint64_t cpu = engine_cpu_ns(side), begin = bench_now_ns();
    const unsigned n_runs = runs(c);
    unsigned n = 0, n_wakes = 0;
    double served = 0;
    do {
        const struct order o = order(1, 5 * ms);
        served += (double)fly(c, &o);
        for (unsigned i = 0; i < N_PROCESSES; i++) {
            const struct outcome *out = crew_outcome(c, i, 0);
            if (out->ran)
                continue;
            wakes[n_wakes++] = (double)(out->back_ns - out->value_end_ns);
            bench_sample(&samples, out->back_ns - out->value_end_ns);
        }
    } while (++n < MOST && bench_now_ns() - begin < r->ns);
    bench_round_samples(r, &samples);
    r->n_done = n;
    r->value[0] = median(wakes, n_wakes) / 1e3;
    r->value[1] = served / n / 1e6;
    r->value[2] = (double)(engine_cpu_ns(side) - cpu) / n / 1e3;
    r->value[3] = (double)(runs(c) - n_runs) / n;
}

static void flight(void)
{
    static const struct way *const ways[] = {&way_fleet, &way_poll,  &way_dogpile,
                                             &way_aside, &way_alone, NULL};
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS];
    const size_t n = subjects(s, own, ways);
    crews_create(s, n, LOCK_MS);
    bench_run(
        &(struct bench_case){
            .label = "flight",
            .x = N_PROCESSES,
            .longer = 200,
            .metrics = {{"wake", "us"}, {"served", "ms"}, {"cpu", "us"}, {"runs", ""}},
            .round = flight_round},
        s, n);
    crews_destroy(s, n);
}

/* ------------------------------------------------------------------- commands */

static unsigned commands_threads;

static void commands_round(struct bench_subject *s, struct bench_round *r)
{
    struct crew *c = subject(s)->crew;
    const unsigned n = subject(s)->way == &way_dogpile ? 2 : 20, n_runs = runs(c);
    redisContext *monitor = engine_count_start(&engine);
    for (unsigned i = 0; i < n; i++) {
        /* Long enough for all to come while it lasts. */
        const struct order o = order(commands_threads, (commands_threads == 1 ? 5 : 50) * ms);
        fly(c, &o);
    }
    r->n_done = n;
    r->value[0] = (double)engine_count_end(monitor, side) / n;
    r->value[1] = (double)(runs(c) - n_runs) / n;
}

static void commands(unsigned n_threads, const struct way *const *ways)
{
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS];
    const size_t n = subjects(s, own, ways);
    commands_threads = n_threads;
    crews_create(s, n, LOCK_MS);
    bench_run(&(struct bench_case){.label = "commands",
                                   .x = N_PROCESSES * n_threads,
                                   .fewer = 4,
                                   .metrics = {{"commands", ""}, {"runs", ""}},
                                   .round = commands_round},
              s, n);
    crews_destroy(s, n);
}

/* ----------------------------------------------------------------------- lone */

static void no_time(struct way_value *v, void *arg)
{
    (void)arg;
    v->run = 1;
}

/* Each call is timed by itself, after a while in which what the one before left is done. */
static void lone_round(struct bench_subject *s, struct bench_round *r)
{
    static struct bench_samples samples;
    static double took[BENCH_SAMPLES];
    struct subject *own = subject(s);
    struct way_value v = {0};
    for (uint64_t i = 0; i < r->n; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%s", next_key());
        bench_sleep_ns(ms / 4);
        const uint64_t begin = bench_now_ns();
        if (own->way == NULL)
            freeReplyObject(engine_ask(side, "PING"));
        else
            own->way->get(own->crew, key, no_time, NULL, &v);
        const uint64_t ns = bench_now_ns() - begin;
        bench_sample(&samples, ns);
        took[i] = (double)ns;
    }
    bench_round_samples(r, &samples);
    r->value[0] = median(took, r->n);
    r->n_done = r->n;
}

static void lone(void)
{
    static const struct way *const ways[] = {&way_fleet, &way_poll,  &way_dogpile,
                                             &way_aside, &way_alone, NULL};
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS], ping = {0};
    size_t n = subjects(s, own, ways);
    for (size_t i = 0; i < n; i++) /* used by this process itself */
        subject(&s[i])->crew = subject(&s[i])->way->open(&engine, LOCK_MS);
    n = bench_subject_add(s, n, "ping", NULL, &ping);
    bench_run(&(struct bench_case){.label = "lone",
                                   .x = 1,
                                   .sized = true,
                                   .longer = 10,
                                   .most = 200,
                                   .metrics = {{"call", "ns"}},
                                   .round = lone_round},
              s, n);
    for (size_t i = 0; i < n; i++) {
        if (subject(&s[i])->way != NULL)
            subject(&s[i])->way->close(subject(&s[i])->crew);
    }
}

/* --------------------------------------------------------------------- killed */

static uint32_t killed_lock_ms;

/* Two have come; the first one leads. */
static void lead_and_follow(struct crew *c, const struct order *o)
{
    const unsigned n = crew_runs(c, 0) + (o->own_keys ? o->n_threads : 1);
    crew_begin(c, 0, o);
    crew_wait_for_runs(c, 0, n);
    crew_begin(c, 1, o);
}

static void killed_round(struct bench_subject *s, struct bench_round *r)
{
    struct crew *c = crew_create(subject(s)->way, &engine, 2, killed_lock_ms);
    struct order o = order(1, 0);
    o.gated = true;
    crew_open_gate(c, 1);
    lead_and_follow(c, &o);
    bench_sleep_ns(100 * ms); /* it waits by now */
    const uint64_t begin = bench_now_ns();
    crew_kill(c, 0);
    r->value[0] = (double)(crew_wait_for_runs(c, 1, 1) - begin) / 1e6;
    r->n_done = 1;
    crew_wait(c, 1);
    crew_destroy(c);
}

static void killed(uint32_t lock_ms, double fewer, const struct way *const *ways)
{
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS];
    killed_lock_ms = lock_ms;
    bench_run(&(struct bench_case){.label = "killed",
                                   .x = lock_ms,
                                   .fewer = fewer,
                                   .once = true,
                                   .metrics = {{"takeover", "ms"}},
                                   .round = killed_round},
              s, subjects(s, own, ways));
}

/* -------------------------------------------------------------------- stopped */

/* One stop: how many late results were not refused, or reached somebody. */
static unsigned stop_once(struct crew *c, bool threads)
{
    struct order o = order(threads ? CREW_THREADS : 1, 0);
    o.own_keys = o.gated = true;
    const uint64_t refused = crew_refused(c, 0);
    const unsigned second = crew_runs(c, 1);
    lead_and_follow(c, &o);
    crew_stop(c, 0);
    crew_wait_for_runs(c, 1, second + o.n_threads); /* the second flights are under way */
    crew_open_gate(c, 0);
    crew_continue(c, 0);
    crew_wait(c, 0); /* the late results have been published, or refused */
    crew_begin(c, 2, &o);
    bench_sleep_ns(20 * ms); /* who finds a late one has it by now */
    crew_open_gate(c, 1);
    crew_open_gate(c, 2);
    crew_wait(c, 1);
    crew_wait(c, 2);
    unsigned n_late = 0;
    for (unsigned i = 0; i < o.n_threads; i++)
        n_late += crew_outcome(c, 2, i)->value_run == crew_outcome(c, 0, i)->value_run;
    const uint64_t n_refused = crew_refused(c, 0) - refused;
    if (threads && n_late == 0 && n_refused < o.n_threads)
        n_late = o.n_threads - (unsigned)n_refused;
    for (unsigned i = 0; i < 3; i++)
        crew_shut_gate(c, i);
    return n_late;
}

static void stopped_round(struct bench_subject *s, struct bench_round *r)
{
    const bool threads = subject(s)->way->threads;
    const unsigned n_stops = bench.smoke ? 1 : threads ? N_STOPS : N_BASELINE_STOPS;
    unsigned n_late = 0;
    struct crew *c = crew_create(subject(s)->way, &engine, 3, STOP_MS);
    for (unsigned i = 0; i < n_stops; i++)
        n_late += stop_once(c, threads);
    crew_destroy(c);
    r->n_done = n_stops * (threads ? CREW_THREADS : 1);
    r->value[0] = n_late;
    r->value[1] = (double)r->n_done;
}

static void stopped(const struct way *const *ways)
{
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS];
    bench_run(&(struct bench_case){.label = "stopped",
                                   .x = STOP_MS,
                                   .fewer = INFINITY,
                                   .once = true,
                                   .metrics = {{"late", ""}, {"trials", ""}},
                                   .round = stopped_round},
              s, subjects(s, own, ways));
}

/* ----------------------------------------------------------------------- gone */

static void note_time(struct way_value *v, void *arg)
{
    *(uint64_t *)arg = bench_now_ns();
    v->run = 1;
}

/* One call: how long until it has its own run. */
static uint64_t call_ns(const struct way *way, void *own)
{
    struct way_value v;
    uint64_t ran = 0;
    const uint64_t begin = bench_now_ns();
    way->get(own, next_key(), note_time, &ran, &v); /* no error: it aborts otherwise */
    BENCH_CHECK(ran != 0);
    return ran - begin;
}

static bool gone_freezes;

static void gone_round(struct bench_subject *s, struct bench_round *r)
{
    const struct way *way = subject(s)->way;
    const unsigned n = bench.smoke ? 1 : N_OUTAGES;
    double first = 0, next = 0;
    void *own = way->open(&engine, LOCK_MS);
    sflight_fleet_counters state;
    for (unsigned i = 0; i < n; i++) {
        call_ns(way, own);
        redisFree(side);
        if (gone_freezes)
            engine_freeze(&engine);
        else
            engine_kill(&engine);
        first = fmax(first, (double)call_ns(way, own));
        for (unsigned k = 0; k < N_CALLS_AFTER; k++)
            next = fmax(next, (double)call_ns(way, own));
        if (gone_freezes)
            engine_thaw(&engine);
        else
            engine_restart(&engine);
        side = engine_connect(&engine);
        do { /* it is noticed that the engine is back */
            bench_sleep_ns(ms);
            call_ns(way, own);
            BENCH_CHECK(sflight_fleet_stats(own, &state) == 0);
        } while (state.connected == 0);
    }
    way->close(own);
    r->n_done = n;
    r->value[0] = first / 1e6;
    r->value[1] = next / 1e3;
}

static void gone(bool freezes)
{
    static const struct way *const ways[] = {&way_fleet, NULL};
    struct bench_subject s[BENCH_SUBJECTS];
    struct subject own[BENCH_SUBJECTS];
    gone_freezes = freezes;
    bench_run(&(struct bench_case){.label = freezes ? "frozen" : "gone",
                                   .x = TIMEOUT_MS,
                                   .fewer = INFINITY,
                                   .once = true,
                                   .metrics = {{"first", "ms"}, {"next", "us"}},
                                   .round = gone_round},
              s, subjects(s, own, ways));
}

int main(int argc, char **argv)
{
    static const struct way *const shared[] = {&way_fleet, &way_poll, &way_dogpile, &way_aside,
                                               NULL};
    static const struct way *const fleet[] = {&way_fleet, NULL};
    static const struct way *const others[] = {&way_poll, &way_dogpile, &way_aside, NULL};
    static const struct way *const publishers[] = {&way_fleet, &way_poll, &way_aside, NULL};
    if (argc > 1 && strcmp(argv[1], "--tcp") == 0) {
        is_tcp = true;
        argv[1] = argv[0];
        argc--, argv++;
    }
    bench.rounds = 10;
    bench_begin(argc, argv, "fleet", "What does a run cost that processes share?");
    engine_create(&engine, is_tcp);
    side = engine_connect(&engine);
    flight();
    commands(1, shared);
    commands(N_THREADS, fleet);
    lone();
    killed(1000, 1, fleet);
    if (!bench.smoke) {
        killed(3000, 4, fleet);
        killed(LOCK_MS, INFINITY, others);
    }
    stopped(publishers);
    gone(false);
    gone(true);
    redisFree(side);
    engine_destroy(&engine);
    return bench_end();
}
