/* SPDX-License-Identifier: BSD-2-Clause */
/* options.runtime.spawn: where and when started calls run, and that it may fail. */
#include "../lib/counting_alloc.h"
#include "../lib/task_test.h"

static void spawn_runs_it_anywhere(void **state)
{
    (void)state;
    const enum spawning hows[] = {SPAWN_THREAD, SPAWN_TASK, SPAWN_INLINE};
    for (int alone = 0; alone < 2; alone++) { /* without the other hooks */
        for (size_t i = 0; i < LENGTH(hows); i++) {
            struct runtime runtime = {.spawning = hows[i]};
            sflight_options o = runtime_options(&runtime);
            if (alone) {
                o.runtime.self = NULL;
                o.runtime.park = NULL;
                o.runtime.unpark = NULL;
            }
            sflight_group *g = group_new(&o);
            struct work w = {.open = hows[i] == SPAWN_INLINE, .status = 4};
            sflight_result r;
            sflight_future *f = start(g, "key", work_fn, &w);
            assert_int_equal(runtime.n_spawns, 1);
            if (hows[i] != SPAWN_INLINE) {
                sflight_future *other = start(g, "key", must_not_run, NULL);
                assert_int_equal(sflight_future_poll(other, &r), -EAGAIN);
                assert_int_equal(runtime.n_spawns, 1);
                atomic_store(&w.open, true);
                assert_int_equal(sflight_future_get(other, NULL, &r), 0);
                assert_false(r.leader);
                sflight_result_release(&r);
            }
            assert_int_equal(sflight_future_get(f, NULL, &r), 0);
            assert_true(r.leader);
            assert_int_equal(r.status, 4);
            assert_int_equal(number_of(&r), 1);
            sflight_result_release(&r);
            WAIT_UNTIL(w.tally.destroyed == 1);
            await_unused(g);
            runtime_group_end(g, &runtime);
        }
    }
}

static void spawn_may_run_it_later(void **state)
{
    (void)state;
    struct runtime runtime = {.spawning = SPAWN_LATER};
    sflight_group *g = runtime_group(&runtime);
    struct work w = {.open = true, .status = 4};
    struct timespec soon = deadline_in_ns(1000000);
    struct task_caller c[2];
    sflight_result r;
    sflight_future *f = start(g, "key", work_fn, &w);
    task_caller_start(&c[0], &runtime, g, "key", must_not_run, NULL);
    task_caller_start(&c[1], NULL, g, "key", must_not_run, NULL);
    await_waiting(g, 2);
    assert_int_equal(w.runs, 0);
    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
    assert_int_equal(sflight_future_get(f, &soon, &r), -ETIMEDOUT);
    assert_int_equal(sflight_group_drain(g, &soon), -ETIMEDOUT);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    runtime.later(runtime.later_arg);
    assert_int_equal(w.runs, 1);
    assert_int_equal(sflight_future_poll(f, &r), 0);
    assert_int_equal(r.status, 4);
    sflight_result_release(&r);
    task_callers_join(c, 2);
    task_callers_release(c, 2);
    assert_all_destroyed(&w.tally);
    await_unused(g);
    runtime_group_end(g, &runtime);
}

/* The call is over, and its thread is in a callback: tasks that drain are parked until it is done.
 */
struct behind {
    sflight_group *g;
    atomic_bool open, inside, goes_on, drained;
};

static int open_slowly(sflight_call *call, void *arg)
{
    struct behind *b = arg;
    (void)call;
    WAIT_UNTIL(b->open);
    return 0;
}

static void linger(void *arg, int rc, sflight_result *r)
{
    struct behind *b = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    b->inside = true;
    WAIT_UNTIL(b->goes_on);
}

static void *drain_behind(void *arg)
{
    struct behind *b = arg;
    assert_int_equal(sflight_group_drain(b->g, &in_the_past), -ETIMEDOUT);
    assert_int_equal(sflight_group_drain(b->g, NULL), 0);
    assert_true(b->goes_on);
    b->drained = true;
    return NULL;
}

static void tasks_drain_behind_a_callback(void **state)
{
    (void)state;
    for (int in_task = 0; in_task < 2; in_task++) {
        struct runtime runtime = {.spawning = in_task ? SPAWN_TASK : SPAWN_THREAD};
        struct behind b = {.g = runtime_group(&runtime)};
        struct runner drainer;
        sflight_future *f = start(b.g, "key", open_slowly, &b);
        assert_int_equal(sflight_future_then(f, linger, &b), 0);
        b.open = true;
        WAIT_UNTIL(b.inside);
        unsigned n_parks = runtime.n_parks;
        runner_start(&drainer, &runtime, drain_behind, &b);
        WAIT_UNTIL(runtime.n_parks > n_parks + 2); /* by now for as long as it takes */
        assert_false(b.drained);
        b.goes_on = true;
        runner_join(&drainer);
        assert_true(b.drained);
        await_unused(b.g);
        runtime_group_end(b.g, &runtime);
    }
}

static void spawn_may_fail(void **state)
{
    (void)state;
    const int said[] = {-EAGAIN, -ENOMEM, -EIO, -EPERM, -ENOSYS};
    const int expected[] = {-EAGAIN, -ENOMEM, -EAGAIN, -EPERM, -ENOSYS};
    for (size_t i = 0; i < LENGTH(said); i++) {
        struct counting counting = {0};
        struct runtime runtime = {.spawn_rc = said[i]};
        sflight_options o = runtime_options(&runtime);
        o.allocator = (sflight_allocator){&counting, counting_alloc, counting_free};
        struct joiner j = {.g = group_new(&o)};
        sflight_future *f = (void *)1;
        assert_int_equal(sflight_start(j.g, "key", 3, must_not_run, NULL, &f), expected[i]);
        assert_null(f);
        assert_key_usable(j.g, "key");
        struct runner runner[2];
        runner_start(&runner[0], &runtime, keep_joining, &j);
        runner_start(&runner[1], NULL, keep_joining, &j);
        unsigned failed = 0;
        for (int round = 0; round < 5000 || failed == 0; round++) {
            sflight_result r;
            int rc = sflight_start(j.g, "key", 3, must_not_run, NULL, &f);
            if (rc == 0) { /* has joined */
                rc = sflight_future_get(f, NULL, &r);
                assert_int_equal(rc, 0);
                sflight_result_release(&r);
            } else {
                assert_int_equal(rc, expected[i]);
                assert_null(f);
                failed++;
            }
        }
        atomic_store(&j.stop, true);
        runner_join(&runner[0]);
        runner_join(&runner[1]);
        assert_int_equal(runtime.n_spawns, 0);
        runtime_group_end(j.g, &runtime);
        assert_nothing_allocated(&counting);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spawn_runs_it_anywhere),
        cmocka_unit_test(spawn_may_run_it_later),
        cmocka_unit_test(tasks_drain_behind_a_callback),
        cmocka_unit_test(spawn_may_fail),
    };
    return RUN_TESTS(tests);
}
