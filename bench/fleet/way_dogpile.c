/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * way_dogpile.c - what Python's dogpile.cache does with its Redis backend and distributed_lock:
 * whoever misses takes the lock, which the others try to have every 100 ms (lock_sleep), one after
 * the other; whoever has it looks for the value again, makes it if it is not there, and releases
 * the lock by a script that compares whose it is.
 *
 *     GET value     SET lock NX PX     GET value     run     SET value PX     EVALSHA
 * compare-and-delete
 *
 * Kinder than the original: no Python, no pickling, and the value has no metadata.
 */
#include "way_lib.h"

#include "../lib/bench.h"

enum { LOCK_SLEEP_MS = 100, LINGER_MS = 5000 };

static const char release[] =
    "if redis.call('get',KEYS[1])==ARGV[1] then redis.call('del',KEYS[1]) "
    "return 1 end return 0";

struct dogpile {
    redisContext *c;
    uint32_t lock_ms;
    char token[64], release_sha[64];
};

static void *dogpile_open(const struct engine *e, uint32_t lock_ms)
{
    struct dogpile *w = malloc(sizeof(*w));
    BENCH_CHECK(w != NULL);
    *w = (struct dogpile){.c = engine_connect(e), .lock_ms = lock_ms};
    way_token(w->token, sizeof(w->token));
    way_load_script(w->c, release, w->release_sha, sizeof(w->release_sha));
    return w;
}

static void dogpile_close(void *own)
{
    struct dogpile *w = own;
    redisFree(w->c);
    free(w);
}

static void dogpile_get(void *own, const char *key, way_run *run, void *arg, struct way_value *v)
{
    struct dogpile *w = own;
    if (way_read(engine_ask(w->c, "GET value:%s", key), v))
        return;
    while (!way_is_ok(engine_ask(w->c, "SET lock:%s %s NX PX %d", key, w->token, (int)w->lock_ms)))
        bench_sleep_ns(UINT64_C(1000000) * LOCK_SLEEP_MS);
    if (!way_read(engine_ask(w->c, "GET value:%s", key), v)) {
        run(v, arg);
        way_is_ok(engine_ask(w->c, "SET value:%s %b PX %d", key, v, sizeof(*v), LINGER_MS));
    }
    freeReplyObject(engine_ask(w->c, "EVALSHA %s 1 lock:%s %s", w->release_sha, key, w->token));
}

const struct way way_dogpile = {
    .name = "dogpile", .open = dogpile_open, .get = dogpile_get, .close = dogpile_close};
