/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a call whose leader leaves fn without returning: by panic,
 * pthread_exit(), cancellation or longjmp().  Every caller hears of it, nobody
 * is wedged, each value is destroyed once and the key is free again.
 * Takeover, deadlock and fork have programs of their own.
 */
#include "../lib/api_test.h"

#include <ucontext.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { FOLLOWERS = 4 };

/* A leader and its followers, all waiting; c[0] leads. */
static void start_call(struct caller *c, sflight_group *g, sflight_fn *fn, struct work *w)
{
    caller_start(&c[0], g, "key", fn, w);
    WAIT_UNTIL(w->runs == 1);
    callers_start(c + 1, FOLLOWERS, g, "key", must_not_run, NULL);
    await_waiting(g, FOLLOWERS);
}

static void assert_followers_got(struct caller *c, int rc)
{
    for (int i = 1; i <= FOLLOWERS; i++)
        assert_int_equal(c[i].rc, rc);
}

static void end_failed_group(sflight_group *g, struct work *w)
{
    assert_all_destroyed(&w->tally);
    assert_key_usable(g, "key");
    group_end(g);
}

/* ------------------------------------------------------------ status */

static void non_zero_status_reaches_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = -ENOTRECOVERABLE};
    struct caller c[1 + FOLLOWERS];
    start_call(c, g, work_fn, &w);
    atomic_store(&w.open, true);
    callers_join(c, LENGTH(c));
    for (size_t i = 0; i < LENGTH(c); i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].r.status, -ENOTRECOVERABLE);
        assert_int_equal(number_of(&c[i].r), 1);
    }
    assert_int_equal(stats_of(g).panicked, 0);
    callers_release(c, LENGTH(c));
    end_failed_group(g, &w);
}

/* ------------------------------------------------------------- panic */

static int cleanups;

/* As a handler may: overwrites the stack below the frame that is being left. */
static __attribute__((noinline)) void count_cleanup(void *frame)
{
    volatile char scratch[65536];
    (void)frame;
    for (size_t i = 0; i < sizeof scratch; i++)
        scratch[i] = 0x55;
    cleanups++;
}

/* In a frame: counts when the frame is left, unwinding included. */
#define COUNT_CLEANUP char frame_ __attribute__((cleanup(count_cleanup), unused))

static int panic_fn(sflight_call *call, void *arg)
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
    start_call(c, g, panic_fn, &w);
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
        assert_true(strlen(got) > strlen(message)); /* the backtrace */
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

/* A call inside a call: fn of "key" asks for "inner". */
struct outer {
    sflight_group *g;
    sflight_fn *inner_fn;
    struct work inner;
    sflight_call *outer_call;
    int inner_rc;
};

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

static int ask_inner(sflight_call *call, void *arg)
{
    struct outer *o = arg;
    sflight_result r;
    o->outer_call = call;
    o->inner_rc = do_str(o->g, "inner", o->inner_fn, o, &r);
    sflight_result_release(&r);
    return 8;
}

static void panic_unwinds_its_own_call_only(void **state)
{
    (void)state;
    struct outer o = {group_new(NULL), inner_panics, .inner_rc = NEVER_RETURNED};
    struct caller outer, follower;
    caller_start(&outer, o.g, "key", ask_inner, &o);
    WAIT_UNTIL(o.inner.runs == 1);
    caller_start(&follower, o.g, "inner", must_not_run, NULL);
    await_waiting(o.g, 1);
    atomic_store(&o.inner.open, true);
    caller_join(&outer);
    caller_join(&follower);
    assert_int_equal(o.inner_rc, -ENOTRECOVERABLE);
    assert_int_equal(follower.rc, -ENOTRECOVERABLE);
    assert_int_equal(outer.rc, 0);
    assert_int_equal(outer.r.status, 8);
    callers_release(&outer, 1);
    callers_release(&follower, 1);
    assert_int_equal(stats_of(o.g).panicked, 1);
    assert_key_usable(o.g, "inner");
    end_failed_group(o.g, &o.inner);
}

static void panic_of_the_outer_call_abandons_the_inner(void **state)
{
    (void)state;
    struct outer o = {group_new(NULL), inner_panics_the_outer, .inner_rc = NEVER_RETURNED};
    struct caller outer, followers[2];
    caller_start(&outer, o.g, "key", ask_inner, &o);
    WAIT_UNTIL(o.inner.runs == 1);
    caller_start(&followers[0], o.g, "inner", must_not_run, NULL);
    caller_start(&followers[1], o.g, "key", must_not_run, NULL);
    await_waiting(o.g, 2);
    atomic_store(&o.inner.open, true);
    caller_join(&outer);
    callers_join(followers, 2);
    assert_int_equal(o.inner_rc, NEVER_RETURNED);
    assert_int_equal(outer.rc, -ENOTRECOVERABLE);
    assert_int_equal(followers[0].rc, -EOWNERDEAD);
    assert_int_equal(followers[1].rc, -ENOTRECOVERABLE);
    callers_release(&outer, 1);
    callers_release(followers, 2);
    assert_int_equal(stats_of(o.g).panicked, 1);
    assert_int_equal(stats_of(o.g).abandoned, 1);
    assert_key_usable(o.g, "inner");
    end_failed_group(o.g, &o.inner);
}

/* What the child of a fork does when it panics with PANIC_ABORT. */
static void panic_and_abort(int stderr_fd)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(stderr_fd, STDERR_FILENO);
    sflight_options o = default_options();
    o.on_panic = SFLIGHT_PANIC_ABORT;
    sflight_group *g = group_new(&o);
    sflight_result r;
    do_str(g, "key", panic_long, "the message of the panic", &r);
    _exit(0); /* not reached */
}

static void panic_abort_prints_and_aborts(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        panic_and_abort(fds[1]);
    close(fds[1]);
    char text[16384];
    size_t n = 0;
    ssize_t got;
    while ((got = read(fds[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "the message of the panic"));
}

/* ------------------------------------------------ pthread_exit, cancel */

static int exit_fn(sflight_call *call, void *arg)
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
    start_call(c, g, exit_fn, &w);
    atomic_store(&w.open, true);
    assert_ptr_equal(caller_join(&c[0]), &w); /* ends as it asked */
    callers_join(c + 1, FOLLOWERS);
    assert_int_equal(cleanups, 1);
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
    caller_start(&c, g, "key", exit_fn, &w);
    caller_join(&c);
    assert_int_equal(stats_of(g).abandoned, 1);
    end_failed_group(g, &w);
}

/* A thread cancelled inside one of TSan's interceptors confuses TSan. */
static void cancellation_point(void)
{
    if (SANITIZED)
        pthread_testcancel();
    else
        pause();
}

static int wait_for_cancel(sflight_call *call, void *arg)
{
    struct work *w = arg;
    value_set(call, &w->tally, 1);
    atomic_fetch_add(&w->runs, 1);
    while (!atomic_load(&w->open))
        cancellation_point();
    return 0;
}

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

static void *follow_and_test_cancel(void *arg)
{
    struct caller *c = arg;
    caller_main(c);
    pthread_testcancel();
    return NULL;
}

static void waiting_is_no_cancellation_point(void **state)
{
    (void)state;
    const struct timespec in_a_day = deadline_in_ns((int64_t)86400 * 1000000000);
    const struct timespec *deadlines[] = {NULL, &in_a_day};
    for (size_t i = 0; i < LENGTH(deadlines); i++) {
        sflight_options o = default_options();
        o.spin_ns = 0;
        sflight_group *g = group_new(&o);
        struct work w = {.status = 6};
        struct caller leader;
        struct caller follower = {g, "key", must_not_run, NULL, deadlines[i], .rc = NEVER_RETURNED};
        caller_start(&leader, g, "key", work_fn, &w);
        WAIT_UNTIL(w.runs == 1);
        follower.thread = thread_start(follow_and_test_cancel, &follower);
        WAIT_UNTIL(stats_of(g).parked == 1);
        assert_int_equal(pthread_cancel(follower.thread), 0);
        atomic_store(&w.open, true);
        caller_join(&leader);
        assert_ptr_equal(caller_join(&follower), PTHREAD_CANCELED);
        assert_int_equal(follower.rc, 0);
        assert_int_equal(follower.r.status, 6);
        callers_release(&leader, 1);
        callers_release(&follower, 1);
        end_failed_group(g, &w);
    }
}

static int inner_exits(sflight_call *call, void *arg)
{
    return exit_fn(call, &((struct outer *)arg)->inner);
}

static void pthread_exit_abandons_every_enclosing_call(void **state)
{
    (void)state;
    struct outer o = {group_new(NULL), inner_exits, .inner_rc = NEVER_RETURNED};
    struct caller outer, followers[2];
    caller_start(&outer, o.g, "key", ask_inner, &o);
    WAIT_UNTIL(o.inner.runs == 1);
    caller_start(&followers[0], o.g, "inner", must_not_run, NULL);
    caller_start(&followers[1], o.g, "key", must_not_run, NULL);
    await_waiting(o.g, 2);
    atomic_store(&o.inner.open, true);
    caller_join(&outer);
    callers_join(followers, 2);
    assert_int_equal(followers[0].rc, -EOWNERDEAD);
    assert_int_equal(followers[1].rc, -EOWNERDEAD);
    assert_int_equal(stats_of(o.g).abandoned, 2);
    assert_key_usable(o.g, "inner");
    end_failed_group(o.g, &o.inner);
}

/* ----------------------------------------------------------- longjmp */

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

/* ------------------------------------------------------------ coroutines */

enum { N_COROUTINES = 3, COROUTINE_STACK = 65536 };

/* On one thread, in a group without a runtime: each leads a key of its own and yields in fn. */
static struct coroutines {
    sflight_group *g;
    ucontext_t main, each[N_COROUTINES];
    char stacks[N_COROUTINES][COROUTINE_STACK];
    bool batches, done[N_COROUTINES];
} co;

static void coroutine_yield(int me)
{
    swapcontext(&co.each[me], &co.main);
}

static int yield_in_fn(sflight_call *call, void *arg)
{
    (void)call;
    coroutine_yield(*(int *)arg);
    return 40 + *(int *)arg;
}

static int yield_in_many(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls;
    assert_int_equal(n, 2);
    coroutine_yield(*(int *)arg);
    return 40 + *(int *)arg;
}

static void coroutine_main(int me)
{
    char names[2][2] = {{(char)('a' + me), 0}, {(char)('k' + me), 0}};
    sflight_result r[2];
    if (!co.batches) {
        assert_int_equal(do_str(co.g, names[0], yield_in_fn, &me, &r[0]), 0);
    } else {
        sflight_key keys[] = {{names[0], 1}, {names[1], 1}};
        int rc[2];
        assert_int_equal(sflight_do_many(co.g, keys, 2, yield_in_many, &me, NULL, r, rc), 0);
        assert_int_equal(rc[0], 0);
        assert_int_equal(rc[1], 0);
        assert_int_equal(r[1].status, 40 + me);
        sflight_result_release(&r[1]);
    }
    assert_int_equal(r[0].status, 40 + me);
    sflight_result_release(&r[0]);
    co.done[me] = true;
}

static void coroutines_end_in_any_order(void **state)
{
    (void)state;
    static const int orders[][N_COROUTINES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                               {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    if (HOOKED || SANITIZED)
        return; /* a task of a runtime has one stack; sanitizers want to be told of others */
    static size_t i;
    for (i = 0; i < 2 * LENGTH(orders); i++) {
        co = (struct coroutines){.g = group_new(NULL), .batches = i % 2};
        for (int k = 0; k < N_COROUTINES; k++) {
            assert_int_equal(getcontext(&co.each[k]), 0);
            co.each[k].uc_stack.ss_sp = co.stacks[k];
            co.each[k].uc_stack.ss_size = COROUTINE_STACK;
            co.each[k].uc_link = &co.main;
            makecontext(&co.each[k], (void (*)(void))coroutine_main, 1, k);
            swapcontext(&co.main, &co.each[k]);
        }
        for (int k = 0; k < N_COROUTINES; k++) {
            int next = orders[i / 2][k];
            assert_false(co.done[next]);
            swapcontext(&co.main, &co.each[next]);
            assert_true(co.done[next]);
        }
        assert_int_equal(stats_of(co.g).abandoned, 0);
        group_end(co.g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(non_zero_status_reaches_everybody),
        cmocka_unit_test(panic_reaches_everybody),
        cmocka_unit_test(panic_message_is_cut),
        cmocka_unit_test(panic_runs_cleanups_of_every_frame),
        cmocka_unit_test(panic_during_a_panic),
        cmocka_unit_test(panic_unwinds_its_own_call_only),
        cmocka_unit_test(panic_of_the_outer_call_abandons_the_inner),
        cmocka_unit_test(panic_abort_prints_and_aborts),
        cmocka_unit_test(pthread_exit_reaches_everybody),
        cmocka_unit_test(pthread_exit_without_followers),
        cmocka_unit_test(pthread_exit_abandons_every_enclosing_call),
        cmocka_unit_test(pthread_cancel_reaches_everybody),
        cmocka_unit_test(waiting_is_no_cancellation_point),
        cmocka_unit_test(longjmp_releases_followers_when_the_thread_ends),
        cmocka_unit_test(longjmp_releases_followers_when_the_enclosing_call_ends),
        cmocka_unit_test(coroutines_end_in_any_order),
    };
    return RUN_TESTS(tests);
}
