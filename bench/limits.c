/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limits.c - what the machine itself can do: the figures that everything else
 * has to be seen against.  "ping-pong" is a round trip between two threads,
 * through one cache line both look at, or through two futexes on which they
 * sleep.
 */
#include "lib/bench.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct bench_team *team;
static _Alignas(64) atomic_uint word;
static _Alignas(64) struct bench_key key;

static void rmw(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        atomic_fetch_add(&word, 1);
}

static void fence(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        atomic_store_explicit(&word, (unsigned)i, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
    }
}

static void hash(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t h = XXH3_64bits_withSeed(key.text, BENCH_KEY_LEN, 1);
        __asm__ __volatile__("" : : "r"(h) : "memory");
    }
}

static void allocate(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        void *p = malloc(192);
        __asm__ __volatile__("" : : "r"(p) : "memory");
        free(p);
    }
}

static void look_at_clock(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        bench_now_ns();
}

static void wake_nobody(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Thread 0 makes the word odd, thread 1 even again. */
static void line_body(struct bench_thread *t, void *arg)
{
    unsigned n = (unsigned)*(uint64_t *)arg;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned spins = 0; atomic_load(&word) != 2 * i + t->number;)
            if (++spins % 4096 == 0)
                sched_yield(); /* a machine with one core */
        atomic_store(&word, 2 * i + t->number + 1);
    }
}

static void futex_body(struct bench_thread *t, void *arg)
{
    unsigned n = (unsigned)*(uint64_t *)arg, now;
    for (unsigned i = 0; i < n; i++) {
        while ((now = atomic_load(&word)) != 2 * i + t->number)
            syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
        atomic_store(&word, 2 * i + t->number + 1);
        syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void line(uint64_t n)
{
    bench_team_run(team, line_body, &n, 0);
    BENCH_CHECK(word == (unsigned)(2 * n));
}

static void futex(uint64_t n)
{
    bench_team_run(team, futex_body, &n, 0);
    BENCH_CHECK(word == (unsigned)(2 * n));
}

static void (*limit)(uint64_t n);

static void round_of(struct bench_subject *s, struct bench_round *r)
{
    (void)s;
    word = 0;
    uint64_t begin = bench_now_ns();
    limit(r->n);
    r->value[0] = (double)(bench_now_ns() - begin) / (double)r->n;
    r->n_done = r->n;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *label;
        void (*limit)(uint64_t n);
    } all[] = {
        {"own line RMW", rmw},    {"store and fence", fence},
        {"hash 13 bytes", hash},  {"malloc and free", allocate},
        {"clock", look_at_clock}, {"futex wakes none", wake_nobody},
        {"ping-pong line", line}, {"ping-pong futex", futex},
    };
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 15;
    bench_begin(argc, argv, "limits", "What can this machine do at best?");
    bench_key_set(&key, 42);
    team = bench_team_create(2);
    size_t n = bench_subject_add(s, 0, "machine", NULL, NULL);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        limit = all[i].limit;
        bench_run(&(struct bench_case){.label = all[i].label,
                                       .x = 1,
                                       .sized = true,
                                       .most = 1u << 30,
                                       .metrics = {{"time", "ns"}},
                                       .round = round_of},
                  s, n);
    }
    bench_team_destroy(team);
    return bench_end();
}
