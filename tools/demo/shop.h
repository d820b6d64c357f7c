/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shop.h - the demo's web shop: an SQLite file of products, orders and
 * reviews, and the product page that is made from it.
 */
#ifndef SHOP_H
#define SHOP_H

#include "page.h"

#include <sqlite3.h>

/* --------------------------------------------------------------- database */

/*
 * One connection, read-only; for one thread at a time.  Call shop_init() before
 * the first of the process is opened.
 */
struct shop;

void shop_init(void);

/*
 * Opens file and stores the connection in *out.  Returns NULL, or what is wrong:
 * a text to be freed with sqlite3_free().
 */
char *shop_open(const char *file, struct shop **out);

/* Reads the whole file for damage.  Returns as shop_open() does. */
char *shop_check(struct shop *s);

/* NULL is fine. */
void shop_close(struct shop *s);

/*
 * Makes the page of one product, with one SQL query.  Returns an HTTP status:
 * 200 and a page with one reference; 404, there is no such product; 500, the
 * query failed, as shop_error() says.
 */
int shop_page(struct shop *s, uint32_t product, struct page **out);

/* What failed last on this connection; valid until it is used again. */
const char *shop_error(struct shop *s);

/*
 * Writes a new file: the same bytes of data every time.  Says on stdout how far
 * it is.  Returns as shop_open() does; a file that exists is an error.
 */
char *shop_create(const char *file);

#endif
