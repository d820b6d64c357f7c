/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks of a runtime that has them all in one thread, as callers.  A program defines task_id, a
 * pointer, task_start(), task_join() and task_yield(), and TASK_RUNTIME, the hooks; then it
 * includes this, and runs ONE_THREAD_TESTS.
 */
#ifndef ONE_THREAD_TEST_H
#define ONE_THREAD_TEST_H

enum { TASKS = 500 };

static sflight_group *task_group(int on_abandon)
{
    sflight_options o = default_options();
    o.runtime = TASK_RUNTIME;
    o.on_abandon = on_abandon;
    return group_new(&o);
}

#define YIELD_UNTIL(condition)                                                                     \
    do {                                                                                           \
        while (!(condition))                                                                       \
            task_yield();                                                                          \
    } while (0)

static void tasks_start(task_id *tasks, size_t n, void *(*run)(void *), void *arg)
{
    for (size_t i = 0; i < n; i++) {
        tasks[i] = task_start(run, arg);
        assert_non_null(tasks[i]);
    }
}

static void tasks_join(task_id *tasks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(task_join(tasks[i]));
}

struct flight {
    sflight_group *g;
    unsigned n_others; /* that fn waits for */
    unsigned runs, right, failed;
    int expected_rc;
    bool first_dies;
    struct timespec *deadline;
    struct tally tally;
};

static int wait_for_the_others(sflight_call *call, void *arg)
{
    struct flight *f = arg;
    bool first = f->runs++ == 0;
    YIELD_UNTIL(!first || stats_of(f->g).waiting == f->n_others);
    value_set(call, &f->tally, 5);
    if (first && f->first_dies)
        sflight_panic(call, "a task panics");
    return 5;
}

static void *call_once(void *arg)
{
    struct flight *f = arg;
    sflight_result r;
    int rc = sflight_do_until(f->g, "key", 3, wait_for_the_others, f, f->deadline, &r);
    f->right += rc == 0 && number_of(&r) == 5 && r.status == 5;
    f->failed += rc == f->expected_rc;
    sflight_result_release(&r);
    return NULL;
}

static void who_waits_lets_others_run(void **state)
{
    (void)state;
    task_id tasks[TASKS];
    struct flight f = {.g = task_group(0), .n_others = TASKS - 1, .expected_rc = -1};
    tasks_start(tasks, TASKS, call_once, &f);
    tasks_join(tasks, TASKS);
    assert_int_equal(f.right, TASKS);
    assert_int_equal(f.runs, 1);
    assert_all_destroyed(&f.tally);
    group_end(f.g);
}

static void a_panic_reaches_every_task(void **state)
{
    (void)state;
    task_id tasks[TASKS];
    struct flight f = {.g = task_group(SFLIGHT_ABANDON_TAKEOVER),
                       .n_others = TASKS - 1,
                       .expected_rc = -ENOTRECOVERABLE,
                       .first_dies = true};
    tasks_start(tasks, TASKS, call_once, &f);
    tasks_join(tasks, TASKS);
    assert_int_equal(f.failed, TASKS);
    assert_all_destroyed(&f.tally);
    group_end(f.g);
}

static void tasks_leave_at_their_deadlines(void **state)
{
    (void)state;
    task_id tasks[20];
    struct timespec soon = deadline_in_ns(2000000);
    struct flight f = {.g = task_group(0), .expected_rc = -ETIMEDOUT, .deadline = &soon};
    sflight_call *permit;
    sflight_future *future;
    assert_int_equal(sflight_begin(f.g, "key", 3, &permit, &future), 0);
    tasks_start(tasks, LENGTH(tasks), call_once, &f);
    tasks_join(tasks, LENGTH(tasks));
    assert_int_equal(f.failed, LENGTH(tasks));
    sflight_complete(permit, 0);
    group_end(f.g);
}

/* A thread that runs no tasks ends the call. */
struct ender {
    sflight_group *g;
    sflight_call *permit;
    struct tally *tally;
    uint64_t n_waiting;
};

static void *end_from_elsewhere(void *arg)
{
    struct ender *e = arg;
    await_waiting(e->g, e->n_waiting);
    value_set(e->permit, e->tally, 5);
    sflight_complete(e->permit, 5);
    return NULL;
}

static void another_thread_ends_the_call(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        task_id tasks[TASKS];
        struct flight f = {.g = task_group(0), .expected_rc = -1};
        struct ender e = {.g = f.g, .tally = &f.tally, .n_waiting = TASKS};
        sflight_future *future;
        assert_int_equal(sflight_begin(f.g, "key", 3, &e.permit, &future), 0);
        pthread_t thread = thread_start(end_from_elsewhere, &e);
        tasks_start(tasks, TASKS, call_once, &f);
        tasks_join(tasks, TASKS);
        thread_join(thread);
        assert_int_equal(f.right, TASKS);
        assert_int_equal(f.runs, 0);
        assert_all_destroyed(&f.tally);
        group_end(f.g);
    }
}

static void a_started_call_is_led_by_a_task(void **state)
{
    (void)state;
    struct flight f = {.g = task_group(0)};
    sflight_future *future;
    sflight_result r;
    assert_int_equal(sflight_start(f.g, "key", 3, wait_for_the_others, &f, &future), 0);
    assert_int_equal(f.runs, 0); /* nobody else has run yet */
    assert_int_equal(sflight_future_get(future, NULL, &r), 0);
    assert_int_equal(number_of(&r), 5);
    sflight_result_release(&r);
    assert_int_equal(sflight_group_drain(f.g, NULL), 0);
    YIELD_UNTIL(stats_of(f.g).held == 0);
    assert_all_destroyed(&f.tally);
    group_end(f.g);
}

/* Two tasks, each leading what the other asks for. */
struct pair {
    sflight_group *g;
    unsigned leading, told, deadlocks;
};

struct half {
    struct pair *pair;
    const char *own, *other;
};

static int ask_for_the_other(sflight_call *call, void *arg)
{
    struct half *h = arg;
    sflight_result r;
    (void)call;
    h->pair->leading++;
    YIELD_UNTIL(h->pair->leading == 2);
    int rc = do_str(h->pair->g, h->other, must_not_run, NULL, &r);
    h->pair->told += rc == 0;
    h->pair->deadlocks += rc == -EDEADLK;
    sflight_result_release(&r);
    return 0;
}

static void *lead_one(void *arg)
{
    struct half *h = arg;
    sflight_result r;
    assert_int_equal(do_str(h->pair->g, h->own, ask_for_the_other, h, &r), 0);
    sflight_result_release(&r);
    return NULL;
}

static void circles_of_one_thread(void **state)
{
    (void)state;
    struct pair pair = {.g = task_group(0)};
    struct half halves[] = {{&pair, "a", "b"}, {&pair, "b", "a"}};
    task_id tasks[2];
    tasks_start(&tasks[0], 1, lead_one, &halves[0]);
    tasks_start(&tasks[1], 1, lead_one, &halves[1]);
    tasks_join(tasks, 2);
    assert_int_equal(pair.told, 1);
    assert_int_equal(pair.deadlocks, 1);
    group_end(pair.g);
}

#define ONE_THREAD_TESTS                                                                           \
    cmocka_unit_test(who_waits_lets_others_run), cmocka_unit_test(a_panic_reaches_every_task),     \
        cmocka_unit_test(tasks_leave_at_their_deadlines),                                          \
        cmocka_unit_test(another_thread_ends_the_call),                                            \
        cmocka_unit_test(a_started_call_is_led_by_a_task), cmocka_unit_test(circles_of_one_thread)

#endif
