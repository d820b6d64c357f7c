/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * herd.c - many threads sleep on one call; now it ends.  How long is its leader
 * held up, from the end of fn until run returns, and when has the last waiter
 * its result?  "futex" is the bare limit: one futex word, one wake of them all.
 */
#include "lib/bench.h"

#include <dirent.h>

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct bench_team *team;
static struct bench_key key;

static struct herd {
    struct bench_subject *s;
    struct bench_counts counts;
    atomic_uint arrived;
    _Alignas(64) atomic_uint word; /* of "futex" */
    _Alignas(64) uint64_t end_ns;  /* of fn */
} herd;

/*
 * Does every thread of the process but this one sleep in the kernel, each when it is looked at?
 * How often all of them have gone to sleep until then is added to *n_sleeps.
 */
static bool others_sleep(uint64_t *n_sleeps)
{
    char path[64], line[256];
    DIR *tasks = opendir("/proc/self/task");
    BENCH_CHECK(tasks != NULL);
    bool all = true;
    for (struct dirent *task; all && (task = readdir(tasks)) != NULL;) {
        long id = atol(task->d_name);
        if (id == 0 || id == (long)gettid())
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%ld/status", id);
        FILE *f = fopen(path, "r");
        BENCH_CHECK(f != NULL);
        char state = 0;
        unsigned long sleeps = 0;
        while (fgets(line, sizeof(line), f) != NULL)
            if (sscanf(line, "State: %c", &state) != 1)
                sscanf(line, "voluntary_ctxt_switches: %lu", &sleeps);
        fclose(f);
        all = state == 'S';
        *n_sleeps += sleeps;
    }
    closedir(tasks);
    return all;
}

/*
 * All have arrived and sleep, so nobody holds what another one sleeps for: they wait for fn.
 * Threads that pass a lock on from one to the next are each seen asleep, too; but who has slept
 * whenever it was looked at, and has not gone to sleep in between, has slept all the time.
 */
static void await_sleepers(void)
{
    uint64_t before, now = 0;
    while (herd.arrived < bench_team_size(team))
        bench_sleep_ns(100000);
    bool asleep = false, still;
    do {
        bench_sleep_ns(500000);
        before = now, still = asleep, now = 0;
        asleep = others_sleep(&now);
    } while (!still || !asleep || now != before);
}

static int no_fn(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    BENCH_CHECK(!"a waiter leads");
    return 0;
}

static void waiter(struct bench_thread *t, void *arg)
{
    struct bench_subject *s = herd.s;
    (void)arg;
    herd.arrived++;
    if (s->ops == NULL) {
        while (herd.word == 0)
            syscall(SYS_futex, &herd.word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
        bench_sample(&t->samples, bench_now_ns() - herd.end_ns);
        return;
    }
    sflight_result r;
    BENCH_CHECK(s->ops->run(s->group, key.text, BENCH_KEY_LEN, no_fn, NULL, &r) == 0);
    BENCH_CHECK(r.value == &key && r.status == 7 && !r.leader);
    bench_count(&t->counts, &r);
    s->ops->release(&r);
    bench_sample(&t->samples, bench_now_ns() - herd.end_ns);
}

static int fn(sflight_call *call, void *arg)
{
    struct bench_subject *s = arg;
    bench_team_start(team, waiter, NULL);
    await_sleepers();
    s->ops->set(call, &key, sizeof(key), NULL, NULL);
    herd.counts.n_runs++;
    herd.end_ns = bench_now_ns();
    return 7;
}

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    uint64_t held_ns, last_ns = 0;
    unsigned n = bench_team_size(team);
    herd.s = s;
    herd.counts = (struct bench_counts){0};
    herd.arrived = herd.word = 0;
    if (s->ops == NULL) {
        bench_team_start(team, waiter, NULL);
        await_sleepers();
        herd.end_ns = bench_now_ns();
        herd.word = 1;
        syscall(SYS_futex, &herd.word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        held_ns = bench_now_ns() - herd.end_ns;
        bench_team_wait(team);
    } else {
        sflight_result result;
        int rc = s->ops->run(s->group, key.text, BENCH_KEY_LEN, fn, s, &result);
        held_ns = bench_now_ns() - herd.end_ns;
        BENCH_CHECK(rc == 0 && result.leader && result.followers == n);
        bench_count(&herd.counts, &result);
        s->ops->release(&result);
        bench_team_wait(team);
    }
    for (unsigned i = 0; i < n; i++) {
        struct bench_thread *t = bench_team_thread(team, i);
        if (t->samples.ns[(t->samples.n - 1) % BENCH_SAMPLES] > last_ns)
            last_ns = t->samples.ns[(t->samples.n - 1) % BENCH_SAMPLES];
    }
    struct bench_counts sum = bench_team_sum(team, r);
    sum.n_runs += herd.counts.n_runs;
    sum.n_led += herd.counts.n_led;
    sum.n_calls += herd.counts.n_calls;
    sum.n_followers += herd.counts.n_followers;
    bench_check_counts(&sum);
    r->value[0] = (double)last_ns / 1000;
    r->value[1] = (double)held_ns / 1000;
    r->value[2] = (double)last_ns / n;
    r->n_done = n;
}

int main(int argc, char **argv)
{
    static const unsigned sizes[] = {16, 64, 256, 512, 1024, 4096};
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 15;
    bench_begin(argc, argv, "herd",
                "A call ends that many threads sleep on: when do its leader and the last waiter "
                "have the result?");
    bench_key_set(&key, 42);
    size_t n = bench_subjects(s);
    n = bench_subject_add(s, n, "futex", NULL, NULL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && bench_wants(sizes[i], 64); i++) {
        team = bench_team_create(sizes[i]);
        bench_groups_create(s, n, 0);
        bench_run(
            &(struct bench_case){.label = "waiters",
                                 .x = sizes[i],
                                 .fewer = sizes[i] > 1024 ? 5 : 1,
                                 .metrics = {{"last", "us"}, {"hold", "us"}, {"waiter", "ns"}},
                                 .round = round_of},
            s, n);
        bench_groups_destroy(s, n);
        bench_team_destroy(team);
    }
    return bench_end();
}
