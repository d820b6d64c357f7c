/* SPDX-License-Identifier: BSD-2-Clause */
/* shop_pg.h - the product page from PostgreSQL: the one statement behind it, and what it answers.
 */
#ifndef SHOP_PG_H
#define SHOP_PG_H

#include "../demo/page.h"

#include <libpq-fe.h>

/* SQL; $1 is the product. */
extern const char shop_page_sql[];

/* The page of the rows, with one reference; NULL: no memory. */
struct page *shop_page_of(const PGresult *rows);

#endif
