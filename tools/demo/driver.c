/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * driver.c - puts the demo's load on singleflight-server and measures it.
 *
 * 64 connections, a thread and a curl handle each, take the next request of the
 * scene as soon as they have their answer.  Every scene runs once with each way
 * to coalesce, against a server of its own; that is one round, and rounds
 * repeat as long as there is time, so that a noisy minute hits all modes alike.
 * What is reported is the median of the rounds.
 *
 * Every page that arrives is checked: its figures against those computed here
 * from the whole database by other queries, its whole text against the first
 * copy of the same page that any server sent.
 */
#include "client.h"
#include "shop.h"

#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_CONNECTIONS = 64, MAX_ROUNDS = 7 };

/* -------------------------------------------------------------------- scenes */

static const struct scene {
    const char *name, *title;
    size_t n_requests;  /* at most */
    double limit_s;     /* at most */
    unsigned n_hottest; /* only the trace's requests for so many hottest pages; 0: all */
    unsigned cache_ttl_ms;
} scenes[] = {
    {"trace", "the first 2,000 requests of the trace, no page cache", 2000, 60, 0, 0},
    {"stampede", "1.5 s of those for the 8 hottest pages, each cached for 250 ms", 1000000, 1.5, 8,
     250},
};

static const char *const modes[] = {"none", "mutex", "singleflight"};

enum { N_SCENES = sizeof(scenes) / sizeof(scenes[0]), N_MODES = sizeof(modes) / sizeof(modes[0]) };

/* What one run, or the median of some, came to. */
enum { REQUESTS, QUERIES, PER_SECOND, P50_MS, P99_MS, P999_MS, CPU_S, N_FIGURES };
struct run {
    double figure[N_FIGURES];
};

static const char *server_file, *db_file, *trace_file, *out_dir;
static double budget_s = 75;

/* --------------------------------------------------------------------- tools */

static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

/* Sorts the values. */
static double median(double *values, size_t n)
{
    sort_values(values, n);
    return n % 2 != 0 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* --------------------------------------------------------------------- trace */

static uint32_t *trace;
static size_t n_trace;

static void read_trace(void)
{
    struct stat st;
    FILE *f = fopen(trace_file, "rb");
    if (f == NULL || fstat(fileno(f), &st) != 0)
        die("%s: %s", trace_file, strerror(errno));
    n_trace = (size_t)st.st_size / 4;
    trace = allocate(n_trace + 1, 4);
    if (n_trace == 0 || fread(trace, 4, n_trace, f) != n_trace)
        die("%s: not a trace", trace_file);
    fclose(f);
    for (size_t i = 0; i < n_trace; i++) {
        trace[i] = be32toh(trace[i]);
        if (trace[i] >= SHOP_PRODUCTS)
            die("%s: names product %" PRIu32 ", which the shop has not", trace_file, trace[i]);
    }
}

struct heat {
    uint32_t product;
    uint32_t n_requests;
};

static int hottest_first(const void *a, const void *b)
{
    const struct heat *x = a, *y = b;
    if (x->n_requests != y->n_requests)
        return x->n_requests < y->n_requests ? 1 : -1;
    return (x->product > y->product) - (x->product < y->product);
}

/* The scene's requests: those of the trace it wants, again from the start where it ends. */
static uint32_t *scene_requests(const struct scene *scene)
{
    static bool wanted[SHOP_PRODUCTS];
    static struct heat heat[SHOP_PRODUCTS];
    for (uint32_t i = 0; i < SHOP_PRODUCTS; i++)
        heat[i] = (struct heat){i, 0};
    for (size_t i = 0; i < n_trace; i++)
        heat[trace[i]].n_requests++;
    qsort(heat, SHOP_PRODUCTS, sizeof(heat[0]), hottest_first);
    const unsigned n_hottest = scene->n_hottest == 0 ? SHOP_PRODUCTS : scene->n_hottest;
    for (unsigned i = 0; i < SHOP_PRODUCTS; i++)
        wanted[heat[i].product] = i < n_hottest;

    uint32_t *requests = allocate(scene->n_requests, sizeof(*requests));
    for (size_t i = 0, n = 0; n < scene->n_requests; i = (i + 1) % n_trace) {
        if (wanted[trace[i]])
            requests[n++] = trace[i];
    }
    return requests;
}

/* --------------------------------------------------------------- what is right */

static void read_expected(void)
{
    static const char sql[] =
        "SELECT product, sum(quantity), sum(quantity * price), 0, 0 FROM order_items "
        "WHERE order_id NOT IN (SELECT id FROM orders WHERE cancelled) GROUP BY product "
        "UNION ALL SELECT product, 0, 0, count(*), sum(stars) FROM reviews GROUP BY product";
    sqlite3 *db;
    sqlite3_stmt *row;
    if (sqlite3_open_v2(db_file, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, sql, -1, &row, NULL) != SQLITE_OK)
        die("%s: %s", db_file, sqlite3_errmsg(db));
    int rc;
    while ((rc = sqlite3_step(row)) == SQLITE_ROW) {
        expect(sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1),
               sqlite3_column_int64(row, 2), sqlite3_column_int64(row, 3),
               sqlite3_column_int64(row, 4));
    }
    if (rc != SQLITE_DONE)
        die("%s: %s", db_file, sqlite3_errmsg(db));
    sqlite3_finalize(row);
    sqlite3_close(db);
}

/* -------------------------------------------------------------------- server */

struct server {
    pid_t pid;
    unsigned port;
};

/* Starts a server and waits until it says where it listens. */
static struct server start_server(const char *mode, unsigned cache_ttl_ms)
{
    char ttl[16];
    snprintf(ttl, sizeof(ttl), "%u", cache_ttl_ms);
    int out[2];
    if (pipe(out) != 0)
        die("pipe: %s", strerror(errno));
    fflush(stdout);
    const pid_t driver = getpid();
    struct server s = {.pid = fork()};
    if (s.pid < 0)
        die("fork: %s", strerror(errno));
    if (s.pid == 0) {
        /* However the driver ends, its server does not stay behind. */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != driver)
            _exit(EXIT_FAILURE);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(server_file, server_file, "--db", db_file, "--port", "0", "--coalesce", mode,
              "--cache-ttl-ms", ttl, (char *)NULL);
        fprintf(stderr, "demo: %s: %s\n", server_file, strerror(errno));
        _exit(EXIT_FAILURE);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (f == NULL || fscanf(f, "singleflight-server: http://127.0.0.1:%u", &s.port) != 1)
        die("the server did not start");
    fclose(f);
    return s;
}

static void stop_server(struct server s)
{
    int status;
    kill(s.pid, SIGTERM);
    if (waitpid(s.pid, &status, 0) != s.pid || status != 0)
        die("the server did not end well (wait status %d)", status);
}

/* ------------------------------------------------------------------ counters */

struct counters {
    double queries, cpu_s;
};

static struct counters fetch_counters(struct connection *c, unsigned port)
{
    fetch_metrics(c, port);
    return (struct counters){counter(c->body, "shop_db_queries_total"),
                             counter(c->body, "process_cpu_seconds_total")};
}

/* ---------------------------------------------------------------------- runs */

/* What the connections of a run share. */
struct load {
    unsigned port;
    const uint32_t *requests;
    size_t n_requests;
    atomic_size_t next;
    double end_s;       /* now_s() from which on no request begins */
    double *latency_ms; /* of each request */
    pthread_barrier_t warm;
};

struct worker {
    struct load *load;
    uint32_t warm_up; /* a product that no other worker starts with */
};

static void *work(void *arg)
{
    const struct worker *w = arg;
    struct load *load = w->load;
    struct connection c = {0};
    connection_open(&c);
    /* The server's thread opens its database for the first page it makes. */
    fetch_product(&c, load->port, w->warm_up);
    pthread_barrier_wait(&load->warm); /* everybody is connected */
    pthread_barrier_wait(&load->warm); /* the counters have been read */
    for (;;) {
        const double start = now_s();
        if (start >= load->end_s)
            break;
        const size_t i = atomic_fetch_add(&load->next, 1);
        if (i >= load->n_requests)
            break;
        fetch_product(&c, load->port, load->requests[i]);
        load->latency_ms[i] = (now_s() - start) * 1e3;
    }
    curl_easy_cleanup(c.curl);
    return NULL;
}

static struct run run_scene(const struct scene *scene, const uint32_t *requests, const char *mode)
{
    struct server server = start_server(mode, scene->cache_ttl_ms);
    struct load load = {.port = server.port, .requests = requests, .n_requests = scene->n_requests};
    load.latency_ms = allocate(scene->n_requests, sizeof(double));
    pthread_barrier_init(&load.warm, NULL, N_CONNECTIONS + 1);
    struct connection side = {0};
    connection_open(&side);

    pthread_t threads[N_CONNECTIONS];
    struct worker workers[N_CONNECTIONS];
    for (unsigned i = 0; i < N_CONNECTIONS; i++) {
        workers[i] = (struct worker){&load, SHOP_PRODUCTS - 1 - i};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            die("cannot start a thread");
    }
    pthread_barrier_wait(&load.warm);
    const struct counters before = fetch_counters(&side, server.port);
    const double start = now_s();
    load.end_s = start + scene->limit_s;
    pthread_barrier_wait(&load.warm);
    for (unsigned i = 0; i < N_CONNECTIONS; i++)
        pthread_join(threads[i], NULL);
    const double wall_s = now_s() - start;
    const struct counters after = fetch_counters(&side, server.port);
    curl_easy_cleanup(side.curl);
    stop_server(server);

    const size_t n = load.next < load.n_requests ? load.next : load.n_requests;
    sort_values(load.latency_ms, n);
    struct run run = {.figure = {[REQUESTS] = (double)n,
                                 [QUERIES] = after.queries - before.queries,
                                 [PER_SECOND] = (double)n / wall_s,
                                 [P50_MS] = percentile(load.latency_ms, n, 0.5),
                                 [P99_MS] = percentile(load.latency_ms, n, 0.99),
                                 [P999_MS] = percentile(load.latency_ms, n, 0.999),
                                 [CPU_S] = after.cpu_s - before.cpu_s}};
    pthread_barrier_destroy(&load.warm);
    free(load.latency_ms);
    return run;
}

/* ------------------------------------------------------------------- results */

/* The table, for people to f and for the chart to data. */
static void print_results(FILE *f, FILE *data, struct run runs[N_SCENES][N_MODES][MAX_ROUNDS],
                          size_t n_rounds)
{
    fprintf(data, "scene\tmode\trequests\tdatabase_queries\trequests_per_s\tp50_ms\tp99_ms\t"
                  "p999_ms\tserver_cpu_s\n");
    fprintf(f, "%-9s %-13s %8s %10s %11s %9s %9s %9s %9s\n", "scene", "mode", "requests",
            "database", "requests/s", "p50", "p99", "p99.9", "server");
    fprintf(f, "%-9s %-13s %8s %10s %11s %9s %9s %9s %9s\n", "", "", "", "queries", "", "ms", "ms",
            "ms", "CPU s");
    for (size_t s = 0; s < N_SCENES; s++) {
        for (size_t m = 0; m < N_MODES; m++) {
            double figure[N_FIGURES];
            for (size_t i = 0; i < N_FIGURES; i++) {
                double values[MAX_ROUNDS];
                for (size_t r = 0; r < n_rounds; r++)
                    values[r] = runs[s][m][r].figure[i];
                figure[i] = median(values, n_rounds);
            }
            fprintf(f, "%-9s %-13s %8.0f %10.0f %11.0f %9.2f %9.2f %9.2f %9.2f\n", scenes[s].name,
                    modes[m], figure[REQUESTS], figure[QUERIES], figure[PER_SECOND], figure[P50_MS],
                    figure[P99_MS], figure[P999_MS], figure[CPU_S]);
            fprintf(data, "%s\t%s", scenes[s].name, modes[m]);
            for (size_t i = 0; i < N_FIGURES; i++)
                fprintf(data, "\t%.6g", figure[i]);
            fputc('\n', data);
        }
    }
}

static void run_all(void)
{
    static struct run runs[N_SCENES][N_MODES][MAX_ROUNDS];
    uint32_t *requests[N_SCENES];
    for (size_t s = 0; s < N_SCENES; s++) {
        requests[s] = scene_requests(&scenes[s]);
        printf("scene %s: %s\n", scenes[s].name, scenes[s].title);
    }

    const double start = now_s();
    size_t n_rounds = 0;
    do {
        for (size_t s = 0; s < N_SCENES; s++) {
            for (size_t i = 0; i < N_MODES; i++) {
                const size_t m = (i + n_rounds) % N_MODES; /* a different one comes first */
                printf("round %zu, %5.1f s: %s, %s ...", n_rounds + 1, now_s() - start,
                       scenes[s].name, modes[m]);
                fflush(stdout);
                struct run run = run_scene(&scenes[s], requests[s], modes[m]);
                runs[s][m][n_rounds] = run;
                printf(" %.0f requests, %.0f database queries, p99 %.1f ms\n", run.figure[REQUESTS],
                       run.figure[QUERIES], run.figure[P99_MS]);
            }
        }
        n_rounds++;
        /* One more only if it fits. */
    } while (n_rounds < MAX_ROUNDS &&
             (now_s() - start) * (double)(n_rounds + 1) / (double)n_rounds < budget_s);

    char name[4096];
    snprintf(name, sizeof(name), "%s/demo.tsv", out_dir);
    FILE *data = fopen(name, "w");
    if (data == NULL)
        die("%s: %s", name, strerror(errno));
    printf("\nmedians of %zu rounds, %d connections; all pages were right; the driver itself used "
           "%.1f s of CPU\n\n",
           n_rounds, N_CONNECTIONS, cpu_s());
    print_results(stdout, data, runs, n_rounds);
    if (fclose(data) != 0)
        die("%s: %s", name, strerror(errno));
    for (size_t s = 0; s < N_SCENES; s++)
        free(requests[s]);
}

/* ------------------------------------------------------------------- options */

static const char usage[] =
    "usage: driver --server PROGRAM --db FILE --trace FILE --out DIRECTORY [--budget-s N]\n"
    "\n"
    "Runs the scenes of the demo, for about N seconds (default 75; one round at least), and\n"
    "prints a table, which is also left in DIRECTORY/demo.tsv.\n";

int main(int argc, char **argv)
{
    enum { SERVER = 1, DB, TRACE, OUT, BUDGET_S, HELP };
    static const struct option long_options[] = {{"server", required_argument, NULL, SERVER},
                                                 {"db", required_argument, NULL, DB},
                                                 {"trace", required_argument, NULL, TRACE},
                                                 {"out", required_argument, NULL, OUT},
                                                 {"budget-s", required_argument, NULL, BUDGET_S},
                                                 {"help", no_argument, NULL, HELP},
                                                 {0}};
    argv[0] = program_invocation_short_name; /* for the messages of getopt_long() */
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case SERVER:
            server_file = optarg;
            break;
        case DB:
            db_file = optarg;
            break;
        case TRACE:
            trace_file = optarg;
            break;
        case OUT:
            out_dir = optarg;
            break;
        case BUDGET_S:
            budget_s = strtod(optarg, NULL);
            break;
        case HELP:
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            return 2;
        }
    }
    if (optind != argc || server_file == NULL || db_file == NULL || trace_file == NULL ||
        out_dir == NULL) {
        fputs(usage, stderr);
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    read_trace();
    read_expected();
    run_all();
    curl_global_cleanup();
    free(trace);
    return EXIT_SUCCESS;
}
