/* SPDX-License-Identifier: BSD-2-Clause */
/* fork() in a group with options.runtime: the tasks of the parent do not exist in the child. */
#include "../lib/fork_test.h"
#include "../lib/task_test.h"

/* Futures of tasks that do not exist in the child stay there. */
static void child_has_futures(sflight_group *g, uint64_t n_futures)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    for (int i = 0; i < 100; i++)
        assert_key_usable(g, i % 2 ? "key" : "mine");
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    assert_int_equal(stats_of(g).held, n_futures);
    if (n_futures == 0)
        group_end(g);
}

static void child_has_none(sflight_group *g)
{
    child_has_futures(g, 0);
}

static void a_task_forks_inside_fn(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {0};
        sflight_group *g = takeover ? runtime_takeover_group(&runtime) : runtime_group(&runtime);
        struct work other = {0};
        struct forker forker = {.g = g, .child = child_has_none};
        struct task_caller o[3], follower[2];
        struct runner runner;
        task_caller_start(&o[0], &runtime, g, "other", work_fn, &other);
        WAIT_UNTIL(other.runs == 1);
        task_callers_start(o + 1, 2, &runtime, g, "other", must_not_run, NULL);
        runner_start(&runner, &runtime, lead_and_fork, &forker);
        WAIT_UNTIL(forker.w.runs == 1);
        task_callers_start(follower, 2, &runtime, g, "mine", must_not_run, NULL);
        await_parked(&runtime, 4);
        atomic_store(&forker.w.open, true);
        runner_join(&runner);
        task_callers_join(follower, 2);
        assert_child_succeeds(forker.pid);
        atomic_store(&other.open, true);
        task_callers_join(o, 3);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(follower[i].c.rc, 0);
            assert_int_equal(follower[i].c.r.status, 6);
        }
        task_callers_release(follower, 2);
        task_callers_release(o, 3);
        assert_all_destroyed(&forker.w.tally);
        assert_all_destroyed(&other.tally);
        runtime_group_end(g, &runtime);
    }
}

/* A plain thread forks while tasks wait in every way. */
static void a_thread_forks_beside_tasks(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_takeover_group(&runtime);
    struct work w = {0};
    struct task_caller leader;
    task_caller_start(&leader, &runtime, g, "key", work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    struct way way[WAYS];
    struct runner runner[WAYS];
    for (size_t i = 0; i < WAYS; i++) {
        way[i] = (struct way){.g = g, .rc = NEVER_RETURNED};
        runner_start(&runner[i], &runtime, ways[i], &way[i]);
    }
    await_parked(&runtime, WAYS);
    pid_t pid = fork_child();
    if (pid == 0) {
        unsigned unparks = runtime.n_unparks;
        child_has_futures(g, 3);
        assert_int_equal(runtime.n_unparks, unparks); /* those tasks do not exist */
        _exit(0);
    }
    assert_child_succeeds(pid);
    atomic_store(&w.open, true);
    task_caller_join(&leader);
    for (size_t i = 0; i < WAYS; i++) {
        runner_join(&runner[i]);
        assert_int_equal(way[i].rc, 0);
        sflight_result_release(&way[i].r);
    }
    task_callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    runtime_group_end(g, &runtime);
}

/* The permit is the child's, and tasks of the child can be parked and unparked. */
static void a_permit_goes_along(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    TASK(task, &runtime);
    sflight_call *permit = lead(g, "key");
    struct way way = {.g = g, .rc = NEVER_RETURNED};
    struct runner runner;
    runner_start(&runner, &runtime, wait_by_do, &way);
    await_parked(&runtime, 1);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(runtime.n_unparks, 0);
        sflight_complete(permit, 4);
        assert_int_equal(runtime.n_unparks, 0);
        child_has_none(g);
        _exit(0);
    }
    assert_child_succeeds(pid);
    sflight_complete(permit, 3);
    runner_join(&runner);
    assert_int_equal(way.rc, 0);
    assert_int_equal(way.r.status, 3);
    sflight_result_release(&way.r);
    assert_key_usable(g, "key");
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_forks_inside_fn),
        cmocka_unit_test(a_thread_forks_beside_tasks),
        cmocka_unit_test(a_permit_goes_along),
    };
    return RUN_TESTS(tests);
}
