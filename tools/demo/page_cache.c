/* SPDX-License-Identifier: BSD-2-Clause */
/* page_cache.c - a slot with a lock of its own for each product. */
#include "page_cache.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
    pthread_mutex_t lock;
    struct page *page; /* NULL, or with a reference */
};

struct page_cache {
    uint64_t ttl_ns;
    atomic_uint_fast64_t n_expired;
    uint32_t n_slots;
    struct slot slots[];
};

struct page_cache *page_cache_create(uint32_t n_products, uint64_t ttl_ms)
{
    struct page_cache *cache = calloc(1, sizeof(*cache) + n_products * sizeof(struct slot));
    if (cache == NULL)
        return NULL;
    cache->ttl_ns = ttl_ms * 1000000;
    cache->n_slots = n_products;
    for (uint32_t i = 0; i < n_products; i++)
        pthread_mutex_init(&cache->slots[i].lock, NULL);
    return cache;
}

void page_cache_destroy(struct page_cache *cache)
{
    for (uint32_t i = 0; cache != NULL && i < cache->n_slots; i++) {
        pthread_mutex_destroy(&cache->slots[i].lock);
        if (cache->slots[i].page != NULL)
            page_unref(cache->slots[i].page);
    }
    free(cache);
}

struct page *page_cache_get(struct page_cache *cache, uint32_t product)
{
    struct slot *s = &cache->slots[product];
    pthread_mutex_lock(&s->lock);
    struct page *page = s->page, *expired = NULL;
    if (page != NULL && page_now_ns() - page->made_ns >= cache->ttl_ns) {
        expired = page;
        page = s->page = NULL;
        atomic_fetch_add_explicit(&cache->n_expired, 1, memory_order_relaxed);
    }
    if (page != NULL)
        page_ref(page);
    pthread_mutex_unlock(&s->lock);
    if (expired != NULL)
        page_unref(expired);
    return page;
}

void page_cache_put(struct page_cache *cache, uint32_t product, struct page *page)
{
    struct slot *s = &cache->slots[product];
    pthread_mutex_lock(&s->lock);
    struct page *old = s->page;
    s->page = page_ref(page);
    pthread_mutex_unlock(&s->lock);
    if (old != NULL)
        page_unref(old);
}

uint64_t page_cache_expiries(const struct page_cache *cache)
{
    return atomic_load_explicit(&cache->n_expired, memory_order_relaxed);
}
