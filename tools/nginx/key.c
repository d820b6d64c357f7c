/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key.c - see key.h.
 *
 * Each string comes after its length, so that no other strings are the same bytes, whatever clients
 * write into them.
 */
#include "key.h"

#include "response.h"

#include <endian.h>

enum { N_PARTS = 7, LENGTH_LEN = sizeof(uint64_t) };

ngx_int_t key_append(ngx_array_t *key, const void *data, size_t len)
{
    u_char *end = ngx_array_push_n(key, len);
    if (end == NULL)
        return NGX_ERROR;
    if (len > 0)
        ngx_memcpy(end, data, len);
    return NGX_OK;
}

/* Of the length the highest byte comes first. */
static u_char *put_string(u_char *to, const u_char *data, size_t len)
{
    uint64_t length = htobe64(len);
    to = ngx_cpymem(to, &length, sizeof(length));
    return len > 0 ? ngx_cpymem(to, data, len) : to;
}

static ngx_int_t append_string(ngx_array_t *key, const u_char *data, size_t len)
{
    u_char *end = ngx_array_push_n(key, LENGTH_LEN + len);
    if (end == NULL)
        return NGX_ERROR;
    (void)put_string(end, data, len);
    return NGX_OK;
}

/* The upstream may be asked for the host by any of two names, and for the URI as it is now. */
static ngx_int_t get_parts(ngx_http_request_t *r, ngx_http_complex_value_t *own,
                           ngx_str_t part[N_PARTS])
{
    static const ngx_str_t http = ngx_string("http"), https = ngx_string("https");
    ngx_memzero(part, N_PARTS * sizeof(part[0]));
    part[0] = r->method_name;
    if (own != NULL)
        return ngx_http_complex_value(r, own, &part[1]);
    part[1] = http;
#if (NGX_HTTP_SSL)
    if (r->connection->ssl != NULL)
        part[1] = https;
#endif
    if (r->headers_in.host != NULL)
        part[2] = r->headers_in.host->value;
    part[3] = r->headers_in.server;
    part[4] = r->unparsed_uri;
    if (!r->valid_unparsed_uri) { /* it has been changed */
        part[5] = r->uri;
        part[6] = r->args;
    }
    return NGX_OK;
}

ngx_int_t key_append_request(ngx_array_t *key, ngx_http_request_t *r, ngx_http_complex_value_t *own)
{
    static const ngx_str_t conditions = ngx_string("Range,If-Range,If-Match,If-Unmodified-Since,"
                                                   "If-None-Match,If-Modified-Since");
    const ngx_http_headers_in_t *in = &r->headers_in;
    ngx_str_t part[N_PARTS];
    if (get_parts(r, own, part) != NGX_OK)
        return NGX_ERROR;
    size_t size = 0;
    for (size_t i = 0; i < N_PARTS; i++)
        size += LENGTH_LEN + part[i].len;
    u_char *end = ngx_array_push_n(key, size);
    if (end == NULL)
        return NGX_ERROR;
    for (size_t i = 0; i < N_PARTS; i++)
        end = put_string(end, part[i].data, part[i].len);
    if (in->range == NULL && in->if_range == NULL && in->if_match == NULL &&
        in->if_unmodified_since == NULL && in->if_none_match == NULL &&
        in->if_modified_since == NULL)
        return NGX_OK;
    return key_append_headers(key, r, &conditions);
}

/* What the lines of a header say, each after a 1, and then a 0. */
static ngx_int_t append_lines(ngx_array_t *key, ngx_http_request_t *r, const u_char *name,
                              size_t len)
{
    struct header_cursor at = {.part = &r->headers_in.headers.part};
    for (ngx_table_elt_t *h; (h = header_next(&at)) != NULL;) {
        if (header_is_named(h, name, len) &&
            (key_append(key, "\1", 1) != NGX_OK ||
             append_string(key, h->value.data, h->value.len) != NGX_OK))
            return NGX_ERROR;
    }
    return key_append(key, "\0", 1);
}

ngx_int_t key_append_headers(ngx_array_t *key, ngx_http_request_t *r, const ngx_str_t *names)
{
    const u_char *end = names->data + names->len;
    for (const u_char *name = names->data, *stop; name < end; name = stop + 1) {
        for (stop = name; stop < end && *stop != ',' && *stop > ' '; stop++)
            ;
        if (stop > name && (append_string(key, name, (size_t)(stop - name)) != NGX_OK ||
                            append_lines(key, r, name, (size_t)(stop - name)) != NGX_OK))
            return NGX_ERROR;
    }
    return NGX_OK;
}
