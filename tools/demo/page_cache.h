/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page_cache.h - pages by product number, each good for a while.  A page that
 * has expired is simply absent: nothing here keeps its callers from all asking
 * the database for it at once.
 */
#ifndef PAGE_CACHE_H
#define PAGE_CACHE_H

#include "page.h"

struct page_cache;

/* For products 0 to n_products - 1.  Returns NULL if there is no memory. */
struct page_cache *page_cache_create(uint32_t n_products, uint64_t ttl_ms);

/* NULL is fine. */
void page_cache_destroy(struct page_cache *cache);

/* The product's page, with a reference for the caller, or NULL. */
struct page *page_cache_get(struct page_cache *cache, uint32_t product);

/* Keeps the page, with a reference of its own, until it expires: its age counts from made_ns. */
void page_cache_put(struct page_cache *cache, uint32_t product, struct page *page);

/* How many pages have been found expired so far, each of them once. */
uint64_t page_cache_expiries(const struct page_cache *cache);

#endif
