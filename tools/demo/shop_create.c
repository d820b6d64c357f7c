/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shop_create.c - the generator.  Its numbers are made up, but evenly: each
 * category has about 50 products, each product 30 to 89 sales and up to 15
 * reviews, so that every page costs about the same.
 */
#include "shop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    N_CATEGORIES = 275,
    N_ORDERS = 200000,
    SALES_MIN = 30, /* of one product */
    SALES_SPAN = 60,
    REVIEWS_SPAN = 16,
    PRICE_MIN = 199, /* in cents */
    PRICE_SPAN = 20000,
};

static const char schema_sql[] =
    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
    "BEGIN;"
    "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category INTEGER, price INTEGER);"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, day INTEGER, cancelled INTEGER);"
    "CREATE TABLE order_items (product INTEGER, order_id INTEGER, quantity INTEGER,"
    "                          price INTEGER, PRIMARY KEY (product, order_id)) WITHOUT ROWID;"
    "CREATE TABLE reviews (id INTEGER PRIMARY KEY, product INTEGER, day INTEGER, stars INTEGER);";

static const char index_sql[] = "CREATE INDEX products_by_category ON products (category);"
                                "CREATE INDEX reviews_by_product ON reviews (product);"
                                "COMMIT;";

struct generator {
    sqlite3 *db;
    bool ok; /* everything so far went well */
    sqlite3_stmt *product, *order, *item, *review;
    unsigned short seed[3]; /* of nrand48(), which is the same everywhere */
};

static int below(struct generator *g, int n)
{
    return (int)(nrand48(g->seed) % n);
}

static sqlite3_stmt *prepare(struct generator *g, const char *sql)
{
    sqlite3_stmt *s = NULL;
    g->ok = g->ok && sqlite3_prepare_v2(g->db, sql, -1, &s, NULL) == SQLITE_OK;
    return s;
}

static void insert(struct generator *g, sqlite3_stmt *s, int n, const int *values)
{
    for (int i = 0; i < n && g->ok; i++)
        g->ok = sqlite3_bind_int(s, i + 1, values[i]) == SQLITE_OK;
    g->ok = g->ok && sqlite3_step(s) == SQLITE_DONE;
    g->ok = sqlite3_reset(s) == SQLITE_OK && g->ok;
}

static void insert_product(struct generator *g, int id)
{
    const int price = PRICE_MIN + below(g, PRICE_SPAN);
    insert(g, g->product, 3, (int[]){id, below(g, N_CATEGORIES), price});

    const int n_sales = SALES_MIN + below(g, SALES_SPAN);
    const int gap = N_ORDERS / n_sales;
    for (int i = 0; i < n_sales; i++)
        insert(g, g->item, 4,
               (int[]){id, i * gap + below(g, gap), 1 + below(g, 3),
                       price * (80 + below(g, 21)) / 100});

    const int n_reviews = below(g, REVIEWS_SPAN);
    for (int i = 0; i < n_reviews; i++)
        insert(g, g->review, 3, (int[]){id, below(g, 365), 1 + below(g, 5)});
}

/* A line that counts up on a terminal; in a log, only its end. */
static void say_progress(int percent)
{
    const bool is_terminal = isatty(STDOUT_FILENO) == 1;
    if (is_terminal || percent == 100)
        printf("%sgenerating the shop: %d%%%s", is_terminal ? "\r" : "", percent,
               percent == 100 ? "\n" : "");
    fflush(stdout);
}

static void generate(struct generator *g)
{
    g->ok = g->ok && sqlite3_exec(g->db, schema_sql, NULL, NULL, NULL) == SQLITE_OK;
    g->product = prepare(g, "INSERT INTO products VALUES (?1, 'Product ' || ?1, ?2, ?3)");
    g->order = prepare(g, "INSERT INTO orders VALUES (?1, ?2, ?3)");
    g->item = prepare(g, "INSERT INTO order_items VALUES (?1, ?2, ?3, ?4)");
    g->review = prepare(g, "INSERT INTO reviews VALUES (NULL, ?1, ?2, ?3)");
    for (int i = 0; i < N_ORDERS && g->ok; i++)
        insert(g, g->order, 3, (int[]){i, i * 365 / N_ORDERS, below(g, 20) == 0});
    for (int i = 0; i < SHOP_PRODUCTS && g->ok; i++) {
        if (i % 1000 == 0)
            say_progress(i * 100 / SHOP_PRODUCTS);
        insert_product(g, i);
    }
    g->ok = g->ok && sqlite3_exec(g->db, index_sql, NULL, NULL, NULL) == SQLITE_OK;
    if (g->ok)
        say_progress(100);
    sqlite3_finalize(g->product);
    sqlite3_finalize(g->order);
    sqlite3_finalize(g->item);
    sqlite3_finalize(g->review);
}

char *shop_create(const char *file)
{
    if (access(file, F_OK) == 0)
        return sqlite3_mprintf("the file exists already");
    /* Under its name only when it is whole. */
    char *unfinished = sqlite3_mprintf("%s.tmp", file);
    unlink(unfinished);

    struct generator g = {.ok = true};
    g.ok = sqlite3_open(unfinished, &g.db) == SQLITE_OK;
    if (g.ok)
        generate(&g);
    char *error = g.ok ? NULL : sqlite3_mprintf("%s", sqlite3_errmsg(g.db));
    sqlite3_close(g.db);
    if (error == NULL && rename(unfinished, file) != 0)
        error = sqlite3_mprintf("%s", strerror(errno));
    if (error != NULL)
        unlink(unfinished);
    sqlite3_free(unfinished);
    return error;
}
