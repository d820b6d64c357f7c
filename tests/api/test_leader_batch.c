/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The leader of a batch dies: every call of the batch ends, and what the batch
 * follows is given up.  And a batch whose followed key loses its leader.
 */
#include "../lib/batch_test.h"

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

/* A batch of "a", "b" and "c", with followers of "a" and "c", is left by fn. */
static void leave_batch(struct batch *b, struct caller *c)
{
    batch_start(b);
    caller_start(&c[0], b->g, "a", must_not_run, NULL);
    caller_start(&c[1], b->g, "c", must_not_run, NULL);
    await_waiting(b->g, 2);
    atomic_store(&b->open, true);
    thread_join(b->thread);
    callers_join(c, 2);
}

static void end_left_batch(struct batch *b)
{
    assert_all_destroyed(&b->tally);
    assert_key_usable(b->g, "a");
    assert_key_usable(b->g, "b");
    assert_key_usable(b->g, "c");
    group_end(b->g);
}

static void a_panic_ends_every_call_of_the_batch(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 4, {KEY("a"), KEY("b"), KEY("c"), KEY("b")}, .fn = batch_panics};
    struct caller c[2];
    leave_batch(&b, c);
    assert_int_equal(b.ret, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(b.rc[i], -ENOTRECOVERABLE);
        assert_non_null(strstr(b.r[i].value, "the batch panics"));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c[i].rc, -ENOTRECOVERABLE);
        assert_non_null(strstr(c[i].r.value, "the batch panics"));
    }
    assert_int_equal(stats_of(b.g).panicked, 3);
    batch_release(&b);
    callers_release(c, 2);
    end_left_batch(&b);
}

static void an_abandonment_ends_every_call_of_the_batch(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 4, {KEY("a"), KEY("b"), KEY("c"), KEY("a")}, .fn = batch_exits};
    struct caller c[2];
    leave_batch(&b, c);
    assert_int_equal(b.ret, NEVER_RETURNED);
    assert_int_equal(c[0].rc, -EOWNERDEAD);
    assert_int_equal(c[1].rc, -EOWNERDEAD);
    assert_int_equal(stats_of(b.g).abandoned, 3);
    end_left_batch(&b);
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
        assert_int_equal(stats_of(g).timed_out, 0);
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

/* ------------------------------------------------- the leader of a followed key */

/* The batch, which follows "a" and leads another key, has run its fn for that. */
static void lose_the_leader_of_a(struct batch *b)
{
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, b->g, "a", exit_fn, &w);
    batch_start(b);
    await_waiting(b->g, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    thread_join(b->thread);
    assert_all_destroyed(&w.tally);
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
    struct batch b = {group_new(&o),
                      3,
                      {KEY("own"), KEY("a"), KEY("own")},
                      .fn = batch_returns_then_exits,
                      .open = true};
    lose_the_leader_of_a(&b);
    assert_int_equal(b.ret, NEVER_RETURNED);
    assert_int_equal(b.runs, 2);
    for (int i = 0; i < 3; i++)
        assert_zeroed(&b.r[i]);
    assert_all_destroyed(&b.tally);
    assert_key_usable(b.g, "own");
    assert_key_usable(b.g, "a");
    group_end(b.g);
}

/* Places that share a key share its failure. */
static void a_key_named_twice_fails_twice(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), KEY("own"), KEY("a")}, .fn = batch_fn, .open = true};
    lose_the_leader_of_a(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.rc[0], -EOWNERDEAD);
    assert_int_equal(b.rc[1], 0);
    assert_int_equal(b.rc[2], -EOWNERDEAD);
    assert_zeroed(&b.r[0]);
    assert_zeroed(&b.r[2]);
    batch_release(&b);
    assert_all_destroyed(&b.tally);
    group_end(b.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_panic_ends_every_call_of_the_batch),
        cmocka_unit_test(an_abandonment_ends_every_call_of_the_batch),
        cmocka_unit_test(an_abandoning_batch_gives_up_the_keys_it_follows),
        cmocka_unit_test(every_call_of_an_abandoned_batch_is_taken_over),
        cmocka_unit_test(a_batch_that_ends_later_gives_up_what_it_has),
        cmocka_unit_test(a_key_named_twice_fails_twice),
    };
    return RUN_TESTS(tests);
}
