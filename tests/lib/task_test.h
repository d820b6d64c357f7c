/* SPDX-License-Identifier: BSD-2-Clause */
/* task_test.h - groups on the runtime of task_runtime.h, and all ways to wait in one. */
#ifndef TASK_TEST_H
#define TASK_TEST_H

#include "batch_test.h"
#include "task_runtime.h"

enum { TASKS = 6 };

/* The parks that return early are chosen by this. */
static const unsigned early[] = {0, 3, 2, 1};

/* Who leads: a permit, a thread, a task. */
enum { LED_BY_PERMIT, LED_BY_THREAD, LED_BY_TASK, LEADERS };

static inline sflight_group *runtime_takeover_group(struct runtime *runtime)
{
    sflight_options o = runtime_options(runtime);
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    return group_new(&o);
}

static inline void runtime_group_end(sflight_group *g, struct runtime *runtime)
{
    assert_key_usable(g, "key");
    group_end(g);
    runtime_end(runtime);
}

/* ------------------------------------------------------------------- ways */

/* Waits in one of all ways, in a task or in a thread. */
struct way {
    sflight_group *g;
    const struct timespec *deadline;
    int rc;
    sflight_result r;
};

static inline void *wait_by_do(void *arg)
{
    struct way *w = arg;
    w->rc = do_str(w->g, "key", must_not_run, NULL, &w->r);
    return NULL;
}

static inline void *wait_by_do_until(void *arg)
{
    struct way *w = arg;
    w->rc = sflight_do_until(w->g, "key", 3, must_not_run, NULL, w->deadline, &w->r);
    return NULL;
}

static inline void *wait_by_do_many(void *arg)
{
    struct way *w = arg;
    sflight_key keys[] = {KEY("key"), KEY("key")};
    sflight_result r[2];
    int rc[2];
    assert_int_equal(sflight_do_many(w->g, keys, 2, batch_must_not_run, NULL, w->deadline, r, rc),
                     0);
    assert_int_equal(rc[0], rc[1]);
    assert_ptr_equal(r[0].value, r[1].value);
    w->rc = rc[0];
    w->r = r[0];
    sflight_result_release(&r[1]);
    return NULL;
}

static inline void *wait_by_get(void *arg)
{
    struct way *w = arg;
    sflight_future *f = join(w->g, "key");
    w->rc = sflight_future_get(f, w->deadline, &w->r);
    if (w->rc == -ETIMEDOUT) { /* it is as it was; the call may have ended since */
        int rc = sflight_future_poll(f, &w->r);
        assert_true(rc == -EAGAIN || rc == 0);
        if (rc == -EAGAIN)
            sflight_future_drop(f);
        else
            sflight_result_release(&w->r);
    }
    return NULL;
}

/* With a descriptor made first. */
static inline void *wait_by_get_with_fd(void *arg)
{
    struct way *w = arg;
    sflight_future *f = join(w->g, "key");
    int fd = sflight_future_fd(f);
    assert_true(fd >= 0);
    w->rc = sflight_future_get(f, w->deadline, &w->r);
    if (w->rc == -ETIMEDOUT)
        sflight_future_drop(f);
    return NULL;
}

static inline void *wait_by_start(void *arg)
{
    struct way *w = arg;
    sflight_future *f;
    assert_int_equal(sflight_start(w->g, "key", 3, must_not_run, NULL, &f), 0);
    w->rc = sflight_future_get(f, w->deadline, &w->r);
    if (w->rc == -ETIMEDOUT)
        sflight_future_drop(f);
    return NULL;
}

static inline void *wait_by_drain(void *arg)
{
    struct way *w = arg;
    w->rc = sflight_group_drain(w->g, w->deadline);
    memset(&w->r, 0, sizeof w->r);
    return NULL;
}

static void *(*const ways[])(void *) = {
    wait_by_do,          wait_by_do_until, wait_by_do_many, wait_by_get,
    wait_by_get_with_fd, wait_by_start,    wait_by_drain,
};
enum { WAYS = LENGTH(ways), JOINS = WAYS - 1 }; /* who drains does not join */

#endif
