/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leader panics: every caller gets the message, frames are left as by any
 * unwinding, each value is destroyed once and the key is free again.
 */
#include "../lib/leader_test.h"

static int panic_with_cleanup(sflight_call *call, void *arg)
{
    COUNT_CLEANUP;
    work_fn(call, arg);
    sflight_panic(call, "cannot read %s: %d", "the page", 42);
}

static void panic_reaches_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c[1 + FOLLOWERS];
    cleanups = 0;
    start_call(c, g, panic_with_cleanup, &w);
    atomic_store(&w.open, true);
    callers_join(c, LENGTH(c));
    assert_int_equal(cleanups, 1);
    assert_int_equal(w.tally.destroyed, 1); /* the message took its place */
    for (size_t i = 0; i < LENGTH(c); i++) {
        const char *message = "cannot read the page: 42";
        const char *got = c[i].r.value;
        assert_int_equal(c[i].rc, -ENOTRECOVERABLE);
        assert_non_null(got);
        assert_int_equal(strlen(got), c[i].r.size);
        assert_true(strncmp(got, message, strlen(message)) == 0);
        if (GLIBC)
            assert_non_null(strstr(got, "42\n  at ")); /* the backtrace */
        else
            assert_string_equal(got, "cannot read the page: 42\n");
        assert_int_equal(c[i].r.leader, i == 0);
    }
    sflight_stats s = stats_of(g);
    assert_int_equal(s.panicked, 1);
    assert_int_equal(s.abandoned, 0);
    assert_int_equal(s.held, 1 + FOLLOWERS);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    callers_release(c, LENGTH(c));
    end_failed_group(g, &w);
}

static void a_panic_has_status_0(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true, .status = 3};
    sflight_result r;
    assert_int_equal(sflight_do(g, "key", 3, panic_fn, &w, &r), -ENOTRECOVERABLE);
    assert_int_equal(r.status, 0);
    sflight_result_release(&r);
    group_end(g);
}

static int panic_long(sflight_call *call, void *arg)
{
    sflight_panic(call, "%s", (const char *)arg);
}

static void panic_message_is_cut(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    char message[5000];
    memset(message, 'x', sizeof message);
    message[sizeof message - 1] = '\0';
    sflight_result r;
    assert_int_equal(do_str(g, "key", panic_long, message, &r), -ENOTRECOVERABLE);
    assert_int_equal(strspn(r.value, "x"), 1023);
    assert_int_equal(strlen(r.value), r.size);
    sflight_result_release(&r);
    assert_int_equal(do_str(g, "key", panic_long, "", &r), -ENOTRECOVERABLE);
    assert_non_null(r.value);
    sflight_result_release(&r);
    group_end(g);
}

/* Recursion of the user's own between do and panic. */
struct deep {
    int depth;
    sflight_fn *last;
};

static int panic_deep(sflight_call *call, void *arg)
{
    COUNT_CLEANUP;
    struct deep *d = arg;
    return d->depth-- > 0 ? panic_deep(call, d) : d->last(call, "deep");
}

static void panic_runs_cleanups_of_every_frame(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    struct deep deep = {200, panic_long};
    cleanups = 0;
    assert_int_equal(do_str(g, "key", panic_deep, &deep, &r), -ENOTRECOVERABLE);
    assert_int_equal(cleanups, 201);
    sflight_result_release(&r);
    group_end(g);
}

/* A cleanup handler that makes a call of its own, which panics, too. */
static void panic_again(void *frame)
{
    sflight_group **g = frame;
    sflight_result r;
    assert_int_equal(do_str(*g, "again", panic_long, "again", &r), -ENOTRECOVERABLE);
    assert_non_null(strstr(r.value, "again"));
    sflight_result_release(&r);
    cleanups++;
}

static int panic_with_panicking_cleanup(sflight_call *call, void *arg)
{
    sflight_group *g __attribute__((cleanup(panic_again), unused)) = arg;
    sflight_panic(call, "once");
}

static void panic_during_a_panic(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    cleanups = 0;
    assert_int_equal(do_str(g, "key", panic_with_panicking_cleanup, g, &r), -ENOTRECOVERABLE);
    assert_int_equal(cleanups, 1);
    assert_non_null(strstr(r.value, "once"));
    sflight_result_release(&r);
    assert_int_equal(stats_of(g).panicked, 2);
    assert_key_usable(g, "key");
    group_end(g);
}

/* ----------------------------------------------------- a call inside a call */

static int inner_panics(sflight_call *call, void *arg)
{
    work_fn(call, &((struct outer *)arg)->inner);
    sflight_panic(call, "inner");
}

static int inner_panics_the_outer(sflight_call *call, void *arg)
{
    struct outer *o = arg;
    work_fn(call, &o->inner);
    sflight_panic(o->outer_call, "outer");
}

static void panic_unwinds_its_own_call_only(void **state)
{
    (void)state;
    struct outer o;
    outer_run(&o, inner_panics);
    assert_int_equal(o.inner_rc, -ENOTRECOVERABLE);
    assert_int_equal(o.of_inner.rc, -ENOTRECOVERABLE);
    assert_int_equal(o.leader.rc, 0);
    assert_int_equal(o.leader.r.status, 8);
    assert_int_equal(o.of_outer.rc, 0);
    assert_int_equal(o.of_outer.r.status, 8);
    assert_int_equal(stats_of(o.g).panicked, 1);
    outer_end(&o);
}

static void panic_of_the_outer_call_abandons_the_inner(void **state)
{
    (void)state;
    struct outer o;
    outer_run(&o, inner_panics_the_outer);
    assert_int_equal(o.inner_rc, NEVER_RETURNED);
    assert_int_equal(o.leader.rc, -ENOTRECOVERABLE);
    assert_int_equal(o.of_inner.rc, -EOWNERDEAD);
    assert_int_equal(o.of_outer.rc, -ENOTRECOVERABLE);
    assert_int_equal(stats_of(o.g).panicked, 1);
    assert_int_equal(stats_of(o.g).abandoned, 1);
    outer_end(&o);
}

/* -------------------------------------------------------------- an option */

static void panic_that_aborts(void)
{
    sflight_options o = default_options();
    o.on_panic = SFLIGHT_PANIC_ABORT;
    sflight_group *g = group_new(&o);
    sflight_result r;
    do_str(g, "key", panic_long, "the message of the panic", &r);
}

static void panic_abort_prints_and_aborts(void **state)
{
    (void)state;
    assert_aborts(panic_that_aborts, "the message of the panic");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panic_reaches_everybody),
        cmocka_unit_test(a_panic_has_status_0),
        cmocka_unit_test(panic_message_is_cut),
        cmocka_unit_test(panic_runs_cleanups_of_every_frame),
        cmocka_unit_test(panic_during_a_panic),
        cmocka_unit_test(panic_unwinds_its_own_call_only),
        cmocka_unit_test(panic_of_the_outer_call_abandons_the_inner),
        cmocka_unit_test(panic_abort_prints_and_aborts),
    };
    return RUN_TESTS(tests);
}
