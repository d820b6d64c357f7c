/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sflight_do_many() when things go wrong: each key fails alone, and a fn that
 * does not return ends every call of its batch.
 */
#include "../lib/batch_test.h"

/* ------------------------------------------- every key fails on its own */

static int own_statuses(sflight_call *const *calls, size_t n, void *arg)
{
    batch_fn(calls, n, arg);
    sflight_call_set_status(calls[0], -1);
    sflight_call_set_status(calls[2], 0);
    return 9;
}

static void statuses_of_their_own(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), KEY("b"), KEY("c")}, .fn = own_statuses, .open = true};
    batch_run(&b);
    assert_int_equal(b.r[0].status, -1);
    assert_int_equal(b.r[1].status, 9);
    assert_int_equal(b.r[2].status, 0);
    batch_release(&b);
    group_end(b.g);
}

static void one_bad_key_does_not_poison_the_others(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), {NULL, 5}, KEY("c")}, .fn = batch_fn, .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.led, 2);
    assert_int_equal(b.rc[0], 0);
    assert_int_equal(b.rc[1], -EINVAL);
    assert_int_equal(b.rc[2], 0);
    assert_zeroed(&b.r[1]);
    assert_int_equal(number_of(&b.r[2]), 1);
    batch_release(&b);
    assert_all_destroyed(&b.tally);
    group_end(b.g);
}

/* Four keys are led elsewhere, and end in four ways; the fifth is our own. */
static void partial_failure(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 1;
    sflight_group *g = group_new(&o);
    struct work ok = {.status = 1}, panic = {0}, exit = {0}, full = {0};
    struct caller c[4], only_waiter;
    struct batch b = {g,
                      5,
                      {KEY("ok"), KEY("panic"), KEY("exit"), KEY("full"), KEY("own")},
                      .fn = batch_fn,
                      .open = true};
    caller_start(&c[0], g, "ok", work_fn, &ok);
    caller_start(&c[1], g, "panic", panic_fn, &panic);
    caller_start(&c[2], g, "exit", exit_fn, &exit);
    caller_start(&c[3], g, "full", work_fn, &full);
    WAIT_UNTIL(ok.runs + panic.runs + exit.runs + full.runs == 4);
    caller_start(&only_waiter, g, "full", must_not_run, NULL);
    await_waiting(g, 1);
    batch_start(&b);
    atomic_store(&full.open, true);
    atomic_store(&exit.open, true);
    atomic_store(&panic.open, true);
    atomic_store(&ok.open, true);
    thread_join(b.thread);
    callers_join(c, 4);
    caller_join(&only_waiter);
    const int rc[] = {0, -ENOTRECOVERABLE, -EOWNERDEAD, -EAGAIN, 0};
    assert_int_equal(b.ret, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(b.rc[i], rc[i]);
    assert_int_equal(b.r[0].status, 1);
    assert_non_null(strstr(b.r[1].value, "the leader panics"));
    assert_zeroed(&b.r[2]);
    assert_zeroed(&b.r[3]);
    assert_int_equal(b.r[4].status, 7);
    assert_int_equal(stats_of(g).rejected, 1);
    batch_release(&b);
    for (int i = 0; i < 4; i++)
        if (c[i].rc != NEVER_RETURNED)
            sflight_result_release(&c[i].r);
    callers_release(&only_waiter, 1);
    assert_all_destroyed(&b.tally);
    group_end(g);
}

static void deadline_for_the_followed_keys(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work other = {0};
    struct caller c;
    struct timespec soon = deadline_in_ns(1000000);
    const struct timespec *deadlines[] = {&soon, &in_the_past};
    leader_start(&c, g, "a", work_fn, &other);
    for (size_t i = 0; i < LENGTH(deadlines); i++) {
        struct batch b = {g,
                          3,
                          {KEY("b"), KEY("a"), KEY("c")},
                          .fn = batch_fn,
                          .deadline = deadlines[i],
                          .open = true};
        batch_run(&b);
        assert_int_equal(b.ret, 0);
        assert_int_equal(b.led, 2); /* a leader runs fn whatever the deadline */
        assert_int_equal(b.rc[0], 0);
        assert_int_equal(b.rc[1], -ETIMEDOUT);
        assert_int_equal(b.rc[2], 0);
        assert_zeroed(&b.r[1]);
        batch_release(&b);
        assert_all_destroyed(&b.tally);
    }
    atomic_store(&other.open, true);
    caller_join(&c);
    assert_false(c.r.shared);
    callers_release(&c, 1);
    group_end(g);
}

/* ---------------------------------------- fn does not return for a batch */

static int batch_panics(sflight_call *const *calls, size_t n, void *arg)
{
    batch_fn(calls, n, arg);
    sflight_panic(calls[1], "the batch panics");
}

static int batch_exits(sflight_call *const *calls, size_t n, void *arg)
{
    batch_fn(calls, n, arg);
    pthread_exit(NULL);
}

static void a_panic_ends_every_call_of_the_batch(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct batch b = {g, 4, {KEY("a"), KEY("b"), KEY("c"), KEY("b")}, .fn = batch_panics};
    struct caller c[2];
    batch_start(&b);
    caller_start(&c[0], g, "a", must_not_run, NULL);
    caller_start(&c[1], g, "c", must_not_run, NULL);
    await_waiting(g, 2);
    atomic_store(&b.open, true);
    thread_join(b.thread);
    callers_join(c, 2);
    assert_int_equal(b.ret, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(b.rc[i], -ENOTRECOVERABLE);
        assert_non_null(strstr(b.r[i].value, "the batch panics"));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c[i].rc, -ENOTRECOVERABLE);
        assert_non_null(strstr(c[i].r.value, "the batch panics"));
    }
    assert_int_equal(stats_of(g).panicked, 3);
    batch_release(&b);
    callers_release(c, 2);
    assert_all_destroyed(&b.tally);
    assert_key_usable(g, "a");
    assert_key_usable(g, "b");
    assert_key_usable(g, "c");
    group_end(g);
}

static void an_abandonment_ends_every_call_of_the_batch(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct batch b = {g, 4, {KEY("a"), KEY("b"), KEY("c"), KEY("a")}, .fn = batch_exits};
    struct caller c[2];
    batch_start(&b);
    caller_start(&c[0], g, "a", must_not_run, NULL);
    caller_start(&c[1], g, "c", must_not_run, NULL);
    await_waiting(g, 2);
    atomic_store(&b.open, true);
    thread_join(b.thread);
    callers_join(c, 2);
    assert_int_equal(b.ret, NEVER_RETURNED);
    assert_int_equal(c[0].rc, -EOWNERDEAD);
    assert_int_equal(c[1].rc, -EOWNERDEAD);
    assert_int_equal(stats_of(g).abandoned, 3);
    assert_all_destroyed(&b.tally);
    assert_key_usable(g, "a");
    assert_key_usable(g, "b");
    assert_key_usable(g, "c");
    group_end(g);
}

/* A batch that also follows: its place in that call must not be lost. */
static void an_abandoning_batch_gives_up_the_keys_it_follows(void **state)
{
    (void)state;
    for (int ended = 0; ended < 2; ended++) { /* that call, before the batch is abandoned */
        sflight_group *g = group_new(NULL);
        struct work other = {0};
        struct caller c;
        struct batch b = {g, 3, {KEY("a"), KEY("b"), KEY("a")}, .fn = batch_exits};
        leader_start(&c, g, "a", work_fn, &other);
        batch_start(&b);
        assert_int_equal(stats_of(g).waiting, 1);
        if (!ended) {
            atomic_store(&b.open, true);
            thread_join(b.thread);
            assert_int_equal(stats_of(g).waiting, 0);
        }
        atomic_store(&other.open, true);
        caller_join(&c);
        assert_int_equal(c.r.followers, ended);
        callers_release(&c, 1);
        if (ended) {
            assert_int_equal(other.tally.destroyed, 0);
            atomic_store(&b.open, true);
            thread_join(b.thread);
        }
        assert_all_destroyed(&b.tally);
        assert_all_destroyed(&other.tally);
        group_end(g);
    }
}

static void every_call_of_an_abandoned_batch_is_taken_over(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    sflight_group *g = group_new(&o);
    struct batch b = {g, 3, {KEY("a"), KEY("b"), KEY("c")}, .fn = batch_exits};
    struct batch second = {g, 2, {KEY("a"), KEY("x")}, .fn = batch_fn, .open = true};
    struct work w = {.open = true, .status = 4};
    struct caller c;
    batch_start(&b);
    caller_start(&c, g, "c", work_fn, &w);
    second.thread = thread_start(batch_run, &second);
    await_waiting(g, 2);
    atomic_store(&b.open, true);
    thread_join(b.thread);
    thread_join(second.thread);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_true(c.r.leader);
    assert_int_equal(c.r.status, 4);
    assert_int_equal(second.runs, 2); /* for "x", then again for "a" alone */
    assert_int_equal(second.led, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(second.rc[i], 0);
        assert_int_equal(second.r[i].status, 7);
        assert_true(second.r[i].leader);
    }
    sflight_stats s = stats_of(g);
    assert_int_equal(s.abandoned, 3);
    assert_int_equal(s.taken_over, 2); /* nobody waited for "b" */
    batch_release(&second);
    callers_release(&c, 1);
    assert_all_destroyed(&b.tally);
    assert_all_destroyed(&second.tally);
    assert_key_usable(g, "b");
    group_end(g);
}

/* The first run returns; the second, for a key taken over, ends the thread. */
static int batch_returns_then_exits(sflight_call *const *calls, size_t n, void *arg)
{
    struct batch *b = arg;
    batch_fn(calls, n, b);
    if (b->runs > 1)
        pthread_exit(NULL);
    return 0;
}

static void a_batch_that_ends_later_gives_up_what_it_has(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    sflight_group *g = group_new(&o);
    struct work first = {0};
    struct caller leader;
    struct batch b = {
        g, 3, {KEY("own"), KEY("a"), KEY("own")}, .fn = batch_returns_then_exits, .open = true};
    leader_start(&leader, g, "a", exit_fn, &first);
    batch_start(&b);
    await_waiting(g, 1);
    atomic_store(&first.open, true);
    caller_join(&leader);
    thread_join(b.thread);
    assert_int_equal(b.ret, NEVER_RETURNED);
    assert_int_equal(b.runs, 2);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&b.tally);
    assert_key_usable(g, "own");
    assert_key_usable(g, "a");
    group_end(g);
}

/* Places that share a key share its failure. */
static void a_key_named_twice_fails_twice(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    struct batch b = {g, 3, {KEY("a"), KEY("own"), KEY("a")}, .fn = batch_fn, .open = true};
    leader_start(&leader, g, "a", exit_fn, &w);
    batch_start(&b);
    await_waiting(g, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    thread_join(b.thread);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.rc[0], -EOWNERDEAD);
    assert_int_equal(b.rc[1], 0);
    assert_int_equal(b.rc[2], -EOWNERDEAD);
    assert_zeroed(&b.r[0]);
    assert_zeroed(&b.r[2]);
    batch_release(&b);
    assert_all_destroyed(&w.tally);
    assert_all_destroyed(&b.tally);
    group_end(g);
}

/* The empty key by every name that it has. */
static void the_empty_key_is_one_key(void **state)
{
    (void)state;
    struct batch b = {group_new(NULL),
                      6,
                      {{NULL, 0}, {"", 0}, {NULL, 0}, {"a", 0}, {NULL, 2}, {NULL, 2}},
                      .fn = batch_fn,
                      .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.led, 1);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(b.rc[i], i < 4 ? 0 : -EINVAL);
        if (i < 4)
            assert_int_equal(number_of(&b.r[i]), 0);
        else
            assert_zeroed(&b.r[i]);
    }
    batch_release(&b);
    assert_all_destroyed(&b.tally);
    group_end(b.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_of_their_own),
        cmocka_unit_test(one_bad_key_does_not_poison_the_others),
        cmocka_unit_test(partial_failure),
        cmocka_unit_test(deadline_for_the_followed_keys),
        cmocka_unit_test(a_panic_ends_every_call_of_the_batch),
        cmocka_unit_test(an_abandonment_ends_every_call_of_the_batch),
        cmocka_unit_test(an_abandoning_batch_gives_up_the_keys_it_follows),
        cmocka_unit_test(every_call_of_an_abandoned_batch_is_taken_over),
        cmocka_unit_test(a_batch_that_ends_later_gives_up_what_it_has),
        cmocka_unit_test(a_key_named_twice_fails_twice),
        cmocka_unit_test(the_empty_key_is_one_key),
    };
    return RUN_TESTS(tests);
}
