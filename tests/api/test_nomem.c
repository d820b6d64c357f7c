/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that runs out, at every single allocation of every operation: the
 * documented error, nothing leaked, nothing wedged, and later success.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static int alloc_value(sflight_call *call, void *arg)
{
    (void)arg;
    char *p = sflight_call_alloc(call, 100);
    if (p == NULL)
        return -ENOMEM;
    memset(p, 1, 100);
    return 0;
}

static int alloc_values(sflight_call *const *calls, size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++)
        sflight_call_set_status(calls[i], alloc_value(calls[i], arg));
    return 0;
}

static void expect_do_rc(int rc, sflight_result *r, bool *failed)
{
    if (rc == -ENOMEM) {
        assert_zeroed(r);
        *failed = true;
    } else {
        assert_int_equal(rc, 0);
        *failed |= r->status == -ENOMEM; /* sflight_call_alloc() said NULL */
    }
    sflight_result_release(r);
}

/* One operation each; says whether it reported a lack of memory. */
static bool try_do(sflight_group *g)
{
    bool failed = false;
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    expect_do_rc(sflight_do(g, "key", 3, alloc_value, NULL, &r), &r, &failed);
    return failed;
}

static bool try_do_until(sflight_group *g)
{
    bool failed = false;
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    expect_do_rc(sflight_do_until(g, "key", 3, alloc_value, NULL, &in_the_past, &r), &r, &failed);
    return failed;
}

static bool try_do_with_a_big_key(sflight_group *g)
{
    static const char key[100000];
    bool failed = false;
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    expect_do_rc(sflight_do(g, key, sizeof key, alloc_value, NULL, &r), &r, &failed);
    return failed;
}

enum { BATCH = 40 }; /* more than any table of the smallest size holds */

static bool try_do_many(sflight_group *g)
{
    unsigned numbers[BATCH];
    sflight_key keys[BATCH];
    sflight_result r[BATCH];
    int rc[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        numbers[i] = i % (BATCH - 3); /* some twice */
        keys[i] = (sflight_key){&numbers[i], sizeof numbers[i]};
    }
    uint64_t led = stats_of(g).led;
    int ret = sflight_do_many(g, keys, BATCH, alloc_values, NULL, NULL, r, rc);
    if (ret == -ENOMEM) {
        assert_int_equal(stats_of(g).led, led); /* nothing was claimed */
        return true;
    }
    assert_int_equal(ret, 0);
    bool failed = false;
    for (int i = 0; i < BATCH; i++)
        expect_do_rc(rc[i], &r[i], &failed);
    return failed;
}

/* Enough calls in flight at once to make every table grow. */
struct deep {
    sflight_group *g;
    unsigned depth;
    bool failed;
};

static int deep_fn(sflight_call *call, void *arg)
{
    struct deep *d = arg;
    (void)call;
    if (d->depth == 60)
        return 0;
    unsigned key = ++d->depth;
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    expect_do_rc(sflight_do(d->g, &key, sizeof key, deep_fn, d, &r), &r, &d->failed);
    return 0;
}

static bool try_growth(sflight_group *g)
{
    struct deep d = {.g = g};
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    unsigned key = 0;
    expect_do_rc(sflight_do(g, &key, sizeof key, deep_fn, &d, &r), &r, &d.failed);
    return d.failed;
}

/* Forgetting needs no memory: it never fails for the lack of it. */
static int forget_own_key(sflight_call *call, void *arg)
{
    size_t len;
    const void *key = sflight_call_key(call, &len);
    assert_int_equal(sflight_forget(arg, key, len), 1);
    return 0;
}

static bool try_forget(sflight_group *g)
{
    bool failed = false;
    sflight_result r;
    memset(&r, 0xA5, sizeof r);
    assert_int_equal(sflight_forget(g, "other", 5), 0);
    assert_int_equal(sflight_forget_unshared(g, "other", 5), 1);
    expect_do_rc(sflight_do(g, "key", 3, forget_own_key, g, &r), &r, &failed);
    return failed;
}

typedef bool try_fn(sflight_group *g);

static void assert_group_in_order(sflight_group *g)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.held, 0);
}

/*
 * For every k: a new group whose k-th allocation fails, once, or from there
 * on; until the operation needs fewer than k.  A group that has been used
 * before (warm) allocates elsewhere than a new one.
 */
static void fail_each_allocation(try_fn *attempt, bool warm, bool go_on)
{
    bool met = true;
    long reported = 0;
    for (long k = 1; met; k++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        o.expected_inflight = 1;
        o.shards = 1;
        sflight_group *g = group_new(&o);
        if (warm)
            assert_false(attempt(g));
        counting_fail(&counting, k, go_on);
        bool failed = attempt(g);
        met = counting_relent(&counting);
        assert_false(failed && !met);
        reported += failed;
        assert_group_in_order(g);
        assert_int_equal(stats_of(g).bytes, counting.bytes);
        assert_false(attempt(g)); /* nothing is wedged */
        assert_false(attempt(g));
        group_end(g);
        assert_nothing_allocated(&counting);
        assert_true(k < 10000);
    }
    if (!warm)
        assert_true(reported > 0); /* the failures were real */
}

static void fail_each_allocation_in_every_way(try_fn *attempt)
{
    for (int warm = 0; warm <= 1; warm++)
        for (int go_on = 0; go_on <= 1; go_on++)
            fail_each_allocation(attempt, warm, go_on);
}

static void no_memory_in_do(void **state)
{
    (void)state;
    fail_each_allocation_in_every_way(try_do);
    fail_each_allocation_in_every_way(try_do_with_a_big_key);
}

/* It leaves nothing behind in what the next call uses: nobody has a future there but who joins. */
static void no_memory_for_a_big_key_enqueued(void **state)
{
    (void)state;
    static const char big[5000];
    int rc = -ENOMEM;
    for (long k = 1; rc != 0; k++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        sflight_queue *q;
        sflight_call *call;
        assert_int_equal(sflight_queue_create(&q), 0);
        assert_int_equal(sflight_complete(lead(g, "key"), 0), 0);
        counting_fail(&counting, k, false);
        rc = sflight_begin_enqueue(g, big, sizeof(big), q, 1, &call, NULL);
        (void)counting_relent(&counting);
        if (rc == 0) {
            sflight_completion done;
            assert_int_equal(sflight_complete(call, 0), 0);
            assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
            sflight_completions_release(&done, 1);
        } else {
            assert_int_equal(rc, -ENOMEM);
        }
        assert_key_joinable(g, "key");
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
        assert_nothing_allocated(&counting);
        assert_true(k < 1000);
    }
}

static void no_memory_in_do_until(void **state)
{
    (void)state;
    fail_each_allocation_in_every_way(try_do_until);
}

static void no_memory_in_do_many(void **state)
{
    (void)state;
    fail_each_allocation_in_every_way(try_do_many);
}

static void no_memory_for_growth(void **state)
{
    (void)state;
    fail_each_allocation_in_every_way(try_growth);
}

static void no_memory_when_forgetting(void **state)
{
    (void)state;
    fail_each_allocation_in_every_way(try_forget);
}

static void no_memory_in_group_create(void **state)
{
    (void)state;
    for (int go_on = 0; go_on <= 1; go_on++) {
        bool met = true;
        for (long k = 1; met; k++) {
            struct counting counting = {0};
            sflight_options o = counting_options(&counting);
            sflight_group *g = (sflight_group *)(uintptr_t)-1;
            counting_fail(&counting, k, go_on);
            int rc = sflight_group_create(&g, &o);
            met = counting_relent(&counting);
            if (met) {
                assert_int_equal(rc, -ENOMEM);
                assert_null(g);
            } else {
                assert_int_equal(rc, 0);
                assert_key_usable(g, "key");
                group_end(g);
            }
            assert_nothing_allocated(&counting);
        }
    }
}

struct starving {
    struct counting *counting;
    struct tally tally;
};

static int alloc_in_vain(sflight_call *call, void *arg)
{
    struct starving *s = arg;
    struct value *before = value_set(call, &s->tally, 5);
    counting_fail(s->counting, 1, true);
    assert_null(sflight_call_alloc(call, 1));
    assert_null(sflight_call_alloc(call, SIZE_MAX)); /* no overflow, either */
    assert_null(sflight_call_alloc(call, SIZE_MAX - 16));
    assert_null(sflight_call_alloc(call, SIZE_MAX / 2 + 1));
    assert_true(before->alive); /* still the value */
    counting_relent(s->counting);
    return 0;
}

static void call_alloc_in_vain_changes_nothing(void **state)
{
    (void)state;
    struct counting counting = {0};
    struct starving s = {&counting, {0, 0}};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_result r;
    assert_int_equal(do_str(g, "key", alloc_in_vain, &s, &r), 0);
    assert_int_equal(number_of(&r), 5);
    sflight_result_release(&r);
    assert_all_destroyed(&s.tally);
    group_end(g);
    assert_nothing_allocated(&counting);
}

static int alloc_absurd_sizes(sflight_call *call, void *arg)
{
    (void)arg;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 64, SIZE_MAX - 4096};
    for (size_t i = 0; i < LENGTH(sizes); i++)
        assert_null(sflight_call_alloc(call, sizes[i]));
    assert_non_null(sflight_call_alloc(call, 0)); /* a value of no bytes */
    return 0;
}

static void call_alloc_of_absurd_sizes(void **state)
{
    (void)state;
    struct counting counting = {.max_size = 1 << 20};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_result r;
    assert_int_equal(do_str(g, "key", alloc_absurd_sizes, NULL, &r), 0);
    assert_non_null(r.value);
    assert_int_equal(r.size, 0);
    sflight_result_release(&r);
    group_end(g);
    assert_nothing_allocated(&counting);
}

static int starve_and_panic(sflight_call *call, void *arg)
{
    counting_fail(arg, 1, true);
    sflight_panic(call, "no memory for this message");
}

static int starve_and_exit(sflight_call *call, void *arg)
{
    (void)call;
    counting_fail(arg, 1, true);
    pthread_exit(NULL);
}

/* The end of a call needs no memory: the failure is reported all the same. */
static void failing_without_memory(void **state)
{
    (void)state;
    sflight_fn *const fns[] = {starve_and_panic, starve_and_exit};
    for (size_t i = 0; i < LENGTH(fns); i++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        assert_key_usable(g, "key");
        struct caller c;
        caller_start(&c, g, "key", fns[i], &counting);
        caller_join(&c);
        assert_int_equal(c.rc, i == 0 ? -ENOTRECOVERABLE : NEVER_RETURNED);
        counting_relent(&counting);
        if (i == 0) {
            if (c.r.value != NULL)
                assert_int_equal(strlen(c.r.value), c.r.size);
            sflight_result_release(&c.r);
        }
        assert_key_usable(g, "key");
        group_end(g);
        assert_nothing_allocated(&counting);
    }
}

/* Joining, waiting, timing out and releasing while there is none. */
static void following_without_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct work w = {.status = 3};
    struct caller leader, c[4];
    leader_start(&leader, g, "key", work_fn, &w);
    counting_fail(&counting, 1, true);
    struct timespec soon = deadline_in_ns(1000000);
    for (int i = 0; i < 4; i++) {
        caller_start_until(&c[i], g, "key", must_not_run, NULL, i % 2 ? &soon : NULL);
        if (i % 2)
            caller_join(&c[i]);
    }
    sflight_result r;
    assert_int_equal(do_str(g, "another", must_not_run, NULL, &r), -ENOMEM);
    atomic_store(&w.open, true);
    caller_join(&leader);
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            caller_join(&c[i]);
        if (c[i].rc == 0)
            assert_int_equal(c[i].r.status, i % 2 ? 0 : 3);
        else
            assert_true(c[i].rc == -ENOMEM || (i % 2 && c[i].rc == -ETIMEDOUT));
    }
    callers_release(&leader, 1);
    callers_release(c, 4);
    assert_all_destroyed(&w.tally);
    counting_relent(&counting);
    assert_key_usable(g, "key");
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* The k-th allocation of a batch that has bad places and places that share a key. */
static void no_memory_in_a_batch_of_odd_keys(void **state)
{
    (void)state;
    sflight_key keys[] = {{NULL, 4}, {"a", 1}, {"a", 1}, {"b", 1}, {"c", 1}};
    sflight_result r[LENGTH(keys)];
    int rc[LENGTH(keys)], ret;
    bool failed;
    long k = 0;
    do {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        counting_fail(&counting, ++k, false);
        ret = sflight_do_many(g, keys, LENGTH(keys), alloc_values, NULL, NULL, r, rc);
        failed = counting_relent(&counting);
        for (size_t i = 0; ret == 0 && i < LENGTH(keys); i++)
            sflight_result_release(&r[i]);
        assert_true(ret == 0 || (ret == -ENOMEM && failed));
        assert_int_equal(sflight_do_many(g, keys, SIZE_MAX / 4, alloc_values, NULL, NULL, r, rc),
                         -ENOMEM); /* before it looks at them */
        group_end(g);
        assert_nothing_allocated(&counting);
    } while (failed);
    assert_true(k > 5); /* slot, batch, three records */
}

/* A call whose starter has left ends on a thread that cannot have a slot. */
static void no_memory_for_a_started_thread(void **state)
{
    (void)state;
    for (long k = 1; k < 8; k++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        struct work w = {0};
        sflight_future *f;
        assert_key_usable(g, "key");
        counting_fail(&counting, k, true);
        int rc = sflight_start(g, "key", 3, work_fn, &w, &f);
        if (rc == 0) {
            WAIT_UNTIL(w.runs == 1);
            sflight_future_drop(f);
            atomic_store(&w.open, true);
            assert_int_equal(sflight_group_drain(g, NULL), 0);
        } else {
            assert_int_equal(rc, -ENOMEM);
            assert_null(f);
        }
        counting_relent(&counting);
        assert_key_usable(g, "key");
        WAIT_UNTIL(stats_of(g).held == 0);
        WAIT_UNTIL(sflight_group_destroy(g) == 0);
        assert_all_destroyed(&w.tally);
        assert_nothing_allocated(&counting);
    }
}

/* A call that somebody has looked at: its record waits, and can then be used again. */
static void one_looked_at(sflight_group *g)
{
    sflight_call *call = lead(g, "key");
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    assert_int_equal(sflight_complete(call, 0), 0);
}

/* A thread that leads much has some records more; where there is no memory, those do. */
static void no_memory_for_records_to_spare(void **state)
{
    (void)state;
    enum { MUCH = 20000, MOST = 16 + 2, RECORD = 192 };
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_call *none, *joined = lead(g, "joined");
    sflight_future *spare; /* who finds another call in the bucket has a future before it looks */
    assert_int_equal(sflight_begin(g, "joined", 6, &none, &spare), 0);
    sflight_future_drop(spare);
    assert_int_equal(sflight_complete(joined, 0), 0);
    one_looked_at(g);
    size_t bytes = counting.bytes;
    for (int i = 0; i < MUCH; i++)
        one_looked_at(g);
    size_t n_records = 1 + (counting.bytes - bytes) / RECORD;
    assert_in_range(n_records, 2, MOST);
    assert_true(stats_of(g).retired_pending != 0);
    counting_fail(&counting, 1, true);
    sflight_call *all[MOST + 1];
    size_t n = 0;
    for (sflight_future *f; n <= MOST; n++) {
        char key[16];
        snprintf(key, sizeof(key), "other %zu", n);
        int rc = sflight_begin(g, key, strlen(key), &all[n], &f);
        assert_true(rc == 0 || rc == -ENOMEM);
        if (rc != 0)
            break;
        assert_non_null(all[n]);
    }
    assert_int_equal(n, n_records); /* all, those too that waited */
    while (n > 0)
        assert_int_equal(sflight_complete(all[--n], 0), 0);
    for (int i = 0; i < MUCH; i++)
        one_looked_at(g);
    counting_relent(&counting);
    group_end(g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_in_do),
        cmocka_unit_test(no_memory_for_a_big_key_enqueued),
        cmocka_unit_test(no_memory_in_do_until),
        cmocka_unit_test(no_memory_in_do_many),
        cmocka_unit_test(no_memory_for_growth),
        cmocka_unit_test(no_memory_when_forgetting),
        cmocka_unit_test(no_memory_in_group_create),
        cmocka_unit_test(call_alloc_in_vain_changes_nothing),
        cmocka_unit_test(call_alloc_of_absurd_sizes),
        cmocka_unit_test(failing_without_memory),
        cmocka_unit_test(following_without_memory),
        cmocka_unit_test(no_memory_in_a_batch_of_odd_keys),
        cmocka_unit_test(no_memory_for_a_started_thread),
        cmocka_unit_test(no_memory_for_records_to_spare),
    };
    return RUN_TESTS(tests);
}
