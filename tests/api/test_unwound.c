/* SPDX-License-Identifier: BSD-2-Clause */
/* Ways out that leave something behind for others to tidy up: batches, destroy, fork. */
#include "../lib/api_test.h"

/* ------------------------------------------------------ fork inside a batch */

struct forking {
    pid_t pid;
    struct work *other;
};

static int fork_in_batch(sflight_call *const *calls, size_t n, void *arg)
{
    struct forking *f = arg;
    (void)calls;
    assert_int_equal(n, 1);
    f->pid = fork_child();
    if (f->pid != 0)
        atomic_store(&f->other->open, true);
    return 5;
}

/* The child has joined a call of a thread that does not exist there. */
static void a_batch_forks_while_it_follows(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 7};
    struct caller other;
    leader_start(&other, g, "theirs", work_fn, &w);
    sflight_key keys[] = {{"mine", 4}, {"theirs", 6}};
    sflight_result r[2];
    int rc[2];
    struct forking f = {.other = &w};
    assert_int_equal(sflight_do_many(g, keys, 2, fork_in_batch, &f, NULL, r, rc), 0);
    assert_int_equal(rc[0], 0);
    assert_int_equal(r[0].status, 5);
    assert_int_equal(rc[1], f.pid == 0 ? -EOWNERDEAD : 0);
    sflight_result_release(&r[0]);
    sflight_result_release(&r[1]);
    if (f.pid == 0)
        _exit(sflight_group_destroy(g) == 0 ? 0 : 1);
    assert_child_succeeds(f.pid);
    caller_join(&other);
    callers_release(&other, 1);
    group_end(g);
}

static sflight_result moved;
static atomic_bool done;

static void *get_and_stay(void *g)
{
    assert_int_equal(sflight_do(g, "moved", 5, nothing, NULL, &moved), 0);
    atomic_store(&done, true);
    WAIT_UNTIL(!done);
    return NULL;
}

/* What the child gives up of another thread's must not hide what it holds. */
static void a_result_that_came_from_another_thread(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    pthread_t thread = thread_start(get_and_stay, g);
    WAIT_UNTIL(done);
    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_result r;
        sflight_result_release(&moved);
        int rc = sflight_do(g, "own", 3, nothing, NULL, &r);
        bool right = rc == 0 && stats_of(g).held == 1 && sflight_group_destroy(g) == -EBUSY;
        sflight_result_release(&r);
        _exit(right && sflight_group_destroy(g) == 0 ? 0 : 1);
    }
    assert_child_succeeds(pid);
    atomic_store(&done, false);
    thread_join(thread);
    sflight_result_release(&moved);
    group_end(g);
}

/* ------------------------------------------------------- jumps and cancels */

static jmp_buf out;

static int jump_out(sflight_call *const *calls, size_t n, void *arg)
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
        sflight_do_many(g, keys, 2, jump_out, NULL, NULL, r, rc);
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

static void cancelled_destroy(void *value, size_t size, void *ctx)
{
    (void)value, (void)size;
    atomic_fetch_add((atomic_int *)ctx, 1);
    pthread_testcancel();
}

static int set_cancelled_destroy(sflight_call *call, void *n)
{
    sflight_call_set(call, n, 0, cancelled_destroy, n);
    return 0;
}

struct releaser {
    sflight_group *g;
    atomic_int n_destroyed;
};

static void *release_and_be_cancelled(void *arg)
{
    struct releaser *me = arg;
    sflight_result r;
    sflight_do(me->g, "key", 3, set_cancelled_destroy, &me->n_destroyed, &r);
    pthread_cancel(pthread_self());
    sflight_result_release(&r);
    return NULL;
}

static void a_destroy_that_does_not_return(void **state)
{
    (void)state;
    struct releaser me = {.g = group_new(NULL)};
    assert_ptr_equal(thread_join(thread_start(release_and_be_cancelled, &me)), PTHREAD_CANCELED);
    assert_int_equal(me.n_destroyed, 1);
    assert_int_equal(stats_of(me.g).held, 0);
    group_end(me.g);
}

static void *create_with_a_cancel_pending(void *arg)
{
    sflight_group *g;
    (void)arg;
    pthread_cancel(pthread_self());
    int rc = sflight_group_create(&g, NULL);
    rc = rc != 0 ? rc : sflight_group_destroy(g);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return rc == 0 ? &done : NULL;
}

static void create_is_no_cancellation_point(void **state)
{
    (void)state;
    assert_ptr_equal(thread_join(thread_start(create_with_a_cancel_pending, NULL)), &done);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_forks_while_it_follows),
        cmocka_unit_test(a_result_that_came_from_another_thread),
        cmocka_unit_test(a_thread_jumps_out_of_its_batch_and_ends),
        cmocka_unit_test(a_destroy_that_does_not_return),
        cmocka_unit_test(create_is_no_cancellation_point),
        cmocka_unit_test(followers_go_on_before_their_leader_has_ended),
        cmocka_unit_test(a_panic_has_status_0),
    };
    return RUN_TESTS(tests);
}
