/* SPDX-License-Identifier: BSD-2-Clause */
#include "way_lib.h"

#include "../lib/bench.h"

#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

bool way_read(redisReply *r, struct way_value *v)
{
    const bool found = r->type == REDIS_REPLY_STRING;
    BENCH_CHECK(!found || r->len == sizeof(*v));
    if (found)
        memcpy(v, r->str, sizeof(*v));
    freeReplyObject(r);
    return found;
}

bool way_is_ok(redisReply *r)
{
    const bool ok = r->type == REDIS_REPLY_STATUS;
    freeReplyObject(r);
    return ok;
}

void way_token(char *text, size_t size)
{
    uint64_t random[2];
    BENCH_CHECK(getrandom(random, sizeof(random), 0) == sizeof(random));
    snprintf(text, size, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

void way_load_script(redisContext *c, const char *script, char *sha, size_t size)
{
    redisReply *r = engine_ask(c, "SCRIPT LOAD %s", script);
    BENCH_CHECK(r->type == REDIS_REPLY_STRING);
    snprintf(sha, size, "%s", r->str);
    freeReplyObject(r);
}
