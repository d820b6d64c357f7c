/* SPDX-License-Identifier: BSD-2-Clause */
/* sflight_start(): fn on a thread of its own, a future for everybody (Go: DoChan). */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/real.h"

/* TestDoChan. */
static void a_future_yields_the_value(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true, .status = 9};
    sflight_result r;
    sflight_future *f = start(g, "key", work_fn, &w);
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    assert_int_equal(r.status, 9);
    assert_int_equal(number_of(&r), 1);
    assert_true(r.leader);
    assert_false(r.shared);
    assert_int_equal(r.followers, 0);
    sflight_result_release(&r);
    WAIT_UNTIL(w.tally.destroyed == 1);
    group_end_when_unused(g);
}

static int look_around(sflight_call *call, void *arg)
{
    pthread_t *self = arg;
    sigset_t blocked;
    int detached;
    pthread_attr_t attr;
    (void)call;
    *self = pthread_self();
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
    assert_int_equal(pthread_getattr_np(pthread_self(), &attr), 0);
    assert_int_equal(pthread_attr_getdetachstate(&attr, &detached), 0);
    pthread_attr_destroy(&attr);
    return sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1 &&
           detached == PTHREAD_CREATE_DETACHED;
}

static void fn_has_a_thread_of_its_own(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    pthread_t other = pthread_self();
    sigset_t before, after;
    sflight_result r;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    sflight_future *f = start(g, "key", look_around, &other);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    assert_int_equal(r.status, 1);
    assert_false(pthread_equal(other, pthread_self()));
    sflight_result_release(&r);
    group_end_when_unused(g);
}

static void arguments(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_future *f = (void *)1;
    assert_int_equal(sflight_start(NULL, "k", 1, must_not_run, NULL, &f), -EINVAL);
    assert_null(f);
    assert_int_equal(sflight_start(g, NULL, 1, must_not_run, NULL, &f), -EINVAL);
    assert_int_equal(sflight_start(g, "k", 1, NULL, NULL, &f), -EINVAL);
    assert_int_equal(sflight_start(g, "k", 1, must_not_run, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_start(g, "k", 1, must_not_run, NULL, &f), -ESHUTDOWN);
    assert_null(f);
    group_end(g);
}

/* Starters, blocking callers and begun futures on the same call. */
static void everybody_joins_one_call(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        sflight_group *g = group_new(NULL);
        struct work w = {.status = 4};
        struct caller c[3];
        sflight_future *f[4];
        sflight_result r;
        f[0] = start(g, "key", work_fn, &w);
        f[1] = start(g, "key", must_not_run, NULL);
        f[2] = join(g, "key");
        f[3] = start(g, "key", must_not_run, NULL);
        callers_start(c, 3, g, "key", must_not_run, NULL);
        await_waiting(g, 6);
        assert_int_equal(stats_of(g).held, 0);
        atomic_store(&w.open, true);
        for (size_t i = 0; i < LENGTH(f); i++) {
            assert_int_equal(sflight_future_get(f[i], NULL, &r), 0);
            assert_int_equal(r.leader, i == 0);
            assert_true(r.shared);
            assert_int_equal(r.followers, 6);
            assert_int_equal(number_of(&r), 1);
            sflight_result_release(&r);
        }
        callers_join(c, 3);
        callers_release(c, 3);
        await_unused(g);
        assert_all_destroyed(&w.tally);
        group_end(g);
    }
}

/* The same with the leader being a blocking one. */
static void starters_join_a_blocking_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 4};
    struct caller leader;
    sflight_result r;
    leader_start(&leader, g, "key", work_fn, &w);
    sflight_future *f = start(g, "key", must_not_run, NULL);
    atomic_store(&w.open, true);
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    assert_false(r.leader);
    assert_int_equal(r.status, 4);
    sflight_result_release(&r);
    caller_join(&leader);
    callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

/* ------------------------------------------------------------- bad endings */

/* golang/go#52557: an abandoned call delivers to its futures. */
static void every_end_is_delivered(void **state)
{
    (void)state;
    sflight_fn *const fns[] = {panic_fn, exit_fn};
    const int expected[] = {-ENOTRECOVERABLE, -EOWNERDEAD};
    for (size_t i = 0; i < LENGTH(fns); i++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        struct work w = {0};
        struct noted noted = {0};
        sflight_queue *q;
        sflight_completion done;
        sflight_result r;
        struct caller c;
        assert_int_equal(sflight_queue_create(&q), 0);
        sflight_future *f = start(g, "key", fns[i], &w), *polled = start(g, "key", fns[i], &w);
        int fd = sflight_future_fd(polled);
        assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 1), 0);
        caller_start(&c, g, "key", must_not_run, NULL);
        await_waiting(g, 4);
        atomic_store(&w.open, true);

        assert_int_equal(sflight_future_get(f, NULL, &r), expected[i]);
        if (expected[i] == -ENOTRECOVERABLE)
            assert_non_null(strstr(r.value, "the leader panics"));
        sflight_result_release(&r);
        WAIT_UNTIL(readable(fd));
        assert_int_equal(sflight_future_poll(polled, &r), expected[i]);
        sflight_result_release(&r);
        WAIT_UNTIL(noted.n == 1);
        assert_int_equal(noted.rc, expected[i]);
        WAIT_UNTIL(sflight_queue_drain(q, &done, 1) == 1);
        assert_int_equal(done.rc, expected[i]);
        sflight_result_release(&done.result);
        caller_join(&c);
        assert_int_equal(c.rc, expected[i]);
        callers_release(&c, 1);
        assert_key_usable(g, "key");
        assert_int_equal(sflight_queue_destroy(q), 0);
        await_unused(g);
        assert_all_destroyed(&w.tally);
        group_end(g);
        assert_nothing_allocated(&counting);
    }
}

static void a_follower_takes_over(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    o.cancel_unwanted = true;
    for (int drops = 0; drops < 2; drops++) {
        sflight_group *g = group_new(&o);
        struct work first = {0}, second = {.status = 7};
        struct caller c;
        sflight_result r;
        sflight_future *f = start(g, "key", exit_fn, &first);
        WAIT_UNTIL(first.runs == 1);
        caller_start(&c, g, "key", work_fn, &second);
        await_waiting(g, 1);
        atomic_store(&first.open, true);
        WAIT_UNTIL(second.runs == 1);
        assert_int_equal(sflight_forget_unshared(g, "key", 3), 0); /* the starter has joined it */
        if (drops) { /* its new leader still waits for it */
            sflight_future_drop(f);
            sflight_future_drop(join(g, "key"));
            assert_int_equal(stats_of(g).forgotten, 0);
        }
        atomic_store(&second.open, true);
        if (!drops) {
            assert_int_equal(sflight_future_get(f, NULL, &r), 0);
            assert_int_equal(r.status, 7);
            assert_false(r.leader); /* of several, the last one */
            assert_true(r.shared);
            assert_int_equal(r.followers, 1);
            sflight_result_release(&r);
        }
        caller_join(&c);
        assert_true(c.r.leader);
        assert_int_equal(c.r.shared, !drops);
        assert_int_equal(c.r.followers, !drops);
        callers_release(&c, 1);
        await_unused(g);
        assert_all_destroyed(&first.tally);
        assert_all_destroyed(&second.tally);
        group_end(g);
    }
}

/* ---------------------------------------------------------------- unwanted */

struct until_unwanted {
    atomic_bool seen, go_on;
    struct tally tally;
};

static int run_until_unwanted(sflight_call *call, void *arg)
{
    struct until_unwanted *u = arg;
    WAIT_UNTIL(sflight_call_unwanted(call));
    atomic_store(&u->seen, true);
    WAIT_UNTIL(u->go_on);
    value_set(call, &u->tally, 1);
    return 0;
}

static void unwanted_when_all_have_left(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        for (int cancel = 0; cancel < 2; cancel++) {
            sflight_options o = default_options();
            o.cancel_unwanted = cancel;
            sflight_group *g = group_new(&o);
            struct until_unwanted u = {0};
            struct work held = {.open = true};
            sflight_result other;
            assert_int_equal(do_str(g, "other", work_fn, &held, &other), 0);
            sflight_future *f = start(g, "key", run_until_unwanted, &u);
            sflight_future *second = join(g, "key");
            sflight_future_drop(order ? f : second);
            sflight_future_drop(order ? second : f);
            WAIT_UNTIL(u.seen);
            assert_int_equal(stats_of(g).waiting, 0);
            assert_int_equal(stats_of(g).held, 1); /* the other one: not a hold too few */
            assert_int_equal(stats_of(g).in_flight, 1);
            if (cancel)
                assert_key_usable(g, "key");
            else
                sflight_future_drop(join(g, "key"));
            assert_int_equal(stats_of(g).forgotten, cancel);
            atomic_store(&u.go_on, true);
            assert_int_equal(sflight_group_drain(g, NULL), 0);
            WAIT_UNTIL(stats_of(g).held == 1);
            assert_int_equal(sflight_group_destroy(g), -EBUSY);
            assert_all_destroyed(&u.tally);
            sflight_result_release(&other);
            group_end(g);
        }
    }
}

static int quick(sflight_call *call, void *arg)
{
    value_set(call, arg, 1);
    return 0;
}

/* The starter's leaving against the end of the call. */
static void starters_that_leave_at_the_end(void **state)
{
    (void)state;
    struct counting counting = {0};
    struct tally tally = {0};
    sflight_options o = counting_options(&counting);
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    for (int i = 0; i < rounds(5000, 1000); i++) {
        sflight_future *f = start(g, "key", quick, &tally);
        if (i % 2)
            assert_true(sflight_future_fd(f) >= 0);
        if (i % 3)
            sched_yield();
        sflight_future_drop(f);
    }
    await_unused(g);
    assert_all_destroyed(&tally);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* Starts a call, gets its result, and releases it. */
static void start_and_release(sflight_group *g, struct tally *tally)
{
    sflight_result r;
    sflight_future *f = start(g, "key", quick, tally);
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    sflight_result_release(&r);
}

/* The order that the header gives. */
static void groups_that_are_drained(void **state)
{
    (void)state;
    for (int i = 0; i < (SANITIZED ? 200 : 1000); i++) {
        struct tally tally = {0};
        sflight_group *g = group_new(NULL);
        start_and_release(g, &tally);
        assert_int_equal(sflight_group_close(g), 0);
        assert_int_equal(sflight_group_drain(g, NULL), 0);
        assert_int_equal(sflight_group_destroy(g), 0);
        assert_all_destroyed(&tally);
    }
}

/* The call has ended, and its thread is still in a callback: drain waits for that. */
struct lingerer {
    sflight_group *g;
    atomic_bool called, may_go, gone;
};

static void linger(void *arg, int rc, sflight_result *r)
{
    struct lingerer *l = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    assert_int_equal(sflight_group_drain(l->g, NULL), 0); /* not for itself */
    atomic_store(&l->called, true);
    WAIT_UNTIL(l->may_go);
    atomic_store(&l->gone, true);
}

static void *drain_and_look(void *arg)
{
    struct lingerer *l = arg;
    assert_int_equal(sflight_group_drain(l->g, NULL), 0);
    assert_true(l->gone);
    return NULL;
}

static void drain_waits_for_the_library_s_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct lingerer l = {.g = group_new(NULL)};
        struct work w = {.open = false};
        sflight_future *f = start(l.g, "key", work_fn, &w);
        assert_int_equal(sflight_future_then(f, linger, &l), 0);
        atomic_store(&w.open, true);
        WAIT_UNTIL(l.called);
        assert_int_equal(stats_of(l.g).in_flight, 0);
        assert_int_equal(sflight_group_drain(l.g, &(struct timespec){0}), -ETIMEDOUT);
        assert_int_equal(sflight_group_destroy(l.g), -EBUSY);
        pthread_t drainers[2];
        for (int k = 0; k < 2; k++)
            drainers[k] = thread_start(drain_and_look, &l);
        atomic_store(&l.may_go, true);
        for (int k = 0; k < 2; k++)
            thread_join(drainers[k]);
        assert_int_equal(sflight_group_destroy(l.g), 0);
        assert_all_destroyed(&w.tally);
    }
}

/* The last hold is released, and the group destroyed, behind the started thread. */
static void groups_that_end_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(1000, 200); i++) {
        struct tally tally = {0};
        sflight_group *g = group_new(NULL);
        start_and_release(g, &tally);
        WAIT_UNTIL(sflight_group_destroy(g) == 0);
        assert_all_destroyed(&tally);
    }
}

/* ------------------------------------------------------------------ limits */

static void out_of_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    bool failed = true;
    for (long k = 1; failed; k++) {
        for (int go_on = 0; go_on < 2; go_on++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            struct work w = {.open = true};
            sflight_future *f = (void *)1;
            sflight_result r;
            counting_fail(&counting, k, go_on);
            int rc = sflight_start(g, "key", 3, work_fn, &w, &f);
            failed = counting_relent(&counting);
            if (rc == 0) {
                assert_int_equal(sflight_future_get(f, NULL, &r), 0);
                sflight_result_release(&r);
                await_unused(g);
            } else {
                assert_int_equal(rc, -ENOMEM);
                assert_null(f);
                assert_int_equal(w.runs, 0);
            }
            assert_all_destroyed(&w.tally);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/*
 * No thread can be had: its stack would not fit into what is left of the address
 * space.  Whoever has joined meanwhile is told; the key is free.
 */
static void out_of_threads(void **state)
{
    (void)state;
    if (SANITIZED || EMULATED || !GLIBC)
        return; /* shadows have taken the address space; qemu does not pass the limit on; musl makes
                   threads with no more than 8 MiB by default */
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct joiner j = {.g = group_new(&o)};
    struct rlimit old, none;
    pthread_attr_t attr, large;
    assert_key_usable(j.g, "key"); /* warm */
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    pthread_t joiner = thread_start(keep_joining, &j);

    /* Threads get stacks of 1 GiB, of which there are none. */
    assert_int_equal(pthread_getattr_default_np(&attr), 0);
    assert_int_equal(pthread_getattr_default_np(&large), 0);
    assert_int_equal(pthread_attr_setstacksize(&large, (size_t)1 << 30), 0);
    assert_int_equal(pthread_setattr_default_np(&large), 0);
    none = old;
    none.rlim_cur = (rlim_t)1 << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    uint64_t n_failed = 0;
    for (int i = 0; i < 10000; i++) {
        sflight_future *f = (void *)1;
        sflight_result r;
        int rc = sflight_start(j.g, "key", 3, must_not_run, NULL, &f);
        if (rc == 0) { /* has joined */
            assert_int_equal(sflight_future_get(f, NULL, &r), 0);
            sflight_result_release(&r);
        } else {
            assert_int_equal(rc, -EAGAIN);
            assert_null(f);
            n_failed++;
        }
    }
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    assert_int_equal(pthread_setattr_default_np(&attr), 0);
    pthread_attr_destroy(&attr);
    pthread_attr_destroy(&large);
    atomic_store(&j.stop, true);
    thread_join(joiner);
    assert_true(n_failed != 0);
    assert_key_usable(j.g, "key");
    group_end(j.g);
    assert_nothing_allocated(&counting);
}

#if !SANITIZED                     /* ThreadSanitizer has one of its own */
static atomic_long thread_to_fail; /* counted down; at 1 the creation fails */

/* Stands before that of the C library, for the library under test as well. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    if (atomic_load(&thread_to_fail) > 0 && atomic_fetch_sub(&thread_to_fail, 1) == 1)
        return EAGAIN;
    return REAL(pthread_create)(thread, attr, run, arg);
}

enum { STARTS = 12 };

static int started(sflight_call *call, void *arg)
{
    value_set(call, arg, 5);
    return 5;
}

/* Of a few started calls for two keys, the k-th that needs a thread gets none. */
static void no_thread_at_the_kth_start(sflight_group *g, long k, long *n_failed)
{
    sflight_future *f[STARTS];
    struct tally tally = {0};
    struct noted noted = {0};
    int n_futures = 0, n_noted = 0;
    atomic_store(&thread_to_fail, k);
    for (int i = 0; i < STARTS; i++) {
        f[n_futures] = (void *)1;
        int rc = sflight_start(g, i % 2 ? "a" : "b", 1, started, &tally, &f[n_futures]);
        if (rc == 0) {
            n_futures++;
            continue;
        }
        assert_int_equal(rc, -EAGAIN);
        assert_null(f[n_futures]);
        ++*n_failed;
        assert_key_usable(g, i % 2 ? "a" : "b"); /* or joins nobody: the key is free */
    }
    atomic_store(&thread_to_fail, 0);
    for (int i = 0; i < n_futures; i++) {
        sflight_result r;
        if (i % 3 == 0) {
            assert_int_equal(sflight_future_then(f[i], note, &noted), 0);
            n_noted++;
        } else if (i % 3 == 1) {
            assert_int_equal(sflight_future_get(f[i], NULL, &r), 0);
            assert_int_equal(r.status, 5);
            sflight_result_release(&r);
        } else {
            sflight_future_drop(f[i]);
        }
    }
    WAIT_UNTIL(noted.n == n_noted);
    await_unused(g);
    WAIT_UNTIL(tally.destroyed == tally.made);
}
#endif

static void no_thread_at_any_point(void **state)
{
    (void)state;
#if !SANITIZED
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    for (int on_abandon = SFLIGHT_ABANDON_SHARE; on_abandon <= SFLIGHT_ABANDON_TAKEOVER;
         on_abandon++) {
        o.on_abandon = on_abandon;
        sflight_group *g = group_new(&o);
        long n_failed = 0;
        for (int round = 0; round < 50; round++)
            for (long k = 1; k <= STARTS; k++)
                no_thread_at_the_kth_start(g, k, &n_failed);
        assert_true(n_failed >= 100); /* the first two starts of a round lead */
        group_end(g);
        assert_nothing_allocated(&counting);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_future_yields_the_value),
        cmocka_unit_test(fn_has_a_thread_of_its_own),
        cmocka_unit_test(arguments),
        cmocka_unit_test(everybody_joins_one_call),
        cmocka_unit_test(starters_join_a_blocking_call),
        cmocka_unit_test(every_end_is_delivered),
        cmocka_unit_test(a_follower_takes_over),
        cmocka_unit_test(unwanted_when_all_have_left),
        cmocka_unit_test(starters_that_leave_at_the_end),
        cmocka_unit_test(groups_that_are_drained),
        cmocka_unit_test(drain_waits_for_the_library_s_threads),
        cmocka_unit_test(groups_that_end_at_once),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(out_of_threads),
        cmocka_unit_test(no_thread_at_any_point),
    };
    return RUN_TESTS(tests);
}
