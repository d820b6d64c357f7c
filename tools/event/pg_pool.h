/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pg_pool.h - a few connections to PostgreSQL on a libuv loop, for one prepared
 * statement that only reads.  Nothing here blocks, but for the look-up of a
 * host's name, where one is given instead of an address.
 *
 * A connection that breaks is made again, at once and then ever later up to
 * 1.6 s.  While none works, after an attempt has failed, queries fail at once;
 * until then, and while all are busy, they wait their turn.
 */
#ifndef PG_POOL_H
#define PG_POOL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

enum pg_outcome {
    PG_ROWS,   /* the result has rows, or none */
    PG_ERROR,  /* the query failed */
    PG_LATE,   /* it took too long and was given up */
    PG_BUSY,   /* too many queries wait, or this one did so for too long */
    PG_AWAY,   /* no connection, or it broke */
    PG_CLOSED, /* the pool is closing, or the query was withdrawn */
};

/* A query; belongs to the pool from pg_submit() until done is called, which is always, and once. */
struct pg_query {
    const char *parameter; /* the statement's only one, as text */
    /* result is NULL unless there are rows, and cleared afterwards. */
    void (*done)(struct pg_query *q, enum pg_outcome outcome, PGresult *result);

    STAILQ_ENTRY(pg_query) link; /* these two are private */
    uint64_t expires_ms;
    bool is_waiting;
};

struct pg_options {
    const char *conninfo;  /* as for PQconnectdb(); its "options" are not used */
    const char *statement; /* SQL with $1 */
    unsigned n_connections;
    unsigned max_waiting; /* queries that may wait for a connection */
    uint64_t timeout_ms;  /* of a query, of its wait for a connection, of connecting */
};

struct pg_stats {
    uint64_t queries;     /* sent */
    uint64_t connections; /* made */
    uint64_t broken;      /* connections that broke, and attempts that failed */
    unsigned usable;      /* now: connections */
    unsigned busy;        /* now: of these, with a query */
    unsigned waiting;     /* now: queries without a connection */
};

struct pg_pool;

/* Begins to connect.  Everything in o has to stay.  Returns NULL if there is no memory. */
struct pg_pool *pg_open(uv_loop_t *loop, const struct pg_options *o);

/* May call q->done before it returns. */
void pg_submit(struct pg_pool *pool, struct pg_query *q);

/*
 * Nobody wants the query any more: if it still waits for a connection, done is called, with
 * PG_CLOSED; one that has been sent goes on.
 */
void pg_withdraw(struct pg_pool *pool, struct pg_query *q);

/* Ends all queries and connections.  Once uv_run() has returned, pg_free() frees the pool. */
void pg_close(struct pg_pool *pool);
void pg_free(struct pg_pool *pool);

struct pg_stats pg_stats(const struct pg_pool *pool);

#endif
