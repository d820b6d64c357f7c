/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * way_aside.c - what rueidis' package rueidisaside does: a marker in the key itself names the
 * process that runs; the others are told by the engine, which tracks what they have read, that the
 * key has changed, and read it again.
 *
 *     CLIENT CACHING YES, GET key      SET key ID NX GET PX     run      EVALSHA set-if-mine
 *     others, for a marker:  CLIENT CACHING YES, GET ID (is that process alive?), wait for
 *                            "key" or "ID" to be invalidated, begin again
 *
 * Each process has a key ID of its own that expires unless it is refreshed, every half of its
 * time; where it is gone, another process deletes the marker.
 *
 * Kinder than the original: a tracked read is two commands, not the five of rueidis (which also
 * asks for the PTTL, in a transaction); the thread that waits reads the messages itself; ID is not
 * refreshed by a thread of its own but before a call.  RESP2, so messages come on a second
 * connection (REDIRECT), where rueidis has one of RESP3.
 */
#include "way_lib.h"

#include "../lib/bench.h"

#include <string.h>

enum { LINGER_MS = 5000, WATCHED = 16 };

static const char prefix[] = "marker:";
static const char set_if_mine[] = "if redis.call('GET',KEYS[1])==ARGV[1] then return "
                                  "redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]) end return 0";
static const char delete_if_its[] = "if redis.call('GET',KEYS[1])==ARGV[1] then return "
                                    "redis.call('DEL',KEYS[1]) end return 0";

struct aside {
    redisContext *c, *inbox;
    uint32_t lock_ms;
    uint64_t refreshed_ns; /* when id was set last */
    char id[64], set_sha[64], delete_sha[64];
    char alive[WATCHED][64]; /* the client-side cache: IDs that were there, and no word since */
};

static void *aside_open(const struct engine *e, uint32_t lock_ms)
{
    struct aside *w = malloc(sizeof(*w));
    BENCH_CHECK(w != NULL);
    *w = (struct aside){.c = engine_connect(e), .inbox = engine_connect(e), .lock_ms = lock_ms};
    char token[40];
    way_token(token, sizeof(token));
    snprintf(w->id, sizeof(w->id), "%s%s", prefix, token);
    way_load_script(w->c, set_if_mine, w->set_sha, sizeof(w->set_sha));
    way_load_script(w->c, delete_if_its, w->delete_sha, sizeof(w->delete_sha));
    redisReply *id = engine_ask(w->inbox, "CLIENT ID");
    const long long inbox = id->integer;
    freeReplyObject(id);
    freeReplyObject(engine_ask(w->inbox, "SUBSCRIBE __redis__:invalidate"));
    freeReplyObject(engine_ask(w->c, "CLIENT TRACKING ON REDIRECT %lld OPTIN", inbox));
    return w;
}

static void aside_close(void *own)
{
    struct aside *w = own;
    redisFree(w->c);
    redisFree(w->inbox);
    free(w);
}

/* GET in both meanings: and tell me when it changes. */
static redisReply *tracked_get(struct aside *w, const char *key)
{
    redisAppendCommand(w->c, "CLIENT CACHING YES");
    redisAppendCommand(w->c, "GET %s", key);
    freeReplyObject(engine_message(w->c));
    return engine_message(w->c);
}

static char *find_alive(struct aside *w, const char *id)
{
    for (unsigned i = 0; i < WATCHED; i++) {
        if (strcmp(w->alive[i], id) == 0)
            return w->alive[i];
    }
    return NULL;
}

static bool is_alive(struct aside *w, const char *id)
{
    if (find_alive(w, id) != NULL)
        return true;
    redisReply *r = tracked_get(w, id);
    const bool alive = r->type == REDIS_REPLY_STRING;
    freeReplyObject(r);
    char *free_place = alive ? find_alive(w, "") : NULL;
    if (free_place != NULL)
        snprintf(free_place, sizeof(w->alive[0]), "%s", id);
    return alive;
}

/* Waits for word of one of them. */
static void wait_for(struct aside *w, const char *key, const char *id)
{
    for (bool told = false; !told;) {
        redisReply *r = engine_message(w->inbox); /* "message", channel, array of keys */
        BENCH_CHECK(r->type == REDIS_REPLY_ARRAY && r->elements == 3);
        const redisReply *keys = r->element[2];
        told = keys->type == REDIS_REPLY_NIL; /* all of them */
        for (size_t i = 0; i < keys->elements; i++) {
            const char *changed = keys->element[i]->str;
            char *known = find_alive(w, changed);
            if (known != NULL)
                *known = '\0';
            told |= strcmp(changed, key) == 0 || strcmp(changed, id) == 0;
        }
        freeReplyObject(r);
    }
}

static void keep_alive(struct aside *w)
{
    const uint64_t now = bench_now_ns();
    if (w->refreshed_ns != 0 && now - w->refreshed_ns < UINT64_C(500000) * w->lock_ms)
        return;
    way_is_ok(engine_ask(w->c, "SET %s alive PX %d", w->id, (int)w->lock_ms));
    w->refreshed_ns = now;
}

/* Sets the marker.  True: it is ours; otherwise r is what was there. */
static bool lead(struct aside *w, const char *key, redisReply **r)
{
    keep_alive(w);
    *r = engine_ask(w->c, "SET %s %s NX GET PX %d", key, w->id, (int)w->lock_ms);
    return (*r)->type == REDIS_REPLY_NIL;
}

static void aside_get(void *own, const char *key, way_run *run, void *arg, struct way_value *v)
{
    struct aside *w = own;
    for (;;) {
        redisReply *r = tracked_get(w, key);
        if (r->type == REDIS_REPLY_NIL) {
            freeReplyObject(r);
            if (lead(w, key, &r)) {
                freeReplyObject(r);
                run(v, arg);
                freeReplyObject(engine_ask(w->c, "EVALSHA %s 1 %s %s %b %d", w->set_sha, key, w->id,
                                           v, sizeof(*v), LINGER_MS));
                return;
            }
        }
        if (strncmp(r->str, prefix, sizeof(prefix) - 1) != 0) {
            BENCH_CHECK(way_read(r, v));
            return;
        }
        if (is_alive(w, r->str))
            wait_for(w, key, r->str);
        else
            freeReplyObject(engine_ask(w->c, "EVALSHA %s 1 %s %s", w->delete_sha, key, r->str));
        freeReplyObject(r);
    }
}

const struct way way_aside = {
    .name = "aside", .open = aside_open, .get = aside_get, .close = aside_close};
