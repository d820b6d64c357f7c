/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scripts against an engine and against the model of it: the same random commands, equal
 * replies, equal messages and equal stores after each.  The engine is a private one, on a socket
 * in a new directory, with nothing on disk; FLEET_ENGINE names another program than
 * redis-server.  Leases are of days and differ by far, so no result depends on the time that the
 * test takes; a key that expires is one that is deleted in both.
 */
#define ENGINE_KEYS 24
#define ENGINE_VALUE_MAX 1024
#include "engine_exec.h"
#include "engine_model.h"

#include "../../src/fleet/scripts.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    STEPS = 4000,
    TOKENS = 6,
    KEYS = 3,
    DAY_MS = 86400000,
    SLACK_MS = DAY_MS / 4, /* what a test may take at most */
    MESSAGES = 64,
    MESSAGE_MAX = 512,
};

#define PREFIX "p:"
#define INBOXES PREFIX "i:"
#define END_OF_STEP INBOXES "end"

static struct {
    pid_t pid;
    FILE *log;
    char dir[64], socket[96];
    redisContext *commands, *inbox;
} real;

/* ------------------------------------------------------------------------------ a private engine
 */

static void run_engine(int out)
{
    const char *args[] = {
        "",   "--port", "0",      "--unixsocket", real.socket, "--save", "", "--appendonly",
        "no", "--dir",  real.dir, "--daemonize",  "no",        NULL};

    dup2(out, STDOUT_FILENO);
    engine_exec(args);
}

static redisContext *connect_to_it(void)
{
    redisContext *c = redisConnectUnix(real.socket);

    assert_non_null(c);
    assert_int_equal(c->err, 0);
    return c;
}

static int start_engine(void **state)
{
    char line[512];
    int ends[2];
    bool ready = false;

    (void)state;
    strcpy(real.dir, "/tmp/sf-scripts-XXXXXX");
    if (mkdtemp(real.dir) == NULL || pipe(ends) != 0)
        return -1;
    snprintf(real.socket, sizeof(real.socket), "%s/socket", real.dir);
    real.pid = fork();
    if (real.pid == 0)
        run_engine(ends[1]);
    close(ends[1]);
    real.log = fdopen(ends[0], "r");
    while (!ready && fgets(line, sizeof(line), real.log) != NULL)
        ready = strstr(line, "eady to accept connections") != NULL;
    if (!ready)
        return -1;
    real.commands = connect_to_it();
    real.inbox = connect_to_it();
    redisReply *r = redisCommand(real.inbox, "PSUBSCRIBE %s*", INBOXES);
    assert_non_null(r);
    freeReplyObject(r);
    return 0;
}

static int stop_engine(void **state)
{
    (void)state;
    redisFree(real.commands);
    redisFree(real.inbox);
    if (real.pid > 0) {
        kill(real.pid, SIGKILL);
        waitpid(real.pid, NULL, 0);
    }
    fclose(real.log);
    unlink(real.socket);
    return rmdir(real.dir);
}

static redisReply *call(redisContext *c, size_t n, const struct engine_string *words)
{
    const char *bytes[16];
    size_t len[16];

    for (size_t i = 0; i < n; i++) {
        bytes[i] = words[i].bytes;
        len[i] = words[i].len;
    }
    redisReply *r = redisCommandArgv(c, (int)n, bytes, len);
    assert_non_null(r);
    return r;
}

static struct engine_string text(const char *s)
{
    return (struct engine_string){s, strlen(s)};
}

static struct engine_string number(char *buffer, int64_t n)
{
    sprintf(buffer, "%lld", (long long)n);
    return text(buffer);
}

/* A command that is of no interest in itself. */
static void plainly(size_t n, const struct engine_string *words)
{
    redisReply *r = call(real.commands, n, words);

    assert_int_not_equal(r->type, REDIS_REPLY_ERROR);
    freeReplyObject(r);
}

static void flush(void)
{
    plainly(1, (struct engine_string[]){text("FLUSHALL")});
}

/* ------------------------------------------------------------------------------- messages */

struct messages {
    int n;
    struct message {
        size_t channel_len, len;
        char channel[ENGINE_NAME_MAX], bytes[MESSAGE_MAX];
    } message[MESSAGES];
};

static void add_message(struct messages *m, const char *channel, size_t channel_len,
                        const char *bytes, size_t len)
{
    assert_true(m->n < MESSAGES && channel_len <= ENGINE_NAME_MAX && len <= MESSAGE_MAX);
    struct message *to = &m->message[m->n++];
    to->channel_len = channel_len;
    to->len = len;
    memcpy(to->channel, channel, channel_len);
    memcpy(to->bytes, bytes, len);
}

static void take_push(void *ctx, struct engine_string channel, struct engine_string token,
                      char letter, struct engine_string frame)
{
    char bytes[MESSAGE_MAX];

    assert_true(token.len + 1 + frame.len <= sizeof(bytes));
    memcpy(bytes, token.bytes, token.len);
    bytes[token.len] = letter;
    memcpy(bytes + token.len + 1, frame.bytes, frame.len);
    add_message(ctx, channel.bytes, channel.len, bytes, token.len + 1 + frame.len);
}

/* What the engine has published since the last time; a last message of our own ends it. */
static void real_messages(struct messages *m)
{
    m->n = 0;
    plainly(3, (struct engine_string[]){text("PUBLISH"), text(END_OF_STEP), text("")});
    for (;;) {
        redisReply *r = NULL;
        assert_int_equal(redisGetReply(real.inbox, (void **)&r), REDIS_OK);
        assert_int_equal(r->elements, 4);
        const redisReply *channel = r->element[2], *bytes = r->element[3];
        bool is_end = channel->len == strlen(END_OF_STEP) &&
                      memcmp(channel->str, END_OF_STEP, channel->len) == 0;
        if (!is_end)
            add_message(m, channel->str, channel->len, bytes->str, bytes->len);
        freeReplyObject(r);
        if (is_end)
            return;
    }
}

static void compare_messages(const struct messages *a, const struct messages *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->message[i].channel_len, b->message[i].channel_len);
        assert_memory_equal(a->message[i].channel, b->message[i].channel,
                            a->message[i].channel_len);
        assert_int_equal(a->message[i].len, b->message[i].len);
        assert_memory_equal(a->message[i].bytes, b->message[i].bytes, a->message[i].len);
    }
}

/* ------------------------------------------------------------------- replies and stores, both */

/* Of a time to live the engine may have used up some. */
static void compare_ttl(int64_t got_ms, int64_t expected_ms)
{
    if (expected_ms == ENGINE_NO_TTL)
        assert_int_equal(got_ms, ENGINE_NO_TTL);
    else
        assert_true(got_ms <= expected_ms && got_ms > expected_ms - SLACK_MS);
}

static void compare_string(const redisReply *r, const char *bytes, size_t len)
{
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    assert_int_equal(r->len, len);
    assert_memory_equal(r->str, bytes, len);
}

static void compare_reply(const redisReply *r, const struct engine_reply *expected)
{
    static const char *const letters[] = {"L", "W", "V"};
    static const size_t lengths[] = {1, 3, 2};

    if (expected->kind == ENGINE_INTEGER) {
        assert_int_equal(r->type, REDIS_REPLY_INTEGER);
        assert_int_equal(r->integer, expected->integer);
        return;
    }
    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    assert_int_equal(r->elements, lengths[expected->kind]);
    compare_string(r->element[0], letters[expected->kind], 1);
    if (expected->kind != ENGINE_LEAD)
        compare_string(r->element[1], expected->bytes, expected->len);
    if (expected->kind == ENGINE_WAIT)
        compare_ttl(r->element[2]->integer, expected->integer);
}

static void compare_stores(const struct engine *e)
{
    static const char dump[] = "local a=redis.call('KEYS','*') table.sort(a) local o={}\n"
                               "for _,k in ipairs(a) do o[#o+1]=k o[#o+1]=redis.call('GET',k)\n"
                               "o[#o+1]=redis.call('PTTL',k) end return o";
    redisReply *r =
        call(real.commands, 3, (struct engine_string[]){text("EVAL"), text(dump), text("0")});
    size_t n = 0;

    assert_int_equal(r->type, REDIS_REPLY_ARRAY);
    while (n < ENGINE_KEYS && e->key[n].name_len != 0)
        n++;
    assert_int_equal(r->elements, 3 * n);
    for (size_t i = 0; i < n; i++) {
        struct engine_key *k =
            engine_get((struct engine *)e,
                       (struct engine_string){r->element[3 * i]->str, r->element[3 * i]->len});
        assert_non_null(k);
        compare_string(r->element[3 * i + 1], k->value, k->len);
        compare_ttl(r->element[3 * i + 2]->integer,
                    k->expires_ms == ENGINE_NO_TTL ? ENGINE_NO_TTL : k->expires_ms - e->now_ms);
    }
    freeReplyObject(r);
}

/* --------------------------------------------------------------------------- random commands */

struct step {
    struct engine_string slot, result, token, frame;
    char slot_bytes[64], result_bytes[64], token_bytes[TOKEN_LEN], frame_bytes[200];
    int64_t ttl_ms, budget;
    bool rejoin;
    size_t frame_max;
};

static uint64_t chance_state;

static unsigned chance(unsigned below)
{
    chance_state = chance_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(chance_state >> 33) % below;
}

static void random_token(char out[TOKEN_LEN])
{
    unsigned i = chance(TOKENS);

    token_write(out, &(struct token){.process = UINT64_C(0xfeedface12345670) + i / 2,
                                     .counter = COUNTER_MAX - 5,
                                     .attempt = i % 2});
}

static void random_step(struct step *s)
{
    static const struct engine_string keys[KEYS] = {{"/p/1", 4}, {"}{\0\n\r*", 6}, {"", 0}};
    static const int64_t budgets[] = {0, 100, 400, SCRIPT_INLINE_BUDGET};
    unsigned k = chance(KEYS);
    char joined[TOKEN_LEN];

    s->slot.bytes = s->slot_bytes;
    s->slot.len = (size_t)names_slot(s->slot_bytes, PREFIX, "n", keys[k].bytes, keys[k].len);
    random_token(s->token_bytes);
    s->token = (struct engine_string){s->token_bytes, TOKEN_LEN};
    memcpy(joined, s->token_bytes, TOKEN_LEN);
    if (chance(2) == 0)
        random_token(joined);
    memcpy(s->result_bytes, s->slot_bytes, s->slot.len);
    s->result.bytes = s->result_bytes;
    s->result.len = names_result(s->result_bytes, s->slot.len, joined);
    s->frame = (struct engine_string){s->frame_bytes, chance(sizeof(s->frame_bytes))};
    for (size_t i = 0; i < s->frame.len; i++)
        s->frame_bytes[i] = (char)chance(256);
    s->ttl_ms = (int64_t)(1 + chance(3)) * DAY_MS;
    s->budget = budgets[chance(4)];
    s->rejoin = chance(3) == 0;
    s->frame_max = chance(2) == 0 ? sizeof(s->frame_bytes) : chance(sizeof(s->frame_bytes));
}

static redisReply *eval(const char *script, size_t n_keys, const struct engine_string *words,
                        size_t n)
{
    struct engine_string all[16] = {text("EVAL"), text(script), text(n_keys == 2 ? "2" : "1")};

    memcpy(all + 3, words, n * sizeof(*words));
    return call(real.commands, n + 3, all);
}

#define EVAL(script, n_keys, ...)                                                                  \
    eval(script, n_keys, (struct engine_string[]){__VA_ARGS__},                                    \
         sizeof((struct engine_string[]){__VA_ARGS__}) / sizeof(struct engine_string))

/* A script in both.  which: of the four, and DROP to forget. */
static redisReply *do_script(unsigned which, const struct step *s, struct engine *e,
                             struct messages *m, struct engine_reply *r)
{
    char ttl[24], budget[24], frame_max[24];
    const struct engine_string inboxes = text(INBOXES), none = text("");
    const struct engine_string lease = number(ttl, s->ttl_ms);
    struct engine_string own = {s->result_bytes, s->result.len};

    switch (which) {
    case 0:
        engine_claim(e, s->slot, s->result, s->token, s->ttl_ms, s->rejoin, s->frame_max,
                     SCRIPT_SLOT_LIST_MAX, r);
        return EVAL(SCRIPT_CLAIM, 2, s->slot, s->result, s->token, lease,
                    text(s->rejoin ? "1" : "0"), number(frame_max, (int64_t)s->frame_max));
    case 1:
        engine_publish(e, s->slot, own, s->token, s->frame, s->ttl_ms, inboxes, s->budget,
                       take_push, m, r);
        return EVAL(SCRIPT_PUBLISH, 2, s->slot, own, s->token, s->frame, lease, inboxes,
                    number(budget, s->budget));
    case 2:
        engine_renew(e, s->slot, s->token, s->ttl_ms, r);
        return EVAL(SCRIPT_RENEW, 1, s->slot, s->token, lease);
    default:
        engine_drop(e, s->slot, which == 3 ? s->token : none, inboxes, take_push, m, r);
        return EVAL(SCRIPT_DROP, 1, s->slot, which == 3 ? s->token : none, inboxes);
    }
}

/* What befalls a key from outside, in both. */
static void do_outside(unsigned which, const struct step *s, struct engine *e)
{
    char buffer[24];
    struct engine_key *k = engine_get(e, s->slot);

    switch (which) {
    case 0:
        engine_del(e, s->slot);
        plainly(2, (struct engine_string[]){text("DEL"), s->slot});
        break;
    case 1:
        engine_del(e, s->result);
        plainly(2, (struct engine_string[]){text("DEL"), s->result});
        break;
    case 2:
        if (k != NULL)
            k->expires_ms = ENGINE_NO_TTL;
        plainly(2, (struct engine_string[]){text("PERSIST"), s->slot});
        break;
    default: /* a value that is none of ours: of any length */
        engine_set(e, s->slot, s->frame, s->ttl_ms);
        plainly(5, (struct engine_string[]){text("SET"), s->slot, s->frame, text("PX"),
                                            number(buffer, s->ttl_ms)});
    }
}

static void test_random_commands(void **state)
{
    static struct engine e;
    static struct engine_reply expected;
    static struct messages got, told;
    struct step s;
    unsigned n_seen[4] = {0}, n_messages = 0;

    (void)state;
    flush();
    memset(&e, 0, sizeof(e));
    chance_state = 20260614;
    for (int i = 0; i < STEPS; i++) {
        random_step(&s);
        told.n = 0;
        unsigned which = chance(40);
        if (which < 3 || which == 39) {
            do_outside(which == 39 ? 3 : which, &s, &e);
        } else {
            /* Claims most often, so that there are lists of waiters. */
            unsigned script = which < 22 ? 0 : which < 29 ? 1 : which < 33 ? 2 : which < 37 ? 3 : 4;
            redisReply *r = do_script(script, &s, &e, &told, &expected);
            compare_reply(r, &expected);
            freeReplyObject(r);
            n_seen[expected.kind]++;
        }
        real_messages(&got);
        compare_messages(&got, &told);
        compare_stores(&e);
        n_messages += (unsigned)told.n;
    }
    for (int i = ENGINE_LEAD; i <= ENGINE_INTEGER; i++)
        assert_true(n_seen[i] > STEPS / 100);
    assert_true(n_messages > STEPS / 10);
}

/* ---------------------------------------------------------------------- what the model has not */

static const char *const tokens[] = {"fedcba98765432100000000000000100",
                                     "fedcba98765432110000000000000100",
                                     "fedcba98765432120000000000000100"};

static redisReply *claim(const char *token)
{
    return EVAL(SCRIPT_CLAIM, 2, text("p:n{:k}"), text("p:n{:k}x"), text(token), text("86400000"),
                text("0"), text("100"));
}

/* A slot takes so many waiters and no more; all of them are told, and the others find out. */
static void test_list_is_bounded(void **state)
{
    size_t len = SCRIPT_SLOT_LIST_MAX;
    char *list = malloc(len);

    (void)state;
    assert_non_null(list);
    for (size_t i = 0; i < len; i += TOKEN_LEN)
        token_write(list + i,
                    &(struct token){.process = UINT64_C(0xabcdef0123456789), .counter = i});
    flush();
    plainly(
        5,
        (struct engine_string[]){
            text("SET"), text("p:n{:k}"), {list, len - TOKEN_LEN}, text("PX"), text("86400000")});
    for (int i = 0; i < 2; i++) { /* the first finds room for one, the second for none */
        redisReply *r = claim(tokens[i]);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        assert_string_equal(r->element[0]->str, "W");
        freeReplyObject(r);
        r = call(real.commands, 2, (struct engine_string[]){text("STRLEN"), text("p:n{:k}")});
        assert_int_equal(r->integer, len);
        freeReplyObject(r);
    }
    flush();
    free(list);
}

/* A key of another type is an error of each script that reads it, and stays as it is. */
static void test_foreign_type(void **state)
{
    const struct engine_string slot = text("p:n{:k}"), token = text(tokens[0]);

    (void)state;
    flush();
    plainly(3, (struct engine_string[]){text("RPUSH"), slot, text("x")});
    redisReply *replies[] = {
        claim(tokens[0]),
        EVAL(SCRIPT_PUBLISH, 2, slot, text("p:n{:k}r"), token, text("f"), text("5000"),
             text(INBOXES), text("10")),
        EVAL(SCRIPT_RENEW, 1, slot, token, text("3000")),
        EVAL(SCRIPT_DROP, 1, slot, token, text(INBOXES)),
        EVAL(SCRIPT_DROP, 1, slot, text(""), text(INBOXES)),
    };
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        assert_int_equal(replies[i]->type, REDIS_REPLY_ERROR);
        assert_non_null(strstr(replies[i]->str, "WRONGTYPE"));
        freeReplyObject(replies[i]);
    }
    redisReply *r = call(real.commands, 2, (struct engine_string[]){text("LLEN"), slot});
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
    flush();
}

/* Nobody that shares the engine can do more than this user, and the scripts need no more. */
static void test_least_rights(void **state)
{
    static const char *const words[] = {
        "ACL",           "SETUSER", "u",         "on",       "nopass", "resetkeys", "~p:*",
        "resetchannels", "&p:*",    "-@all",     "+eval",    "+get",   "+set",      "+del",
        "+append",       "+exists", "+getrange", "+pexpire", "+pttl",  "+publish"};
    const char *argv[sizeof(words) / sizeof(words[0])];

    (void)state;
    flush();
    memcpy(argv, words, sizeof(words));
    redisReply *r =
        redisCommandArgv(real.commands, (int)(sizeof(words) / sizeof(words[0])), argv, NULL);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    freeReplyObject(r);
    redisContext *all = real.commands;
    real.commands = connect_to_it();
    plainly(3, (struct engine_string[]){text("AUTH"), text("u"), text("")});
    for (int i = 0; i < 3; i++)
        freeReplyObject(claim(tokens[i]));
    r = EVAL(SCRIPT_RENEW, 1, text("p:n{:k}"), text(tokens[0]), text("86400000"));
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
    r = EVAL(SCRIPT_PUBLISH, 2, text("p:n{:k}"), text("p:n{:k}r"), text(tokens[0]), text("frame"),
             text("86400000"), text(INBOXES), text("100"));
    assert_int_equal(r->type, REDIS_REPLY_INTEGER);
    assert_int_equal(r->integer, 2);
    freeReplyObject(r);
    freeReplyObject(claim(tokens[0]));
    r = EVAL(SCRIPT_DROP, 1, text("p:n{:k}"), text(""), text(INBOXES));
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
    redisFree(real.commands);
    real.commands = all;
    struct messages m;
    real_messages(&m);
    assert_int_equal(m.n, 3); /* V, V and F: the rights to publish are there */
    flush();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_commands),
        cmocka_unit_test(test_list_is_bounded),
        cmocka_unit_test(test_foreign_type),
        cmocka_unit_test(test_least_rights),
    };
    return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
