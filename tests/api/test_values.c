/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Results: what the leader sets, who holds it, when it is destroyed; and that
 * errno belongs to the user.
 */
#include "../lib/counting_alloc.h"

static int set_three_times(sflight_call *call, void *arg)
{
    struct tally *t = arg;
    for (int i = 1; i <= 3; i++) {
        value_set(call, t, i);
        assert_int_equal(t->destroyed, i - 1);
    }
    return 0;
}

static void setting_again_destroys_the_earlier_value_at_once(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct tally t = {0};
    sflight_result r;
    assert_int_equal(do_str(g, "key", set_three_times, &t, &r), 0);
    assert_int_equal(number_of(&r), 3);
    assert_int_equal(t.destroyed, 2);
    sflight_result_release(&r);
    assert_int_equal(t.destroyed, 3);
    group_end(g);
}

static int set_once(sflight_call *call, void *arg)
{
    value_set(call, arg, 1);
    return 0;
}

/* A result is data: it may stand where those of a queue do, and one of another call beside it. */
static void results_among_completions(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct tally t = {0};
    sflight_completion c[3] = {{0}};
    assert_int_equal(do_str(g, "a", nothing, NULL, &c[0].result), 0); /* a thread's first */
    sflight_completions_release(c, 1);
    assert_int_equal(do_str(g, "a", set_once, &t, &c[0].result), 0);
    assert_int_equal(do_str(g, "b", set_once, &t, &c[1].result), 0);
    assert_int_equal(sflight_result_retain(&c[1].result, &c[2].result), 0);
    sflight_completions_release(c, 1);
    assert_int_equal(t.destroyed, 1);
    sflight_completions_release(c, 3);
    assert_int_equal(t.destroyed, 2);
    group_end(g);
}

static int set_then_unset(sflight_call *call, void *arg)
{
    value_set(call, arg, 1);
    sflight_call_set(call, NULL, 0, NULL, NULL);
    return 0;
}

static int set_borrowed(sflight_call *call, void *arg)
{
    sflight_call_set(call, arg, SIZE_MAX, NULL, NULL); /* size is the caller's */
    return 0;
}

static void values_without_destroy(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct tally t = {0};
    sflight_result r;
    assert_int_equal(do_str(g, "key", set_then_unset, &t, &r), 0);
    assert_null(r.value);
    assert_int_equal(t.destroyed, 1);
    sflight_result_release(&r);
    assert_int_equal(do_str(g, "key", set_borrowed, &t, &r), 0);
    assert_ptr_equal(r.value, &t);
    assert_int_equal(r.size, SIZE_MAX);
    sflight_result_release(&r);
    assert_int_equal(t.destroyed, 1);
    group_end(g);
}

static int override_status(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_call_set_status(call, 1);
    sflight_call_set_status(call, 2);
    return 3;
}

static void set_status_overrides_the_return_value(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", override_status, NULL, &r), 0);
    assert_int_equal(r.status, 2);
    sflight_result_release(&r);
    group_end(g);
}

static void non_zero_status_reaches_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = -ENOTRECOVERABLE};
    struct caller c[5];
    leader_start(&c[0], g, "key", work_fn, &w);
    callers_start(c + 1, LENGTH(c) - 1, g, "key", must_not_run, NULL);
    await_waiting(g, LENGTH(c) - 1);
    atomic_store(&w.open, true);
    callers_join(c, LENGTH(c));
    for (size_t i = 0; i < LENGTH(c); i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].r.status, -ENOTRECOVERABLE);
        assert_int_equal(number_of(&c[i].r), 1);
    }
    assert_int_equal(stats_of(g).panicked, 0);
    callers_release(c, LENGTH(c));
    assert_all_destroyed(&w.tally);
    assert_key_usable(g, "key");
    group_end(g);
}

struct allocs {
    sflight_group *g;
    struct tally tally;
};

static int alloc_values(sflight_call *call, void *arg)
{
    struct allocs *a = arg;
    uint64_t before = stats_of(a->g).bytes;
    value_set(call, &a->tally, 1);
    char *small = sflight_call_alloc(call, 3);
    assert_non_null(small);
    assert_int_equal(a->tally.destroyed, 1); /* it replaced that value */
    assert_int_equal((uintptr_t)small % _Alignof(max_align_t), 0);
    char *big = sflight_call_alloc(call, 100000);
    assert_non_null(big);
    assert_int_equal((uintptr_t)big % _Alignof(max_align_t), 0);
    assert_true(stats_of(a->g).bytes >= before + 100000);
    memset(big, 'b', 100000);
    return 0;
}

static void call_alloc_lives_until_the_last_holder(void **state)
{
    (void)state;
    struct allocs a = {.g = group_new(NULL)};
    sflight_result r, copy;
    assert_int_equal(do_str(a.g, "key", alloc_values, &a, &r), 0);
    assert_int_equal(r.size, 100000);
    assert_int_equal(sflight_result_retain(&r, &copy), 0);
    sflight_result_release(&r);
    for (size_t i = 0; i < copy.size; i++)
        assert_int_equal(((char *)copy.value)[i], 'b');
    uint64_t before = stats_of(a.g).bytes;
    sflight_result_release(&copy);
    assert_true(stats_of(a.g).bytes + 100000 <= before);
    group_end(a.g);
}

static int alloc_then_shorten(sflight_call *call, void *arg)
{
    char *text = sflight_call_alloc(call, 100000);
    assert_non_null(text);
    strcpy(text, arg);
    sflight_call_set(call, text, strlen(arg), NULL, NULL);
    return 0;
}

static void call_alloc_of_more_than_was_needed(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_result r;
    assert_int_equal(do_str(g, "key", alloc_then_shorten, "short", &r), 0);
    assert_int_equal(r.size, 5);
    assert_string_equal(r.value, "short");
    sflight_result_release(&r);
    group_end(g);
    assert_nothing_allocated(&counting);
}

static void retain_is_a_second_hold(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true, .status = 3};
    sflight_result r, copy, third;
    assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
    assert_int_equal(sflight_result_retain(&r, &copy), 0);
    assert_int_equal(sflight_result_retain(&copy, &third), 0);
    assert_int_equal(stats_of(g).held, 3);
    assert_ptr_equal(copy.value, r.value);
    assert_int_equal(copy.size, r.size);
    assert_int_equal(copy.status, 3);
    sflight_result_release(&copy);
    sflight_result_release(&r);
    assert_int_equal(number_of(&third), 1);
    assert_int_equal(stats_of(g).held, 1);
    sflight_result_release(&third);
    assert_int_equal(w.tally.destroyed, 1);
    group_end(g);
}

static void *release_elsewhere(void *arg)
{
    sflight_result_release(arg);
    return NULL;
}

static void a_result_may_be_released_by_another_thread(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 100; i++) {
        struct work w = {.open = true};
        sflight_result r, moved;
        assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
        moved = r; /* plain data: the hold moves with it */
        thread_join(thread_start(release_elsewhere, &moved));
        assert_int_equal(w.tally.destroyed, 1);
    }
    group_end(g);
}

struct destroyer {
    sflight_group *g;
    int left;
    int destroyed;
};

static int set_reentrant(sflight_call *call, void *arg);

/* Uses the same key of the same group from within destroy. */
static void destroy_and_do_again(void *value, size_t size, void *ctx)
{
    struct destroyer *d = ctx;
    (void)value;
    (void)size;
    d->destroyed++;
    if (d->left-- > 0) {
        sflight_result r;
        assert_int_equal(do_str(d->g, "key", set_reentrant, d, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
    }
}

static int set_reentrant(sflight_call *call, void *arg)
{
    sflight_call_set(call, arg, 1, destroy_and_do_again, arg);
    return 0;
}

static void destroy_may_call_the_library(void **state)
{
    (void)state;
    struct destroyer d = {.g = group_new(NULL), .left = 10};
    sflight_result r;
    assert_int_equal(do_str(d.g, "key", set_reentrant, &d, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(d.destroyed, 11);
    group_end(d.g);
}

static int check_wanted(sflight_call *call, void *arg)
{
    (void)arg;
    assert_false(sflight_call_unwanted(call));
    return 0;
}

static void a_blocking_call_is_never_unwanted(void **state)
{
    (void)state;
    for (int cancel = 0; cancel <= 1; cancel++) {
        sflight_options o = default_options();
        o.cancel_unwanted = cancel;
        sflight_group *g = group_new(&o);
        sflight_result r;
        assert_int_equal(do_str(g, "key", check_wanted, NULL, &r), 0);
        sflight_result_release(&r);
        group_end(g);
    }
}

/* ---------------------------------------------------------------- errno */

static void errno_is_left_alone(void **state)
{
    (void)state;
    enum { MARK = 12345 };
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c;
    sflight_stats s;
    sflight_result r;
    leader_start(&c, g, "key", work_fn, &w);
    struct timespec soon = deadline_in_ns(1000000);
    errno = MARK;
    int rc = sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r);
    assert_int_equal(errno, MARK);
    assert_int_equal(rc, -ETIMEDOUT);
    errno = MARK;
    rc = sflight_group_drain(g, &soon);
    assert_int_equal(errno, MARK);
    assert_int_equal(rc, -ETIMEDOUT);
    errno = MARK;
    rc = sflight_group_destroy(g);
    assert_int_equal(errno, MARK);
    assert_int_equal(rc, -EBUSY);
    errno = MARK;
    rc = sflight_do(NULL, "key", 3, must_not_run, NULL, &r);
    assert_int_equal(errno, MARK);
    assert_int_equal(rc, -EINVAL);
    atomic_store(&w.open, true);
    caller_join(&c);
    errno = MARK;
    sflight_result_release(&c.r);
    assert_int_equal(sflight_group_stats(g, &s), 0);
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    assert_int_equal(sflight_group_destroy(g), 0);
    assert_int_equal(errno, MARK);
}

static int set_errno(sflight_call *call, void *arg)
{
    (void)call;
    errno = *(int *)arg;
    return 0;
}

static void errno_of_fn_survives(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    int mark = 4321;
    sflight_result r;
    assert_int_equal(do_str(g, "key", set_errno, &mark, &r), 0);
    assert_int_equal(errno, mark);
    sflight_result_release(&r);
    group_end(g);
}

struct copying {
    const sflight_result *from;
    atomic_int round, copied;
    sflight_result copy;
};

static int n_copies(void)
{
    return rounds(50000, 5000);
}

static void *copy_as_well(void *arg)
{
    struct copying *c = arg;
    for (int i = 1, n = n_copies(); i <= n; i++) {
        for (int j = 0; atomic_load(&c->round) != i; j++)
            if (j > 1000)
                sched_yield(); /* otherwise at once */
        assert_int_equal(sflight_result_retain(c->from, &c->copy), 0);
        atomic_store(&c->copied, i);
    }
    return NULL;
}

/* The result of a call that nobody joined. */
static void two_threads_retain_one_result(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r, copy;
    struct copying c = {.from = &r};
    pthread_t thread = thread_start(copy_as_well, &c);
    for (int i = 1, n = n_copies(); i <= n; i++) {
        assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
        atomic_store(&c.round, i);
        for (int j = i % 512; j-- != 0;)
            atomic_load(&c.copied); /* not always at the same distance */
        assert_int_equal(sflight_result_retain(&r, &copy), 0);
        WAIT_UNTIL(atomic_load(&c.copied) == i);
        sflight_result_release(&copy);
        sflight_result_release(&c.copy);
        assert_int_equal(number_of(&r), i); /* alive, that is */
        assert_int_equal(w.tally.destroyed, i - 1);
        sflight_result_release(&r);
    }
    thread_join(thread);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_again_destroys_the_earlier_value_at_once),
        cmocka_unit_test(results_among_completions),
        cmocka_unit_test(values_without_destroy),
        cmocka_unit_test(set_status_overrides_the_return_value),
        cmocka_unit_test(non_zero_status_reaches_everybody),
        cmocka_unit_test(call_alloc_lives_until_the_last_holder),
        cmocka_unit_test(call_alloc_of_more_than_was_needed),
        cmocka_unit_test(retain_is_a_second_hold),
        cmocka_unit_test(two_threads_retain_one_result),
        cmocka_unit_test(a_result_may_be_released_by_another_thread),
        cmocka_unit_test(destroy_may_call_the_library),
        cmocka_unit_test(a_blocking_call_is_never_unwanted),
        cmocka_unit_test(errno_is_left_alone),
        cmocka_unit_test(errno_of_fn_survives),
    };
    return RUN_TESTS(tests);
}
