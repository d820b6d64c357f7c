/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core promises holds in a fleet as well: leaders that are cancelled, followers that take
 * over, circles, tasks of a runtime.
 */
#include "../lib/task_runtime.h"

#include "pair_test.h"

/* A fleet of b leads: the leader of a waits, and so do those who follow it. */
static void b_leads(struct fleet_caller *remote, struct fleet_work *w)
{
    fleet_caller_start(remote, b, "k", fleet_work_fn, w, NULL);
    WAIT_UNTIL(atomic_load(&w->runs) == 1);
}

/* One follower goes on with a claim of its own; the others wait on. */
static void the_leader_leaves_at_its_deadline(void **state)
{
    enum { N = 4 };
    struct fleet_work w = {.size = 8, .status = 1};
    struct fleet_caller remote, leader, followers[N];
    struct timespec soon = deadline_in_ns(50000000);
    (void)state;
    b_leads(&remote, &w);
    fleet_caller_start(&leader, a, "k", fleet_must_not_run, NULL, &soon);
    /* On a busy machine it may have left before they come, or follow one of them. */
    WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1 || has_passed(&soon));
    for (int i = 0; i < N; i++)
        fleet_caller_start(&followers[i], a, "k", fleet_must_not_run, NULL, NULL);
    thread_join(leader.thread);
    assert_int_equal(leader.rc, -ETIMEDOUT);
    assert_true(has_passed(&soon));
    /* The engine thread has seen that it left, so who waits is the next one. */
    assert_int_equal(sflight_fleet_check(a, NULL, NULL, 0), 0);
    WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&remote, &w, 1);
    for (int i = 0; i < N; i++)
        fleet_caller_got(&followers[i], &w, 1);
    assert_true(FLEET_COUNT(a, timed_out) <= 1);
    assert_int_equal(FLEET_COUNT(a, received), 1);
}

/* All leave: nothing of them is left. */
static void everybody_leaves(void **state)
{
    enum { N = 8 };
    struct fleet_work w = {.size = 8, .status = 1};
    struct fleet_caller remote, callers[N];
    struct timespec soon = deadline_in_ns(50000000);
    (void)state;
    b_leads(&remote, &w);
    for (int i = 0; i < N; i++)
        fleet_caller_start(&callers[i], a, "k", fleet_must_not_run, NULL, &soon);
    for (int i = 0; i < N; i++) {
        thread_join(callers[i].thread);
        assert_int_equal(callers[i].rc, -ETIMEDOUT);
        assert_null(callers[i].r.hold);
    }
    WAIT_UNTIL(FLEET_COUNT(a, waiting) == 0);
    WAIT_UNTIL(FLEET_COUNT(a, bytes) == 0);
    sflight_fleet_counters c = fleet_counters(a);
    assert_int_equal(fleet_ended_calls(&c), c.timed_out);
    atomic_store(&w.open, true);
    fleet_caller_got(&remote, &w, 1);
}

static int run_until_cancelled(sflight_call *call, void *arg)
{
    struct fleet_work *w = arg;
    (void)call;
    atomic_fetch_add(&w->runs, 1);
    for (;;)
        cancellation_point();
    return 0;
}

static void a_leader_that_is_cancelled(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_work next = {.size = 8, .open = true, .status = 6};
    struct fleet_caller leader, follower, remote;
    (void)state;
    fleet_caller_start(&leader, a, "k", run_until_cancelled, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    fleet_caller_start(&remote, b, "k", fleet_work_fn, &next, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    fleet_caller_start(&follower, a, "k", fleet_work_fn, &next, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, joined) == 1);
    pthread_cancel(leader.thread);
    assert_ptr_equal(thread_join(leader.thread), PTHREAD_CANCELED);
    /* The follower takes over and claims anew; who of the two leads then is open. */
    fleet_caller_got(&follower, &next, 0);
    fleet_caller_got(&remote, &next, 0);
    assert_int_equal(FLEET_COUNT(a, unshared), 1);
    assert_true(FLEET_COUNT(b, led) + FLEET_COUNT(a, led) >= 2);
}

static void *call_with_a_pending_cancel(void *arg)
{
    sflight_result r;
    pthread_cancel(pthread_self());
    (void)fleet_do(a, "k", run_until_cancelled, arg, &r);
    return NULL;
}

/* Asking the engine is no cancellation point: fn is the first, and nobody else is held up. */
static void a_caller_that_is_to_be_cancelled(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_work next = {.size = 8, .open = true};
    struct fleet_caller other;
    pthread_t thread = thread_start(call_with_a_pending_cancel, &w);
    (void)state;
    assert_ptr_equal(thread_join(thread), PTHREAD_CANCELED);
    assert_int_equal(atomic_load(&w.runs), 1);
    fleet_caller_start(&other, a, "k", fleet_work_fn, &next, NULL);
    fleet_caller_got(&other, &next, 1);
    assert_int_equal(FLEET_COUNT(a, unshared), 1);
}

static sflight_fleet *circle_fleet;

static int ask_own_fleet_key(sflight_call *call, void *arg)
{
    sflight_result r;
    size_t len;
    const void *key = sflight_call_key(call, &len);
    (void)arg;
    assert_int_equal(sflight_fleet_do(circle_fleet, key, len, fleet_must_not_run, NULL, NULL, &r),
                     -EDEADLK);
    return 3;
}

static void the_own_key(void **state)
{
    sflight_result r;
    (void)state;
    circle_fleet = a;
    assert_int_equal(fleet_do(a, "k", ask_own_fleet_key, NULL, &r), 0);
    assert_int_equal(r.status, 3);
    sflight_result_release(&r);
}

static int ask_another_key(sflight_call *call, void *arg)
{
    sflight_result r;
    (void)call;
    assert_int_equal(fleet_do(circle_fleet, "inner", fleet_work_fn, arg, &r), 0);
    assert_true(r.leader);
    sflight_result_release(&r);
    return 4;
}

static void flights_inside_flights(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_result r;
    (void)state;
    circle_fleet = a;
    assert_int_equal(fleet_do(a, "outer", ask_another_key, &w, &r), 0);
    sflight_result_release(&r);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 2);
}

/* ---------------------------------------------------------------- tasks */

struct task_call {
    struct runtime *runtime;
    struct fleet_caller call;
};

static void *task_main(void *arg)
{
    struct task_call *t = arg;
    TASK(task, t->runtime);
    fleet_caller_main(&t->call);
    return NULL;
}

static void task_start(struct task_call *t, struct runtime *runtime, sflight_fleet *f,
                       sflight_fn *fn, void *arg)
{
    t->runtime = runtime;
    t->call = (struct fleet_caller){f, "k", fn, arg, NULL, .rc = INT_MIN};
    t->call.thread = thread_start(task_main, t);
}

/* A task that waits for the engine, or for another process, parks. */
static void tasks_park(void **state)
{
    enum { N = 4 };
    struct runtime runtime = {0};
    sflight_options group = runtime_options(&runtime);
    sflight_fleet_options o;
    struct fleet_work w = {.size = 8, .status = 2};
    struct fleet_caller remote;
    struct task_call tasks[N];
    (void)state;
    fleet_options(&o, &server, "tasks");
    o.group = &group;
    sflight_fleet *f = fleet_create(&o);
    o.group = NULL;
    o.address = server.tcp_address;
    sflight_fleet *other = fleet_create(&o);
    fleet_caller_start(&remote, other, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    for (int i = 0; i < N; i++)
        task_start(&tasks[i], &runtime, f, fleet_must_not_run, NULL);
    WAIT_UNTIL(FLEET_COUNT(f, waiting) == 1 && FLEET_COUNT(f, joined) == N - 1);
    await_parked(&runtime, N);
    atomic_store(&w.open, true);
    fleet_caller_got(&remote, &w, 1);
    for (int i = 0; i < N; i++)
        fleet_caller_got(&tasks[i].call, &w, 1);
    for (int i = 0; i < rounds(50, 20); i++) {
        struct fleet_work own = {.open = true, .size = 8};
        for (int k = 0; k < N; k++)
            task_start(&tasks[k], &runtime, f, fleet_work_fn, &own);
        for (int k = 0; k < N; k++)
            fleet_caller_got(&tasks[k].call, &own, 0);
    }
    assert_int_equal(runtime.n_tasks, 0);
    fleet_free(f);
    fleet_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_leader_leaves_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(everybody_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(a_leader_that_is_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(a_caller_that_is_to_be_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(the_own_key, setup, teardown),
        cmocka_unit_test_setup_teardown(flights_inside_flights, setup, teardown),
        cmocka_unit_test(tasks_park),
    };
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
