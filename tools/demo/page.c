/* SPDX-License-Identifier: BSD-2-Clause */
/* page.c - a page is written as one block of memory, its header first. */
#include "page.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t page_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct page *page_of(uint64_t made_ns, const char *html, size_t size)
{
    struct page *p = malloc(sizeof(*p) + size + 1);
    if (p == NULL)
        return NULL;
    atomic_init(&p->refs, 1);
    p->made_ns = made_ns;
    p->size = size;
    memcpy(p->html, html, size);
    p->html[size] = '\0';
    return p;
}

struct page *page_ref(struct page *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void page_unref(struct page *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

void page_start(struct page_draft *d)
{
    const struct page header = {.refs = 1};
    *d = (struct page_draft){0};
    d->f = open_memstream(&d->text, &d->size);
    if (d->f != NULL)
        fwrite(&header, sizeof(header), 1, d->f);
}

void page_add(struct page_draft *d, const struct page_row *row)
{
    FILE *f = d->f;
    const bool is_subject = d->n_rows++ == 0;
    if (f == NULL)
        return;
    if (is_subject)
        fprintf(f,
                "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>%s</title></head>\n"
                "<body><h1>%s</h1>\n"
                "<p id=\"facts\" data-product=\"%" PRId64 "\" data-units=\"%" PRId64
                "\" data-revenue=\"%" PRId64 "\" data-reviews=\"%" PRId64 "\" data-stars=\"%" PRId64
                "\">",
                row->name, row->name, row->id, row->units, row->revenue, row->reviews, row->stars);
    else
        fprintf(f, "<li><a href=\"/product/%" PRId64 "\">%s</a>: ", row->id, row->name);
    fprintf(f, "%" PRId64 ".%02d, number %" PRId64 " of its kind, %" PRId64 " sold",
            row->price / 100, (int)(row->price % 100), row->rank, row->units);
    if (row->reviews != 0)
        fprintf(f, ", %.1f stars from %" PRId64 " customers",
                (double)row->stars / (double)row->reviews, row->reviews);
    fputs(is_subject ? "</p>\n<h2>Others like best</h2>\n<ul>\n" : "</li>\n", f);
}

struct page *page_finish(struct page_draft *d)
{
    if (d->f == NULL)
        return NULL;
    fputs("</ul></body></html>\n", d->f);
    if (fclose(d->f) != 0) {
        free(d->text);
        return NULL;
    }
    struct page *page = (struct page *)d->text;
    page->made_ns = page_now_ns();
    page->size = d->size - sizeof(*page);
    return page;
}
