/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * response.c - see response.h.
 *
 * The body is first in the file, if there is one, and goes on in memory.  When the memory is full
 * it is written to the file and filled again.
 */
#include "response.h"

#include "key.h"

#define CHUNK 16384 /* the least that is allocated for a body whose length is not known */

/* Those of the headers that nginx also finds by a name of their own. */
static const size_t named[] = {
    offsetof(ngx_http_headers_out_t, server),
    offsetof(ngx_http_headers_out_t, date),
    offsetof(ngx_http_headers_out_t, content_length),
    offsetof(ngx_http_headers_out_t, content_encoding),
    offsetof(ngx_http_headers_out_t, location),
    offsetof(ngx_http_headers_out_t, refresh),
    offsetof(ngx_http_headers_out_t, last_modified),
    offsetof(ngx_http_headers_out_t, content_range),
    offsetof(ngx_http_headers_out_t, accept_ranges),
    offsetof(ngx_http_headers_out_t, www_authenticate),
    offsetof(ngx_http_headers_out_t, expires),
    offsetof(ngx_http_headers_out_t, etag),
};

/* ------------------------------------------------------------------- headers */

ngx_table_elt_t *header_next(struct header_cursor *at)
{
    while (at->part != NULL) {
        ngx_table_elt_t *h = at->part->elts;
        while (at->i < at->part->nelts) {
            if (h[at->i++].hash != 0)
                return &h[at->i - 1];
        }
        *at = (struct header_cursor){.part = at->part->next};
    }
    return NULL;
}

ngx_uint_t header_is_named(const ngx_table_elt_t *h, const u_char *name, size_t len)
{
    return h->key.len == len && ngx_strncasecmp(h->key.data, (u_char *)name, len) == 0;
}

#define IS(h, name) header_is_named((h), (const u_char *)(name), sizeof(name) - 1)

static ngx_uint_t has_word(const ngx_str_t *value, const char *word)
{
    return ngx_strlcasestrn(value->data, value->data + value->len, (u_char *)word,
                            ngx_strlen(word) - 1) != NULL;
}

static ngx_int_t copy(ngx_pool_t *pool, ngx_str_t *s)
{
    u_char *data = ngx_pnalloc(pool, s->len + 1); /* never nothing */
    if (data == NULL)
        return NGX_ERROR;
    if (s->len > 0)
        ngx_memcpy(data, s->data, s->len);
    s->data = data;
    return NGX_OK;
}

static ngx_int_t copy_strings(ngx_pool_t *pool, ngx_table_elt_t *h)
{
    if (copy(pool, &h->key) != NGX_OK || copy(pool, &h->value) != NGX_OK)
        return NGX_ERROR;
    h->lowcase_key = ngx_pnalloc(pool, h->key.len + 1);
    if (h->lowcase_key == NULL)
        return NGX_ERROR;
    ngx_strlow(h->lowcase_key, h->key.data, h->key.len);
    return NGX_OK;
}

uint32_t header_names(const ngx_http_headers_out_t *head, const ngx_table_elt_t *h)
{
    uint32_t names = 0;
    for (ngx_uint_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        if (*(ngx_table_elt_t *const *)((const u_char *)head + named[i]) == h)
            names |= UINT32_C(1) << i;
    }
    for (ngx_uint_t i = 0; i < head->cache_control.nelts; i++) {
        if (((ngx_table_elt_t **)head->cache_control.elts)[i] == h)
            names |= HEADER_CACHE_CONTROL;
    }
    return names;
}

ngx_int_t header_set_names(ngx_pool_t *pool, ngx_http_headers_out_t *head, ngx_table_elt_t *h,
                           uint32_t names)
{
    for (ngx_uint_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        if (names & UINT32_C(1) << i)
            *(ngx_table_elt_t **)((u_char *)head + named[i]) = h;
    }
    if (!(names & HEADER_CACHE_CONTROL))
        return NGX_OK;
    if (head->cache_control.elts == NULL &&
        ngx_array_init(&head->cache_control, pool, 1, sizeof(h)) != NGX_OK)
        return NGX_ERROR;
    ngx_table_elt_t **place = ngx_array_push(&head->cache_control);
    if (place == NULL)
        return NGX_ERROR;
    *place = h;
    return NGX_OK;
}

/* Adds to the headers of `to`; deep: also the strings are copied. */
static ngx_int_t copy_head(ngx_pool_t *pool, ngx_http_headers_out_t *to,
                           ngx_http_headers_out_t *from, ngx_uint_t deep)
{
    struct header_cursor at = {.part = &from->headers.part};
    for (ngx_table_elt_t *h; (h = header_next(&at)) != NULL;) {
        ngx_table_elt_t *copied = ngx_list_push(&to->headers);
        if (copied == NULL)
            return NGX_ERROR;
        *copied = *h;
        if ((deep && copy_strings(pool, copied) != NGX_OK) ||
            header_set_names(pool, to, copied, header_names(from, h)) != NGX_OK)
            return NGX_ERROR;
    }
    to->status = from->status;
    to->status_line = from->status_line;
    to->content_type = from->content_type;
    to->content_type_len = from->content_type_len;
    to->charset = from->charset;
    to->content_length_n = from->content_length_n;
    to->date_time = from->date_time;
    to->last_modified_time = from->last_modified_time;
    if (deep && (copy(pool, &to->status_line) != NGX_OK ||
                 copy(pool, &to->content_type) != NGX_OK || copy(pool, &to->charset) != NGX_OK))
        return NGX_ERROR;
    return NGX_OK;
}

/* ------------------------------------------------------------ may it be shared */

/* Whether it is about a request and who has sent it, and not about what it asks for. */
static ngx_uint_t is_for_one(ngx_uint_t status)
{
    static const ngx_uint_t all[] = {400, 408, 413, 414, 417, 421, 425, 429, 431};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (status == all[i])
            return 1;
    }
    return 0;
}

/* NGX_DECLINED if the headers forbid it.  Adds what they say that the response varies by. */
static ngx_int_t look_at_headers(ngx_list_t *headers, ngx_uint_t ignored, ngx_array_t *vary)
{
    struct header_cursor at = {.part = &headers->part};
    for (ngx_table_elt_t *h; (h = header_next(&at)) != NULL;) {
        if (IS(h, "Set-Cookie") && !(ignored & NGX_HTTP_UPSTREAM_IGN_SET_COOKIE))
            return NGX_DECLINED;
        if ((IS(h, "X-Accel-Charset") && !(ignored & NGX_HTTP_UPSTREAM_IGN_XA_CHARSET)) ||
            (IS(h, "X-Accel-Limit-Rate") && !(ignored & NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE)))
            return NGX_DECLINED; /* followers would be without it */
        if (IS(h, "Cache-Control") && !(ignored & NGX_HTTP_UPSTREAM_IGN_CACHE_CONTROL) &&
            (has_word(&h->value, "private") || has_word(&h->value, "no-store") ||
             has_word(&h->value, "no-cache")))
            return NGX_DECLINED;
        if (IS(h, "Vary") && !(ignored & NGX_HTTP_UPSTREAM_IGN_VARY)) {
            if (ngx_strlchr(h->value.data, h->value.data + h->value.len, '*') != NULL)
                return NGX_DECLINED;
            if (key_append(vary, h->value.data, h->value.len) != NGX_OK ||
                key_append(vary, ",", 1) != NGX_OK)
                return NGX_ERROR;
        }
    }
    return NGX_OK;
}

ngx_int_t response_look_at_upstream(ngx_http_request_t *r, ngx_array_t *vary)
{
    ngx_http_upstream_t *u = r->upstream;
    if (u == NULL)
        return NGX_OK;
    if (is_for_one(u->headers_in.status_n))
        return NGX_DECLINED;
    return look_at_headers(&u->headers_in.headers, u->conf->ignore_headers, vary);
}

/* What the upstream sent counts, and what a module has made of it, or sent by itself. */
static ngx_int_t look_at_response(ngx_http_request_t *r, ngx_array_t *vary)
{
    ngx_http_upstream_t *u = r->upstream;
    if (r->headers_out.status < NGX_HTTP_OK || is_for_one(r->headers_out.status) ||
        (u != NULL && !u->buffering))
        return NGX_DECLINED;
    ngx_uint_t ignored = u != NULL ? u->conf->ignore_headers : 0;
    ngx_int_t rc = response_look_at_upstream(r, vary);
    return rc == NGX_OK ? look_at_headers(&r->headers_out.headers, ignored, vary) : rc;
}

ngx_int_t response_variant(ngx_http_request_t *r, const ngx_str_t *vary, ngx_pool_t *pool,
                           ngx_str_t *variant)
{
    ngx_array_t *bytes = ngx_array_create(pool, 256, 1);
    if (bytes == NULL || key_append_headers(bytes, r, vary) != NGX_OK)
        return NGX_ERROR;
    *variant = (ngx_str_t){.len = bytes->nelts, .data = bytes->elts};
    return NGX_OK;
}

/* ------------------------------------------------------------------ collecting */

static ngx_int_t take_head(struct response *s, ngx_http_request_t *r, const ngx_array_t *before)
{
    ngx_array_t *vary = ngx_array_create(s->pool, 64, 1);
    if (vary == NULL || key_append(vary, before->elts, before->nelts) != NGX_OK ||
        look_at_response(r, vary) != NGX_OK || r->headers_out.content_length_n > s->max_size)
        return NGX_ERROR;
    s->vary = (ngx_str_t){.len = vary->nelts, .data = vary->elts};
    s->allow_ranges = r->allow_ranges;
    s->single_range = r->single_range;
    s->disable_not_modified = r->disable_not_modified;
    if (response_variant(r, &s->vary, s->pool, &s->variant) != NGX_OK)
        return NGX_ERROR;
    return copy_head(s->pool, &s->head, &r->headers_out, 1);
}

struct response *response_new(ngx_http_request_t *r, size_t max_memory, off_t max_size)
{
    ngx_pool_t *pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL)
        return NULL;
    struct response *s = ngx_pcalloc(pool, sizeof(*s));
    if (s == NULL || ngx_list_init(&s->head.headers, pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        ngx_destroy_pool(pool);
        return NULL;
    }
    ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    s->pool = pool;
    s->holders = 1;
    s->max_memory = ngx_max(max_memory, CHUNK);
    s->max_size = max_size;
    s->file.file.fd = NGX_INVALID_FILE;
    s->file.file.log = ngx_cycle->log;
    s->file.path = core->client_body_temp_path;
    s->file.pool = pool;
    s->file.log_level = NGX_LOG_WARN;
    s->file.warn = "a shared response is buffered to a temporary file";
    return s;
}

struct response *response_create(ngx_http_request_t *r, const ngx_array_t *vary, size_t max_memory,
                                 off_t max_size)
{
    struct response *s = response_new(r, max_memory, max_size);
    if (s != NULL && take_head(s, r, vary) != NGX_OK) {
        response_release(s);
        return NULL;
    }
    return s;
}

/* One more piece of memory: as much as the body needs, or as there is already. */
static ngx_chain_t *new_chunk(struct response *s)
{
    size_t most = s->max_memory - s->allocated;
    off_t rest = s->head.content_length_n - s->size;
    size_t size = ngx_max(s->allocated, CHUNK);
    if (s->head.content_length_n >= 0 && rest > 0)
        size = (size_t)ngx_min(rest, (off_t)most);
    ngx_chain_t *chunk = ngx_alloc_chain_link(s->pool);
    if (chunk == NULL)
        return NULL;
    size = ngx_min(size, most);
    chunk->buf = ngx_create_temp_buf(s->pool, size);
    chunk->next = NULL;
    if (chunk->buf == NULL)
        return NULL;
    s->allocated += size;
    return chunk;
}

/* Empties the memory into the file. */
static ngx_int_t spill(struct response *s)
{
    ssize_t n = ngx_write_chain_to_temp_file(&s->file, s->memory);
    if (n < 0)
        return NGX_ERROR;
    s->file.offset += n;
    for (ngx_chain_t *chunk = s->memory; chunk != NULL; chunk = chunk->next)
        chunk->buf->last = chunk->buf->pos;
    s->filling = s->memory;
    return NGX_OK;
}

/* There is room at the end of the memory. */
static ngx_int_t make_room(struct response *s)
{
    if (s->filling != NULL && s->filling->buf->last < s->filling->buf->end)
        return NGX_OK;
    if (s->filling != NULL && s->filling->next != NULL) {
        s->filling = s->filling->next;
        return NGX_OK;
    }
    if (s->allocated >= s->max_memory)
        return spill(s);
    ngx_chain_t *chunk = new_chunk(s);
    if (chunk == NULL)
        return NGX_ERROR;
    if (s->filling == NULL)
        s->memory = chunk;
    else
        s->filling->next = chunk;
    s->filling = chunk;
    return NGX_OK;
}

ngx_int_t response_add(struct response *s, ngx_buf_t *b)
{
    ngx_uint_t in_memory = ngx_buf_in_memory(b);
    off_t rest = in_memory || b->in_file ? ngx_buf_size(b) : 0;
    if (rest > s->max_size - s->size)
        return NGX_ERROR;
    while (rest > 0) {
        if (make_room(s) != NGX_OK)
            return NGX_ERROR;
        ngx_buf_t *to = s->filling->buf;
        size_t n = (size_t)ngx_min(to->end - to->last, rest);
        if (in_memory) {
            to->last = ngx_cpymem(to->last, b->pos, n);
            b->pos += n;
        } else {
            if (ngx_read_file(b->file, to->last, n, b->file_pos) != (ssize_t)n)
                return NGX_ERROR;
            to->last += n;
        }
        if (b->in_file)
            b->file_pos += (off_t)n;
        rest -= (off_t)n;
        s->size += (off_t)n;
    }
    return NGX_OK;
}

void response_release(struct response *s)
{
    if (--s->holders == 0)
        ngx_destroy_pool(s->pool);
}

/* --------------------------------------------------------------------- sending */

static ngx_buf_t *add_buffer(ngx_pool_t *pool, ngx_chain_t ***end)
{
    ngx_chain_t *link = ngx_alloc_chain_link(pool);
    if (link == NULL || (link->buf = ngx_calloc_buf(pool)) == NULL)
        return NULL;
    link->next = NULL;
    **end = link;
    *end = &link->next;
    return link->buf;
}

ngx_int_t response_body(struct response *s, ngx_http_request_t *r, ngx_uint_t last,
                        ngx_chain_t **out)
{
    ngx_buf_t *b = NULL;
    *out = NULL;
    if (s->file.offset > 0) {
        if ((b = add_buffer(r->pool, &out)) == NULL ||
            (b->file = ngx_palloc(r->pool, sizeof(*b->file))) == NULL)
            return NGX_ERROR;
        *b->file = s->file.file; /* who reads it notes in it how far */
        b->file->log = r->connection->log;
        b->in_file = 1;
        b->file_last = s->file.offset;
    }
    for (ngx_chain_t *chunk = s->memory; chunk != NULL; chunk = chunk->next) {
        if (chunk->buf->pos == chunk->buf->last)
            break;
        if ((b = add_buffer(r->pool, &out)) == NULL)
            return NGX_ERROR;
        b->pos = b->start = chunk->buf->pos;
        b->last = b->end = chunk->buf->last;
        b->memory = 1; /* nobody may write there */
    }
    if (last && b == NULL && (b = add_buffer(r->pool, &out)) == NULL)
        return NGX_ERROR;
    if (last)
        b->last_buf = b->last_in_chain = 1;
    return NGX_OK;
}

ngx_int_t response_send(struct response *s, ngx_http_request_t *r)
{
    ngx_chain_t *body;
    if (r->upstream != NULL) /* it was sent here by a response, and so was the leader */
        ngx_http_clean_header(r);
    if (copy_head(r->pool, &r->headers_out, &s->head, 0) != NGX_OK)
        return NGX_ERROR;
    r->allow_ranges = s->allow_ranges & 1;
    r->single_range = s->single_range & 1;
    r->disable_not_modified = s->disable_not_modified & 1;
    ngx_int_t rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    if (response_body(s, r, 1, &body) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_output_filter(r, body);
}
