/* SPDX-License-Identifier: BSD-2-Clause */
/* Nothing is taken out while a section that began before is open; everything can be, after it. */
#include "unit_test.h"

#include "reclaim.h"

#include <limits.h>
#include <signal.h>

/*
 * One thread plays several here, so that what a build for tests notes of a thread's section
 * is not so.
 */
static struct lane *section_enter(unsigned hint)
{
    struct lane *lane = reclaim_enter(reclaim_lane(hint));
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

/* What one thread retires, as a slot does. */
struct pile {
    struct reclaim_limbo limbo;
    unsigned hint;
    unsigned n_in, n_out; /* retired; and taken out again */
};

struct item {
    struct reclaim_entry entry;
    unsigned number;
};

static void pile_out(struct pile *p, struct reclaim_entry *entry)
{
    struct item *item = container_of(entry, struct item, entry);
    assert_int_equal(item->number, p->n_out); /* oldest first */
    p->n_out++;
    free(item);
}

static void pile_poll(struct pile *p)
{
    struct reclaim_entry *entry;
    unsigned polled = reclaim_poll(reclaim_lane(p->hint));

    p->limbo.n_unpolled = 0;
    while ((entry = reclaim_take(&p->limbo, polled)) != NULL)
        pile_out(p, entry);
}

static void pile_end(struct pile *p)
{
    struct reclaim_entry *entry;

    while ((entry = reclaim_take_unseen(&p->limbo)) != NULL)
        pile_out(p, entry);
    assert_int_equal(p->n_out, p->n_in);
}

static void retire_unpolled(struct pile *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct item *item = malloc(sizeof(*item));
        assert_non_null(item);
        item->number = p->n_in++;
        reclaim_retire(&p->limbo, &item->entry);
    }
}

static void retire_some(struct pile *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        retire_unpolled(p, 1);
        if (p->limbo.n_unpolled >= RECLAIM_POLL_EVERY)
            pile_poll(p);
    }
}

static void step_retire_many(void *arg)
{
    retire_some(arg, 2000);
}

/* ------------------------------------------------------------------ tests */

static void test_open_section_holds_everything_back(void **state)
{
    (void)state;
    struct actor other;
    struct pile theirs = {.hint = HINT_B}, mine = {.hint = HINT_B};

    actor_start(&other);
    struct lane *lane = section_enter(HINT_A);
    actor_do(&other, step_retire_many, &theirs); /* polls many times */
    assert_int_equal(theirs.n_out, 0);
    retire_some(&mine, 2000); /* by the thread of the section, on another lane */
    assert_int_equal(mine.n_out, 0);
    section_leave(lane);
    retire_some(&mine, RECLAIM_POLL_EVERY); /* going on is enough */
    assert_int_equal(mine.n_out, 2000 + RECLAIM_POLL_EVERY);
    pile_poll(&theirs);
    assert_int_equal(theirs.n_out, 2000);
    actor_end(&other);
}

/* Also from the lane that the poll comes from, which is borrowed then. */
static void test_each_lane_holds_back(void **state)
{
    (void)state;
    for (unsigned hint = 0; hint < 300; hint++) {
        struct pile p = {.hint = hint + hint % 2};
        struct lane *lane = section_enter(hint);
        retire_some(&p, 40);
        assert_int_equal(p.n_out, 0);
        section_leave(lane);
        pile_poll(&p);
        assert_int_equal(p.n_out, 40);
    }
}

/* A section that begins after the retirement, at the same epoch, holds nothing back for long. */
static void test_overlapping_sections(void **state)
{
    (void)state;
    enum { ROUNDS = 1000, EACH = 17 };
    struct pile p = {.hint = 7};
    struct lane *lane = section_enter(0);

    for (unsigned i = 0; i < ROUNDS; i++) {
        retire_some(&p, EACH);
        struct lane *next = section_enter(i + 1);
        assert_in_range(p.n_out, 0, i * EACH); /* this section may see those of this round */
        section_leave(lane);
        lane = next;
    }
    /* Epochs went by, although there was always a section. */
    assert_true(p.n_out >= ROUNDS / 2 * EACH);
    section_leave(lane);
    pile_poll(&p);
    assert_int_equal(p.n_out, ROUNDS * EACH);
}

/* What begins later cannot see it, and yet its lane says nothing of that but by its epoch. */
static void test_a_section_of_each_epoch(void **state)
{
    (void)state;
    struct pile p = {.hint = 7};
    struct lane *at_first = section_enter(HINT_A);

    retire_unpolled(&p, 1);
    pile_poll(&p); /* once on: that section is of the epoch before */
    assert_int_equal(p.n_out, 0);
    struct lane *later = section_enter(HINT_B);
    for (int i = 0; i < 10; i++)
        pile_poll(&p);
    assert_int_equal(p.n_out, 0);
    section_leave(at_first);
    pile_poll(&p); /* once more */
    assert_int_equal(p.n_out, 1);
    section_leave(later);
}

/* The epoch begins anew after 2^32 of them. */
static void test_epochs_wrap(void **state)
{
    (void)state;
    for (unsigned before = 0; before < 6; before++) {
        struct pile p = {.hint = HINT_B};
        reclaim_epoch.epoch = UINT_MAX - before;
        for (unsigned i = 0; i < 12; i++) {
            struct lane *lane = section_enter(HINT_A);
            retire_unpolled(&p, 1);
            pile_poll(&p);
            assert_int_equal(p.n_out, i); /* this section may see the last one */
            section_leave(lane);
            lane = section_enter(HINT_A);
            pile_poll(&p);
            section_leave(lane);
            lane = section_enter(HINT_A);
            pile_poll(&p);
            section_leave(lane);
            assert_int_equal(p.n_out, i + 1);
        }
    }
    reclaim_epoch.epoch = 1;
}

static void test_poll_waits_for_nothing(void **state)
{
    (void)state;
    struct pile p = {.hint = HINT_B};

    struct lane *lane = section_enter(HINT_A);
    retire_unpolled(&p, 3);
    pile_poll(&p);
    assert_int_equal(p.n_out, 0);
    section_leave(lane);
    pile_poll(&p);
    assert_int_equal(p.n_out, 3);
    pile_poll(&p);
    assert_int_equal(p.n_out, 3);
}

static void test_unseen_ones_need_not_wait(void **state)
{
    (void)state;
    struct pile p = {.hint = HINT_B};
    struct lane *lane = section_enter(HINT_A);

    retire_some(&p, 100);
    assert_int_equal(p.n_out, 0);
    pile_end(&p);
    retire_some(&p, 3); /* it can be used again */
    pile_end(&p);
    section_leave(lane);
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
}

/* A section on a lane that no hint names holds back like any other. */
static void test_last_lanes_hold_back(void **state)
{
    (void)state;
    struct lane *lanes[LANES - 1];
    struct pile p = {.hint = HINT_B};

    for (size_t i = 0; i < LENGTH(lanes); i++)
        lanes[i] = section_enter(HINT_A);
    struct lane *last = section_enter(HINT_A);
    for (size_t i = 0; i < LENGTH(lanes); i++)
        section_leave(lanes[i]);
    retire_some(&p, 40);
    assert_int_equal(p.n_out, 0);
    section_leave(last);
    pile_poll(&p);
    assert_int_equal(p.n_out, 40);
}

/* A thread without a lane of its own borrows one. */
static void test_no_lane(void **state)
{
    (void)state;
    struct pile p = {.hint = HINT_B};
    struct lane *first = reclaim_enter(&reclaim_no_lane);
    REQUIRE_SECTION_ENDS();
    struct lane *second = reclaim_enter(&reclaim_no_lane);
    REQUIRE_SECTION_ENDS();

    assert_ptr_not_equal(first, &reclaim_no_lane);
    assert_ptr_not_equal(second, &reclaim_no_lane);
    assert_ptr_not_equal(first, second);
    retire_unpolled(&p, 1);
    assert_null(reclaim_take(&p.limbo, reclaim_poll(&reclaim_no_lane)));
    section_leave(first);
    section_leave(second);
    struct reclaim_entry *entry = reclaim_take(&p.limbo, reclaim_poll(&reclaim_no_lane));
    assert_non_null(entry);
    pile_out(&p, entry);
}

static void test_pending_stays_bounded(void **state)
{
    (void)state;
    enum { N = 1000000 };
    struct pile p = {.hint = HINT_A};
    unsigned most = 0;

    for (unsigned i = 1; i <= N; i++) {
        if (i % 64 == 0) /* sections come and go */
            section_leave(section_enter(i));
        retire_some(&p, 1);
        if (p.n_in - p.n_out > most)
            most = p.n_in - p.n_out;
    }
    assert_true(most <= RECLAIM_POLL_EVERY);
    pile_end(&p);
}

/* The same beside a thread that is nearly always in a section, though not in the same for long. */
static void test_pending_beside_sections(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct pile p = {.hint = HINT_A};
    unsigned most = 0;

    for (unsigned i = 1; i <= N; i++) {
        struct lane *lane = section_enter(HINT_B); /* of the epoch of this moment */
        retire_some(&p, 1);
        section_leave(lane);
        if (p.n_in - p.n_out > most)
            most = p.n_in - p.n_out;
    }
    assert_true(most <= 3 * RECLAIM_POLL_EVERY);
    pile_end(&p);
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
    struct pile p = {.hint = HINT_B};

    actor_start(&other);
    actor_do(&other, step_enter, &lane);
    retire_some(&p, 20);
    pid_t child = fork();
    if (child == 0) {
        child_limits();
        reclaim_after_fork();
        reclaim_limbo_after_fork(&p.limbo);
        retire_some(&p, 20);
        pile_poll(&p);
        struct lane *again = section_enter(HINT_A);
        section_leave(again);
        _exit(p.n_out == 40 && again == lane ? 0 : 1);
    }
    assert_child_ok(child);
    assert_int_equal(p.n_out, 0);
    section_leave(lane); /* not by who entered: lanes do not belong to threads */
    pile_poll(&p);
    assert_int_equal(p.n_out, 20);
    actor_end(&other);
}

/* The fork stopped a thread that had linked an entry, but had not said that it is the last. */
static void test_limbo_in_the_middle_of_a_change(void **state)
{
    (void)state;
    struct reclaim_entry entries[4], elsewhere;
    struct reclaim_limbo limbo = {.first = &entries[0], .last = &entries[0]};

    entries[0] = (struct reclaim_entry){.next = &entries[1], .epoch = reclaim_epoch.epoch};
    entries[1] = (struct reclaim_entry){.next = NULL, .epoch = reclaim_epoch.epoch};
    reclaim_limbo_after_fork(&limbo);
    reclaim_retire(&limbo, &entries[2]);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(reclaim_take_unseen(&limbo), &entries[i]);
    assert_null(reclaim_take_unseen(&limbo));
    limbo.last = &elsewhere; /* as of one that was empty */
    reclaim_limbo_after_fork(&limbo);
    reclaim_retire(&limbo, &entries[3]);
    assert_ptr_equal(reclaim_take_unseen(&limbo), &entries[3]);
    assert_null(reclaim_take_unseen(&limbo));
}

/* Without malloc(), whose locks fork() takes. */
static struct pooled {
    struct reclaim_entry entry;
    atomic_bool out;
} pool[1024];
static struct reclaim_limbo pool_limbo;
static atomic_uint n_pooled_back;
static atomic_bool frozen, thaw, quit;

static void on_freeze(int sig)
{
    (void)sig;
    atomic_store(&frozen, true);
    while (!atomic_load(&thaw)) {
    }
    atomic_store(&frozen, false);
}

static void pool_poll(void)
{
    struct reclaim_entry *entry;
    unsigned polled = reclaim_poll(reclaim_lane(HINT_B));

    while ((entry = reclaim_take(&pool_limbo, polled)) != NULL) {
        atomic_store(&container_of(entry, struct pooled, entry)->out, false);
        atomic_fetch_add(&n_pooled_back, 1);
    }
}

static void *retire_for_ever(void *arg)
{
    (void)arg;
    for (unsigned i = 0; !atomic_load(&quit); i++)
        if (!atomic_exchange(&pool[i % LENGTH(pool)].out, true)) {
            reclaim_retire(&pool_limbo, &pool[i % LENGTH(pool)].entry);
            if (i % 8 == 0)
                pool_poll();
        }
    return NULL;
}

/* Another thread is stopped anywhere, also in the middle of retiring or taking out. */
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
            static struct pooled more;
            child_limits();
            reclaim_after_fork();
            reclaim_limbo_after_fork(&pool_limbo);
            reclaim_retire(&pool_limbo, &more.entry);
            struct reclaim_entry *entry, *last = NULL;
            unsigned polled = reclaim_poll(reclaim_lane(HINT_B));
            while ((entry = reclaim_take(&pool_limbo, polled)) != NULL)
                last = entry;
            _exit(last == &more.entry ? 0 : 1); /* it is behind all that were there */
        }
        atomic_store(&thaw, true);
        WAIT_UNTIL(!atomic_load(&frozen));
        assert_child_ok(child);
    }
    atomic_store(&quit, true);
    thread_join(other);
    signal(SIGUSR1, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_section_holds_everything_back),
        cmocka_unit_test(test_each_lane_holds_back),
        cmocka_unit_test(test_overlapping_sections),
        cmocka_unit_test(test_a_section_of_each_epoch),
        cmocka_unit_test(test_epochs_wrap),
        cmocka_unit_test(test_poll_waits_for_nothing),
        cmocka_unit_test(test_unseen_ones_need_not_wait),
        cmocka_unit_test(test_more_sections_than_lanes),
        cmocka_unit_test(test_last_lanes_hold_back),
        cmocka_unit_test(test_no_lane),
        cmocka_unit_test(test_pending_stays_bounded),
        cmocka_unit_test(test_pending_beside_sections),
        cmocka_unit_test(test_fork_with_a_section_open),
        cmocka_unit_test(test_limbo_in_the_middle_of_a_change),
        cmocka_unit_test(test_fork_in_the_middle_of_retiring),
    };
    reclaim_init();
    return RUN_TESTS(tests);
}
