/* SPDX-License-Identifier: BSD-2-Clause */
/* Rivals: other processes are told from a process's own threads, and looked for again. */
#include "unit_test.h"

#include "clock.h"
#include "cpu.h"
#include "rivals.h"

#define MS UINT64_C(1000000)

/* As if this process had had so much CPU time since it was read, which was so long ago. */
static void as_if(struct rivals *r, uint64_t now_ns, uint64_t ago_ns, uint64_t had_ns)
{
    atomic_store_relaxed(&r->read_ns, now_ns - ago_ns);
    atomic_store_relaxed(&r->cpu_ns, clock_process_ns() - had_ns);
}

static uint64_t pause_of(struct rivals *r)
{
    return atomic_load_relaxed(&r->pause_ns);
}

static void test_first_look_says_nothing(void **state)
{
    (void)state;
    struct rivals r = {0};
    uint64_t now = clock_now_ns();

    assert_false(rivals_there(&r));
    assert_int_equal(rivals_advise(&r), RIVALS_NONE);
    assert_false(rivals_took(&r, now));
    assert_int_equal(atomic_load_relaxed(&r.read_ns), now);
    assert_in_range(atomic_load_relaxed(&r.cpu_ns), 1, clock_process_ns());
    assert_false(rivals_there(&r));
}

/* Where threads of this process have had the CPUs, those were no rivals. */
static void test_own_threads(void **state)
{
    (void)state;
    struct rivals r = {0};
    uint64_t now = clock_now_ns();

    as_if(&r, now, 20 * MS, 20 * MS * cpu_count());
    assert_false(rivals_took(&r, now));
    assert_false(rivals_there(&r));
    /* Nor does a forked child, whose CPU time begins anew, take its past for rivals. */
    as_if(&r, now, 20 * MS, 0);
    atomic_store_relaxed(&r.cpu_ns, UINT64_MAX / 2);
    assert_false(rivals_took(&r, now));
}

static void test_others(void **state)
{
    (void)state;
    struct rivals r = {0};
    uint64_t now = clock_now_ns();

    /* A process runs on one CPU at most while one thread of it does, and this one has just begun.
     */
    as_if(&r, now, 199 * MS, 0);
    assert_true(rivals_took(&r, now));
    assert_true(rivals_there(&r));
    assert_int_equal(rivals_advise(&r), RIVALS_THERE);
}

/* Too short or too long a time says nothing new. */
static void test_windows(void **state)
{
    (void)state;

    for (int there = 0; there < 2; there++) {
        struct rivals r = {.until_ns = there ? UINT64_MAX : 0};
        uint64_t now = clock_now_ns(), cpu_ns;
        as_if(&r, now, 1 * MS, there ? 1 * MS * cpu_count() : 0);
        cpu_ns = atomic_load_relaxed(&r.cpu_ns);
        assert_int_equal(rivals_took(&r, now), there);
        assert_int_equal(atomic_load_relaxed(&r.cpu_ns), cpu_ns);
        as_if(&r, now, 300 * MS, there ? 300 * MS * cpu_count() : 0);
        assert_int_equal(rivals_took(&r, now), there);
        assert_int_equal(rivals_there(&r), there);
        assert_int_equal(atomic_load_relaxed(&r.read_ns), now);
    }
}

/* One thread probes; the next one later each time, as long as that finds rivals. */
static void test_probes(void **state)
{
    (void)state;
    struct rivals r = {0};
    uint64_t pause = 0;

    for (int i = 0; i < 12; i++) {
        uint64_t now = clock_now_ns();
        as_if(&r, now, 199 * MS, 0);
        assert_true(rivals_took(&r, now));
        assert_true(pause_of(&r) >= pause);
        pause = pause_of(&r);
        assert_in_range(atomic_load_relaxed(&r.until_ns), now + 1, now + pause);
    }
    assert_in_range(pause, 1000 * MS, 4000 * MS);
    assert_int_equal(rivals_advise(&r), RIVALS_THERE);
    atomic_store_relaxed(&r.until_ns, 1); /* long ago */
    assert_int_equal(rivals_advise(&r), RIVALS_PROBE);
    assert_int_equal(rivals_advise(&r), RIVALS_THERE);
    assert_true(rivals_there(&r));
    rivals_gone(&r);
    assert_false(rivals_there(&r));
    assert_int_equal(rivals_advise(&r), RIVALS_NONE);
    assert_int_equal(pause_of(&r), pause / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_look_says_nothing),
        cmocka_unit_test(test_own_threads),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_probes),
    };
    return RUN_TESTS(tests);
}
