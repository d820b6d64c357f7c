/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ngx_http_singleflight_module.c - requests for the same thing at the same moment are one for the
 * upstream.
 *
 * README.md has the directives.  How a request goes:
 *
 * on_phase(), fly():
 *   leader     asks the fleet first, if there is one (fleet.h), and waits as a follower does.
 *              What another worker was answered it sends, and so do its followers.  If not so,
 *              the upstream is asked, as ever; then its head comes (filter_header()):
 *                nobody waits, nor might in another worker: it is sent as ever;
 *                it is not to be shared: the same, and the followers are sent on;
 *                otherwise it is collected, by filter_body(), and then sent.
 *   follower   stays in its phase until the queue tells it, or its time is over; then it sends the
 *              leader's response, or flies again, or asks alone.
 *
 * While a response is collected nothing of it is sent to the leader's own client, so a client that
 * is slow, or has hung up, keeps nobody waiting.  No subrequest, and no request of the module's
 * own: where nobody shares a response there is one call begun and ended, and a look at each filter.
 *
 * Each worker has one group and one queue, and is one thread.  What is said between requests goes
 * by the queue, and the response by the call's value.
 */
#include "fleet.h"
#include "key.h"

#include <singleflight.h>
#include <stdbool.h>

/* ----------------------------------------------------------------------- types */

/* The main configuration; in a worker also what it has. */
struct worker {
    bool is_used;
    ngx_uint_t max_waiters;
    sflight_group *group;
    sflight_queue *queue;
    ngx_connection_t *connection; /* the queue's descriptor */
    void *fleet_settings;         /* NULL: no fleet */
    struct fleet *fleet;
    ngx_uint_t n_places;
    uint64_t shared, alone, spilled;
};

struct place {
    ngx_flag_t is_on;
    ngx_uint_t number;             /* in the order of the configuration */
    ngx_http_complex_value_t *key; /* NULL: the default */
    ngx_array_t *bypass;
    ngx_msec_t timeout;
    size_t buffer_size;
    off_t max_file_size;
};

enum outcome { ALONE, BYPASS, FOLLOWER, LEADER, REJECTED, TIMEOUT };

static ngx_str_t outcomes[] = {ngx_string("ALONE"),  ngx_string("BYPASS"),   ngx_string("FOLLOWER"),
                               ngx_string("LEADER"), ngx_string("REJECTED"), ngx_string("TIMEOUT")};

/* The status of a call whose value is a response.  Of others the followers ask alone. */
#define SHARED 1

/* A request that has begun or joined a call. */
struct caller {
    ngx_http_request_t *r;
    struct worker *worker;
    struct place *place;
    ngx_str_t key;    /* as it is without a variant */
    ngx_array_t vary; /* of the responses that have sent it elsewhere inside nginx; bytes */
    enum outcome outcome;
    ngx_event_t event; /* its time is over, or: there is something to look at */

    sflight_future *future; /* waits for it */
    bool is_told;           /* done is there, and not looked at */
    bool is_late;
    bool has_result; /* done.result is held */
    sflight_completion done;

    sflight_call *call; /* leads it */
    struct ask *ask;    /* of the fleet, for that call; with a permit once it asks no more */
    bool asks;
    bool collects;
    bool has_hung_up;
    bool is_over;              /* its client gets no more, whatever is sent */
    struct response *response; /* what it collects, or has collected */
    ngx_http_handler_pt content;
    ngx_http_event_handler_pt readable;
};

ngx_module_t ngx_http_singleflight_module;

static ngx_http_output_header_filter_pt next_header_filter;
static ngx_http_output_body_filter_pt next_body_filter;
static const ngx_module_t *slice; /* nginx's own filter; NULL: it has none */

/* --------------------------------------------------------------------- callers */

/* The completions there are, each to its caller, which looks at it in a moment. */
static void drain(struct worker *w)
{
    sflight_completion done[64];
    int n;
    while ((n = sflight_queue_drain(w->queue, done, 64)) > 0) {
        for (int i = 0; i < n; i++) {
            struct caller *c;
            if (done[i].tag & FLEET_TAG) {
                c = fleet_told(&done[i]);
            } else {
                c = (struct caller *)(uintptr_t)done[i].tag;
                c->done = done[i];
                c->future = NULL;
                c->is_told = c->has_result = true;
            }
            if (c != NULL) {
                ngx_post_event(&c->event, &ngx_posted_events); /* two statements */
            }
        }
    }
}

static void release_result(struct caller *c)
{
    if (c->has_result)
        sflight_result_release(&c->done.result);
    c->has_result = false;
}

static void stop_event(struct caller *c)
{
    if (c->event.timer_set)
        ngx_del_timer(&c->event);
    if (c->event.posted) {
        ngx_delete_posted_event(&c->event); /* two statements */
    }
}

/* Waits no more.  A completion that is on its way is taken first. */
static void leave(struct caller *c)
{
    if (c->future != NULL && sflight_future_cancel(c->future) == 0)
        drain(c->worker);
    c->future = NULL;
}

static void drop_response(struct caller *c)
{
    if (c->response != NULL)
        response_release(c->response);
    c->response = NULL;
}

/* The ask is given up: of those who wait in other workers one leads. */
static void leave_fleet(struct caller *c)
{
    if (c->ask != NULL)
        fleet_leave(c->ask);
    c->ask = NULL;
    c->asks = false;
}

/* Neither leads nor follows any more, and is told nothing. */
static void give_up(struct caller *c)
{
    leave_fleet(c);
    if (c->call != NULL)
        (void)sflight_abandon(c->call); /* without an answer: somebody else leads */
    c->call = NULL;
    leave(c);
    release_result(c);
    c->is_told = c->is_late = false;
    stop_event(c);
}

/* The request ends. */
static void clean_up(void *caller)
{
    struct caller *c = caller;
    give_up(c);
    drop_response(c);
}

/* NULL if r has none.  One that is redirected inside nginx has lost its context, but not what is
 * cleaned up. */
static struct caller *caller_of(ngx_http_request_t *r)
{
    if (r != r->main)
        return NULL;
    struct caller *c = ngx_http_get_module_ctx(r, ngx_http_singleflight_module);
    if (c == NULL && (r->internal || r->filter_finalize)) {
        for (ngx_pool_cleanup_t *i = r->pool->cleanup; i != NULL && c == NULL; i = i->next) {
            if (i->handler == clean_up)
                c = i->data;
        }
        ngx_http_set_ctx(r, c, ngx_http_singleflight_module);
    }
    return c;
}

/* ---------------------------------------------------------------------- leaders */

static void destroy_response(void *response, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    response_release(response);
}

/* The others of the fleet get the response, or are told that there is none for them. */
static void tell_fleet(struct caller *c, struct response *response)
{
    if (c->ask != NULL)
        fleet_complete(c->ask, response);
    c->ask = NULL;
}

/* The leader's call ends; is_shared: with its response. */
static void end_call(struct caller *c, bool is_shared)
{
    sflight_call *call = c->call;
    tell_fleet(c, is_shared ? c->response : NULL);
    c->call = NULL;
    c->collects = false;
    if (c->event.timer_set)
        ngx_del_timer(&c->event);
    if (is_shared) {
        c->response->holders++;
        c->worker->spilled += c->response->file.offset > 0;
        sflight_call_set(call, c->response, sizeof(*c->response), destroy_response, NULL);
    }
    (void)sflight_complete(call, is_shared ? SHARED : 0);
}

/* All have left: see on_event(). */
static void on_unwanted(void *caller)
{
    struct caller *c = caller;
    ngx_post_event(&c->event, &ngx_posted_events);
}

static bool client_has_hung_up(ngx_http_request_t *r)
{
    ngx_connection_t *connection = r->connection;
    char byte;
    if (connection->error)
        return true;
#if (NGX_HTTP_V2)
    if (r->stream != NULL)
        return false;
#endif
#if (NGX_HAVE_EPOLLRDHUP)
    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_use_epoll_rdhup)
        return connection->read->pending_eof;
#endif
    ssize_t n = recv(connection->fd, &byte, 1, MSG_PEEK);
    return n == 0 || (n < 0 && ngx_socket_errno != NGX_EAGAIN);
}

/*
 * Something comes from the leader's client while the upstream is asked.  If it has hung up, nginx
 * would hang up on the upstream.  It is not told so while others wait.  Where an event is told
 * until it is dealt with (poll), it is not waited for any more, as nginx does it.
 */
static void on_leader_readable(ngx_http_request_t *r)
{
    struct caller *c = caller_of(r);
    bool has_hung_up = client_has_hung_up(r);
    if (has_hung_up && (c->call == NULL || sflight_call_unwanted(c->call))) {
        c->readable(r);
        return;
    }
    if ((ngx_event_flags & NGX_USE_LEVEL_EVENT) && r->connection->read->active)
        (void)ngx_del_event(r->connection->read, NGX_READ_EVENT, 0);
    if (!has_hung_up || c->has_hung_up)
        return;
    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "client prematurely closed connection, but others wait for the response");
    c->has_hung_up = true;
    sflight_call_on_unwanted(c->call, on_unwanted, c);
}

/* What the location does, and then to be told of its client before nginx's upstream is. */
static ngx_int_t on_leader_content(ngx_http_request_t *r)
{
    struct caller *c = caller_of(r);
    ngx_int_t rc = c->content(r);
    if (c->call != NULL && r->upstream != NULL && r->upstream->cleanup != NULL &&
        r->read_event_handler != ngx_http_block_reading) {
        c->readable = r->read_event_handler;
        r->read_event_handler = on_leader_readable;
    }
    return rc;
}

/*
 * Sends the head of the response that has been collected.  False: no body is to follow, and *rc is
 * what the filters return.  They may send the head only (304), or another response in the place of
 * this one (412), or return a status, which is to be sent instead (416).
 */
static bool send_head(ngx_http_request_t *r, ngx_int_t *rc)
{
    bool was_another = r->filter_finalize;
    *rc = next_header_filter(r);
    return *rc != NGX_ERROR && *rc <= NGX_OK && !r->header_only &&
           (was_another || !r->filter_finalize);
}

/* Sends what there is of its body; is_all: to its end. */
static ngx_int_t send_body(struct caller *c, bool is_all)
{
    ngx_chain_t *body;
    if (response_body(c->response, c->r, is_all, &body) != NGX_OK)
        return NGX_ERROR;
    return body != NULL ? next_body_filter(c->r, body) : NGX_OK;
}

/* The response is complete. */
static ngx_int_t share(struct caller *c)
{
    ngx_int_t rc;
    end_call(c, true);
    if (c->has_hung_up)
        return NGX_HTTP_CLIENT_CLOSED_REQUEST;
    return send_head(c->r, &rc) ? send_body(c, true) : rc;
}

/*
 * The response is not shared after all.  It goes on as if it had not been collected.  nginx takes
 * its head for sent, so a status that is to be sent instead is sent here: without an error_page,
 * which might have another upstream.  NGX_ERROR: its client gets no more.
 */
static ngx_int_t stop_collecting(struct caller *c, ngx_chain_t *rest)
{
    ngx_http_request_t *r = c->r;
    ngx_int_t rc;
    end_call(c, false);
    r->error_page = 1;
    if (c->has_hung_up || !send_head(r, &rc)) {
        if (!c->has_hung_up && rc > NGX_OK)
            (void)ngx_http_special_response_handler(r, rc);
        c->is_over = true;
        return NGX_ERROR;
    }
    rc = send_body(c, false);
    return rc != NGX_ERROR && rest != NULL ? next_body_filter(r, rest) : rc;
}

/* The response is the first of many, from which nginx makes the client's after this filter. */
static bool is_slice(const ngx_http_request_t *r)
{
    return slice != NULL && r->ctx[slice->ctx_index] != NULL;
}

static ngx_int_t filter_header(ngx_http_request_t *r)
{
    struct caller *c = caller_of(r);
    if (c == NULL || c->call == NULL)
        return next_header_filter(r);

    if (c->ask != NULL &&
        !fleet_may_share(c->ask, r->headers_out.status, r->headers_out.content_length_n))
        tell_fleet(c, NULL);
    if (!is_slice(r) && (c->ask != NULL || !sflight_call_unwanted(c->call))) {
        struct place *p = c->place;
        c->response =
            response_create(r, &c->vary, p->buffer_size, (off_t)p->buffer_size + p->max_file_size);
    }
    if (c->response == NULL) {
        end_call(c, false);
        return c->has_hung_up ? NGX_HTTP_CLIENT_CLOSED_REQUEST : next_header_filter(r);
    }
    if (r->method == NGX_HTTP_HEAD || r->header_only ||
        r->headers_out.status == NGX_HTTP_NO_CONTENT ||
        r->headers_out.status == NGX_HTTP_NOT_MODIFIED) { /* no body will come */
        end_call(c, true);
        return c->has_hung_up ? NGX_HTTP_CLIENT_CLOSED_REQUEST : next_header_filter(r);
    }
    c->collects = true;
    ngx_add_timer(&c->event, c->place->timeout);
    sflight_call_on_unwanted(c->call, on_unwanted, c);
    return NGX_OK;
}

/* The upstream has broken off: everybody gets a 502, which is collected as any other response. */
static ngx_int_t start_again(struct caller *c)
{
    c->collects = false;
    if (c->event.timer_set)
        ngx_del_timer(&c->event);
    drop_response(c);
    ngx_http_clean_header(c->r);
    return NGX_HTTP_BAD_GATEWAY;
}

static ngx_int_t filter_body(ngx_http_request_t *r, ngx_chain_t *in)
{
    struct caller *c = caller_of(r);
    if (c != NULL && c->is_over && in != NULL)
        return NGX_ERROR;
    if (c == NULL || !c->collects)
        return next_body_filter(r, in);

    for (; in != NULL; in = in->next) {
        if (response_add(c->response, in->buf) != NGX_OK)
            return stop_collecting(c, in);
        if (in->buf->last_buf)
            return share(c);
        if (c->ask != NULL &&
            !fleet_may_share(c->ask, c->response->head.status, c->response->size)) {
            tell_fleet(c, NULL);
            if (sflight_call_unwanted(c->call))
                return stop_collecting(c, in->next);
        }
        /* An upstream that has ended well has a last buffer. */
        if (in->buf->flush && r->upstream != NULL && r->upstream->cleanup == NULL)
            return start_again(c);
    }
    return NGX_OK;
}

/* Its followers have left, or have to: the leader collects no more, but for those of other
 * workers. */
static void on_leader_event(struct caller *c)
{
    if (c->call == NULL)
        return;
    if (!c->event.timedout && !sflight_call_unwanted(c->call)) { /* somebody has come meanwhile */
        sflight_call_on_unwanted(c->call, on_unwanted, c);
        return;
    }
    if (c->has_hung_up) {
        leave_fleet(c);
        end_call(c, false);
        c->readable(c->r);
    } else if (c->collects && (c->event.timedout || c->ask == NULL)) {
        ngx_http_request_t *r = c->r;
        if (stop_collecting(c, NULL) != NGX_ERROR)
            return;
        if (r->upstream != NULL && r->upstream->cleanup != NULL) {
            r->upstream->pipe->downstream_error = 1; /* as where it sends by itself */
            r->write_event_handler(r);
        }
    }
}

/* -------------------------------------------------------------------- followers */

static ngx_int_t ask_alone(struct caller *c, enum outcome outcome)
{
    c->outcome = outcome;
    c->worker->alone++;
    return NGX_DECLINED;
}

/* Stays in its phase until on_event().  An error is the request's own, also where an error_page
 * sends it on. */
static ngx_int_t stay(struct caller *c)
{
    ngx_http_request_t *r = c->r;
    if (r->connection->read->ready) { /* maybe it has hung up: no other event may come for that */
        ngx_post_event(r->connection->read, &ngx_posted_events); /* two statements */
    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        give_up(c);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!c->event.timer_set)
        ngx_add_timer(&c->event, c->place->timeout);
    r->read_event_handler = ngx_http_test_reading; /* ends a request whose client hangs up */
    r->write_event_handler = ngx_http_request_empty_handler;
    return NGX_AGAIN;
}

/* Goes on to the upstream. */
static ngx_int_t lead(struct caller *c)
{
    ngx_http_request_t *r = c->r;
    c->outcome = LEADER;
    if (c->event.timer_set)
        ngx_del_timer(&c->event);
    if (r->content_handler != NULL) {
        c->content = r->content_handler;
        r->content_handler = on_leader_content;
    }
    return NGX_DECLINED;
}

/* Leads a call for the key, or joins it. */
static ngx_int_t fly(struct caller *c, const ngx_str_t *key)
{
    struct worker *w = c->worker;
    sflight_future *future;
    int rc = sflight_begin(w->group, key->data, key->len, &c->call, &future);
    if (rc == -EAGAIN) {
        c->outcome = REJECTED;
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }
    if (rc != 0)
        return ask_alone(c, ALONE);
    if (future != NULL) {
        c->future = future;
        (void)sflight_future_enqueue(future, w->queue, (uintptr_t)c); /* it is a new one */
        return stay(c);
    }
    if (w->fleet != NULL) {
        ngx_str_t rest = {.len = key->len - sizeof(c->place), .data = key->data + sizeof(c->place)};
        c->ask = fleet_ask(w->fleet, c->r, c->place->number, &rest, c);
    }
    c->asks = c->ask != NULL;
    return c->asks ? stay(c) : lead(c);
}

/* Sends the response of another request, or flies again for its own variant. */
static ngx_int_t follow(struct caller *c, struct response *response)
{
    ngx_str_t variant = ngx_null_string;
    if (response_variant(c->r, &response->vary, c->r->pool, &variant) != NGX_OK)
        return ask_alone(c, ALONE);
    if (variant.len != response->variant.len ||
        ngx_memcmp(variant.data, response->variant.data, variant.len) != 0) {
        ngx_str_t key = {.len = c->key.len + variant.len};
        release_result(c);
        drop_response(c);
        key.data = ngx_pnalloc(c->r->pool, key.len);
        if (key.data == NULL)
            return ask_alone(c, ALONE);
        ngx_memcpy(ngx_cpymem(key.data, c->key.data, c->key.len), variant.data, variant.len);
        return fly(c, &key);
    }
    c->outcome = FOLLOWER;
    c->worker->shared++;
    if (c->event.timer_set)
        ngx_del_timer(&c->event);
    ngx_http_finalize_request(c->r, response_send(response, c->r));
    return NGX_DONE;
}

/* The call that it has followed has ended. */
static ngx_int_t on_told(struct caller *c)
{
    c->is_told = false;
    if (c->done.rc == -EOWNERDEAD) {
        release_result(c);
        return fly(c, &c->key);
    }
    if (c->done.rc != 0 || c->done.result.status != SHARED) {
        release_result(c);
        return ask_alone(c, ALONE);
    }
    return follow(c, c->done.result.value);
}

/* The fleet has answered the leader of a call, or has not in time: then it leads as it would
 * without a fleet. */
static ngx_int_t on_answer(struct caller *c)
{
    struct place *p = c->place;
    enum fleet_answer answer = fleet_answer(c->ask);
    c->asks = c->is_late = false;
    if (answer == FLEET_LEADS)
        return lead(c);
    if (answer == FLEET_RESPONSE)
        c->response =
            fleet_response(c->ask, c->r, p->buffer_size, (off_t)p->buffer_size + p->max_file_size);
    leave_fleet(c);
    if (c->response != NULL) {
        end_call(c, true);
        return follow(c, c->response);
    }
    if (answer == FLEET_NOT_SHARED) {
        end_call(c, false);
        return ask_alone(c, ALONE);
    }
    return lead(c);
}

static void on_event(ngx_event_t *event)
{
    ngx_http_request_t *r = event->data;
    ngx_connection_t *connection = r->connection;
    struct caller *c = caller_of(r);
    ngx_http_set_log_request(connection->log, r);
    if (c->future == NULL && !c->is_told && !c->asks) {
        on_leader_event(c);
    } else {
        leave(c);
        c->is_late = !c->is_told;
        c->event.timedout = 0;
        if (c->event.posted) {
            ngx_delete_posted_event(&c->event);
        }
        r->read_event_handler = ngx_http_block_reading;
        r->write_event_handler = ngx_http_core_run_phases;
        ngx_http_core_run_phases(r);
    }
    ngx_http_run_posted_requests(connection);
}

/* ------------------------------------------------------------------------ phase */

/* In which location what is asked for. */
static ngx_int_t make_key(struct caller *c)
{
    ngx_array_t *key = ngx_array_create(c->r->pool, 512, 1);
    if (key == NULL || key_append(key, &c->place, sizeof(c->place)) != NGX_OK ||
        key_append_request(key, c->r, c->place->key) != NGX_OK)
        return NGX_ERROR;
    c->key = (ngx_str_t){.len = key->nelts, .data = key->elts};
    return NGX_OK;
}

static struct caller *new_caller(ngx_http_request_t *r, struct worker *w, struct place *p)
{
    ngx_pool_cleanup_t *clean = ngx_pool_cleanup_add(r->pool, sizeof(struct caller));
    if (clean == NULL)
        return NULL;
    struct caller *c = clean->data;
    ngx_memzero(c, sizeof(*c));
    clean->handler = clean_up;
    c->r = r;
    c->worker = w;
    c->place = p;
    c->event.data = r;
    c->event.handler = on_event;
    c->event.log = r->connection->log;
    ngx_http_set_ctx(r, c, ngx_http_singleflight_module);
    return make_key(c) == NGX_OK ? c : NULL;
}

/* Whether others may have the answer: who may is to be seen in the request, and how it is to be
 * changed. */
static bool may_share(ngx_http_request_t *r, struct place *p)
{
    return (r->method == NGX_HTTP_GET || r->method == NGX_HTTP_HEAD) &&
           r->headers_in.content_length_n <= 0 && !r->headers_in.chunked &&
           r->headers_in.authorization == NULL && r->headers_in.upgrade == NULL &&
           ngx_http_test_predicates(r, p->bypass) == NGX_OK;
}

/* A response may have sent the request elsewhere inside nginx (X-Accel-Redirect, error_page).  What
 * that says of itself holds for what is made of it. */
static ngx_int_t look_back(struct caller *c)
{
    if (c->r->upstream == NULL)
        return NGX_OK;
    if (c->vary.pool == NULL && ngx_array_init(&c->vary, c->r->pool, 64, 1) != NGX_OK)
        return NGX_ERROR;
    return response_look_at_upstream(c->r, &c->vary);
}

/* Before the content, and after all that may refuse the request; again when a wait is over, or the
 * request is sent elsewhere. */
static ngx_int_t on_phase(ngx_http_request_t *r)
{
    struct place *p = ngx_http_get_module_loc_conf(r, ngx_http_singleflight_module);
    struct caller *c = caller_of(r);
    if (c != NULL) {
        if (c->asks)
            return on_answer(c);
        if (c->future != NULL)
            return NGX_AGAIN;
        if (c->is_told)
            return on_told(c);
        if (c->is_late) {
            c->is_late = false;
            return ask_alone(c, TIMEOUT);
        }
        if (c->call != NULL && look_back(c) != NGX_OK)
            end_call(c, false);
        return NGX_DECLINED;
    }
    struct worker *w = ngx_http_get_module_main_conf(r, ngx_http_singleflight_module);
    if (!p->is_on || r != r->main || w->group == NULL || !may_share(r, p))
        return NGX_DECLINED;
    c = new_caller(r, w, p);
    if (c == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return look_back(c) == NGX_OK ? fly(c, &c->key) : ask_alone(c, ALONE);
}

static ngx_int_t get_outcome(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    (void)data;
    struct place *p = ngx_http_get_module_loc_conf(r, ngx_http_singleflight_module);
    struct caller *c = caller_of(r->main);
    v->not_found = c == NULL && !p->is_on;
    if (v->not_found)
        return NGX_OK;
    const ngx_str_t *text = &outcomes[c != NULL ? c->outcome : BYPASS];
    v->data = text->data;
    v->len = (unsigned)text->len & 0xfffffff;
    v->valid = 1;
    v->no_cacheable = 1;
    return NGX_OK;
}

/* ---------------------------------------------------------------------- status */

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
#define NUMBER(name, suffix)                                                                       \
    {                                                                                              \
#name suffix, offsetof(sflight_stats, name)                                                \
    }
    NUMBER(led, "_total"),        NUMBER(joined, "_total"),    NUMBER(forgotten, "_total"),
    NUMBER(timed_out, "_total"),  NUMBER(abandoned, "_total"), NUMBER(panicked, "_total"),
    NUMBER(taken_over, "_total"), NUMBER(expired, "_total"),   NUMBER(rejected, "_total"),
    NUMBER(deadlocks, "_total"),  NUMBER(parked, "_total"),    NUMBER(spun, "_total"),
    NUMBER(in_flight, ""),        NUMBER(waiting, ""),         NUMBER(held, ""),
    NUMBER(retired_pending, ""),  NUMBER(buckets, ""),         NUMBER(bytes, ""),
#undef NUMBER
};

static u_char *print_number(u_char *to, u_char *end, const char *name, uint64_t value)
{
    return ngx_slprintf(to, end, "sflight_%s{worker=\"%P\"} %uL\n", name, ngx_pid, value);
}

static ngx_int_t on_status(ngx_http_request_t *r)
{
    enum { ROOM = 64 + NGX_INT64_LEN };
    const size_t n = sizeof(numbers) / sizeof(numbers[0]);
    struct worker *w = ngx_http_get_module_main_conf(r, ngx_http_singleflight_module);
    sflight_stats stats = {0};
    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)))
        return NGX_HTTP_NOT_ALLOWED;
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        return rc;
    ngx_buf_t *b = ngx_create_temp_buf(r->pool, (n + 3) * ROOM + FLEET_STATUS_SIZE);
    if (b == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (w->group != NULL)
        (void)sflight_group_stats(w->group, &stats);
    for (size_t i = 0; i < n; i++)
        b->last = print_number(b->last, b->end, numbers[i].name,
                               *(uint64_t *)((u_char *)&stats + numbers[i].offset));
    b->last = print_number(b->last, b->end, "requests_shared_total", w->shared);
    b->last = print_number(b->last, b->end, "requests_alone_total", w->alone);
    b->last = print_number(b->last, b->end, "responses_spilled_total", w->spilled);
    if (w->fleet != NULL)
        b->last = fleet_print(w->fleet, b->last, b->end);
    b->last_buf = b->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "text/plain; version=0.0.4");
    r->headers_out.content_type_len = sizeof("text/plain") - 1;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    return ngx_http_output_filter(r, &(ngx_chain_t){.buf = b});
}

static char *set_status(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    (void)command;
    (void)conf;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    core->handler = on_status;
    return NGX_CONF_OK;
}

/* --------------------------------------------------------------------- workers */

static void on_queue_readable(ngx_event_t *event)
{
    drain(((ngx_connection_t *)event->data)->data);
}

static ngx_int_t watch_queue(ngx_cycle_t *cycle, struct worker *w)
{
    w->connection = ngx_get_connection(sflight_queue_fd(w->queue), cycle->log);
    if (w->connection == NULL)
        return NGX_ERROR;
    w->connection->data = w;
    w->connection->read->handler = on_queue_readable;
    w->connection->read->log = cycle->log;
    return ngx_handle_read_event(w->connection->read, 0);
}

static ngx_int_t start_worker(ngx_cycle_t *cycle)
{
    struct worker *w = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_singleflight_module);
    if (w == NULL || !w->is_used ||
        (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
        return NGX_OK;
    sflight_options options;
    sflight_options_init(&options);
    options.max_waiters = (uint32_t)w->max_waiters;
    options.shards = 1;              /* one thread */
    options.expected_inflight = 256; /* grows by itself */
    int rc = sflight_group_create(&w->group, &options);
    if (rc == 0)
        rc = sflight_queue_create(&w->queue);
    if (rc == 0 && watch_queue(cycle, w) == NGX_OK) {
        if (w->fleet_settings != NULL)
            w->fleet = fleet_create(w->fleet_settings, w->queue, cycle->log);
        return NGX_OK;
    }
    ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "singleflight cannot start: %s",
                  sflight_strerror(rc));
    return NGX_ERROR;
}

/* What requests still use when nginx is told to end at once goes with the process. */
static void end_worker(ngx_cycle_t *cycle)
{
    struct worker *w = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_singleflight_module);
    if (w == NULL || w->connection == NULL)
        return;
    w->connection->fd = (ngx_socket_t)-1;
    ngx_free_connection(w->connection);
    w->connection = NULL;
    if (w->fleet != NULL) {
        drain(w);
        fleet_close(w->fleet);
        drain(w);
        fleet_destroy(w->fleet);
    }
    (void)sflight_queue_destroy(w->queue);
    (void)sflight_group_destroy(w->group);
}

/* --------------------------------------------------------------- configuration */

static void *create_main(ngx_conf_t *cf)
{
    struct worker *w = ngx_pcalloc(cf->pool, sizeof(*w));
    if (w != NULL)
        w->max_waiters = NGX_CONF_UNSET_UINT;
    return w;
}

static char *init_main(ngx_conf_t *cf, void *conf)
{
    struct worker *w = conf;
    (void)cf;
    ngx_conf_init_uint_value(w->max_waiters, 0);
    return w->max_waiters <= UINT32_MAX ? NGX_CONF_OK : "singleflight_max_waiters is too large";
}

static void *create_place(ngx_conf_t *cf)
{
    struct place *p = ngx_pcalloc(cf->pool, sizeof(*p));
    if (p == NULL)
        return NULL;
    p->is_on = NGX_CONF_UNSET;
    p->bypass = NGX_CONF_UNSET_PTR;
    p->timeout = NGX_CONF_UNSET_MSEC;
    p->buffer_size = NGX_CONF_UNSET_SIZE;
    p->max_file_size = NGX_CONF_UNSET;
    return p;
}

static char *merge_place(ngx_conf_t *cf, void *parent, void *child)
{
    struct worker *w = ngx_http_conf_get_module_main_conf(cf, ngx_http_singleflight_module);
    struct place *above = parent, *p = child;
    ngx_conf_merge_value(p->is_on, above->is_on, 0);
    ngx_conf_merge_ptr_value(p->bypass, above->bypass, NULL);
    ngx_conf_merge_msec_value(p->timeout, above->timeout, 5000);
    ngx_conf_merge_size_value(p->buffer_size, above->buffer_size, 256 * 1024);
    ngx_conf_merge_off_value(p->max_file_size, above->max_file_size, 1024 * 1024 * 1024);
    if (p->key == NULL)
        p->key = above->key;
    p->number = ++w->n_places;
    if (p->is_on)
        w->is_used = true;
    return NGX_CONF_OK;
}

static ngx_int_t add_variable(ngx_conf_t *cf)
{
    static ngx_str_t name = ngx_string("singleflight_status");
    ngx_http_variable_t *variable = ngx_http_add_variable(cf, &name, NGX_HTTP_VAR_NOCACHEABLE);
    if (variable == NULL)
        return NGX_ERROR;
    variable->get_handler = get_outcome;
    return NGX_OK;
}

static ngx_int_t install(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler =
        ngx_array_push(&core->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (handler == NULL)
        return NGX_ERROR;
    *handler = on_phase;
    slice = NULL;
    for (ngx_module_t **module = cf->cycle->modules; *module != NULL; module++) {
        if (ngx_strcmp((*module)->name, "ngx_http_slice_filter_module") == 0)
            slice = *module;
    }
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = filter_header;
    next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = filter_body;
    return NGX_OK;
}

#define ANYWHERE (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF)
#define IN_PLACE(directive, contexts, setter, member)                                              \
    {                                                                                              \
        ngx_string(directive), (contexts), setter, NGX_HTTP_LOC_CONF_OFFSET,                       \
            offsetof(struct place, member), NULL                                                   \
    }

static ngx_command_t commands[] = {
    IN_PLACE("singleflight", ANYWHERE | NGX_HTTP_LIF_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
             is_on),
    IN_PLACE("singleflight_key", ANYWHERE | NGX_CONF_TAKE1, ngx_http_set_complex_value_slot, key),
    IN_PLACE("singleflight_bypass", ANYWHERE | NGX_CONF_1MORE, ngx_http_set_predicate_slot, bypass),
    IN_PLACE("singleflight_timeout", ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_msec_slot, timeout),
    IN_PLACE("singleflight_buffer_size", ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_size_slot,
             buffer_size),
    IN_PLACE("singleflight_max_temp_file_size", ANYWHERE | NGX_CONF_TAKE1, ngx_conf_set_off_slot,
             max_file_size),
    {ngx_string("singleflight_max_waiters"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_num_slot, NGX_HTTP_MAIN_CONF_OFFSET, offsetof(struct worker, max_waiters), NULL},
    {ngx_string("singleflight_fleet"), NGX_HTTP_MAIN_CONF | NGX_CONF_1MORE, fleet_set,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(struct worker, fleet_settings), NULL},
    {ngx_string("singleflight_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_status, 0, 0,
     NULL},
    ngx_null_command};

static ngx_http_module_t http_module = {.preconfiguration = add_variable,
                                        .postconfiguration = install,
                                        .create_main_conf = create_main,
                                        .init_main_conf = init_main,
                                        .create_loc_conf = create_place,
                                        .merge_loc_conf = merge_place};

ngx_module_t ngx_http_singleflight_module = {
    NGX_MODULE_V1,           .ctx = &http_module,          .commands = commands,
    .type = NGX_HTTP_MODULE, .init_process = start_worker, .exit_process = end_worker,
    NGX_MODULE_V1_PADDING};
