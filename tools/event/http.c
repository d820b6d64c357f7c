/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.c - a client is in one state at a time:
 *
 *     READING --message--> WAITING --http_answer()--> WRITING --sent--> READING
 *
 * or, from any of these, CLOSING.  It is read from in all states, or nobody
 * would notice that it has gone; what it sends ahead stays in its buffer, and
 * when that is full, reading pauses until there is an answer.  A client is
 * freed when its socket is closed and its exchange answered, whichever is last.
 */
#include "http.h"

#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct http_exchange { /* a client; the exchange is the one that it is in */
    uv_tcp_t socket;
    uv_write_t write;
    http_parser parser;
    struct http_server *server;
    LIST_ENTRY(http_exchange) link;
    enum { READING, WAITING, WRITING, CLOSING } state;
    bool is_closed;    /* the socket */
    bool owes_answer;  /* WAITING, or CLOSING and http_answer() is still to come */
    bool is_complete;  /* the parser is at the end of a message */
    bool url_too_long; /* of this message */
    bool keeps_open;   /* after the answer */
    bool is_rejected;  /* there are too many: gets one answer, which says so */
    bool is_paused;    /* not read from: the buffer is full */
    void (*gone)(struct http_exchange *x, void *arg); /* or NULL */
    void *gone_arg;
    struct http_body body;
    size_t url_size, in_size;
    char url[256];
    char head[256];
    char in[4096]; /* received and not yet parsed */
};

struct http_server {
    uv_tcp_t listener;
    uv_timer_t limit;
    bool is_stopping;
    unsigned max_clients;
    http_handler *handler;
    void (*done)(void);
    LIST_HEAD(, http_exchange) clients;
    struct http_stats stats;
};

/* -------------------------------------------------------------------- closing */

static void check_done(struct http_server *s)
{
    if (s->is_stopping && s->stats.clients == 0 && s->stats.waiting == 0 && s->done != NULL) {
        void (*done)(void) = s->done;
        s->done = NULL;
        uv_close((uv_handle_t *)&s->limit, NULL);
        done();
    }
}

static void free_if_over(struct http_exchange *x)
{
    if (x->is_closed && !x->owes_answer)
        free(x);
}

static void give_back(struct http_exchange *x)
{
    if (x->body.give_back != NULL)
        x->body.give_back(x->body.owner);
    x->body = (struct http_body){0};
}

static void on_closed(uv_handle_t *h)
{
    struct http_exchange *x = h->data;
    struct http_server *s = x->server;
    LIST_REMOVE(x, link);
    s->stats.clients--;
    x->is_closed = true;
    give_back(x);
    free_if_over(x);
    check_done(s);
}

static void close_client(struct http_exchange *x)
{
    if (x->state == CLOSING)
        return;
    void (*gone)(struct http_exchange *, void *) = x->state == WAITING ? x->gone : NULL;
    if (x->state == WAITING)
        x->server->stats.gone++;
    x->state = CLOSING;
    uv_close((uv_handle_t *)&x->socket, on_closed);
    x->gone = NULL;
    if (gone != NULL)
        gone(x, x->gone_arg);
}

void http_watch(struct http_exchange *x, void (*gone)(struct http_exchange *x, void *arg),
                void *arg)
{
    x->gone = gone;
    x->gone_arg = arg;
}

/* ------------------------------------------------------------------ answering */

static void parse(struct http_exchange *x);
static void start_reading(struct http_exchange *x);

static void on_sent(uv_write_t *w, int status)
{
    struct http_exchange *x = w->data;
    give_back(x);
    if (x->state == CLOSING)
        return;
    if (status != 0 || !x->keeps_open || x->server->is_stopping) {
        close_client(x);
        return;
    }
    x->state = READING;
    if (x->is_paused)
        start_reading(x);
    parse(x);
}

void http_answer(struct http_exchange *x, unsigned status, unsigned retry_after_s,
                 const struct http_body *body)
{
    struct http_server *s = x->server;
    x->owes_answer = false;
    x->gone = NULL;
    s->stats.waiting--;
    x->body = *body;
    if (x->state == CLOSING) {
        give_back(x);
        free_if_over(x);
        check_done(s);
        return;
    }
    char retry[40] = "";
    if (retry_after_s != 0)
        snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", retry_after_s);
    x->keeps_open = x->keeps_open && !s->is_stopping;
    const int n = snprintf(x->head, sizeof(x->head),
                           "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                           "%sConnection: %s\r\n\r\n",
                           status, http_status_str(status), body->type, body->size, retry,
                           x->keeps_open ? "keep-alive" : "close");
    uv_buf_t parts[] = {uv_buf_init(x->head, (unsigned)n),
                        uv_buf_init((char *)body->data, (unsigned)body->size)};
    x->state = WRITING;
    x->write.data = x;
    if (uv_write(&x->write, (uv_stream_t *)&x->socket, parts, x->parser.method == HTTP_HEAD ? 1 : 2,
                 on_sent) != 0)
        close_client(x);
}

void http_answer_text(struct http_exchange *x, unsigned status, unsigned retry_after_s,
                      const char *text)
{
    const struct http_body body = {.type = "text/plain", .data = text, .size = strlen(text)};
    http_answer(x, status, retry_after_s, &body);
}

/* -------------------------------------------------------------------- reading */

static int on_message_begin(http_parser *p)
{
    struct http_exchange *x = p->data;
    x->url_size = 0;
    x->url_too_long = false;
    return 0;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    struct http_exchange *x = p->data;
    if (n >= sizeof(x->url) - x->url_size) {
        x->url_too_long = true;
        return 0;
    }
    memcpy(x->url + x->url_size, at, n);
    x->url_size += n;
    return 0;
}

static int on_message_complete(http_parser *p)
{
    struct http_exchange *x = p->data;
    x->is_complete = true;
    x->keeps_open = http_should_keep_alive(p) && !p->upgrade;
    http_parser_pause(p, 1); /* what follows has to wait for the answer */
    return 0;
}

static const http_parser_settings callbacks = {.on_message_begin = on_message_begin,
                                               .on_url = on_url,
                                               .on_message_complete = on_message_complete};

static void handle(struct http_exchange *x)
{
    x->url[x->url_size] = '\0';
    x->url[strcspn(x->url, "?")] = '\0';
    x->keeps_open = x->keeps_open && !x->is_rejected;
    if (x->is_rejected)
        http_answer_text(x, 503, 1, "503 too many clients\n");
    else if (x->url_too_long)
        http_answer_text(x, 414, 0, "414 URI too long\n");
    else if (x->parser.method != HTTP_GET && x->parser.method != HTTP_HEAD)
        http_answer_text(x, 405, 0, "405 method not allowed\n");
    else
        x->server->handler(x, x->url);
}

static void expect_answer(struct http_exchange *x)
{
    x->state = WAITING;
    x->owes_answer = true;
    x->server->stats.waiting++;
}

static void parse(struct http_exchange *x)
{
    if (x->state != READING || x->in_size == 0)
        return;
    const size_t n = http_parser_execute(&x->parser, &callbacks, x->in, x->in_size);
    const enum http_errno error = HTTP_PARSER_ERRNO(&x->parser);
    memmove(x->in, x->in + n, x->in_size - n);
    x->in_size -= n;
    if (x->is_complete) {
        x->is_complete = false;
        http_parser_pause(&x->parser, 0);
        expect_answer(x);
        handle(x);
    } else if (error != HPE_OK) {
        x->server->stats.bad++;
        x->keeps_open = false;
        expect_answer(x);
        http_answer_text(x, 400, 0, "400 bad request\n");
    }
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    struct http_exchange *x = h->data;
    (void)hint;
    *out = uv_buf_init(x->in + x->in_size, (unsigned)(sizeof(x->in) - x->in_size));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http_exchange *x = stream->data;
    (void)buf;
    if (n < 0) { /* the end, or an error: either way the client has gone */
        close_client(x);
        return;
    }
    x->in_size += (size_t)n;
    parse(x);
    if (x->state != CLOSING && x->in_size == sizeof(x->in)) {
        uv_read_stop(stream);
        x->is_paused = true;
    }
}

static void start_reading(struct http_exchange *x)
{
    x->is_paused = false;
    if (uv_read_start((uv_stream_t *)&x->socket, on_alloc, on_read) != 0)
        close_client(x);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *s = listener->data;
    if (status != 0)
        return; /* libuv tries again when the next one comes */
    struct http_exchange *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return;
    uv_tcp_init(listener->loop, &x->socket);
    x->socket.data = x;
    x->server = s;
    http_parser_init(&x->parser, HTTP_REQUEST);
    x->parser.data = x;
    LIST_INSERT_HEAD(&s->clients, x, link);
    s->stats.clients++;
    if (uv_accept(listener, (uv_stream_t *)&x->socket) != 0) {
        close_client(x);
        return;
    }
    uv_tcp_nodelay(&x->socket, 1);
    if (s->stats.clients > s->max_clients) {
        s->stats.rejected++;
        x->is_rejected = true;
    }
    start_reading(x);
}

/* --------------------------------------------------------------------- server */

struct http_server *http_listen(uv_loop_t *loop, unsigned *port, unsigned max_clients,
                                http_handler *handler, int *error)
{
    struct http_server *s = calloc(1, sizeof(*s));
    *error = UV_ENOMEM;
    if (s == NULL)
        return NULL;
    s->max_clients = max_clients;
    s->handler = handler;
    LIST_INIT(&s->clients);
    uv_tcp_init(loop, &s->listener);
    s->listener.data = s;
    uv_timer_init(loop, &s->limit);
    s->limit.data = s;

    struct sockaddr_in address;
    int size = sizeof(address);
    uv_ip4_addr("127.0.0.1", (int)*port, &address);
    *error = uv_tcp_bind(&s->listener, (const struct sockaddr *)&address, 0);
    if (*error == 0)
        *error = uv_listen((uv_stream_t *)&s->listener, SOMAXCONN, on_connection);
    if (*error == 0)
        *error = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &size);
    if (*error == 0) {
        *port = ntohs(address.sin_port);
        return s;
    }
    uv_close((uv_handle_t *)&s->listener, NULL);
    uv_close((uv_handle_t *)&s->limit, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    free(s);
    return NULL;
}

static void close_all(uv_timer_t *limit)
{
    struct http_server *s = limit->data;
    struct http_exchange *x;
    LIST_FOREACH(x, &s->clients, link)
    close_client(x);
}

void http_stop(struct http_server *s, uint64_t limit_ms, void (*done)(void))
{
    struct http_exchange *x;
    s->is_stopping = true;
    s->done = done;
    uv_close((uv_handle_t *)&s->listener, NULL);
    uv_timer_start(&s->limit, close_all, limit_ms, 0);
    LIST_FOREACH(x, &s->clients, link)
    {
        if (x->state == READING)
            close_client(x);
    }
    check_done(s);
}

void http_free(struct http_server *s)
{
    free(s);
}

struct http_stats http_stats(const struct http_server *s)
{
    return s->stats;
}
