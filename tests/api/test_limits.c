/* SPDX-License-Identifier: BSD-2-Clause */
/* The limits that options set: how many wait, and how old a call may be. */
#include "../lib/event_test.h"

static void limits_count_futures(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 2;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key"), *other;
    sflight_future *a = join(g, "key"), *b = join(g, "key"), *c;
    sflight_result r;
    assert_int_equal(sflight_begin(g, "key", 3, &other, &c), -EAGAIN);
    assert_null(other);
    assert_null(c);
    assert_int_equal(do_str(g, "key", must_not_run, NULL, &r), -EAGAIN);
    sflight_future_drop(a);
    a = join(g, "key");
    sflight_complete(call, 0);
    sflight_future_drop(a);
    sflight_future_drop(b);
    group_end(g);
}

/* Asks while as many wait as may, the second of them for so long; false: it had left already. */
static bool turned_away(sflight_group *g, int64_t ns)
{
    struct work other = {.open = true};
    struct caller second;
    sflight_result r;
    const struct timespec soon = deadline_in_ns(ns);
    uint64_t joined = stats_of(g).joined;
    caller_start_until(&second, g, "key", must_not_run, NULL, &soon);
    WAIT_UNTIL(stats_of(g).joined == joined + 1);
    int rc = sflight_do_until(g, "key", 3, must_not_run, NULL, &in_the_past, &r);
    if (rc != -EAGAIN) {
        assert_int_equal(rc, -ETIMEDOUT);
        assert_true(has_passed(&soon));
    }
    assert_zeroed(&r);
    assert_int_equal(do_str(g, "another", work_fn, &other, &r), 0); /* the limit is per call */
    sflight_result_release(&r);
    caller_join(&second);
    assert_int_equal(second.rc, -ETIMEDOUT);
    return rc == -EAGAIN;
}

static void max_waiters_turns_callers_away(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 2;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader, c[2];
    sflight_result r;
    leader_start(&leader, g, "key", work_fn, &w);
    caller_start(&c[0], g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    for (int64_t ns = 1000000; !turned_away(g, ns);)
        ns *= 2;
    caller_start(&c[1], g, "key", must_not_run, NULL); /* "at a time": a place is free */
    await_waiting(g, 2);
    assert_int_equal(do_str(g, "key", must_not_run, NULL, &r), -EAGAIN);
    assert_zeroed(&r);
    assert_int_equal(stats_of(g).rejected, 2);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_join(c, 2);
    assert_int_equal(c[0].rc, 0);
    assert_int_equal(c[1].rc, 0);
    assert_int_equal(leader.r.followers, 2);
    callers_release(&leader, 1);
    callers_release(c, 2);
    assert_key_usable(g, "key");
    group_end(g);
}

static void an_old_call_is_forgotten(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_age_ns = 20000000;
    sflight_group *g = group_new(&o);
    struct work old = {.status = 1}, fresh = {.open = true, .status = 2};
    struct caller c[2];
    leader_start(&c[0], g, "key", work_fn, &old);
    struct timespec too_old = deadline_in_ns(2 * (int64_t)o.max_age_ns);
    caller_start(&c[1], g, "key", work_fn, &fresh); /* joins, unless it comes late */
    WAIT_UNTIL(stats_of(g).waiting + (uint64_t)fresh.runs == 1);
    bool late = fresh.runs == 1;
    if (late)
        caller_join(&c[1]);
    WAIT_UNTIL(has_passed(&too_old));
    sflight_result r;
    assert_int_equal(do_str(g, "key", work_fn, &fresh, &r), 0);
    assert_true(r.leader);
    assert_int_equal(r.status, 2);
    sflight_result_release(&r);
    atomic_store(&old.open, true);
    caller_join(&c[0]);
    if (!late)
        caller_join(&c[1]);
    assert_int_equal(c[0].r.status, 1);
    assert_int_equal(c[1].rc, 0);
    assert_int_equal(c[1].r.leader, late);
    assert_int_equal(c[1].r.status, late ? 2 : 1);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.expired, 1);
    assert_int_equal(s.forgotten, 0);
    callers_release(c, 2);
    assert_all_destroyed(&old.tally);
    assert_all_destroyed(&fresh.tally);
    group_end(g);
}

static void a_young_call_is_not_forgotten(void **state)
{
    (void)state;
    const uint64_t ages[] = {(uint64_t)3600 * 1000000000, UINT64_MAX};
    for (size_t i = 0; i < LENGTH(ages); i++) {
        sflight_options o = default_options();
        o.max_age_ns = ages[i];
        sflight_group *g = group_new(&o);
        struct work w = {0};
        struct caller c[2];
        leader_start(&c[0], g, "key", work_fn, &w);
        caller_start(&c[1], g, "key", must_not_run, NULL);
        await_waiting(g, 1);
        atomic_store(&w.open, true);
        callers_join(c, 2);
        assert_int_equal(stats_of(g).expired, 0);
        callers_release(c, 2);
        group_end(g);
    }
}

/* A record that is used again is as old as its call. */
static void age_is_that_of_the_call(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_age_ns = 50000000;
    bool was_young = false;
    while (!was_young) { /* again, if this thread was stopped too long meanwhile */
        sflight_group *g = group_new(&o);
        struct timespec old = deadline_in_ns(2 * (int64_t)o.max_age_ns);
        for (int i = 0; i < 3; i++)
            sflight_complete(lead(g, "key"), 0);
        WAIT_UNTIL(has_passed(&old));
        struct timespec young = deadline_in_ns((int64_t)o.max_age_ns);
        sflight_call *call = lead(g, "key"), *other = NULL;
        sflight_future *f = NULL;
        assert_int_equal(sflight_begin(g, "key", 3, &other, &f), 0);
        was_young = !has_passed(&young);
        if (was_young)
            assert_null(other);
        if (other != NULL)
            sflight_complete(other, 0);
        sflight_complete(call, 0);
        sflight_future_drop(f);
        group_end(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_count_futures),
        cmocka_unit_test(max_waiters_turns_callers_away),
        cmocka_unit_test(an_old_call_is_forgotten),
        cmocka_unit_test(a_young_call_is_not_forgotten),
        cmocka_unit_test(age_is_that_of_the_call),
    };
    return RUN_TESTS(tests);
}
