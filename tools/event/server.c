/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c - event-server, the demo's web shop on one thread: a libuv loop
 * with the clients' sockets, a few connections to PostgreSQL and one completion
 * queue of libsingleflight.  Nothing in it waits but the loop.
 *
 * The way of a page: the first client that asks for it gets the permit, and the
 * query is sent.  The first as well as all who ask meanwhile get a completion
 * through the queue.  When PostgreSQL has answered, however, the call is
 * completed; the queue's descriptor wakes the loop, and each client is sent the
 * page from the memory where it lies, which is freed after the last of them.  A
 * client that hangs up is taken back; the last of a call takes its query along, if
 * that has not been sent yet.
 */
#include "../demo/metrics.h"
#include "../demo/number.h"
#include "../demo/page.h"
#include "../demo/page_cache.h"
#include "http.h"
#include "pg_pool.h"
#include "shop_pg.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <singleflight.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    unsigned port;
    bool coalesces;
    uint64_t cache_ttl_ms; /* 0: no cache */
    unsigned max_clients;
    struct pg_options db;
} options = {.port = 8080,
             .coalesces = true,
             .max_clients = 1000,
             .db = {.conninfo = "",
                    .statement = shop_page_sql,
                    .n_connections = 4,
                    .max_waiting = 10000,
                    .timeout_ms = 2000}};

static struct http_server *http;
static struct pg_pool *db;
static struct page_cache *cache; /* or NULL */
static sflight_group *group;
static sflight_queue *queue;
static uv_poll_t queue_poll;
static uv_signal_t on_term, on_int;
static bool is_stopping;
static uint64_t n_requests, n_hits, n_failures;

/* ------------------------------------------------------------------ answering */

static void answer_status(struct http_exchange *x, unsigned status)
{
    switch (status) {
    case 404:
        http_answer_text(x, 404, 0, "404 not found\n");
        return;
    case 500:
        n_failures++;
        http_answer_text(x, 500, 0, "500 the database query failed\n");
        return;
    case 504:
        n_failures++;
        http_answer_text(x, 504, 1, "504 the database took too long\n");
        return;
    default:
        n_failures++;
        http_answer_text(x, 503, 1, "503 not now, try again\n");
    }
}

/* Sends the page from where it lies. */
static void answer_page(struct http_exchange *x, const struct page *page,
                        void (*give_back)(void *owner), void *owner)
{
    const struct http_body body = {.type = "text/html; charset=utf-8",
                                   .data = page->html,
                                   .size = page->size,
                                   .give_back = give_back,
                                   .owner = owner};
    http_answer(x, 200, 0, &body);
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

/* What a call came to, to one of those who waited for it. */
static void answer_completion(sflight_completion *done)
{
    struct http_exchange *x = (struct http_exchange *)(uintptr_t)done->tag;
    unsigned status = done->rc == 0 ? (unsigned)done->result.status : 503;
    sflight_result *result = status == 200 ? malloc(sizeof(*result)) : NULL;
    if (result != NULL) {
        *result = done->result;
        answer_page(x, result->value, give_back_result, result);
        return;
    }
    sflight_result_release(&done->result);
    answer_status(x, status == 200 ? 503 : status);
}

static void on_completions(uv_poll_t *poll, int error, int events)
{
    (void)poll, (void)error, (void)events;
    sflight_completion done[64];
    int n;
    while ((n = sflight_queue_drain(queue, done, 64)) > 0) {
        for (int i = 0; i < n; i++)
            answer_completion(&done[i]);
    }
}

/* -------------------------------------------------------------------- queries */

struct page_query {
    struct pg_query pg;
    uint32_t product;
    char parameter[12];      /* the product, as text */
    sflight_call *call;      /* to be completed; or NULL, and */
    struct http_exchange *x; /* to be answered */
};

static void drop_page(void *page, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    page_unref(page);
}

static void end_query(struct page_query *q, unsigned status, struct page *page)
{
    if (page != NULL && cache != NULL)
        page_cache_put(cache, q->product, page);
    if (q->call != NULL) {
        if (page != NULL)
            sflight_call_set(q->call, page, page->size, drop_page, NULL);
        sflight_complete(q->call, (int)status);
    } else if (page != NULL) {
        answer_page(q->x, page, give_back_page, page);
    } else {
        answer_status(q->x, status);
    }
    free(q);
}

static void on_query_done(struct pg_query *pg, enum pg_outcome outcome, PGresult *rows)
{
    static const unsigned statuses[] = {[PG_ROWS] = 200, [PG_ERROR] = 500, [PG_LATE] = 504,
                                        [PG_BUSY] = 503, [PG_AWAY] = 503,  [PG_CLOSED] = 503};
    unsigned status = statuses[outcome];
    struct page *page = NULL;
    if (rows != NULL && PQntuples(rows) == 0)
        status = 404;
    else if (rows != NULL && (page = shop_page_of(rows)) == NULL)
        status = 503; /* no memory */
    end_query((struct page_query *)pg, status, page);
}

/* All clients of its call have hung up. */
static void on_unwanted(void *q)
{
    pg_withdraw(db, &((struct page_query *)q)->pg);
}

/* Has the page made, for a call or else for one exchange. */
static void start_query(uint32_t product, sflight_call *call, struct http_exchange *x)
{
    struct page_query *q = malloc(sizeof(*q));
    if (q == NULL) {
        if (call != NULL)
            sflight_complete(call, 503);
        else
            answer_status(x, 503);
        return;
    }
    *q = (struct page_query){.product = product, .call = call, .x = x};
    snprintf(q->parameter, sizeof(q->parameter), "%" PRIu32, product);
    q->pg.parameter = q->parameter;
    q->pg.done = on_query_done;
    if (call != NULL)
        sflight_call_on_unwanted(call, on_unwanted, q);
    pg_submit(db, &q->pg);
}

/* --------------------------------------------------------------------- routes */

/* Its client has hung up; unless a completion is about to come, nothing more is to be done. */
static void on_client_gone(struct http_exchange *x, void *future)
{
    if (sflight_future_cancel(future) == 1)
        answer_status(x, 503);
}

static void answer_product(struct http_exchange *x, uint32_t product)
{
    n_requests++;
    struct page *cached = cache != NULL ? page_cache_get(cache, product) : NULL;
    if (cached != NULL) {
        n_hits++;
        answer_page(x, cached, give_back_page, cached);
        return;
    }
    if (!options.coalesces) {
        start_query(product, NULL, x);
        return;
    }

    sflight_call *call;
    sflight_future *future;
    if (sflight_begin_enqueue(group, &product, sizeof(product), queue, (uintptr_t)x, &call,
                              &future) != 0) {
        answer_status(x, 503);
        return;
    }
    http_watch(x, on_client_gone, future);
    if (call != NULL)
        start_query(product, call, NULL);
}

/* What write() writes, which says whether it could. */
static void answer_written(struct http_exchange *x, const char *type, bool (*write)(FILE *f))
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (f == NULL) {
        answer_status(x, 503);
        return;
    }
    bool all = write(f);
    if (fclose(f) != 0 || !all) {
        free(text);
        answer_status(x, 503);
        return;
    }
    const struct http_body body = {
        .type = type, .data = text, .size = size, .give_back = free, .owner = text};
    http_answer(x, 200, 0, &body);
}

static bool write_flights(FILE *f)
{
    return metrics_flights(f, group);
}

static bool write_metrics(FILE *f)
{
    const struct http_stats h = http_stats(http);
    const struct pg_stats p = pg_stats(db);
    metric(f, "shop_requests_total", "counter", "Requests for a product page.", (double)n_requests);
    metric(f, "shop_cache_hits_total", "counter", "Of these, answered from the page cache.",
           (double)n_hits);
    metric(f, "shop_failures_total", "counter", "Of these, failed.", (double)n_failures);
    metric(f, "shop_clients", "gauge", "Clients connected.", h.clients);
    metric(f, "shop_clients_waiting", "gauge", "Requests not answered yet, this one included.",
           h.waiting);
    metric(f, "shop_clients_gone_total", "counter", "Clients that left while they waited.",
           (double)h.gone);
    metric(f, "shop_clients_rejected_total", "counter", "Clients turned away: too many.",
           (double)h.rejected);
    metric(f, "shop_clients_bad_total", "counter", "Clients that did not speak HTTP.",
           (double)h.bad);
    metric(f, "shop_db_queries_total", "counter", "Database queries sent.", (double)p.queries);
    metric(f, "shop_db_connected_total", "counter", "Database connections made.",
           (double)p.connections);
    metric(f, "shop_db_broken_total", "counter", "Of these, broken; and attempts that failed.",
           (double)p.broken);
    metric(f, "shop_db_connections", "gauge", "Database connections that work.", p.usable);
    metric(f, "shop_db_busy", "gauge", "Of these, with a query.", p.busy);
    metric(f, "shop_db_waiting", "gauge", "Queries that wait for a connection.", p.waiting);
    metrics_of_process(f);
    if (options.coalesces)
        metrics_of_group(f, group);
    return true;
}

static void answer(struct http_exchange *x, const char *path)
{
    static const char product_prefix[] = "/product/";
    unsigned long product;
    if (strncmp(path, product_prefix, sizeof(product_prefix) - 1) == 0 &&
        parse_number(path + sizeof(product_prefix) - 1, SHOP_PRODUCTS - 1, &product))
        answer_product(x, (uint32_t)product);
    else if (strcmp(path, "/metrics") == 0)
        answer_written(x, "text/plain; version=0.0.4", write_metrics);
    else if (strcmp(path, "/flights") == 0)
        answer_written(x, "text/plain", write_flights);
    else if (strcmp(path, "/healthz") == 0)
        http_answer_text(x, 200, 0, "ok\n");
    else
        answer_status(x, 404);
}

/* --------------------------------------------------------------------- server */

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "event-server: %s: %s\n", what, why);
    return EXIT_FAILURE;
}

/* Every exchange has been answered, so there is nothing left to come through the queue. */
static void on_stopped(void)
{
    pg_close(db);
    uv_close((uv_handle_t *)&queue_poll, NULL);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal, (void)number;
    if (is_stopping)
        return;
    is_stopping = true;
    sflight_group_close(group);
    http_stop(http, options.db.timeout_ms, on_stopped);
}

static void watch_signal(uv_loop_t *loop, uv_signal_t *handle, int number)
{
    uv_signal_init(loop, handle);
    uv_signal_start(handle, on_signal, number);
    uv_unref((uv_handle_t *)handle); /* by itself it does not keep the loop going */
}

/* Serves until SIGTERM or SIGINT. */
static int run_server(void)
{
    uv_loop_t *loop = uv_default_loop();
    int error;
    signal(SIGPIPE, SIG_IGN);
    http = http_listen(loop, &options.port, options.max_clients, answer, &error);
    if (http == NULL) {
        char what[64];
        snprintf(what, sizeof(what), "cannot listen on 127.0.0.1:%u", options.port);
        return fail(what, uv_strerror(error));
    }
    if (options.cache_ttl_ms != 0) {
        cache = page_cache_create(SHOP_PRODUCTS, options.cache_ttl_ms);
        if (cache == NULL)
            return fail("cannot start", "out of memory");
    }
    db = pg_open(loop, &options.db);
    if (db == NULL)
        return fail("cannot start", "out of memory");
    sflight_options group_options;
    sflight_options_init(&group_options);
    group_options.max_age_ns = UINT64_C(3600) * 1000000000; /* no query: for the ages in /flights */
    group_options.cancel_unwanted = true; /* whoever comes next has a query of its own sent */
    int rc = sflight_group_create(&group, &group_options);
    if (rc == 0)
        rc = sflight_queue_create(&queue);
    if (rc != 0)
        return fail("cannot start", sflight_strerror(rc));
    uv_poll_init(loop, &queue_poll, sflight_queue_fd(queue));
    uv_poll_start(&queue_poll, UV_READABLE, on_completions);
    watch_signal(loop, &on_term, SIGTERM);
    watch_signal(loop, &on_int, SIGINT);
    printf("event-server: http://127.0.0.1:%u/product/1 and /metrics (coalescing: %s; page cache: "
           "%" PRIu64 " ms)\n",
           options.port, options.coalesces ? "singleflight" : "none", options.cache_ttl_ms);
    fflush(stdout);

    uv_run(loop, UV_RUN_DEFAULT);
    /* Another signal must not cut short what is left. */
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    uv_close((uv_handle_t *)&on_term, NULL);
    uv_close((uv_handle_t *)&on_int, NULL);
    uv_run(loop, UV_RUN_DEFAULT);

    http_free(http);
    pg_free(db);
    page_cache_destroy(cache);
    rc = sflight_queue_destroy(queue);
    if (rc == 0)
        rc = sflight_group_destroy(group);
    if (rc != 0)
        return fail("cannot clean up", sflight_strerror(rc));
    error = uv_loop_close(loop);
    return error == 0 ? EXIT_SUCCESS : fail("cannot clean up", uv_strerror(error));
}

/* -------------------------------------------------------------------- options */

static const char usage[] =
    "usage: event-server [--db CONNINFO] [--port N] [--coalesce MODE] [--connections N]\n"
    "                    [--timeout-ms N] [--max-waiting N] [--max-clients N] [--cache-ttl-ms N]\n"
    "\n"
    "Serves the product pages of a made-up web shop on 127.0.0.1, by one thread, until SIGTERM or\n"
    "SIGINT: /product/0 to /product/13755, /metrics (for Prometheus), /flights and /healthz.\n"
    "\n"
    "  --db CONNINFO       the shop's PostgreSQL database, as psql takes it (default: what "
    "PGHOST,\n"
    "                      PGPORT and so on say)\n"
    "  --port N            0: any free port, which is printed (default 8080)\n"
    "  --coalesce MODE     when clients ask for the same page at the same moment:\n"
    "                        none          each has the database queried\n"
    "                        singleflight  one does, by libsingleflight (default)\n"
    "  --connections N     to the database (default 4)\n"
    "  --timeout-ms N      for a query, and for its wait before (default 2000)\n"
    "  --max-waiting N     queries that wait for a connection (default 10000)\n"
    "  --max-clients N     at a time (default 1000)\n"
    "  --cache-ttl-ms N    keep each page for so long (default 0: no cache)\n"
    "  --help              print this\n";

static int bad_usage(const char *what, const char *value)
{
    fprintf(stderr, "event-server: %s: %s (try --help)\n", what, value);
    return 2;
}

static bool parse_mode(const char *mode)
{
    options.coalesces = strcmp(mode, "none") != 0;
    return !options.coalesces || strcmp(mode, "singleflight") == 0;
}

int main(int argc, char **argv)
{
    enum { DB = 1, PORT, COALESCE, CONNECTIONS, TIMEOUT, WAITING, CLIENTS, CACHE_TTL_MS, HELP };
    static const struct option long_options[] = {
        {"db", required_argument, NULL, DB},
        {"port", required_argument, NULL, PORT},
        {"coalesce", required_argument, NULL, COALESCE},
        {"connections", required_argument, NULL, CONNECTIONS},
        {"timeout-ms", required_argument, NULL, TIMEOUT},
        {"max-waiting", required_argument, NULL, WAITING},
        {"max-clients", required_argument, NULL, CLIENTS},
        {"cache-ttl-ms", required_argument, NULL, CACHE_TTL_MS},
        {"help", no_argument, NULL, HELP},
        {0}};
    unsigned long n = 0;
    argv[0] = program_invocation_short_name; /* for the messages of getopt_long() */
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option >= CONNECTIONS && option <= CACHE_TTL_MS &&
            (!parse_number(optarg, 3600000, &n) || (n == 0 && option != CACHE_TTL_MS)))
            return bad_usage("not a number from 1 to 3600000", optarg);
        switch (option) {
        case DB:
            options.db.conninfo = optarg;
            break;
        case PORT:
            if (!parse_number(optarg, UINT16_MAX, &n))
                return bad_usage("not a port", optarg);
            options.port = (unsigned)n;
            break;
        case COALESCE:
            if (!parse_mode(optarg))
                return bad_usage("--coalesce is none or singleflight, not", optarg);
            break;
        case CONNECTIONS:
            if (n > 1000)
                return bad_usage("more than 1000 connections", optarg);
            options.db.n_connections = (unsigned)n;
            break;
        case TIMEOUT:
            options.db.timeout_ms = n;
            break;
        case WAITING:
            options.db.max_waiting = (unsigned)n;
            break;
        case CLIENTS:
            options.max_clients = (unsigned)n;
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
    return run_server();
}
