/* SPDX-License-Identifier: BSD-2-Clause */
/* A leader that does not die, but does nothing for seconds: others are not held up by it. */
#include "../lib/counting_alloc.h"

enum { MANY = 10000 }; /* records that have not been reclaimed */

struct stalled {
    sflight_group *g;
    atomic_bool stop;
    atomic_uint n_threads;
    atomic_uint calls; /* of other keys */
};

/* A call that somebody has joined: its record is reclaimed, not used again at once. */
static void join_own_permit(sflight_group *g, unsigned key)
{
    sflight_call *call, *none;
    sflight_future *f;
    assert_int_equal(sflight_begin(g, &key, sizeof key, &call, &f), 0);
    assert_int_equal(sflight_begin(g, &key, sizeof key, &none, &f), 0);
    assert_null(none);
    sflight_complete(call, 0);
    sflight_future_drop(f);
}

/* Each thread has keys of its own. */
static void *go_on(void *arg)
{
    struct stalled *s = arg;
    const unsigned first = atomic_fetch_add(&s->n_threads, 1) * 1000;
    for (unsigned i = 0; !s->stop; i++) {
        unsigned key = first + i % 1000;
        sflight_result r;
        assert_int_equal(sflight_do(s->g, &key, sizeof key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
        join_own_permit(s->g, key);
        if (i % 16 == 0)
            sflight_forget(s->g, &key, sizeof key);
        atomic_fetch_add(&s->calls, 1);
    }
    return NULL;
}

/* Memory stays within bounds: every record that was left behind has been reclaimed, but for a few.
 */
static bool is_reclaimed(sflight_group *g, uint64_t bytes)
{
    sflight_stats now = stats_of(g);
    return now.retired_pending < MANY && now.bytes <= 2 * bytes + ((size_t)1 << 20);
}

/*
 * Three seconds long one leader does nothing, with followers asleep.  Calls of other
 * keys go on, and what they leave is reclaimed; followers with deadlines leave.
 */
static void a_leader_that_stalls_for_seconds(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct stalled s = {.g = group_new(&o)};
    struct work w = {0};
    struct caller leader, followers[4];
    pthread_t threads[2];
    leader_start(&leader, s.g, "stalled", work_fn, &w);
    callers_start(followers, LENGTH(followers), s.g, "stalled", must_not_run, NULL);
    await_waiting(s.g, LENGTH(followers));
    const struct timespec end = deadline_in_ns((int64_t)3 * 1000000000);
    threads_start(threads, LENGTH(threads), go_on, &s);
    WAIT_UNTIL(s.calls > 10000);
    uint64_t bytes = stats_of(s.g).bytes, n_timed_out = 0;
    while (!has_passed(&end) || s.calls < (unsigned)rounds(30 * MANY, 5 * MANY)) {
        sflight_result r;
        struct timespec soon = deadline_in_ns(2000000);
        assert_int_equal(sflight_do_until(s.g, "stalled", 7, must_not_run, NULL, &soon, &r),
                         -ETIMEDOUT);
        assert_true(has_passed(&soon));
        n_timed_out++;
    }
    /* A thread that is not run while it searches holds everything back as well, but not for ever.
     */
    const unsigned patience = s.calls + 100 * MANY;
    bool reclaimed;
    WAIT_UNTIL((reclaimed = is_reclaimed(s.g, bytes)) || s.calls > patience);
    assert_true(reclaimed);
    atomic_store(&s.stop, true);
    threads_join(threads, LENGTH(threads));
    assert_int_equal(stats_of(s.g).timed_out, n_timed_out);
    assert_int_equal(stats_of(s.g).in_flight, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_join(followers, LENGTH(followers));
    for (size_t i = 0; i < LENGTH(followers); i++) {
        assert_int_equal(followers[i].rc, 0);
        assert_int_equal(followers[i].r.followers, LENGTH(followers));
    }
    callers_release(&leader, 1);
    callers_release(followers, LENGTH(followers));
    assert_all_destroyed(&w.tally);
    group_end(s.g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_that_stalls_for_seconds),
    };
    return RUN_TESTS(tests);
}
