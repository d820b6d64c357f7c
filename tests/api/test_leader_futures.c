/* SPDX-License-Identifier: BSD-2-Clause */
/* Futures on calls whose leader dies, and permits that are abandoned. */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static void futures_on_calls_that_end_badly(void **state)
{
    (void)state;
    sflight_fn *const fns[] = {work_fn, panic_fn, exit_fn};
    const int expected[] = {0, -ENOTRECOVERABLE, -EOWNERDEAD};
    for (size_t i = 0; i < LENGTH(fns); i++) {
        for (enum consumer how = 0; how < CONSUMERS; how++) {
            struct counting counting = {0};
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            struct work w = {0};
            struct caller leader;
            caller_start(&leader, g, "key", fns[i], &w);
            WAIT_UNTIL(w.runs == 1);
            sflight_future *f = join(g, "key"), *text = join(g, "key");
            int fd = sflight_future_fd(text);
            atomic_store(&w.open, true);
            caller_join(&leader);
            assert_true(readable(fd));
            consume(f, how, expected[i]);
            sflight_result r;
            assert_int_equal(sflight_future_poll(text, &r), expected[i]);
            if (expected[i] == -ENOTRECOVERABLE)
                assert_non_null(strstr(r.value, "the leader panics"));
            sflight_result_release(&r);
            if (leader.rc != NEVER_RETURNED)
                callers_release(&leader, 1);
            assert_all_destroyed(&w.tally);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

static void a_blocking_follower_takes_a_permit_over(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_options o = takeover_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    struct work w = {.status = 3};
    struct caller c[2];
    callers_start(c, 2, g, "key", work_fn, &w);
    await_waiting(g, 3);
    value_set(call, &tally, 1);
    sflight_abandon(call);
    assert_int_equal(tally.destroyed, 1);
    WAIT_UNTIL(w.runs == 1);
    sflight_future_drop(join(g, "key"));
    atomic_store(&w.open, true);
    callers_join(c, 2);
    assert_int_equal(c[0].r.leader + c[1].r.leader, 1);
    callers_release(c, 2);
    consume(f, BY_GET, 0);
    assert_int_equal(stats_of(g).taken_over, 1);
    assert_int_equal(stats_of(g).forgotten, 0);
    assert_all_destroyed(&w.tally);

    call = lead(g, "key"); /* nobody blocks: nobody takes over */
    f = join(g, "key");
    sflight_abandon(call);
    consume(f, BY_POLL, -EOWNERDEAD);
    assert_int_equal(stats_of(g).taken_over, 1);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(futures_on_calls_that_end_badly),
        cmocka_unit_test(a_blocking_follower_takes_a_permit_over),
    };
    return RUN_TESTS(tests);
}
