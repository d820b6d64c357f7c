/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * response.h - what an upstream has answered, kept for all who asked for it.
 *
 * A response is collected from the filters of one request, its head first, and then sent in as many
 * others as like: each has buffers of its own that point to the same memory, or file.  It is
 * changed by one request only, and by nobody after it has been shared.
 */
#ifndef RESPONSE_H
#define RESPONSE_H

#include <ngx_config.h>

#include <ngx_core.h>

#include <ngx_http.h>

struct response {
    ngx_pool_t *pool;            /* has it and all that it points to */
    unsigned holders;            /* who gives it up last frees it */
    ngx_http_headers_out_t head; /* as the filters of other modules have not seen it yet */
    unsigned allow_ranges;
    unsigned single_range;
    unsigned disable_not_modified;
    ngx_str_t vary;    /* the names of headers, as the upstream sent them; empty: none */
    ngx_str_t variant; /* what they were in the request that was answered */

    size_t max_memory; /* bytes of the body that are kept in memory; what is more goes to file */
    off_t max_size;    /* bytes of the body */
    off_t size;        /* so far */
    size_t allocated;  /* of the memory, so far */
    ngx_chain_t *memory, *filling;
    ngx_temp_file_t file;
};

/*
 * One without anything, for r's location: max_memory is the bytes of the body that are kept in
 * memory, max_size those of all of it.  NULL if there is no memory.  One hold is the caller's.
 */
struct response *response_new(ngx_http_request_t *r, size_t max_memory, off_t max_size);

/*
 * What the head of r's upstream, if it has one, says of the response that is made of it.
 * NGX_DECLINED: it must not be shared, because of Set-Cookie, Cache-Control with private, no-store
 * or no-cache, Vary: *, X-Accel-Charset or X-Accel-Limit-Rate, unless proxy_ignore_headers and the
 * like say otherwise; or of a status that is about this request.  Or else appends to vary, an array
 * of bytes, what it varies by.  NGX_ERROR: no memory.
 */
ngx_int_t response_look_at_upstream(ngx_http_request_t *r, ngx_array_t *vary);

/*
 * The head of r's response, which is about to be sent, and varies by what is in vary, too.  NULL if
 * it must not be shared: its head, or that of the upstream, says so; or it is larger than
 * max_size; or is not buffered, or a change of protocols.  Or if there is no memory.  One hold is
 * the caller's.
 */
struct response *response_create(ngx_http_request_t *r, const ngx_array_t *vary, size_t max_memory,
                                 off_t max_size);

/*
 * Adds what b has of the body, and marks it as sent.  NGX_ERROR if there is no memory, a file
 * cannot be read or written, or the response would become larger than max_size: then b still has
 * what was not added.
 */
ngx_int_t response_add(struct response *s, ngx_buf_t *b);

/* The body for r to send; last: all of it is there.  NGX_ERROR if there is no memory. */
ngx_int_t response_body(struct response *s, ngx_http_request_t *r, ngx_uint_t last,
                        ngx_chain_t **out);

/*
 * Sends it in r, which holds s until it ends, as what was asked for.  Returns as
 * ngx_http_output_filter() does.
 */
ngx_int_t response_send(struct response *s, ngx_http_request_t *r);

/* What the headers that vary names are in r, as bytes to be compared. */
ngx_int_t response_variant(ngx_http_request_t *r, const ngx_str_t *vary, ngx_pool_t *pool,
                           ngx_str_t *variant);

/* Gives up one hold. */
void response_release(struct response *s);

/* --------------------------------------------------------------------- headers */

struct header_cursor {
    ngx_list_part_t *part;
    ngx_uint_t i;
};

/* The next header of a list that has not been taken out; or NULL. */
ngx_table_elt_t *header_next(struct header_cursor *at);

/* Whether that is its name, in whatever case. */
ngx_uint_t header_is_named(const ngx_table_elt_t *h, const u_char *name, size_t len);

/*
 * The names of its own by which nginx finds a header of the head, a bit for each.  Which bit is
 * which is a part of packed.c's format.
 */
uint32_t header_names(const ngx_http_headers_out_t *head, const ngx_table_elt_t *h);
#define HEADER_CACHE_CONTROL UINT32_C(0x80000000)

/* Has nginx find h by these names; NGX_ERROR: no memory. */
ngx_int_t header_set_names(ngx_pool_t *pool, ngx_http_headers_out_t *head, ngx_table_elt_t *h,
                           uint32_t names);

#endif
