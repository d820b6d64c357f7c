/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model of the engine: the four scripts of src/fleet/scripts.h in C, on a store of a few keys
 * with times to live, in virtual time.  It has no pointers, so it can be copied and hashed.  Keys
 * stand in the order of their names, and what is not used is zero: equal stores have equal bytes.
 */
#ifndef SFLIGHT_TESTS_FLEET_ENGINE_MODEL_H
#define SFLIGHT_TESTS_FLEET_ENGINE_MODEL_H

#include "../../src/fleet/names.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* As large as a program needs it. */
#ifndef ENGINE_KEYS
#define ENGINE_KEYS 8
#endif
#ifndef ENGINE_NAME_MAX
#define ENGINE_NAME_MAX 64
#endif
#ifndef ENGINE_VALUE_MAX
#define ENGINE_VALUE_MAX 512
#endif

#define ENGINE_NO_TTL (-1)

struct engine_key {
    uint32_t name_len, len; /* a name is never empty: 0 is a place not used */
    int64_t expires_ms;     /* or ENGINE_NO_TTL */
    char name[ENGINE_NAME_MAX];
    char value[ENGINE_VALUE_MAX];
};

struct engine {
    int64_t now_ms;
    struct engine_key key[ENGINE_KEYS];
};

struct engine_string {
    const char *bytes;
    size_t len;
};

/* What is published to a channel; one call for each message. */
typedef void engine_push_fn(void *ctx, struct engine_string channel, struct engine_string token,
                            char letter, struct engine_string frame);

enum engine_reply_kind { ENGINE_LEAD, ENGINE_WAIT, ENGINE_VALUE, ENGINE_INTEGER };

struct engine_reply {
    enum engine_reply_kind kind;
    int64_t integer; /* of WAIT the milliseconds */
    size_t len;      /* of WAIT the token's, of VALUE the frame's */
    char bytes[ENGINE_VALUE_MAX];
};

/* ----------------------------------------------------------------------------------- the store */

static int engine_compare(const struct engine_key *k, struct engine_string name)
{
    size_t len = k->name_len < name.len ? k->name_len : name.len;
    int order = memcmp(k->name, name.bytes, len);

    return order != 0 ? order : (k->name_len > name.len) - (k->name_len < name.len);
}

static void engine_remove(struct engine *e, size_t at)
{
    memmove(&e->key[at], &e->key[at + 1], (ENGINE_KEYS - 1 - at) * sizeof(e->key[0]));
    memset(&e->key[ENGINE_KEYS - 1], 0, sizeof(e->key[0]));
}

/* The engine's time is another; what has expired is gone. */
static inline void engine_set_time(struct engine *e, int64_t now_ms)
{
    e->now_ms = now_ms;
    for (size_t i = 0; i < ENGINE_KEYS && e->key[i].name_len != 0;) {
        if (e->key[i].expires_ms != ENGINE_NO_TTL && e->key[i].expires_ms <= now_ms)
            engine_remove(e, i);
        else
            i++;
    }
}

static struct engine_key *engine_get(struct engine *e, struct engine_string name)
{
    for (size_t i = 0; i < ENGINE_KEYS && e->key[i].name_len != 0; i++) {
        if (engine_compare(&e->key[i], name) == 0)
            return &e->key[i];
    }
    return NULL;
}

static inline void engine_del(struct engine *e, struct engine_string name)
{
    struct engine_key *k = engine_get(e, name);

    if (k != NULL)
        engine_remove(e, (size_t)(k - e->key));
}

/* ttl_ms: or ENGINE_NO_TTL. */
static inline void engine_set(struct engine *e, struct engine_string name,
                              struct engine_string value, int64_t ttl_ms)
{
    size_t at = 0;

    engine_del(e, name);
    while (e->key[at].name_len != 0 && engine_compare(&e->key[at], name) < 0)
        at++;
    assert(e->key[ENGINE_KEYS - 1].name_len == 0 && name.len <= ENGINE_NAME_MAX &&
           value.len <= ENGINE_VALUE_MAX);
    memmove(&e->key[at + 1], &e->key[at], (ENGINE_KEYS - 1 - at) * sizeof(e->key[0]));
    memset(&e->key[at], 0, sizeof(e->key[0]));
    e->key[at].name_len = (uint32_t)name.len;
    memcpy(e->key[at].name, name.bytes, name.len);
    e->key[at].len = (uint32_t)value.len;
    memcpy(e->key[at].value, value.bytes, value.len);
    e->key[at].expires_ms = ttl_ms == ENGINE_NO_TTL ? ENGINE_NO_TTL : e->now_ms + ttl_ms;
}

/* --------------------------------------------------------------------------------- the scripts */

static bool engine_leads(const struct engine_key *k, struct engine_string token)
{
    size_t len = k->len < TOKEN_LEN ? k->len : TOKEN_LEN;

    return len == token.len && memcmp(k->value, token.bytes, len) == 0;
}

/* Whether the token is anywhere behind the leader's. */
static bool engine_lists(const struct engine_key *k, struct engine_string token)
{
    for (size_t i = TOKEN_LEN; i + token.len <= k->len; i++) {
        if (memcmp(k->value + i, token.bytes, token.len) == 0)
            return true;
    }
    return false;
}

static void engine_answer(struct engine_reply *r, enum engine_reply_kind kind, const char *bytes,
                          size_t len, int64_t integer)
{
    *r = (struct engine_reply){.kind = kind, .integer = integer, .len = len};
    if (len != 0)
        memcpy(r->bytes, bytes, len);
}

static inline void engine_claim(struct engine *e, struct engine_string slot,
                                struct engine_string result, struct engine_string token,
                                int64_t lease_ms, bool rejoin, size_t frame_max, size_t list_max,
                                struct engine_reply *r)
{
    struct engine_key *k = engine_get(e, slot), *joined = rejoin ? engine_get(e, result) : NULL;

    if (joined != NULL && joined->len > frame_max) {
        engine_answer(r, ENGINE_VALUE, "SF1T\0\0\0\0", 8, 0);
        return;
    }
    if (joined != NULL) {
        engine_answer(r, ENGINE_VALUE, joined->value, joined->len, 0);
        return;
    }
    if (k == NULL) {
        engine_set(e, slot, token, lease_ms);
        engine_answer(r, ENGINE_LEAD, NULL, 0, 0);
        return;
    }
    if (engine_leads(k, token)) {
        k->expires_ms = e->now_ms + lease_ms;
        engine_answer(r, ENGINE_LEAD, NULL, 0, 0);
        return;
    }
    size_t leader_len = k->len < TOKEN_LEN ? k->len : TOKEN_LEN;
    if (k->len < list_max && !engine_lists(k, token)) {
        assert(k->len + token.len <= ENGINE_VALUE_MAX);
        memcpy(k->value + k->len, token.bytes, token.len);
        k->len += (uint32_t)token.len;
    }
    if (k->expires_ms == ENGINE_NO_TTL)
        k->expires_ms = e->now_ms + lease_ms;
    engine_answer(r, ENGINE_WAIT, k->value, leader_len, k->expires_ms - e->now_ms);
}

/* Sends a message to each token from the one at byte `first` on. */
static void engine_tell(const struct engine_key *k, size_t first, struct engine_string prefix,
                        char letter, struct engine_string frame, engine_push_fn *push, void *ctx)
{
    for (size_t i = first; i < k->len; i += TOKEN_LEN) {
        char channel[ENGINE_NAME_MAX];
        size_t left = k->len - i, token_len = left < TOKEN_LEN ? left : TOKEN_LEN;
        size_t process_len = left < PROCESS_LEN ? left : PROCESS_LEN;
        memcpy(channel, prefix.bytes, prefix.len);
        memcpy(channel + prefix.len, k->value + i, process_len);
        push(ctx, (struct engine_string){channel, prefix.len + process_len},
             (struct engine_string){k->value + i, token_len}, letter, frame);
    }
}

static inline void engine_publish(struct engine *e, struct engine_string slot,
                                  struct engine_string result, struct engine_string token,
                                  struct engine_string frame, int64_t linger_ms,
                                  struct engine_string prefix, int64_t budget, engine_push_fn *push,
                                  void *ctx, struct engine_reply *r)
{
    struct engine_key *k = engine_get(e, slot);

    if (k == NULL || !engine_leads(k, token)) {
        engine_answer(r, ENGINE_INTEGER, NULL, 0, engine_get(e, result) == NULL ? -1 : 0);
        return;
    }
    struct engine_key had = *k;
    int64_t n = had.len / TOKEN_LEN - 1;
    engine_del(e, slot);
    if (n > 0) {
        bool fits = n * (int64_t)frame.len <= budget;
        engine_set(e, result, frame, linger_ms);
        engine_tell(&had, TOKEN_LEN, prefix, fits ? 'V' : 'G',
                    fits ? frame : (struct engine_string){"", 0}, push, ctx);
    }
    engine_answer(r, ENGINE_INTEGER, NULL, 0, n);
}

static inline void engine_renew(struct engine *e, struct engine_string slot,
                                struct engine_string token, int64_t lease_ms,
                                struct engine_reply *r)
{
    struct engine_key *k = engine_get(e, slot);
    bool leads = k != NULL && engine_leads(k, token);

    if (leads)
        k->expires_ms = e->now_ms + lease_ms;
    engine_answer(r, ENGINE_INTEGER, NULL, 0, leads);
}

static inline void engine_drop(struct engine *e, struct engine_string slot,
                               struct engine_string token, struct engine_string prefix,
                               engine_push_fn *push, void *ctx, struct engine_reply *r)
{
    struct engine_key *k = engine_get(e, slot);
    const struct engine_string none = {"", 0};

    if (k == NULL || (token.len != 0 && !engine_leads(k, token))) {
        engine_answer(r, ENGINE_INTEGER, NULL, 0, 0);
        return;
    }
    struct engine_key had = *k;
    engine_del(e, slot);
    if (token.len == 0 && had.len != 0) {
        struct engine_key leader = had;
        leader.len = had.len < TOKEN_LEN ? had.len : TOKEN_LEN;
        engine_tell(&leader, 0, prefix, 'F', none, push, ctx);
    }
    engine_tell(&had, TOKEN_LEN, prefix, 'X', none, push, ctx);
    engine_answer(r, ENGINE_INTEGER, NULL, 0, 1);
}

#endif
