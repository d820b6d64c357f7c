/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.runtime: callers that are tasks park by its hooks, whatever they wait
 * for and however it ends, beside callers that are threads.
 */
#include "../lib/batch_test.h"
#include "../lib/counting_alloc.h"
#include "../lib/task_runtime.h"

#include <sys/wait.h>

enum { TASKS = 6 };

static sflight_group *takeover_group(struct runtime *runtime)
{
    sflight_options o = runtime_options(runtime);
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    return group_new(&o);
}

static void end(sflight_group *g, struct runtime *runtime)
{
    assert_key_usable(g, "key");
    group_end(g);
    runtime_end(runtime);
}

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
    end(g, &runtime);
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

/* -------------------------------------------------------------- followers */

/* The parks that return early are chosen by this. */
static const unsigned early[] = {0, 3, 2, 1};

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
                WAIT_UNTIL(atomic_load(&runtime.n_parks) > 10 * TASKS);
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
            end(g, &runtime);
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
    end(g, &runtime);
}

/* The same where chance decides who is first, and with a task that leads. */
static void parks_against_completion(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    for (int i = 0; i < (SLOW ? 1000 : 5000); i++) {
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
    end(g, &runtime);
}

/* Waits in all ways at once, in tasks and in threads. */
struct way {
    sflight_group *g;
    const struct timespec *deadline;
    int rc;
    sflight_result r;
};

static void *wait_by_do(void *arg)
{
    struct way *w = arg;
    w->rc = do_str(w->g, "key", must_not_run, NULL, &w->r);
    return NULL;
}

static void *wait_by_do_until(void *arg)
{
    struct way *w = arg;
    w->rc = sflight_do_until(w->g, "key", 3, must_not_run, NULL, w->deadline, &w->r);
    return NULL;
}

static int no_batch(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls;
    (void)n;
    (void)arg;
    fail_msg("this batch leads nothing");
    return 0;
}

static void *wait_by_do_many(void *arg)
{
    struct way *w = arg;
    sflight_key keys[] = {KEY("key"), KEY("key")};
    sflight_result r[2];
    int rc[2];
    assert_int_equal(sflight_do_many(w->g, keys, 2, no_batch, NULL, w->deadline, r, rc), 0);
    assert_int_equal(rc[0], rc[1]);
    assert_ptr_equal(r[0].value, r[1].value);
    w->rc = rc[0];
    w->r = r[0];
    sflight_result_release(&r[1]);
    return NULL;
}

static void *wait_by_get(void *arg)
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
static void *wait_by_get_with_fd(void *arg)
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

static void *wait_by_start(void *arg)
{
    struct way *w = arg;
    sflight_future *f;
    assert_int_equal(sflight_start(w->g, "key", 3, must_not_run, NULL, &f), 0);
    w->rc = sflight_future_get(f, w->deadline, &w->r);
    if (w->rc == -ETIMEDOUT)
        sflight_future_drop(f);
    return NULL;
}

static void *wait_by_drain(void *arg)
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

/* Who leads: a permit, a thread, a task. */
enum { LED_BY_PERMIT, LED_BY_THREAD, LED_BY_TASK, LEADERS };

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
            struct timespec later = deadline_in_ns((int64_t)3600 * 1000000000);
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
            end(g, &runtime);
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
        end(g, &runtime);
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
        end(g, &runtime);
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
        const unsigned each = EMULATED ? 10 : SLOW ? 50 : 200; /* qemu leaks threads */
        for (int64_t ns = 0; told < each || late < each; ns = (ns + 500) % 200000) {
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
        end(g, &runtime);
    }
}

/* --------------------------------------------------------------- takeover */

static int die(sflight_call *call, void *arg)
{
    work_fn(call, arg);
    pthread_exit(NULL);
}

static void exactly_one_goes_on(void **state)
{
    (void)state;
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (int led_by = 0; led_by < LEADERS; led_by++) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_group *g = takeover_group(&runtime);
            struct work first = {0}, second = {.status = 2};
            struct task_caller leader, c[TASKS + 1];
            struct noted noted = {0};
            sflight_call *permit = NULL;
            if (led_by == LED_BY_PERMIT) {
                permit = lead(g, "key");
            } else {
                task_caller_start(&leader, led_by == LED_BY_TASK ? &runtime : NULL, g, "key", die,
                                  &first);
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
            end(g, &runtime);
        }
    }
}

/* Each one that goes on dies as well; the last may return. */
struct chain {
    atomic_int runs;
    atomic_bool open;
    int survivor;
    struct tally tally;
};

static int chain_fn(sflight_call *call, void *arg)
{
    struct chain *c = arg;
    int run = atomic_fetch_add(&c->runs, 1) + 1;
    WAIT_UNTIL(atomic_load(&c->open));
    value_set(call, &c->tally, run);
    if (run == c->survivor)
        return run;
    pthread_exit(NULL);
}

static void chains_of_dying_tasks_and_threads(void **state)
{
    (void)state;
    enum { ALL = 2 * TASKS };
    for (size_t e = 0; e < LENGTH(early); e++) {
        for (int survivor = 0; survivor <= ALL; survivor += ALL) {
            struct runtime runtime = {.early_every = early[e]};
            sflight_group *g = takeover_group(&runtime);
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
            end(g, &runtime);
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
            sflight_group *g = takeover_group(&runtime);
            struct work first = {0}, second = {.open = true, .status = 2};
            struct task_caller leader, patient, late;
            struct timespec soon = deadline_in_ns(3000000);
            struct runtime *of_patient = patient_is_thread ? NULL : &runtime;
            task_caller_start(&leader, &runtime, g, "key", die, &first);
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
            end(g, &runtime);
        }
    }
}

static void without_anybody_who_blocks_the_call_ends(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = takeover_group(&runtime);
    sflight_call *permit = lead(g, "key");
    struct way way = {.g = g, .rc = NEVER_RETURNED};
    struct runner runner;
    runner_start(&runner, &runtime, wait_by_get, &way); /* a future cannot run a fn */
    await_parked(&runtime, 1);
    sflight_abandon(permit);
    runner_join(&runner);
    assert_int_equal(way.rc, -EOWNERDEAD);
    assert_int_equal(stats_of(g).taken_over, 0);
    end(g, &runtime);
}

static void tasks_learn_of_a_death(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    struct work w = {0};
    struct task_caller leader, c[TASKS];
    task_caller_start(&leader, &runtime, g, "key", die, &w);
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
    end(g, &runtime);
}

/* Leaders die about when their followers' deadlines pass; some have none. */
struct raid {
    struct runtime runtime;
    sflight_group *g;
    atomic_bool over;
    struct tally tally;
};

static int quick(sflight_call *call, void *arg)
{
    struct raid *raid = arg;
    value_set(call, &raid->tally, 1);
    return 0;
}

static int die_soon(sflight_call *call, void *arg)
{
    struct raid *raid = arg;
    struct timespec soon = deadline_in_ns(raid->tally.made % 40 * 1000);
    (void)call;
    WAIT_UNTIL(has_passed(&soon));
    pthread_exit(NULL);
}

static void *ask_with_deadlines(void *arg)
{
    struct raid *raid = arg;
    for (int i = 0; !raid->over; i++) {
        sflight_result r;
        struct timespec soon = deadline_in_ns(i % 40 * 1000);
        int rc = sflight_do_until(raid->g, "key", 3, quick, raid, &soon, &r);
        assert_true(rc == 0 || rc == -ETIMEDOUT);
        sflight_result_release(&r);
    }
    return NULL;
}

static void *ask_patiently(void *arg)
{
    struct raid *raid = arg;
    while (!raid->over) {
        sflight_result r;
        assert_int_equal(do_str(raid->g, "key", quick, raid, &r), 0);
        sflight_result_release(&r);
    }
    return NULL;
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
        struct raid raid = {.runtime.early_every = early[e]};
        raid.g = takeover_group(&raid.runtime);
        struct runner askers[4];
        for (size_t i = 0; i < LENGTH(askers); i++)
            runner_start(&askers[i], i == 3 ? NULL : &raid.runtime,
                         i == 0 ? ask_patiently : ask_with_deadlines, &raid);
        for (unsigned i = 0; stats_of(raid.g).abandoned < (SLOW ? 200 : 500); i++) {
            struct runner leader;
            runner_start(&leader, i % 2 ? &raid.runtime : NULL, lead_and_die, &raid);
            runner_join(&leader);
        }
        atomic_store(&raid.over, true);
        for (size_t i = 0; i < LENGTH(askers); i++)
            runner_join(&askers[i]);
        assert_all_destroyed(&raid.tally);
        end(raid.g, &raid.runtime);
    }
}

/* ----------------------------------------------------------------- panics */

static int panic_fn(sflight_call *call, void *arg)
{
    work_fn(call, arg);
    sflight_panic(call, "the leader panics");
}

static void panics_reach_every_task(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {0};
        sflight_group *g = takeover ? takeover_group(&runtime) : runtime_group(&runtime);
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
        end(g, &runtime);
    }
}

/* ---------------------------------------------------------------- circles */

static int ask_own_key(sflight_call *call, void *arg)
{
    sflight_group *g = arg;
    size_t len;
    const void *key = sflight_call_key(call, &len);
    sflight_key keys[] = {{key, len}};
    struct timespec later = deadline_in_ns((int64_t)3600 * 1000000000);
    sflight_result r;
    sflight_future *f;
    int rc = 0;
    assert_int_equal(sflight_do(g, key, len, must_not_run, NULL, &r), -EDEADLK);
    assert_zeroed(&r);
    assert_int_equal(sflight_do_until(g, key, len, must_not_run, NULL, &later, &r), -EDEADLK);
    assert_int_equal(sflight_do_many(g, keys, 1, no_batch, NULL, NULL, &r, &rc), 0);
    assert_int_equal(rc, -EDEADLK);
    assert_int_equal(sflight_start(g, key, len, must_not_run, NULL, &f), 0);
    assert_int_equal(sflight_future_get(f, NULL, &r), -EDEADLK);
    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN); /* it is as it was */
    sflight_future_drop(f);
    assert_int_equal(sflight_group_drain(g, NULL), -EDEADLK);
    return 5;
}

static int ask_own_key_deeper(sflight_call *call, void *arg)
{
    sflight_result r;
    assert_int_equal(do_str(arg, "inner", ask_own_key, arg, &r), 0);
    sflight_result_release(&r);
    return ask_own_key(call, arg);
}

static void own_key(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    sflight_fn *const fns[] = {ask_own_key, ask_own_key_deeper};
    for (size_t i = 0; i < LENGTH(fns); i++) {
        for (int in_task = 0; in_task < 2; in_task++) {
            struct task_caller c;
            task_caller_start(&c, in_task ? &runtime : NULL, g, "key", fns[i], g);
            task_caller_join(&c);
            assert_int_equal(c.c.rc, 0);
            assert_int_equal(c.c.r.status, 5);
            task_callers_release(&c, 1);
        }
    }
    assert_int_equal(runtime.n_parks, 0);
    assert_int_equal(stats_of(g).deadlocks, (1 + 2) * 2 * 4);
    end(g, &runtime);
}

/*
 * n callers in a circle: each leads its own key, then asks for its neighbour's.
 * One of them is told; then the others get their results.
 */
struct circle {
    size_t n;
    unsigned n_groups;
    sflight_group *groups[2];
    pthread_barrier_t barrier;
    bool by_future;
    atomic_int deadlocks, successes;
    struct tally tally;
};

struct member {
    struct circle *circle;
    size_t index;
    struct runner runner;
};

static sflight_group *group_of(struct circle *c, size_t index)
{
    return c->groups[index % c->n_groups];
}

static int lead_then_ask(sflight_call *call, void *arg)
{
    struct member *m = arg;
    struct circle *c = m->circle;
    size_t next = (m->index + 1) % c->n;
    sflight_result r;
    int rc;
    pthread_barrier_wait(&c->barrier); /* all lead */
    if (c->by_future) {
        sflight_call *lead = NULL;
        sflight_future *f = NULL;
        assert_int_equal(sflight_begin(group_of(c, next), &next, sizeof next, &lead, &f), 0);
        assert_null(lead);
        rc = sflight_future_get(f, NULL, &r);
        if (rc == -EDEADLK)
            sflight_future_drop(f);
    } else {
        rc = sflight_do(group_of(c, next), &next, sizeof next, must_not_run, NULL, &r);
    }
    if (rc == -EDEADLK) {
        atomic_fetch_add(&c->deadlocks, 1);
    } else {
        assert_int_equal(rc, 0);
        atomic_fetch_add(&c->successes, 1);
        sflight_result_release(&r);
    }
    value_set(call, &c->tally, 1);
    return 0;
}

static void *be_a_member(void *arg)
{
    struct member *m = arg;
    sflight_result r;
    assert_int_equal(
        sflight_do(group_of(m->circle, m->index), &m->index, sizeof m->index, lead_then_ask, m, &r),
        0);
    sflight_result_release(&r);
    return NULL;
}

/* Each n-th member is a thread; 0: none. */
static void run_circles(size_t n, unsigned n_groups, unsigned threads_every, bool by_future)
{
    enum { MOST = 16 };
    struct runtime runtime = {.early_every = 5};
    struct circle c = {.n = n, .n_groups = n_groups, .by_future = by_future};
    struct member members[MOST];
    const int rounds = (EMULATED ? 60 : SLOW ? 300 : 1000) / (int)n; /* qemu leaks threads */
    for (unsigned i = 0; i < n_groups; i++)
        c.groups[i] = runtime_group(&runtime);
    assert_int_equal(pthread_barrier_init(&c.barrier, NULL, (unsigned)n), 0);
    for (int round = 1; round <= rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            members[i] = (struct member){.circle = &c, .index = i};
            bool thread = threads_every != 0 && i % threads_every == 0;
            runner_start(&members[i].runner, thread ? NULL : &runtime, be_a_member, &members[i]);
        }
        for (size_t i = 0; i < n; i++)
            runner_join(&members[i].runner);
        assert_int_equal(c.deadlocks, round);
        assert_int_equal(c.successes, round * ((int)n - 1));
    }
    pthread_barrier_destroy(&c.barrier);
    assert_all_destroyed(&c.tally);
    for (unsigned i = 0; i < n_groups; i++)
        end(c.groups[i], &runtime);
}

static void exactly_one_for_each_circle(void **state)
{
    (void)state;
    for (int by_future = 0; by_future < 2; by_future++) {
        run_circles(2, 1, 0, by_future);
        run_circles(3, 1, 0, by_future);
        run_circles(16, 1, 0, by_future);
        run_circles(2, 2, 0, by_future);
        run_circles(5, 2, 0, by_future);
    }
}

static void circles_of_tasks_and_threads(void **state)
{
    (void)state;
    run_circles(2, 1, 2, false);
    run_circles(3, 1, 2, false);
    run_circles(9, 2, 3, false);
    run_circles(4, 1, 2, true);
}

/* a waits for b, b for c; and c's leader, a task as well, returns. */
static int ask_next(sflight_call *call, void *arg)
{
    sflight_group *g = arg;
    const char *key = sflight_call_key(call, NULL);
    char next[] = {(char)(*key + 1), '\0'};
    sflight_result r;
    int rc = do_str(g, next, must_not_run, NULL, &r);
    sflight_result_release(&r);
    return rc;
}

static void a_chain_is_not_a_circle(void **state)
{
    (void)state;
    struct runtime runtime = {.early_every = 3};
    sflight_group *g = runtime_group(&runtime);
    const char *keys[] = {"f", "e", "d", "c", "b", "a"};
    struct task_caller c[LENGTH(keys)];
    struct work w = {0};
    task_caller_start(&c[0], &runtime, g, keys[0], work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    for (size_t i = 1; i < LENGTH(keys); i++) {
        task_caller_start(&c[i], i % 3 ? &runtime : NULL, g, keys[i], ask_next, g);
        await_waiting(g, i);
    }
    atomic_store(&w.open, true);
    task_callers_join(c, LENGTH(c));
    for (size_t i = 0; i < LENGTH(c); i++) {
        assert_int_equal(c[i].c.rc, 0);
        assert_int_equal(c[i].c.r.status, 0);
    }
    task_callers_release(c, LENGTH(c));
    assert_int_equal(stats_of(g).deadlocks, 0);
    end(g, &runtime);
}

/* ------------------------------------------------------------------ spawn */

static sflight_future *start(sflight_group *g, const char *key, sflight_fn *fn, void *arg)
{
    sflight_future *f = NULL;
    assert_int_equal(sflight_start(g, key, strlen(key), fn, arg, &f), 0);
    assert_non_null(f);
    return f;
}

static void group_end_when_unused(sflight_group *g, struct runtime *runtime)
{
    WAIT_UNTIL(stats_of(g).held == 0);
    end(g, runtime);
}

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
            group_end_when_unused(g, &runtime);
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
    group_end_when_unused(g, &runtime);
}

/* Joins whatever there is, for as long as spawn fails. */
struct joiner {
    sflight_group *g;
    atomic_bool stop;
};

static void *keep_joining(void *arg)
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
        end(j.g, &runtime);
        assert_nothing_allocated(&counting);
    }
}

static void a_spawned_task_may_die(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {.spawning = SPAWN_TASK};
        sflight_group *g = takeover ? takeover_group(&runtime) : runtime_group(&runtime);
        struct work first = {0}, second = {.open = true, .status = 8};
        struct task_caller c;
        sflight_result r;
        sflight_future *f = start(g, "key", die, &first);
        task_caller_start(&c, &runtime, g, "key", work_fn, &second);
        await_waiting(g, 1);
        atomic_store(&first.open, true);
        task_caller_join(&c);
        assert_int_equal(sflight_future_get(f, NULL, &r), takeover ? 0 : -EOWNERDEAD);
        assert_int_equal(c.c.rc, takeover ? 0 : -EOWNERDEAD);
        assert_int_equal(second.runs, takeover);
        task_callers_release(&c, 1);
        sflight_result_release(&r);
        WAIT_UNTIL(stats_of(g).held == 0);
        assert_all_destroyed(&first.tally);
        assert_all_destroyed(&second.tally);
        group_end_when_unused(g, &runtime);
    }
}

/* ------------------------------------------------------------- no memory */

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

static int many_quick(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls;
    (void)n;
    (void)arg;
    return 0;
}

static void *many_or_nothing(void *arg)
{
    struct way *w = arg;
    sflight_key keys[] = {KEY("key"), KEY("mine"), KEY("key")};
    sflight_result r[3];
    int rc[3];
    w->rc = sflight_do_many(w->g, keys, 3, many_quick, NULL, NULL, r, rc);
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
                end(g, &runtime);
                assert_nothing_allocated(&counting);
            }
        }
    }
    assert_true(failures > LENGTH(runs));
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
    end(g, &runtime);
    assert_nothing_allocated(&counting);
}

/* ------------------------------------------------------------------- fork */

static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    return pid;
}

static void assert_child_succeeds(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Futures of tasks that do not exist in the child stay there. */
static void child_uses_group(sflight_group *g, uint64_t n_futures)
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

struct forker {
    sflight_group *g;
    struct work w;
    pid_t pid;
};

static int fork_in_fn(sflight_call *call, void *arg)
{
    struct forker *f = arg;
    sflight_result r;
    atomic_fetch_add(&f->w.runs, 1);
    WAIT_UNTIL(f->w.open);
    f->pid = fork_child();
    assert_int_equal(do_str(f->g, "mine", must_not_run, NULL, &r), -EDEADLK); /* in both */
    value_set(call, &f->w.tally, f->pid == 0);
    return 6;
}

static void *lead_and_fork(void *arg)
{
    struct forker *f = arg;
    sflight_result r;
    assert_int_equal(do_str(f->g, "mine", fork_in_fn, f, &r), 0);
    assert_true(r.leader);
    assert_int_equal(r.status, 6);
    assert_int_equal(number_of(&r), f->pid == 0);
    sflight_result_release(&r);
    if (f->pid == 0) {
        assert_all_destroyed(&f->w.tally); /* the followers do not exist here */
        child_uses_group(f->g, 0);
        _exit(0);
    }
    return NULL;
}

static void a_task_forks_inside_fn(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct runtime runtime = {0};
        sflight_group *g = takeover ? takeover_group(&runtime) : runtime_group(&runtime);
        struct work other = {0};
        struct forker forker = {.g = g};
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
        end(g, &runtime);
    }
}

/* A plain thread forks while tasks wait in every way. */
static void a_thread_forks_beside_tasks(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = takeover_group(&runtime);
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
        child_uses_group(g, 3);
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
    end(g, &runtime);
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
        child_uses_group(g, 0);
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

/* ------------------------------------------------------- several runtimes */

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
    end(g, &other);
    runtime_end(&mine);
}

/* Who has given up waiting leaves something in the call's list: never much. */
static void waits_that_timed_out_are_swept(void **state)
{
    (void)state;
    enum { TIMES = 4000, BYTES_EACH = 40 };
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    struct work w = {0};
    struct caller leader, patient;
    caller_start(&leader, g, "key", work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    caller_start(&patient, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    uint64_t before = stats_of(g).bytes;
    {
        TASK(task, &runtime);
        for (int i = 0; i < TIMES; i++) {
            struct timespec soon = deadline_in_ns(2000);
            sflight_result r;
            assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r),
                             -ETIMEDOUT);
            soon = deadline_in_ns(2000);
            assert_int_equal(sflight_group_drain(g, &soon), -ETIMEDOUT);
        }
    }
    assert_true(runtime.n_parks >
                TIMES / 10); /* most deadlines are still to come when they are looked at */
    assert_true(stats_of(g).bytes - before < runtime.n_parks * BYTES_EACH / 4);
    atomic_store(&w.open, true);
    caller_join(&leader);
    caller_join(&patient);
    callers_release(&leader, 1);
    callers_release(&patient, 1);
    assert_all_destroyed(&w.tally);
    end(g, &runtime);
}

/* ----------------------------------------------------------------- stress */

struct storm {
    struct runtime runtime;
    sflight_group *g;
    atomic_uint seed, n;
    struct tally tally;
};

enum { STORM_KEYS = 3 };

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static int storm_fn(sflight_call *call, void *arg)
{
    struct storm *s = arg;
    unsigned seed = atomic_fetch_add(&s->seed, 2654435769u);
    size_t len;
    unsigned key, what = next_random(&seed) % 64;
    memcpy(&key, sflight_call_key(call, &len), sizeof key);
    value_set(call, &s->tally, (int)key);
    for (unsigned i = next_random(&seed) % 8; i > 0; i--)
        sched_yield();
    if (what == 0)
        pthread_exit(NULL);
    if (what == 1)
        sflight_panic(call, "stormy");
    if (what < 16) { /* asks for another: there may be a circle */
        unsigned other = (key + 1) % STORM_KEYS;
        sflight_result r;
        int rc = sflight_do(s->g, &other, sizeof other, storm_fn, s, &r);
        assert_true(rc == 0 || rc == -EDEADLK || rc == -ENOTRECOVERABLE || rc == -EOWNERDEAD);
        sflight_result_release(&r);
    }
    return (int)key;
}

static void check_storm(int rc, sflight_result *r, unsigned key)
{
    if (rc == 0) {
        assert_int_equal(r->status, key);
        assert_int_equal(number_of(r), key);
    } else {
        assert_true(rc == -ETIMEDOUT || rc == -ENOTRECOVERABLE || rc == -EOWNERDEAD);
    }
    sflight_result_release(r);
}

static void *ride_the_storm(void *arg)
{
    struct storm *s = arg;
    unsigned seed = atomic_fetch_add(&s->seed, 40503);
    while (atomic_fetch_add(&s->n, 1) < (SLOW ? 5000 : 30000)) {
        unsigned key = next_random(&seed) % STORM_KEYS;
        struct timespec soon = deadline_in_ns(next_random(&seed) % 100000);
        const struct timespec *deadline = next_random(&seed) % 2 ? &soon : NULL;
        sflight_result r;
        sflight_future *f;
        int rc;
        switch (next_random(&seed) % 8) {
        case 0:
            assert_int_equal(sflight_start(s->g, &key, sizeof key, storm_fn, s, &f), 0);
            rc = sflight_future_get(f, deadline, &r);
            if (rc == -ETIMEDOUT)
                sflight_future_drop(f);
            check_storm(rc, &r, key);
            break;
        case 1:
            sflight_forget(s->g, &key, sizeof key);
            break;
        case 2:
            rc = sflight_group_drain(s->g, &soon);
            assert_true(rc == 0 || rc == -ETIMEDOUT);
            break;
        default:
            rc = sflight_do_until(s->g, &key, sizeof key, storm_fn, s, deadline, &r);
            check_storm(rc, &r, key);
        }
    }
    return NULL;
}

static void everything_at_once(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct storm s = {.runtime = {.early_every = 7, .spawning = SPAWN_TASK}, .seed = 1};
        s.g = takeover ? takeover_group(&s.runtime) : runtime_group(&s.runtime);
        struct runner riders[8];
        for (size_t i = 0; i < LENGTH(riders); i++)
            runner_start(&riders[i], i % 4 ? &s.runtime : NULL, ride_the_storm, &s);
        for (size_t i = 0; i < LENGTH(riders); i++) {
            /* Those whose fn ended them are replaced, until there is nothing left to do. */
            runner_join(&riders[i]);
            if (atomic_load(&s.n) < (SLOW ? 5000 : 30000))
                runner_start(&riders[i], i % 4 ? &s.runtime : NULL, ride_the_storm, &s), i--;
        }
        assert_int_equal(sflight_group_drain(s.g, NULL), 0);
        WAIT_UNTIL(stats_of(s.g).held == 0);
        assert_all_destroyed(&s.tally);
        end(s.g, &s.runtime);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_come_together),
        cmocka_unit_test(the_options_are_copied),
        cmocka_unit_test(who_meets_nobody_parks_nowhere),
        cmocka_unit_test(each_is_unparked_once),
        cmocka_unit_test(an_unpark_may_come_first),
        cmocka_unit_test(parks_against_completion),
        cmocka_unit_test(tasks_and_threads_wait_in_every_way),
        cmocka_unit_test(who_leaves_is_not_unparked),
        cmocka_unit_test(park_gets_the_deadline),
        cmocka_unit_test(some_leave_and_the_rest_is_told),
        cmocka_unit_test(deadlines_against_completion),
        cmocka_unit_test(exactly_one_goes_on),
        cmocka_unit_test(chains_of_dying_tasks_and_threads),
        cmocka_unit_test(who_leaves_passes_the_nudge_on),
        cmocka_unit_test(without_anybody_who_blocks_the_call_ends),
        cmocka_unit_test(tasks_learn_of_a_death),
        cmocka_unit_test(deadlines_against_takeover),
        cmocka_unit_test(panics_reach_every_task),
        cmocka_unit_test(own_key),
        cmocka_unit_test(exactly_one_for_each_circle),
        cmocka_unit_test(circles_of_tasks_and_threads),
        cmocka_unit_test(a_chain_is_not_a_circle),
        cmocka_unit_test(spawn_runs_it_anywhere),
        cmocka_unit_test(spawn_may_run_it_later),
        cmocka_unit_test(spawn_may_fail),
        cmocka_unit_test(a_spawned_task_may_die),
        cmocka_unit_test(every_wait_without_memory),
        cmocka_unit_test(takeover_without_memory),
        cmocka_unit_test(a_task_forks_inside_fn),
        cmocka_unit_test(a_thread_forks_beside_tasks),
        cmocka_unit_test(a_permit_goes_along),
        cmocka_unit_test(a_task_is_one_of_its_own_runtime),
        cmocka_unit_test(waits_that_timed_out_are_swept),
        cmocka_unit_test(everything_at_once),
    };
    return RUN_TESTS(tests);
}
