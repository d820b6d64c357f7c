/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c - fleet-server, the demo's web shop by prefork workers: processes that share nothing but
 * a PostgreSQL and, if the pages are coalesced over all of them, an engine.
 *
 * Each worker has a port and a page cache of its own, a thread for each connection and for each of
 * these a connection to PostgreSQL.  On a miss the page is made
 *     none     by whoever asks
 *     process  by one thread of each worker (sflight_do)
 *     fleet    by one thread of one worker  (sflight_fleet_do)
 *
 * A page goes from worker to worker as its text, after the moment at which it was made: whoever
 * keeps it counts its age from then, so that all workers' copies expire together.
 *
 * The first process only holds the ports, and starts another worker where one has died.
 */
#include "../demo/metrics.h"
#include "../demo/number.h"
#include "../demo/page_cache.h"
#include "../demo/web.h"
#include "../event/shop_pg.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <singleflight_fleet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORKERS = 64 };
enum mode { NONE, PROCESS, FLEET };
static const char *const modes[] = {"none", "process", "fleet"};

static struct {
    const char *db, *engine, *name;
    uint16_t port;
    unsigned n_workers;
    enum mode mode;
    unsigned lease_ms, engine_timeout_ms;
    uint64_t cache_ttl_ms; /* 0: no cache */
} options = {.db = "",
             .name = "shop.v1",
             .port = 8080,
             .n_workers = 8,
             .mode = FLEET,
             .lease_ms = 3000,
             .engine_timeout_ms = 250};

/* What the first process sees too; of a worker and of those before it in its place. */
static struct shared {
    atomic_bool die; /* the next query's worker is to die in it */
    struct place {
        atomic_int pid;
        atomic_uint_fast64_t n_requests, n_hits, n_failures, n_queries, n_expired;
    } places[MAX_WORKERS];
} * shared;

static int sockets[MAX_WORKERS];

/* Of a worker. */
static struct place *place;
static struct page_cache *cache; /* or NULL */
static sflight_group *group;     /* of the mode process */
static sflight_fleet *fleet;     /* of the mode fleet */
static pthread_key_t thread_db;

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "fleet-server: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* ------------------------------------------------------------------ database */

static void close_db(void *db)
{
    PQfinish(db);
}

/* The calling thread's connection, or NULL. */
static PGconn *open_db(void)
{
    PGconn *db = pthread_getspecific(thread_db);
    if (db != NULL && PQstatus(db) == CONNECTION_OK)
        return db;
    PQfinish(db);
    db = PQconnectdb(options.db);
    PGresult *prepared = PQprepare(db, "page", shop_page_sql, 1, NULL);
    const bool ok = PQresultStatus(prepared) == PGRES_COMMAND_OK;
    PQclear(prepared);
    if (!ok) {
        fail("the database", PQerrorMessage(db));
        PQfinish(db);
        db = NULL;
    }
    pthread_setspecific(thread_db, db);
    return db;
}

/* One query.  Returns an HTTP status; with 200 a page with one reference. */
static int query_page(uint32_t product, struct page **out)
{
    char text[12];
    const char *const parameters[] = {text};
    PGconn *db = open_db();
    if (db == NULL)
        return 500;
    snprintf(text, sizeof(text), "%" PRIu32, product);
    atomic_fetch_add(&place->n_queries, 1);
    if (PQsendQueryPrepared(db, "page", 1, parameters, NULL, NULL, 0) == 0)
        return 500;
    if (atomic_exchange(&shared->die, false))
        raise(SIGKILL);
    int status = 500;
    PGresult *rows;
    while ((rows = PQgetResult(db)) != NULL) {
        if (PQresultStatus(rows) != PGRES_TUPLES_OK)
            fail("a query", PQerrorMessage(db));
        else if (PQntuples(rows) == 0)
            status = 404;
        else
            status = (*out = shop_page_of(rows)) != NULL ? 200 : 503;
        PQclear(rows);
    }
    return status;
}

/* --------------------------------------------------------------------- pages */

/* A page as it goes from one to another. */
struct copy {
    uint64_t made_ns; /* as in struct page */
    char html[];
};

static void free_copy(void *copy, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    free(copy);
}

static size_t html_size(const sflight_result *r)
{
    return r->size - sizeof(struct copy);
}

/* Puts what another worker has made into the cache. */
static void keep(uint32_t product, const sflight_result *r)
{
    struct page *page = cache != NULL ? page_cache_get(cache, product) : NULL;
    if (cache != NULL && page == NULL) {
        const struct copy *copy = r->value;
        page = page_of(copy->made_ns, copy->html, html_size(r));
        if (page != NULL)
            page_cache_put(cache, product, page);
    }
    if (page != NULL)
        page_unref(page);
}

/* The work of a call: the page of the product that arg points to. */
static int load_page(sflight_call *call, void *arg)
{
    const uint32_t product = *(const uint32_t *)arg;
    /* A call that ended between this caller's look at the cache and its claim
       of the key has left a fresh page there. */
    struct page *page = cache != NULL ? page_cache_get(cache, product) : NULL;
    int status = 200;
    if (page == NULL) {
        status = query_page(product, &page);
        if (status == 200 && cache != NULL)
            page_cache_put(cache, product, page);
    }
    if (page == NULL)
        return status;
    struct copy *copy = malloc(sizeof(*copy) + page->size);
    if (copy != NULL) {
        copy->made_ns = page->made_ns;
        memcpy(copy->html, page->html, page->size);
        sflight_call_set(call, copy, sizeof(*copy) + page->size, free_copy, NULL);
    }
    page_unref(page);
    return copy != NULL ? 200 : 503;
}

static void give_back_page(void *page)
{
    page_unref(page);
}

static void give_back_result(void *result)
{
    sflight_result_release(result);
    free(result);
}

static enum MHD_Result answer_failure(struct MHD_Connection *c, int status)
{
    if (status != 404)
        atomic_fetch_add(&place->n_failures, 1);
    return web_error(c, (unsigned)status);
}

static enum MHD_Result answer_by_query(struct MHD_Connection *c, uint32_t product)
{
    struct page *page = NULL;
    const int status = query_page(product, &page);
    if (status != 200)
        return answer_failure(c, status);
    if (cache != NULL)
        page_cache_put(cache, product, page);
    return web_page(c, page->html, page->size, give_back_page, page);
}

static enum MHD_Result answer_by_call(struct MHD_Connection *c, uint32_t product)
{
    sflight_result *r = malloc(sizeof(*r));
    if (r == NULL)
        return answer_failure(c, 503);
    int rc;
    if (options.mode == FLEET) {
        char key[16]; /* as redis-cli shows it */
        const int n = snprintf(key, sizeof(key), "/product/%" PRIu32, product);
        rc = sflight_fleet_do(fleet, key, (size_t)n, load_page, &product, NULL, r);
    } else {
        rc = sflight_do(group, &product, sizeof(product), load_page, &product, r);
    }
    if (rc == 0 && r->status == 200) {
        const struct copy *copy = r->value;
        keep(product, r);
        return web_page(c, copy->html, html_size(r), give_back_result, r);
    }
    const int status = rc == 0 ? r->status : 503;
    give_back_result(r);
    return answer_failure(c, status);
}

static enum MHD_Result answer_product(struct MHD_Connection *c, const char *number)
{
    unsigned long product;
    if (!parse_number(number, SHOP_PRODUCTS - 1, &product))
        return web_error(c, 404);
    atomic_fetch_add(&place->n_requests, 1);
    struct page *cached = cache != NULL ? page_cache_get(cache, (uint32_t)product) : NULL;
    if (cached != NULL) {
        atomic_fetch_add(&place->n_hits, 1);
        return web_page(c, cached->html, cached->size, give_back_page, cached);
    }
    return options.mode == NONE ? answer_by_query(c, (uint32_t)product)
                                : answer_by_call(c, (uint32_t)product);
}

/* ------------------------------------------------------------------- metrics */

static bool write_workers(FILE *f)
{
    for (unsigned i = 0; i < options.n_workers; i++)
        fprintf(f, "worker %u: port %u, pid %d\n", i, web_port(sockets[i]), shared->places[i].pid);
    return true;
}

static bool write_metrics(FILE *f)
{
    char name[64];
    uint64_t value;
    bool now;
    metric(f, "shop_requests_total", "counter", "Requests for a product page.",
           (double)place->n_requests);
    metric(f, "shop_cache_hits_total", "counter", "Of these, answered from the page cache.",
           (double)place->n_hits);
    metric(f, "shop_failures_total", "counter", "Of these, failed.", (double)place->n_failures);
    metric(f, "shop_db_queries_total", "counter", "Database queries.", (double)place->n_queries);
    metric(f, "shop_cache_expiries_total", "counter", "Pages found expired in the page cache.",
           cache != NULL ? (double)page_cache_expiries(cache) : 0);
    metric(f, "process_pid", "gauge", "The worker's process.", getpid());
    metrics_of_process(f);
    if (options.mode == PROCESS)
        metrics_of_group(f, group);
    if (options.mode == FLEET) {
        sflight_fleet_counters c;
        sflight_fleet_stats(fleet, &c);
        const char *what;
        for (unsigned i = 0; (what = sflight_fleet_counter(&c, i, &value, &now)) != NULL; i++) {
            snprintf(name, sizeof(name), "sflight_fleet_%s%s", what, now ? "" : "_total");
            metric(f, name, now ? "gauge" : "counter", "See sflight_fleet_counters.",
                   (double)value);
        }
    }
    return true;
}

static enum MHD_Result route(struct MHD_Connection *c, const char *path)
{
    static const char product_prefix[] = "/product/";
    if (strncmp(path, product_prefix, sizeof(product_prefix) - 1) == 0)
        return answer_product(c, path + sizeof(product_prefix) - 1);
    if (strcmp(path, "/metrics") == 0)
        return web_written(c, "text/plain; version=0.0.4", write_metrics);
    if (strcmp(path, "/workers") == 0)
        return web_written(c, "text/plain", write_workers);
    if (strcmp(path, "/healthz") == 0)
        return web_text(c, 200, "ok\n");
    return web_error(c, 404);
}

/* ------------------------------------------------------------------- workers */

static int create_fleet(void)
{
    sflight_fleet_options o;
    sflight_fleet_options_init(&o);
    o.name = options.name;
    o.address = options.engine;
    o.lease_ms = options.lease_ms;
    o.engine_timeout_ms = options.engine_timeout_ms;
    return sflight_fleet_create(&fleet, &o);
}

static int destroy_fleet(void)
{
    struct timespec soon;
    clock_gettime(CLOCK_MONOTONIC, &soon);
    soon.tv_sec += 5;
    sflight_fleet_close(fleet, &soon);
    return sflight_fleet_destroy(fleet);
}

/* A worker's life; returns its exit status.  Writes a byte to ready once it serves. */
static int work(unsigned number, int ready)
{
    place = &shared->places[number];
    int rc = pthread_key_create(&thread_db, close_db);
    if (rc != 0)
        return fail("cannot start", strerror(rc));
    if (options.cache_ttl_ms != 0) {
        cache = page_cache_create(SHOP_PRODUCTS, options.cache_ttl_ms);
        if (cache == NULL)
            return fail("cannot start", strerror(ENOMEM));
    }
    if (options.mode == PROCESS)
        rc = sflight_group_create(&group, NULL);
    else if (options.mode == FLEET)
        rc = create_fleet();
    if (rc != 0)
        return fail("cannot start", sflight_strerror(rc));
    struct MHD_Daemon *daemon = web_start(sockets[number], route);
    if (daemon == NULL)
        return EXIT_FAILURE; /* libmicrohttpd has said why */
    const bool told = write(ready, "", 1) == 1;
    close(ready);
    if (told)
        web_serve(daemon);
    if (options.mode == PROCESS)
        rc = sflight_group_destroy(group);
    else if (options.mode == FLEET)
        rc = destroy_fleet();
    page_cache_destroy(cache);
    return rc == 0 ? EXIT_SUCCESS : fail("cannot clean up", sflight_strerror(rc));
}

/* Starts a worker, and waits until it serves.  False: it does not. */
static bool start_worker(unsigned number)
{
    int ready[2];
    char byte;
    const pid_t first = getpid();
    if (pipe(ready) != 0)
        return false;
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        close(ready[0]);
        exit(getppid() == first ? work(number, ready[1]) : EXIT_FAILURE);
    }
    close(ready[1]);
    shared->places[number].pid = pid;
    const bool serves = pid > 0 && read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    return serves;
}

static unsigned worker_of(pid_t pid)
{
    unsigned i = 0;
    while (i < options.n_workers && shared->places[i].pid != pid)
        i++;
    return i;
}

/* The first process: until SIGTERM or SIGINT.  SIGUSR1: the next query's worker dies in it. */
static int supervise(const sigset_t *signals)
{
    int exit_status = EXIT_SUCCESS, number, status;
    while (sigwait(signals, &number) == 0 && number != SIGTERM && number != SIGINT) {
        if (number == SIGUSR1)
            shared->die = true;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            const unsigned i = worker_of(pid);
            fprintf(stderr, "fleet-server: worker %u has died\n", i);
            if (i == options.n_workers || !start_worker(i))
                return fail("a worker", "does not start again");
        }
    }
    for (unsigned i = 0; i < options.n_workers; i++)
        kill(shared->places[i].pid, SIGTERM);
    while (wait(&status) > 0) {
        if (status != 0)
            exit_status = fail("a worker", "did not end well");
    }
    return exit_status;
}

static int run(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return fail("cannot start", strerror(errno));
    for (unsigned i = 0; i < options.n_workers; i++) {
        const unsigned port = options.port == 0 ? 0 : options.port + i;
        sockets[i] = port <= UINT16_MAX ? web_listen((uint16_t)port) : -1;
        if (sockets[i] == -1) {
            char what[64];
            snprintf(what, sizeof(what), "cannot listen on 127.0.0.1:%u", port);
            return fail(what, port <= UINT16_MAX ? strerror(errno) : "not a port");
        }
    }
    for (unsigned i = 0; i < options.n_workers; i++) {
        if (!start_worker(i))
            return fail("a worker", "does not start");
    }
    printf("fleet-server: http://127.0.0.1:%u/product/1, /metrics and /workers (%u workers; "
           "coalescing: %s; page cache: %" PRIu64 " ms)\n",
           web_port(sockets[0]), options.n_workers, modes[options.mode], options.cache_ttl_ms);
    fflush(stdout);
    return supervise(&signals);
}

/* ------------------------------------------------------------------- options */

static const char usage[] =
    "usage: fleet-server [--db CONNINFO] [--port N] [--workers N] [--coalesce none|process]\n"
    "                    [--cache-ttl-ms N]\n"
    "       fleet-server --engine ADDRESS [--name NAME] [--lease-ms N] ...\n"
    "\n"
    "Serves the product pages of a made-up web shop on 127.0.0.1, by workers with a port each, "
    "until\n"
    "SIGTERM or SIGINT: /product/0 to /product/13755, /metrics (for Prometheus), /workers, "
    "/healthz.\n"
    "\n"
    "  --db CONNINFO       the shop's PostgreSQL database, as psql takes it (default: what "
    "PGHOST,\n"
    "                      PGPORT and so on say)\n"
    "  --port N            of the first worker, the others have the next ones; 0: any free ports,\n"
    "                      see /workers (default 8080)\n"
    "  --workers N         (default 8)\n"
    "  --coalesce MODE     when requests ask for the same page at the same moment:\n"
    "                        none     each queries the database\n"
    "                        process  one of each worker does\n"
    "                        fleet    one of all workers does (default)\n"
    "  --engine ADDRESS    of fleet: where Redis or Valkey is, as unix:/PATH or tcp:HOST:PORT\n"
    "  --name NAME         of fleet: servers with the same name share (default shop.v1)\n"
    "  --lease-ms N        of fleet: how long a dead worker holds a page (default 3000)\n"
    "  --engine-timeout-ms N  of fleet: how long the engine's answer is waited for (default 250)\n"
    "  --cache-ttl-ms N    keep each page for so long in each worker (default 0: no cache)\n"
    "  --help              print this\n"
    "\n"
    "SIGUSR1 has the worker that queries the database next die in its query.\n";

static int bad_usage(const char *what, const char *value)
{
    fprintf(stderr, "fleet-server: %s: %s (try --help)\n", what, value);
    return 2;
}

static bool parse_mode(const char *text)
{
    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(text, modes[i]) == 0) {
            options.mode = (enum mode)i;
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    enum {
        DB = 1,
        ENGINE,
        NAME,
        COALESCE,
        HELP,
        PORT,
        WORKERS,
        LEASE_MS,
        ENGINE_TIMEOUT_MS,
        CACHE_TTL_MS
    };
    static const struct option long_options[] = {
        {"db", required_argument, NULL, DB},
        {"engine", required_argument, NULL, ENGINE},
        {"name", required_argument, NULL, NAME},
        {"coalesce", required_argument, NULL, COALESCE},
        {"help", no_argument, NULL, HELP},
        {"port", required_argument, NULL, PORT},
        {"workers", required_argument, NULL, WORKERS},
        {"lease-ms", required_argument, NULL, LEASE_MS},
        {"engine-timeout-ms", required_argument, NULL, ENGINE_TIMEOUT_MS},
        {"cache-ttl-ms", required_argument, NULL, CACHE_TTL_MS},
        {0}};
    static const unsigned long most[] = {[PORT] = UINT16_MAX,
                                         [WORKERS] = MAX_WORKERS,
                                         [LEASE_MS] = 3600000,
                                         [ENGINE_TIMEOUT_MS] = 3600000,
                                         [CACHE_TTL_MS] = 3600000};
    unsigned long n = 0;
    argv[0] = program_invocation_short_name; /* for the messages of getopt_long() */
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option >= PORT && option <= CACHE_TTL_MS && !parse_number(optarg, most[option], &n))
            return bad_usage("not a number, or too large", optarg);
        switch (option) {
        case DB:
            options.db = optarg;
            break;
        case ENGINE:
            options.engine = optarg;
            break;
        case NAME:
            options.name = optarg;
            break;
        case COALESCE:
            if (!parse_mode(optarg))
                return bad_usage("--coalesce is none, process or fleet, not", optarg);
            break;
        case PORT:
            options.port = (uint16_t)n;
            break;
        case WORKERS:
            if (n == 0)
                return bad_usage("no workers", optarg);
            options.n_workers = (unsigned)n;
            break;
        case LEASE_MS:
            options.lease_ms = (unsigned)n;
            break;
        case ENGINE_TIMEOUT_MS:
            options.engine_timeout_ms = (unsigned)n;
            break;
        case CACHE_TTL_MS:
            options.cache_ttl_ms = n;
            break;
        case HELP:
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default: /* getopt_long() has said what is wrong */
            return 2;
        }
    }
    if (optind != argc)
        return bad_usage("unexpected argument", argv[optind]);
    if (options.mode == FLEET && options.engine == NULL)
        return bad_usage("missing option", "--engine ADDRESS");
    return run();
}
