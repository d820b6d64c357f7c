/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key.h - what makes two requests one, as bytes to be compared.
 *
 * The bytes are the same on all machines.
 */
#ifndef KEY_H
#define KEY_H

#include <ngx_config.h>

#include <ngx_core.h>

#include <ngx_http.h>

/* Appends to a key, an array of bytes.  NGX_ERROR: no memory. */
ngx_int_t key_append(ngx_array_t *key, const void *data, size_t len);

/*
 * Appends what r, a GET or a HEAD, asks for: own, or if that is NULL the scheme, the host and the
 * URI, as it was asked for and, if nginx has changed it, as it is now; always the method, and the
 * headers that make it conditional or ask for a part.  NGX_ERROR: no memory, or own has failed.
 */
ngx_int_t key_append_request(ngx_array_t *key, ngx_http_request_t *r,
                             ngx_http_complex_value_t *own);

/* Appends what the headers that names has, as Vary does, are in r.  NGX_ERROR: no memory. */
ngx_int_t key_append_headers(ngx_array_t *key, ngx_http_request_t *r, const ngx_str_t *names);

#endif
