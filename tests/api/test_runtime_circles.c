/* SPDX-License-Identifier: BSD-2-Clause */
/* -EDEADLK in a group with options.runtime: circles of tasks, and of tasks and threads. */
#include "../lib/task_test.h"

/* Beside what threads do: by a future, and by drain. */
static int ask_own_key_as_task(sflight_call *call, void *arg)
{
    sflight_group *g = arg;
    size_t len;
    const void *key = sflight_call_key(call, &len);
    sflight_result r;
    sflight_future *f;
    assert_int_equal(sflight_start(g, key, len, must_not_run, NULL, &f), 0);
    assert_int_equal(sflight_future_get(f, NULL, &r), -EDEADLK);
    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN); /* it is as it was */
    sflight_future_drop(f);
    assert_int_equal(sflight_group_drain(g, NULL), -EDEADLK);
    return ask_own_key(call, g);
}

static int ask_own_key_deeper(sflight_call *call, void *arg)
{
    sflight_result r;
    assert_int_equal(do_str(arg, "inner", ask_own_key_as_task, arg, &r), 0);
    sflight_result_release(&r);
    return ask_own_key_as_task(call, arg);
}

static void own_key(void **state)
{
    (void)state;
    struct runtime runtime = {0};
    sflight_group *g = runtime_group(&runtime);
    sflight_fn *const fns[] = {ask_own_key_as_task, ask_own_key_deeper};
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
    assert_int_equal(stats_of(g).deadlocks, (1 + 2) * 2 * (OWN_KEY_ASKS + 1));
    runtime_group_end(g, &runtime);
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
    const int n_rounds = (EMULATED ? 60 : rounds(1000, 300)) / (int)n; /* qemu leaks threads */
    for (unsigned i = 0; i < n_groups; i++)
        c.groups[i] = runtime_group(&runtime);
    assert_int_equal(pthread_barrier_init(&c.barrier, NULL, (unsigned)n), 0);
    for (int round = 1; round <= n_rounds; round++) {
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
        runtime_group_end(c.groups[i], &runtime);
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
    runtime_group_end(g, &runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_key),
        cmocka_unit_test(exactly_one_for_each_circle),
        cmocka_unit_test(circles_of_tasks_and_threads),
        cmocka_unit_test(a_chain_is_not_a_circle),
    };
    return RUN_TESTS(tests);
}
