/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate: nobody sleeps through its opening, however many wait and whatever disturbs them. */
#include "unit_test.h"

#include "cpu.h"
#include "futex.h"
#include "gate.h"

#include <sys/syscall.h>

/* Whatever else this machine does, nobody is taken for a rival; and the other way round. */
static struct rivals calm = {.read_ns = UINT64_MAX / 2};
static struct rivals busy = {.read_ns = UINT64_MAX / 2, .until_ns = UINT64_MAX};

#define NO_SPIN (UINT_MAX - 1) /* a rank far behind the last CPU */

struct waiter {
    gate *gate;
    const struct timespec *deadline;
    pthread_t thread;
    _Atomic(pid_t) tid;
    enum gate_outcome outcome;
    atomic_bool returned;
};

/* As a call's follower does: one look that may spin, then sleep. */
static enum gate_outcome wait_at(gate *g, unsigned rank, struct spinner *s,
                                 const struct timespec *deadline)
{
    enum gate_outcome o = gate_spin(g, rank, s, deadline);
    return o == GATE_IS_CLOSED ? gate_park(g, deadline) : o;
}

static void *waiter_main(void *arg)
{
    struct waiter *w = arg;
    struct spinner s;
    spinner_init(&s, 0, &calm);
    atomic_store(&w->tid, thread_id());
    w->outcome = wait_at(w->gate, NO_SPIN, &s, w->deadline);
    atomic_store(&w->returned, true);
    return NULL;
}

static void waiters_start(struct waiter *w, size_t n, gate *g, const struct timespec *deadline)
{
    for (size_t i = 0; i < n; i++) {
        w[i] = (struct waiter){.gate = g, .deadline = deadline};
        w[i].thread = thread_start(waiter_main, &w[i]);
    }
}

static void waiters_asleep(struct waiter *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        WAIT_UNTIL(atomic_load(&w[i].tid) != 0 && thread_sleeps(atomic_load(&w[i].tid)) &&
                   (atomic_load(w[i].gate) & GATE_PARKED));
}

static size_t waiters_returned(struct waiter *w, size_t n)
{
    size_t returned = 0;
    for (size_t i = 0; i < n; i++)
        returned += atomic_load(&w[i].returned);
    return returned;
}

static void waiters_join(struct waiter *w, size_t n, enum gate_outcome outcome)
{
    for (size_t i = 0; i < n; i++) {
        thread_join(w[i].thread);
        assert_int_equal(w[i].outcome, outcome);
    }
}

/* ------------------------------------------------------------ opening */

static void wake_chain(size_t n)
{
    static struct waiter w[512];
    gate g = 0;
    waiters_start(w, n, &g, NULL);
    waiters_asleep(w, n);
    assert_int_equal(waiters_returned(w, n), 0);
    gate_open(&g, 0, 1, &calm);
    waiters_join(w, n, GATE_IS_OPEN);
}

static void test_wake_chain(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 31, 100, 512};
    for (size_t i = 0; i < LENGTH(sizes); i++)
        wake_chain(sizes[i]);
}

static void test_open_gate_never_waits(void **state)
{
    (void)state;
    struct spinner s;
    gate g = 0;
    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    gate_open(&g, 0, 1, &calm);
    assert_int_equal(gate_spin(&g, 0, &s, NULL), GATE_IS_OPEN);
    assert_int_equal(gate_spin(&g, 0, &s, &in_the_past), GATE_IS_OPEN);
    assert_int_equal(gate_park(&g, NULL), GATE_IS_OPEN);
    assert_int_equal(gate_park(&g, &in_the_past), GATE_IS_OPEN);
    gate_nudge(&g); /* too late, and harmless */
    assert_int_equal(gate_spin(&g, 0, &s, NULL), GATE_IS_OPEN);
    assert_int_equal(gate_park(&g, NULL), GATE_IS_OPEN);
}

static void test_holds(void **state)
{
    (void)state;
    gate g = 0;
    struct waiter w[3];

    waiters_start(w, 3, &g, NULL);
    waiters_asleep(w, 3);
    /* Two holds are given back before they are credited, under the sleepers. */
    atomic_sub_acq_rel(&g, GATE_HOLD);
    atomic_sub_acq_rel(&g, GATE_HOLD);
    assert_int_equal((uint32_t)g, GATE_PARKED);
    assert_int_equal(gate_holds(g), (uint32_t)-2);
    waiters_asleep(w, 3);
    gate_open(&g, UINT64_C(5) << GATE_USER_SHIFT, 6, &calm);
    waiters_join(w, 3, GATE_IS_OPEN);
    assert_int_equal(gate_holds(g), 4);
    assert_int_equal((uint32_t)g, GATE_OPEN | UINT64_C(5) << GATE_USER_SHIFT);
    for (uint32_t i = 4; i != 0; i--)
        assert_int_equal(gate_holds(atomic_sub_acq_rel(&g, GATE_HOLD)), i);
    assert_int_equal(gate_holds(g), 0);
}

/* Too many to be counted: then what lies behind the gate stays for ever. */
static void test_holds_never_wrap(void **state)
{
    (void)state;
    gate g;

    gate_init(&g);
    gate_open_unseen(&g, 0, GATE_MANY - 2);
    gate_hold_again(&g);
    assert_int_equal(gate_holds(g), GATE_MANY - 1);
    assert_false(gate_drop(&g));
    gate_hold_again(&g);
    for (int i = 0; i < 3; i++) {
        gate_hold_again(&g);
        assert_true(gate_holds(g) == GATE_MANY + (GATE_MANY >> 1));
    }
    assert_false(gate_drop(&g));
    assert_false(gate_drop_n(&g, 7));
    assert_true(gate_holds(g) == GATE_MANY + (GATE_MANY >> 1));
    assert_false(gate_hold_is_last(&g));
}

enum { PING_PONGS = 100000 };
static gate gates[PING_PONGS];

static size_t n_ping_pongs(void)
{
    return (size_t)rounds(PING_PONGS, PING_PONGS);
}

static void *open_all(void *arg)
{
    uint64_t random = random_from(0);
    (void)arg;
    for (size_t i = 0, all = n_ping_pongs(); i < all; i++) {
        for (uint32_t n = random_pick(&random, 64); n != 0; n--)
            cpu_relax();
        if (random_pick(&random, 64) == 0)
            sched_yield();
        gate_open(&gates[i], 0, 1, &calm);
    }
    return NULL;
}

static void *pass_all(void *arg)
{
    struct spinner s;
    spinner_init(&s, arg != NULL ? SPIN_ADAPTIVE : 0, &calm);
    for (size_t i = 0, all = n_ping_pongs(); i < all; i++)
        assert_int_equal(wait_at(&gates[i], 0, &s, NULL), GATE_IS_OPEN);
    return NULL;
}

static void test_no_wake_is_lost(void **state)
{
    (void)state;
    int spins;
    memset(gates, 0, sizeof(gates));
    pthread_t threads[] = {thread_start(pass_all, NULL), thread_start(pass_all, &spins),
                           thread_start(pass_all, NULL), thread_start(open_all, NULL)};
    threads_join(threads, LENGTH(threads));
}

/* ----------------------------------------------------------- deadlines */

static void test_deadline(void **state)
{
    (void)state;
    const struct timespec negative = {.tv_sec = -5, .tv_nsec = 999999999};
    struct spinner s;
    gate g = 0;

    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    assert_int_equal(gate_spin(&g, 0, &s, &in_the_past), GATE_TIMED_OUT);
    assert_int_equal(gate_spin(&g, 0, &s, &negative), GATE_TIMED_OUT);
    assert_int_equal(gate_park(&g, &in_the_past), GATE_TIMED_OUT);
    assert_int_equal(gate_park(&g, &negative), GATE_TIMED_OUT);
    struct timespec soon = deadline_in_ns(3000000);
    assert_int_equal(wait_at(&g, NO_SPIN, &s, &soon), GATE_TIMED_OUT);
    assert_int_equal(gate_spin(&g, 0, &s, &soon), GATE_TIMED_OUT); /* not before its time */
    gate_nudge(&g);
    assert_int_equal(gate_spin(&g, 0, &s, &soon), GATE_TIMED_OUT);

    /* Far beyond what nanoseconds in 64 bits can say. */
    const struct timespec far = {.tv_sec = INT64_MAX, .tv_nsec = 999999999};
    struct waiter w;
    gate other = 0;
    waiters_start(&w, 1, &other, &far);
    waiters_asleep(&w, 1);
    gate_open(&other, 0, 1, &calm);
    waiters_join(&w, 1, GATE_IS_OPEN);
}

/* Those that time out just when the gate opens do not break the chain for the others. */
static void test_deadlines_while_opening(void **state)
{
    (void)state;
    enum { PATIENT = 12, HASTY = 12 };
    static struct waiter patient[PATIENT], hasty[HASTY];
    uint64_t random = random_from(0);

    for (int round = rounds(100, 100); round != 0; round--) {
        gate g = 0;
        struct timespec soon = deadline_in_ns(1000000 + random_pick(&random, 1000000));
        waiters_start(hasty, HASTY, &g, &soon);
        waiters_start(patient, PATIENT, &g, NULL);
        waiters_asleep(patient, PATIENT);
        gate_open(&g, 0, 1, &calm);
        waiters_join(patient, PATIENT, GATE_IS_OPEN);
        for (size_t i = 0; i < HASTY; i++) {
            thread_join(hasty[i].thread);
            assert_true(hasty[i].outcome == GATE_IS_OPEN || hasty[i].outcome == GATE_TIMED_OUT);
        }
    }
}

/* ------------------------------------------------------------- elsewhere */

static void run_on(size_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

struct sleeper {
    uint32_t word;
    size_t cpu;
    pthread_t thread;
    _Atomic(pid_t) tid;
};

static void *sleeper_main(void *arg)
{
    struct sleeper *s = arg;
    run_on(s->cpu);
    atomic_store(&s->tid, thread_id());
    (void)futex_wait(&s->word, 0, NULL);
    return NULL;
}

enum { MANY = 64 }; /* so many the opener wakes itself */
static _Atomic(unsigned) n_asleep;
static _Atomic(pid_t) asleep[MANY + 1];

static void *sleep_once(void *word)
{
    asleep[atomic_fetch_add(&n_asleep, 1)] = thread_id();
    (void)futex_wait(word, 0, NULL);
    return NULL;
}

static void sleeper_start(struct sleeper *s, size_t cpu)
{
    *s = (struct sleeper){.cpu = cpu};
    s->thread = thread_start(sleeper_main, s);
    WAIT_UNTIL(atomic_load(&s->tid) != 0 && thread_sleeps(atomic_load(&s->tid)));
}

/*
 * So many threads, which wake nobody, sleep at a gate that is opened beside rivals.  Returns how
 * many are left for others to wake.
 */
static size_t left_asleep_by_opener(size_t herd)
{
    union {
        gate gate;
        uint32_t low;
    } g = {.gate = 0};
    pthread_t threads[MANY + 1];

    assert_true(herd <= MANY + 1);
    atomic_store(&n_asleep, 0);
    for (size_t i = 0; i < herd; i++)
        threads[i] = thread_start(sleep_once, &g.low);
    WAIT_UNTIL(atomic_load(&n_asleep) == herd);
    for (size_t i = 0; i < herd; i++)
        WAIT_UNTIL(thread_sleeps(asleep[i]));
    (void)atomic_or_relaxed(&g.gate, GATE_PARKED);
    gate_open(&g.gate, 0, (uint32_t)herd + 1, &busy);
    uint64_t word = atomic_load(&g.gate);
    size_t left = futex_wake(&g.low, INT_MAX);
    assert_int_equal(word, GATE_OPEN | GATE_HOLD * (herd + 1) | (left != 0 ? GATE_PARKED : 0));
    for (size_t i = 0; i < herd; i++)
        thread_join(threads[i]);
    return left;
}

/* Beside rivals the opener wakes all itself, such too as wake nobody; but not a large herd. */
static void test_wakes_all_beside_rivals(void **state)
{
    (void)state;
    assert_int_equal(left_asleep_by_opener(MANY), 0);
    assert_in_range(left_asleep_by_opener(MANY + 1), MANY + 1 - 8, MANY);
}

/* Where this process may run on one CPU only, nobody sleeps elsewhere. */
static void test_wake_elsewhere(void **state)
{
    (void)state;
    cpu_set_t allowed;
    size_t cpus[2];
    unsigned n = 0;
    struct sleeper s;

    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
        if (CPU_ISSET(cpu, &allowed) && (n == 0 || cpu % 32 != cpus[0] % 32))
            cpus[n++] = cpu;
    for (unsigned i = 0; i < n; i++) {
        sleeper_start(&s, cpus[0]);
        run_on(cpus[i]);
        assert_int_equal(futex_wake_elsewhere(&s.word, 8), i);
        assert_int_equal(futex_wake(&s.word, 8), !i);
        thread_join(s.thread);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}

/* All on the opener's CPU, or all on another: they are woken all the same. */
static void test_herd_on_one_cpu(void **state)
{
    (void)state;
    enum { HERD = 40 };
    cpu_set_t allowed;
    struct waiter w[HERD];

    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    size_t first = CPU_SETSIZE, last = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) {
            first = cpu < first ? cpu : first;
            last = cpu;
        }
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        gate g = 0;
        run_on(first); /* and the threads that it starts */
        waiters_start(w, HERD, &g, NULL);
        waiters_asleep(w, HERD);
        run_on(elsewhere ? last : first);
        gate_open(&g, 0, HERD + 1, &calm);
        for (size_t i = 0; i < HERD; i++)
            thread_join(w[i].thread);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}

/* --------------------------------------------------------------- nudges */

static void test_nudge_wakes_one(void **state)
{
    (void)state;
    struct waiter w[5];
    gate g = 0;

    waiters_start(w, 5, &g, NULL);
    waiters_asleep(w, 5);
    for (size_t n = 1; n <= 3; n++) {
        gate_nudge(&g);
        WAIT_UNTIL(waiters_returned(w, 5) == n);
        assert_true(atomic_load(&g) & GATE_NUDGED);
        gate_answer(&g); /* on behalf of the one that has returned */
        assert_false(atomic_load(&g) & GATE_NUDGED);
    }
    assert_int_equal(waiters_returned(w, 5), 3);
    gate_open(&g, 0, 1, &calm);
    size_t n_nudged = 0;
    for (size_t i = 0; i < 5; i++) {
        thread_join(w[i].thread);
        n_nudged += w[i].outcome == GATE_IS_NUDGED;
    }
    assert_int_equal(n_nudged, 3);
}

static void test_nudge_before_anybody_waits(void **state)
{
    (void)state;
    struct spinner s;
    gate g = 0;

    spinner_init(&s, 0, &calm);
    gate_nudge(&g);
    assert_int_equal(wait_at(&g, 0, &s, NULL), GATE_IS_NUDGED);
    gate_answer(&g);
    assert_int_equal(wait_at(&g, 0, &s, &in_the_past), GATE_TIMED_OUT);
    gate_nudge(&g);
    gate_open(&g, 0, 1, &calm);
    assert_int_equal(wait_at(&g, 0, &s, NULL), GATE_IS_OPEN);
}

static struct {
    gate gate;
    atomic_uint work; /* what a nudge is about */
    atomic_uint done;
} errand;

static void *run_errands(void *arg)
{
    struct spinner s;
    (void)arg;
    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    for (unsigned rank = 0;; rank = !rank) {
        enum gate_outcome o = wait_at(&errand.gate, rank, &s, NULL);
        if (o == GATE_IS_OPEN)
            return NULL;
        assert_int_equal(o, GATE_IS_NUDGED);
        gate_answer(&errand.gate);
        unsigned work = atomic_exchange(&errand.work, 0);
        atomic_fetch_add(&errand.done, work);
    }
}

/* Answer first, then look: no errand is left lying while everybody sleeps. */
static void test_no_nudge_is_lost(void **state)
{
    (void)state;
    const unsigned errands = (unsigned)rounds(20000, 20000);
    pthread_t threads[3];

    memset((void *)&errand, 0, sizeof(errand));
    threads_start(threads, LENGTH(threads), run_errands, NULL);
    for (unsigned i = 1; i <= errands; i++) {
        atomic_fetch_add(&errand.work, 1);
        gate_nudge(&errand.gate);
        if (i % 4 == 0)
            WAIT_UNTIL(atomic_load(&errand.done) == i);
    }
    gate_open(&errand.gate, 0, 1, &calm);
    threads_join(threads, LENGTH(threads));
    assert_int_equal(errand.done, errands);
}

/* -------------------------------------------------------------- signals */

static void on_signal(int sig)
{
    (void)sig;
}

static void test_signal_storm(void **state)
{
    (void)state;
    enum { N = 4, SIGNALS = 3000 };
    const struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    const struct timespec far = deadline_in_an_hour();
    struct waiter w[N];
    gate g = 0;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    waiters_start(w, N / 2, &g, NULL);
    waiters_start(w + N / 2, N / 2, &g, &far);
    waiters_asleep(w, N);
    for (int i = 0; i < SIGNALS; i++)
        assert_int_equal(pthread_kill(w[i % N].thread, SIGUSR1), 0);
    assert_int_equal(waiters_returned(w, N), 0);
    gate_open(&g, 0, 1, &calm);
    for (int i = 0; i < SIGNALS; i++)
        if (!atomic_load(&w[i % N].returned))
            (void)pthread_kill(w[i % N].thread, SIGUSR1);
    waiters_join(w, N, GATE_IS_OPEN);
    signal(SIGUSR1, SIG_DFL);
}

static void test_errno_is_kept(void **state)
{
    (void)state;
    gate g = GATE_PARKED;
    errno = 4711;
    assert_int_equal(gate_park(&g, &in_the_past), GATE_TIMED_OUT);
    gate_nudge(&g);
    assert_int_equal(gate_park(&g, NULL), GATE_IS_NUDGED);
    gate_open(&g, 0, 1, &calm);
    assert_int_equal(errno, 4711);
}

/* ------------------------------------------------------------- spinning */

/* True if this look spun: a spinner that fails loses score. */
static bool spun(gate *g, unsigned rank, struct spinner *s)
{
    s->spin.score = HABIT_SCORE_MAX / 2;
    assert_int_equal(gate_spin(g, rank, s, NULL), GATE_IS_CLOSED);
    return s->spin.score != HABIT_SCORE_MAX / 2;
}

/* True if this look gave the CPU up. */
static bool yielded(gate *g, struct spinner *s, const struct timespec *deadline)
{
    s->yield.score = HABIT_SCORE_MAX / 2;
    assert_int_equal(gate_spin(g, cpu_count(), s, deadline), GATE_IS_CLOSED);
    return s->yield.score != HABIT_SCORE_MAX / 2;
}

static void test_rank_and_limit(void **state)
{
    (void)state;
    struct spinner s;
    gate g = 0;

    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    assert_int_equal(spun(&g, 0, &s), cpu_count() > 1);
    assert_false(spun(&g, cpu_count() - 1, &s));
    assert_false(spun(&g, cpu_count(), &s));
    assert_false(spun(&g, UINT_MAX - 1, &s));
    assert_false(spun(&g, UINT_MAX, &s));
    spinner_init(&s, 0, &calm);
    assert_false(spun(&g, 0, &s));
    spinner_init(&s, 1000, &calm);
    assert_int_equal(spun(&g, 0, &s), cpu_count() > 1);
}

/* In a crowd only, not with a limit of the user's, and not shortly before a deadline. */
static void test_who_yields(void **state)
{
    (void)state;
    struct spinner s;
    gate g = 0;

    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    assert_false(yielded(&g, &s, NULL));
    s.crowded = true;
    assert_true(yielded(&g, &s, NULL));
    struct timespec soon = deadline_in_ns(10000000), later = deadline_in_an_hour();
    assert_true(yielded(&g, &s, &later));
    s.yield.score = HABIT_SCORE_MAX / 2;
    assert_int_not_equal(gate_spin(&g, cpu_count(), &s, &soon), GATE_IS_OPEN);
    assert_int_equal(s.yield.score, HABIT_SCORE_MAX / 2);
    for (int limited = 0; limited < 2; limited++) {
        spinner_init(&s, limited ? 1000 : 0, &calm);
        s.crowded = true;
        assert_false(yielded(&g, &s, NULL));
    }
    spinner_init(&s, SPIN_ADAPTIVE, &busy);
    s.crowded = true;
    assert_false(yielded(&g, &s, NULL));
}

/* What never succeeds is given up, except for one wait in 32, until that pays. */
static void habit_learns(struct spinner *s, struct habit *h, unsigned rank)
{
    gate closed = 0, nudged = GATE_NUDGED;

    for (int i = 0; i < 100; i++)
        assert_int_equal(gate_spin(&closed, rank, s, NULL), GATE_IS_CLOSED);
    int n_tried = 0;
    for (int i = 0; i < 320; i++) {
        uint32_t skipped = h->n_skipped;
        assert_int_equal(gate_spin(&closed, rank, s, NULL), GATE_IS_CLOSED);
        n_tried += h->n_skipped <= skipped;
    }
    assert_int_equal(n_tried, 10);
    while (h->score < HABIT_SCORE_MAX * 3 / 4) {
        uint32_t before = h->score;
        if (gate_spin(&nudged, rank, s, NULL) == GATE_IS_NUDGED)
            assert_true(h->score > before);
    }
    for (int i = 0; i < 1000; i++)
        (void)gate_spin(&nudged, rank, s, NULL);
    assert_true(h->score <= HABIT_SCORE_MAX);
}

static void test_spinner_learns(void **state)
{
    (void)state;
    struct spinner s;

    spinner_init(&s, SPIN_ADAPTIVE, &calm);
    if (cpu_count() >= 2)
        habit_learns(&s, &s.spin, 0);
    s.crowded = true;
    habit_learns(&s, &s.yield, cpu_count());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake_chain),
        cmocka_unit_test(test_open_gate_never_waits),
        cmocka_unit_test(test_holds),
        cmocka_unit_test(test_holds_never_wrap),
        cmocka_unit_test(test_no_wake_is_lost),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadlines_while_opening),
        cmocka_unit_test(test_wakes_all_beside_rivals),
        cmocka_unit_test(test_wake_elsewhere),
        cmocka_unit_test(test_herd_on_one_cpu),
        cmocka_unit_test(test_nudge_wakes_one),
        cmocka_unit_test(test_nudge_before_anybody_waits),
        cmocka_unit_test(test_no_nudge_is_lost),
        cmocka_unit_test(test_signal_storm),
        cmocka_unit_test(test_errno_is_kept),
        cmocka_unit_test(test_rank_and_limit),
        cmocka_unit_test(test_who_yields),
        cmocka_unit_test(test_spinner_learns),
    };
    return RUN_TESTS(tests);
}
