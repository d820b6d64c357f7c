/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * driver.c - puts the fleet demo's load on fleet-server, and measures it.
 *
 * 64 connections, the same number to each worker, ask for one page, which everybody wants: again a
 * few milliseconds after each answer.  Every answer's page is checked, against figures computed
 * from the whole database by another query.  A connection that breaks, as its worker is killed, is
 * made again and the request repeated; the time runs on meanwhile.
 *
 * A thread asks PostgreSQL all the time how many statements it has run, another one runs the
 * commands that do harm.  What came in each half second is left in a file, what all came to is
 * printed as one line.
 */
#include "../demo/client.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CONNECTIONS = 64, MAX_WORKERS = 64, MAX_FAULTS = 8, MAX_BINS = 1000, PRODUCT = 7 };

static const double bin_s = 0.5, think_s = 0.004;

static struct {
    unsigned ports[MAX_WORKERS], n_ports;
    double seconds;
    const char *out, *count_db;
    struct fault {
        double at_s;
        char name[32];
        const char *command;
        double done_s; /* from the start */
    } faults[MAX_FAULTS];
    unsigned n_faults;
} options = {.seconds = 10};

static double start_s, end_s;

/* ------------------------------------------------------------- PostgreSQL's view */

static PGconn *connect_db(const char *conninfo)
{
    PGconn *db = PQconnectdb(conninfo);
    if (PQstatus(db) != CONNECTION_OK)
        die("the database: %s", PQerrorMessage(db));
    return db;
}

static PGresult *query(PGconn *db, const char *sql)
{
    PGresult *rows = PQexec(db, sql);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        die("the database: %s", PQerrorMessage(db));
    return rows;
}

static int64_t number(const PGresult *rows, int row, int column)
{
    return strtoll(PQgetvalue(rows, row, column), NULL, 10);
}

static void read_expected(void)
{
    PGconn *db = connect_db("");
    PGresult *rows = query(
        db, "SELECT i.product, sum(i.quantity), sum(i.quantity * i.price), 0, 0 FROM order_items i "
            "WHERE i.order_id NOT IN (SELECT id FROM orders WHERE cancelled) GROUP BY i.product "
            "UNION ALL SELECT product, 0, 0, count(*), sum(stars) FROM reviews GROUP BY product");
    for (int i = 0; i < PQntuples(rows); i++)
        expect(number(rows, i, 0), number(rows, i, 1), number(rows, i, 2), number(rows, i, 3),
               number(rows, i, 4));
    PQclear(rows);
    PQfinish(db);
}

static int64_t count_statements(PGconn *db)
{
    PGresult *rows = query(db, "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements "
                               "WHERE query LIKE 'WITH shelf%'");
    const int64_t n = number(rows, 0, 0);
    PQclear(rows);
    return n;
}

/* ------------------------------------------------------------------------ load */

struct request {
    double begin_s, took_s;
};

static struct worker {
    unsigned port;
    struct request *requests;
    size_t n, capacity;
    unsigned n_cut; /* connections that broke */
} workers[N_CONNECTIONS];

static int64_t statements[MAX_BINS]; /* at the end of each half second */
static int64_t first_statements;
static unsigned n_bins;

static void sleep_s(double s)
{
    const struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    if (s > 0)
        nanosleep(&t, NULL);
}

static void note(struct worker *w, double begin, double end)
{
    if (w->n == w->capacity) {
        w->capacity = w->capacity * 2 + 1000;
        w->requests = realloc(w->requests, w->capacity * sizeof(*w->requests));
        if (w->requests == NULL)
            die("out of memory");
    }
    w->requests[w->n++] = (struct request){begin - start_s, end - begin};
}

static void *load(void *arg)
{
    struct worker *w = arg;
    struct connection c = {0};
    char url[URL_MAX];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/product/%u", w->port, PRODUCT);
    connection_open(&c);
    sleep_s(start_s - now_s());
    for (double begin; (begin = now_s()) < end_s; sleep_s(think_s)) {
        long status;
        while ((status = ask(&c, url)) == 0)
            w->n_cut++;
        if (status != 200)
            die("%s: HTTP status %ld", url, status);
        check_page(PRODUCT, c.body, c.size);
        note(w, begin, now_s());
    }
    curl_easy_cleanup(c.curl);
    return NULL;
}

static void *watch_statements(void *arg)
{
    PGconn *db = arg;
    for (n_bins = 0; n_bins < MAX_BINS && start_s + n_bins * bin_s < end_s; n_bins++) {
        sleep_s(start_s + (n_bins + 1) * bin_s - now_s());
        statements[n_bins] = count_statements(db) - first_statements;
    }
    return NULL;
}

static void *do_harm(void *unused)
{
    for (unsigned i = 0; i < options.n_faults; i++) {
        struct fault *f = &options.faults[i];
        sleep_s(start_s + f->at_s - now_s());
        f->done_s = now_s() - start_s;
        if (system(f->command) != 0)
            die("failed: %s", f->command);
    }
    return unused;
}

/* --------------------------------------------------------------------- results */

struct totals {
    double expiries, commands;
};

/* Of all workers, as they stand. */
static struct totals fetch_totals(void)
{
    struct totals t = {0};
    struct connection c = {0};
    connection_open(&c);
    for (unsigned i = 0; i < options.n_ports; i++) {
        fetch_metrics(&c, options.ports[i]);
        t.expiries += counter(c.body, "shop_cache_expiries_total") / options.n_ports;
        if (strstr(c.body, "\nsflight_fleet_commands_total ") != NULL)
            t.commands += counter(c.body, "sflight_fleet_commands_total");
    }
    curl_easy_cleanup(c.curl);
    return t;
}

/* The time of each request that began in [from, to). */
static size_t times_ms(double from, double to, double *out)
{
    size_t n = 0;
    for (unsigned i = 0; i < N_CONNECTIONS; i++) {
        for (size_t k = 0; k < workers[i].n; k++) {
            const struct request *r = &workers[i].requests[k];
            if (r->begin_s >= from && r->begin_s < to)
                out[n++] = r->took_s * 1e3;
        }
    }
    sort_values(out, n);
    return n;
}

/* The longest of those that were under way then. */
static double slowest_ms(double from, double to)
{
    double most = 0;
    for (unsigned i = 0; i < N_CONNECTIONS; i++) {
        for (size_t k = 0; k < workers[i].n; k++) {
            const struct request *r = &workers[i].requests[k];
            if (r->begin_s < to && r->begin_s + r->took_s >= from && r->took_s > most)
                most = r->took_s;
        }
    }
    return most * 1e3;
}

static void write_timeline(double *times)
{
    FILE *f = fopen(options.out, "w");
    if (f == NULL)
        die("%s: %s", options.out, strerror(errno));
    fprintf(f, "s\tstatements_per_s\trequests_per_s\tp99_ms\tslowest_ms\n");
    for (unsigned i = 0; i < n_bins; i++) {
        const size_t n = times_ms(i * bin_s, (i + 1) * bin_s, times);
        fprintf(f, "%g\t%g\t%g\t%g\t%g\n", (i + 0.5) * bin_s,
                (double)(statements[i] - (i == 0 ? 0 : statements[i - 1])) / bin_s,
                (double)n / bin_s, n == 0 ? 0 : percentile(times, n, 0.99),
                slowest_ms(i * bin_s, (i + 1) * bin_s));
    }
    for (unsigned i = 0; i < options.n_faults; i++)
        fprintf(f, "# fault\t%.2f\t%s\n", options.faults[i].done_s, options.faults[i].name);
    if (fclose(f) != 0)
        die("%s: %s", options.out, strerror(errno));
}

static void run(void)
{
    pthread_t threads[N_CONNECTIONS], watcher, harm;
    PGconn *db = connect_db(options.count_db);
    struct connection c = {0};
    connection_open(&c);
    for (unsigned i = 0; i < options.n_ports; i++)
        fetch_product(&c, options.ports[i], PRODUCT);
    curl_easy_cleanup(c.curl);
    const struct totals before = fetch_totals();
    first_statements = count_statements(db);
    start_s = now_s() + 0.1;
    end_s = start_s + options.seconds;
    for (unsigned i = 0; i < N_CONNECTIONS; i++) {
        workers[i].port = options.ports[i % options.n_ports];
        if (pthread_create(&threads[i], NULL, load, &workers[i]) != 0)
            die("cannot start a thread");
    }
    if (pthread_create(&watcher, NULL, watch_statements, db) != 0 ||
        pthread_create(&harm, NULL, do_harm, NULL) != 0)
        die("cannot start a thread");
    size_t n = 0;
    unsigned n_cut = 0;
    for (unsigned i = 0; i < N_CONNECTIONS; i++) {
        pthread_join(threads[i], NULL);
        n += workers[i].n;
        n_cut += workers[i].n_cut;
    }
    pthread_join(harm, NULL);
    pthread_join(watcher, NULL);
    const struct totals after = fetch_totals();
    const int64_t n_statements = count_statements(db) - first_statements;
    PQfinish(db);

    double *times = allocate(n + 1, sizeof(*times));
    write_timeline(times);
    times_ms(0, options.seconds, times);
    printf("%zu %" PRId64 " %.6g %.6g %.6g %.6g %.6g %u\n", n, n_statements,
           after.expiries - before.expiries, after.commands - before.commands,
           percentile(times, n, 0.5), percentile(times, n, 0.99), times[n - 1], n_cut);
    free(times);
    for (unsigned i = 0; i < N_CONNECTIONS; i++)
        free(workers[i].requests);
}

/* --------------------------------------------------------------------- options */

static const char usage[] =
    "usage: driver --count CONNINFO --out FILE [--seconds N] [--at 'SECOND NAME COMMAND']... "
    "PORT...\n"
    "\n"
    "Puts load on fleet-server's workers at those ports, for N seconds (default 10).  CONNINFO: "
    "for\n"
    "pg_stat_statements; what PGHOST and so on say is the shop.  COMMAND is run by the shell, "
    "that\n"
    "long after the start.  Leaves what each half second was in FILE, and prints a line:\n"
    "    requests statements expiries engine-commands p50-ms p99-ms slowest-ms connections-cut\n";

static void add_fault(const char *text)
{
    struct fault *f = &options.faults[options.n_faults++];
    int n = 0;
    if (options.n_faults > MAX_FAULTS || sscanf(text, "%lf %31s %n", &f->at_s, f->name, &n) != 2)
        die("not 'SECOND NAME COMMAND': %s", text);
    f->command = text + n;
}

int main(int argc, char **argv)
{
    enum { COUNT = 1, OUT, SECONDS, AT, HELP };
    static const struct option long_options[] = {{"count", required_argument, NULL, COUNT},
                                                 {"out", required_argument, NULL, OUT},
                                                 {"seconds", required_argument, NULL, SECONDS},
                                                 {"at", required_argument, NULL, AT},
                                                 {"help", no_argument, NULL, HELP},
                                                 {0}};
    argv[0] = program_invocation_short_name; /* for the messages of getopt_long() */
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case COUNT:
            options.count_db = optarg;
            break;
        case OUT:
            options.out = optarg;
            break;
        case SECONDS:
            options.seconds = strtod(optarg, NULL);
            break;
        case AT:
            add_fault(optarg);
            break;
        case HELP:
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            return 2;
        }
    }
    while (optind < argc && options.n_ports < MAX_WORKERS)
        options.ports[options.n_ports++] = (unsigned)strtoul(argv[optind++], NULL, 10);
    if (options.count_db == NULL || options.out == NULL || options.n_ports == 0) {
        fputs(usage, stderr);
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    read_expected();
    run();
    curl_global_cleanup();
    return EXIT_SUCCESS;
}
