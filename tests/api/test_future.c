/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Futures: each delivers once, however it is asked and in whatever order, also
 * where descriptors and memory run out.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static void arguments(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = (void *)1;
    sflight_future *f = (void *)1;
    sflight_result r;
    assert_int_equal(sflight_begin(NULL, "k", 1, &call, &f), -EINVAL);
    assert_null(call);
    assert_null(f);
    assert_int_equal(sflight_begin(g, NULL, 1, &call, &f), -EINVAL);
    assert_int_equal(sflight_begin(g, "k", 1, NULL, &f), -EINVAL);
    assert_int_equal(sflight_begin(g, "k", 1, &call, NULL), -EINVAL);
    assert_int_equal(sflight_future_get(NULL, NULL, &r), -EINVAL);
    assert_zeroed(&r);
    assert_int_equal(sflight_future_poll(NULL, &r), -EINVAL);
    assert_int_equal(sflight_future_fd(NULL), -EINVAL);
    assert_int_equal(sflight_future_then(NULL, note, NULL), -EINVAL);
    sflight_future_drop(NULL);

    call = lead(g, "");
    f = join(g, "");
    const struct timespec bad = {.tv_nsec = 1000000000};
    assert_int_equal(sflight_future_get(f, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_future_get(f, &bad, &r), -EINVAL);
    assert_int_equal(sflight_future_poll(f, NULL), -EINVAL);
    assert_int_equal(sflight_future_then(f, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_future_enqueue(f, NULL, 0), -EINVAL);
    sflight_complete(call, 1);
    assert_int_equal(sflight_future_poll(f, &r), 0); /* it is as it was */
    sflight_result_release(&r);

    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_begin(g, "k", 1, &call, &f), -ESHUTDOWN);
    assert_null(call);
    assert_null(f);
    group_end(g);
}

struct getter {
    sflight_future *f;
    const struct timespec *deadline;
    int rc;
    sflight_result r;
};

static void *get_main(void *arg)
{
    struct getter *get = arg;
    get->rc = sflight_future_get(get->f, get->deadline, &get->r);
    return NULL;
}

static void get_waits(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 200; i++) {
        sflight_call *call = lead(g, "key");
        struct getter get[2] = {{.f = join(g, "key")}, {.f = join(g, "key")}};
        uint64_t parked = stats_of(g).parked;
        pthread_t a = thread_start(get_main, &get[0]), b = thread_start(get_main, &get[1]);
        if (i % 2)
            WAIT_UNTIL(stats_of(g).parked == parked + 2);
        value_set(call, &tally, i);
        sflight_complete(call, 0);
        thread_join(a);
        thread_join(b);
        for (int j = 0; j < 2; j++) {
            assert_int_equal(get[j].rc, 0);
            assert_int_equal(number_of(&get[j].r), i);
            sflight_result_release(&get[j].r);
        }
    }
    assert_all_destroyed(&tally);
    group_end(g);
}

/* Whatever was asked of a future before, in whatever order, it can be asked the rest. */
static void futures_stay_valid(void **state)
{
    (void)state;
    struct counting counting = {0};
    for (unsigned asked = 0; asked < 27; asked++) {
        for (enum consumer how = 0; how < CONSUMERS; how++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = lead(g, "key");
            sflight_future *f = join(g, "key"), *other = join(g, "key");
            sflight_result r;
            int fd = -1;
            for (unsigned i = 0, rest = asked; i < 3; i++, rest /= 3) {
                switch (rest % 3) {
                case 0:
                    assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
                    assert_zeroed(&r);
                    break;
                case 1:
                    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
                    assert_zeroed(&r);
                    break;
                default:
                    if (fd < 0)
                        fd = sflight_future_fd(f);
                    assert_true(fd >= 0);
                    assert_int_equal(sflight_future_fd(f), fd); /* always the same */
                    assert_false(readable(fd));
                }
            }
            assert_int_equal(stats_of(g).waiting, 2);
            sflight_complete(call, 0);
            if (fd >= 0)
                assert_true(readable(fd));
            consume(f, how, 0);
            if (fd >= 0)
                assert_false(is_open(fd));
            consume(other, how, 0);
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* The same, consumed while the call flies. */
static void futures_consumed_in_flight(void **state)
{
    (void)state;
    struct counting counting = {0};
    for (unsigned asked = 0; asked < 4; asked++) {
        for (enum consumer how = BY_THEN; how < CONSUMERS; how++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = lead(g, "key");
            sflight_future *f = join(g, "key");
            sflight_queue *q;
            sflight_completion done[2];
            struct noted noted = {0};
            sflight_result r;
            assert_int_equal(sflight_queue_create(&q), 0);
            if (asked & 1)
                assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
            int fd = asked & 2 ? sflight_future_fd(f) : -1;
            if (how == BY_THEN)
                assert_int_equal(sflight_future_then(f, note, &noted), 0);
            else if (how == BY_QUEUE)
                assert_int_equal(sflight_future_enqueue(f, q, 4), 0);
            else
                sflight_future_drop(f);
            if (fd >= 0)
                assert_false(is_open(fd));
            assert_int_equal(stats_of(g).waiting, how != BY_DROP);
            assert_false(readable(sflight_queue_fd(q)));
            assert_int_equal(noted.n, 0);
            sflight_complete(call, 0);
            assert_int_equal(noted.n, how == BY_THEN);
            assert_int_equal(sflight_queue_drain(q, done, 2), how == BY_QUEUE);
            if (how == BY_QUEUE)
                sflight_result_release(&done[0].result);
            assert_int_equal(sflight_queue_destroy(q), 0);
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* Whoever only looks has not parked. */
static void who_only_looks_is_not_parked(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    sflight_result r;
    for (int i = 0; i < 3; i++)
        assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(stats_of(g).parked, 0);
    sflight_complete(call, 0);
    consume(f, BY_POLL, 0);
    group_end(g);
}

/* A descriptor that is made when the result is there is readable at once. */
static void late_descriptors_are_readable(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int timed_out = 0; timed_out < 2; timed_out++) {
        sflight_call *call = lead(g, "key");
        sflight_future *f = join(g, "key");
        sflight_result r;
        if (timed_out)
            assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
        sflight_complete(call, 0);
        int fd = sflight_future_fd(f);
        assert_true(readable(fd));
        consume(f, BY_POLL, 0);
        assert_false(is_open(fd));
    }
    group_end(g);
}

/* Programs that are run by exec() do not get them, and nobody blocks on one. */
static void descriptors_are_closed_on_exec(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    const int fds[] = {sflight_queue_fd(q), sflight_future_fd(f)};
    for (size_t i = 0; i < LENGTH(fds); i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
    sflight_complete(call, 0);
    sflight_future_drop(f);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void futures_on_a_forgotten_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *old = lead(g, "key");
    sflight_future *of_old = join(g, "key");
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    sflight_call *fresh = lead(g, "key");
    sflight_future *of_fresh = join(g, "key");
    sflight_complete(fresh, 2);
    sflight_complete(old, 1);
    sflight_result r;
    assert_int_equal(sflight_future_get(of_old, NULL, &r), 0);
    assert_int_equal(r.status, 1);
    sflight_result_release(&r);
    assert_int_equal(sflight_future_get(of_fresh, NULL, &r), 0);
    assert_int_equal(r.status, 2);
    sflight_result_release(&r);
    group_end(g);
}

/* ---------------------------------------------------------------- deadlock */

struct own {
    sflight_group *g;
    sflight_future *f;
};

static int get_own(sflight_call *call, void *arg)
{
    struct own *own = arg;
    size_t len;
    const void *key = sflight_call_key(call, &len);
    sflight_call *none;
    sflight_result r;
    assert_int_equal(sflight_begin(own->g, key, len, &none, &own->f), 0);
    assert_null(none);
    assert_int_equal(sflight_future_get(own->f, NULL, &r), -EDEADLK);
    assert_zeroed(&r);
    assert_int_equal(sflight_future_poll(own->f, &r), -EAGAIN);
    return 12;
}

static void get_inside_fn_of_its_own_call(void **state)
{
    (void)state;
    struct own own = {.g = group_new(NULL)};
    sflight_result r;
    assert_int_equal(do_str(own.g, "key", get_own, &own, &r), 0);
    assert_true(r.shared);
    sflight_result_release(&r);
    assert_int_equal(stats_of(own.g).deadlocks, 1);
    assert_int_equal(sflight_future_get(own.f, NULL, &r), 0); /* it stayed valid */
    assert_int_equal(r.status, 12);
    sflight_result_release(&r);
    group_end(own.g);
}

struct circle {
    sflight_group *g;
    atomic_int n_leading;
    atomic_int n_deadlocks;
};

static int get_the_other(sflight_call *call, void *arg)
{
    struct circle *circle = arg;
    size_t len;
    const char *key = sflight_call_key(call, &len);
    atomic_fetch_add(&circle->n_leading, 1);
    WAIT_UNTIL(circle->n_leading == 2);
    sflight_future *f = join(circle->g, key[0] == 'a' ? "b" : "a");
    sflight_result r;
    int rc = sflight_future_get(f, NULL, &r);
    if (rc == -EDEADLK) {
        atomic_fetch_add(&circle->n_deadlocks, 1);
        sflight_future_drop(f);
    } else {
        assert_int_equal(rc, 0);
        sflight_result_release(&r);
    }
    return 0;
}

static void circles_through_futures(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct circle circle = {.g = group_new(NULL)};
        struct caller c[2];
        caller_start(&c[0], circle.g, "a", get_the_other, &circle);
        caller_start(&c[1], circle.g, "b", get_the_other, &circle);
        callers_join(c, 2);
        assert_int_equal(circle.n_deadlocks, 1);
        callers_release(c, 2);
        group_end(circle.g);
    }
}

/* ------------------------------------------------------------------ limits */

static void out_of_descriptors(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key"), *timed_out = join(g, "key");
    sflight_result r;
    sflight_queue *q = (void *)1;
    struct rlimit old, none;
    assert_int_equal(sflight_future_get(timed_out, &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    errno = 0;
    int of_fresh = sflight_future_fd(f), of_old = sflight_future_fd(timed_out);
    int of_queue = sflight_queue_create(&q), after = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(of_fresh, -EMFILE);
    assert_int_equal(of_old, -EMFILE);
    assert_int_equal(of_queue, -EMFILE);
    assert_null(q);
    assert_int_equal(after, 0); /* errno is left alone */

    int fd = sflight_future_fd(f); /* they still work */
    assert_true(fd >= 0);
    sflight_complete(call, 0);
    assert_true(readable(fd));
    consume(f, BY_POLL, 0);
    consume(timed_out, BY_GET, 0);
    group_end(g);
}

/* Whichever allocation fails: all, or nothing. */
static void out_of_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    bool failed = true;
    for (long k = 1; failed; k++) {
        for (int go_on = 0; go_on < 2; go_on++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = NULL, *none = NULL;
            sflight_future *f = NULL;
            counting_fail(&counting, k, go_on);
            int rc = sflight_begin(g, "key", 3, &call, &f);
            assert_true(rc == 0 ? call != NULL : rc == -ENOMEM && call == NULL);
            assert_null(f);
            rc = call != NULL ? sflight_begin(g, "key", 3, &none, &f) : 0;
            assert_true(rc == 0 || (rc == -ENOMEM && f == NULL));
            assert_null(none);
            struct noted noted = {0};
            int then = 0;
            if (f != NULL && sflight_future_fd(f) >= 0) {
                then = sflight_future_then(f, note, &noted);
                assert_true(then == 0 || then == -ENOMEM);
            }
            failed = counting_relent(&counting);
            assert_int_equal(stats_of(g).in_flight, call != NULL);
            assert_int_equal(stats_of(g).waiting, f != NULL);
            if (call != NULL)
                sflight_complete(call, 0);
            if (then == -ENOMEM)
                consume(f, BY_POLL, 0); /* as it was */
            else
                assert_int_equal(noted.n, f != NULL);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* A future that has been waited for is replaced by another one to be consumed. */
static void out_of_memory_for_another_future(void **state)
{
    (void)state;
    enum { N = 200 }; /* more than can be spare */
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct noted noted = {0};
    sflight_future *f[N];
    sflight_queue *q;
    sflight_result r;
    int n_then = 0;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    for (int i = 0; i < N; i++) {
        f[i] = join(g, "key");
        assert_int_equal(sflight_future_get(f[i], &in_the_past, &r), -ETIMEDOUT);
    }
    counting_fail(&counting, 1, true);
    while (n_then < N && sflight_future_then(f[n_then], note, &noted) == 0)
        n_then++;
    assert_true(n_then < N);
    for (int i = n_then; i < N; i++) {
        int rc = i % 2 ? sflight_future_then(f[i], note, &noted)
                       : sflight_future_enqueue(f[i], q, (uint64_t)i);
        assert_int_equal(rc, -ENOMEM);
    }
    assert_int_equal(stats_of(g).waiting, N);
    counting_relent(&counting);
    sflight_complete(call, 4);
    assert_int_equal(noted.n, n_then);
    for (int i = n_then; i < N; i++) { /* as they were */
        assert_int_equal(sflight_future_poll(f[i], &r), 0);
        assert_int_equal(r.status, 4);
        sflight_result_release(&r);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),
        cmocka_unit_test(get_waits),
        cmocka_unit_test(futures_stay_valid),
        cmocka_unit_test(futures_consumed_in_flight),
        cmocka_unit_test(who_only_looks_is_not_parked),
        cmocka_unit_test(late_descriptors_are_readable),
        cmocka_unit_test(descriptors_are_closed_on_exec),
        cmocka_unit_test(futures_on_a_forgotten_call),
        cmocka_unit_test(get_inside_fn_of_its_own_call),
        cmocka_unit_test(circles_through_futures),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(out_of_memory_for_another_future),
    };
    return RUN_TESTS(tests);
}
