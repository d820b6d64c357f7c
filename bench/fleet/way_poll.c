/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * way_poll.c - SET NX and polling, as it is written by hand everywhere: whoever has set the lock
 * runs, stores the result and deletes the lock; the others look for the result every 50 ms.
 *
 *     GET result     SET lock NX PX     run     SET result PX     DEL lock
 */
#include "way_lib.h"

#include "../lib/bench.h"

enum { POLL_MS = 50, LINGER_MS = 5000 };

struct poll_way {
    redisContext *c;
    uint32_t lock_ms;
};

static void *poll_open(const struct engine *e, uint32_t lock_ms)
{
    struct poll_way *w = malloc(sizeof(*w));
    BENCH_CHECK(w != NULL);
    *w = (struct poll_way){engine_connect(e), lock_ms};
    return w;
}

static void poll_close(void *own)
{
    struct poll_way *w = own;
    redisFree(w->c);
    free(w);
}

static void poll_get(void *own, const char *key, way_run *run, void *arg, struct way_value *v)
{
    struct poll_way *w = own;
    while (!way_read(engine_ask(w->c, "GET result:%s", key), v)) {
        if (way_is_ok(engine_ask(w->c, "SET lock:%s 1 NX PX %d", key, (int)w->lock_ms))) {
            run(v, arg);
            way_is_ok(engine_ask(w->c, "SET result:%s %b PX %d", key, v, sizeof(*v), LINGER_MS));
            freeReplyObject(engine_ask(w->c, "DEL lock:%s", key));
            return;
        }
        bench_sleep_ns(UINT64_C(1000000) * POLL_MS);
    }
}

const struct way way_poll = {
    .name = "poll", .open = poll_open, .get = poll_get, .close = poll_close};
