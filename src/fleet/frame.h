/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is published: a head of 8 bytes, then the value.
 *
 *   bytes 0..2   "SF1"
 *   byte  3      the kind: 'V' a value, 'T' a value too large to be shared, without its bytes
 *   bytes 4..7   the status that fn has returned: 32 bits, signed, little-endian
 */
#ifndef SFLIGHT_FLEET_FRAME_H
#define SFLIGHT_FLEET_FRAME_H

#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEAD_LEN = 8 };

enum frame_kind { FRAME_VALUE = 'V', FRAME_TOO_LARGE = 'T' };

struct frame {
    enum frame_kind kind;
    int32_t status;
    const unsigned char *value; /* inside the bytes that were read; never NULL */
    size_t value_len;
};

/* Writes the head; the value, if any, goes behind it. */
void frame_write_head(unsigned char out[FRAME_HEAD_LEN], enum frame_kind kind, int32_t status);

/*
 * Reads a frame without copying its value.  0; -EBADMSG: no frame, of another version or kind, or
 * a T with bytes behind it; -EMSGSIZE: the value has more than max_value bytes.  With an error
 * *out is unchanged.
 */
int frame_read(struct frame *out, const void *bytes, size_t len, size_t max_value);

#endif
