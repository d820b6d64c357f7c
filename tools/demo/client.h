/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.h - what the programs that put load on the demos' servers share: requests, and whether the
 * pages that come back are right.  Whatever goes wrong ends the program.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include "page.h"

#include <curl/curl.h>
#include <stddef.h>
#include <stdint.h>

/* --------------------------------------------------------------------- tools */

/* Says what is wrong, and ends the program, with its other threads as they are. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);

/* As calloc(), never NULL. */
void *allocate(size_t n, size_t size);

double now_s(void);

/* Sorts the values. */
void sort_values(double *values, size_t n);

/* The smallest of the n sorted values that at least the fraction q of them do not exceed. */
double percentile(const double *sorted, size_t n, double q);

/* ------------------------------------------------------------- what is right */

/* More of what the page of the product has to show; before the first page is checked. */
void expect(int64_t product, int64_t units, int64_t revenue, int64_t reviews, int64_t stars);

/*
 * Ends the program unless the page shows that, and is the same text as the first copy of it that
 * any server sent.
 */
void check_page(uint32_t product, const char *html, size_t size);

/* ---------------------------------------------------------------- connections */

enum { URL_MAX = 64, PAGE_MAX = 16384 };

struct connection {
    CURL *curl;
    char error[CURL_ERROR_SIZE];
    char body[PAGE_MAX + 1]; /* a string */
    size_t size;
};

void connection_open(struct connection *c);

/* Asks; the answer is in *c.  Returns the HTTP status, or 0: there was no whole answer, see
 * c->error.
 */
long ask(struct connection *c, const char *url);

/* The same, and the status has to be 200. */
void fetch(struct connection *c, const char *url);

/* The page of a product, which has to be right. */
void fetch_product(struct connection *c, unsigned port, uint32_t product);

/* The server's metrics, to be looked into by counter(). */
void fetch_metrics(struct connection *c, unsigned port);

/* What the metrics say of name, which they have to have. */
double counter(const char *metrics, const char *name);

#endif
