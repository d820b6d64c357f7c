/* SPDX-License-Identifier: BSD-2-Clause */
/* One call that a hundred thousand futures, or twenty thousand threads, wait for. */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static void a_hundred_thousand_on_one_call(void **state)
{
    (void)state;
    enum { CROWD = 100000 };
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct tally tally = {0};
    struct noted noted = {0};
    sflight_queue *q;
    sflight_completion done[256];
    assert_int_equal(sflight_queue_create(&q), 0);
    bool *seen = calloc(CROWD, sizeof(*seen));
    assert_non_null(seen);
    sflight_call *call = lead(g, "key");
    for (unsigned i = 0; i < CROWD; i++) {
        sflight_future *f = join(g, "key");
        if (i % 2)
            assert_int_equal(sflight_future_enqueue(f, q, i), 0);
        else
            assert_int_equal(sflight_future_then(f, note, &noted), 0);
    }
    struct caller blocking[2];
    callers_start(blocking, 2, g, "key", must_not_run, NULL);
    await_waiting(g, CROWD + 2);
    value_set(call, &tally, 1);
    sflight_complete(call, 0);
    assert_int_equal(noted.n, CROWD / 2);
    callers_join(blocking, 2);
    assert_int_equal(stats_of(g).held, CROWD / 2 + 2);
    int n, total = 0;
    while ((n = sflight_queue_drain(q, done, LENGTH(done))) > 0) {
        total += n;
        for (int i = 0; i < n; i++) {
            assert_false(seen[done[i].tag]);
            seen[done[i].tag] = true;
            assert_int_equal(done[i].rc, 0);
            assert_int_equal(done[i].result.followers, CROWD + 2);
            sflight_result_release(&done[i].result);
        }
    }
    assert_int_equal(total, CROWD / 2);
    assert_int_equal(blocking[0].r.followers, CROWD + 2);
    callers_release(blocking, 2);
    assert_int_equal(tally.destroyed, 1);
    free(seen);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_on_one_call),
    };
    return RUN_TESTS(tests);
}
