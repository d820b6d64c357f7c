/* SPDX-License-Identifier: BSD-2-Clause */
/* client.c - see client.h. */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* --------------------------------------------------------------------- tools */

void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    fprintf(stderr, "\n%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(EXIT_FAILURE); /* with the other threads as they are; the server notices by itself */
}

void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        die("out of memory");
    return p;
}

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_values(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_value);
}

double percentile(const double *sorted, size_t n, double q)
{
    const size_t rank = (size_t)(q * (double)n + 0.999999);
    return sorted[rank == 0 ? 0 : rank - 1];
}

/* ------------------------------------------------------------- what is right */

struct expected {
    int64_t units, revenue, reviews, stars;
    atomic_uint_fast64_t digest; /* of the page as first seen; 0: not yet */
};

static struct expected expected[SHOP_PRODUCTS];

void expect(int64_t product, int64_t units, int64_t revenue, int64_t reviews, int64_t stars)
{
    if (product < 0 || product >= SHOP_PRODUCTS)
        die("the database has a product %" PRId64, product);
    expected[product].units += units;
    expected[product].revenue += revenue;
    expected[product].reviews += reviews;
    expected[product].stars += stars;
}

void check_page(uint32_t product, const char *html, size_t size)
{
    struct expected *e = &expected[product];
    char facts[256];
    snprintf(facts, sizeof(facts),
             "data-product=\"%" PRIu32 "\" data-units=\"%" PRId64 "\" data-revenue=\"%" PRId64
             "\" data-reviews=\"%" PRId64 "\" data-stars=\"%" PRId64 "\"",
             product, e->units, e->revenue, e->reviews, e->stars);
    if (strstr(html, facts) == NULL)
        die("the page of product %" PRIu32 " lacks %s:\n%s", product, facts, html);
    uint_fast64_t first = 0;
    const uint_fast64_t digest = XXH3_64bits(html, size) | 1;
    if (!atomic_compare_exchange_strong(&e->digest, &first, digest) && first != digest)
        die("product %" PRIu32 " came with two different pages; this is one:\n%s", product, html);
}

/* ---------------------------------------------------------------- connections */

static size_t receive(char *data, size_t one, size_t n, void *arg)
{
    struct connection *c = arg;
    (void)one;
    if (n > PAGE_MAX - c->size)
        return 0; /* fails the transfer */
    memcpy(c->body + c->size, data, n);
    c->size += n;
    c->body[c->size] = '\0';
    return n;
}

void connection_open(struct connection *c)
{
    c->curl = curl_easy_init();
    if (c->curl == NULL)
        die("out of memory");
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 60L);
}

long ask(struct connection *c, const char *url)
{
    long status = 0;
    c->size = 0;
    c->body[0] = '\0';
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    if (curl_easy_perform(c->curl) == CURLE_OK)
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

void fetch(struct connection *c, const char *url)
{
    const long status = ask(c, url);
    if (status == 0)
        die("%s: %s", url, c->error);
    if (status != 200)
        die("%s: HTTP status %ld", url, status);
}

void fetch_product(struct connection *c, unsigned port, uint32_t product)
{
    char url[URL_MAX];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/product/%" PRIu32, port, product);
    fetch(c, url);
    check_page(product, c->body, c->size);
}

void fetch_metrics(struct connection *c, unsigned port)
{
    char url[URL_MAX];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", port);
    fetch(c, url);
}

double counter(const char *metrics, const char *name)
{
    char line[URL_MAX];
    snprintf(line, sizeof(line), "\n%s ", name);
    const char *found = strstr(metrics, line);
    if (found == NULL)
        die("the server has no metric %s", name);
    return strtod(found + strlen(line), NULL);
}
