/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The death of a leader in a group with options.runtime: tasks that lead, tasks
 * that follow and take over, beside threads that do.
 */
#include "../lib/counting_alloc.h"
#include "../lib/takeover_test.h"
#include "../lib/task_test.h"

#include <setjmp.h>

static void tasks_learn_of_a_death(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    struct work w = {0};
    struct task_caller leader, c[TASKS];
    task_caller_start(&leader, &runtime, g, "key", exit_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    task_callers_start(c, TASKS, &runtime, g, "key", must_not_run, NULL);
    await_parked(&runtime, TASKS);
    atomic_store(&w.open, true);
    task_caller_join(&leader);
    task_callers_join(c, TASKS);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(c[i].c.rc, -EOWNERDEAD);
        assert_zeroed(&c[i].c.r);
    }
    assert_int_equal(runtime.n_unparks, TASKS);
    assert_all_destroyed(&w.tally);
    runtime_group_end(g, &runtime);
}

static void panics_reach_every_task(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {0};
        sflight_group *g = takeover ? runtime_takeover_group(&runtime) : runtime_group(&runtime);
        struct work w = {0};
        struct task_caller c[1 + TASKS];
        task_caller_start(&c[0], &runtime, g, "key", panic_fn, &w);
        WAIT_UNTIL(w.runs == 1);
        for (int i = 1; i <= TASKS; i++)
            task_caller_start(&c[i], i % 3 ? &runtime : NULL, g, "key", must_not_run, NULL);
        await_waiting(g, TASKS);
        atomic_store(&w.open, true);
        task_callers_join(c, LENGTH(c));
        for (size_t i = 0; i < LENGTH(c); i++) {
            assert_int_equal(c[i].c.rc, -ENOTRECOVERABLE);
            assert_non_null(strstr(c[i].c.r.value, "the leader panics"));
            assert_ptr_equal(c[i].c.r.value, c[0].c.r.value);
        }
        assert_int_equal(stats_of(g).panicked, 1);
        task_callers_release(c, LENGTH(c));
        assert_all_destroyed(&w.tally);
        runtime_group_end(g, &runtime);
    }
}

static void a_spawned_task_may_die(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {.spawning = SPAWN_TASK};
        sflight_group *g = takeover ? runtime_takeover_group(&runtime) : runtime_group(&runtime);
        struct work first = {0}, second = {.open = true, .status = 8};
        struct task_caller c;
        sflight_result r;
        sflight_future *f = start(g, "key", exit_fn, &first);
        task_caller_start(&c, &runtime, g, "key", work_fn, &second);
        await_waiting(g, 1);
        atomic_store(&first.open, true);
        task_caller_join(&c);
        assert_int_equal(sflight_future_get(f, NULL, &r), takeover ? 0 : -EOWNERDEAD);
        assert_int_equal(c.c.rc, takeover ? 0 : -EOWNERDEAD);
        assert_int_equal(second.runs, takeover);
        task_callers_release(&c, 1);
        sflight_result_release(&r);
        await_unused(g);
        assert_all_destroyed(&first.tally);
        assert_all_destroyed(&second.tally);
        runtime_group_end(g, &runtime);
    }
}

/* fn of "outer" asks for "key", whose fn jumps back into the outer fn, on a task's one stack. */
struct jumper {
    sflight_group *g;
    struct work w;
    jmp_buf out;
};

static int jump_out(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    work_fn(call, &j->w);
    longjmp(j->out, 1);
}

static int jump_inside(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    sflight_result r;
    (void)call;
    if (setjmp(j->out) == 0)
        do_str(j->g, "key", jump_out, j, &r);
    return 9;
}

static void a_task_jumps_into_the_enclosing_call(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    struct jumper j = {.g = g};
    struct task_caller outer, follower;
    task_caller_start(&outer, &runtime, g, "outer", jump_inside, &j);
    WAIT_UNTIL(j.w.runs == 1);
    task_caller_start(&follower, &runtime, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&j.w.open, true);
    task_caller_join(&outer);
    task_caller_join(&follower);
    assert_int_equal(outer.c.rc, 0);
    assert_int_equal(outer.c.r.status, 9);
    assert_int_equal(follower.c.rc, -EOWNERDEAD);
    task_callers_release(&outer, 1);
    assert_all_destroyed(&j.w.tally);
    runtime_group_end(g, &runtime);
}

/* --------------------------------------------------------------- takeover */

static void exactly_one_goes_on(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (int led_by = 0; led_by < LEADERS; led_by++) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_group *g = runtime_takeover_group(&runtime);
            struct work first = {0}, second = {.status = 2};
            struct task_caller leader, c[TASKS + 1];
            struct noted noted = {0};
            sflight_call *permit = NULL;
            if (led_by == LED_BY_PERMIT) {
                permit = lead(g, "key");
            } else {
                task_caller_start(&leader, led_by == LED_BY_TASK ? &runtime : NULL, g, "key",
                                  exit_fn, &first);
                WAIT_UNTIL(first.runs == 1);
            }
            /* Futures among them, which cannot take over. */
            task_callers_start(c, TASKS / 2, &runtime, g, "key", work_fn, &second);
            await_waiting(g, TASKS / 2);
            if (early[e] != 1)
                await_parked(&runtime, TASKS / 2);
            assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);
            task_callers_start(c + TASKS / 2, TASKS / 2, &runtime, g, "key", work_fn, &second);
            await_waiting(g, TASKS + 1);
            if (early[e] != 1)
                await_parked(&runtime, TASKS);
            assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);

            if (permit != NULL) {
                value_set(permit, &first.tally, 7); /* is not delivered */
                sflight_abandon(permit);
            } else {
                atomic_store(&first.open, true);
                task_caller_join(&leader);
            }
            WAIT_UNTIL(second.runs == 1);
            await_waiting(g, TASKS + 1);
            assert_int_equal(stats_of(g).in_flight, 1);
            assert_int_equal(noted.n, 0);
            if (early[e] == 0) { /* nobody else was woken */
                assert_int_equal(runtime.n_unparks, 1);
                await_parked(&runtime, TASKS - 1);
            }
            task_caller_start(&c[TASKS], &runtime, g, "key", must_not_run, NULL);
            await_waiting(g, TASKS + 2);
            atomic_store(&second.open, true);
            task_callers_join(c, LENGTH(c));

            int leaders = 0;
            for (size_t i = 0; i < LENGTH(c); i++) {
                assert_int_equal(c[i].c.rc, 0);
                assert_int_equal(c[i].c.r.status, 2);
                assert_ptr_equal(c[i].c.r.value, c[0].c.r.value);
                leaders += c[i].c.r.leader;
            }
            assert_int_equal(leaders, 1);
            assert_int_equal(second.runs, 1);
            assert_int_equal(noted.n, 2);
            assert_int_equal(noted.rc, 0);
            assert_int_equal(stats_of(g).taken_over, 1);
            task_callers_release(c, LENGTH(c));
            assert_all_destroyed(&first.tally);
            assert_all_destroyed(&second.tally);
            runtime_group_end(g, &runtime);
        }
    }
}

static void chains_of_dying_tasks_and_threads(void **state)
{
    (void)state;
    enum { ALL = 2 * TASKS };
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (int survivor = 0; survivor <= ALL; survivor += ALL) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_group *g = runtime_takeover_group(&runtime);
            struct chain chain = {.survivor = survivor};
            struct task_caller c[ALL];
            for (int i = 0; i < ALL; i++)
                task_caller_start(&c[i], i % 2 ? &runtime : NULL, g, "key", chain_fn, &chain);
            await_waiting(g, ALL - 1);
            atomic_store(&chain.open, true);
            task_callers_join(c, ALL);
            int returned = 0;
            for (int i = 0; i < ALL; i++) {
                if (c[i].c.rc == NEVER_RETURNED)
                    continue;
                returned++;
                assert_int_equal(c[i].c.rc, 0);
                assert_int_equal(c[i].c.r.status, ALL);
                sflight_result_release(&c[i].c.r);
            }
            assert_int_equal(returned, survivor != 0);
            assert_int_equal(chain.runs, ALL);
            assert_int_equal(stats_of(g).taken_over, ALL - 1);
            assert_all_destroyed(&chain.tally);
            runtime_group_end(g, &runtime);
        }
    }
}

/*
 * Whoever is to take over does not run until its deadline has passed; if it
 * leaves, another one has to be told.
 */
static void who_leaves_passes_the_nudge_on(void **state)
{
    (void)state;
    for (int late_first = 0; late_first < 2; late_first++) {
        for (int patient_is_thread = 0; patient_is_thread < 2; patient_is_thread++) {
            struct runtime runtime = {.holds = true};
            sflight_group *g = runtime_takeover_group(&runtime);
            struct work first = {0}, second = {.open = true, .status = 2};
            struct task_caller leader, patient, late;
            struct timespec soon = deadline_in_ns(3000000);
            struct runtime *of_patient = patient_is_thread ? NULL : &runtime;
            task_caller_start(&leader, &runtime, g, "key", exit_fn, &first);
            WAIT_UNTIL(first.runs == 1);
            if (!late_first) {
                task_caller_start(&patient, of_patient, g, "key", work_fn, &second);
                WAIT_UNTIL(stats_of(g).joined == 1);
            }
            task_caller_start_until(&late, &runtime, g, "key", work_fn, &second, &soon);
            WAIT_UNTIL(stats_of(g).joined == 1 + !late_first);
            if (late_first)
                task_caller_start(&patient, of_patient, g, "key", work_fn, &second);
            WAIT_UNTIL(stats_of(g).joined == 2);
            atomic_store(&first.open, true);
            task_caller_join(&leader);
            WAIT_UNTIL(has_passed(&soon));
            atomic_store(&runtime.holds, false);
            task_caller_join(&patient);
            task_caller_join(&late);
            assert_int_equal(patient.c.rc, 0);
            assert_int_equal(patient.c.r.status, 2);
            assert_true(late.c.rc == 0 || late.c.rc == -ETIMEDOUT);
            assert_int_equal(second.runs, 1);
            assert_int_equal(stats_of(g).taken_over, 1);
            task_callers_release(&patient, 1);
            task_callers_release(&late, 1);
            assert_all_destroyed(&first.tally);
            assert_all_destroyed(&second.tally);
            runtime_group_end(g, &runtime);
        }
    }
}

static void without_anybody_who_blocks_the_call_ends(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_takeover_group(&runtime);
    sflight_call *permit = lead(g, "key");
    struct way way = {.g = g, .rc = NEVER_RETURNED};
    struct runner runner;
    runner_start(&runner, &runtime, wait_by_get, &way); /* a future cannot run a fn */
    await_parked(&runtime, 1);
    sflight_abandon(permit);
    runner_join(&runner);
    assert_int_equal(way.rc, -EOWNERDEAD);
    assert_int_equal(stats_of(g).taken_over, 0);
    runtime_group_end(g, &runtime);
}

static void *lead_and_die(void *arg)
{
    struct raid *raid = arg;
    sflight_result r;
    assert_int_equal(do_str(raid->g, "key", die_soon, raid, &r), 0);
    sflight_result_release(&r); /* it has followed */
    return NULL;
}

static void deadlines_against_takeover(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        struct runtime runtime = {.early_every = early[e]};
        struct raid raid = {.g = runtime_takeover_group(&runtime)};
        struct runner askers[4];
        for (size_t i = 0; i < LENGTH(askers); i++)
            runner_start(&askers[i], i == 3 ? NULL : &runtime,
                         i == 0 ? ask_patiently : ask_with_deadlines, &raid);
        for (unsigned i = 0; stats_of(raid.g).abandoned < (uint64_t)rounds(500, 200); i++) {
            struct runner leader;
            runner_start(&leader, i % 2 ? &runtime : NULL, lead_and_die, &raid);
            runner_join(&leader);
        }
        atomic_store(&raid.over, true);
        for (size_t i = 0; i < LENGTH(askers); i++)
            runner_join(&askers[i]);
        assert_int_equal(stats_of(raid.g).timed_out, raid.timed_out);
        assert_all_destroyed(&raid.tally);
        runtime_group_end(raid.g, &runtime);
    }
}

/* The death of a leader, its takeover and the end of the call need no memory. */
static void takeover_without_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    struct runtime runtime = {0};
    sflight_options o = runtime_options(&runtime);
    o.allocator = (sflight_allocator){&counting, counting_alloc, counting_free};
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    struct chain chain = {.survivor = TASKS};
    struct task_caller c[TASKS];
    task_callers_start(c, TASKS, &runtime, g, "key", chain_fn, &chain);
    await_parked(&runtime, TASKS - 1);
    counting_fail(&counting, 1, true);
    atomic_store(&chain.open, true);
    task_callers_join(c, TASKS);
    counting_relent(&counting);
    assert_int_equal(chain.runs, TASKS);
    for (int i = 0; i < TASKS; i++)
        if (c[i].c.rc == 0)
            sflight_result_release(&c[i].c.r);
    assert_all_destroyed(&chain.tally);
    runtime_group_end(g, &runtime);
    assert_nothing_allocated(&counting);
}

static int note_orphan(const sflight_info *info, void *orphaned)
{
    assert_int_equal(info->blocking, info->orphaned ? 1 : 0); /* who takes over is none any more */
    assert_int_equal(info->kind, info->orphaned ? SFLIGHT_KIND_PERMIT : SFLIGHT_KIND_LEADER);
    *(int *)orphaned = info->orphaned;
    return 0;
}

static void each_shows_an_orphan(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_takeover_group(&runtime);
    struct work w = {0};
    struct task_caller c;
    int orphaned = -1;
    sflight_call *call = lead(g, "key");
    task_caller_start(&c, &runtime, g, "key", work_fn, &w);
    await_parked(&runtime, 1);
    atomic_store(&runtime.holds, true);
    (void)sflight_abandon(call);
    assert_int_equal(sflight_group_each(g, note_orphan, &orphaned), 0);
    assert_int_equal(orphaned, 1);
    atomic_store(&runtime.holds, false);
    WAIT_UNTIL(w.runs == 1);
    assert_int_equal(sflight_group_each(g, note_orphan, &orphaned), 0);
    assert_int_equal(orphaned, 0);
    atomic_store(&w.open, true);
    task_caller_join(&c);
    assert_int_equal(c.c.rc, 0);
    sflight_result_release(&c.c.r);
    runtime_group_end(g, &runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_learn_of_a_death),
        cmocka_unit_test(panics_reach_every_task),
        cmocka_unit_test(a_spawned_task_may_die),
        cmocka_unit_test(a_task_jumps_into_the_enclosing_call),
        cmocka_unit_test(exactly_one_goes_on),
        cmocka_unit_test(chains_of_dying_tasks_and_threads),
        cmocka_unit_test(who_leaves_passes_the_nudge_on),
        cmocka_unit_test(without_anybody_who_blocks_the_call_ends),
        cmocka_unit_test(deadlines_against_takeover),
        cmocka_unit_test(takeover_without_memory),
        cmocka_unit_test(each_shows_an_orphan),
    };
    return RUN_TESTS(tests);
}
