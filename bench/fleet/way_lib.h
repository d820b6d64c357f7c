/* SPDX-License-Identifier: BSD-2-Clause */
/* way_lib.h - what the ways with commands of their own share. */
#ifndef WAY_LIB_H
#define WAY_LIB_H

#include "way.h"

/* Copies the value out of the answer of a GET, if there is one; frees the answer. */
bool way_read(redisReply *r, struct way_value *v);

/* Whether the answer is OK, not nil; frees it. */
bool way_is_ok(redisReply *r);

/* A text that no other process has. */
void way_token(char *text, size_t size);

/* For EVALSHA. */
void way_load_script(redisContext *c, const char *script, char *sha, size_t size);

#endif
