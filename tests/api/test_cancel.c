/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that are cancelled, but not in fn: what is no cancellation point, and
 * what must have happened when one comes.
 */
#include "../lib/event_test.h"

static void *follow_and_test_cancel(void *arg)
{
    struct caller *c = arg;
    caller_main(c);
    pthread_testcancel();
    return NULL;
}

static void waiting_is_no_cancellation_point(void **state)
{
    (void)state;
    const struct timespec in_a_day = deadline_in_ns((int64_t)86400 * 1000000000);
    const struct timespec *deadlines[] = {NULL, &in_a_day};
    for (size_t i = 0; i < LENGTH(deadlines); i++) {
        sflight_options o = default_options();
        o.spin_ns = 0;
        sflight_group *g = group_new(&o);
        struct work w = {.status = 6};
        struct caller leader;
        struct caller follower = {g, "key", must_not_run, NULL, deadlines[i], .rc = NEVER_RETURNED};
        leader_start(&leader, g, "key", work_fn, &w);
        follower.thread = thread_start(follow_and_test_cancel, &follower);
        WAIT_UNTIL(stats_of(g).parked == 1);
        assert_int_equal(pthread_cancel(follower.thread), 0);
        atomic_store(&w.open, true);
        caller_join(&leader);
        assert_ptr_equal(caller_join(&follower), PTHREAD_CANCELED);
        assert_int_equal(follower.rc, 0);
        assert_int_equal(follower.r.status, 6);
        callers_release(&leader, 1);
        callers_release(&follower, 1);
        assert_all_destroyed(&w.tally);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

static void *create_with_a_cancel_pending(void *arg)
{
    sflight_group *g;
    pthread_cancel(pthread_self());
    int rc = sflight_group_create(&g, NULL);
    rc = rc != 0 ? rc : sflight_group_destroy(g);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return rc == 0 ? arg : NULL;
}

static void create_is_no_cancellation_point(void **state)
{
    (void)state;
    int right;
    assert_ptr_equal(thread_join(thread_start(create_with_a_cancel_pending, &right)), &right);
}

static void cancelled_destroy(void *value, size_t size, void *ctx)
{
    (void)value, (void)size;
    atomic_fetch_add((atomic_int *)ctx, 1);
    pthread_testcancel();
}

static int set_cancelled_destroy(sflight_call *call, void *n)
{
    sflight_call_set(call, n, 0, cancelled_destroy, n);
    return 0;
}

struct releaser {
    sflight_group *g;
    atomic_int n_destroyed;
};

static void *release_and_be_cancelled(void *arg)
{
    struct releaser *me = arg;
    sflight_result r;
    sflight_do(me->g, "key", 3, set_cancelled_destroy, &me->n_destroyed, &r);
    pthread_cancel(pthread_self());
    sflight_result_release(&r);
    return NULL;
}

static void a_destroy_that_does_not_return(void **state)
{
    (void)state;
    struct releaser me = {.g = group_new(NULL)};
    assert_ptr_equal(thread_join(thread_start(release_and_be_cancelled, &me)), PTHREAD_CANCELED);
    assert_int_equal(me.n_destroyed, 1);
    assert_int_equal(stats_of(me.g).held, 0);
    group_end(me.g);
}

/* ----------------------------------------------------------- ending a call */

static void *complete_cancelled(void *arg)
{
    pthread_cancel(pthread_self()); /* acts at the next cancellation point */
    sflight_complete(arg, 0);
    pthread_testcancel();
    return NULL;
}

/* Ending a call is no cancellation point, whoever is told. */
static void a_cancelled_thread_tells_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_completion done;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    sflight_future *a = join(g, "key"), *b = join(g, "key"), *c = join(g, "key");
    int fd_a = sflight_future_fd(a);
    assert_int_equal(sflight_future_enqueue(c, q, 1), 0);
    int fd_b = sflight_future_fd(b);
    assert_ptr_equal(thread_join(thread_start(complete_cancelled, call)), PTHREAD_CANCELED);
    assert_true(readable(fd_a));
    assert_true(readable(fd_b));
    consume(a, BY_POLL, 0);
    consume(b, BY_GET, 0);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_result_release(&done.result);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void note_and_test_cancel(void *arg, int rc, sflight_result *r)
{
    note(arg, rc, r);
    pthread_testcancel();
}

static void a_cancelled_thread_runs_all_callbacks(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted = {0};
    sflight_call *call = lead(g, "key");
    for (int i = 0; i < 3; i++)
        assert_int_equal(sflight_future_then(join(g, "key"), note_and_test_cancel, &noted), 0);
    assert_ptr_equal(thread_join(thread_start(complete_cancelled, call)), PTHREAD_CANCELED);
    assert_int_equal(noted.n, 3);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_is_no_cancellation_point),
        cmocka_unit_test(create_is_no_cancellation_point),
        cmocka_unit_test(a_destroy_that_does_not_return),
        cmocka_unit_test(a_cancelled_thread_tells_everybody),
        cmocka_unit_test(a_cancelled_thread_runs_all_callbacks),
    };
    return RUN_TESTS(tests);
}
