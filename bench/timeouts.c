/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timeouts.c - a call does not end; what does it cost to give up?
 *   past      the deadline has passed already: join and leave, one thread
 *   asleep    1..256 threads wait for 2 ms again and again: CPU time for each
 *             wait, and how much later than its deadline it ends (percentiles)
 */
#include "lib/bench.h"

#include <errno.h>

enum { WAIT_NS = 2000000 };

static struct bench_team *team;
static struct bench_key key;
static struct bench_subject *subject;

static int no_fn(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    BENCH_CHECK(!"a waiter leads");
    return 0;
}

static void wait_until(const struct bench_subject *s, const struct timespec *deadline)
{
    sflight_result r;
    int rc = s->ops->run_until(s->group, key.text, BENCH_KEY_LEN, no_fn, NULL, deadline, &r);
    BENCH_CHECK(rc == -ETIMEDOUT);
}

static sflight_call *lead(struct bench_subject *s)
{
    sflight_call *call;
    BENCH_CHECK(s->ops->lead(s->group, key.text, BENCH_KEY_LEN, &call) == 0 && call != NULL);
    return call;
}

static void past(struct bench_subject *s, struct bench_round *r)
{
    const struct timespec deadline = {0, 1};
    sflight_call *call = lead(s);
    uint64_t begin = bench_now_ns();
    for (uint64_t i = 0; i < r->n; i++)
        wait_until(s, &deadline);
    r->value[0] = (double)(bench_now_ns() - begin) / (double)r->n;
    r->n_done = r->n;
    s->ops->finish(call, 0);
}

static void waiter(struct bench_thread *t, void *arg)
{
    (void)arg;
    do {
        uint64_t end = bench_now_ns() + WAIT_NS;
        struct timespec deadline = {(time_t)(end / 1000000000u), (long)(end % 1000000000u)};
        wait_until(subject, &deadline);
        uint64_t now = bench_now_ns();
        BENCH_CHECK(now >= end);
        bench_sample(&t->samples, now - end);
        t->counts.n_calls++;
    } while (!bench_stopped(t));
}

static void asleep(struct bench_subject *s, struct bench_round *r)
{
    sflight_call *call = lead(s);
    uint64_t before = bench_cpu_ns();
    subject = s;
    bench_team_run(team, waiter, NULL, r->ns);
    uint64_t used = bench_cpu_ns() - before;
    s->ops->finish(call, 0);
    r->n_done = bench_team_sum(team, r).n_calls;
    r->value[0] = (double)used / (double)r->n_done;
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];

    bench_begin(argc, argv, "timeouts", "What does it cost to give up waiting?");
    bench_key_set(&key, 42);
    size_t n = bench_subjects(s);
    bench_groups_create(s, n, 0);
    bench_run(
        &(struct bench_case){
            .label = "past", .x = 1, .sized = true, .metrics = {{"wait", "ns"}}, .round = past},
        s, n);
    for (unsigned threads = 1; bench_wants(threads, 4) && (bench.max != 0 || threads <= 256);
         threads *= 4) {
        team = bench_team_create(threads);
        bench_run(&(struct bench_case){.label = "asleep",
                                       .x = threads,
                                       .longer = 5,
                                       .metrics = {{"cpu", "ns"}},
                                       .round = asleep},
                  s, n);
        bench_team_destroy(team);
    }
    bench_groups_destroy(s, n);
    return bench_end();
}
