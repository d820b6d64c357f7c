/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clocks that jump, clocks of another age, and a wall clock that nobody asks.
 *
 * clock_gettime() and syscall() of this program stand before those of the C
 * library, for the library under test as well.
 */
#include "../lib/event_test.h"
#include "../lib/real.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#if !SANITIZED                     /* which have functions of their own there */
static atomic_bool jumping;        /* CLOCK_MONOTONIC, an hour to and fro */
static atomic_uint realtime_reads; /* by anybody, while counted */
static atomic_uint realtime_waits;

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
    va_list ap;
    long a[6];
    va_start(ap, number);
    for (size_t i = 0; i < LENGTH(a); i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME))
        atomic_fetch_add(&realtime_waits, 1);
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

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
    WAIT_UNTIL(t.calls > (unsigned)rounds(10000, 10000));
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
        WAIT_UNTIL(t.calls > (unsigned)rounds(20000, 20000));
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
        pid_t pid = fork_child();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wall_clock_does_not_matter),
        cmocka_unit_test(a_clock_that_jumps),
        cmocka_unit_test(clocks_of_another_age),
    };
    return RUN_TESTS(tests);
}
