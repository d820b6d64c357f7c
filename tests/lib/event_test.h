/* SPDX-License-Identifier: BSD-2-Clause */
/* event_test.h - what the tests of permits, futures and queues share. */
#ifndef EVENT_TEST_H
#define EVENT_TEST_H

#include "api_test.h"

#include <fcntl.h>
#include <poll.h>

/* sflight_begin(), where the caller must lead. */
static inline sflight_call *lead(sflight_group *g, const char *key)
{
    sflight_call *call = NULL;
    sflight_future *f = NULL;
    assert_int_equal(sflight_begin(g, key, strlen(key), &call, &f), 0);
    assert_non_null(call);
    assert_null(f);
    return call;
}

/* sflight_begin(), where there is a call to join. */
static inline sflight_future *join(sflight_group *g, const char *key)
{
    sflight_call *call = NULL;
    sflight_future *f = NULL;
    assert_int_equal(sflight_begin(g, key, strlen(key), &call, &f), 0);
    assert_null(call);
    assert_non_null(f);
    return f;
}

/* The key has no call, and a call for it can be joined. */
static inline void assert_key_joinable(sflight_group *g, const char *key)
{
    sflight_call *call = lead(g, key);
    sflight_future *f = join(g, key);
    assert_int_equal(sflight_complete(call, 0), 1);
    sflight_future_drop(f);
}

static inline sflight_future *start(sflight_group *g, const char *key, sflight_fn *fn, void *arg)
{
    sflight_future *f = NULL;
    assert_int_equal(sflight_start(g, key, strlen(key), fn, arg, &f), 0);
    assert_non_null(f);
    return f;
}

static inline bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

static inline bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

/* What a callback that only takes notes has seen. */
struct noted {
    atomic_int n;
    int rc; /* the last */
};

static inline void note(void *arg, int rc, sflight_result *r)
{
    struct noted *noted = arg;
    noted->rc = rc;
    sflight_result_release(r);
    atomic_fetch_add(&noted->n, 1);
}

/* Each way to be done with a future; consume() is for one whose call has ended. */
enum consumer { BY_GET, BY_POLL, BY_THEN, BY_QUEUE, BY_DROP, CONSUMERS };

static inline void consume(sflight_future *f, enum consumer how, int expected)
{
    sflight_result r;
    struct noted noted = {0};
    sflight_queue *q;
    sflight_completion done;
    switch (how) {
    case BY_GET:
        assert_int_equal(sflight_future_get(f, NULL, &r), expected);
        sflight_result_release(&r);
        break;
    case BY_POLL:
        assert_int_equal(sflight_future_poll(f, &r), expected);
        sflight_result_release(&r);
        break;
    case BY_THEN:
        assert_int_equal(sflight_future_then(f, note, &noted), 0);
        assert_int_equal(noted.n, 1);
        assert_int_equal(noted.rc, expected);
        break;
    case BY_QUEUE:
        assert_int_equal(sflight_queue_create(&q), 0);
        assert_int_equal(sflight_future_enqueue(f, q, 9), 0);
        assert_true(readable(sflight_queue_fd(q)));
        assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
        assert_int_equal(done.tag, 9);
        assert_int_equal(done.rc, expected);
        sflight_result_release(&done.result);
        assert_int_equal(sflight_queue_destroy(q), 0);
        break;
    default:
        sflight_future_drop(f);
    }
}

/* Joins whatever there is for "key", until it is told to stop. */
struct joiner {
    sflight_group *g;
    atomic_bool stop;
};

static inline void *keep_joining(void *arg)
{
    struct joiner *j = arg;
    while (!j->stop) {
        sflight_call *call;
        sflight_future *f;
        sflight_result r;
        assert_int_equal(sflight_begin(j->g, "key", 3, &call, &f), 0);
        if (call != NULL) {
            sflight_complete(call, 0);
            continue;
        }
        int rc = sflight_future_get(f, NULL, &r);
        assert_true(rc == 0 || rc == -EOWNERDEAD);
        sflight_result_release(&r);
    }
    return NULL;
}

static inline void *drain_main(void *g)
{
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    return NULL;
}

/* Threads of started calls use the group for some steps more, also when they hold nothing. */
static inline void await_unused(sflight_group *g)
{
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    WAIT_UNTIL(stats_of(g).held == 0);
}

static inline void group_end_when_unused(sflight_group *g)
{
    await_unused(g);
    group_end(g);
}

#endif
