/* SPDX-License-Identifier: BSD-2-Clause */
/* A thousand signals a second: no wait is felt to be shorter, longer or another one. */
#include "../lib/batch_test.h"
#include "../lib/event_test.h"

static atomic_int signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* Only the waiters take the signals of a timer that fires every millisecond. */
static void block_alarm(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    assert_int_equal(pthread_sigmask(how, &set, NULL), 0);
}

static timer_t storm_begin(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    const struct itimerspec every_ms = {{0, 1000000}, {0, 1000000}};
    timer_t timer;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    block_alarm(SIG_BLOCK);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &every_ms, NULL), 0);
    return timer;
}

/* The last signal may still be pending. */
static void storm_end(timer_t timer)
{
    assert_int_equal(timer_delete(timer), 0);
    block_alarm(SIG_UNBLOCK);
    signal(SIGALRM, SIG_DFL);
}

static void *wait_with_signals(void *arg)
{
    block_alarm(SIG_UNBLOCK);
    return caller_main(arg);
}

static const uint64_t spins[] = {0, 1000000, SFLIGHT_SPIN_ADAPTIVE};

static void a_kilohertz_of_signals_is_not_felt(void **state)
{
    (void)state;
    timer_t timer = storm_begin();
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        sflight_group *g = group_new(&o);
        struct work w = {0};
        struct caller leader, c[3];
        atomic_store(&signals, 0);
        leader_start(&leader, g, "key", work_fn, &w);
        const struct timespec soon = deadline_in_ns(50000000);
        const struct timespec later = deadline_in_an_hour();
        const struct timespec *deadlines[] = {NULL, &later, &soon};
        for (size_t j = 0; j < LENGTH(c); j++) {
            c[j] = (struct caller){g, "key", must_not_run, NULL, deadlines[j], .rc = INT_MIN};
            c[j].thread = thread_start(wait_with_signals, &c[j]);
        }
        caller_join(&c[2]); /* hangs if each signal starts the wait anew */
        assert_int_equal(c[2].rc, -ETIMEDOUT);
        assert_true(has_passed(&soon));
        await_waiting(g, 2);
        WAIT_UNTIL(signals >= 100);
        atomic_store(&w.open, true);
        caller_join(&leader);
        callers_join(c, 2);
        for (int j = 0; j < 2; j++) {
            assert_int_equal(c[j].rc, 0);
            assert_int_equal(c[j].r.followers, 2);
        }
        callers_release(&leader, 1);
        callers_release(c, 3);
        assert_all_destroyed(&w.tally);
        group_end(g);
    }
    storm_end(timer);
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

static void a_kilohertz_of_signals_on_every_kind_of_waiter(void **state)
{
    (void)state;
    timer_t timer = storm_begin();
    void *(*const waits[])(void *) = {get_in_the_storm, batch_in_the_storm, drain_in_the_storm};
    for (size_t i = 0; i < LENGTH(waits); i++) {
        struct stormed s = {.g = group_new(NULL), .rc = NEVER_RETURNED};
        sflight_call *call = lead(s.g, "key");
        s.f = i == 0 ? join(s.g, "key") : NULL;
        s.batch = (struct batch){.g = s.g, .n = 1, .keys = {KEY("key")}, .fn = batch_fn};
        atomic_store(&signals, 0);
        pthread_t thread = thread_start(waits[i], &s);
        await_waiting(s.g, waits[i] != drain_in_the_storm);
        WAIT_UNTIL(signals >= 200);
        assert_int_equal(s.rc, NEVER_RETURNED);
        sflight_complete(call, 0);
        thread_join(thread);
        assert_int_equal(s.rc, 0);
        group_end(s.g);
    }
    storm_end(timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kilohertz_of_signals_is_not_felt),
        cmocka_unit_test(a_kilohertz_of_signals_on_every_kind_of_waiter),
    };
    return RUN_TESTS(tests);
}
