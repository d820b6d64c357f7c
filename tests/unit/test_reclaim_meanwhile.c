/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What another thread may do between two steps of one that borrows a lane: done in
 * front of each access to shared memory, in a copy of reclaim.c of this program's own.
 * One thread plays both: lanes do not belong to threads.
 */
#undef SFLIGHT_CHECKED /* here one thread is in several sections */
#include "unit_test.h"

#include "atomic.h"

static void another_comes(void);

#undef atomic_load_relaxed
#undef atomic_load_acquire
#undef atomic_store_relaxed
#undef atomic_store_release
#undef atomic_swap_acquire
#define MEANWHILE(access) (another_comes(), access)
#define atomic_load_relaxed(p) MEANWHILE(atomic_load_explicit((p), memory_order_relaxed))
#define atomic_load_acquire(p) MEANWHILE(atomic_load_explicit((p), memory_order_acquire))
#define atomic_store_relaxed(p, v) MEANWHILE(atomic_store_explicit((p), (v), memory_order_relaxed))
#define atomic_store_release(p, v) MEANWHILE(atomic_store_explicit((p), (v), memory_order_release))
#define atomic_swap_acquire(p, v)                                                                  \
    MEANWHILE(atomic_exchange_explicit((p), (v), memory_order_acquire))

/* The library's are linked as well. */
#define reclaim_init own_init
#define reclaim_enter own_enter
#define reclaim_leave own_leave
#define reclaim_retire own_retire
#define reclaim_flush own_flush
#define reclaim_poll own_poll
#define reclaim_after_fork own_after_fork
#include "reclaim.c"

enum { HINT = 1 };

static unsigned n_accesses, comes_at; /* 0: never */
static struct lane *anothers;

static void another_comes(void)
{
    if (++n_accesses == comes_at)
        anothers = own_enter(HINT);
}

/* Two that come at once have a lane each, wherever the second comes in. */
static void test_enter_meanwhile(void **state)
{
    (void)state;
    for (comes_at = 1;; comes_at++) {
        n_accesses = 0;
        anothers = NULL;
        struct lane *lane = own_enter(HINT);
        n_accesses = comes_at; /* nobody comes while they leave */
        own_leave(lane);
        if (anothers == NULL)
            break;
        assert_ptr_not_equal(lane, anothers);
        own_leave(anothers);
    }
    assert_true(comes_at > 2); /* it looks, and takes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enter_meanwhile),
    };
    own_init();
    return RUN_TESTS(tests);
}
