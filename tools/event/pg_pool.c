/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pg_pool.c - a connection goes through
 *
 *     DOWN --timer--> CONNECTING --> PREPARING --> IDLE <--> BUSY
 *
 * and from each of these back to DOWN when anything is wrong with it
 * (lose()).  Its one timer is the back-off while DOWN and the limit for
 * CONNECTING, PREPARING and BUSY.  PostgreSQL itself ends a statement that
 * takes too long; the limit, a second later, is for when it does not answer.
 */
#include "pg_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKOFF_MIN_MS = 50, BACKOFF_DOUBLINGS = 5, GRACE_MS = 1000 };

#define STATEMENT_NAME "page"

struct connection {
    struct pg_pool *pool;
    enum { DOWN, CONNECTING, PREPARING, IDLE, BUSY } state;
    PGconn *pq;
    uv_poll_t *poll; /* of pq's socket, or NULL; freed when it is closed */
    int poll_fd;
    uv_timer_t timer;
    unsigned n_failures; /* attempts since it last worked */
    struct pg_query *query;
    PGresult *result; /* of what is being done: the first, which is the only one or the error */
};

struct pg_pool {
    uv_loop_t *loop;
    struct pg_options options;
    bool is_away; /* no connection is usable, and an attempt has failed */
    bool is_closed;
    STAILQ_HEAD(, pg_query) waiting; /* the one that expires first comes first */
    uv_timer_t expiry;               /* of that one */
    struct pg_stats stats;
    struct connection connections[];
};

static void dispatch(struct pg_pool *pool);
static void pump(struct connection *c);

/* -------------------------------------------------------------------- waiting */

static void end_first(struct pg_pool *pool, enum pg_outcome outcome)
{
    struct pg_query *q = STAILQ_FIRST(&pool->waiting);
    STAILQ_REMOVE_HEAD(&pool->waiting, link);
    pool->stats.waiting--;
    q->is_waiting = false;
    q->done(q, outcome, NULL);
}

static void end_all_waiting(struct pg_pool *pool, enum pg_outcome outcome)
{
    while (!STAILQ_EMPTY(&pool->waiting))
        end_first(pool, outcome);
}

static void on_expiry(uv_timer_t *timer)
{
    struct pg_pool *pool = timer->data;
    const uint64_t now = uv_now(pool->loop);
    struct pg_query *q;
    while ((q = STAILQ_FIRST(&pool->waiting)) != NULL && q->expires_ms <= now)
        end_first(pool, PG_BUSY);
    if (q != NULL)
        uv_timer_start(timer, on_expiry, q->expires_ms - now, 0);
}

void pg_withdraw(struct pg_pool *pool, struct pg_query *q)
{
    if (!q->is_waiting)
        return;
    STAILQ_REMOVE(&pool->waiting, q, pg_query, link);
    pool->stats.waiting--;
    q->is_waiting = false;
    q->done(q, PG_CLOSED, NULL);
}

void pg_submit(struct pg_pool *pool, struct pg_query *q)
{
    q->is_waiting = false;
    if (pool->is_closed || pool->is_away || pool->stats.waiting >= pool->options.max_waiting) {
        q->done(q, pool->is_closed ? PG_CLOSED : pool->is_away ? PG_AWAY : PG_BUSY, NULL);
        return;
    }
    q->expires_ms = uv_now(pool->loop) + pool->options.timeout_ms;
    STAILQ_INSERT_TAIL(&pool->waiting, q, link);
    pool->stats.waiting++;
    q->is_waiting = true;
    dispatch(pool);
    if (!STAILQ_EMPTY(&pool->waiting) && !uv_is_active((uv_handle_t *)&pool->expiry))
        uv_timer_start(&pool->expiry, on_expiry, pool->options.timeout_ms, 0);
}

/* ------------------------------------------------------------------- sockets */

static void free_handle(uv_handle_t *h)
{
    free(h);
}

static void unwatch(struct connection *c)
{
    if (c->poll == NULL)
        return;
    uv_poll_stop(c->poll);
    uv_close((uv_handle_t *)c->poll, free_handle);
    c->poll = NULL;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* False if that is impossible. */
static bool watch(struct connection *c, int events)
{
    const int fd = PQsocket(c->pq);
    if (c->poll != NULL && c->poll_fd != fd)
        unwatch(c);
    if (c->poll == NULL) {
        uv_poll_t *poll = malloc(sizeof(*poll));
        if (poll == NULL || uv_poll_init(c->pool->loop, poll, fd) != 0) {
            free(poll);
            return false;
        }
        poll->data = c;
        c->poll = poll;
        c->poll_fd = fd;
    }
    return uv_poll_start(c->poll, events, on_ready) == 0;
}

/* ------------------------------------------------------------- making, losing */

static bool is_usable(const struct connection *c)
{
    return c->state == IDLE || c->state == BUSY;
}

static uint64_t backoff_ms(const struct connection *c)
{
    return c->n_failures == 0 ? 0 : (uint64_t)BACKOFF_MIN_MS << (c->n_failures - 1);
}

static void start_connecting(uv_timer_t *timer);

/* Gives the connection up, and its query, if it has one, for the reason given. */
static void lose(struct connection *c, enum pg_outcome outcome, const char *why)
{
    struct pg_pool *pool = c->pool;
    struct pg_query *query = c->query;
    const bool was_usable = is_usable(c);
    /* Said once for each connection, not for each attempt. */
    if (c->n_failures == 0)
        fprintf(stderr, "event-server: no connection to the database: %s%s", why,
                why[0] != '\0' && why[strlen(why) - 1] == '\n' ? "" : "\n");
    pool->stats.broken++;
    pool->stats.usable -= was_usable;
    pool->stats.busy -= c->state == BUSY;
    unwatch(c);
    PQclear(c->result);
    PQfinish(c->pq);
    c->result = NULL;
    c->pq = NULL;
    c->query = NULL;
    c->state = DOWN;
    const unsigned n = was_usable ? 0 : c->n_failures + 1;
    c->n_failures = n > BACKOFF_DOUBLINGS + 1 ? BACKOFF_DOUBLINGS + 1 : n;
    uv_timer_start(&c->timer, start_connecting, backoff_ms(c), 0);
    if (query != NULL)
        query->done(query, outcome, NULL);
    if (!was_usable && pool->stats.usable == 0) {
        pool->is_away = true;
        end_all_waiting(pool, PG_AWAY);
    }
}

static void on_limit(uv_timer_t *timer)
{
    lose(timer->data, PG_LATE, "no answer");
}

static void start_connecting(uv_timer_t *timer)
{
    struct connection *c = timer->data;
    const struct pg_options *o = &c->pool->options;
    char options[64];
    snprintf(options, sizeof(options), "-c statement_timeout=%llu",
             (unsigned long long)o->timeout_ms);
    const char *names[] = {"dbname", "options", "fallback_application_name", NULL};
    const char *values[] = {o->conninfo, options, "event-server", NULL};
    c->state = CONNECTING;
    uv_timer_start(&c->timer, on_limit, o->timeout_ms, 0);
    c->pq = PQconnectStartParams(names, values, 1);
    if (c->pq == NULL || PQstatus(c->pq) == CONNECTION_BAD || !watch(c, UV_WRITABLE))
        lose(c, PG_AWAY, c->pq != NULL ? PQerrorMessage(c->pq) : "out of memory");
}

static void go_on_connecting(struct connection *c)
{
    uv_poll_stop(c->poll); /* the socket may be closed and another one opened */
    switch (PQconnectPoll(c->pq)) {
    case PGRES_POLLING_READING:
        if (watch(c, UV_READABLE))
            return;
        break;
    case PGRES_POLLING_WRITING:
        if (watch(c, UV_WRITABLE))
            return;
        break;
    case PGRES_POLLING_OK:
        c->state = PREPARING;
        if (PQsetnonblocking(c->pq, 1) == 0 &&
            PQsendPrepare(c->pq, STATEMENT_NAME, c->pool->options.statement, 0, NULL)) {
            pump(c);
            return;
        }
        break;
    default:
        break;
    }
    lose(c, PG_AWAY, PQerrorMessage(c->pq));
}

/* -------------------------------------------------------------------- queries */

static enum pg_outcome outcome_of(const PGresult *result)
{
    if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
        return PG_ROWS;
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (code == NULL || strncmp(code, "08", 2) == 0 || strncmp(code, "57P", 3) == 0)
        return PG_AWAY; /* the connection is, or will be, broken */
    if (strcmp(code, "57014") == 0)
        return PG_LATE; /* the statement was cancelled: statement_timeout */
    return strncmp(code, "53", 2) == 0 ? PG_BUSY : PG_ERROR; /* 53: out of something */
}

/* What was sent has its result.  Afterwards the connection is idle, busy again or lost. */
static void finish(struct connection *c)
{
    struct pg_pool *pool = c->pool;
    struct pg_query *query = c->query;
    PGresult *result = c->result;
    const enum pg_outcome outcome = outcome_of(result);
    if (outcome == PG_AWAY || PQstatus(c->pq) == CONNECTION_BAD ||
        (c->state == PREPARING && outcome != PG_ROWS)) {
        lose(c, PG_AWAY, PQerrorMessage(c->pq));
        return;
    }
    uv_timer_stop(&c->timer);
    c->result = NULL;
    c->query = NULL;
    if (c->state == PREPARING) {
        if (c->n_failures != 0)
            fprintf(stderr, "event-server: the database is back\n");
        c->n_failures = 0;
        pool->is_away = false;
        pool->stats.usable++;
        pool->stats.connections++;
    } else {
        pool->stats.busy--;
    }
    c->state = IDLE;
    if (query != NULL) {
        if (outcome != PG_ROWS)
            fprintf(stderr, "event-server: %s", PQresultErrorMessage(result));
        query->done(query, outcome, outcome == PG_ROWS ? result : NULL);
    }
    PQclear(result);
    dispatch(pool);
}

/* Sends what is to be sent, and takes what has come. */
static void pump(struct connection *c)
{
    int unsent = -1;
    if (PQconsumeInput(c->pq))
        unsent = PQflush(c->pq);
    if (unsent < 0) {
        lose(c, PG_AWAY, PQerrorMessage(c->pq));
        return;
    }
    while (c->state != IDLE && !PQisBusy(c->pq)) {
        PGresult *result = PQgetResult(c->pq);
        if (result == NULL) {
            finish(c);
            if (c->state != IDLE)
                return;
        } else if (c->result == NULL) {
            c->result = result;
        } else {
            PQclear(result);
        }
    }
    if (!watch(c, unsent != 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE))
        lose(c, PG_AWAY, "cannot watch its socket");
}

/* An idle connection is watched as well, or nobody would notice that it breaks. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct connection *c = poll->data;
    (void)status, (void)events; /* libpq finds out what is wrong */
    if (c->state == CONNECTING)
        go_on_connecting(c);
    else
        pump(c);
}

static void send_query(struct connection *c, struct pg_query *q)
{
    struct pg_pool *pool = c->pool;
    if (!PQsendQueryPrepared(c->pq, STATEMENT_NAME, 1, &q->parameter, NULL, NULL, 0)) {
        lose(c, PG_AWAY, PQerrorMessage(c->pq)); /* the query waits for another */
        return;
    }
    STAILQ_REMOVE_HEAD(&pool->waiting, link);
    pool->stats.waiting--;
    q->is_waiting = false;
    pool->stats.queries++;
    pool->stats.busy++;
    c->query = q;
    c->state = BUSY;
    uv_timer_start(&c->timer, on_limit, pool->options.timeout_ms + GRACE_MS, 0);
    pump(c);
}

static void dispatch(struct pg_pool *pool)
{
    for (unsigned i = 0; i < pool->options.n_connections && !pool->is_closed; i++) {
        struct pg_query *q = STAILQ_FIRST(&pool->waiting);
        if (q == NULL)
            break;
        if (pool->connections[i].state == IDLE)
            send_query(&pool->connections[i], q);
    }
}

/* ----------------------------------------------------------------------- pool */

struct pg_pool *pg_open(uv_loop_t *loop, const struct pg_options *o)
{
    struct pg_pool *pool = calloc(1, sizeof(*pool) + o->n_connections * sizeof(struct connection));
    if (pool == NULL)
        return NULL;
    pool->loop = loop;
    pool->options = *o;
    STAILQ_INIT(&pool->waiting);
    uv_timer_init(loop, &pool->expiry);
    pool->expiry.data = pool;
    for (unsigned i = 0; i < o->n_connections; i++) {
        struct connection *c = &pool->connections[i];
        c->pool = pool;
        uv_timer_init(loop, &c->timer);
        c->timer.data = c;
        uv_timer_start(&c->timer, start_connecting, 0, 0);
    }
    return pool;
}

void pg_close(struct pg_pool *pool)
{
    pool->is_closed = true;
    end_all_waiting(pool, PG_CLOSED);
    uv_close((uv_handle_t *)&pool->expiry, NULL);
    for (unsigned i = 0; i < pool->options.n_connections; i++) {
        struct connection *c = &pool->connections[i];
        struct pg_query *query = c->query;
        unwatch(c);
        PQclear(c->result);
        PQfinish(c->pq);
        c->result = NULL;
        c->pq = NULL;
        c->query = NULL;
        c->state = DOWN;
        uv_close((uv_handle_t *)&c->timer, NULL);
        if (query != NULL)
            query->done(query, PG_CLOSED, NULL);
    }
}

void pg_free(struct pg_pool *pool)
{
    free(pool);
}

struct pg_stats pg_stats(const struct pg_pool *pool)
{
    return pool->stats;
}
