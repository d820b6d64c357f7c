/* SPDX-License-Identifier: BSD-2-Clause */
/* sflight_do_until(): followers leave at their deadline, not before; leaders never. */
#include "../lib/api_test.h"

static int do_until(sflight_group *g, sflight_fn *fn, void *arg, const struct timespec *deadline,
                    sflight_result *r)
{
    memset(r, 0xA5, sizeof *r);
    return sflight_do_until(g, "key", 3, fn, arg, deadline, r);
}

static sflight_group *group_spinning(uint64_t spin_ns)
{
    sflight_options o = default_options();
    o.spin_ns = spin_ns;
    return group_new(&o);
}

static const uint64_t spins[] = {0, 1000000, SFLIGHT_SPIN_ADAPTIVE};

static void a_follower_leaves_at_its_deadline(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_group *g = group_spinning(spins[i]);
        struct work w = {.status = 3};
        struct caller leader;
        leader_start(&leader, g, "key", work_fn, &w);
        const int64_t waits_ns[] = {1, 1000, 100000, 10000000};
        for (size_t j = 0; j < LENGTH(waits_ns); j++) {
            sflight_result r;
            struct timespec deadline = deadline_in_ns(waits_ns[j]);
            assert_int_equal(do_until(g, must_not_run, NULL, &deadline, &r), -ETIMEDOUT);
            assert_true(has_passed(&deadline));
            assert_zeroed(&r);
            sflight_result_release(&r);
        }
        assert_int_equal(stats_of(g).in_flight, 1); /* the call goes on */
        atomic_store(&w.open, true);
        caller_join(&leader);
        assert_int_equal(leader.rc, 0);
        assert_int_equal(leader.r.status, 3);
        assert_false(leader.r.shared); /* who left is not counted */
        assert_int_equal(leader.r.followers, 0);
        sflight_result_release(&leader.r);
        assert_int_equal(w.tally.destroyed, 1);
        sflight_stats s = stats_of(g);
        assert_int_equal(s.timed_out, LENGTH(waits_ns));
        assert_int_equal(s.led, 1);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

static void a_leader_runs_whatever_the_deadline(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    const struct timespec deadlines[] = {{0, 0}, {-1, 0}, {0, 999999999}};
    for (size_t i = 0; i < LENGTH(deadlines); i++) {
        struct work w = {.open = true};
        sflight_result r;
        assert_int_equal(do_until(g, work_fn, &w, &deadlines[i], &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
    }
    assert_int_equal(stats_of(g).timed_out, 0);
    group_end(g);
}

static void a_deadline_in_the_past_never_waits(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "key", work_fn, &w);
    for (int i = 0; i < 1000; i++) {
        sflight_result r;
        assert_int_equal(do_until(g, must_not_run, NULL, &in_the_past, &r), -ETIMEDOUT);
        assert_zeroed(&r);
    }
    assert_int_equal(stats_of(g).waiting, 0);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

static void a_deadline_in_time_is_not_felt(void **state)
{
    (void)state;
    const struct timespec later[] = {deadline_in_ns((int64_t)86400 * 1000000000),
                                     {.tv_sec = INT64_MAX, .tv_nsec = 999999999},
                                     {.tv_sec = INT64_MAX / 1000000000, .tv_nsec = 999999999}};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_group *g = group_spinning(spins[i]);
        struct work w = {0};
        struct caller leader, c[LENGTH(later)];
        leader_start(&leader, g, "key", work_fn, &w);
        for (size_t j = 0; j < LENGTH(later); j++)
            caller_start_until(&c[j], g, "key", must_not_run, NULL, &later[j]);
        await_waiting(g, LENGTH(later));
        atomic_store(&w.open, true);
        caller_join(&leader);
        callers_join(c, LENGTH(c));
        for (size_t j = 0; j < LENGTH(c); j++)
            assert_int_equal(c[j].rc, 0);
        callers_release(&leader, 1);
        callers_release(c, LENGTH(c));
        assert_all_destroyed(&w.tally);
        group_end(g);
    }
}

static void malformed_deadlines(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    const struct timespec bad[] = {
        {0, -1}, {0, 1000000000}, {0, LONG_MAX}, {INT64_MAX, -1}, {0, LONG_MIN}};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        sflight_result r;
        assert_int_equal(do_until(g, must_not_run, NULL, &bad[i], &r), -EINVAL);
        assert_zeroed(&r);
        assert_int_equal(sflight_group_drain(g, &bad[i]), -EINVAL);
    }
    assert_int_equal(stats_of(g).led, 0);
    group_end(g);
}

static void the_others_stay_when_one_leaves(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 3};
    struct caller leader, stay[2];
    leader_start(&leader, g, "key", work_fn, &w);
    callers_start(stay, 2, g, "key", must_not_run, NULL);
    await_waiting(g, 2);
    sflight_result r;
    struct timespec soon = deadline_in_ns(1000000);
    assert_int_equal(do_until(g, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    await_waiting(g, 2);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_join(stay, 2);
    assert_int_equal(leader.r.followers, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(stay[i].r.status, 3);
        assert_int_equal(stay[i].r.followers, 2);
    }
    callers_release(&leader, 1);
    callers_release(stay, 2);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

/* With cancel_unwanted, too: the leader of a blocking call waits for it. */
static void a_call_whose_followers_left_is_still_joinable(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader, c;
    leader_start(&leader, g, "key", work_fn, &w);
    sflight_result r;
    struct timespec soon = deadline_in_ns(1000000);
    assert_int_equal(do_until(g, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    caller_start(&c, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_ptr_equal(c.r.value, leader.r.value);
    callers_release(&leader, 1);
    callers_release(&c, 1);
    group_end(g);
}

static void forget_unshared_when_all_followers_have_left(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "key", work_fn, &w);
    sflight_result r;
    struct timespec soon = deadline_in_ns(1000000);
    assert_int_equal(do_until(g, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    assert_key_usable(g, "key");
    atomic_store(&w.open, true);
    caller_join(&leader);
    assert_false(leader.r.shared);
    callers_release(&leader, 1);
    group_end(g);
}

/* ---------------------------------------- deadlines against completion */

struct collision {
    sflight_group *g;
    struct tally tally;
    atomic_int runs;
    atomic_uint timed_out;
    atomic_uint served;
};

static int short_work(sflight_call *call, void *arg)
{
    struct collision *c = arg;
    int run = atomic_fetch_add(&c->runs, 1);
    struct timespec end = deadline_in_ns(run % 8 * 500);
    WAIT_UNTIL(has_passed(&end));
    value_set(call, &c->tally, run);
    return run;
}

static void *collide(void *arg)
{
    struct collision *c = arg;
    const int n = rounds(30000, 5000);
    for (int i = 0; i < n; i++) {
        sflight_result r;
        struct timespec deadline = deadline_in_ns(i % 5 * 500);
        int rc = do_until(c->g, short_work, c, &deadline, &r);
        if (rc == 0) {
            assert_int_equal(number_of(&r), r.status);
            atomic_fetch_add(&c->served, 1);
        } else {
            assert_int_equal(rc, -ETIMEDOUT);
            assert_true(has_passed(&deadline));
            assert_zeroed(&r);
            atomic_fetch_add(&c->timed_out, 1);
        }
        sflight_result_release(&r);
    }
    return NULL;
}

static void microsecond_deadlines_against_completion(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(spins); i++) {
        struct collision c = {.g = group_spinning(spins[i])};
        pthread_t threads[4];
        threads_start(threads, LENGTH(threads), collide, &c);
        threads_join(threads, LENGTH(threads));
        sflight_stats s = stats_of(c.g);
        assert_int_equal(s.timed_out, c.timed_out);
        assert_int_equal(s.led, c.runs);
        assert_int_equal(s.led + s.joined, c.served + c.timed_out);
        assert_int_equal(c.tally.made, c.runs);
        assert_all_destroyed(&c.tally);
        assert_key_usable(c.g, "key");
        group_end(c.g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_leaves_at_its_deadline),
        cmocka_unit_test(a_leader_runs_whatever_the_deadline),
        cmocka_unit_test(a_deadline_in_the_past_never_waits),
        cmocka_unit_test(a_deadline_in_time_is_not_felt),
        cmocka_unit_test(malformed_deadlines),
        cmocka_unit_test(the_others_stay_when_one_leaves),
        cmocka_unit_test(a_call_whose_followers_left_is_still_joinable),
        cmocka_unit_test(forget_unshared_when_all_followers_have_left),
        cmocka_unit_test(microsecond_deadlines_against_completion),
    };
    return RUN_TESTS(tests);
}
