/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.h - HTTP/1.1 over a libuv loop, as much as a page server needs: GET and
 * HEAD, connections that stay open, clients that send ahead or go away.
 *
 * Every exchange is answered once, by http_answer(), then or later; until then
 * it stays valid, also if its client has gone, so that it may be the tag of a
 * completion to come.  Who would rather do less for a client that has gone is told.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct http_server;
struct http_exchange;

typedef void http_handler(struct http_exchange *x, const char *path);

struct http_body {
    const char *type; /* a string that stays */
    const void *data;
    size_t size;
    /* Called once with owner when data is no longer needed; may be NULL. */
    void (*give_back)(void *owner);
    void *owner;
};

struct http_stats {
    unsigned clients;  /* now: connected */
    unsigned waiting;  /* now: exchanges not yet answered */
    uint64_t gone;     /* clients that left while they waited */
    uint64_t rejected; /* clients turned away, as there were max_clients */
    uint64_t bad;      /* clients that sent what is not HTTP */
};

/*
 * Listens on 127.0.0.1, port 0 being any free one, and stores the port in
 * *port.  The max_clients-th and further clients get a 503.  Returns NULL and
 * stores a code of libuv in *error if that does not work.
 */
struct http_server *http_listen(uv_loop_t *loop, unsigned *port, unsigned max_clients,
                                http_handler *handler, int *error);

/*
 * Stops listening, lets the exchanges end and closes the connections, after
 * limit_ms by force; then calls done.
 */
void http_stop(struct http_server *s, uint64_t limit_ms, void (*done)(void));

/* Frees the server; after done was called and uv_run() has returned. */
void http_free(struct http_server *s);

struct http_stats http_stats(const struct http_server *s);

/* Has gone(x, arg) called once if the client goes before its answer; that may answer. */
void http_watch(struct http_exchange *x, void (*gone)(struct http_exchange *x, void *arg),
                void *arg);

/* Answers.  retry_after_s: 0, or what the client should be told to wait. */
void http_answer(struct http_exchange *x, unsigned status, unsigned retry_after_s,
                 const struct http_body *body);

/* The same with a string that stays, as text/plain. */
void http_answer_text(struct http_exchange *x, unsigned status, unsigned retry_after_s,
                      const char *text);

#endif
