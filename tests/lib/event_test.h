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

#endif
