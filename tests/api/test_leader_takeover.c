/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SFLIGHT_ABANDON_TAKEOVER: when a leader leaves fn without returning, exactly
 * one blocking follower runs its own fn as the new leader of the same call, and
 * the rest go on waiting.
 */
#include "../lib/takeover_test.h"

enum { FOLLOWERS = 4 };

static sflight_group *takeover_group(void)
{
    sflight_options o = takeover_options();
    return group_new(&o);
}

static void end_group(sflight_group *g)
{
    assert_key_usable(g, "key");
    group_end(g);
}

static void one_follower_takes_over_and_the_rest_wait_on(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE, 1000000000};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = takeover_options();
        o.spin_ns = spins[i];
        sflight_group *g = group_new(&o);
        struct work first = {0}, second = {.status = 2};
        struct caller leader, c[FOLLOWERS + 1];
        leader_start(&leader, g, "key", exit_fn, &first);
        callers_start(c, FOLLOWERS, g, "key", work_fn, &second);
        await_waiting(g, FOLLOWERS);
        atomic_store(&first.open, true);
        caller_join(&leader);
        WAIT_UNTIL(second.runs == 1);
        await_waiting(g, FOLLOWERS - 1);
        assert_int_equal(stats_of(g).in_flight, 1);

        /* It is the same call: a newcomer joins it. */
        caller_start(&c[FOLLOWERS], g, "key", must_not_run, NULL);
        await_waiting(g, FOLLOWERS);
        atomic_store(&second.open, true);
        callers_join(c, LENGTH(c));

        int leaders = 0;
        for (size_t j = 0; j < LENGTH(c); j++) {
            assert_int_equal(c[j].rc, 0);
            assert_int_equal(c[j].r.status, 2);
            assert_ptr_equal(c[j].r.value, c[0].r.value);
            assert_true(c[j].r.shared);
            assert_int_equal(c[j].r.followers, FOLLOWERS);
            leaders += c[j].r.leader;
        }
        assert_int_equal(number_of(&c[0].r), 1);
        assert_int_equal(leaders, 1);
        assert_int_equal(second.runs, 1);
        sflight_stats s = stats_of(g);
        assert_int_equal(s.led, 1);
        assert_int_equal(s.joined, FOLLOWERS + 1);
        assert_int_equal(s.abandoned, 1);
        assert_int_equal(s.taken_over, 1);
        callers_release(c, LENGTH(c));
        assert_all_destroyed(&first.tally);
        assert_all_destroyed(&second.tally);
        end_group(g);
    }
}

static void a_cancelled_leader_is_taken_over(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work first = {0}, second = {.open = true};
    struct caller leader, c;
    leader_start(&leader, g, "key", wait_for_cancel, &first);
    caller_start(&c, g, "key", work_fn, &second);
    await_waiting(g, 1);
    assert_int_equal(pthread_cancel(leader.thread), 0);
    assert_ptr_equal(caller_join(&leader), PTHREAD_CANCELED);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_true(c.r.leader);
    assert_false(c.r.shared);
    assert_int_equal(c.r.followers, 0);
    callers_release(&c, 1);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&second.tally);
    end_group(g);
}

static void without_followers_the_call_ends(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work w = {.open = true};
    struct caller leader;
    caller_start(&leader, g, "key", exit_fn, &w);
    caller_join(&leader);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.abandoned, 1);
    assert_int_equal(s.taken_over, 0);
    assert_int_equal(s.in_flight, 0);
    assert_all_destroyed(&w.tally);
    end_group(g);
}

static void chains_of_dying_leaders(void **state)
{
    (void)state;
    for (int survivor = 0; survivor <= 1; survivor++) {
        sflight_group *g = takeover_group();
        struct chain chain = {.survivor = survivor ? FOLLOWERS + 1 : 0};
        struct caller c[FOLLOWERS + 1];
        callers_start(c, LENGTH(c), g, "key", chain_fn, &chain);
        await_waiting(g, FOLLOWERS);
        atomic_store(&chain.open, true);
        callers_join(c, LENGTH(c));
        int returned = 0;
        for (size_t i = 0; i < LENGTH(c); i++) {
            if (c[i].rc == NEVER_RETURNED)
                continue;
            returned++;
            assert_int_equal(c[i].rc, 0);
            assert_int_equal(c[i].r.status, FOLLOWERS + 1);
            sflight_result_release(&c[i].r);
        }
        sflight_stats s = stats_of(g);
        assert_int_equal(returned, survivor);
        assert_int_equal(chain.runs, FOLLOWERS + 1);
        assert_int_equal(s.abandoned, FOLLOWERS + !survivor);
        assert_int_equal(s.taken_over, FOLLOWERS);
        assert_int_equal(s.led, 1);
        assert_all_destroyed(&chain.tally);
        end_group(g);
    }
}

static void the_second_leader_panics(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work first = {0}, second = {.open = true};
    struct caller leader, c[FOLLOWERS];
    leader_start(&leader, g, "key", exit_fn, &first);
    callers_start(c, FOLLOWERS, g, "key", panic_fn, &second);
    await_waiting(g, FOLLOWERS);
    atomic_store(&first.open, true);
    caller_join(&leader);
    callers_join(c, FOLLOWERS);
    assert_int_equal(second.runs, 1);
    for (int i = 0; i < FOLLOWERS; i++) {
        assert_int_equal(c[i].rc, -ENOTRECOVERABLE);
        assert_non_null(strstr(c[i].r.value, "the leader panics"));
    }
    callers_release(c, FOLLOWERS);
    assert_all_destroyed(&second.tally);
    end_group(g);
}

static void a_panic_is_not_taken_over(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work w = {0};
    struct caller leader, c;
    leader_start(&leader, g, "key", panic_fn, &w);
    caller_start(&c, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    caller_join(&c);
    assert_int_equal(leader.rc, -ENOTRECOVERABLE);
    assert_int_equal(c.rc, -ENOTRECOVERABLE);
    assert_int_equal(stats_of(g).taken_over, 0);
    callers_release(&leader, 1);
    callers_release(&c, 1);
    end_group(g);
}

static void a_follower_that_timed_out_takes_nothing_over(void **state)
{
    (void)state;
    for (int with_another = 0; with_another <= 1; with_another++) {
        sflight_group *g = takeover_group();
        struct work first = {0}, second = {.open = true, .status = 2};
        struct caller leader, late, c;
        leader_start(&leader, g, "key", exit_fn, &first);
        struct timespec soon = deadline_in_ns(1000000);
        caller_start_until(&late, g, "key", must_not_run, NULL, &soon);
        if (with_another)
            caller_start(&c, g, "key", work_fn, &second);
        caller_join(&late);
        assert_int_equal(late.rc, -ETIMEDOUT);
        await_waiting(g, (uint64_t)with_another);
        atomic_store(&first.open, true);
        caller_join(&leader);
        if (with_another) {
            caller_join(&c);
            assert_int_equal(c.rc, 0);
            assert_true(c.r.leader);
            assert_int_equal(c.r.status, 2);
            callers_release(&c, 1);
        }
        assert_int_equal(stats_of(g).taken_over, with_another);
        assert_int_equal(stats_of(g).in_flight, 0);
        end_group(g);
    }
}

static int set_all_then_exit(sflight_call *call, void *arg)
{
    sflight_call_set_status(call, 3);
    return exit_fn(call, arg);
}

static void nothing_of_the_dead_leader_is_delivered(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work first = {0};
    struct caller leader, c[2];
    leader_start(&leader, g, "key", set_all_then_exit, &first);
    callers_start(c, 2, g, "key", return_7, NULL);
    await_waiting(g, 2);
    atomic_store(&first.open, true);
    caller_join(&leader);
    callers_join(c, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].r.status, 7);
        assert_null(c[i].r.value);
        assert_int_equal(c[i].r.size, 0);
    }
    assert_int_equal(first.tally.destroyed, 1);
    callers_release(c, 2);
    end_group(g);
}

static void deadlines_against_takeover(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        for (int patient = 0; patient <= 1; patient++) {
            sflight_options o = takeover_options();
            o.spin_ns = spins[i];
            struct raid raid = {.g = group_new(&o)};
            pthread_t askers[3];
            for (size_t t = 0; t < LENGTH(askers); t++)
                askers[t] =
                    thread_start(patient && t == 0 ? ask_patiently : ask_with_deadlines, &raid);
            while (stats_of(raid.g).abandoned < (uint64_t)rounds(1000, 200)) {
                struct caller leader;
                caller_start(&leader, raid.g, "key", die_soon, &raid);
                caller_join(&leader);
                if (leader.rc == 0)
                    sflight_result_release(&leader.r); /* it has followed */
            }
            atomic_store(&raid.over, true);
            threads_join(askers, LENGTH(askers));
            assert_int_equal(stats_of(raid.g).timed_out, raid.timed_out);
            assert_all_destroyed(&raid.tally);
            end_group(raid.g);
        }
    }
}

static void a_forgotten_call_is_taken_over(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work first = {0}, second = {0}, fresh = {.status = 3};
    struct caller leader, c[2], newcomer;
    leader_start(&leader, g, "key", exit_fn, &first);
    callers_start(c, 2, g, "key", work_fn, &second);
    await_waiting(g, 2);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    atomic_store(&first.open, true);
    caller_join(&leader);
    WAIT_UNTIL(second.runs == 1);

    leader_start(&newcomer, g, "key", work_fn, &fresh); /* leads its own */
    atomic_store(&second.open, true);
    callers_join(c, 2);
    atomic_store(&fresh.open, true);
    caller_join(&newcomer);

    assert_int_equal(second.runs, 1);
    assert_int_equal(c[0].r.leader + c[1].r.leader, 1);
    assert_ptr_equal(c[0].r.value, c[1].r.value);
    assert_int_equal(newcomer.r.status, 3);
    assert_false(newcomer.r.shared);
    callers_release(c, 2);
    callers_release(&newcomer, 1);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&second.tally);
    end_group(g);
}

static void the_new_leader_is_known_as_leader(void **state)
{
    (void)state;
    sflight_group *g = takeover_group();
    struct work first = {0};
    struct caller leader, c;
    leader_start(&leader, g, "key", exit_fn, &first);
    caller_start(&c, g, "key", ask_own_key, g);
    await_waiting(g, 1);
    atomic_store(&first.open, true);
    caller_join(&leader);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(stats_of(g).deadlocks, OWN_KEY_ASKS);
    callers_release(&c, 1);
    end_group(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_follower_takes_over_and_the_rest_wait_on),
        cmocka_unit_test(a_cancelled_leader_is_taken_over),
        cmocka_unit_test(without_followers_the_call_ends),
        cmocka_unit_test(chains_of_dying_leaders),
        cmocka_unit_test(the_second_leader_panics),
        cmocka_unit_test(a_panic_is_not_taken_over),
        cmocka_unit_test(a_follower_that_timed_out_takes_nothing_over),
        cmocka_unit_test(nothing_of_the_dead_leader_is_delivered),
        cmocka_unit_test(deadlines_against_takeover),
        cmocka_unit_test(a_forgotten_call_is_taken_over),
        cmocka_unit_test(the_new_leader_is_known_as_leader),
    };
    return RUN_TESTS(tests);
}
