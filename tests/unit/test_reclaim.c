/* SPDX-License-Identifier: BSD-2-Clause */
/* Nothing is given back while a section that began before is open; everything is, after it. */
#include "unit_test.h"

#include "reclaim.h"

#include <signal.h>

/*
 * One thread plays several here, so that what a build for tests notes of a thread's section
 * is not so.
 */
static struct lane *section_enter(unsigned hint)
{
    struct lane *lane = reclaim_enter(hint);
    REQUIRE_SECTION_ENDS();
    return lane;
}

static void section_leave(struct lane *lane)
{
    REQUIRE_SECTION_BEGINS();
    reclaim_leave(lane);
}

enum {
    LANES = 256, /* of the process: as many sections can be open at a time */
    HINT_A = 1,
    HINT_B = 2,
};

struct item {
    struct reclaim_entry entry;
    atomic_uint *n_back;
};

static void item_back(struct reclaim_entry *entry)
{
    struct item *i = container_of(entry, struct item, entry);
    atomic_fetch_add(i->n_back, 1);
    free(i);
}

static void retire_some(unsigned hint, unsigned n, atomic_uint *n_back)
{
    for (unsigned i = 0; i < n; i++) {
        struct item *item = malloc(sizeof(*item));
        assert_non_null(item);
        item->n_back = n_back;
        reclaim_retire(hint, &item->entry, item_back);
    }
}

struct retire_step {
    unsigned hint, n;
    atomic_uint *n_back;
};

static void step_retire(void *arg)
{
    struct retire_step *s = arg;
    retire_some(s->hint, s->n, s->n_back);
}

static void step_flush(void *arg)
{
    (void)arg;
    reclaim_flush();
}

/* ------------------------------------------------------------------ tests */

static void test_open_section_holds_everything_back(void **state)
{
    (void)state;
    struct actor other;
    atomic_uint early = 0, late = 0;
    struct retire_step step = {HINT_B, 2000, &early};

    actor_start(&other);
    struct lane *lane = section_enter(HINT_A);
    actor_do(&other, step_retire, &step); /* polls many times */
    assert_int_equal(early, 0);
    retire_some(HINT_B, 2000, &early); /* from the thread of the section, on another lane */
    assert_int_equal(early, 0);
    section_leave(lane);
    /* No flush: going on is enough, on the lane that has the entries. */
    for (unsigned i = 0; i < 100000 && early != 4000; i++)
        retire_some(HINT_B, 1, &late);
    assert_int_equal(early, 4000);
    actor_end(&other);
    reclaim_flush();
}

static void test_each_lane_holds_back(void **state)
{
    (void)state;
    for (unsigned hint = 0; hint < 300; hint++) {
        atomic_uint n_back = 0;
        struct lane *lane = section_enter(hint);
        for (unsigned i = 0; i < 8; i++)
            retire_some(hint + i, 40, &n_back);
        assert_int_equal(n_back, 0);
        section_leave(lane);
        reclaim_flush();
        assert_int_equal(n_back, 320);
    }
}

/* A chain of sections that always overlap: each holds back only what came after it began. */
static void test_overlapping_sections(void **state)
{
    (void)state;
    enum { ROUNDS = 1000, EACH = 17 };
    atomic_uint n_back[ROUNDS + 1] = {0};
    struct lane *lane = section_enter(0);

    for (unsigned i = 0; i < ROUNDS; i++) {
        retire_some(7, EACH, &n_back[i]);
        struct lane *next = section_enter(i + 1);
        assert_int_equal(n_back[i], 0);
        section_leave(lane);
        lane = next;
    }
    /* Epochs went by: the entries of long ago have come back although there was always a section.
     */
    assert_int_equal(n_back[0], EACH);
    assert_int_equal(n_back[ROUNDS / 2], EACH);
    section_leave(lane);
    reclaim_flush();
    assert_int_equal(n_back[ROUNDS - 1], EACH);
}

static _Atomic(pid_t) flusher;

static void step_flush_watched(void *arg)
{
    atomic_store(&flusher, thread_id());
    step_flush(arg);
}

/* It sleeps: a real-time thread that only yielded would keep the section's thread from going on. */
static void test_flush_waits_for_sections(void **state)
{
    (void)state;
    struct actor other;
    atomic_uint n_back = 0;

    actor_start(&other);
    struct lane *lane = section_enter(HINT_A);
    retire_some(HINT_B, 3, &n_back);
    actor_tell(&other, step_flush_watched, NULL);
    WAIT_UNTIL(flusher != 0 && thread_sleeps(flusher));
    assert_int_equal(n_back, 0);
    section_leave(lane);
    actor_await(&other);
    assert_int_equal(n_back, 3);
    actor_end(&other);
}

/* Gives back what it can, and does not wait for the rest. */
static void test_poll_waits_for_nothing(void **state)
{
    (void)state;
    atomic_uint n_back = 0;

    struct lane *lane = section_enter(HINT_A);
    retire_some(HINT_B, 3, &n_back);
    reclaim_poll(HINT_B);
    assert_int_equal(n_back, 0);
    section_leave(lane);
    reclaim_poll(HINT_B);
    assert_int_equal(n_back, 3);
    reclaim_poll(HINT_B);
    assert_int_equal(n_back, 3);
}

static void test_two_flushes_at_once(void **state)
{
    (void)state;
    struct actor a, b;

    actor_start(&a);
    actor_start(&b);
    for (int i = 0; i < 200; i++) {
        atomic_uint n_back = 0;
        for (unsigned hint = 0; hint < 16; hint++)
            retire_some(hint, 1, &n_back);
        actor_tell(&a, step_flush, NULL);
        actor_tell(&b, step_flush, NULL);
        actor_await(&a);
        actor_await(&b);
        assert_int_equal(n_back, 16);
    }
    actor_end(&a);
    actor_end(&b);
}

static void step_enter(void *arg)
{
    struct lane **lane = arg;
    *lane = section_enter(HINT_A);
}

/* All with one hint: each gets a lane of its own, and the next one waits. */
static void test_more_sections_than_lanes(void **state)
{
    (void)state;
    struct lane *lanes[LANES], *last = NULL;
    struct actor other;

    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = section_enter(HINT_A);
        for (unsigned j = 0; j < i; j++)
            assert_ptr_not_equal(lanes[i], lanes[j]);
    }
    actor_start(&other);
    actor_tell(&other, step_enter, &last);
    section_leave(lanes[200]);
    actor_await(&other);
    assert_ptr_equal(last, lanes[200]);
    section_leave(last);
    for (unsigned i = 0; i < LANES; i++)
        if (i != 200)
            section_leave(lanes[i]);
    actor_end(&other);
    reclaim_flush();
}

/* What was retired while nearly all lanes were borrowed stands in a lane that hints never name. */
static void test_flush_finds_the_last_lanes(void **state)
{
    (void)state;
    struct lane *lanes[LANES - 1];
    atomic_uint n_back = 0;

    for (size_t i = 0; i < LENGTH(lanes); i++)
        lanes[i] = section_enter(HINT_A);
    retire_some(HINT_A, 3, &n_back);
    for (size_t i = 0; i < LENGTH(lanes); i++)
        section_leave(lanes[i]);
    assert_int_equal(n_back, 0);
    reclaim_flush();
    assert_int_equal(n_back, 3);
}

static void test_pending_stays_bounded(void **state)
{
    (void)state;
    enum { N = 1000000 };
    atomic_uint n_back = 0;
    unsigned most = 0;

    for (unsigned i = 1; i <= N; i++) {
        if (i % 64 == 0) /* sections come and go */
            section_leave(section_enter(i));
        retire_some(HINT_A, 1, &n_back);
        unsigned pending = i - n_back;
        if (pending > most)
            most = pending;
    }
    assert_true(most <= 16);
    reclaim_flush();
    assert_int_equal(n_back, N);
}

/* Each lane keeps some, however many there are. */
static void test_pending_on_all_lanes(void **state)
{
    (void)state;
    enum { N = 200000 };
    atomic_uint n_back = 0;

    for (unsigned i = 0; i < N; i++)
        retire_some(i, 1, &n_back);
    assert_true(N - n_back <= LANES * 16);
    reclaim_flush();
    assert_int_equal(n_back, N);
}

static void *retire_and_end(void *arg)
{
    retire_some(HINT_B, 5, arg);
    return NULL;
}

static void test_threads_that_end(void **state)
{
    (void)state;
    atomic_uint theirs = 0, mine = 0;

    for (int i = 0; i < 100; i++)
        thread_join(thread_start(retire_and_end, &theirs));
    retire_some(HINT_B, 32, &mine); /* the next borrower goes on with what they left */
    assert_int_equal(theirs, 500);
    reclaim_flush();
    assert_int_equal(mine, 32);
}

static void item_again(struct reclaim_entry *entry)
{
    struct item *i = container_of(entry, struct item, entry);
    atomic_fetch_add(i->n_back, 1);
    reclaim_retire(HINT_A, entry, item_back);
}

/* "Runs outside of sections": it may do all that may be done there. */
static void test_retire_inside_fn(void **state)
{
    (void)state;
    atomic_uint n_back = 0;

    for (int i = 0; i < 1000; i++) {
        struct item *item = malloc(sizeof(*item));
        assert_non_null(item);
        item->n_back = &n_back;
        reclaim_retire(HINT_A, &item->entry, item_again);
    }
    reclaim_flush();
    assert_true(n_back >= 1000);
    reclaim_flush();
    assert_int_equal(n_back, 2000);
}

/* ------------------------------------------------------------------- fork */

static void child_limits(void)
{
    alarm(100); /* a child that hangs must not outlive the test */
}

static void assert_child_ok(pid_t child)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_fork_with_a_section_open(void **state)
{
    (void)state;
    struct actor other;
    struct lane *lane = NULL;
    atomic_uint n_back = 0;

    actor_start(&other);
    actor_do(&other, step_enter, &lane);
    retire_some(HINT_B, 20, &n_back);
    pid_t child = fork();
    if (child == 0) {
        child_limits();
        reclaim_after_fork();
        retire_some(HINT_A, 20, &n_back);
        reclaim_flush();
        struct lane *again = section_enter(HINT_A);
        section_leave(again);
        _exit(n_back == 40 ? 0 : 1);
    }
    assert_child_ok(child);
    assert_int_equal(n_back, 0);
    section_leave(lane); /* not by who entered: lanes do not belong to threads */
    reclaim_flush();
    assert_int_equal(n_back, 20);
    actor_end(&other);
}

/* Without malloc(), whose locks fork() takes. */
static struct pooled {
    struct reclaim_entry entry;
    atomic_bool out;
} pool[1024];
static atomic_uint n_pooled_back;
static atomic_bool frozen, thaw, quit;

static void pooled_back(struct reclaim_entry *entry)
{
    atomic_store(&container_of(entry, struct pooled, entry)->out, false);
    atomic_fetch_add(&n_pooled_back, 1);
}

static void on_freeze(int sig)
{
    (void)sig;
    atomic_store(&frozen, true);
    while (!atomic_load(&thaw)) {
    }
    atomic_store(&frozen, false);
}

static void *retire_for_ever(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !atomic_load(&quit); i++)
        if (!atomic_exchange(&pool[i % LENGTH(pool)].out, true))
            reclaim_retire(HINT_B, &pool[i % LENGTH(pool)].entry, pooled_back);
    return NULL;
}

/* Another thread is stopped anywhere, also in the middle of filing or sorting out entries. */
static void test_fork_in_the_middle_of_retiring(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_freeze};

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    pthread_t other = thread_start(retire_for_ever, NULL);
    for (int i = 0; i < 300; i++) {
        unsigned before = n_pooled_back;
        WAIT_UNTIL(n_pooled_back != before);
        atomic_store(&thaw, false);
        assert_int_equal(pthread_kill(other, SIGUSR1), 0);
        WAIT_UNTIL(atomic_load(&frozen));
        pid_t child = fork();
        if (child == 0) {
            child_limits();
            reclaim_after_fork();
            reclaim_flush(); /* must end */
            _exit(0);
        }
        atomic_store(&thaw, true);
        WAIT_UNTIL(!atomic_load(&frozen));
        assert_child_ok(child);
    }
    atomic_store(&quit, true);
    thread_join(other);
    signal(SIGUSR1, SIG_DFL);
    reclaim_flush();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_section_holds_everything_back),
        cmocka_unit_test(test_each_lane_holds_back),
        cmocka_unit_test(test_overlapping_sections),
        cmocka_unit_test(test_flush_waits_for_sections),
        cmocka_unit_test(test_poll_waits_for_nothing),
        cmocka_unit_test(test_two_flushes_at_once),
        cmocka_unit_test(test_more_sections_than_lanes),
        cmocka_unit_test(test_flush_finds_the_last_lanes),
        cmocka_unit_test(test_pending_stays_bounded),
        cmocka_unit_test(test_pending_on_all_lanes),
        cmocka_unit_test(test_threads_that_end),
        cmocka_unit_test(test_retire_inside_fn),
        cmocka_unit_test(test_fork_with_a_section_open),
        cmocka_unit_test(test_fork_in_the_middle_of_retiring),
    };
    reclaim_init();
    return RUN_TESTS(tests);
}
