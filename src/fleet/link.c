/* SPDX-License-Identifier: BSD-2-Clause */
#include "link.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)

/* The element count of an array, as hiredis hands it to who makes the object. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_count;
#else
typedef int array_count;
#endif

enum {
    ARRAY_MAX = 16,        /* elements that are read at all: more is no reply of ours */
    BACKOFF_FIRST_MS = 50, /* the first try comes at most so late, each further one twice that */
    BACKOFF_LAST_MS = 2000,
};

static redisReplyObjectFunctions functions; /* hiredis' own, but for arrays */
static void *(*plain_array)(const redisReadTask *, array_count);

static void *bounded_array(const redisReadTask *task, array_count n)
{
    return n <= ARRAY_MAX ? plain_array(task, n) : NULL;
}

bool link_init(struct link *l, const struct link_options *options)
{
    *l = (struct link){.options = options, .stage = LINK_CLOSED};
    atomic_init(&l->fd_to_close, -1);
    if (plain_array != NULL)
        return true;
    redisReader *reader = redisReaderCreate();
    if (reader == NULL)
        return false;
    functions = *reader->fn;
    plain_array = functions.createArray;
    functions.createArray = bounded_array;
    redisReaderFree(reader);
    return true;
}

/* --------------------------------------------------------------- close */

static void disconnect(struct link *l)
{
    char unused[RESOLVE_MAX_LEN];

    if (l->lookup != NULL)
        (void)resolve_end(l->lookup, 0, unused);
    l->lookup = NULL;
    if (l->context != NULL) {
        dial_hold();
        atomic_store(&l->fd_to_close, -1);
        redisFree(l->context);
        dial_let_go();
    }
    l->context = NULL;
    l->tls = NULL;
    l->stage = LINK_CLOSED;
}

void link_free(struct link *l)
{
    disconnect(l);
    l->retry_ns = LINK_NEVER;
}

void link_fail(struct link *l, const char *why, uint64_t now_ns, uint32_t random)
{
    char text[LINK_MAX_ERROR];
    uint64_t longest = BACKOFF_FIRST_MS;

    if (l->has_failed)
        return;
    snprintf(text, sizeof(text), "%s", why); /* it may be the connection's */
    for (unsigned i = 0; i < l->n_tries && longest < BACKOFF_LAST_MS; i++)
        longest *= 2;
    if (longest > BACKOFF_LAST_MS)
        longest = BACKOFF_LAST_MS;
    l->n_tries++;
    l->server++;
    l->retry_ns = now_ns + longest * MS_NS * random / UINT32_MAX;
    if (l->is_handling) {
        l->has_failed = true; /* the reply is still in use */
        l->stage = LINK_CLOSED;
    } else {
        disconnect(l);
    }
    l->on_down(l->ctx, text);
}

/* ------------------------------------------------------------- connect */

static void append(struct link *l, int n, const char **args)
{
    size_t lens[8];

    for (int i = 0; i < n; i++)
        lens[i] = strlen(args[i]);
    /* Without memory there is one answer less: the greeting times out. */
    (void)redisAppendCommandArgv(l->context, n, args, lens);
    l->n_greetings++;
}

static void greet(struct link *l, uint64_t now_ns)
{
    const struct link_options *o = l->options;
    char database[12];

    l->stage = LINK_GREETING;
    l->n_greetings = 0;
    if (o->password != NULL && o->user != NULL)
        append(l, 3, (const char *[]){"AUTH", o->user, o->password});
    else if (o->password != NULL)
        append(l, 2, (const char *[]){"AUTH", o->password});
    if (o->database != 0 && l->channel == NULL) {
        snprintf(database, sizeof(database), "%d", o->database);
        append(l, 2, (const char *[]){"SELECT", database});
    }
    append(l, 3, (const char *[]){"CLIENT", "SETNAME", o->client_name});
    l->optional_answer = 1;
    if (l->channel != NULL) {
        append(l, 2, (const char *[]){"SUBSCRIBE", l->channel});
        l->optional_answer = 2;
    }
    l->retry_ns = now_ns + LINK_GREETING_MS * MS_NS;
}

/* A context with a socket that is being connected.  digits: NULL for a unix socket. */
static bool connected(struct link *l, const char *digits, int port, uint64_t now_ns,
                      uint32_t random)
{
    const struct link_options *o = l->options;
    int fd = digits != NULL ? dial_tcp(&l->fd_to_close, digits, port, o->timeout_ms)
                            : dial_unix(&l->fd_to_close, o->address.path);

    redisContext *c = fd >= 0 ? redisConnectFd(fd) : NULL;
    if (c == NULL) {
        if (fd >= 0)
            dial_close(&l->fd_to_close, fd);
        link_fail(l, fd >= 0 ? "out of memory" : strerror(-fd), now_ns, random);
        return false;
    }
    c->flags &= ~REDIS_BLOCK;
    c->reader->fn = &functions;
    l->n_unfinished = 0;
    l->context = c;
    return true;
}

/* To an address in digits. */
static void connect_tcp(struct link *l, const char *digits, const char *host, int port,
                        uint64_t now_ns, uint32_t random)
{
    const struct address *a = &l->options->address;
    char why[LINK_MAX_ERROR];

    if (!connected(l, digits, port, now_ns, random))
        return;
    if (a->kind == ADDRESS_SENTINEL && l->master_port == 0) {
        const char *question[] = {"SENTINEL", "get-master-addr-by-name", a->master};
        append(l, 3, question);
        l->stage = LINK_ASKING;
        l->retry_ns = now_ns + LINK_GREETING_MS * MS_NS;
        return;
    }
    if (a->kind != ADDRESS_TLS) {
        greet(l, now_ns);
        return;
    }
    l->tls = tls_begin(l->options->tls, l->context, host, why, sizeof(why));
    l->stage = LINK_SECURING;
    l->retry_ns = now_ns + LINK_GREETING_MS * MS_NS;
    if (l->tls == NULL)
        link_fail(l, why, now_ns, random);
}

/* Whom the address names now: the engine, or the sentinel that is to be asked. */
static const char *target(struct link *l, int *port)
{
    const struct address *a = &l->options->address;
    const struct server *s = &a->servers[l->server % a->n_servers];

    if (l->master_port != 0) {
        *port = l->master_port;
        return l->master_host;
    }
    *port = s->port;
    return s->host;
}

static void connect_anew(struct link *l, uint64_t now_ns, uint32_t random)
{
    const struct address *a = &l->options->address;

    if (a->kind == ADDRESS_UNIX) {
        if (connected(l, NULL, 0, now_ns, random))
            greet(l, now_ns);
        return;
    }
    int port;
    const char *host = target(l, &port);
    if (resolve_is_numeric(host)) {
        connect_tcp(l, host, host, port, now_ns, random);
        return;
    }
    l->lookup = resolve_begin(host, &l->fd_to_close);
    if (l->lookup == NULL) {
        link_fail(l, "no memory, descriptor or thread to look a name up", now_ns, random);
        return;
    }
    l->stage = LINK_RESOLVING;
    l->retry_ns = now_ns + LINK_GREETING_MS * MS_NS;
}

static void resolved(struct link *l, uint64_t now_ns, uint32_t random)
{
    int port;
    const char *host = target(l, &port);
    char digits[RESOLVE_MAX_LEN];
    bool found = resolve_end(l->lookup, l->n_tries / l->options->address.n_servers, digits);

    l->lookup = NULL;
    if (found)
        connect_tcp(l, digits, host, port, now_ns, random);
    else
        link_fail(l, digits, now_ns, random);
}

/* ------------------------------------------------------------- replies */

static bool convert(struct link_value *to, const redisReply *from)
{
    *to = (struct link_value){.type = LINK_OTHER, .bytes = "", .len = 0};
    switch (from->type) {
    case REDIS_REPLY_NIL:
        to->type = LINK_NIL;
        break;
    case REDIS_REPLY_INTEGER:
        to->type = LINK_INTEGER;
        to->integer = from->integer;
        break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        to->type = from->type == REDIS_REPLY_ERROR ? LINK_ERROR : LINK_STRING;
        to->bytes = from->str;
        to->len = (size_t)from->len;
        break;
    case REDIS_REPLY_ARRAY:
        to->type = LINK_ARRAY;
        break;
    default:
        return false;
    }
    return true;
}

static void convert_reply(struct link_reply *to, const redisReply *from)
{
    to->n_elements = 0;
    (void)convert(&to->value, from);
    if (to->value.type != LINK_ARRAY)
        return;
    size_t n = (size_t)from->elements;
    bool is_flat = n <= LINK_MAX_ELEMENTS;
    for (size_t i = 0; is_flat && i < n; i++)
        is_flat = convert(&to->elements[i], from->element[i]) && to->elements[i].type != LINK_ARRAY;
    if (is_flat)
        to->n_elements = n;
    else
        to->value.type = LINK_OTHER;
}

/* A sentinel has said who the master is. */
static void asked(struct link *l, const struct link_reply *r, uint64_t now_ns, uint32_t random)
{
    const struct link_value *host = &r->elements[0], *port = &r->elements[1];
    int n = 0;

    if (r->value.type == LINK_ARRAY && r->n_elements == 2 && host->type == LINK_STRING &&
        port->type == LINK_STRING && port->len <= 5 && host->len < sizeof(l->master_host))
        n = atoi(port->bytes);
    if (n <= 0 || n > 65535) {
        link_fail(
            l, r->value.type == LINK_ERROR ? r->value.bytes : "the sentinel knows no such master",
            now_ns, random);
        return;
    }
    memcpy(l->master_host, host->bytes, host->len + 1);
    l->master_port = n;
}

static void greeted(struct link *l, const struct link_reply *r, uint64_t now_ns, uint32_t random)
{
    bool is_optional = l->n_greetings == l->optional_answer;

    if (r->value.type == LINK_ERROR && !is_optional) {
        link_fail(l, r->value.bytes, now_ns, random);
        return;
    }
    if (--l->n_greetings > 0)
        return;
    l->stage = LINK_UP;
    l->n_connections++;
    l->on_up(l->ctx);
}

static void handle(struct link *l, const redisReply *reply, uint64_t now_ns, uint32_t random)
{
    struct link_reply r;
    bool was_up = l->stage == LINK_UP;

    convert_reply(&r, reply);
    l->is_handling = true;
    if (l->stage == LINK_ASKING)
        asked(l, &r, now_ns, random);
    else if (l->stage == LINK_GREETING)
        greeted(l, &r, now_ns, random);
    else
        l->on_reply(l->ctx, &r);
    l->is_handling = false;
    if (l->stage == LINK_UP && was_up)
        l->n_tries = 0; /* an engine that greets may be of no use all the same */
}

/* A read or a write of the context has failed. */
static void fail_context(struct link *l, uint64_t now_ns, uint32_t random)
{
    const redisContext *c = l->context;
    char why[LINK_MAX_ERROR];
    bool is_tls = l->tls != NULL && tls_explain(l->tls, why, sizeof(why));

    link_fail(l, is_tls ? why : c->errstr, now_ns, random);
}

/* Reads what is there; false: the link has failed. */
static bool read_some(struct link *l, uint64_t now_ns, uint32_t random)
{
    redisContext *c = l->context;
    void *reply = NULL;
    size_t before;
    bool is_whole;

    do {
        is_whole = false;
        before = c->reader->len;
        if (l->tls != NULL)
            tls_expect(l->tls);
        if (redisBufferRead(c) != REDIS_OK) {
            fail_context(l, now_ns, random);
            return false;
        }
        before = c->reader->len - before;
        while (redisGetReplyFromReader(c, &reply) == REDIS_OK) {
            if (reply == NULL)
                break;
            is_whole = true;
            handle(l, reply, now_ns, random);
            freeReplyObject(reply);
            if (l->has_failed) {
                l->has_failed = false;
                disconnect(l);
                return false;
            }
            if (l->stage == LINK_ASKING && l->master_port != 0) {
                disconnect(l);
                connect_anew(l, now_ns, random);
                return false;
            }
        }
        if (c->err != 0) {
            link_fail(l, c->errstr, now_ns, random);
            return false;
        }
        /* The elements of an array that are there already have left the buffer. */
        l->n_unfinished = is_whole ? c->reader->len - c->reader->pos : l->n_unfinished + before;
        if (l->n_unfinished > l->max_reply) {
            link_fail(l, "a reply that is too long", now_ns, random);
            return false;
        }
    } while (l->tls != NULL && tls_has_input(l->tls));
    return true;
}

/* ----------------------------------------------------------------- run */

int link_fd(const struct link *l, short *events)
{
    *events = POLLIN;
    if (l->stage == LINK_RESOLVING)
        return resolve_fd(l->lookup);
    if (l->context == NULL)
        return -1;
    const redisContext *c = l->context;
    if (l->tls != NULL)
        *events = tls_events(l->tls, l->has_output);
    else if (l->has_output)
        *events |= POLLOUT;
    return c->fd;
}

uint64_t link_timer_ns(const struct link *l)
{
    return l->stage == LINK_UP ? LINK_NEVER : l->retry_ns;
}

void link_run(struct link *l, bool is_ready, uint64_t now_ns, uint32_t random)
{
    if (l->stage == LINK_CLOSED) {
        if (now_ns < l->retry_ns)
            return;
        l->master_port = 0;
        connect_anew(l, now_ns, random);
        if (l->context == NULL)
            return;
    } else if (is_ready && l->stage == LINK_RESOLVING) {
        resolved(l, now_ns, random);
    } else if (is_ready && l->stage != LINK_SECURING && !read_some(l, now_ns, random)) {
        return;
    }
    if (l->stage != LINK_CLOSED && l->stage != LINK_UP && now_ns >= l->retry_ns)
        link_fail(l, l->stage == LINK_SECURING ? "TLS: no answer in the handshake" : "no answer",
                  now_ns, random);
}

bool link_send(struct link *l, size_t n, const struct link_arg *args)
{
    const char *bytes[12];
    size_t lens[12];

    for (size_t i = 0; i < n; i++) {
        bytes[i] = args[i].bytes;
        lens[i] = args[i].len;
    }
    return redisAppendCommandArgv(l->context, (int)n, bytes, lens) == REDIS_OK;
}

/* False: the handshake is not done, or the link has failed. */
static bool secure(struct link *l, uint64_t now_ns, uint32_t random)
{
    char why[LINK_MAX_ERROR];
    enum tls_progress progress = tls_shake(l->tls, why, sizeof(why));

    if (progress == TLS_FAILED)
        link_fail(l, why, now_ns, random);
    else if (progress == TLS_DONE && l->stage == LINK_SECURING)
        greet(l, now_ns);
    return progress == TLS_DONE;
}

void link_flush(struct link *l, uint64_t now_ns, uint32_t random)
{
    int is_done = 1;

    if (l->context != NULL && (l->tls == NULL || secure(l, now_ns, random)) &&
        redisBufferWrite(l->context, &is_done) != REDIS_OK)
        fail_context(l, now_ns, random);
    l->has_output = !is_done;
}
