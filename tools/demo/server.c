/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c - singleflight-server, a small web shop over HTTP: one thread for
 * each connection, one database connection for each thread.  Requests for the
 * same product page at the same moment cost one database query, if coalescing
 * is on.
 *
 * The life of a page: shop_page() makes it with one reference, which becomes
 * the call's value; each response then holds a result of that call and is sent
 * straight from the page's memory.  The page cache, where there is one, has a
 * reference of its own.
 */
#include "flight.h"
#include "gate.h"
#include "metrics.h"
#include "number.h"
#include "page_cache.h"
#include "shop.h"
#include "web.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    const char *db_file;
    uint16_t port;
    unsigned db_parallel;  /* queries at a time; 0: any number */
    uint64_t cache_ttl_ms; /* 0: no cache */
    const struct flight_ops *flight;
    bool coalesces_by_library; /* flight is libsingleflight: it has statistics */
} options = {.port = 8080, .flight = &flight_sflight, .coalesces_by_library = true};

static sflight_group *group;
static struct page_cache *cache; /* or NULL */
static pthread_key_t thread_shop;
static struct gate db_gate;
static atomic_uint_fast64_t n_requests, n_hits, n_queries, n_failures;

/* ------------------------------------------------------------------ loading */

static void close_thread_shop(void *s)
{
    shop_close(s);
}

/* One query by the calling thread's own database connection; returns as shop_page(). */
static int query_page(uint32_t product, struct page **out)
{
    struct shop *s = pthread_getspecific(thread_shop);
    if (s == NULL) {
        char *error = shop_open(options.db_file, &s);
        if (error != NULL) {
            fprintf(stderr, "singleflight-server: %s: %s\n", options.db_file, error);
            sqlite3_free(error);
            return 500;
        }
        pthread_setspecific(thread_shop, s);
    }
    atomic_fetch_add(&n_queries, 1);
    if (options.db_parallel != 0)
        gate_enter(&db_gate);
    const int status = shop_page(s, product, out);
    if (options.db_parallel != 0)
        gate_leave(&db_gate);
    if (status == 500) {
        fprintf(stderr, "singleflight-server: product %" PRIu32 ": %s\n", product, shop_error(s));
        /* The next page gets a new connection: this one may be what is broken. */
        pthread_setspecific(thread_shop, NULL);
        shop_close(s);
    }
    return status;
}

static void drop_page(void *page, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    page_unref(page);
}

/* The work of a call: makes the page of the product that arg points to. */
static int load_page(sflight_call *call, void *arg)
{
    const uint32_t product = *(const uint32_t *)arg;
    struct page *page = NULL;
    /* A call that ended between this caller's look at the cache and its claim
       of the key has left a fresh page there. */
    int status = 200;
    if (cache != NULL)
        page = page_cache_get(cache, product);
    if (page == NULL) {
        status = query_page(product, &page);
        if (status == 200 && cache != NULL)
            page_cache_put(cache, product, page);
    }
    if (page != NULL)
        options.flight->set(call, page, page->size, drop_page, NULL);
    return status;
}

/* ---------------------------------------------------------------- responses */

static void give_back_page(void *page)
{
    page_unref(page);
}

static void give_back_result(void *result)
{
    options.flight->release(result);
    free(result);
}

static enum MHD_Result answer_product(struct MHD_Connection *c, const char *number)
{
    unsigned long n;
    if (!parse_number(number, SHOP_PRODUCTS - 1, &n))
        return web_error(c, MHD_HTTP_NOT_FOUND);
    uint32_t product = (uint32_t)n;

    struct page *cached = cache != NULL ? page_cache_get(cache, product) : NULL;
    if (cached != NULL) {
        atomic_fetch_add(&n_hits, 1);
        return web_page(c, cached->html, cached->size, give_back_page, cached);
    }

    sflight_result *result = malloc(sizeof(*result));
    if (result == NULL)
        return web_error(c, MHD_HTTP_SERVICE_UNAVAILABLE);
    int rc = options.flight->run(group, &product, sizeof(product), load_page, &product, result);
    if (rc == 0 && result->status == MHD_HTTP_OK) {
        const struct page *page = result->value;
        return web_page(c, page->html, page->size, give_back_result, result);
    }

    unsigned status = rc == 0 ? (unsigned)result->status : MHD_HTTP_SERVICE_UNAVAILABLE;
    if (status != MHD_HTTP_NOT_FOUND)
        atomic_fetch_add(&n_failures, 1);
    give_back_result(result);
    return web_error(c, status);
}

/* ------------------------------------------------------------------ metrics */

static bool write_flights(FILE *f)
{
    return metrics_flights(f, group);
}

static bool write_metrics(FILE *f)
{
    metric(f, "shop_requests_total", "counter", "Requests for a product page.", (double)n_requests);
    metric(f, "shop_cache_hits_total", "counter", "Of these, answered from the page cache.",
           (double)n_hits);
    metric(f, "shop_failures_total", "counter", "Of these, failed.", (double)n_failures);
    metric(f, "shop_db_queries_total", "counter", "Database queries.", (double)n_queries);
    metrics_of_process(f);
    if (options.coalesces_by_library)
        metrics_of_group(f, group);
    return true;
}

/* ------------------------------------------------------------------- server */

static enum MHD_Result route(struct MHD_Connection *c, const char *path)
{
    static const char product_prefix[] = "/product/";
    if (strncmp(path, product_prefix, sizeof(product_prefix) - 1) == 0) {
        atomic_fetch_add(&n_requests, 1);
        return answer_product(c, path + sizeof(product_prefix) - 1);
    }
    if (strcmp(path, "/metrics") == 0)
        return web_written(c, "text/plain; version=0.0.4", write_metrics);
    if (strcmp(path, "/flights") == 0 && options.coalesces_by_library)
        return web_written(c, "text/plain", write_flights);
    if (strcmp(path, "/healthz") == 0)
        return web_text(c, MHD_HTTP_OK, "ok\n");
    return web_error(c, MHD_HTTP_NOT_FOUND);
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "singleflight-server: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* Serves until SIGTERM or SIGINT. */
static int serve(void)
{
    int fd = web_listen(options.port);
    if (fd == -1) {
        char what[64];
        snprintf(what, sizeof(what), "cannot listen on 127.0.0.1:%u", options.port);
        return fail(what, strerror(errno));
    }
    struct MHD_Daemon *daemon = web_start(fd, route);
    if (daemon == NULL)
        return EXIT_FAILURE; /* libmicrohttpd has said why */
    printf("singleflight-server: http://127.0.0.1:%u/product/1 and /metrics "
           "(coalescing: %s; page cache: %" PRIu64 " ms)\n",
           web_port(fd), options.flight->name, options.cache_ttl_ms);
    fflush(stdout);
    web_serve(daemon);
    return EXIT_SUCCESS;
}

static int run_server(void)
{
    shop_init();
    struct shop *s;
    char *error = shop_open(options.db_file, &s);
    if (error == NULL) {
        error = shop_check(s);
        shop_close(s);
    }
    if (error != NULL) {
        fail(options.db_file, error);
        sqlite3_free(error);
        return EXIT_FAILURE;
    }

    gate_init(&db_gate, options.db_parallel);
    int rc = pthread_key_create(&thread_shop, close_thread_shop);
    if (rc != 0)
        return fail("cannot start", strerror(rc));
    if (options.cache_ttl_ms != 0) {
        cache = page_cache_create(SHOP_PRODUCTS, options.cache_ttl_ms);
        if (cache == NULL)
            return fail("cannot start", strerror(ENOMEM));
    }
    rc = options.flight->create(&group, 0);
    if (rc != 0)
        return fail("cannot start", sflight_strerror(rc));

    int exit_status = serve();
    rc = options.flight->destroy(group);
    if (rc != 0)
        exit_status = fail("cannot clean up", sflight_strerror(rc));
    page_cache_destroy(cache);
    return exit_status;
}

/* ------------------------------------------------------------------ options */

static const char usage[] =
    "usage: singleflight-server --db FILE [--port N] [--coalesce MODE]\n"
    "                           [--db-parallel N] [--cache-ttl-ms N]\n"
    "       singleflight-server --create-db FILE\n"
    "\n"
    "Serves the product pages of a made-up web shop on 127.0.0.1 until SIGTERM or SIGINT:\n"
    "/product/0 to /product/13755, /metrics (for Prometheus), /flights and /healthz.\n"
    "\n"
    "  --db FILE           the shop's SQLite database\n"
    "  --create-db FILE    make one (about 20 MB), then exit\n"
    "  --port N            0: any free port, which is printed (default 8080)\n"
    "  --coalesce MODE     when requests ask for the same page at the same moment:\n"
    "                        none          each queries the database\n"
    "                        mutex         one does, by 64 mutexes and condition variables\n"
    "                        singleflight  one does, by libsingleflight (default)\n"
    "  --db-parallel N     run so many database queries at a time, the others wait their turn\n"
    "                      (default: two for each CPU; 0: no limit)\n"
    "  --cache-ttl-ms N    keep each page for so long (default 0: no cache)\n"
    "  --help              print this\n";

static int bad_usage(const char *what, const char *value)
{
    fprintf(stderr, "singleflight-server: %s: %s (try --help)\n", what, value);
    return 2;
}

static bool parse_mode(const char *mode)
{
    options.flight = flight_find(strcmp(mode, "mutex") == 0 ? "mutex64" : mode);
    options.coalesces_by_library = options.flight == &flight_sflight;
    return options.flight != NULL;
}

int main(int argc, char **argv)
{
    enum { DB = 1, CREATE_DB, PORT, COALESCE, DB_PARALLEL, CACHE_TTL_MS, HELP };
    static const struct option long_options[] = {
        {"db", required_argument, NULL, DB},
        {"create-db", required_argument, NULL, CREATE_DB},
        {"port", required_argument, NULL, PORT},
        {"coalesce", required_argument, NULL, COALESCE},
        {"db-parallel", required_argument, NULL, DB_PARALLEL},
        {"cache-ttl-ms", required_argument, NULL, CACHE_TTL_MS},
        {"help", no_argument, NULL, HELP},
        {0}};
    const char *new_file = NULL;
    unsigned long n;
    argv[0] = program_invocation_short_name; /* for the messages of getopt_long() */
    options.db_parallel = 2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case DB:
            options.db_file = optarg;
            break;
        case CREATE_DB:
            new_file = optarg;
            break;
        case PORT:
            if (!parse_number(optarg, UINT16_MAX, &n))
                return bad_usage("not a port", optarg);
            options.port = (uint16_t)n;
            break;
        case COALESCE:
            if (!parse_mode(optarg))
                return bad_usage("--coalesce is none, mutex or singleflight, not", optarg);
            break;
        case DB_PARALLEL:
            if (!parse_number(optarg, 10000, &n))
                return bad_usage("not a number from 0 to 10000", optarg);
            options.db_parallel = (unsigned)n;
            break;
        case CACHE_TTL_MS:
            if (!parse_number(optarg, 3600000, &n))
                return bad_usage("not a time from 0 to 3600000 ms", optarg);
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
    if (new_file != NULL) {
        char *error = shop_create(new_file);
        if (error == NULL)
            return EXIT_SUCCESS;
        fail(new_file, error);
        sqlite3_free(error);
        return EXIT_FAILURE;
    }
    if (options.db_file == NULL)
        return bad_usage("missing option", "--db FILE");
    return run_server();
}
