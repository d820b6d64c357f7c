/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sflight_group_each(): what it says of each kind of call, each call once, and visits that use the
 * group, wait, fork, or do not return.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

/* What the visits of a walk have seen. */
enum { SEEN = 8 };
struct seen {
    size_t n;
    sflight_info info[SEEN]; /* the keys are below */
    char keys[SEEN][32];
};

static int note_call(const sflight_info *info, void *ctx)
{
    struct seen *seen = ctx;
    assert_true(seen->n < SEEN);
    assert_true(info->key.len < sizeof seen->keys[0]);
    memset(seen->keys[seen->n], 0, sizeof seen->keys[0]);
    memcpy(seen->keys[seen->n], info->key.data, info->key.len);
    seen->info[seen->n++] = *info;
    return 0;
}

/* The one call of that key, as a walk shows it now. */
static sflight_info call_of(sflight_group *g, const char *key, size_t len)
{
    struct seen seen = {0};
    const sflight_info *found = NULL;
    assert_int_equal(sflight_group_each(g, note_call, &seen), 0);
    for (size_t i = 0; i < seen.n; i++)
        if (seen.info[i].key.len == len && memcmp(seen.keys[i], key, len) == 0) {
            assert_null(found);
            found = &seen.info[i];
        }
    assert_non_null(found);
    return *found;
}

static int count_call(const sflight_info *info, void *ctx)
{
    (void)info;
    ++*(size_t *)ctx;
    return 0;
}

static size_t n_calls(sflight_group *g)
{
    size_t n = 0;
    assert_int_equal(sflight_group_each(g, count_call, &n), 0);
    return n;
}

static void assert_info(const sflight_info *info, int kind, uint32_t blocking, uint32_t futures)
{
    assert_int_equal(info->kind, kind);
    assert_int_equal(info->blocking, blocking);
    assert_int_equal(info->futures, futures);
    assert_int_equal(info->age_ns, SFLIGHT_AGE_UNKNOWN);
    assert_false(info->orphaned);
}

static void each_kind_of_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work led = {0}, started = {0};
    struct caller leader, followers[2];
    assert_int_equal(n_calls(g), 0);
    leader_start(&leader, g, "led", work_fn, &led);
    callers_start(followers, 2, g, "led", must_not_run, NULL);
    sflight_future *f[] = {join(g, "led"), start(g, "started", work_fn, &started)};
    sflight_call *permit = lead(g, ""), *forgotten = lead(g, "forgotten"), *odd = NULL;
    sflight_future *join_it, *own;
    assert_int_equal(sflight_call_future(permit, &own), 0);
    sflight_future *of_forgotten = join(g, "forgotten");
    assert_int_equal(sflight_forget(g, "forgotten", 9), 1);
    assert_int_equal(sflight_begin(g, "a\0b", 3, &odd, &join_it), 0);
    await_waiting(g, 4);
    WAIT_UNTIL(started.runs == 1);

    assert_int_equal(n_calls(g), 5);
    sflight_info info = call_of(g, "led", 3);
    assert_info(&info, SFLIGHT_KIND_LEADER, 2, 1);
    assert_false(info.forgotten);
    info = call_of(g, "started", 7);
    assert_info(&info, SFLIGHT_KIND_STARTED, 0, 0);
    info = call_of(g, "", 0);
    assert_info(&info, SFLIGHT_KIND_PERMIT, 0, 0);
    info = call_of(g, "a\0b", 3);
    assert_info(&info, SFLIGHT_KIND_PERMIT, 0, 0);
    assert_false(info.forgotten);
    info = call_of(g, "forgotten", 9);
    assert_info(&info, SFLIGHT_KIND_PERMIT, 0, 1);
    assert_true(info.forgotten);

    sflight_call *again = lead(g, "forgotten"); /* two calls of one key */
    assert_int_equal(n_calls(g), 6);
    sflight_complete(again, 0);
    sflight_complete(forgotten, 0);
    sflight_complete(permit, 0);
    sflight_complete(odd, 0);
    assert_int_equal(n_calls(g), 2);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(n_calls(g), 2); /* those are in flight */
    atomic_store(&led.open, true);
    atomic_store(&started.open, true);
    caller_join(&leader);
    callers_join(followers, 2);
    sflight_result_release(&leader.r);
    callers_release(followers, 2);
    consume(f[0], BY_GET, 0);
    consume(f[1], BY_GET, 0);
    consume(own, BY_GET, 0);
    consume(of_forgotten, BY_GET, 0);
    assert_int_equal(n_calls(g), 0);
    group_end_when_unused(g);
}

static void ages_where_they_are_known(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_age_ns = UINT64_MAX / 2;
    sflight_group *g = group_new(&o);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    sflight_call *call = lead(g, "key");
    uint64_t first = call_of(g, "key", 3).age_ns, second = call_of(g, "key", 3).age_ns;
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(first <= second);
    assert_true((int64_t)second <=
                (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec);
    sflight_complete(call, 0);
    group_end(g);
}

static int stop_at_second(const sflight_info *info, void *ctx)
{
    (void)info;
    return ++*(int *)ctx == 2 ? -77 : 0;
}

static void a_visit_ends_the_walk(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *calls[] = {lead(g, "a"), lead(g, "b"), lead(g, "c")};
    int n = 0;
    assert_int_equal(sflight_group_each(NULL, stop_at_second, &n), -EINVAL);
    assert_int_equal(sflight_group_each(g, NULL, &n), -EINVAL);
    assert_int_equal(sflight_group_each(g, stop_at_second, &n), -77);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < LENGTH(calls); i++)
        sflight_complete(calls[i], 0);
    group_end(g);
}

/* ------------------------------------------------------------ many of them */

enum { MANY = 600, KEY_MAX = 1200 };

/* The i-th of many keys; the lengths differ, and some keys do not stand in their records. */
static size_t many_key(char *key, size_t i)
{
    size_t len = i * 2 + 4;
    memset(key, 'x', len);
    (void)snprintf(key, len, "%zu", i);
    return len;
}

struct many {
    sflight_group *g;
    sflight_call *calls[MANY];
    unsigned seen[MANY];
    size_t n_others;
};

static int note_many(const sflight_info *info, void *ctx)
{
    struct many *m = ctx;
    char expected[KEY_MAX + 8];
    if (info->key.len < 4) { /* no key of many_key() is so short */
        m->n_others++;
        return 0;
    }
    size_t i = (size_t)atol(info->key.data);
    assert_true(i < MANY);
    assert_int_equal(info->key.len, many_key(expected, i));
    assert_memory_equal(info->key.data, expected, info->key.len);
    m->seen[i]++;
    return 0;
}

static void many_lead(struct many *m, size_t from, size_t to)
{
    char key[KEY_MAX + 8];
    for (size_t i = from; i < to; i++) {
        sflight_future *f;
        assert_int_equal(sflight_begin(m->g, key, many_key(key, i), &m->calls[i], &f), 0);
        assert_non_null(m->calls[i]);
    }
}

/* Those from `from` to `to` are in flight. */
static void assert_seen_once(struct many *m, size_t from, size_t to)
{
    memset(m->seen, 0, sizeof m->seen);
    assert_int_equal(sflight_group_each(m->g, note_many, m), 0);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(m->seen[i], i >= from && i < to);
}

/* In arrays that have taken over from one another, too. */
static void each_once_while_the_table_grows(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    o.shards = 4;
    o.expected_inflight = 1;
    struct many m = {.g = group_new(&o)};
    uint64_t buckets = stats_of(m.g).buckets;
    for (size_t n = 50; n <= MANY; n += 50) {
        many_lead(&m, n - 50, n);
        assert_seen_once(&m, 0, n);
    }
#ifndef SFLIGHT_TEST_HASH
    assert_true(stats_of(m.g).buckets > buckets);
#else
    (void)buckets;
#endif
    for (size_t n = 0; n < MANY; n++) {
        sflight_complete(m.calls[n], 0);
        if (n % 50 == 0)
            assert_seen_once(&m, n + 1, MANY);
    }
    group_end(m.g);
    assert_nothing_allocated(&counting);
}

static void many_of_one_key(void **state)
{
    (void)state;
    static sflight_call *calls[1000];
    sflight_group *g = group_new(NULL);
    for (size_t i = 0; i < LENGTH(calls); i++) {
        calls[i] = lead(g, "key");
        assert_int_equal(sflight_forget(g, "key", 3), 1);
    }
    assert_int_equal(n_calls(g), LENGTH(calls));
    for (size_t i = 0; i < LENGTH(calls); i++)
        sflight_complete(calls[i], 0);
    assert_int_equal(n_calls(g), 0);
    group_end(g);
}

struct traffic {
    sflight_group *g;
    atomic_bool stop;
    atomic_int n_threads;
};

static void *keep_flying(void *arg)
{
    struct traffic *t = arg;
    int me = t->n_threads++;
    for (unsigned i = 0; !t->stop; i++) {
        char key[3] = {(char)('a' + i % 20), (char)('0' + me), 0}; /* nobody else's */
        assert_key_usable(t->g, key);
        if (i % 7 == 0)
            assert_true(sflight_forget(t->g, key, 2) >= 0);
    }
    return NULL;
}

/* Calls of other threads come and go: what stays is seen each time, once. */
static void each_once_amid_others(void **state)
{
    (void)state;
    sflight_options o = small_options();
    struct many m = {.g = group_new(&o)};
    struct traffic t = {.g = m.g};
    pthread_t threads[2];
    threads_start(threads, LENGTH(threads), keep_flying, &t);
    size_t n = 0;
    for (int i = 0; i < rounds(300, 30); i++) {
        if (n < 30 && i % 3 == 0) { /* and the table grows meanwhile */
            many_lead(&m, n, n + 1);
            n++;
        }
        assert_seen_once(&m, 0, n);
    }
    t.stop = true;
    threads_join(threads, LENGTH(threads));
    for (size_t i = 0; i < n; i++)
        sflight_complete(m.calls[i], 0);
    group_end(m.g);
}

/* ---------------------------------------------------------- what visits do */

struct visitor {
    sflight_group *g;
    sflight_call *calls[2];
    int n;
};

/* Whatever it uses of the group is for everybody but destroy. */
static int use_the_group(const sflight_info *info, void *ctx)
{
    struct visitor *v = ctx;
    assert_int_equal(sflight_group_destroy(v->g), -EBUSY);
    assert_key_usable(v->g, "another");
    assert_int_equal(n_calls(v->g), 2 - v->n);
    assert_int_equal(sflight_forget(v->g, info->key.data, info->key.len), 1);
    sflight_complete(v->calls[*(const char *)info->key.data - 'a'], 0);
    assert_int_equal(info->key.len, 1); /* the copy is still there */
    assert_true(*(const char *)info->key.data == 'a' || *(const char *)info->key.data == 'b');
    v->n++;
    return 0;
}

static void visits_may_use_the_group(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct visitor v = {.g = g, .calls = {lead(g, "a"), lead(g, "b")}};
    assert_int_equal(sflight_group_each(g, use_the_group, &v), 0);
    assert_int_equal(v.n, 2);
    group_end(g);
}

static int exit_thread(const sflight_info *info, void *ctx)
{
    (void)info, (void)ctx;
    pthread_exit(NULL);
}

static void *walk_and_exit(void *g)
{
    (void)sflight_group_each(g, exit_thread, NULL);
    fail_msg("the thread should have ended");
    return NULL;
}

static int panic(const sflight_info *info, void *ctx)
{
    (void)info;
    sflight_panic(ctx, "in a visit");
}

static int walk_and_panic(sflight_call *call, void *g)
{
    (void)sflight_group_each(g, panic, call);
    fail_msg("fn should have been left");
    return 0;
}

static void a_visit_that_does_not_return_loses_nothing(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    sflight_result r;
    thread_join(thread_start(walk_and_exit, g));
    assert_int_equal(do_str(g, "panics", walk_and_panic, g, &r), -ENOTRECOVERABLE);
    sflight_result_release(&r);
    assert_int_equal(n_calls(g), 1);
    sflight_complete(call, 0);
    group_end(g); /* nothing keeps it */
    assert_nothing_allocated(&counting);
}

static void memory_runs_out(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    size_t n = 0;
    assert_int_equal(n_calls(g), 1); /* this thread has all that it needs */
    counting_fail(&counting, 1, true);
    assert_int_equal(sflight_group_each(g, count_call, &n), -ENOMEM);
    assert_int_equal(n, 0);
    assert_true(counting_relent(&counting));
    assert_int_equal(n_calls(g), 1);
    sflight_complete(call, 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

struct forker {
    sflight_group *g;
    sflight_call *calls[3];
    pid_t child;
    int n;
};

/* In parent and child: from the second visit on nothing but the walk keeps the group. */
static int fork_first(const sflight_info *info, void *ctx)
{
    struct forker *f = ctx;
    (void)info;
    f->n++;
    if (f->n == 1)
        f->child = fork_child();
    for (size_t i = 0; f->n == 2 && i < LENGTH(f->calls); i++)
        sflight_complete(f->calls[i], 0);
    assert_int_equal(sflight_group_destroy(f->g), -EBUSY);
    return 0;
}

static void a_visit_may_fork(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct forker f = {.g = g, .calls = {lead(g, "a"), lead(g, "b"), lead(g, "c")}};
    assert_int_equal(sflight_group_each(g, fork_first, &f), 0);
    assert_true(f.n >= 2);
    group_end(g);
    if (f.child == 0)
        _exit(0);
    assert_child_succeeds(f.child);
}

static pid_t forked;

static int fork_and_panic(const sflight_info *info, void *call)
{
    (void)info;
    forked = fork_child();
    sflight_panic(call, "in a visit");
}

static int walk_fork_and_panic(sflight_call *call, void *g)
{
    (void)sflight_group_each(g, fork_and_panic, call);
    fail_msg("fn should have been left");
    return 0;
}

/* The child has counted nothing of the walk, and counts no end of it. */
static void a_visit_may_fork_and_not_return(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", walk_fork_and_panic, g, &r), -ENOTRECOVERABLE);
    assert_int_equal(sflight_group_destroy(g), -EBUSY); /* the result is held */
    sflight_result_release(&r);
    group_end(g);
    if (forked == 0)
        _exit(0);
    assert_child_succeeds(forked);
}

/* In the child what others lead is not there. */
static void a_child_sees_its_own(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "led", work_fn, &w);
    sflight_call *mine = lead(g, "mine");
    pid_t child = fork_child();
    if (child == 0) {
        assert_int_equal(n_calls(g), 1);
        assert_int_equal(call_of(g, "mine", 4).kind, SFLIGHT_KIND_PERMIT);
        sflight_complete(mine, 0);
        group_end(g);
        _exit(0);
    }
    assert_child_succeeds(child);
    assert_int_equal(n_calls(g), 2);
    sflight_complete(mine, 0);
    atomic_store(&w.open, true);
    caller_join(&leader);
    sflight_result_release(&leader.r);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_call),
        cmocka_unit_test(ages_where_they_are_known),
        cmocka_unit_test(a_visit_ends_the_walk),
        cmocka_unit_test(each_once_while_the_table_grows),
        cmocka_unit_test(many_of_one_key),
        cmocka_unit_test(each_once_amid_others),
        cmocka_unit_test(visits_may_use_the_group),
        cmocka_unit_test(a_visit_that_does_not_return_loses_nothing),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(a_visit_may_fork),
        cmocka_unit_test(a_visit_may_fork_and_not_return),
        cmocka_unit_test(a_child_sees_its_own),
    };
    return RUN_TESTS(tests);
}
