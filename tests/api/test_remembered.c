/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that joins one call again and again remembers it, and does not search for it any more.
 * It must never show, but in time and in the few records that are kept.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

/* From the third time on the thread need not search. */
enum { AGAIN = 4 };

static void drop_all(sflight_future *const *f, int n)
{
    for (int i = 0; i < n; i++)
        sflight_future_drop(f[i]);
}

/* Joins so often that the call is remembered, and gives that up again. */
static void remember(sflight_group *g, const char *key)
{
    sflight_future *f[AGAIN];
    for (int i = 0; i < AGAIN; i++)
        f[i] = join(g, key);
    drop_all(f, AGAIN);
}

static void who_joins_again_gets_the_result(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f[CONSUMERS * AGAIN];
    for (int i = 0; i < CONSUMERS * AGAIN; i++) {
        f[i] = join(g, "key");
        assert_int_equal(stats_of(g).waiting, i + 1);
    }
    assert_int_equal(sflight_complete(call, 0), CONSUMERS * AGAIN);
    for (int i = 0; i < CONSUMERS * AGAIN; i++)
        consume(f[i], (enum consumer)(i % CONSUMERS), 0);
    assert_int_equal(stats_of(g).joined, CONSUMERS * AGAIN);
    group_end(g);
}

/* Who comes after the end, or after a forget, leads. */
static void what_is_over_is_not_joined(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 100; i++) {
        sflight_call *next, *call = lead(g, "key");
        remember(g, "key");
        switch (i % 4) {
        case 0:
            assert_int_equal(sflight_complete(call, 0), 0);
            call = NULL;
            break;
        case 1:
            assert_int_equal(sflight_forget(g, "key", 3), 1);
            break;
        case 2:
            assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
            break;
        default:
            sflight_call_abandon(call);
            assert_int_equal(sflight_complete(call, 0), 0);
            call = NULL;
        }
        next = lead(g, "key");
        sflight_future *f = join(g, "key");
        if (call != NULL)
            assert_int_equal(sflight_complete(call, 0), 0);
        assert_int_equal(sflight_complete(next, 0), 1);
        consume(f, BY_POLL, 0);
    }
    group_end(g);
}

/* Keys that have everything in common but one byte, or their length. */
static void another_key_is_another_call(void **state)
{
    (void)state;
    enum { LONGEST = 1025 };
    static const size_t longer[] = {127, 128, 129, 1024, LONGEST, 0};
    sflight_group *g = group_new(NULL);
    char key[LONGEST + 1];
    for (size_t i = 0; i <= LONGEST; i++)
        key[i] = (char)('a' + i % 26);
    for (size_t len = 0, n = 0; n == 0 || len != 0; len = len < 40 ? len + 1 : longer[n++]) {
        sflight_call *call, *other;
        sflight_future *f[AGAIN], *none;
        assert_int_equal(sflight_begin(g, key, len, &call, &none), 0);
        assert_non_null(call);
        for (int i = 0; i < AGAIN; i++) {
            assert_int_equal(sflight_begin(g, key, len, &other, &f[i]), 0);
            assert_null(other);
        }
        for (size_t at = 0; at <= len; at++) { /* at the end: the key that is longer by one */
            key[at]++;
            assert_int_equal(sflight_begin(g, key, at < len ? len : len + 1, &other, &none), 0);
            assert_non_null(other);
            assert_int_equal(sflight_complete(other, 0), 0);
            key[at]--;
        }
        assert_int_equal(sflight_complete(call, 0), AGAIN);
        drop_all(f, AGAIN);
    }
    group_end(g);
}

/* What a long key has left behind in a call's memory is not taken for the key. */
static void a_short_key_after_a_long_one(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "one", "a key that is too long to stand in the record of its call", "two"};
    sflight_group *g = group_new(NULL);
    for (size_t i = 0; i < LENGTH(keys); i++) {
        sflight_call *call = lead(g, keys[i]);
        if (i + 1 == LENGTH(keys))
            remember(g, keys[i]);
        for (size_t other = 0; other < i; other++)
            assert_int_equal(sflight_complete(lead(g, keys[other]), 0), 0);
        assert_int_equal(sflight_complete(call, 0), 0);
    }
    group_end(g);
}

static void a_closed_group_refuses(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *none, *call = lead(g, "key");
    sflight_future *f;
    remember(g, "key");
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), -ESHUTDOWN);
    assert_int_equal(sflight_complete(call, 0), 0);
    group_end(g);
}

static void a_limit_holds(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = AGAIN;
    sflight_group *g = group_new(&o);
    sflight_call *none, *call = lead(g, "key");
    sflight_future *more, *f[AGAIN];
    remember(g, "key");
    for (int i = 0; i < AGAIN; i++)
        f[i] = join(g, "key");
    assert_int_equal(sflight_begin(g, "key", 3, &none, &more), -EAGAIN);
    assert_int_equal(sflight_complete(call, 0), AGAIN);
    drop_all(f, AGAIN);
    group_end(g);
}

/* Whose leader has been told that nobody waits, that call nobody joins. */
static void what_nobody_wanted_is_not_joined(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    sflight_future *f[AGAIN];
    for (int i = 0; i < AGAIN; i++)
        f[i] = join(g, "key");
    drop_all(f, AGAIN);
    assert_true(sflight_call_unwanted(call));
    sflight_call *next = lead(g, "key");
    assert_int_equal(sflight_complete(call, 0), 0);
    assert_int_equal(sflight_complete(next, 0), 0);
    group_end(g);
}

struct crowd {
    sflight_group *g;
    atomic_uint n_remember;
    atomic_bool ended, leave;
};

static void *join_and_stay(void *arg)
{
    struct crowd *c = arg;
    remember(c->g, "key");
    atomic_fetch_add(&c->n_remember, 1);
    WAIT_UNTIL(c->ended);
    sflight_call *call;
    sflight_future *f;
    assert_int_equal(sflight_begin(c->g, "key", 3, &call, &f), 0);
    if (call != NULL)
        sflight_complete(call, 0);
    else
        sflight_future_drop(f);
    WAIT_UNTIL(c->leave);
    return NULL;
}

/*
 * More threads than can remember one call.  Its record is neither used again nor freed meanwhile,
 * which sanitizers would tell; nor is it lost.
 */
static void more_than_can_remember(void **state)
{
    (void)state;
    enum { THREADS = 256, CALLS = 100 }; /* one more than can */
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct crowd c = {.g = group_new(&o)};
    sflight_call *calls[CALLS], *call = lead(c.g, "key");
    pthread_t threads[THREADS];
    threads_start(threads, THREADS, join_and_stay, &c);
    WAIT_UNTIL(c.n_remember == THREADS);
    assert_int_equal(sflight_complete(call, 0), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CALLS; i++) {
            char key[16];
            snprintf(key, sizeof(key), "other %d", i);
            calls[i] = lead(c.g, key);
            sflight_future_drop(join(c.g, key));
        }
        for (int i = CALLS; i-- > 0;) /* the last ones find enough spare records there */
            assert_int_equal(sflight_complete(calls[i], 0), 0);
    }
    c.ended = true;
    c.leave = true;
    threads_join(threads, THREADS);
    group_end(c.g);
    assert_nothing_allocated(&counting);
}

enum { QUIET = 80 }; /* more than stay in the limbo of who ends their calls */

/* A thread for each of so many calls, which remembers it. */
struct quiet {
    sflight_group *g;
    char key[16];
    sflight_call *call;
    atomic_bool remembers;
    const atomic_bool *leave;
    pthread_t thread;
};

static void *remember_and_leave(void *arg)
{
    struct quiet *q = arg;
    remember(q->g, q->key);
    q->remembers = true;
    WAIT_UNTIL(*q->leave);
    return NULL;
}

static void quiet_start(struct quiet *quiet, sflight_group *g, const atomic_bool *leave)
{
    for (int i = 0; i < QUIET; i++) {
        struct quiet *q = &quiet[i];
        *q = (struct quiet){.g = g, .leave = leave};
        snprintf(q->key, sizeof(q->key), "quiet %d", i);
        q->call = lead(g, q->key);
        q->thread = thread_start(remember_and_leave, q);
    }
    for (int i = 0; i < QUIET; i++)
        WAIT_UNTIL(quiet[i].remembers);
}

static void quiet_complete(struct quiet *quiet)
{
    for (int i = 0; i < QUIET; i++)
        assert_int_equal(sflight_complete(quiet[i].call, 0), 0);
}

static void quiet_join(struct quiet *quiet)
{
    for (int i = 0; i < QUIET; i++)
        thread_join(quiet[i].thread);
}

/* So that what waits for nobody is used again, and no more. */
static void assert_nothing_remembered(sflight_group *g)
{
    for (int i = 0; i < 100; i++) {
        sflight_call *call = lead(g, "key");
        sflight_future_drop(join(g, "key"));
        assert_int_equal(sflight_complete(call, 0), 0);
    }
    assert_in_range(stats_of(g).retired_pending, 0, 16);
}

/* Then their records have not to wait for longer than others. */
static void who_ends_remembers_nothing(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct quiet quiet[QUIET];
    atomic_bool leave = false;
    quiet_start(quiet, g, &leave);
    quiet_complete(quiet);
    for (int i = 0; i < 100; i++)
        sflight_complete(lead(g, "key"), 0);
    assert_in_range(stats_of(g).retired_pending, QUIET, QUIET + 16); /* it is as this test says */
    leave = true;
    quiet_join(quiet);
    assert_nothing_remembered(g);
    group_end(g);
}

/* One record for each thread, whatever it has joined. */
static void one_is_remembered(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 200; i++) {
        sflight_call *calls[3];
        for (int k = 0; k < 3; k++) {
            char key[16];
            snprintf(key, sizeof(key), "%d %d", i, k);
            calls[k] = lead(g, key);
            remember(g, key);
        }
        for (int k = 0; k < 3; k++)
            assert_int_equal(sflight_complete(calls[k], 0), 0);
        assert_in_range(stats_of(g).retired_pending, 0, 16 + 3);
    }
    group_end(g);
}

/* Nor is the memory of a very long key kept with one. */
static void a_very_long_key_is_not_kept(void **state)
{
    (void)state;
    enum { VERY_LONG = 1 << 20 };
    sflight_group *g = group_new(NULL);
    char *key = malloc(VERY_LONG + 1);
    assert_non_null(key);
    memset(key, 'x', VERY_LONG);
    key[VERY_LONG] = '\0';
    sflight_call *call = lead(g, key);
    remember(g, key);
    assert_int_equal(sflight_complete(call, 0), 0);
    for (int i = 0; i < 100; i++) { /* until its record has been reclaimed; nobody joins these */
        call = lead(g, "key");
        assert_int_equal(sflight_forget(g, "key", 3), 1);
        assert_int_equal(sflight_complete(call, 0), 0);
    }
    assert_in_range(stats_of(g).bytes, 0, VERY_LONG - 1);
    free(key);
    group_end(g);
}

/* ------------------------------------------------------------------- forks */

/* The forking thread remembers a call of its own, which it has in the child, too. */
static void in_a_child_an_own_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    remember(g, "key");
    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_future *f = join(g, "key");
        assert_int_equal(sflight_complete(call, 0), 1);
        consume(f, BY_POLL, 0);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    sflight_future *f = join(g, "key");
    assert_int_equal(sflight_complete(call, 0), 1);
    consume(f, BY_POLL, 0);
    group_end(g);
}

struct elsewhere {
    sflight_group *g;
    atomic_bool leads, end;
};

static void *lead_elsewhere(void *arg)
{
    struct elsewhere *e = arg;
    sflight_call *call = lead(e->g, "key");
    e->leads = true;
    WAIT_UNTIL(e->end);
    sflight_complete(call, 0);
    return NULL;
}

/* That of another thread has no leader there. */
static void in_a_child_the_call_of_another(void **state)
{
    (void)state;
    struct elsewhere e = {.g = group_new(NULL)};
    pthread_t thread = thread_start(lead_elsewhere, &e);
    WAIT_UNTIL(e.leads);
    remember(e.g, "key");
    pid_t pid = fork_child();
    if (pid == 0) {
        child_uses_group(e.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    sflight_future *f = join(e.g, "key");
    e.end = true;
    thread_join(thread);
    consume(f, BY_POLL, 0);
    group_end(e.g);
}

/* What the parent's other threads remember nobody remembers there. */
static void in_a_child_others_remember_nothing(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct quiet quiet[QUIET];
    atomic_bool leave = false;
    quiet_start(quiet, g, &leave);
    pid_t pid = fork_child();
    if (pid == 0) {
        quiet_complete(quiet);
        assert_nothing_remembered(g);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    leave = true;
    quiet_join(quiet);
    quiet_complete(quiet);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_joins_again_gets_the_result),
        cmocka_unit_test(what_is_over_is_not_joined),
        cmocka_unit_test(another_key_is_another_call),
        cmocka_unit_test(a_short_key_after_a_long_one),
        cmocka_unit_test(a_closed_group_refuses),
        cmocka_unit_test(a_limit_holds),
        cmocka_unit_test(what_nobody_wanted_is_not_joined),
        cmocka_unit_test(more_than_can_remember),
        cmocka_unit_test(who_ends_remembers_nothing),
        cmocka_unit_test(one_is_remembered),
        cmocka_unit_test(a_very_long_key_is_not_kept),
        cmocka_unit_test(in_a_child_an_own_call),
        cmocka_unit_test(in_a_child_the_call_of_another),
        cmocka_unit_test(in_a_child_others_remember_nothing),
    };
    return RUN_TESTS(tests);
}
