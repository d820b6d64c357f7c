/* SPDX-License-Identifier: BSD-2-Clause */
/* packed.c - see packed.h. */
#include "packed.h"

enum { FORMAT_LEN = sizeof(PACKED_FORMAT) - 1, NUMBER_LEN = 8 };
enum { RANGES = 1, ONE_RANGE = 2, ALWAYS_MODIFIED = 4 };
enum { N_STRINGS = 5 };

/* The strings of a head, in their order. */
static void head_strings(struct response *s, ngx_str_t *string[N_STRINGS])
{
    string[0] = &s->head.status_line;
    string[1] = &s->head.content_type;
    string[2] = &s->head.charset;
    string[3] = &s->vary;
    string[4] = &s->variant;
}

/* --------------------------------------------------------------------- packing */

/* at is NULL while it is only counted. */
struct writer {
    u_char *at;
    size_t size;
};

static void put(struct writer *w, const void *data, size_t len)
{
    if (w->at != NULL && len > 0)
        w->at = ngx_cpymem(w->at, data, len);
    w->size += len;
}

static void put_number(struct writer *w, uint64_t n)
{
    u_char bytes[NUMBER_LEN];
    for (size_t i = 0; i < NUMBER_LEN; i++)
        bytes[i] = (u_char)(n >> (8 * (NUMBER_LEN - 1 - i)));
    put(w, bytes, NUMBER_LEN);
}

static void put_string(struct writer *w, const ngx_str_t *s)
{
    put_number(w, s->len);
    put(w, s->data, s->len);
}

static void put_head(struct writer *w, struct response *s)
{
    ngx_http_headers_out_t *head = &s->head;
    ngx_str_t *string[N_STRINGS];
    uint64_t n_headers = 0;
    head_strings(s, string);
    put(w, PACKED_FORMAT, FORMAT_LEN);
    put_number(w, head->status);
    put_number(w, (uint64_t)head->content_length_n);
    put_number(w, (uint64_t)head->date_time);
    put_number(w, (uint64_t)head->last_modified_time);
    put_number(w, (s->allow_ranges ? RANGES : 0U) | (s->single_range ? ONE_RANGE : 0U) |
                      (s->disable_not_modified ? ALWAYS_MODIFIED : 0U));
    put_number(w, head->content_type_len);
    for (size_t i = 0; i < N_STRINGS; i++)
        put_string(w, string[i]);
    struct header_cursor at = {.part = &head->headers.part};
    while (header_next(&at) != NULL)
        n_headers++;
    put_number(w, n_headers);
    at = (struct header_cursor){.part = &head->headers.part};
    for (ngx_table_elt_t *h; (h = header_next(&at)) != NULL;) {
        put_number(w, header_names(head, h));
        put_string(w, &h->key);
        put_string(w, &h->value);
    }
}

void *response_pack(struct response *s, size_t *size)
{
    struct writer w = {0};
    ngx_file_t file = s->file.file; /* who reads it notes in it how far */
    size_t in_file = (size_t)s->file.offset;
    put_head(&w, s);
    *size = w.size + (size_t)s->size;
    u_char *value = ngx_alloc(*size, ngx_cycle->log);
    if (value == NULL)
        return NULL;
    w = (struct writer){.at = value};
    put_head(&w, s);
    if (in_file > 0) {
        if (ngx_read_file(&file, w.at, in_file, 0) != (ssize_t)in_file) {
            ngx_free(value);
            return NULL;
        }
        w.at += in_file;
    }
    for (ngx_chain_t *chunk = s->memory; chunk != NULL; chunk = chunk->next)
        put(&w, chunk->buf->pos, (size_t)(chunk->buf->last - chunk->buf->pos));
    return value;
}

/* ------------------------------------------------------------------- unpacking */

/* What is too short ends it: is_bad, and all that follows is empty. */
struct reader {
    const u_char *at, *end;
    ngx_uint_t is_bad;
};

static const u_char *get(struct reader *in, uint64_t len)
{
    if (len > (uint64_t)(in->end - in->at)) {
        in->is_bad = 1;
        in->at = in->end;
        return NULL;
    }
    in->at += len;
    return in->at - len;
}

static uint64_t get_number(struct reader *in)
{
    const u_char *bytes = get(in, NUMBER_LEN);
    uint64_t n = 0;
    for (size_t i = 0; bytes != NULL && i < NUMBER_LEN; i++)
        n = n << 8 | bytes[i];
    return n;
}

/* Copied into the pool, with a NUL. */
static ngx_str_t get_string(struct reader *in, ngx_pool_t *pool)
{
    uint64_t len = get_number(in);
    const u_char *data = get(in, len);
    ngx_str_t s = ngx_null_string;
    if (data == NULL)
        return s;
    s.data = ngx_pnalloc(pool, (size_t)len + 1);
    if (s.data == NULL) {
        in->is_bad = 1;
        return s;
    }
    s.len = (size_t)len;
    ngx_memcpy(s.data, data, s.len);
    s.data[s.len] = '\0';
    return s;
}

static ngx_int_t get_header(struct reader *in, struct response *s)
{
    ngx_table_elt_t *h = ngx_list_push(&s->head.headers);
    if (h == NULL)
        return NGX_ERROR;
    ngx_memzero(h, sizeof(*h));
    h->hash = 1;
    uint32_t names = (uint32_t)get_number(in);
    h->key = get_string(in, s->pool);
    h->value = get_string(in, s->pool);
    h->lowcase_key = ngx_pnalloc(s->pool, h->key.len + 1);
    if (in->is_bad || h->lowcase_key == NULL)
        return NGX_ERROR;
    ngx_strlow(h->lowcase_key, h->key.data, h->key.len);
    return header_set_names(s->pool, &s->head, h, names);
}

static ngx_int_t get_head(struct reader *in, struct response *s)
{
    ngx_http_headers_out_t *head = &s->head;
    ngx_str_t *string[N_STRINGS];
    head_strings(s, string);
    const u_char *format = get(in, FORMAT_LEN);
    if (format == NULL || ngx_memcmp(format, PACKED_FORMAT, FORMAT_LEN) != 0)
        return NGX_ERROR;
    head->status = get_number(in);
    head->content_length_n = (off_t)get_number(in);
    head->date_time = (time_t)get_number(in);
    head->last_modified_time = (time_t)get_number(in);
    uint64_t flags = get_number(in);
    s->allow_ranges = (flags & RANGES) != 0;
    s->single_range = (flags & ONE_RANGE) != 0;
    s->disable_not_modified = (flags & ALWAYS_MODIFIED) != 0;
    head->content_type_len = get_number(in);
    for (size_t i = 0; i < N_STRINGS; i++)
        *string[i] = get_string(in, s->pool);
    if (head->content_type_len > head->content_type.len)
        return NGX_ERROR;
    for (uint64_t n = get_number(in); n > 0; n--) {
        if (get_header(in, s) != NGX_OK)
            return NGX_ERROR;
    }
    return in->is_bad ? NGX_ERROR : NGX_OK;
}

struct response *response_unpack(const void *value, size_t size, ngx_http_request_t *r,
                                 size_t max_memory, off_t max_size)
{
    struct reader in = {.at = value, .end = (const u_char *)value + size};
    struct response *s = response_new(r, max_memory, max_size);
    if (s == NULL)
        return NULL;
    if (get_head(&in, s) == NGX_OK) {
        ngx_buf_t body = {.pos = (u_char *)in.at, .last = (u_char *)in.end, .memory = 1};
        if (response_add(s, &body) == NGX_OK)
            return s;
    }
    response_release(s);
    return NULL;
}
