/* SPDX-License-Identifier: BSD-2-Clause */
/* page.h - product pages: what they look like, and who shares them. */
#ifndef PAGE_H
#define PAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { SHOP_PRODUCTS = 13756 }; /* as many as the trace names: 0 to 13,755 */

/* One product page, shared by whoever holds a reference; the text never changes. */
struct page {
    atomic_uint refs;
    uint64_t made_ns; /* page_now_ns(), then */
    size_t size;      /* bytes of html, without the NUL at its end */
    char html[];
};

/* CLOCK_MONOTONIC. */
uint64_t page_now_ns(void);

/* A page of that text, with one reference; NULL: no memory. */
struct page *page_of(uint64_t made_ns, const char *html, size_t size);

struct page *page_ref(struct page *p);
void page_unref(struct page *p);

/* One row of the page's query: first the product itself, then others of its category. */
struct page_row {
    int64_t id;
    const char *name;
    int64_t price, units, revenue, reviews, stars, rank; /* money in cents */
};

/*
 * A page in the making: page_start(), page_add() for each row, page_finish(),
 * which is due in any case and returns the page with one reference, or NULL if
 * at any point there was no memory.
 */
struct page_draft {
    FILE *f;
    char *text;
    size_t size, n_rows;
};

void page_start(struct page_draft *d);
void page_add(struct page_draft *d, const struct page_row *row);
struct page *page_finish(struct page_draft *d);

#endif
