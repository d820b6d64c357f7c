/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the world outside does to a process: threads that cannot be made, clocks
 * that jump, signals without end, a leader that stalls, and a call that twenty
 * thousand threads wait for.
 *
 * pthread_create(), clock_gettime() and syscall() of this program stand before
 * those of the C library, for the library under test as well.
 */
#include "../lib/batch_test.h"
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ----------------------------------------------- what stands before libc */

#if !SANITIZED                     /* which have functions of their own there */
static atomic_long thread_to_fail; /* counted down; at 1 the creation fails */
static atomic_bool jumping;        /* CLOCK_MONOTONIC, an hour to and fro */
static atomic_uint realtime_reads; /* by anybody, while counted */
static atomic_uint realtime_waits;

static void *next_symbol(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL)
        abort();
    return symbol;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (next == NULL)
        *(void **)&next = next_symbol("pthread_create");
    if (atomic_load(&thread_to_fail) > 0 && atomic_fetch_sub(&thread_to_fail, 1) == 1)
        return EAGAIN;
    return next(thread, attr, run, arg);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    static _Thread_local unsigned n;
    long rc = syscall(SYS_clock_gettime, clock, t);
    if (clock == CLOCK_REALTIME)
        atomic_fetch_add(&realtime_reads, 1);
    if (clock == CLOCK_MONOTONIC && atomic_load(&jumping))
        t->tv_sec += ++n % 3 == 0 ? 3600 : n % 3 == 1 ? -3600 : 0;
    return (int)rc;
}

long syscall(long number, ...)
{
    static long (*next)(long, ...);
    va_list ap;
    long a[6];
    if (next == NULL)
        *(void **)&next = next_symbol("syscall");
    va_start(ap, number);
    for (size_t i = 0; i < LENGTH(a); i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME))
        atomic_fetch_add(&realtime_waits, 1);
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif

/* ------------------------------------------------------ no thread to be had */

#if !SANITIZED
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
    WAIT_UNTIL(stats_of(g).in_flight == 0 && stats_of(g).held == 0);
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

/* -------------------------------------------------------------- the clocks */

#if !SANITIZED
struct traffic {
    sflight_group *g;
    atomic_bool stop;
    atomic_uint calls, served, timed_out;
    struct tally tally;
};

static int make_number(sflight_call *call, void *arg)
{
    struct traffic *t = arg;
    sched_yield();
    value_set(call, &t->tally, 3);
    return 3;
}

static void *keep_asking(void *arg)
{
    struct traffic *t = arg;
    for (unsigned i = 0; !t->stop; i++) {
        sflight_result r;
        struct timespec deadline = deadline_in_ns(i % 5 * 1000);
        int rc =
            sflight_do_until(t->g, "key", 3, make_number, t, i % 3 == 0 ? NULL : &deadline, &r);
        atomic_fetch_add(&t->calls, 1);
        if (rc == 0) {
            assert_int_equal(number_of(&r), 3);
            atomic_fetch_add(&t->served, 1);
        } else {
            assert_int_equal(rc, -ETIMEDOUT);
            atomic_fetch_add(&t->timed_out, 1);
        }
        sflight_result_release(&r);
    }
    return NULL;
}

static void traffic_end(struct traffic *t, pthread_t *threads, size_t n)
{
    atomic_store(&t->stop, true);
    threads_join(threads, n);
    sflight_stats s = stats_of(t->g);
    assert_int_equal(s.led, t->tally.made);
    assert_int_equal(s.led + s.joined, t->served + t->timed_out);
    assert_int_equal(s.timed_out, t->timed_out);
    assert_all_destroyed(&t->tally);
    assert_key_usable(t->g, "key");
    group_end(t->g);
}
#endif

/*
 * The wall clock is not looked at, so that it may be set to anything at any
 * moment: no read of it, and no futex that measures by it.
 */
static void the_wall_clock_does_not_matter(void **state)
{
    (void)state;
#if !SANITIZED
    struct traffic t = {.g = group_new(NULL)};
    sflight_group *slow = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    pthread_t threads[3];
    atomic_store(&realtime_reads, 0);
    atomic_store(&realtime_waits, 0);
    threads_start(threads, LENGTH(threads), keep_asking, &t);
    leader_start(&leader, slow, "key", work_fn, &w);
    sflight_result r;
    struct timespec soon = deadline_in_ns(20000000);
    assert_int_equal(sflight_do_until(slow, "key", 3, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    assert_true(has_passed(&soon));
    sflight_future *f = join(slow, "key");
    soon = deadline_in_ns(20000000);
    assert_int_equal(sflight_future_get(f, &soon, &r), -ETIMEDOUT);
    assert_true(has_passed(&soon));
    sflight_future_drop(f);
    soon = deadline_in_ns(20000000);
    assert_int_equal(sflight_group_drain(slow, &soon), -ETIMEDOUT);
    assert_true(has_passed(&soon));
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_release(&leader, 1);
    group_end(slow);
    WAIT_UNTIL(t.calls > 10000);
    assert_int_equal(realtime_reads, 0);
    assert_int_equal(realtime_waits, 0);
    traffic_end(&t, threads, LENGTH(threads));
#endif
}

/* A monotonic clock that is not: callers may leave early, but nothing is lost and nobody stays. */
static void a_clock_that_jumps(void **state)
{
    (void)state;
#if !SANITIZED
    const uint64_t spins[] = {0, 20000, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        o.max_age_ns = 1000000;
        struct traffic t = {.g = group_new(&o)};
        pthread_t threads[4];
        atomic_store(&jumping, true);
        threads_start(threads, LENGTH(threads), keep_asking, &t);
        WAIT_UNTIL(t.calls > 20000);
        traffic_end(&t, threads, LENGTH(threads));
        atomic_store(&jumping, false);
    }
#endif
}

/* Deadlines where CLOCK_MONOTONIC has been running for a second, or for a hundred years. */
static void clocks_of_another_age(void **state)
{
    (void)state;
#if !SANITIZED
    const long years_s = 100L * 365 * 86400;
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (unshare(CLONE_NEWTIME) != 0)
                _exit(77);
            FILE *offsets = fopen("/proc/self/timens_offsets", "r+");
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            long offset_s = i == 0 ? -now.tv_sec + 1 : years_s;
            if (offsets == NULL || fprintf(offsets, "monotonic %ld 0\n", offset_s) < 0 ||
                fclose(offsets) != 0)
                _exit(77);
            pid = fork(); /* its child lives in the new age */
            if (pid != 0) {
                int status;
                waitpid(pid, &status, 0);
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
            }
            sflight_group *g = group_new(NULL);
            sflight_call *call = lead(g, "key");
            sflight_result r;
            for (int64_t ns = 1; ns <= 10000000; ns *= 10) {
                struct timespec soon = deadline_in_ns(ns);
                assert_true(i == 0 ? soon.tv_sec < 1000 : soon.tv_sec >= years_s);
                assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r),
                                 -ETIMEDOUT);
                assert_true(has_passed(&soon));
            }
            sflight_complete(call, 0);
            group_end(g);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
            print_message("# no time namespaces here: skipped\n");
            return;
        }
        assert_int_equal(WEXITSTATUS(status), 0);
    }
#endif
}

/* -------------------------------------------------------------- signals */

static atomic_int signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

static void block_alarm(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    assert_int_equal(pthread_sigmask(how, &set, NULL), 0);
}

struct stormed {
    sflight_group *g;
    sflight_future *f;
    struct batch batch;
    int rc;
};

static void *get_in_the_storm(void *arg)
{
    struct stormed *s = arg;
    sflight_result r;
    block_alarm(SIG_UNBLOCK);
    s->rc = sflight_future_get(s->f, NULL, &r);
    sflight_result_release(&r);
    return NULL;
}

static void *batch_in_the_storm(void *arg)
{
    struct stormed *s = arg;
    block_alarm(SIG_UNBLOCK);
    batch_run(&s->batch);
    s->rc = s->batch.rc[0];
    batch_release(&s->batch);
    return NULL;
}

static void *drain_in_the_storm(void *arg)
{
    struct stormed *s = arg;
    block_alarm(SIG_UNBLOCK);
    s->rc = sflight_group_drain(s->g, NULL);
    return NULL;
}

/* The waits that test_deadline leaves out: of futures, of batches, of who drains. */
static void a_kilohertz_of_signals_on_every_kind_of_waiter(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = count_signal}, old;
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    block_alarm(SIG_BLOCK);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    const struct itimerspec every_ms = {{0, 1000000}, {0, 1000000}};

    void *(*const waits[])(void *) = {get_in_the_storm, batch_in_the_storm, drain_in_the_storm};
    for (size_t i = 0; i < LENGTH(waits); i++) {
        struct stormed s = {.g = group_new(NULL), .rc = NEVER_RETURNED};
        sflight_call *call = lead(s.g, "key");
        s.f = i == 0 ? join(s.g, "key") : NULL;
        s.batch = (struct batch){.g = s.g, .n = 1, .keys = {KEY("key")}, .fn = batch_fn};
        atomic_store(&signals, 0);
        pthread_t thread = thread_start(waits[i], &s);
        assert_int_equal(timer_settime(timer, 0, &every_ms, NULL), 0);
        WAIT_UNTIL(signals >= 200);
        assert_int_equal(s.rc, NEVER_RETURNED);
        sflight_complete(call, 0);
        thread_join(thread);
        assert_int_equal(s.rc, 0);
        group_end(s.g);
    }
    timer_delete(timer);
    block_alarm(SIG_UNBLOCK);
    sigaction(SIGALRM, &old, NULL);
}

/* ------------------------------------------------------- a leader that stalls */

struct stalled {
    sflight_group *g;
    atomic_bool stop;
    atomic_uint calls; /* of other keys */
};

static void *go_on(void *arg)
{
    struct stalled *s = arg;
    for (unsigned i = 0; !s->stop; i++) {
        unsigned key = i % 1000;
        sflight_result r;
        assert_int_equal(sflight_do(s->g, &key, sizeof key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
        if (i % 16 == 0)
            sflight_forget(s->g, &key, sizeof key);
        atomic_fetch_add(&s->calls, 1);
    }
    return NULL;
}

/*
 * Three seconds long one leader does nothing, with followers asleep.  Calls of other
 * keys go on, and what they leave is reclaimed; followers with deadlines leave.
 */
static void a_leader_that_stalls_for_seconds(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct stalled s = {.g = group_new(&o)};
    struct work w = {0};
    struct caller leader, followers[4];
    pthread_t threads[2];
    leader_start(&leader, s.g, "stalled", work_fn, &w);
    callers_start(followers, LENGTH(followers), s.g, "stalled", must_not_run, NULL);
    await_waiting(s.g, LENGTH(followers));
    const struct timespec end = deadline_in_ns((int64_t)3 * 1000000000);
    threads_start(threads, LENGTH(threads), go_on, &s);
    WAIT_UNTIL(s.calls > 10000);
    uint64_t bytes = stats_of(s.g).bytes, n_timed_out = 0;
    while (!has_passed(&end) || s.calls < (unsigned)rounds(300000, 50000)) {
        sflight_result r;
        struct timespec soon = deadline_in_ns(2000000);
        assert_int_equal(sflight_do_until(s.g, "stalled", 7, must_not_run, NULL, &soon, &r),
                         -ETIMEDOUT);
        assert_true(has_passed(&soon));
        n_timed_out++;
        sflight_stats now = stats_of(s.g);
        assert_true(now.retired_pending < 10000);
        assert_true(now.bytes <= 2 * bytes + ((size_t)1 << 20));
    }
    atomic_store(&s.stop, true);
    threads_join(threads, LENGTH(threads));
    assert_int_equal(stats_of(s.g).timed_out, n_timed_out);
    assert_int_equal(stats_of(s.g).in_flight, 1);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_join(followers, LENGTH(followers));
    for (size_t i = 0; i < LENGTH(followers); i++) {
        assert_int_equal(followers[i].rc, 0);
        assert_int_equal(followers[i].r.followers, LENGTH(followers));
    }
    callers_release(&leader, 1);
    callers_release(followers, LENGTH(followers));
    assert_all_destroyed(&w.tally);
    group_end(s.g);
    assert_nothing_allocated(&counting);
}

/* -------------------------------------------------- twenty thousand threads */

struct crowd {
    sflight_group *g;
    atomic_uint served;
    const struct timespec *deadline;
    struct tally tally;
};

static int lead_the_crowd(sflight_call *call, void *arg)
{
    struct work *w = arg;
    return work_fn(call, w);
}

static void *stand_in_the_crowd(void *arg)
{
    struct crowd *c = arg;
    sflight_result r;
    int rc = sflight_do(c->g, "key", 3, must_not_run, NULL, &r);
    if (rc == 0 && r.value != NULL && r.status == 9)
        atomic_fetch_add(&c->served, 1);
    sflight_result_release(&r);
    return NULL;
}

static void twenty_thousand_threads_on_one_call(void **state)
{
    (void)state;
    enum { CROWD = 20000, STACK = 64 << 10 };
    static pthread_t threads[CROWD];
    const uint32_t all = (uint32_t)rounds(CROWD, 200);
    pthread_attr_t attr;
    struct crowd c = {.g = group_new(NULL)};
    struct work w = {.status = 9};
    struct caller leader;
    uint32_t n = 0;

    assert_int_equal(pthread_attr_init(&attr), 0);
    if (!SANITIZED && !EMULATED) {
        assert_int_equal(pthread_attr_setstacksize(&attr, STACK), 0);
        assert_int_equal(pthread_attr_setguardsize(&attr, 0), 0); /* half the mappings */
    }
    leader_start(&leader, c.g, "key", lead_the_crowd, &w);
    while (n < all && pthread_create(&threads[n], &attr, stand_in_the_crowd, &c) == 0)
        n++;
    pthread_attr_destroy(&attr);
    if (n < all)
        print_message("# the system allows only %u threads: no more were tried\n", n);
    assert_true(n != 0);
    await_waiting(c.g, n);
    atomic_store(&w.open, true);
    threads_join(threads, n);
    caller_join(&leader);
    assert_int_equal(c.served, n);
    assert_int_equal(leader.r.followers, n);
    sflight_stats s = stats_of(c.g);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, n);
    callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    assert_key_usable(c.g, "key");
    group_end(c.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_thread_at_any_point),
        cmocka_unit_test(the_wall_clock_does_not_matter),
        cmocka_unit_test(a_clock_that_jumps),
        cmocka_unit_test(clocks_of_another_age),
        cmocka_unit_test(a_kilohertz_of_signals_on_every_kind_of_waiter),
        cmocka_unit_test(a_leader_that_stalls_for_seconds),
        cmocka_unit_test(twenty_thousand_threads_on_one_call),
    };
    return RUN_TESTS(tests);
}
