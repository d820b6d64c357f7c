/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A leader's thread leaves fn without a word: by pthread_exit(), cancellation
 * or longjmp().  Its followers are told, each value is destroyed once and the
 * key is free again.
 */
#include "../lib/leader_test.h"

/* ------------------------------------------------------------ pthread_exit */

static int exit_with_cleanup(sflight_call *call, void *arg)
{
    COUNT_CLEANUP;
    work_fn(call, arg);
    pthread_exit(arg);
}

static void pthread_exit_reaches_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c[1 + FOLLOWERS];
    cleanups = 0;
    start_call(c, g, exit_with_cleanup, &w);
    atomic_store(&w.open, true);
    assert_ptr_equal(caller_join(&c[0]), &w); /* ends as it asked */
    callers_join(c + 1, FOLLOWERS);
    assert_int_equal(cleanups, GLIBC);
    assert_int_equal(c[0].rc, NEVER_RETURNED);
    assert_followers_got(c, -EOWNERDEAD);
    for (int i = 1; i <= FOLLOWERS; i++)
        assert_zeroed(&c[i].r);
    assert_int_equal(stats_of(g).abandoned, 1);
    assert_int_equal(stats_of(g).taken_over, 0);
    end_failed_group(g, &w);
}

static void pthread_exit_without_followers(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    struct caller c;
    caller_start(&c, g, "key", exit_with_cleanup, &w);
    caller_join(&c);
    assert_int_equal(stats_of(g).abandoned, 1);
    end_failed_group(g, &w);
}

static int inner_exits(sflight_call *call, void *arg)
{
    return exit_with_cleanup(call, &((struct outer *)arg)->inner);
}

static void pthread_exit_abandons_every_enclosing_call(void **state)
{
    (void)state;
    struct outer o;
    outer_run(&o, inner_exits);
    assert_int_equal(o.of_inner.rc, -EOWNERDEAD);
    assert_int_equal(o.of_outer.rc, -EOWNERDEAD);
    assert_int_equal(stats_of(o.g).abandoned, 2);
    outer_end(&o);
}

/* Stands in the stack outside of sflight_do(): its caller must not have to end first. */
static void await_no_waiters(void *g)
{
    WAIT_UNTIL(stats_of(g).waiting == 0);
}

struct leaver {
    sflight_group *g;
    struct work w;
};

static void *leave_slowly(void *arg)
{
    struct leaver *l = arg;
    sflight_result r;
    pthread_cleanup_push(await_no_waiters, l->g);
    sflight_do(l->g, "key", 3, exit_fn, &l->w, &r);
    pthread_cleanup_pop(0);
    return NULL;
}

static void followers_go_on_before_their_leader_has_ended(void **state)
{
    (void)state;
    struct leaver l = {.g = group_new(NULL)};
    struct caller follower;
    pthread_t thread = thread_start(leave_slowly, &l);
    WAIT_UNTIL(l.w.runs == 1);
    caller_start(&follower, l.g, "key", nothing, NULL);
    await_waiting(l.g, 1);
    atomic_store(&l.w.open, true);
    thread_join(thread);
    caller_join(&follower);
    assert_int_equal(follower.rc, -EOWNERDEAD);
    group_end(l.g);
}

/* ---------------------------------------------------------- pthread_cancel */

static void pthread_cancel_reaches_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c[1 + FOLLOWERS];
    start_call(c, g, wait_for_cancel, &w);
    assert_int_equal(pthread_cancel(c[0].thread), 0);
    assert_ptr_equal(caller_join(&c[0]), PTHREAD_CANCELED);
    callers_join(c + 1, FOLLOWERS);
    assert_int_equal(c[0].rc, NEVER_RETURNED);
    assert_followers_got(c, -EOWNERDEAD);
    assert_int_equal(stats_of(g).abandoned, 1);
    end_failed_group(g, &w);
}

/* ----------------------------------------------------------------- longjmp */

struct jumper {
    struct caller c;
    struct work w;
    jmp_buf out;
    atomic_bool jumped;
    atomic_bool may_end;
};

static int jump_out(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    work_fn(call, &j->w);
    longjmp(j->out, 1);
}

static void *jump_then_end(void *arg)
{
    struct jumper *j = arg;
    if (setjmp(j->out) == 0)
        do_str(j->c.g, "key", jump_out, j, &j->c.r);
    atomic_store(&j->jumped, true);
    WAIT_UNTIL(j->may_end);
    return NULL;
}

static void longjmp_releases_followers_when_the_thread_ends(void **state)
{
    (void)state;
    if (HOOKED)
        return; /* nobody tells the library that a task has ended */
    sflight_group *g = group_new(NULL);
    struct jumper j = {.c.g = g};
    struct caller followers[FOLLOWERS];
    pthread_t thread = thread_start(jump_then_end, &j);
    WAIT_UNTIL(j.w.runs == 1);
    callers_start(followers, FOLLOWERS, g, "key", must_not_run, NULL);
    await_waiting(g, FOLLOWERS);
    atomic_store(&j.w.open, true);
    WAIT_UNTIL(j.jumped);
    atomic_store(&j.may_end, true);
    thread_join(thread);
    callers_join(followers, FOLLOWERS);
    for (int i = 0; i < FOLLOWERS; i++)
        assert_int_equal(followers[i].rc, -EOWNERDEAD);
    end_failed_group(g, &j.w);
}

/* fn of "outer" asks for "key", whose fn jumps back into the outer fn. */
static int jump_inside(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    (void)call;
    sflight_result r;
    if (setjmp(j->out) == 0)
        do_str(j->c.g, "key", jump_out, j, &r);
    return 9;
}

static void longjmp_releases_followers_when_the_enclosing_call_ends(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct jumper j = {.c.g = g};
    struct caller outer, followers[FOLLOWERS];
    caller_start(&outer, g, "outer", jump_inside, &j);
    WAIT_UNTIL(j.w.runs == 1);
    callers_start(followers, FOLLOWERS, g, "key", must_not_run, NULL);
    await_waiting(g, FOLLOWERS);
    atomic_store(&j.w.open, true);
    caller_join(&outer);
    callers_join(followers, FOLLOWERS);
    assert_int_equal(outer.rc, 0);
    assert_int_equal(outer.r.status, 9);
    for (int i = 0; i < FOLLOWERS; i++)
        assert_int_equal(followers[i].rc, -EOWNERDEAD);
    callers_release(&outer, 1);
    end_failed_group(g, &j.w);
}

static jmp_buf out;

static int jump_out_of_batch(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    longjmp(out, 1);
}

static void *jump_and_end(void *g)
{
    sflight_key keys[] = {{"jumps", 5}, {"theirs", 6}};
    sflight_result r[2];
    int rc[2];
    if (setjmp(out) == 0)
        sflight_do_many(g, keys, 2, jump_out_of_batch, NULL, NULL, r, rc);
    return NULL;
}

static void a_thread_jumps_out_of_its_batch_and_ends(void **state)
{
    (void)state;
    if (HOOKED)
        return; /* nobody tells the library that a task has ended */
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 7};
    struct caller other;
    leader_start(&other, g, "theirs", work_fn, &w);
    thread_join(thread_start(jump_and_end, g));
    assert_int_equal(stats_of(g).waiting, 0);
    atomic_store(&w.open, true);
    caller_join(&other);
    callers_release(&other, 1);
    assert_int_equal(stats_of(g).in_flight, 0);
    assert_int_equal(stats_of(g).held, 0);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pthread_exit_reaches_everybody),
        cmocka_unit_test(pthread_exit_without_followers),
        cmocka_unit_test(pthread_exit_abandons_every_enclosing_call),
        cmocka_unit_test(followers_go_on_before_their_leader_has_ended),
        cmocka_unit_test(pthread_cancel_reaches_everybody),
        cmocka_unit_test(longjmp_releases_followers_when_the_thread_ends),
        cmocka_unit_test(longjmp_releases_followers_when_the_enclosing_call_ends),
        cmocka_unit_test(a_thread_jumps_out_of_its_batch_and_ends),
    };
    return RUN_TESTS(tests);
}
