/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocking callers: what Go's tests of x/sync/singleflight and of the standard
 * library's copy assert (their names are kept), and what they leave out.
 */
#include "../lib/api_test.h"

/* ------------------------------------------------- the tests that Go has */

static void go_TestDo(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r;
    assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
    assert_int_equal(number_of(&r), 1);
    assert_int_equal(r.status, 0);
    assert_true(r.leader);
    assert_false(r.shared);
    assert_int_equal(r.followers, 0);
    sflight_result_release(&r);
    assert_zeroed(&r);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

static int return_arg(sflight_call *call, void *arg)
{
    (void)call;
    return *(int *)arg;
}

static void go_TestDoErr(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    int statuses[] = {1, 404, -1, -ETIMEDOUT, -EOWNERDEAD, INT_MAX, INT_MIN};
    for (size_t i = 0; i < LENGTH(statuses); i++) {
        sflight_result r;
        assert_int_equal(do_str(g, "key", return_arg, &statuses[i], &r), 0);
        assert_int_equal(r.status, statuses[i]);
        assert_null(r.value);
        assert_int_equal(r.size, 0);
        assert_true(r.leader);
        sflight_result_release(&r);
    }
    group_end(g);
}

/* n callers of one gated call: one execution, and every field of each result. */
static void suppress_duplicates(const sflight_options *o, size_t n)
{
    sflight_group *g = group_new(o);
    struct work w = {.status = 5};
    struct caller *c = calloc(n, sizeof *c);
    assert_non_null(c);
    callers_start(c, n, g, "key", work_fn, &w);
    await_waiting(g, n - 1);
    assert_int_equal(stats_of(g).in_flight, 1);
    atomic_store(&w.open, true);
    callers_join(c, n);
    assert_int_equal(w.runs, 1);
    int leaders = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].r.status, 5);
        assert_int_equal(number_of(&c[i].r), 1);
        assert_ptr_equal(c[i].r.value, c[0].r.value);
        assert_int_equal(c[i].r.followers, n - 1);
        assert_true(c[i].r.shared);
        leaders += c[i].r.leader;
    }
    assert_int_equal(leaders, 1);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, n - 1);
    assert_int_equal(s.held, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(w.tally.destroyed, 0);
        sflight_result_release(&c[i].r);
    }
    assert_int_equal(w.tally.destroyed, 1);
    free(c);
    group_end(g);
}

static void go_TestDoDupSuppress(void **state)
{
    (void)state;
    suppress_duplicates(NULL, 10);
}

static void dup_suppress_with_every_way_of_waiting(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, 1, 1000, 1000000000, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        for (size_t n = 2; n <= 6; n += 2)
            suppress_duplicates(&o, n);
    }
}

static void dup_suppress_hundreds(void **state)
{
    (void)state;
    suppress_duplicates(NULL, 500);
}

static void go_TestForget(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work first = {0}, second = {.status = 2};
    struct caller a, b, c;
    leader_start(&a, g, "key", work_fn, &first);
    assert_int_equal(sflight_forget(g, "key", 3), 1);

    leader_start(&b, g, "key", work_fn, &second); /* beside the first */
    assert_int_equal(stats_of(g).in_flight, 2);

    atomic_store(&first.open, true); /* its end must not free the key */
    caller_join(&a);
    caller_start(&c, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&second.open, true);
    caller_join(&b);
    caller_join(&c);

    assert_int_equal(a.rc, 0);
    assert_true(a.r.leader);
    assert_false(a.r.shared);
    assert_int_equal(a.r.status, 0);
    assert_int_equal(b.rc, 0);
    assert_true(b.r.leader);
    assert_true(b.r.shared);
    assert_int_equal(c.rc, 0);
    assert_false(c.r.leader);
    assert_int_equal(c.r.status, 2);
    assert_ptr_equal(c.r.value, b.r.value);
    assert_int_equal(stats_of(g).forgotten, 1);
    callers_release(&a, 1);
    callers_release(&b, 1);
    callers_release(&c, 1);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&second.tally);
    group_end(g);
}

static void go_ExampleGroup(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller first, second;
    leader_start(&first, g, "key", work_fn, &w);
    caller_start(&second, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&w.open, true);
    caller_join(&first);
    caller_join(&second);
    assert_true(first.r.shared);
    assert_true(second.r.shared);
    assert_int_equal(number_of(&first.r), 1);
    assert_int_equal(number_of(&second.r), 1);
    callers_release(&first, 1);
    callers_release(&second, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

static void go_TestForgetUnshared(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work first = {.status = 1}, second = {.status = 2};
    struct caller a, b, c;
    leader_start(&a, g, "key", work_fn, &first);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);

    leader_start(&b, g, "key", work_fn, &second);
    caller_start(&c, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);

    atomic_store(&first.open, true);
    caller_join(&a);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);
    atomic_store(&second.open, true);
    caller_join(&b);
    caller_join(&c);
    assert_false(a.r.shared); /* forgotten unshared: its leader's alone */
    assert_int_equal(a.r.status, 1);
    assert_int_equal(c.r.status, 2);
    assert_ptr_equal(c.r.value, b.r.value);
    assert_int_equal(stats_of(g).forgotten, 1);
    callers_release(&a, 1);
    callers_release(&b, 1);
    callers_release(&c, 1);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&second.tally);
    group_end(g);
}

struct race {
    sflight_group *g;
    struct work w;
    atomic_int refused;
};

static void *do_then_forget_unshared(void *arg)
{
    struct race *race = arg;
    sflight_result r;
    assert_int_equal(do_str(race->g, "key", work_fn, &race->w, &r), 0);
    if (sflight_forget_unshared(race->g, "key", 3) != 1)
        atomic_fetch_add(&race->refused, 1);
    assert_int_equal(number_of(&r), 1);
    sflight_result_release(&r);
    return NULL;
}

static void go_TestDoAndForgetUnsharedRace(void **state)
{
    (void)state;
    enum { N = 1000 };
    static pthread_t threads[N];
    for (int round = 0; round < 3; round++) {
        struct race race = {.g = group_new(NULL)};
        threads_start(threads, N, do_then_forget_unshared, &race);
        await_waiting(race.g, N - 1);
        atomic_store(&race.w.open, true);
        threads_join(threads, N);
        assert_int_equal(race.w.runs, 1);
        assert_int_equal(race.refused, 0);
        assert_int_equal(stats_of(race.g).forgotten, 0);
        assert_all_destroyed(&race.w.tally);
        group_end(race.g);
    }
}

/* ------------------------------------------------------ untested in Go */

static void old_followers_get_the_forgotten_result(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work first = {.status = 1}, second = {.status = 2};
    struct caller a, b[2], c;
    leader_start(&a, g, "key", work_fn, &first);
    callers_start(b, 2, g, "key", must_not_run, NULL);
    await_waiting(g, 2);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    assert_int_equal(sflight_forget(g, "key", 3), 0); /* forgotten already */
    leader_start(&c, g, "key", work_fn, &second);
    atomic_store(&second.open, true); /* the new call ends before the old */
    caller_join(&c);
    assert_int_equal(stats_of(g).waiting, 2);
    atomic_store(&first.open, true);
    caller_join(&a);
    callers_join(b, 2);
    assert_int_equal(c.r.status, 2);
    assert_int_equal(a.r.status, 1);
    assert_true(a.r.shared);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b[i].rc, 0);
        assert_int_equal(b[i].r.status, 1);
        assert_int_equal(b[i].r.followers, 2);
        assert_ptr_equal(b[i].r.value, a.r.value);
    }
    callers_release(&a, 1);
    callers_release(b, 2);
    callers_release(&c, 1);
    assert_all_destroyed(&first.tally);
    assert_all_destroyed(&second.tally);
    group_end(g);
}

static void forget_with_no_call_in_flight(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    assert_key_usable(g, "key");
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    assert_int_equal(stats_of(g).forgotten, 0);
    group_end(g);
}

struct nested {
    sflight_group *g;
    int depth;
    struct tally tally;
};

/* Forgets its own key, then asks for it again, five executions deep. */
static int forget_and_ask_again(sflight_call *call, void *arg)
{
    struct nested *n = arg;
    int depth = ++n->depth;
    if (depth < 5) {
        assert_int_equal(sflight_forget(n->g, "key", 3), 1);
        sflight_result r;
        assert_int_equal(do_str(n->g, "key", forget_and_ask_again, n, &r), 0);
        assert_true(r.leader);
        assert_int_equal(number_of(&r), depth + 1);
        sflight_result_release(&r);
    }
    value_set(call, &n->tally, depth);
    return 0;
}

static void forget_inside_fn_then_the_same_key_again(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct nested n = {.g = g};
    sflight_result r;
    assert_int_equal(do_str(g, "key", forget_and_ask_again, &n, &r), 0);
    assert_int_equal(number_of(&r), 1);
    sflight_result_release(&r);
    assert_int_equal(n.depth, 5);
    assert_int_equal(n.tally.destroyed, 5);
    assert_int_equal(stats_of(g).forgotten, 4);
    assert_key_usable(g, "key");
    group_end(g);
}

static int forget_own_key_unshared(sflight_call *call, void *arg)
{
    size_t len;
    const void *key = sflight_call_key(call, &len);
    return sflight_forget_unshared(arg, key, len);
}

static void forget_unshared_inside_fn(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", forget_own_key_unshared, g, &r), 0);
    assert_int_equal(r.status, 1);
    assert_false(r.shared);
    sflight_result_release(&r);
    assert_int_equal(stats_of(g).forgotten, 1);
    assert_key_usable(g, "key");
    group_end(g);
}

/*
 * Each leader forgets its own call unless it is shared, while others join: what
 * it has forgotten reaches nobody else, what it has not is shared.
 */
static int forget_own_key_unshared_amid_joiners(sflight_call *call, void *arg)
{
    int forgotten = forget_own_key_unshared(call, arg);
    sched_yield();
    return forgotten;
}

static int n_forgettings(void)
{
    return rounds(50000, 5000);
}

static void *ask_amid_forgetting(void *g)
{
    for (int i = n_forgettings(); i != 0; i--) {
        sflight_result r;
        assert_int_equal(do_str(g, "key", forget_own_key_unshared_amid_joiners, g, &r), 0);
        assert_int_equal(r.shared, r.status == 0);
        assert_int_equal(r.followers > 0, r.status == 0);
        sflight_result_release(&r);
    }
    return NULL;
}

static void forget_unshared_against_joiners(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    pthread_t threads[4];
    threads_start(threads, LENGTH(threads), ask_amid_forgetting, g);
    threads_join(threads, LENGTH(threads));
    sflight_stats s = stats_of(g);
    assert_int_equal(s.led + s.joined, LENGTH(threads) * (size_t)n_forgettings());
    group_end(g);
}

/* What a thread gets must be newer than anything that it has got before. */
struct repeat {
    sflight_group *g;
    atomic_int runs;
    struct tally tally;
};

static int numbered(sflight_call *call, void *arg)
{
    struct repeat *w = arg;
    value_set(call, &w->tally, atomic_fetch_add(&w->runs, 1) + 1);
    return 0;
}

static void *ask_again_and_again(void *arg)
{
    struct repeat *w = arg;
    int last = 0;
    for (int i = rounds(5000, 5000); i != 0; i--) {
        sflight_result r;
        assert_int_equal(do_str(w->g, "key", numbered, w, &r), 0);
        assert_true(number_of(&r) > last);
        last = number_of(&r);
        sflight_result_release(&r);
    }
    return NULL;
}

static void nobody_joins_after_a_return(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        struct repeat w = {.g = group_new(&o)};
        pthread_t threads[4];
        threads_start(threads, LENGTH(threads), ask_again_and_again, &w);
        threads_join(threads, LENGTH(threads));
        assert_int_equal(w.tally.made, w.runs);
        assert_all_destroyed(&w.tally);
        group_end(w.g);
    }
}

/*
 * A thousand calls of one thread in flight at once, each inside the one
 * before, in the smallest table there is: every bucket holds many keys.
 */
struct tower {
    sflight_group *g;
    int height;
};

static int tower_fn(sflight_call *call, void *arg)
{
    struct tower *t = arg;
    int level = t->height++;
    assert_memory_equal(sflight_call_key(call, NULL), &level, sizeof level);
    sflight_result r;
    if (t->height < 1000) {
        assert_int_equal(sflight_do(t->g, &t->height, sizeof t->height, tower_fn, t, &r), 0);
        assert_int_equal(r.status, level + 1);
        assert_true(r.leader);
        sflight_result_release(&r);
    } else {
        assert_int_equal(stats_of(t->g).in_flight, 1000);
        for (int key = 0; key < 1000; key += 2)
            assert_int_equal(sflight_forget(t->g, &key, sizeof key), 1);
        for (int key = 0; key < 1000; key++) {
            bool forgotten = key % 2 == 0;
            int rc = sflight_do(t->g, &key, sizeof key, return_arg, &key, &r);
            assert_int_equal(rc, forgotten ? 0 : -EDEADLK);
            sflight_result_release(&r);
        }
    }
    return level;
}

static void a_thousand_keys_in_flight_in_the_smallest_table(void **state)
{
    (void)state;
    sflight_options o = small_options();
    struct tower t = {.g = group_new(&o)};
    int key = 0;
    for (int round = 0; round < 3; round++) {
        sflight_result r;
        t.height = 0;
        assert_int_equal(sflight_do(t.g, &key, sizeof key, tower_fn, &t, &r), 0);
        assert_int_equal(r.status, 0);
        sflight_result_release(&r);
        assert_int_equal(t.height, 1000);
    }
    group_end(t.g);
}

static void groups_are_namespaces(void **state)
{
    (void)state;
    sflight_group *g[2] = {group_new(NULL), group_new(NULL)};
    struct work w[2] = {{.status = 1}, {.status = 2}};
    struct caller c[2];
    for (int i = 0; i < 2; i++) {
        leader_start(&c[i], g[i], "key", work_fn, &w[i]);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&w[i].open, true);
        caller_join(&c[i]);
        assert_int_equal(c[i].r.status, i + 1);
        assert_false(c[i].r.shared);
        callers_release(&c[i], 1);
        group_end(g[i]);
    }
}

struct overwritten {
    struct work w;
    char key[8];
};

static int overwrite_the_key(sflight_call *call, void *arg)
{
    struct overwritten *o = arg;
    memset(o->key, 'x', sizeof o->key);
    int rc = work_fn(call, &o->w);
    size_t len;
    const char *key = sflight_call_key(call, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(key, "key", 3);
    return rc;
}

static void the_key_is_copied(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct overwritten o = {.key = "key"};
    struct caller a, b;
    caller_start(&a, g, o.key, overwrite_the_key, &o);
    WAIT_UNTIL(o.w.runs == 1);
    caller_start(&b, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&o.w.open, true);
    caller_join(&a);
    caller_join(&b);
    assert_int_equal(b.rc, 0);
    callers_release(&a, 1);
    callers_release(&b, 1);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_TestDo),
        cmocka_unit_test(go_TestDoErr),
        cmocka_unit_test(go_TestDoDupSuppress),
        cmocka_unit_test(go_TestForget),
        cmocka_unit_test(go_ExampleGroup),
        cmocka_unit_test(go_TestForgetUnshared),
        cmocka_unit_test(go_TestDoAndForgetUnsharedRace),
        cmocka_unit_test(dup_suppress_with_every_way_of_waiting),
        cmocka_unit_test(dup_suppress_hundreds),
        cmocka_unit_test(old_followers_get_the_forgotten_result),
        cmocka_unit_test(forget_with_no_call_in_flight),
        cmocka_unit_test(forget_inside_fn_then_the_same_key_again),
        cmocka_unit_test(forget_unshared_inside_fn),
        cmocka_unit_test(forget_unshared_against_joiners),
        cmocka_unit_test(nobody_joins_after_a_return),
        cmocka_unit_test(a_thousand_keys_in_flight_in_the_smallest_table),
        cmocka_unit_test(groups_are_namespaces),
        cmocka_unit_test(the_key_is_copied),
    };
    return RUN_TESTS(tests);
}
