/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Destroy functions that do not return, wherever they run: every call ends, every caller is told,
 * and nothing stays held.
 */
#include "../lib/event_test.h"

static atomic_int n_destroyed;

static void destroy_and_exit(void *value, size_t size, void *ctx)
{
    (void)value, (void)size, (void)ctx;
    atomic_fetch_add(&n_destroyed, 1);
    pthread_exit(NULL);
}

static void set_to_exit(sflight_call *call)
{
    sflight_call_set(call, "", 1, destroy_and_exit, NULL);
}

/* The thread ends in a destroy function. */
static void runs_to_destroy(void *(*run)(void *), void *arg)
{
    atomic_store(&n_destroyed, 0);
    assert_null(thread_join(thread_start(run, arg)));
    assert_int_equal(n_destroyed, 1);
}

static sflight_group *group_that(int on_abandon)
{
    sflight_options o = default_options();
    o.on_abandon = on_abandon;
    return group_new(&o);
}

static void *abandon(void *permit)
{
    set_to_exit(permit);
    sflight_abandon(permit);
    return "returned";
}

static void an_abandoned_permit(void **state)
{
    (void)state;
    for (int on_abandon = 0; on_abandon < 2; on_abandon++) {
        sflight_group *g = group_that(on_abandon);
        sflight_call *permit = lead(g, "key");
        /* Otherwise who is told of it has the last hold. */
        sflight_future *f = on_abandon == SFLIGHT_ABANDON_TAKEOVER ? join(g, "key") : NULL;
        runs_to_destroy(abandon, permit);
        if (f != NULL)
            consume(f, BY_POLL, -EOWNERDEAD);
        assert_key_usable(g, "key");
        assert_int_equal(stats_of(g).held, 0);
        group_end(g);
    }
}

/* The value that nobody gets is destroyed when somebody else leads already. */
static void a_permit_that_is_taken_over(void **state)
{
    (void)state;
    sflight_group *g = group_that(SFLIGHT_ABANDON_TAKEOVER);
    struct caller c;
    struct work w = {.open = true};
    sflight_call *permit = lead(g, "key");
    caller_start(&c, g, "key", work_fn, &w);
    await_waiting(g, 1);
    runs_to_destroy(abandon, permit);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_true(c.r.leader);
    callers_release(&c, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

static int set_and_abandon(sflight_call *call, void *arg)
{
    (void)arg;
    set_to_exit(call);
    sflight_call_abandon(call);
    return 0;
}

static void *do_and_abandon(void *g)
{
    sflight_result r;
    do_str(g, "key", set_and_abandon, NULL, &r);
    return "returned";
}

static void a_call_that_fn_abandons(void **state)
{
    (void)state;
    for (int on_abandon = 0; on_abandon < 2; on_abandon++) {
        sflight_group *g = group_that(on_abandon);
        runs_to_destroy(do_and_abandon, g);
        assert_key_usable(g, "key");
        assert_int_equal(stats_of(g).held, 0);
        group_end(g);
    }
}

struct panicking {
    sflight_group *g;
    sflight_future *f;
};

static int set_and_panic(sflight_call *call, void *arg)
{
    struct panicking *p = arg;
    p->f = join(p->g, "key");
    set_to_exit(call);
    sflight_panic(call, "not told");
}

static void *do_and_panic(void *arg)
{
    struct panicking *p = arg;
    sflight_result r;
    do_str(p->g, "key", set_and_panic, p, &r);
    return "returned";
}

/* The message was about to take the value's place. */
static void a_value_before_a_panic(void **state)
{
    (void)state;
    struct panicking p = {.g = group_new(NULL)};
    runs_to_destroy(do_and_panic, &p);
    consume(p.f, BY_POLL, -EOWNERDEAD);
    assert_key_usable(p.g, "key");
    group_end(p.g);
}

enum { KEYS = 3 };
static const char names[KEYS] = "abc";

struct many {
    sflight_group *g;
    sflight_future *joined[KEYS];
};

static int abandon_the_second(sflight_call *const *calls, size_t n, void *arg)
{
    struct many *m = arg;
    assert_int_equal(n, KEYS);
    for (int i = 0; i < KEYS; i += 2)
        m->joined[i] = join(m->g, (char[]){names[i], 0});
    set_to_exit(calls[1]);
    sflight_call_abandon(calls[1]);
    return 5;
}

static void *do_many(void *arg)
{
    struct many *m = arg;
    sflight_key keys[KEYS];
    sflight_result r[KEYS];
    int rc[KEYS];
    for (int i = 0; i < KEYS; i++)
        keys[i] = (sflight_key){&names[i], 1};
    sflight_do_many(m->g, keys, KEYS, abandon_the_second, m, NULL, r, rc);
    return "returned";
}

/* One of a batch: the others end as if it had returned. */
static void one_of_a_batch(void **state)
{
    (void)state;
    struct many m = {.g = group_new(NULL)};
    sflight_result r;
    runs_to_destroy(do_many, &m);
    for (int i = 0; i < KEYS; i++)
        assert_key_usable(m.g, (char[]){names[i], 0});
    for (int i = 0; i < KEYS; i += 2) {
        int rc = sflight_future_poll(m.joined[i], &r);
        assert_true(rc == 0 || (!GLIBC && rc == -EOWNERDEAD));
        if (rc == 0)
            assert_int_equal(r.status, 5);
        sflight_result_release(&r);
    }
#if GLIBC /* with musl a thread that ends in destroy keeps what its batch has */
    assert_int_equal(stats_of(m.g).held, 0);
    group_end(m.g);
#endif
}

static void *cancel(void *f)
{
    sflight_future_cancel(f);
    return "returned";
}

/* The permit holder's own, which is taken back from the queue. */
static void what_is_taken_back(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_call *permit;
    sflight_future *f;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &permit, &f), 0);
    set_to_exit(permit);
    sflight_complete(permit, 0);
    runs_to_destroy(cancel, f);
    assert_int_equal(stats_of(g).held, 0);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void *release_all(void *completions)
{
    sflight_completions_release(completions, KEYS);
    return "returned";
}

/* All of them have been given up, at once. */
static void completions_of_one_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_completion done[KEYS];
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *permit = lead(g, "key");
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 0), 0);
    set_to_exit(permit);
    sflight_complete(permit, 0);
    assert_int_equal(sflight_queue_drain(q, done, KEYS), KEYS);
    runs_to_destroy(release_all, done);
    assert_int_equal(stats_of(g).held, 0);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

struct drainer {
    sflight_queue *q;
    sflight_completion done[2];
    int n;
};

static void *drain_two(void *arg)
{
    struct drainer *d = arg;
    d->n = sflight_queue_drain(d->q, d->done, 2);
    return "returned";
}

/* What a drain has stored is not lost: it ends before it comes to a value that is destroyed. */
static void drained_after_another(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct drainer d = {0};
    assert_int_equal(sflight_queue_create(&d.q), 0);
    sflight_call *first = lead(g, "first"), *second = lead(g, "second");
    assert_int_equal(sflight_future_enqueue(join(g, "first"), d.q, 1), 0);
    assert_int_equal(sflight_future_enqueue(join(g, "second"), d.q, 2), 0);
    sflight_complete(first, 0);
    set_to_exit(second);
    sflight_abandon(second);
    assert_non_null(thread_join(thread_start(drain_two, &d)));
    assert_int_equal(d.n, 1);
    assert_int_equal(d.done[0].tag, 1);
    sflight_completions_release(d.done, 1);
    runs_to_destroy(drain_two, &d);
    for (size_t i = 0; i < LENGTH(d.done); i++)
        assert_zeroed(&d.done[i].result);
    assert_int_equal(stats_of(g).held, 0);
#if GLIBC /* with musl a thread that ends in destroy has not counted what it has drained */
    assert_int_equal(sflight_queue_destroy(d.q), 0);
#endif
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_abandoned_permit),     cmocka_unit_test(a_permit_that_is_taken_over),
        cmocka_unit_test(a_call_that_fn_abandons), cmocka_unit_test(a_value_before_a_panic),
        cmocka_unit_test(one_of_a_batch),          cmocka_unit_test(what_is_taken_back),
        cmocka_unit_test(completions_of_one_call), cmocka_unit_test(drained_after_another),
    };
    return RUN_TESTS(tests);
}
