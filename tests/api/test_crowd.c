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

struct crowd {
    sflight_group *g;
    atomic_uint served;
};

static void *stand_in_the_crowd(void *arg)
{
    struct crowd *c = arg;
    sflight_result r;
    int rc = sflight_do(c->g, "key", 3, must_not_run, NULL, &r);
    if (rc == 0 && r.value != NULL && r.status == 9)
        atomic_fetch_add(&c->served, 1);
    sflight_result_release(&r);
    return NULL;
}

static void twenty_thousand_threads_on_one_call(void **state)
{
    (void)state;
    enum { CROWD = 20000, STACK = 64 << 10 };
    static pthread_t threads[CROWD];
    const uint32_t all = (uint32_t)rounds(CROWD, 200);
    pthread_attr_t attr;
    struct crowd c = {.g = group_new(NULL)};
    struct work w = {.status = 9};
    struct caller leader;
    uint32_t n = 0;

    assert_int_equal(pthread_attr_init(&attr), 0);
    if (!SANITIZED && !EMULATED) {
        assert_int_equal(pthread_attr_setstacksize(&attr, STACK), 0);
        assert_int_equal(pthread_attr_setguardsize(&attr, 0), 0); /* half the mappings */
    }
    leader_start(&leader, c.g, "key", work_fn, &w);
    while (n < all && pthread_create(&threads[n], &attr, stand_in_the_crowd, &c) == 0)
        n++;
    pthread_attr_destroy(&attr);
    if (n < all)
        print_message("# the system allows only %u threads: no more were tried\n", n);
    assert_true(n != 0);
    await_waiting(c.g, n);
    atomic_store(&w.open, true);
    threads_join(threads, n);
    caller_join(&leader);
    assert_int_equal(c.served, n);
    assert_int_equal(leader.r.followers, n);
    sflight_stats s = stats_of(c.g);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, n);
    callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    assert_key_usable(c.g, "key");
    group_end(c.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_on_one_call),
        cmocka_unit_test(twenty_thousand_threads_on_one_call),
    };
    return RUN_TESTS(tests);
}
