/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks inside user code that the library runs: callbacks of futures, destroy functions, and
 * callbacks for calls that nobody wants.  In parent and child the thread goes on, through the
 * library's frames, and afterwards nothing is in flight or held, and every value is destroyed once.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

enum place { IN_CALLBACK, IN_DESTROY, IN_UNWANTED, PLACES };

/* What the child does with the group while it is still in there. */
enum early { NOTHING_THERE, LOOKS_THERE, ANOTHER_THREAD_LOOKS, EARLIES };

static sflight_group *g;
static sflight_queue *q;
static enum place place;
static enum early early;
static pid_t pid; /* -1: there has been no fork */
static int n_set, n_destroyed;

static void *look(void *unused)
{
    (void)unused;
    stats_of(g);
    return NULL;
}

static void fork_in(enum place here)
{
    if (here != place || pid != -1)
        return;
    pid = fork_child();
    if (pid == 0 && early == LOOKS_THERE)
        look(NULL);
    if (pid == 0 && early == ANOTHER_THREAD_LOOKS)
        thread_join(thread_start(look, NULL));
}

static void destroy(void *value, size_t size, void *ctx)
{
    (void)value, (void)size, (void)ctx;
    n_destroyed++;
    fork_in(IN_DESTROY);
}

static void callback(void *arg, int rc, sflight_result *r)
{
    (void)arg, (void)rc;
    fork_in(IN_CALLBACK);
    sflight_result_release(r);
}

static void unwanted(void *arg)
{
    (void)arg;
    fork_in(IN_UNWANTED);
}

static void set(sflight_call *call)
{
    n_set++;
    sflight_call_set(call, "", 1, destroy, NULL);
}

static void set_and_complete(sflight_call *permit)
{
    set(permit);
    sflight_complete(permit, 0);
}

static sflight_future *own_future(sflight_call *permit)
{
    sflight_future *f;
    assert_int_equal(sflight_call_future(permit, &f), 0);
    return f;
}

static sflight_call *lead_and_listen(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_call_on_unwanted(permit, unwanted, NULL);
    return permit;
}

/* ------------------------------------------------------------- what runs it */

static void complete_with_a_callback(void)
{
    sflight_call *permit = lead(g, "key");
    assert_int_equal(sflight_future_then(join(g, "key"), callback, NULL), 0);
    set_and_complete(permit);
}

static void complete_with_an_own_callback(void)
{
    sflight_call *permit = lead(g, "key");
    assert_int_equal(sflight_future_then(own_future(permit), callback, NULL), 0);
    set_and_complete(permit);
}

static void call_back_at_once(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_future *f = join(g, "key"), *dropped = join(g, "key");
    set_and_complete(permit);
    assert_int_equal(sflight_future_then(f, callback, NULL), 0);
    sflight_future_drop(dropped);
}

static void abandon_with_callbacks(void)
{
    sflight_call *permit = lead(g, "key");
    set(permit);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sflight_future_then(join(g, "key"), callback, NULL), 0);
    sflight_abandon(permit);
}

/* There is nothing to destroy when the callback has returned. */
static void complete_without_a_value(void)
{
    sflight_call *permit = lead(g, "key");
    assert_int_equal(sflight_future_then(join(g, "key"), callback, NULL), 0);
    sflight_complete(permit, 0);
}

static void abandon_without_a_value(void)
{
    sflight_call *permit = lead(g, "key");
    assert_int_equal(sflight_future_then(join(g, "key"), callback, NULL), 0);
    sflight_abandon(permit);
}

static int call_back(sflight_call *const *calls, size_t n, void *unused)
{
    (void)calls, (void)n, (void)unused;
    assert_int_equal(sflight_future_then(join(g, "key"), callback, NULL), 0);
    return 0;
}

static void one_key_three_times(void)
{
    sflight_key keys[] = {{"key", 3}, {"key", 3}, {"key", 3}};
    sflight_result r[LENGTH(keys)];
    int rc[LENGTH(keys)];
    assert_int_equal(sflight_do_many(g, keys, LENGTH(keys), call_back, NULL, NULL, r, rc), 0);
    for (size_t i = 0; i < LENGTH(keys); i++)
        sflight_result_release(&r[i]);
}

static int set_in_fn(sflight_call *call, void *unused)
{
    (void)unused;
    set(call);
    return 0;
}

static void release_a_result(void)
{
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", set_in_fn, NULL, &r), 0);
    assert_int_equal(sflight_result_retain(&r, &copy), 0);
    sflight_result_release(&r);
    sflight_result_release(&copy);
}

static void complete_for_nobody(void)
{
    set_and_complete(lead(g, "key"));
}

static void set_again(void)
{
    sflight_call *permit = lead(g, "key");
    set(permit);
    set_and_complete(permit);
}

static void drop_what_has_come(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_future *f = join(g, "key"), *own = own_future(permit);
    set_and_complete(permit);
    sflight_future_drop(f);
    sflight_future_drop(own);
}

static void cancel_what_has_come(void)
{
    sflight_call *permit;
    sflight_future *f;
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &permit, &f), 0);
    set_and_complete(permit);
    assert_int_equal(sflight_future_cancel(f), 1);
}

static void drop_the_last(void)
{
    sflight_call *permit = lead_and_listen();
    sflight_future_drop(join(g, "key"));
    set_and_complete(permit);
}

static void drop_the_own(void)
{
    sflight_call *permit = lead_and_listen();
    sflight_future_drop(own_future(permit));
    set_and_complete(permit);
}

static void cancel_the_last(void)
{
    sflight_call *permit = lead_and_listen(), *none;
    sflight_future *f;
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &none, &f), 0);
    assert_int_equal(sflight_future_cancel(f), 1);
    set_and_complete(permit);
}

static void cancel_the_own(void)
{
    sflight_call *permit;
    sflight_future *f;
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &permit, &f), 0);
    sflight_call_on_unwanted(permit, unwanted, NULL);
    assert_int_equal(sflight_future_cancel(f), 1);
    set_and_complete(permit);
}

static void time_out(void)
{
    sflight_call *permit = lead_and_listen();
    struct timespec past = deadline_in_ns(0);
    sflight_result r;
    assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &past, &r), -ETIMEDOUT);
    set_and_complete(permit);
}

static int leads_nothing(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    abort();
}

static void time_out_in_a_batch(void)
{
    sflight_call *permit = lead_and_listen();
    struct timespec past = deadline_in_ns(0);
    sflight_key key = {"key", 3};
    sflight_result r;
    int rc;
    assert_int_equal(sflight_do_many(g, &key, 1, leads_nothing, NULL, &past, &r, &rc), 0);
    assert_int_equal(rc, -ETIMEDOUT);
    set_and_complete(permit);
}

static void listen_too_late(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_future_drop(join(g, "key"));
    sflight_call_on_unwanted(permit, unwanted, NULL);
    set_and_complete(permit);
}

static void complete_in_the_callback(void *permit)
{
    set_and_complete(permit);
    fork_in(IN_UNWANTED);
}

static void complete_and_fork(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_call_on_unwanted(permit, complete_in_the_callback, permit);
    sflight_future_drop(join(g, "key"));
}

static void fork_and_complete_in_the_callback(void *permit)
{
    fork_in(IN_UNWANTED);
    set_and_complete(permit);
}

static void fork_and_complete(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_call_on_unwanted(permit, fork_and_complete_in_the_callback, permit);
    sflight_future_drop(join(g, "key"));
}

static void fork_twice_in_the_callback(void *permit)
{
    fork_in(IN_UNWANTED);
    if (pid == 0) {
        pid = -1;
        fork_in(IN_UNWANTED);
        if (pid > 0) {
            assert_child_succeeds(pid);
            pid = 0;
        }
    }
    sflight_call_on_unwanted(permit, unwanted, NULL);
}

static void fork_twice(void)
{
    sflight_call *permit = lead(g, "key");
    sflight_call_on_unwanted(permit, fork_twice_in_the_callback, permit);
    sflight_future_drop(join(g, "key"));
    sflight_future_drop(join(g, "key"));
    set_and_complete(permit);
}

/* Two calls, one inside the callback for the other. */
static void leave_the_inner(void *f)
{
    sflight_future_drop(f);
}

static void one_inside_another(void)
{
    sflight_call *inner = lead_and_listen(), *outer = lead(g, "outer");
    sflight_call_on_unwanted(outer, leave_the_inner, join(g, "key"));
    sflight_future_drop(join(g, "outer"));
    set_and_complete(inner);
    set_and_complete(outer);
}

struct elsewhere {
    sflight_call *permit;
    atomic_bool begun, forked;
};

/* It is this thread's permit, which does not exist in the child. */
static void *begin_and_complete(void *arg)
{
    struct elsewhere *e = arg;
    e->permit = lead_and_listen();
    atomic_store(&e->begun, true);
    WAIT_UNTIL(e->forked);
    set_and_complete(e->permit);
    return NULL;
}

static void leave_another_threads(void (*leave)(void))
{
    struct elsewhere e = {0};
    pthread_t thread = thread_start(begin_and_complete, &e);
    WAIT_UNTIL(e.begun);
    leave();
    if (pid == 0)
        return;
    atomic_store(&e.forked, true);
    thread_join(thread);
}

static void drop_last(void)
{
    sflight_future_drop(join(g, "key"));
}

static void cancel_last(void)
{
    sflight_call *none;
    sflight_future *f[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &none, &f[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sflight_future_cancel(f[i]), 1);
}

static void drop_the_last_of_another_thread(void)
{
    leave_another_threads(drop_last);
}

static void cancel_the_last_of_another_thread(void)
{
    leave_another_threads(cancel_last);
}

/* ------------------------------------------------------------------- checks */

struct running {
    sflight_future *f;
    atomic_bool runs, go;
};

static void run_until_told(void *arg)
{
    struct running *r = arg;
    atomic_store(&r->runs, true);
    WAIT_UNTIL(r->go);
}

static void *drop_main(void *arg)
{
    struct running *r = arg;
    sflight_future_drop(r->f);
    return NULL;
}

/* Another thread is in the callback when this one, which leads the call, forks. */
static void of_another_threads_callback(void **state)
{
    (void)state;
    enum { DISARMS, COMPLETES, ABANDONS, CHILDREN };
    for (int does = 0; does < CHILDREN; does++) {
        g = group_new(NULL);
        sflight_call *permit = lead(g, "key");
        struct running r = {.f = join(g, "key")};
        sflight_call_on_unwanted(permit, run_until_told, &r);
        pthread_t thread = thread_start(drop_main, &r);
        WAIT_UNTIL(r.runs);
        pid_t child = fork_child();
        if (child == 0) {
            if (does == DISARMS)
                sflight_call_on_unwanted(permit, NULL, NULL);
            if (does == ABANDONS)
                sflight_abandon(permit);
            else
                sflight_complete(permit, 0);
            assert_key_usable(g, "key");
            _exit(0); /* the future that was being dropped is lost */
        }
        assert_child_succeeds(child);
        atomic_store(&r.go, true);
        sflight_complete(permit, 0);
        thread_join(thread);
        group_end(g);
    }
}

static void check(void)
{
    sflight_stats s = stats_of(g);
    sflight_result r;
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.held, 0);
    assert_int_equal(n_destroyed, n_set);
    assert_int_equal(do_str(g, "new", set_in_fn, NULL, &r), 0);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    sflight_result_release(&r);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void fork_inside(void (*run)(void), int on_abandon)
{
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    o.on_abandon = on_abandon;
    g = group_new(&o);
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_key_usable(g, "key");
    n_set = n_destroyed = 0;
    pid = -1;
    run();
    pid_t child = pid;
    pid = -2;
    check();
    assert_nothing_allocated(&counting);
    if (child == 0)
        _exit(0);
    if (child > 0)
        assert_child_succeeds(child);
}

static void fork_inside_of(void (*const *runs)(void), size_t n, enum place where)
{
    place = where;
    for (int e = 0; e < EARLIES; e++) {
        if (e == ANOTHER_THREAD_LOOKS && (SANITIZED || EMULATED))
            continue; /* no threads after a fork there */
        early = (enum early)e;
        for (size_t i = 0; i < 2 * n; i++)
            fork_inside(runs[i / 2], i % 2 ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE);
    }
}

static void everywhere(void **state)
{
    (void)state;
    static void (*const runs[])(void) = {
        complete_with_a_callback,
        complete_with_an_own_callback,
        call_back_at_once,
        abandon_with_callbacks,
        complete_without_a_value,
        abandon_without_a_value,
        one_key_three_times,
        release_a_result,
        complete_for_nobody,
        set_again,
        drop_what_has_come,
        cancel_what_has_come,
        drop_the_last,
        drop_the_own,
        cancel_the_last,
        cancel_the_own,
        time_out,
        time_out_in_a_batch,
        listen_too_late,
        complete_and_fork,
        fork_and_complete,
        fork_twice,
        one_inside_another,
    };
    for (int p = 0; p < PLACES; p++)
        fork_inside_of(runs, LENGTH(runs), (enum place)p);
}

static void of_other_threads_calls(void **state)
{
    (void)state;
    static void (*const runs[])(void) = {drop_the_last_of_another_thread,
                                         cancel_the_last_of_another_thread};
    fork_inside_of(runs, LENGTH(runs), IN_UNWANTED);
}

static int exit_from_many(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    pthread_exit(NULL);
}

static void end_child(void *unused)
{
    (void)unused;
    if (pid != 0)
        return;
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.held, 0);
    assert_key_usable(g, "key");
    assert_key_usable(g, "own");
    _exit(0);
}

static void *exit_in_a_batch(void *unused)
{
    sflight_key keys[] = {{"own", 3}, {"key", 3}};
    sflight_result r[LENGTH(keys)];
    int rc[LENGTH(keys)];
    pthread_cleanup_push(end_child, NULL);
    sflight_do_many(g, keys, LENGTH(keys), exit_from_many, NULL, NULL, r, rc);
    pthread_cleanup_pop(0);
    return unused;
}

/* It leaves what it has joined while its thread ends. */
static void of_a_batch_that_is_left(void **state)
{
    (void)state;
    g = group_new(NULL);
    pid = -1;
    place = IN_UNWANTED;
    early = LOOKS_THERE;
    sflight_call *permit = lead_and_listen();
    thread_join(thread_start(exit_in_a_batch, NULL));
    assert_true(pid > 0);
    assert_child_succeeds(pid);
    sflight_complete(permit, 0);
    group_end(g);
}

static void fork_and_leave(void *value, size_t size, void *ctx)
{
    (void)value, (void)size, (void)ctx;
    pid = fork_child();
    if (pid == 0)
        pthread_exit(NULL);
}

static void *drain_and_be_left(void *done)
{
    assert_int_equal(sflight_queue_drain(q, done, 3), 3);
    pthread_cleanup_push(end_child, NULL);
    sflight_completions_release(done, 3);
    pthread_cleanup_pop(0);
    return NULL;
}

/* Three holds at once, all from before the fork. */
static void of_a_destroy_that_is_left(void **state)
{
    (void)state;
    sflight_completion done[3];
    g = group_new(NULL);
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *permit = lead(g, "key");
    for (int i = 0; i < 3; i++)
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 0), 0);
    sflight_call_set(permit, "", 1, fork_and_leave, NULL);
    sflight_complete(permit, 0);
    pid = -1;
    thread_join(thread_start(drain_and_be_left, done));
    assert_true(pid > 0);
    assert_child_succeeds(pid);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everywhere),
        cmocka_unit_test(of_other_threads_calls),
        cmocka_unit_test(of_another_threads_callback),
        cmocka_unit_test(of_a_batch_that_is_left),
        cmocka_unit_test(of_a_destroy_that_is_left),
    };
    return RUN_TESTS(tests);
}
