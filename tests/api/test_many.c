/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sflight_do_many(): one fn for all keys that the caller leads, its own work
 * first, every key on its own.
 */
#include "../lib/batch_test.h"

static void one_execution_for_all_keys(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), KEY(""), KEY("c")}, .fn = batch_fn, .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.runs, 1);
    assert_int_equal(b.led, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b.rc[i], 0);
        assert_int_equal(number_of(&b.r[i]), i);
        assert_int_equal(b.r[i].status, 7);
        assert_true(b.r[i].leader);
        assert_false(b.r[i].shared);
        assert_int_equal(b.r[i].followers, 0);
    }
    assert_int_equal(stats_of(b.g).led, 3);
    assert_int_equal(stats_of(b.g).held, 3);
    batch_release(&b);
    assert_int_equal(b.tally.destroyed, 3);
    assert_key_usable(b.g, "a");
    group_end(b.g);
}

static void an_empty_batch(void **state)
{
    (void)state;
    struct batch b = {group_new(NULL), 0, .fn = batch_fn};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.runs, 0);
    assert_int_equal(b.rc[0], NEVER_RETURNED);
    group_end(b.g);
}

/* The calls are those led, in the order of their keys. */
static int check_keys(sflight_call *const *calls, size_t n, void *arg)
{
    struct batch *b = arg;
    const char *expected[] = {"b", "d"};
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        assert_memory_equal(sflight_call_key(calls[i], &len), expected[i], 1);
        assert_int_equal(len, 1);
    }
    return batch_fn(calls, n, b);
}

/* Two of the keys have leaders that go on only when this batch's fn has run. */
static void own_work_comes_first(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work other = {.status = 3};
    struct caller c[2];
    struct batch b = {
        g, 4, {KEY("a"), KEY("b"), KEY("c"), KEY("d")}, .fn = check_keys, .open = true};
    caller_start(&c[0], g, "a", work_fn, &other);
    caller_start(&c[1], g, "c", work_fn, &other);
    WAIT_UNTIL(other.runs == 2);
    batch_start(&b);                        /* hangs here if it waits first */
    WAIT_UNTIL(stats_of(g).in_flight == 2); /* its calls end before it waits */
    assert_key_usable(g, "b");
    atomic_store(&other.open, true);
    thread_join(b.thread);
    callers_join(c, 2);
    assert_int_equal(b.ret, 0);
    for (int i = 0; i < 4; i++) {
        bool led = i % 2 == 1;
        assert_int_equal(b.rc[i], 0);
        assert_int_equal(b.r[i].status, led ? 7 : 3);
        assert_int_equal(b.r[i].leader, led);
        assert_int_equal(b.r[i].shared, !led);
    }
    assert_ptr_equal(b.r[0].value, c[0].r.value);
    assert_ptr_equal(b.r[2].value, c[1].r.value);
    batch_release(&b);
    callers_release(c, 2);
    assert_all_destroyed(&b.tally);
    assert_all_destroyed(&other.tally);
    group_end(g);
}

static void nothing_to_lead(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work other = {0};
    struct caller c;
    struct batch b = {g, 1, {KEY("a")}, .fn = batch_fn};
    leader_start(&c, g, "a", work_fn, &other);
    b.thread = thread_start(batch_run, &b);
    await_waiting(g, 1);
    atomic_store(&other.open, true);
    thread_join(b.thread);
    caller_join(&c);
    assert_int_equal(b.runs, 0);
    assert_int_equal(b.rc[0], 0);
    assert_int_equal(c.r.followers, 1);
    batch_release(&b);
    callers_release(&c, 1);
    group_end(g);
}

static void followers_of_a_batch(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct batch b = {g, 3, {KEY("a"), KEY("b"), KEY("c")}, .fn = batch_fn};
    struct batch second = {g, 2, {KEY("c"), KEY("x")}, .fn = batch_fn, .open = true};
    struct caller c[2];
    batch_start(&b);
    callers_start(c, 2, g, "b", must_not_run, NULL);
    second.thread = thread_start(batch_run, &second);
    await_waiting(g, 3);
    atomic_store(&b.open, true);
    thread_join(b.thread);
    thread_join(second.thread);
    callers_join(c, 2);
    const uint32_t followers[] = {0, 2, 1};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b.rc[i], 0);
        assert_int_equal(b.r[i].followers, followers[i]);
        assert_int_equal(b.r[i].shared, followers[i] > 0);
    }
    assert_ptr_equal(c[0].r.value, b.r[1].value);
    assert_ptr_equal(c[1].r.value, b.r[1].value);
    assert_ptr_equal(second.r[0].value, b.r[2].value);
    assert_true(second.r[1].leader);
    batch_release(&b);
    batch_release(&second);
    callers_release(c, 2);
    assert_all_destroyed(&b.tally);
    group_end(g);
}

/* ------------------------------------------------------------ duplicates */

static void a_key_named_twice_gets_one_call(void **state)
{
    (void)state;
    struct batch b = {group_new(NULL),
                      6,
                      {KEY("a"), KEY("b"), KEY("a"), KEY(""), {NULL, 0}, KEY("a")},
                      .fn = batch_fn,
                      .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.led, 3);
    const int place[] = {0, 1, 0, 2, 2, 0};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(b.rc[i], 0);
        assert_int_equal(number_of(&b.r[i]), place[i]);
        assert_int_equal(b.r[i].status, 7);
    }
    assert_int_equal(stats_of(b.g).led, 3);
    assert_int_equal(stats_of(b.g).held, 6);
    assert_int_equal(stats_of(b.g).deadlocks, 0);
    for (int i = 0; i < 5; i++)
        sflight_result_release(&b.r[i]);
    assert_int_equal(b.tally.destroyed, 2); /* "a" is held once more */
    sflight_result_release(&b.r[5]);
    assert_int_equal(b.tally.destroyed, 3);
    group_end(b.g);
}

static void a_key_named_twice_and_led_elsewhere(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work other = {.status = 3};
    struct caller c;
    struct batch b = {g, 3, {KEY("a"), KEY("b"), KEY("a")}, .fn = batch_fn, .open = true};
    leader_start(&c, g, "a", work_fn, &other);
    batch_start(&b);
    atomic_store(&other.open, true);
    thread_join(b.thread);
    caller_join(&c);
    assert_int_equal(b.led, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(b.rc[i], 0);
    assert_ptr_equal(b.r[0].value, c.r.value);
    assert_ptr_equal(b.r[2].value, c.r.value);
    callers_release(&c, 1);
    sflight_result_release(&b.r[0]);
    assert_int_equal(other.tally.destroyed, 0);
    batch_release(&b);
    assert_int_equal(other.tally.destroyed, 1);
    group_end(g);
}

/* ------------------------------------------------------ crossing batches */

struct crossing {
    sflight_group *g;
    atomic_int running[3];
    atomic_bool overlap;
    struct tally tally;
};

struct crosser {
    struct crossing *x;
    unsigned order[3]; /* of the keys */
    int rounds;
};

static int cross_fn(sflight_call *const *calls, size_t n, void *arg)
{
    struct crossing *x = arg;
    for (size_t i = 0; i < n; i++) {
        const unsigned *key = sflight_call_key(calls[i], NULL);
        if (atomic_fetch_add(&x->running[*key], 1) != 0)
            atomic_store(&x->overlap, true);
        value_set(calls[i], &x->tally, (int)*key);
    }
    sched_yield();
    for (size_t i = 0; i < n; i++)
        atomic_fetch_sub(&x->running[*(const unsigned *)sflight_call_key(calls[i], NULL)], 1);
    return 0;
}

static void *cross(void *arg)
{
    struct crosser *c = arg;
    sflight_key keys[3];
    for (int i = 0; i < 3; i++)
        keys[i] = (sflight_key){&c->order[i], sizeof c->order[i]};
    for (int round = 0; round < c->rounds; round++) {
        sflight_result r[3];
        int rc[3];
        assert_int_equal(sflight_do_many(c->x->g, keys, 3, cross_fn, c->x, NULL, r, rc), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(rc[i], 0);
            assert_int_equal(number_of(&r[i]), c->order[i]);
            sflight_result_release(&r[i]);
        }
    }
    return NULL;
}

static void crossing_batches_do_not_deadlock(void **state)
{
    (void)state;
    struct crossing x = {.g = group_new(NULL)};
    struct crosser crossers[] = {
        {&x, {0, 1, 2}, 0}, {&x, {2, 1, 0}, 0}, {&x, {1, 0, 2}, 0}, {&x, {2, 0, 1}, 0}};
    pthread_t threads[LENGTH(crossers)];
    for (size_t i = 0; i < LENGTH(crossers); i++) {
        crossers[i].rounds = rounds(10000, 2000);
        threads[i] = thread_start(cross, &crossers[i]);
    }
    threads_join(threads, LENGTH(crossers));
    assert_false(x.overlap);
    assert_int_equal(stats_of(x.g).deadlocks, 0);
    assert_all_destroyed(&x.tally);
    group_end(x.g);
}

/* --------------------------------------------------------------- size */

static int big_fn(sflight_call *const *calls, size_t n, void *arg)
{
    sflight_group *g = arg;
    assert_int_equal(stats_of(g).in_flight, n);
    for (size_t i = 0; i < n; i++) {
        const unsigned *key = sflight_call_key(calls[i], NULL);
        assert_int_equal(*key, i);
        sflight_call_set_status(calls[i], (int)*key);
    }
    return -1;
}

static void ten_thousand_keys_in_a_small_table(void **state)
{
    (void)state;
    enum { N = 10000 };
    sflight_options o = small_options();
    sflight_group *g = group_new(&o);
    unsigned *numbers = calloc(N, sizeof *numbers);
    sflight_key *keys = calloc(N, sizeof *keys);
    sflight_result *r = calloc(N, sizeof *r);
    int *rc = calloc(N, sizeof *rc);
    assert_true(numbers && keys && r && rc);
    for (unsigned i = 0; i < N; i++) {
        numbers[i] = i;
        keys[i] = (sflight_key){&numbers[i], sizeof numbers[i]};
    }
    for (int round = 0; round < 3; round++) {
        assert_int_equal(sflight_do_many(g, keys, N, big_fn, g, NULL, r, rc), 0);
        for (int i = 0; i < N; i++) {
            assert_int_equal(rc[i], 0);
            assert_int_equal(r[i].status, i);
            sflight_result_release(&r[i]);
        }
    }
    free(numbers);
    free(keys);
    free(r);
    free(rc);
    group_end(g);
}

/* ------------------------------------------------- failures as a whole */

static void bad_arguments_claim_nothing(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct batch b = {g, 2, {KEY("a"), KEY("b")}, .fn = batch_fn, .open = true};
    const struct timespec bad[] = {{.tv_nsec = 1000000000}, {.tv_nsec = -1}};
    const int rc_before[2] = {11, 22};
    sflight_result r_before[2], r[2];
    int rc[2] = {11, 22};
    memset(r, 0x5A, sizeof r);
    memcpy(r_before, r, sizeof r);
    assert_int_equal(sflight_do_many(NULL, b.keys, 2, batch_fn, &b, NULL, r, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, NULL, 2, batch_fn, &b, NULL, r, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, b.keys, 2, NULL, &b, NULL, r, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, b.keys, 2, batch_fn, &b, &bad[0], r, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, b.keys, 2, batch_fn, &b, &bad[1], r, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, b.keys, 2, batch_fn, &b, NULL, NULL, rc), -EINVAL);
    assert_int_equal(sflight_do_many(g, b.keys, 2, batch_fn, &b, NULL, r, NULL), -EINVAL);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_do_many(g, b.keys, 2, batch_fn, &b, NULL, r, rc), -ESHUTDOWN);
    assert_memory_equal(r, r_before, sizeof r);
    assert_memory_equal(rc, rc_before, sizeof rc);
    assert_int_equal(b.runs, 0);
    assert_int_equal(stats_of(g).led, 0);
    group_end(g);
}

/* ------------------------------------------------ every key on its own */

static int own_statuses(sflight_call *const *calls, size_t n, void *arg)
{
    batch_fn(calls, n, arg);
    sflight_call_set_status(calls[0], -1);
    sflight_call_set_status(calls[2], 0);
    return 9;
}

static void statuses_of_their_own(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), KEY("b"), KEY("c")}, .fn = own_statuses, .open = true};
    batch_run(&b);
    assert_int_equal(b.r[0].status, -1);
    assert_int_equal(b.r[1].status, 9);
    assert_int_equal(b.r[2].status, 0);
    batch_release(&b);
    group_end(b.g);
}

static void one_bad_key_does_not_poison_the_others(void **state)
{
    (void)state;
    struct batch b = {
        group_new(NULL), 3, {KEY("a"), {NULL, 5}, KEY("c")}, .fn = batch_fn, .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.led, 2);
    assert_int_equal(b.rc[0], 0);
    assert_int_equal(b.rc[1], -EINVAL);
    assert_int_equal(b.rc[2], 0);
    assert_zeroed(&b.r[1]);
    assert_int_equal(number_of(&b.r[2]), 1);
    batch_release(&b);
    assert_all_destroyed(&b.tally);
    group_end(b.g);
}

/* The empty key by every name that it has. */
static void the_empty_key_is_one_key(void **state)
{
    (void)state;
    struct batch b = {group_new(NULL),
                      6,
                      {{NULL, 0}, {"", 0}, {NULL, 0}, {"a", 0}, {NULL, 2}, {NULL, 2}},
                      .fn = batch_fn,
                      .open = true};
    batch_run(&b);
    assert_int_equal(b.ret, 0);
    assert_int_equal(b.led, 1);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(b.rc[i], i < 4 ? 0 : -EINVAL);
        if (i < 4)
            assert_int_equal(number_of(&b.r[i]), 0);
        else
            assert_zeroed(&b.r[i]);
    }
    batch_release(&b);
    assert_all_destroyed(&b.tally);
    group_end(b.g);
}

/* Four keys are led elsewhere, and end in four ways; the fifth is our own. */
static void partial_failure(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 1;
    sflight_group *g = group_new(&o);
    struct work ok = {.status = 1}, panic = {0}, exit = {0}, full = {0};
    struct caller c[4], only_waiter;
    struct batch b = {g,
                      5,
                      {KEY("ok"), KEY("panic"), KEY("exit"), KEY("full"), KEY("own")},
                      .fn = batch_fn,
                      .open = true};
    caller_start(&c[0], g, "ok", work_fn, &ok);
    caller_start(&c[1], g, "panic", panic_fn, &panic);
    caller_start(&c[2], g, "exit", exit_fn, &exit);
    caller_start(&c[3], g, "full", work_fn, &full);
    WAIT_UNTIL(ok.runs + panic.runs + exit.runs + full.runs == 4);
    caller_start(&only_waiter, g, "full", must_not_run, NULL);
    await_waiting(g, 1);
    batch_start(&b);
    atomic_store(&full.open, true);
    atomic_store(&exit.open, true);
    atomic_store(&panic.open, true);
    atomic_store(&ok.open, true);
    thread_join(b.thread);
    callers_join(c, 4);
    caller_join(&only_waiter);
    const int rc[] = {0, -ENOTRECOVERABLE, -EOWNERDEAD, -EAGAIN, 0};
    assert_int_equal(b.ret, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(b.rc[i], rc[i]);
    assert_int_equal(b.r[0].status, 1);
    assert_non_null(strstr(b.r[1].value, "the leader panics"));
    assert_zeroed(&b.r[2]);
    assert_zeroed(&b.r[3]);
    assert_int_equal(b.r[4].status, 7);
    assert_int_equal(stats_of(g).rejected, 1);
    batch_release(&b);
    for (int i = 0; i < 4; i++)
        if (c[i].rc != NEVER_RETURNED)
            sflight_result_release(&c[i].r);
    callers_release(&only_waiter, 1);
    assert_all_destroyed(&b.tally);
    group_end(g);
}

static void deadline_for_the_followed_keys(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work other = {0};
    struct caller c;
    struct timespec soon = deadline_in_ns(1000000);
    const struct timespec *deadlines[] = {&soon, &in_the_past};
    leader_start(&c, g, "a", work_fn, &other);
    for (size_t i = 0; i < LENGTH(deadlines); i++) {
        struct batch b = {g,
                          3,
                          {KEY("b"), KEY("a"), KEY("c")},
                          .fn = batch_fn,
                          .deadline = deadlines[i],
                          .open = true};
        batch_run(&b);
        assert_int_equal(b.ret, 0);
        assert_int_equal(b.led, 2); /* a leader runs fn whatever the deadline */
        assert_int_equal(b.rc[0], 0);
        assert_int_equal(b.rc[1], -ETIMEDOUT);
        assert_int_equal(b.rc[2], 0);
        assert_zeroed(&b.r[1]);
        batch_release(&b);
        assert_all_destroyed(&b.tally);
    }
    atomic_store(&other.open, true);
    caller_join(&c);
    assert_false(c.r.shared);
    callers_release(&c, 1);
    group_end(g);
}

static int count_calls(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls;
    *(size_t *)arg += n;
    return 7;
}

/* So many that a batch that compared each with each would take an hour. */
static void a_million_malformed_or_equal_keys(void **state)
{
    (void)state;
    enum { N = SANITIZED ? 100000 : 1000000 };
    sflight_group *g = group_new(NULL);
    sflight_key *keys = calloc(N, sizeof *keys);
    sflight_result *r = calloc(N, sizeof *r);
    int *rc = calloc(N, sizeof *rc);
    for (int equal = 0; equal < 2; equal++) {
        size_t n_calls = 0;
        for (size_t i = 0; i < N; i++)
            keys[i] = equal ? (sflight_key){"key", 3} : (sflight_key){NULL, 1 + i};
        assert_int_equal(sflight_do_many(g, keys, N, count_calls, &n_calls, NULL, r, rc), 0);
        assert_int_equal(n_calls, equal);
        for (size_t i = 0; i < N; i++) {
            assert_int_equal(rc[i], equal ? 0 : -EINVAL);
            assert_int_equal(r[i].status, equal ? 7 : 0);
            sflight_result_release(&r[i]);
        }
    }
    free(keys);
    free(r);
    free(rc);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_execution_for_all_keys),
        cmocka_unit_test(an_empty_batch),
        cmocka_unit_test(own_work_comes_first),
        cmocka_unit_test(nothing_to_lead),
        cmocka_unit_test(followers_of_a_batch),
        cmocka_unit_test(a_key_named_twice_gets_one_call),
        cmocka_unit_test(a_key_named_twice_and_led_elsewhere),
        cmocka_unit_test(crossing_batches_do_not_deadlock),
        cmocka_unit_test(ten_thousand_keys_in_a_small_table),
        cmocka_unit_test(bad_arguments_claim_nothing),
        cmocka_unit_test(a_million_malformed_or_equal_keys),
        cmocka_unit_test(statuses_of_their_own),
        cmocka_unit_test(one_bad_key_does_not_poison_the_others),
        cmocka_unit_test(the_empty_key_is_one_key),
        cmocka_unit_test(partial_failure),
        cmocka_unit_test(deadline_for_the_followed_keys),
    };
    return RUN_TESTS(tests);
}
