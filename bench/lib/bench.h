/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - what the benchmark programs share, so that each of them is little
 * more than its question.
 *
 * A program names CASES ("fn 1 us, 64 threads") and SUBJECTS (libsingleflight,
 * the ports, a bare limit).  bench_run() runs one case: a warm-up, then rounds
 * in which every subject has its turn, so that whatever else the machine does
 * hits all of them alike.  A round reports one number for each METRIC, lower is
 * better; the table shows the minimum, median and spread over the rounds, and
 * percentiles of single operations where the program took samples.
 *
 *     int main(int argc, char **argv)
 *     {
 *         bench_begin(argc, argv, "uncontended", "What does one call cost ...?");
 *         struct bench_subject s[BENCH_SUBJECTS];
 *         size_t n = bench_subjects(s);
 *         bench_run(&(struct bench_case){.label = "13-byte key", .x = 1, .round = round,
 *                                        .sized = true, .metrics = {{"call", "ns"}}}, s, n);
 *         return bench_end();
 *     }
 *
 * Whatever a program computes is checked by BENCH_CHECK: a wrong answer aborts.
 */
#ifndef BENCH_H
#define BENCH_H

#include "../baseline/flight.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BENCH_SUBJECTS = 12, BENCH_METRICS = 4 };

#define BENCH_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ------------------------------------------------------------------ options */

struct bench_options {
    const char *out;      /* a directory for NAME.csv and NAME.json, or NULL */
    const char *subjects; /* names with commas, or NULL for all */
    unsigned rounds;      /* that count */
    double round_ms;      /* how long one should last */
    double rest_ms;       /* before each round */
    double max;           /* the largest x, 0: the program's own */
    bool smoke;           /* one short round, for the answers' sake */
    bool scheduled;       /* teams are the scheduler's, even if there is a CPU for each thread */
};

extern struct bench_options bench;

/* Reads the command line; --help and mistakes in it end the program. */
void bench_begin(int argc, char **argv, const char *name, const char *about);

/* Writes the files and returns main's status. */
int bench_end(void);

/* True unless --max, or in a smoke run small_max, says that x is too large. */
bool bench_wants(double x, double small_max);

/* ----------------------------------------------------------------- subjects */

struct bench_subject {
    const char *name;
    const struct flight_ops *ops; /* NULL: something of the program's own */
    sflight_group *group;         /* the program's */
    void *own;                    /* the program's */
};

/* Fills s with the wanted implementations of flight.h, but without "none". */
size_t bench_subjects(struct bench_subject s[BENCH_SUBJECTS]);

/* Appends one of the program's own, if wanted; returns the new number. */
size_t bench_subject_add(struct bench_subject s[BENCH_SUBJECTS], size_t n, const char *name,
                         const struct flight_ops *ops, void *own);

/* Makes the group of each, or destroys it. */
void bench_groups_create(struct bench_subject *s, size_t n, size_t expected_inflight);
void bench_groups_destroy(struct bench_subject *s, size_t n);

/* ------------------------------------------------------------------ samples */

/* The latest durations that one thread measured. */
enum { BENCH_SAMPLES = 2048 };
struct bench_samples {
    uint64_t n;
    uint64_t ns[BENCH_SAMPLES];
};

static inline void bench_sample(struct bench_samples *s, uint64_t ns)
{
    s->ns[s->n++ % BENCH_SAMPLES] = ns;
}

/* ------------------------------------------------------------------- rounds */

struct bench_round {
    uint64_t n;                  /* in: operations to do, if the case is sized */
    uint64_t ns;                 /* in: how long to go on, if it is not */
    double value[BENCH_METRICS]; /* out; NAN: the subject has no such thing */
    uint64_t n_done;             /* out: operations done */
    void *histogram;             /* for bench_round_samples() */
};

/* Moves samples into the case's percentiles. */
void bench_round_samples(struct bench_round *r, struct bench_samples *s);

struct bench_metric {
    const char *name, *unit;
};

struct bench_case {
    const char *label;
    double x;      /* what grows, for the charts */
    bool sized;    /* rounds are given a number of operations, not a time */
    double longer; /* rounds: the usual length times this, if not 0 */
    double fewer;  /* the usual number of them divided by this, if not 0 */
    bool once;     /* no warm-up: each round begins anew, and is long */
    uint64_t most; /* operations at most in a sized round, if not 0 */
    struct bench_metric metrics[BENCH_METRICS];
    void (*round)(struct bench_subject *s, struct bench_round *r);
};

/* Runs and prints one case. */
void bench_run(const struct bench_case *c, struct bench_subject *s, size_t n);

/* --------------------------------------------------------------------- time */

static inline uint64_t bench_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The CPU time of the process so far. */
uint64_t bench_cpu_ns(void);

/* The CPUs that this process may use. */
unsigned bench_n_cpus(void);

/* Computes for that long, or sleeps. */
void bench_spin_ns(uint64_t ns);
void bench_sleep_ns(uint64_t ns);

/* ------------------------------------------------------------------ threads */

/*
 * Threads that live through a case.  Each has samples of its own and a number
 * from 0.
 */
struct bench_counts { /* the body's; zeroed before a round */
    uint64_t n_calls; /* results taken */
    uint64_t n_runs;  /* of fn */
    uint64_t n_led;   /* results that say so, and so on */
    uint64_t n_joined;
    uint64_t n_followers; /* as the leaders' results count them */
};

struct bench_thread {
    char line[64]; /* nothing of this is shared with the thread before */
    unsigned number;
    struct bench_team *team;
    struct bench_counts counts;
    struct bench_samples samples;
};

struct bench_team *bench_team_create(unsigned n);
void bench_team_destroy(struct bench_team *t);
unsigned bench_team_size(const struct bench_team *t);
struct bench_thread *bench_team_thread(struct bench_team *t, unsigned number);

/*
 * All threads run body at once.  Returns the time from the start until the last
 * one has come back.  With ns, bench_stopped() becomes true after that time.
 */
uint64_t bench_team_run(struct bench_team *t, void (*body)(struct bench_thread *, void *),
                        void *arg, uint64_t ns);

/* The same in two steps, for who has something to do meanwhile. */
void bench_team_start(struct bench_team *t, void (*body)(struct bench_thread *, void *), void *arg);
void bench_team_wait(struct bench_team *t);
bool bench_stopped(const struct bench_thread *t);

/* Adds the threads' counts up, and moves their samples into r. */
struct bench_counts bench_team_sum(struct bench_team *t, struct bench_round *r);

/*
 * Counts one result, and checks the sums: whoever led ran fn, and who joined was
 * counted by who led.
 */
static inline void bench_count(struct bench_counts *c, const sflight_result *r)
{
    c->n_calls++;
    if (r->leader) {
        c->n_led++;
        c->n_followers += r->followers;
    } else {
        c->n_joined++;
    }
}

static inline void bench_check_counts(const struct bench_counts *c)
{
    BENCH_CHECK(c->n_led == c->n_runs && c->n_joined == c->n_followers);
    BENCH_CHECK(c->n_calls == c->n_led + c->n_joined);
}

/* --------------------------------------------------------------------- keys */

/* "product:00042", 13 bytes, no NUL counted. */
enum { BENCH_KEY_LEN = 13 };
struct bench_key {
    char text[16];
};
void bench_key_set(struct bench_key *k, unsigned long number);

#ifdef __cplusplus
}
#endif

#endif
