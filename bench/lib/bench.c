/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include <argp.h>
#include <gsl/gsl_histogram.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics.h>
#include <json-c/json.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

struct bench_options bench = {.rounds = 15, .round_ms = 4};

static const char *program;
static struct json_object *rows;

/* ------------------------------------------------------------------ options */

enum { KEY_SMOKE = 256, KEY_REST };

static const struct argp_option options[] = {
    {"out", 'o', "DIR", 0, "Write DIR/NAME.csv and DIR/NAME.json", 0},
    {"rounds", 'r', "N", 0, "Rounds that count, for each subject of each case", 0},
    {"round-ms", 't', "MS", 0, "How long a round should last", 0},
    {"rest-ms", KEY_REST, "MS", 0,
     "Sleep before each round: on a busy machine the scheduler then lets it run for a while", 0},
    {"subjects", 's', "A,B", 0, "Only these subjects", 0},
    {"max", 'm', "N", 0, "The largest case: threads, waiters or calls, as the program counts", 0},
    {"smoke", KEY_SMOKE, NULL, 0, "One short round of small cases: are the answers right?", 0},
    {0}};

static double positive(const char *text, struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value <= 1e9))
        argp_error(state, "not a positive number: %s", text);
    return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'o':
        bench.out = arg;
        return 0;
    case 's':
        bench.subjects = arg;
        return 0;
    case 'r':
        bench.rounds = (unsigned)ceil(positive(arg, state));
        return 0;
    case 't':
        bench.round_ms = positive(arg, state);
        return 0;
    case KEY_REST:
        bench.rest_ms = positive(arg, state);
        return 0;
    case 'm':
        bench.max = positive(arg, state);
        return 0;
    case KEY_SMOKE:
        bench.smoke = true;
        bench.rounds = 1;
        bench.round_ms = 1;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/*
 * In a process that has never had a second thread glibc takes a mutex without a locked
 * instruction.  Nobody needs a library there, so there is always a second thread.
 */
static void *idle_main(void *unused)
{
    for (;;)
        pause();
    return unused;
}

void bench_begin(int argc, char **argv, const char *name, const char *about)
{
    pthread_t idle;
    BENCH_CHECK(pthread_create(&idle, NULL, idle_main, NULL) == 0);
    const struct argp argp = {.options = options, .parser = parse, .doc = about};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    program = name;
    rows = json_object_new_array();
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s: %s\n", name, about);
    printf("%-16s %9s %-13s %-8s %-5s %10s %10s %7s %9s %9s %9s %10s %8s\n", "case", "x", "subject",
           "metric", "unit", "min", "median", "spread", "p50 ns", "p99 ns", "p99.9 ns", "max ns",
           "/mutex64");
}

bool bench_wants(double x, double small_max)
{
    return x <= (bench.smoke ? small_max : INFINITY) && (bench.max == 0 || x <= bench.max);
}

/* ------------------------------------------------------------------ results */

static struct json_object *machine(void)
{
    struct json_object *o = json_object_new_object();
    struct utsname u;
    char line[256];
    uname(&u);
    json_object_object_add(o, "system", json_object_new_string(u.sysname));
    json_object_object_add(o, "release", json_object_new_string(u.release));
    json_object_object_add(o, "arch", json_object_new_string(u.machine));
    json_object_object_add(o, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            json_object_object_add(o, "model", json_object_new_string(colon + 2));
            break;
        }
    }
    if (f != NULL)
        fclose(f);
    return o;
}

static FILE *out_file(const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.%s", bench.out, program, suffix);
    FILE *f = fopen(path, "w");
    if (f == NULL)
        perror(path);
    return f;
}

static bool write_csv(void)
{
    FILE *f = out_file("csv");
    if (f == NULL)
        return false;
    for (size_t i = 0; i < json_object_array_length(rows); i++) {
        struct json_object *row = json_object_array_get_idx(rows, i);
        if (i == 0) {
            json_object_object_foreach(row, heading, unused)
            {
                (void)unused;
                fprintf(f, "%s%s", strcmp(heading, "question") == 0 ? "" : ",", heading);
            }
            fputc('\n', f);
        }
        json_object_object_foreach(row, name, value)
        {
            fprintf(f, "%s%s", strcmp(name, "question") == 0 ? "" : ",",
                    json_object_get_string(value));
        }
        fputc('\n', f);
    }
    return fclose(f) == 0;
}

static bool write_json(void)
{
    FILE *f = out_file("json");
    if (f == NULL)
        return false;
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "question", json_object_new_string(program));
    json_object_object_add(o, "library", json_object_new_string(sflight_version()));
    json_object_object_add(o, "machine", machine());
    json_object_object_add(o, "rows", json_object_get(rows));
    fprintf(f, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
    json_object_put(o);
    return fclose(f) == 0;
}

int bench_end(void)
{
    bool ok = bench.out == NULL || (write_csv() && write_json());
    json_object_put(rows);
    putchar('\n');
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --------------------------------------------------------------- histograms */
/*
 * Each power of two of nanoseconds is divided into 64 bins, as HDR histograms
 * are: a percentile is off by less than 2 %.
 */

enum { SUB_BINS = 64, OCTAVES = 32, N_BINS = SUB_BINS * (OCTAVES + 1) };

struct histogram {
    gsl_histogram *bins;
    double max;
};

static void histogram_init(struct histogram *h)
{
    static double ranges[N_BINS + 1];
    if (ranges[N_BINS] == 0) {
        for (int i = 0; i <= N_BINS; i++)
            ranges[i] = i < SUB_BINS ? i : ldexp(SUB_BINS + i % SUB_BINS, i / SUB_BINS - 1);
    }
    h->bins = gsl_histogram_alloc(N_BINS);
    BENCH_CHECK(h->bins != NULL);
    gsl_histogram_set_ranges(h->bins, ranges, N_BINS + 1);
    h->max = 0;
}

static double histogram_percentile(const struct histogram *h, double percent)
{
    double all = gsl_histogram_sum(h->bins), sum = 0;
    for (size_t i = 0; i < N_BINS; i++) {
        sum += gsl_histogram_get(h->bins, i);
        if (sum > 0 && sum >= all * percent / 100) {
            double lower, upper;
            gsl_histogram_get_range(h->bins, i, &lower, &upper);
            return upper < h->max ? upper : h->max;
        }
    }
    return h->max;
}

void bench_round_samples(struct bench_round *r, struct bench_samples *s)
{
    struct histogram *h = r->histogram;
    uint64_t n = s->n < BENCH_SAMPLES ? s->n : BENCH_SAMPLES;
    for (uint64_t i = 0; h != NULL && i < n; i++) {
        double ns = (double)s->ns[i];
        gsl_histogram_increment(h->bins, ns);
        if (ns > h->max)
            h->max = ns;
    }
    s->n = 0;
}

/* ------------------------------------------------------------------- rounds */

enum { MAX_ROUNDS = 1000 };

struct tally {
    double ns;  /* a round's length */
    uint64_t n; /* operations in it */
    uint64_t n_done;
    struct histogram latency;
    double value[BENCH_METRICS][MAX_ROUNDS];
};

static uint64_t one_round(const struct bench_case *c, struct bench_subject *s, struct tally *t,
                          struct bench_round *r, bool counts)
{
    *r = (struct bench_round){
        .n = t->n, .ns = (uint64_t)t->ns, .histogram = counts ? &t->latency : NULL};
    if (bench.rest_ms > 0)
        bench_sleep_ns((uint64_t)(bench.rest_ms * 1e6));
    uint64_t begin = bench_now_ns();
    c->round(s, r);
    return bench_now_ns() - begin;
}

/* Finds the number of operations that takes as long as a round should. */
static void size_round(const struct bench_case *c, struct bench_subject *s, struct tally *t)
{
    struct bench_round r;
    uint64_t most = c->most != 0 ? c->most : UINT64_C(1) << 40;
    if (!c->sized) {
        one_round(c, s, t, &r, false);
        return;
    }
    for (;;) {
        uint64_t ns = one_round(c, s, t, &r, false);
        double part = (double)ns / t->ns;
        if (t->n >= most || part > 0.7)
            return;
        t->n = part < 0.05 ? t->n * 8 : (uint64_t)((double)t->n / part) + 1;
        if (t->n > most)
            t->n = most;
    }
}

static void add_number(struct json_object *row, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.6g", value);
    json_object_object_add(row, name, json_object_new_double_s(value, text));
}

static void report(const struct bench_case *c, const struct bench_subject *s, size_t metric,
                   struct tally *t, unsigned rounds, double reference)
{
    const struct bench_metric *m = &c->metrics[metric];
    double *v = t->value[metric];
    if (isnan(v[0]))
        return;
    gsl_sort(v, 1, rounds);
    double median = gsl_stats_median_from_sorted_data(v, 1, rounds);
    double q1 = gsl_stats_quantile_from_sorted_data(v, 1, rounds, 0.25);
    double q3 = gsl_stats_quantile_from_sorted_data(v, 1, rounds, 0.75);
    double spread = q3 - q1;
    bool sampled = metric == 0 && t->latency.max > 0;
    double p50 = sampled ? histogram_percentile(&t->latency, 50) : 0;
    double p90 = sampled ? histogram_percentile(&t->latency, 90) : 0;
    double p99 = sampled ? histogram_percentile(&t->latency, 99) : 0;
    double p999 = sampled ? histogram_percentile(&t->latency, 99.9) : 0;

    printf("%-16s %9.0f %-13s %-8s %-5s %10.5g %10.5g %6.1f%%", c->label, c->x, s->name, m->name,
           m->unit, v[0], median, median > 0 ? 100 * spread / median : 0);
    if (sampled)
        printf(" %9.0f %9.0f %9.0f %10.0f", p50, p99, p999, t->latency.max);
    else
        printf(" %9s %9s %9s %10s", "-", "-", "-", "-");
    if (reference > 0)
        printf(" %8.2f\n", v[0] / reference);
    else
        printf(" %8s\n", "-");

    struct json_object *row = json_object_new_object();
    json_object_object_add(row, "question", json_object_new_string(program));
    json_object_object_add(row, "case", json_object_new_string(c->label));
    add_number(row, "x", c->x);
    json_object_object_add(row, "subject", json_object_new_string(s->name));
    json_object_object_add(row, "metric", json_object_new_string(m->name));
    json_object_object_add(row, "unit", json_object_new_string(m->unit));
    add_number(row, "min", v[0]);
    add_number(row, "q1", q1);
    add_number(row, "median", median);
    add_number(row, "q3", q3);
    add_number(row, "spread", median > 0 ? spread / median : 0);
    add_number(row, "p50_ns", p50);
    add_number(row, "p90_ns", p90);
    add_number(row, "p99_ns", p99);
    add_number(row, "p999_ns", p999);
    add_number(row, "max_ns", t->latency.max);
    json_object_object_add(row, "rounds", json_object_new_int64((int64_t)rounds));
    json_object_object_add(row, "operations", json_object_new_int64((int64_t)t->n_done));
    json_object_array_add(rows, row);
}

void bench_run(const struct bench_case *c, struct bench_subject *s, size_t n)
{
    struct tally *tallies = calloc(n != 0 ? n : 1, sizeof(*tallies));
    unsigned rounds = bench.rounds;
    if (c->fewer > 1)
        rounds = (unsigned)(rounds / c->fewer) + 1;
    if (bench.smoke)
        rounds = 1;
    if (rounds > MAX_ROUNDS)
        rounds = MAX_ROUNDS;
    BENCH_CHECK(tallies != NULL);
    for (size_t i = 0; i < n; i++) {
        tallies[i].n = 64;
        tallies[i].ns = bench.round_ms * 1e6 * (c->longer > 0 && !bench.smoke ? c->longer : 1);
        histogram_init(&tallies[i].latency);
        if (!bench.smoke && !c->once)
            size_round(c, &s[i], &tallies[i]);
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t k = 0; k < n; k++) {
            size_t i = (k + round) % n; /* nobody always follows the same one */
            struct bench_round r;
            one_round(c, &s[i], &tallies[i], &r, true);
            tallies[i].n_done += r.n_done;
            for (size_t m = 0; m < BENCH_METRICS; m++)
                tallies[i].value[m][round] = r.value[m];
        }
    }
    for (size_t m = 0; m < BENCH_METRICS && c->metrics[m].name != NULL; m++) {
        double reference = 0;
        for (size_t i = 0; i < n; i++) {
            if (strcmp(s[i].name, "mutex64") == 0)
                reference = gsl_stats_min(tallies[i].value[m], 1, rounds);
        }
        for (size_t i = 0; i < n; i++)
            report(c, &s[i], m, &tallies[i], rounds, reference);
    }
    for (size_t i = 0; i < n; i++)
        gsl_histogram_free(tallies[i].latency.bins);
    free(tallies);
}

/* ----------------------------------------------------------------- subjects */

static bool wanted(const char *name)
{
    size_t len = strlen(name);
    for (const char *p = bench.subjects; p != NULL; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, name, len) == 0 && (p[len] == '\0' || p[len] == ','))
            return true;
    return bench.subjects == NULL;
}

size_t bench_subject_add(struct bench_subject s[BENCH_SUBJECTS], size_t n, const char *name,
                         const struct flight_ops *ops, void *own)
{
    if (!wanted(name))
        return n;
    BENCH_CHECK(n < BENCH_SUBJECTS);
    s[n] = (struct bench_subject){.name = name, .ops = ops, .own = own};
    return n + 1;
}

size_t bench_subjects(struct bench_subject s[BENCH_SUBJECTS])
{
    size_t n = 0;
    const struct flight_ops *ops;
    for (size_t i = 0; (ops = flight_nth(i)) != NULL; i++)
        if (ops != &flight_none)
            n = bench_subject_add(s, n, ops->name, ops, NULL);
    return n;
}

void bench_groups_create(struct bench_subject *s, size_t n, size_t expected_inflight)
{
    for (size_t i = 0; i < n; i++)
        if (s[i].ops != NULL)
            BENCH_CHECK(s[i].ops->create(&s[i].group, expected_inflight) == 0);
}

void bench_groups_destroy(struct bench_subject *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i].ops != NULL)
            BENCH_CHECK(s[i].ops->destroy(s[i].group) == 0);
}

/* --------------------------------------------------------------------- time */

uint64_t bench_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void bench_spin_ns(uint64_t ns)
{
    if (ns == 0)
        return;
    uint64_t end = bench_now_ns() + ns;
    while (bench_now_ns() < end)
        ;
}

void bench_sleep_ns(uint64_t ns)
{
    struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

void bench_key_set(struct bench_key *k, unsigned long number)
{
    char text[32];
    snprintf(text, sizeof(text), "prod:%08lu", number % 100000000);
    memcpy(k->text, text, sizeof(k->text));
}
