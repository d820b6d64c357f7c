/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * packed.h - a response as bytes, for workers of other processes and machines.
 *
 *     PACKED_FORMAT, 4 bytes
 *     numbers   of 8 bytes, the highest first: status, content length (-1: not known), date, last
 *               modified, flags (1: ranges, 2: one range, 4: always modified), length of the
 *               content type without its parameters
 *     strings   each a number and as many bytes: status line, content type, charset, vary, variant
 *     headers   a number, how many; of each a number, its names (header_names()), and two strings
 *     body      the rest
 */
#ifndef PACKED_H
#define PACKED_H

#include "response.h"

/* Another one for each change of the above, and of what key.c makes. */
#define PACKED_FORMAT "sfn2"

/* All of s, in memory of ngx_alloc(); *size gets its bytes.  NULL: no memory, or no file. */
void *response_pack(struct response *s, size_t *size);

/*
 * What value, of size bytes, says, kept as response_new() says; the value is not used any more.
 * NULL: it is in no such format, or larger than max_size, or there is no memory or file.
 */
struct response *response_unpack(const void *value, size_t size, ngx_http_request_t *r,
                                 size_t max_memory, off_t max_size);

#endif
