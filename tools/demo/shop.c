/* SPDX-License-Identifier: BSD-2-Clause */
/* shop.c - opening the shop's database, and the query behind a product page. */
#include "shop.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shop {
    sqlite3 *db;
    sqlite3_stmt *page;
};

/*
 * Sales and opinions of all products of the category, from the orders and
 * reviews as they stand; of that, the product itself (first) with its rank, and
 * the five that sell best.  CROSS JOIN makes SQLite begin with the category and
 * not with all orders.
 */
static const char page_sql[] =
    "WITH shelf AS ("
    "  SELECT id, name, price FROM products"
    "  WHERE category = (SELECT category FROM products WHERE id = ?1)"
    "), sales AS ("
    "  SELECT i.product AS id, sum(i.quantity) AS units, sum(i.quantity * i.price) AS revenue"
    "  FROM shelf CROSS JOIN order_items i ON i.product = shelf.id JOIN orders o ON o.id = "
    "i.order_id"
    "  WHERE o.cancelled = 0 GROUP BY i.product"
    "), opinions AS ("
    "  SELECT r.product AS id, count(*) AS n, sum(r.stars) AS stars"
    "  FROM shelf CROSS JOIN reviews r ON r.product = shelf.id GROUP BY r.product"
    ")"
    "SELECT id, name, price, coalesce(units, 0), coalesce(revenue, 0), coalesce(n, 0),"
    "       coalesce(stars, 0), rank() OVER (ORDER BY coalesce(revenue, 0) DESC)"
    "FROM shelf LEFT JOIN sales USING (id) LEFT JOIN opinions USING (id) "
    "ORDER BY id = ?1 DESC, coalesce(revenue, 0) DESC, id LIMIT 6";

/* ---------------------------------------------------------------- database */

void shop_init(void)
{
    /* No connection is used by two threads at once, and nobody asks SQLite how
       much memory it has: without these two, all threads meet at one lock. */
    sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

char *shop_open(const char *file, struct shop **out)
{
    *out = NULL;
    struct shop *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return sqlite3_mprintf("out of memory");
    if (sqlite3_open_v2(file, &s->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_exec(s->db, "PRAGMA mmap_size = 1073741824", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(s->db, page_sql, -1, SQLITE_PREPARE_PERSISTENT, &s->page, NULL) !=
            SQLITE_OK) {
        char *error = sqlite3_mprintf("%s", shop_error(s));
        shop_close(s);
        return error;
    }
    *out = s;
    return NULL;
}

char *shop_check(struct shop *s)
{
    sqlite3_stmt *check;
    char *error = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &check, NULL) != SQLITE_OK ||
        sqlite3_step(check) != SQLITE_ROW)
        error = sqlite3_mprintf("%s", shop_error(s));
    else if (strcmp((const char *)sqlite3_column_text(check, 0), "ok") != 0)
        error = sqlite3_mprintf("%s", sqlite3_column_text(check, 0));
    sqlite3_finalize(check);
    return error;
}

void shop_close(struct shop *s)
{
    if (s == NULL)
        return;
    sqlite3_finalize(s->page);
    sqlite3_close(s->db);
    free(s);
}

const char *shop_error(struct shop *s)
{
    return sqlite3_errmsg(s->db);
}

int shop_page(struct shop *s, uint32_t product, struct page **out)
{
    struct page_draft draft;
    page_start(&draft);
    sqlite3_stmt *row = s->page;
    int rc = sqlite3_bind_int64(row, 1, product);
    if (rc == SQLITE_OK) {
        while ((rc = sqlite3_step(row)) == SQLITE_ROW)
            page_add(&draft, &(struct page_row){.id = sqlite3_column_int64(row, 0),
                                                .name = (const char *)sqlite3_column_text(row, 1),
                                                .price = sqlite3_column_int64(row, 2),
                                                .units = sqlite3_column_int64(row, 3),
                                                .revenue = sqlite3_column_int64(row, 4),
                                                .reviews = sqlite3_column_int64(row, 5),
                                                .stars = sqlite3_column_int64(row, 6),
                                                .rank = sqlite3_column_int64(row, 7)});
    }
    sqlite3_reset(row); /* fails if the step did; the error stays with the connection */
    struct page *page = page_finish(&draft);
    if (rc != SQLITE_DONE || page == NULL || draft.n_rows == 0) {
        const bool nothing_wrong = rc == SQLITE_DONE && page != NULL;
        if (page != NULL)
            page_unref(page);
        return nothing_wrong ? 404 : 500;
    }
    *out = page;
    return 200;
}
