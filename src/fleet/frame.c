/* SPDX-License-Identifier: BSD-2-Clause */
#include "frame.h"

#include <errno.h>
#include <string.h>

void frame_write_head(unsigned char out[FRAME_HEAD_LEN], enum frame_kind kind, int32_t status)
{
    uint32_t bits = (uint32_t)status;

    memcpy(out, "SF1", 3);
    out[3] = (unsigned char)kind;
    for (size_t i = 0; i < 4; i++)
        out[4 + i] = (unsigned char)(bits >> 8 * i);
}

int frame_read(struct frame *out, const void *bytes, size_t len, size_t max_value)
{
    const unsigned char *at = bytes;
    uint32_t bits = 0;

    if (len < FRAME_HEAD_LEN || memcmp(at, "SF1", 3) != 0)
        return -EBADMSG;
    if (at[3] != FRAME_VALUE && (at[3] != FRAME_TOO_LARGE || len != FRAME_HEAD_LEN))
        return -EBADMSG;
    if (len - FRAME_HEAD_LEN > max_value)
        return -EMSGSIZE;
    for (size_t i = 0; i < 4; i++)
        bits |= (uint32_t)at[4 + i] << 8 * i;
    *out = (struct frame){
        .kind = at[3] == FRAME_VALUE ? FRAME_VALUE : FRAME_TOO_LARGE,
        .status = bits <= INT32_MAX ? (int32_t)bits : -(int32_t)(UINT32_MAX - bits) - 1,
        .value = at + FRAME_HEAD_LEN,
        .value_len = len - FRAME_HEAD_LEN,
    };
    return 0;
}
