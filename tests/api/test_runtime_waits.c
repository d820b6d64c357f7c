/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.runtime: callers that are tasks park by its hooks, whatever they wait
 * for and however it ends, beside callers that are threads.
 */
#include "../lib/counting_alloc.h"
#include "../lib/task_test.h"

/* ---------------------------------------------------------------- options */

static void hooks_come_together(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    const sflight_runtime all = task_hooks(&runtime);
    for (unsigned given = 0; given < 16; given++) {
        sflight_options o = default_options();
        sflight_group *g = (sflight_group *)(uintptr_t)-1;
        o.runtime.ctx = &runtime;
        if (given & 1)
            o.runtime.self = all.self;
        if (given & 2)
            o.runtime.park = all.park;
        if (given & 4)
            o.runtime.unpark = all.unpark;
        if (given & 8)
            o.runtime.spawn = all.spawn;
        int rc = sflight_group_create(&g, &o);
        if ((given & 7) == 0 || (given & 7) == 7) {
            assert_int_equal(rc, 0);
            assert_key_usable(g, "key");
            group_end(g);
        } else {
            assert_int_equal(rc, -EINVAL);
            assert_null(g);
        }
    }
}

static void the_options_are_copied(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_options o = runtime_options(&runtime);
    sflight_group *g = group_new(&o);
    memset(&o, 0xA5, sizeof o);
    struct work w = {0};
    struct task_caller c[2];
    task_caller_start(&c[0], &runtime, g, "key", work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    task_caller_start(&c[1], &runtime, g, "key", must_not_run, NULL);
    await_parked(&runtime, 1);
    atomic_store(&w.open, true);
    task_callers_join(c, 2);
    task_callers_release(c, 2);
    runtime_group_end(g, &runtime);
}

static void who_meets_nobody_parks_nowhere(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    TASK(task, &runtime);
    for (int i = 0; i < 100; i++)
        assert_key_usable(g, i % 2 ? "key" : "other");
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    assert_int_equal(runtime.n_parks, 0);
    assert_int_equal(runtime.n_unparks, 0);
    assert_int_equal(stats_of(g).parked, 0);
    group_end(g);
}

/* A task of one runtime is a thread for a group of another. */
static void a_task_is_one_of_its_own_runtime(void **state)
{
    (void)state;
    struct runtime mine = {0}, other = {0};
    sflight_group *g = runtime_group(&other);
    struct work w = {0};
    struct task_caller c[2];
    task_caller_start(&c[0], &mine, g, "key", work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    task_caller_start(&c[1], &mine, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    assert_int_equal(mine.n_parks + other.n_parks, 0);
    atomic_store(&w.open, true);
    task_callers_join(c, 2);
    task_callers_release(c, 2);
    assert_int_equal(mine.n_unparks + other.n_unparks, 0);
    runtime_group_end(g, &other);
    runtime_end(&mine);
}

/* Two runtimes that have the same pointer for a fiber of theirs, as a stack's may be. */
static char the_place;

static void *self_at_the_place(void *ctx)
{
    return task_self(ctx) != NULL ? &the_place : NULL;
}

static void fibers_at_one_place_are_two(void **state)
{
    (void)state;
    struct runtime runtimes[2] = {0};
    struct work w[2] = {0};
    sflight_group *g[2];
    struct task_caller c[2];
    for (int i = 0; i < 2; i++) {
        sflight_options o = runtime_options(&runtimes[i]);
        o.runtime.self = self_at_the_place;
        g[i] = group_new(&o);
        task_caller_start(&c[i], &runtimes[i], g[i], "key", work_fn, &w[i]);
        WAIT_UNTIL(w[i].runs == 1);
    }
    for (int i = 0; i < 2; i++) { /* the end of one's call is not that of the other's */
        assert_int_equal(stats_of(g[i]).in_flight, 1);
        atomic_store(&w[i].open, true);
        task_callers_join(&c[i], 1);
        assert_int_equal(c[i].c.rc, 0);
        assert_int_equal(stats_of(g[i]).abandoned, 0);
        task_callers_release(&c[i], 1);
        runtime_group_end(g[i], &runtimes[i]);
    }
}

/* -------------------------------------------------------------- followers */

static void each_is_unparked_once(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (size_t s = 0; s < LENGTH(spins); s++) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_options o = runtime_options(&runtime);
            o.spin_ns = spins[s];
            sflight_group *g = group_new(&o);
            struct work w = {.status = 3};
            struct task_caller c[1 + TASKS];
            task_caller_start(&c[0], &runtime, g, "key", work_fn, &w);
            WAIT_UNTIL(w.runs == 1);
            task_callers_start(c + 1, TASKS, &runtime, g, "key", must_not_run, NULL);
            await_waiting(g, TASKS);
            if (early[e] != 1)
                await_parked(&runtime, TASKS);
            else
                WAIT_UNTIL(stats_of(g).parked == TASKS && runtime.n_parks > 10 * TASKS);
            assert_int_equal(runtime.n_unparks, 0);
            atomic_store(&w.open, true);
            task_callers_join(c, LENGTH(c));
            for (size_t i = 0; i < LENGTH(c); i++) {
                assert_int_equal(c[i].c.rc, 0);
                assert_int_equal(c[i].c.r.status, 3);
                assert_int_equal(c[i].c.r.followers, TASKS);
                assert_ptr_equal(c[i].c.r.value, c[0].c.r.value);
                assert_true(c[i].runner.n_unparks <= (i != 0));
            }
            if (early[e] != 1)
                assert_int_equal(runtime.n_unparks, TASKS);
            assert_int_equal(w.runs, 1);
            assert_int_equal(stats_of(g).parked, TASKS);
            assert_int_equal(w.tally.destroyed, 0);
            task_callers_release(c, LENGTH(c));
            assert_int_equal(w.tally.destroyed, 1);
            runtime_group_end(g, &runtime);
        }
    }
}

/* The call ends while its followers are on their way into park. */
static void an_unpark_may_come_first(void **state)
{
    (void)state;
    struct runtime runtime = {.gated = true};
    sflight_group *g = runtime_group(&runtime);
    sflight_call *permit = lead(g, "key");
    struct task_caller c[TASKS];
    task_callers_start(c, TASKS, &runtime, g, "key", must_not_run, NULL);
    WAIT_UNTIL(runtime.n_parks == TASKS);
    sflight_complete(permit, 3);
    assert_int_equal(runtime.n_unparks, TASKS);
    assert_int_equal(stats_of(g).waiting, TASKS);
    atomic_store(&runtime.gated, false);
    task_callers_join(c, TASKS);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(c[i].c.rc, 0);
        assert_int_equal(c[i].c.r.status, 3);
    }
    task_callers_release(c, TASKS);
    runtime_group_end(g, &runtime);
}

/* The same where chance decides who is first, and with a task that leads. */
static void parks_against_completion(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    for (int i = 0; i < rounds(5000, 1000); i++) {
        struct work w = {0};
        struct task_caller c[2];
        task_caller_start(&c[0], &runtime, g, "key", work_fn, &w);
        WAIT_UNTIL(w.runs == 1);
        task_caller_start(&c[1], &runtime, g, "key", must_not_run, NULL);
        await_waiting(g, 1);
        atomic_store(&w.open, true);
        task_callers_join(c, 2);
        assert_int_equal(c[1].c.rc, 0);
        task_callers_release(c, 2);
        assert_all_destroyed(&w.tally);
    }
    assert_true(runtime.n_unparks <= stats_of(g).parked);
    runtime_group_end(g, &runtime);
}

static void tasks_and_threads_wait_in_every_way(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (int led_by = 0; led_by < LEADERS; led_by++) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_group *g = runtime_group(&runtime);
            struct work w = {.status = 5};
            struct task_caller leader;
            sflight_call *permit = NULL;
            if (led_by == LED_BY_PERMIT) {
                permit = lead(g, "key");
            } else {
                task_caller_start(&leader, led_by == LED_BY_TASK ? &runtime : NULL, g, "key",
                                  work_fn, &w);
                WAIT_UNTIL(w.runs == 1);
            }
            struct timespec later = deadline_in_an_hour();
            struct way way[2 * WAYS];
            struct runner runner[2 * WAYS];
            for (size_t i = 0; i < LENGTH(way); i++) {
                way[i] = (struct way){.g = g, .deadline = &later, .rc = NEVER_RETURNED};
                runner_start(&runner[i], i < WAYS ? &runtime : NULL, ways[i % WAYS], &way[i]);
            }
            await_waiting(g, 2 * JOINS);
            if (early[e] != 1)
                await_parked(&runtime, WAYS);
            if (permit != NULL) {
                value_set(permit, &w.tally, 1);
                sflight_complete(permit, 5);
            } else {
                atomic_store(&w.open, true);
                task_caller_join(&leader);
                task_callers_release(&leader, 1);
            }
            for (size_t i = 0; i < LENGTH(way); i++) {
                runner_join(&runner[i]);
                assert_int_equal(way[i].rc, 0);
                if (ways[i % WAYS] != wait_by_drain) {
                    assert_int_equal(way[i].r.status, 5);
                    assert_int_equal(number_of(&way[i].r), 1);
                    sflight_result_release(&way[i].r);
                }
                /* A drainer is also told of other calls' ends. */
                assert_true(i == WAYS - 1 || runner[i].n_unparks <= (i < WAYS));
            }
            assert_all_destroyed(&w.tally);
            runtime_group_end(g, &runtime);
        }
    }
}

/* -------------------------------------------------------------- deadlines */

static void who_leaves_is_not_unparked(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        struct runtime runtime = {.early_every = early[e]};
        sflight_group *g = runtime_group(&runtime);
        sflight_call *permit = lead(g, "key");
        struct timespec deadlines[] = {in_the_past, deadline_in_ns(5000000)};
        for (size_t d = 0; d < LENGTH(deadlines); d++) {
            unsigned parks = runtime.n_parks;
            for (size_t i = 0; i < WAYS; i++) {
                struct way way = {.g = g, .deadline = &deadlines[d], .rc = NEVER_RETURNED};
                struct runner runner;
                if (ways[i] == wait_by_do)
                    continue;
                runner_start(&runner, &runtime, ways[i], &way);
                runner_join(&runner);
                assert_int_equal(way.rc, -ETIMEDOUT);
                assert_true(has_passed(&deadlines[d]));
            }
            if (d == 0) /* never waits */
                assert_int_equal(runtime.n_parks, parks);
        }
        assert_int_equal(stats_of(g).waiting, 0);
        sflight_complete(permit, 0);
        assert_int_equal(runtime.n_unparks, 0);
        runtime_group_end(g, &runtime);
    }
}

static void park_gets_the_deadline(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    sflight_call *permit = lead(g, "key");
    TASK(task, &runtime);
    sflight_result r;
    struct timespec soon = deadline_in_ns(2000000);
    assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    assert_zeroed(&r);
    if (runtime.n_parks > 0) { /* unless it had passed before */
        assert_int_equal(task.deadline.tv_sec, soon.tv_sec);
        assert_int_equal(task.deadline.tv_nsec, soon.tv_nsec);
    }
    sflight_complete(permit, 0);
    assert_key_usable(g, "key");
    group_end(g);
}

/* One who left is gone; the others are still found. */
static void some_leave_and_the_rest_is_told(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        struct runtime runtime = {.early_every = early[e]};
        sflight_group *g = runtime_group(&runtime);
        struct work w = {.status = 6};
        struct task_caller leader, c[TASKS];
        task_caller_start(&leader, &runtime, g, "key", work_fn, &w);
        WAIT_UNTIL(w.runs == 1);
        struct timespec soon = deadline_in_ns(3000000);
        for (int i = 0; i < TASKS; i++)
            task_caller_start_until(&c[i], &runtime, g, "key", must_not_run, NULL,
                                    i % 2 ? &soon : NULL);
        for (int i = 1; i < TASKS; i += 2) {
            task_caller_join(&c[i]);
            assert_int_equal(c[i].c.rc, -ETIMEDOUT);
            assert_zeroed(&c[i].c.r);
            assert_int_equal(c[i].runner.n_unparks, 0);
        }
        await_waiting(g, TASKS / 2);
        atomic_store(&w.open, true);
        task_caller_join(&leader);
        for (int i = 0; i < TASKS; i += 2) {
            task_caller_join(&c[i]);
            assert_int_equal(c[i].c.rc, 0);
            assert_int_equal(c[i].c.r.followers, TASKS / 2);
        }
        assert_int_equal(stats_of(g).timed_out, TASKS / 2);
        task_callers_release(c, TASKS);
        task_callers_release(&leader, 1);
        assert_all_destroyed(&w.tally);
        runtime_group_end(g, &runtime);
    }
}

/*
 * The deadline has passed, but the task is not run before the call has ended:
 * it gets the one or the other.
 */
static void deadlines_against_completion(void **state)
{
    (void)state;
    for (int get = 0; get < 2; get++) {
        struct runtime runtime = {.early_every = get ? 2 : 0};
        sflight_group *g = runtime_group(&runtime);
        struct tally tally = {0};
        unsigned told = 0, late = 0;
        const unsigned each = EMULATED ? 10 : (unsigned)rounds(200, 50); /* qemu leaks threads */
        int64_t most_ns = 200000; /* more where nobody is in time */
        for (int64_t ns = 0; told < each || late < each; ns += most_ns / 400) {
            if (ns >= most_ns) {
                most_ns *= told < late ? 2 : 1;
                ns = 0;
            }
            struct timespec soon = deadline_in_ns(ns);
            sflight_call *permit = lead(g, "key");
            struct way way = {.g = g, .deadline = &soon, .rc = NEVER_RETURNED};
            struct runner runner;
            runner_start(&runner, &runtime, get ? wait_by_get : wait_by_do_until, &way);
            WAIT_UNTIL(stats_of(g).joined > told + late);
            WAIT_UNTIL(has_passed(&soon) || told < late);
            value_set(permit, &tally, 1);
            sflight_complete(permit, 0);
            runner_join(&runner);
            if (way.rc == 0) {
                assert_int_equal(number_of(&way.r), 1);
                sflight_result_release(&way.r);
                told++;
            } else {
                assert_int_equal(way.rc, -ETIMEDOUT);
                late++;
            }
            assert_true(runner.n_unparks <= 1);
        }
        assert_all_destroyed(&tally);
        assert_int_equal(stats_of(g).waiting, 0);
        runtime_group_end(g, &runtime);
    }
}

/* A wait that ends at its deadline, but has parked before. */
static void time_out_in_park(sflight_group *g, struct runtime *runtime, const char *key)
{
    unsigned parks = runtime->n_parks;
    for (int64_t ns = 2000; runtime->n_parks == parks; ns *= 2) {
        struct timespec soon = deadline_in_ns(ns);
        sflight_result r;
        int rc = key == NULL ? sflight_group_drain(g, &soon)
                             : sflight_do_until(g, key, strlen(key), must_not_run, NULL, &soon, &r);
        assert_int_equal(rc, -ETIMEDOUT);
    }
}

/* Who has given up waiting leaves something in the call's list: never much, of each of two. */
static void waits_that_timed_out_are_swept(void **state)
{
    (void)state;
    enum { TIMES = 4000, BYTES_EACH = 40 };
    struct runtime runtime = {.early_every = 1}; /* nobody sleeps past a deadline */
    sflight_group *g = runtime_group(&runtime);
    struct work w = {0};
    struct caller leader, patient;
    leader_start(&leader, g, "key", work_fn, &w);
    caller_start(&patient, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    sflight_call *other = lead(g, "other");
    uint64_t before = stats_of(g).bytes;
    {
        TASK(task, &runtime);
        for (int i = 0; i < TIMES; i++) {
            time_out_in_park(g, &runtime, "key");
            time_out_in_park(g, &runtime, "other");
            time_out_in_park(g, &runtime, NULL);
        }
    }
    assert_true(stats_of(g).bytes - before < TIMES * BYTES_EACH / 4);
    assert_int_equal(sflight_complete(other, 0), 0);
    atomic_store(&w.open, true);
    caller_join(&leader);
    caller_join(&patient);
    callers_release(&leader, 1);
    callers_release(&patient, 1);
    assert_all_destroyed(&w.tally);
    runtime_group_end(g, &runtime);
}

/* -------------------------------------------------------------- no memory */

/* In a task, with the call led by a permit: how it ended, or -ENOMEM. */
struct starving {
    struct way way;
    struct counting *counting;
    long fail_at;
    bool go_on;
    void *(*run)(void *);
    atomic_bool returned;
};

static void *wait_starving(void *arg)
{
    struct starving *s = arg;
    counting_fail(s->counting, s->fail_at, s->go_on);
    s->run(&s->way);
    atomic_store(&s->returned, true);
    return NULL;
}

static void *many_or_nothing(void *arg)
{
    struct way *w = arg;
    sflight_key keys[] = {KEY("key"), KEY("mine"), KEY("key")};
    sflight_result r[3];
    int rc[3];
    w->rc = sflight_do_many(w->g, keys, 3, nothing_for_all, NULL, NULL, r, rc);
    if (w->rc != 0) {
        assert_int_equal(w->rc, -ENOMEM);
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        assert_true(rc[i] == 0 || rc[i] == -ENOMEM);
        if (rc[i] == -ENOMEM) {
            assert_zeroed(&r[i]);
            w->rc = -ENOMEM;
        }
        sflight_result_release(&r[i]);
    }
    return NULL;
}

static void *begin_and_get(void *arg)
{
    struct way *w = arg;
    sflight_call *call;
    sflight_future *f;
    w->rc = sflight_begin(w->g, "key", 3, &call, &f);
    if (w->rc != 0)
        return NULL;
    assert_null(call);
    w->rc = sflight_future_get(f, NULL, &w->r);
    if (w->rc != 0)
        sflight_future_drop(f);
    return NULL;
}

static void every_wait_without_memory(void **state)
{
    (void)state;
    void *(*const runs[])(void *) = {wait_by_do, many_or_nothing, begin_and_get, wait_by_drain};
    unsigned failures = 0;
    for (size_t i = 0; i < LENGTH(runs); i++) {
        for (int how = 0; how < 4; how++) {
            bool met = true;
            for (long k = 1; met; k++) {
                struct counting counting = {0};
                struct runtime runtime = {.early_every = how & 1 ? 2 : 0};
                sflight_options o = runtime_options(&runtime);
                o.allocator = (sflight_allocator){&counting, counting_alloc, counting_free};
                o.expected_inflight = 1;
                o.shards = 1;
                o.on_abandon = (int)(k % 2);
                sflight_group *g = group_new(&o);
                sflight_call *permit = lead(g, "key");
                struct starving s = {.way = {.g = g, .rc = NEVER_RETURNED},
                                     .counting = &counting,
                                     .fail_at = k,
                                     .go_on = how & 2,
                                     .run = runs[i]};
                struct runner runner;
                runner_start(&runner, &runtime, wait_starving, &s);
                /* It is parked, or has given up. */
                WAIT_UNTIL(s.returned || runtime.n_parked == 1);
                met = counting_relent(&counting);
                sflight_complete(permit, 9);
                runner_join(&runner);
                assert_true(s.way.rc == 0 || s.way.rc == -ENOMEM);
                assert_false(s.way.rc != 0 && !met);
                failures += s.way.rc != 0;
                if (s.way.rc == 0 && (runs[i] == wait_by_do || runs[i] == begin_and_get)) {
                    assert_int_equal(s.way.r.status, 9);
                    sflight_result_release(&s.way.r);
                }
                assert_int_equal(stats_of(g).waiting, 0);
                assert_int_equal(stats_of(g).held, 0);
                assert_true(k < 1000);
                runtime_group_end(g, &runtime);
                assert_nothing_allocated(&counting);
            }
        }
    }
    assert_true(failures > LENGTH(runs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_come_together),
        cmocka_unit_test(the_options_are_copied),
        cmocka_unit_test(who_meets_nobody_parks_nowhere),
        cmocka_unit_test(a_task_is_one_of_its_own_runtime),
        cmocka_unit_test(fibers_at_one_place_are_two),
        cmocka_unit_test(each_is_unparked_once),
        cmocka_unit_test(an_unpark_may_come_first),
        cmocka_unit_test(parks_against_completion),
        cmocka_unit_test(tasks_and_threads_wait_in_every_way),
        cmocka_unit_test(who_leaves_is_not_unparked),
        cmocka_unit_test(park_gets_the_deadline),
        cmocka_unit_test(some_leave_and_the_rest_is_told),
        cmocka_unit_test(deadlines_against_completion),
        cmocka_unit_test(waits_that_timed_out_are_swept),
        cmocka_unit_test(every_wait_without_memory),
    };
    return RUN_TESTS(tests);
}
