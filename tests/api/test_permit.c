/* SPDX-License-Identifier: BSD-2-Clause */
/* Permits: who begins leads or joins, and a permit ends in any way on any thread. */
#include "../lib/batch_test.h"
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static void begin_leads_or_joins(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f[3];
    for (size_t i = 0; i < LENGTH(f); i++)
        f[i] = join(g, "key");
    assert_int_equal(stats_of(g).in_flight, 1);
    assert_int_equal(stats_of(g).waiting, 3);
    assert_int_equal(stats_of(g).held, 0);

    size_t len;
    assert_memory_equal(sflight_call_key(call, &len), "key", 3);
    assert_int_equal(len, 3);
    value_set(call, &tally, 5);
    sflight_complete(call, 8);
    assert_int_equal(stats_of(g).in_flight, 0);
    assert_int_equal(stats_of(g).waiting, 0);
    assert_int_equal(stats_of(g).held, 3);
    for (size_t i = 0; i < LENGTH(f); i++) {
        sflight_result r;
        assert_int_equal(sflight_future_poll(f[i], &r), 0);
        assert_int_equal(r.status, 8);
        assert_false(r.leader);
        assert_true(r.shared);
        assert_int_equal(r.followers, 3);
        assert_int_equal(number_of(&r), 5);
        sflight_result_release(&r);
    }
    assert_int_equal(tally.destroyed, 1);
    assert_key_usable(g, "key");
    group_end(g);
}

/* The value of a permit that nobody joined is destroyed by complete. */
static void nobody_joins(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 100; i++) {
        sflight_call *call = lead(g, "key");
        value_set(call, &tally, i);
        sflight_call_set_status(call, 3);
        assert_int_equal(i % 2 ? sflight_complete(call, 0) : sflight_abandon(call), 0);
        assert_int_equal(tally.destroyed, i + 1);
    }
    assert_int_equal(stats_of(g).abandoned, 50);
    group_end(g);
}

/* Of what a call was before, nothing shows in a permit that uses its memory again. */
static void assert_as_new(sflight_group *g)
{
    sflight_result r;
    sflight_call *call = lead(g, "as new");
    assert_int_equal(sflight_do_until(g, "as new", 6, must_not_run, NULL, &in_the_past, &r),
                     -ETIMEDOUT);
    sflight_future *f = join(g, "as new");
    assert_int_equal(sflight_complete(call, 0), 1);
    assert_int_equal(sflight_future_poll(f, &r), 0);
    assert_int_equal(r.followers, 1);
    sflight_result_release(&r);
    call = lead(g, "as new");
    assert_int_equal(sflight_complete(call, 0), 0);
}

static void *leads_and_ends(void *group)
{
    for (int i = 0; i < 2; i++) { /* the second one in the short way */
        sflight_result r;
        assert_int_equal(sflight_do(group, "key", 3, nothing, NULL, &r), 0);
        sflight_result_release(&r);
    }
    return NULL;
}

static void *begins_as_new(void *group)
{
    assert_as_new(group);
    return NULL;
}

static void a_permit_uses_a_leaders_memory(void **state)
{
    (void)state;
    static char too_long[5000]; /* for the short way */
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_result r;
    assert_int_equal(sflight_do(g, too_long, sizeof(too_long), nothing, NULL, &r), 0);
    sflight_result_release(&r);
    assert_as_new(g);
    struct batch b = {.g = g, .n = 3, .keys = {KEY("a"), KEY("a"), KEY("a")}, .open = true};
    b.fn = batch_fn;
    batch_run(&b);
    assert_int_equal(b.led, 1);
    batch_release(&b);
    assert_as_new(g);
    /* The memory of a thread that has ended is the next one's. */
    thread_join(thread_start(leads_and_ends, g));
    thread_join(thread_start(begins_as_new, g));
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* ------------------------------------------------------ ending on a thread */

struct ending {
    sflight_call *call;
    bool abandon;
    struct tally *tally;
};

static void *end_main(void *arg)
{
    struct ending *e = arg;
    if (e->abandon) {
        sflight_abandon(e->call);
    } else {
        value_set(e->call, e->tally, 6);
        sflight_complete(e->call, 2);
    }
    return NULL;
}

struct beginning {
    sflight_group *g;
    sflight_call *call;
};

static void *begin_main(void *arg)
{
    struct beginning *b = arg;
    b->call = lead(b->g, "key");
    return NULL;
}

/* The thread that got the permit has ended when another one ends the call. */
static void permits_outlive_their_thread(void **state)
{
    (void)state;
    for (int abandon = 0; abandon < 2; abandon++) {
        struct tally tally = {0};
        sflight_group *g = group_new(NULL);
        struct beginning b = {.g = g};
        thread_join(thread_start(begin_main, &b));
        struct caller c[2];
        callers_start(c, 2, g, "key", must_not_run, NULL);
        sflight_future *f = join(g, "key");
        await_waiting(g, 3);
        assert_int_equal(sflight_group_drain(g, &in_the_past), -ETIMEDOUT);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);

        struct ending e = {b.call, abandon, &tally};
        thread_join(thread_start(end_main, &e));
        int expected = abandon ? -EOWNERDEAD : 0;
        sflight_result r;
        assert_int_equal(sflight_future_get(f, NULL, &r), expected);
        if (abandon)
            assert_zeroed(&r);
        sflight_result_release(&r);
        callers_join(c, 2);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(c[i].rc, expected);
            assert_int_equal(c[i].r.followers, abandon ? 0 : 3);
        }
        callers_release(c, 2);
        assert_all_destroyed(&tally);
        assert_int_equal(sflight_group_drain(g, NULL), 0);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

static void drain_waits_for_a_permit(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        sflight_group *g = group_new(NULL);
        sflight_call *call = lead(g, "key");
        pthread_t drainer = thread_start(drain_main, g);
        sflight_complete(call, 0);
        thread_join(drainer);
        group_end(g);
    }
}

/* ---------------------------------------------------------------- unwanted */

static void unwanted_permits(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        struct tally tally = {0};
        sflight_options o = default_options();
        o.cancel_unwanted = cancel;
        sflight_group *g = group_new(&o);
        sflight_call *call = lead(g, "key");
        if (!cancel) /* otherwise nobody would come any more */
            assert_true(sflight_call_unwanted(call));
        sflight_future *a = join(g, "key"), *b = join(g, "key");
        assert_false(sflight_call_unwanted(call));
        sflight_future_drop(a);
        assert_false(sflight_call_unwanted(call));
        sflight_future_drop(join(g, "key"));
        sflight_future_drop(b);
        assert_true(sflight_call_unwanted(call));
        assert_int_equal(stats_of(g).forgotten, cancel);
        if (cancel) { /* nobody joins it any more */
            sflight_call *fresh = lead(g, "key");
            a = join(g, "key");
            sflight_complete(fresh, 1);
        } else {
            a = join(g, "key");
        }
        value_set(call, &tally, 1);
        sflight_complete(call, 0);
        sflight_result r;
        assert_int_equal(sflight_future_poll(a, &r), 0);
        assert_int_equal(r.status, cancel);
        sflight_result_release(&r);
        assert_all_destroyed(&tally);
        group_end(g);
    }
}

/* Nobody has joined it: to ask forgets it. */
static void a_fresh_permit_is_unwanted(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    assert_true(sflight_call_unwanted(call));
    assert_true(sflight_call_unwanted(call));
    assert_int_equal(stats_of(g).forgotten, 1);
    assert_key_usable(g, "key");
    assert_int_equal(sflight_complete(call, 0), 0);
    for (int i = 0; i < 3; i++) { /* and nobody has looked at it */
        call = lead(g, "key");
        assert_true(sflight_call_unwanted(call));
        if (i == 1)
            sflight_call_set_status(call, 3);
        assert_int_equal(i == 2 ? sflight_abandon(call) : sflight_complete(call, 0), 0);
        assert_key_joinable(g, "another");
    }
    group_end(g);
}

static void a_blocking_leader_is_always_wanted(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "key", work_fn, &w);
    sflight_future_drop(join(g, "key"));
    sflight_future *f = join(g, "key");
    atomic_store(&w.open, true);
    consume(f, BY_GET, 0);
    caller_join(&leader);
    callers_release(&leader, 1);
    assert_int_equal(stats_of(g).forgotten, 0);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_leads_or_joins),
        cmocka_unit_test(nobody_joins),
        cmocka_unit_test(a_permit_uses_a_leaders_memory),
        cmocka_unit_test(permits_outlive_their_thread),
        cmocka_unit_test(drain_waits_for_a_permit),
        cmocka_unit_test(unwanted_permits),
        cmocka_unit_test(a_fresh_permit_is_unwanted),
        cmocka_unit_test(a_blocking_leader_is_always_wanted),
    };
    return RUN_TESTS(tests);
}
