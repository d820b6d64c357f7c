/* SPDX-License-Identifier: BSD-2-Clause */
/* Arguments that are wrong, keys that are odd, holds that are mishandled. */
#include "../lib/counting_alloc.h"

/* ------------------------------------------------------------- arguments */

/* The empty key needs no address. */
static void the_empty_key_without_an_address(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    sflight_call *call;
    sflight_future *f;
    assert_int_equal(sflight_do(g, NULL, 0, nothing, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_do_until(g, NULL, 0, nothing, NULL, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_begin(g, NULL, 0, &call, &f), 0);
    assert_int_equal(sflight_forget(g, "", 0), 1);
    sflight_complete(call, 0);
    assert_int_equal(sflight_forget(g, NULL, 0), 0);
    assert_int_equal(sflight_forget_unshared(g, NULL, 0), 1);
    group_end(g);
}

static void null_arguments(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    const struct {
        sflight_group *g;
        const char *key;
        size_t len;
        sflight_fn *fn;
    } bad[] = {{NULL, "k", 1, must_not_run}, {g, NULL, 1, must_not_run}, {g, "k", 1, NULL}};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        memset(&r, 0xA5, sizeof r);
        assert_int_equal(sflight_do(bad[i].g, bad[i].key, bad[i].len, bad[i].fn, NULL, &r),
                         -EINVAL);
        assert_zeroed(&r);
        memset(&r, 0xA5, sizeof r);
        assert_int_equal(
            sflight_do_until(bad[i].g, bad[i].key, bad[i].len, bad[i].fn, NULL, &in_the_past, &r),
            -EINVAL);
        assert_zeroed(&r);
        sflight_result_release(&r);
    }
    assert_int_equal(sflight_do(g, "k", 1, must_not_run, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_do_until(g, "k", 1, must_not_run, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_forget(NULL, "k", 1), -EINVAL);
    assert_int_equal(sflight_forget(g, NULL, 1), -EINVAL);
    assert_int_equal(sflight_forget_unshared(NULL, "k", 1), -EINVAL);
    assert_int_equal(sflight_forget_unshared(g, NULL, 1), -EINVAL);
    assert_int_equal(stats_of(g).led, 0);
    sflight_options_init(NULL);
    assert_int_equal(do_str(g, "k", nothing, NULL, &r), 0);
    sflight_result *same = &r;
    assert_int_equal(sflight_result_retain(&r, same), -EINVAL);
    assert_non_null(r.hold);
    sflight_result_release(&r);
    group_end(g);
}

/* ------------------------------------------------------------------ keys */

static int key_is(sflight_call *call, void *arg)
{
    const sflight_key *key = arg;
    size_t len;
    const void *data = sflight_call_key(call, &len);
    assert_int_equal(len, key->len);
    if (len > 0)
        assert_memory_equal(data, key->data, len);
    return 0;
}

/* Each in flight inside the one before: all of them are different keys. */
struct nest {
    sflight_group *g;
    const sflight_key *keys;
    size_t n;
    size_t depth;
};

static int nest_fn(sflight_call *call, void *arg)
{
    struct nest *n = arg;
    sflight_key key = n->keys[n->depth];
    key_is(call, &key);
    for (size_t i = 0; i <= n->depth; i++) {
        sflight_result r;
        assert_int_equal(sflight_do(n->g, n->keys[i].data, n->keys[i].len, must_not_run, NULL, &r),
                         -EDEADLK);
    }
    if (++n->depth < n->n) {
        const sflight_key *next = &n->keys[n->depth];
        sflight_result r;
        assert_int_equal(sflight_do(n->g, next->data, next->len, nest_fn, n, &r), 0);
        sflight_result_release(&r);
    } else {
        assert_int_equal(stats_of(n->g).in_flight, n->n);
        assert_int_equal(sflight_forget(n->g, n->keys[0].data, n->keys[0].len), 1);
    }
    return 0;
}

static void odd_keys_are_all_different(void **state)
{
    (void)state;
    enum { BIG = 1 << 20 };
    char *big = calloc(2, BIG), *twin = calloc(2, BIG);
    assert_true(big && twin);
    twin[BIG - 1] = 1; /* differs in its last byte only */
    const sflight_key keys[] = {
        {"", 0},     {"\0", 1},     {"\0\0", 2}, {"a", 1},       {"a\0", 2},     {"a\0b", 3},
        {"a\0c", 3}, {"\0a", 2},    {"\xff", 1}, {big, BIG},     {twin, BIG},    {big, BIG - 1},
        {big, 17},   {big, 16},     {big, 240},  {big, 241},     {big, 128},     {big, 129},
        {big, 31},   {"\xff\0", 2}, {big, 4096}, {big, BIG + 1}, {big, BIG / 2}, {"b", 1},
    };
    for (uint32_t shards = 0; shards <= 1; shards++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        o.shards = shards;
        o.expected_inflight = 1;
        struct nest n = {group_new(&o), keys, LENGTH(keys), 0};
        sflight_result r;
        assert_int_equal(sflight_do(n.g, NULL, 0, nest_fn, &n, &r), 0); /* the empty key */
        sflight_result_release(&r);
        assert_int_equal(n.depth, LENGTH(keys));
        for (size_t i = 0; i < LENGTH(keys); i++) {
            assert_int_equal(sflight_forget(n.g, keys[i].data, keys[i].len), 0);
            sflight_key key = keys[i];
            assert_int_equal(sflight_do(n.g, key.data, key.len, key_is, &key, &r), 0);
            sflight_result_release(&r);
        }
        group_end(n.g);
        assert_nothing_allocated(&counting);
    }
    free(big);
    free(twin);
}

static void big_keys_are_joined(void **state)
{
    (void)state;
    enum { BIG = 1 << 20 };
    char *key = malloc(BIG + 1);
    assert_non_null(key);
    memset(key, 'k', BIG);
    key[BIG] = '\0';
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c[3];
    callers_start(c, LENGTH(c), g, key, work_fn, &w);
    await_waiting(g, 2);
    atomic_store(&w.open, true);
    callers_join(c, LENGTH(c));
    assert_int_equal(w.runs, 1);
    callers_release(c, LENGTH(c));
    free(key);
    group_end(g);
}

/* ----------------------------------------------------------------- holds */

static void releasing_what_is_not_held(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r, copy;
    sflight_result_release(NULL);
    memset(&r, 0, sizeof r);
    sflight_result_release(&r);
    assert_int_equal(sflight_result_retain(NULL, NULL), -EINVAL);
    memset(&copy, 0xA5, sizeof copy);
    assert_int_equal(sflight_result_retain(NULL, &copy), -EINVAL);
    assert_zeroed(&copy);
    memset(&copy, 0xA5, sizeof copy);
    assert_int_equal(sflight_result_retain(&r, &copy), -EINVAL);
    assert_zeroed(&copy);

    assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
    assert_int_equal(sflight_result_retain(&r, NULL), -EINVAL);
    sflight_result_release(&r);
    assert_zeroed(&r);
    assert_int_equal(sflight_result_retain(&r, &copy), -EINVAL);
    sflight_result_release(&r); /* again */
    sflight_result_release(&copy);
    assert_int_equal(w.tally.destroyed, 1);
    group_end(g);
}

static void a_result_without_a_value_is_held_all_the_same(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", return_7, NULL, &r), 0);
    assert_int_equal(stats_of(g).held, 1);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    assert_int_equal(sflight_result_retain(&r, &copy), 0);
    assert_int_equal(copy.status, 7);
    sflight_result_release(&r);
    sflight_result_release(&copy);
    group_end(g);
}

static void *release_here(void *arg)
{
    sflight_result_release(arg);
    return NULL;
}

/* Thread after thread gives up the last hold on what another has led. */
static void release_from_threads_that_never_called(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    for (int i = 0; i < 300; i++) {
        struct work w = {.open = true};
        sflight_result r;
        assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
        thread_join(thread_start(release_here, &r));
        assert_zeroed(&r);
        assert_int_equal(w.tally.destroyed, 1);
    }
    group_end(g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(the_empty_key_without_an_address),
        cmocka_unit_test(odd_keys_are_all_different),
        cmocka_unit_test(big_keys_are_joined),
        cmocka_unit_test(releasing_what_is_not_held),
        cmocka_unit_test(a_result_without_a_value_is_held_all_the_same),
        cmocka_unit_test(release_from_threads_that_never_called),
    };
    return RUN_TESTS(tests);
}
