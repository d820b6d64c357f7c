/* SPDX-License-Identifier: BSD-2-Clause */
/* shop_pg.c - see shop_pg.h. */
#include "shop_pg.h"

#include <stdlib.h>

/*
 * Sales and opinions of all products of the category, from the orders and
 * reviews as they stand; of that, the product itself (first) with its rank, and
 * the five that sell best.
 */
const char shop_page_sql[] =
    "WITH shelf AS ("
    "  SELECT id, name, price FROM products"
    "  WHERE category = (SELECT category FROM products WHERE id = $1::int)"
    "), sales AS ("
    "  SELECT i.product AS id, sum(i.quantity) AS units, sum(i.quantity * i.price) AS revenue"
    "  FROM shelf JOIN order_items i ON i.product = shelf.id JOIN orders o ON o.id = i.order_id"
    "  WHERE NOT o.cancelled GROUP BY i.product"
    "), opinions AS ("
    "  SELECT r.product AS id, count(*) AS n, sum(r.stars) AS stars"
    "  FROM shelf JOIN reviews r ON r.product = shelf.id GROUP BY r.product"
    ")"
    "SELECT id, name, price, coalesce(units, 0), coalesce(revenue, 0), coalesce(n, 0),"
    "       coalesce(stars, 0), rank() OVER (ORDER BY coalesce(revenue, 0) DESC)"
    "FROM shelf LEFT JOIN sales USING (id) LEFT JOIN opinions USING (id) "
    "ORDER BY id = $1::int DESC, coalesce(revenue, 0) DESC, id LIMIT 6";

struct page *shop_page_of(const PGresult *rows)
{
    struct page_draft draft;
    page_start(&draft);
    for (int i = 0; i < PQntuples(rows); i++) {
        int64_t n[8];
        for (int k = 0; k < 8; k++)
            n[k] = strtoll(PQgetvalue(rows, i, k), NULL, 10);
        page_add(&draft, &(struct page_row){.id = n[0],
                                            .name = PQgetvalue(rows, i, 1),
                                            .price = n[2],
                                            .units = n[3],
                                            .revenue = n[4],
                                            .reviews = n[5],
                                            .stars = n[6],
                                            .rank = n[7]});
    }
    return page_finish(&draft);
}
