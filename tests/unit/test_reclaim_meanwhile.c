/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What another thread may do between two steps of one that borrows a lane: done in
 * front of each access to shared memory, in a copy of reclaim.c of this program's own.
 * One thread plays both: lanes do not belong to threads.
 */
#undef SFLIGHT_CHECKED /* here one thread is in several sections */
#include "unit_test.h"

#include "atomic.h"

#include <ck_epoch.h>

static void another_comes(void);

#define MEANWHILE(access) (another_comes(), access)
#undef ck_pr_load_uint
#undef ck_pr_store_uint
#define ck_pr_load_uint(p) MEANWHILE(ck_pr_md_load_uint(p))
#define ck_pr_store_uint(p, v) MEANWHILE(ck_pr_md_store_uint((p), (v)))
#define ck_pr_cas_uint(p, was, v) MEANWHILE((ck_pr_cas_uint)((p), (was), (v)))

/* The library's are linked as well. */
#define reclaim_init own_init
#define reclaim_lane own_lane
#define reclaim_no_lane own_no_lane
#define reclaim_epoch own_epoch
#define reclaim_enter_any own_enter_any
#define reclaim_poll own_poll
#define reclaim_after_fork own_after_fork
#undef SFLIGHT_RECLAIM_H
#include "reclaim.c"

enum { HINT = 1 };

static unsigned n_accesses, comes_at; /* 0: never */
static struct lane *anothers;

static void another_comes(void)
{
    if (++n_accesses == comes_at)
        anothers = reclaim_enter(own_lane(HINT));
}

/* Two that come at once have a lane each, wherever the second comes in. */
static void test_enter_meanwhile(void **state)
{
    (void)state;
    for (comes_at = 1;; comes_at++) {
        n_accesses = 0;
        anothers = NULL;
        struct lane *lane = reclaim_enter(own_lane(HINT));
        n_accesses = comes_at; /* nobody comes while they leave */
        reclaim_leave(lane);
        if (anothers == NULL)
            break;
        assert_ptr_not_equal(lane, anothers);
        reclaim_leave(anothers);
    }
    assert_true(comes_at > 2); /* it looks, and takes */
}

/* Threads stand still as they register all lanes that hints name; one that has none goes on. */
static void test_all_lanes_are_being_registered(void **state)
{
    (void)state;
    struct reclaim_limbo limbo = {.first = NULL};
    struct reclaim_entry entry;
    unsigned char was[MAX_LANES];

    comes_at = 0;
    reclaim_retire(&limbo, &entry);
    for (unsigned i = 0; i <= mask; i++) {
        was[i] = atomic_load_relaxed(&registered[i]);
        atomic_store_relaxed(&registered[i], REGISTERING);
    }
    assert_ptr_equal(reclaim_lane(HINT), &reclaim_no_lane);
    struct lane *lane = reclaim_enter(&reclaim_no_lane);
    assert_ptr_equal(lane, &lanes[mask + 1]);
    reclaim_leave(lane);
    assert_null(
        reclaim_take(&limbo, reclaim_poll(&reclaim_no_lane))); /* it waits for another one */
    for (unsigned i = 0; i <= mask; i++)
        atomic_store_relaxed(&registered[i], was[i]);
    assert_ptr_equal(reclaim_take(&limbo, reclaim_poll(&reclaim_no_lane)), &entry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enter_meanwhile),
        cmocka_unit_test(test_all_lanes_are_being_registered),
    };
    own_init();
    return RUN_TESTS(tests);
}
