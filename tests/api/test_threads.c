/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that come and go: calls from late destructors of thread-specific
 * data, threads and groups by the thousand in bounded memory.
 */
#include "../lib/counting_alloc.h"
#include "../lib/load.h"

/* Growth that is noise of malloc and of the kernel. */
enum { SLACK_BYTES = 1 << 20 };

static void do_number(sflight_group *g, unsigned key)
{
    sflight_result r;
    assert_int_equal(sflight_do(g, &key, sizeof key, return_7, NULL, &r), 0);
    assert_int_equal(r.status, 7);
    sflight_result_release(&r);
}

/* ---------------------------------------- thread-specific data that calls */

/*
 * A destructor that comes again for ROUNDS rounds.  The library's own key may
 * have been created before or after this one, so that its destructor runs
 * before or after this one does.
 */
enum { ROUNDS = SANITIZED ? 2 : 4 }; /* of 4 that there are; TSan is gone in the last */

static pthread_key_t early_key, late_key;

struct last_words {
    pthread_key_t key;
    sflight_group *g;
    sflight_result held; /* from the thread's life, released in the last round */
    int round;
    struct tally tally;
};

static void say_last_words(void *arg)
{
    struct last_words *l = arg;
    assert_key_usable(l->g, "key");
    sflight_key keys[] = {{"a", 1}, {"b", 1}};
    sflight_result r[2];
    int rc[2];
    assert_int_equal(sflight_do_many(l->g, keys, 2, nothing_for_all, NULL, NULL, r, rc), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rc[i], 0);
        sflight_result_release(&r[i]);
    }
    assert_int_equal(sflight_forget(l->g, "key", 3), 0);
    if (++l->round < ROUNDS)
        assert_int_equal(pthread_setspecific(l->key, l), 0);
    else
        sflight_result_release(&l->held);
}

static int set_shared_value(sflight_call *call, void *arg)
{
    value_set(call, arg, 1);
    return 0;
}

static void *live_hold_and_die(void *arg)
{
    struct last_words *l = arg;
    assert_int_equal(pthread_setspecific(l->key, l), 0);
    assert_int_equal(do_str(l->g, "key", set_shared_value, &l->tally, &l->held), 0);
    return NULL;
}

/* Never uses the library in its life, only when it dies. */
static void *just_die(void *arg)
{
    struct last_words *l = arg;
    assert_int_equal(pthread_setspecific(l->key, l), 0);
    return NULL;
}

static void calls_from_late_destructors(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    const pthread_key_t keys[] = {early_key, late_key};
    size_t bytes_before = 0;
    for (int i = 0; i < 200; i++) {
        struct last_words l[4];
        for (size_t j = 0; j < LENGTH(l); j++) {
            l[j] = (struct last_words){.key = keys[j % 2], .g = g};
            thread_join(thread_start(j < 2 ? live_hold_and_die : just_die, &l[j]));
            assert_int_equal(l[j].round, ROUNDS);
            assert_all_destroyed(&l[j].tally);
        }
        if (i == 100)
            bytes_before = stats_of(g).bytes;
    }
    /* Records may be waiting for their grace period; 400 slots or records lost would be more. */
    assert_true(stats_of(g).bytes <= bytes_before + 65536);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* A call that is led and followed from destructors. */
struct mourner {
    sflight_group *g;
    struct work w;
};

static void lead_at_the_end(void *arg)
{
    struct mourner *m = arg;
    sflight_result r;
    assert_int_equal(do_str(m->g, "end", work_fn, &m->w, &r), 0);
    sflight_result_release(&r);
}

static void follow_at_the_end(void *arg)
{
    struct mourner *m = arg;
    sflight_result r;
    assert_int_equal(do_str(m->g, "end", must_not_run, NULL, &r), 0);
    assert_false(r.leader);
    assert_int_equal(number_of(&r), 1);
    sflight_result_release(&r);
}

static pthread_key_t leader_key, follower_key;

static void *use_then_lead(void *arg)
{
    struct mourner *m = arg;
    do_number(m->g, 1);
    assert_int_equal(pthread_setspecific(leader_key, m), 0);
    return NULL;
}

static void *use_then_follow(void *arg)
{
    struct mourner *m = arg;
    do_number(m->g, 2);
    assert_int_equal(pthread_setspecific(follower_key, m), 0);
    return NULL;
}

static void leading_and_following_from_destructors(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct mourner m = {.g = group_new(NULL)};
        pthread_t threads[3];
        threads[0] = thread_start(use_then_lead, &m);
        WAIT_UNTIL(m.w.runs == 1);
        threads[1] = thread_start(use_then_follow, &m);
        threads[2] = thread_start(use_then_follow, &m);
        await_waiting(m.g, 2);
        atomic_store(&m.w.open, true);
        threads_join(threads, 3);
        assert_all_destroyed(&m.w.tally);
        group_end(m.g);
    }
}

/* -------------------------------------------------- threads by the thousand */

struct churn {
    sflight_group *g;
    atomic_uint next;
    unsigned last;
};

/* A short life: a few calls, led or followed, on keys that others use, too. */
static void *short_life(void *arg)
{
    struct churn *c = arg;
    unsigned id = atomic_fetch_add(&c->next, 1);
    do_number(c->g, id % 3);
    do_number(c->g, id);
    sflight_forget(c->g, &id, sizeof id);
    return NULL;
}

static void churn_until(struct churn *c, unsigned last)
{
    enum { AT_A_TIME = 8 };
    pthread_t threads[AT_A_TIME];
    while (c->next < last) {
        threads_start(threads, AT_A_TIME, short_life, c);
        threads_join(threads, AT_A_TIME);
    }
}

static void a_hundred_thousand_threads(void **state)
{
    (void)state;
    const unsigned warm_up = (unsigned)rounds(10000, 1000), all = (unsigned)rounds(100000, 3000);
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct churn c = {.g = group_new(&o)};
    churn_until(&c, warm_up);
    size_t resident = resident_bytes();
    uint64_t bytes = stats_of(c.g).bytes;
    churn_until(&c, all);
    sflight_stats s = stats_of(c.g);
    assert_true(s.bytes <= bytes + bytes / 2 + 65536);
    assert_true(s.retired_pending < 10000);
    assert_int_equal(s.led + s.joined, 2 * c.next);
    if (!SANITIZED && !EMULATED) /* whose own memory grows */
        assert_true(resident_bytes() <= resident + SLACK_BYTES);
    group_end(c.g);
    assert_nothing_allocated(&counting);
}

/* What a quiet thread has retired must not pile up with what others retire. */
struct quiet {
    sflight_group *g;
    atomic_bool used, leave;
};

static void *use_then_be_quiet(void *arg)
{
    struct quiet *q = arg;
    for (unsigned i = 0; i < 10; i++)
        do_number(q->g, i);
    atomic_store(&q->used, true);
    WAIT_UNTIL(q->leave);
    do_number(q->g, 1);
    return NULL;
}

static void records_do_not_pile_up_beside_quiet_and_waiting_threads(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct quiet quiet = {.g = g};
    struct work w = {0};
    struct caller leader, follower;
    pthread_t thread = thread_start(use_then_be_quiet, &quiet);
    WAIT_UNTIL(quiet.used);
    leader_start(&leader, g, "key", work_fn, &w);
    caller_start(&follower, g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < 100000; i++) {
        if (i == 10000)
            bytes = stats_of(g).bytes;
        do_number(g, i);
    }
    sflight_stats s = stats_of(g);
    assert_true(s.bytes <= bytes + bytes / 2 + 65536);
    assert_true(s.retired_pending < 10000);
    atomic_store(&w.open, true);
    atomic_store(&quiet.leave, true);
    caller_join(&leader);
    caller_join(&follower);
    thread_join(thread);
    callers_release(&leader, 1);
    callers_release(&follower, 1);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* --------------------------------------------------- groups by the thousand */

/* Threads that live on use each group that is made, then let go of it. */
struct visitors {
    _Atomic(sflight_group *) g;
    atomic_uint visit;   /* number of the group to be used now */
    atomic_uint visited; /* visits of all threads */
    atomic_bool stop;
};

static void *visit(void *arg)
{
    struct visitors *v = arg;
    for (unsigned seen = 0;; seen++) {
        WAIT_UNTIL(v->visit > seen || v->stop);
        if (v->visit <= seen)
            return NULL;
        for (unsigned key = 0; key < 3; key++)
            do_number(v->g, key);
        atomic_fetch_add(&v->visited, 1);
    }
}

static void ten_thousand_groups(void **state)
{
    (void)state;
    enum { THREADS = 2 };
    const unsigned warm_up = (unsigned)rounds(1000, 200), all = (unsigned)rounds(10000, 1000);
    struct visitors v = {.stop = false};
    pthread_t threads[THREADS];
    size_t resident = 0;
    threads_start(threads, THREADS, visit, &v);
    for (unsigned i = 1; i <= all; i++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        atomic_store(&v.g, g);
        atomic_store(&v.visit, i);
        assert_key_usable(g, "key");
        WAIT_UNTIL(v.visited == THREADS * i);
        assert_int_equal(stats_of(g).led + stats_of(g).joined, 3 * THREADS + 1);
        group_end(g);
        assert_nothing_allocated(&counting);
        if (i == warm_up)
            resident = resident_bytes();
    }
    if (!SANITIZED && !EMULATED)
        assert_true(resident_bytes() <= resident + SLACK_BYTES);
    atomic_store(&v.stop, true);
    threads_join(threads, THREADS);
}

static void many_groups_at_once(void **state)
{
    (void)state;
    enum { GROUPS = 1000 };
    static sflight_group *groups[GROUPS];
    sflight_options o = small_options();
    for (int i = 0; i < GROUPS; i++)
        groups[i] = group_new(&o);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < GROUPS; i++)
            assert_key_usable(groups[i], "key");
    for (int i = 0; i < GROUPS; i += 2)
        group_end(groups[i]);
    for (int i = 1; i < GROUPS; i += 2)
        assert_key_usable(groups[i], "key");
    for (int i = 1; i < GROUPS; i += 2) {
        assert_int_equal(stats_of(groups[i]).led, 4);
        group_end(groups[i]);
    }
}

/* A thread ends after the group that it used. */
struct survivor {
    sflight_group *g;
    atomic_bool used, may_end;
};

static void *use_and_outlive(void *arg)
{
    struct survivor *s = arg;
    do_number(s->g, 1);
    atomic_store(&s->used, true);
    WAIT_UNTIL(s->may_end);
    return NULL;
}

static void threads_outlive_groups(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        struct survivor s = {.g = group_new(&o)};
        pthread_t thread = thread_start(use_and_outlive, &s);
        WAIT_UNTIL(s.used);
        group_end(s.g);
        assert_nothing_allocated(&counting);
        atomic_store(&s.may_end, true);
        thread_join(thread);
    }
}

/* ------------------------------------------------------------ small stacks */

enum { SMALL_STACK = 16384 };

static int panics(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_panic(call, "on a small stack: %d", 42);
}

static int status_7_for_all(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    return 7;
}

static void release_told(void *arg, int rc, sflight_result *r)
{
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    *(bool *)arg = true;
}

/* Everything that a caller may do. */
static void *use_on_a_small_stack(void *group)
{
    sflight_group *g = group;
    sflight_result r, many[2];
    assert_int_equal(sflight_do(g, "p", 1, panics, NULL, &r), -ENOTRECOVERABLE);
    assert_non_null(
        strstr(r.value, GLIBC ? "on a small stack: 42\n  at " : "on a small stack: 42\n"));
    sflight_result_release(&r);
    assert_int_equal(sflight_do(g, "k", 1, return_7, NULL, &r), 0);
    sflight_result_release(&r);
    sflight_key keys[] = {{"k", 1}, {"l", 1}};
    int rc[2];
    assert_int_equal(sflight_do_many(g, keys, 2, status_7_for_all, NULL, NULL, many, rc), 0);
    sflight_result_release(&many[0]);
    sflight_result_release(&many[1]);
    sflight_call *call, *none;
    sflight_future *f;
    bool told = false;
    assert_int_equal(sflight_begin(g, "b", 1, &call, &f), 0);
    assert_int_equal(sflight_begin(g, "b", 1, &none, &f), 0);
    assert_int_equal(sflight_future_then(f, release_told, &told), 0);
    sflight_complete(call, 0);
    assert_true(told);
    assert_int_equal(sflight_start(g, "s", 1, return_7, NULL, &f), 0);
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    sflight_result_release(&r);
    return NULL;
}

static void all_holds_on_small_stacks(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* frames are larger there */
    pthread_attr_t attr;
    pthread_t thread;
    sflight_group *g = group_new(NULL);
    assert_int_equal(pthread_attr_init(&attr), 0);
    size_t least = (size_t)PTHREAD_STACK_MIN; /* larger on arm64 */
    size_t size = least < SMALL_STACK ? SMALL_STACK : least;
    assert_int_equal(pthread_attr_setstacksize(&attr, size), 0);
    assert_int_equal(pthread_create(&thread, &attr, use_on_a_small_stack, g), 0);
    thread_join(thread);
    pthread_attr_destroy(&attr);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_end(g);
}

int main(void)
{
    /* The library makes its key on first use: one of ours comes before. */
    pthread_key_create(&early_key, say_last_words);
    sflight_group *g = NULL;
    if (sflight_group_create(&g, NULL) != 0)
        return EXIT_FAILURE;
    sflight_result r;
    if (sflight_do(g, "key", 3, return_7, NULL, &r) != 0)
        return EXIT_FAILURE;
    sflight_result_release(&r);
    sflight_group_destroy(g);
    pthread_key_create(&late_key, say_last_words);
    pthread_key_create(&leader_key, lead_at_the_end);
    pthread_key_create(&follower_key, follow_at_the_end);

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_from_late_destructors),
        cmocka_unit_test(leading_and_following_from_destructors),
        cmocka_unit_test(a_hundred_thousand_threads),
        cmocka_unit_test(records_do_not_pile_up_beside_quiet_and_waiting_threads),
        cmocka_unit_test(ten_thousand_groups),
        cmocka_unit_test(many_groups_at_once),
        cmocka_unit_test(threads_outlive_groups),
        cmocka_unit_test(all_holds_on_small_stacks),
    };
    return RUN_TESTS(tests);
}
