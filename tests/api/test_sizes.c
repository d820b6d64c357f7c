/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structs that may grow: each function that fills one is told how large its caller's is, writes
 * no byte beyond it, and zeroes what it does not know; a function without _sized, by its address,
 * keeps to the layout of 0.1.0.  Options that say more than the library knows are refused.
 *
 * tests/install/test_abi.sh also runs this program with a library, and compiles it with a header,
 * whose structs have grown.
 */
#include "../lib/batch_test.h"
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

enum { GUARD = 0x5A, ROOM = 1024 };

/* A struct of any size, with guards after it. */
union room {
    sflight_result r;
    sflight_stats stats;
    sflight_options o;
    unsigned char bytes[ROOM];
};

static void room_reset(union room *room)
{
    memset(room, GUARD, sizeof *room);
}

/* `size` bytes were the struct's; those from `known` on are zero; the rest is as it was. */
static void assert_kept(const union room *room, size_t known, size_t size)
{
    for (size_t i = known; i < size; i++)
        assert_int_equal(room->bytes[i], 0);
    for (size_t i = size; i < ROOM; i++)
        assert_int_equal(room->bytes[i], GUARD);
}

/* Sizes that a caller may have: of 0.1.0, of this header, larger. */
static size_t size_of(int i, size_t first, size_t now)
{
    return i == 0 ? first : i == 1 ? now : now + 40;
}

static int seven(sflight_call *call, void *arg)
{
    value_set(call, arg, 7);
    return 77;
}

static void assert_is_seven(const sflight_result *r)
{
    assert_int_equal(number_of(r), 7);
    assert_int_equal(r->status, 77);
    assert_non_null(r->hold);
}

/* Up to where the library fills a struct of this size, for all that is known of it here. */
static size_t known_of(size_t size, size_t first, size_t now)
{
#if defined(SFLIGHT_NEWER_LIBRARY)
    (void)first, (void)now;
    return size;
#elif defined(SFLIGHT_OLDER_LIBRARY)
    (void)now;
    return size < first ? size : first;
#else
    (void)first;
    return size < now ? size : now;
#endif
}

static void results_of_blocking_callers(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 3; i++) {
        size_t size = size_of(i, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        size_t known = known_of(size, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        union room room, copy;
        room_reset(&room);
        room_reset(&copy);
        assert_int_equal(
            sflight_do_until_sized(g, "k", 1, seven, &tally, &in_the_past, &room.r, size), 0);
        assert_kept(&room, known, size);
        assert_is_seven(&room.r);
        assert_int_equal(sflight_result_retain_sized(&room.r, &copy.r, size), 0);
        assert_kept(&copy, known, size);
        assert_is_seven(&copy.r);
        sflight_result_release_sized(&room.r, size);
        assert_kept(&room, 0, size);
        sflight_result_release_sized(&copy.r, size);
        assert_kept(&copy, 0, size);
        room_reset(&room);
        assert_int_equal(sflight_result_retain_sized(&copy.r, &room.r, size), -EINVAL);
        assert_kept(&room, 0, size);
        room_reset(&room);
        assert_int_equal(sflight_do_until_sized(g, "k", 1, NULL, NULL, NULL, &room.r, size),
                         -EINVAL);
        assert_kept(&room, 0, size);
        assert_int_equal(sflight_do_until_sized(g, "k", 1, seven, &tally, NULL, NULL, size),
                         -EINVAL);
    }
    assert_int_equal(tally.made, 3);
    assert_int_equal(tally.destroyed, 3);
    group_end(g);
}

static int many_sevens(sflight_call *const *calls, size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++)
        value_set(calls[i], arg, 7);
    return 77;
}

static int many_exit(sflight_call *const *calls, size_t n, void *arg)
{
    many_sevens(calls, n, arg);
    pthread_exit(NULL);
}

struct leaving {
    sflight_group *g;
    struct tally *tally;
    size_t size;
};

static void *leave_a_batch(void *arg)
{
    struct leaving *l = arg;
    static union room r; /* this thread's stack goes */
    static int rc[2];
    const sflight_key keys[2] = {KEY("a"), KEY("b")};
    (void)sflight_do_many_sized(l->g, keys, 2, many_exit, l->tally, NULL, &r.r, rc, l->size);
    fail_msg("the thread should have ended");
    return NULL;
}

static void results_of_batches(void **state)
{
    (void)state;
    enum { N = 3 };
    struct tally tally = {0};
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    const sflight_key keys[N] = {KEY("a"), KEY("b"), KEY("a")};
    for (int i = 0; i < 3; i++) {
        size_t size = size_of(i, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        size_t known = known_of(size, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        union room room;
        int rc[N] = {1, 1, 1};
        room_reset(&room);
        assert_int_equal(sflight_do_many_sized(g, keys, N, NULL, NULL, NULL, &room.r, rc, size),
                         -EINVAL);
        if (size != sizeof(sflight_result)) {
            assert_int_equal(sflight_do_many_sized(g, keys, SIZE_MAX, many_sevens, NULL, NULL,
                                                   &room.r, rc, size),
                             -ENOMEM);
            counting_fail(&counting, 1, true);
            assert_int_equal(
                sflight_do_many_sized(g, keys, N, many_sevens, NULL, NULL, &room.r, rc, size),
                -ENOMEM);
            counting_fail(&counting, 0, false);
        }
        assert_kept(&room, 0, 0); /* untouched */
        assert_int_equal(rc[0] + rc[1] + rc[2], N);
        assert_int_equal(
            sflight_do_many_sized(g, keys, N, many_sevens, &tally, NULL, &room.r, rc, size), 0);
        assert_kept(&room, N * size, N * size);
        for (int k = 0; k < N; k++) {
            union room one; /* aligned */
            room_reset(&one);
            memcpy(&one, room.bytes + (size_t)k * size, size);
            assert_kept(&one, known, size);
            assert_int_equal(rc[k], 0);
            assert_is_seven(&one.r);
            sflight_result_release_sized(&one.r, size);
        }
        struct leaving l = {g, &tally, size};
        thread_join(thread_start(leave_a_batch, &l));
        assert_all_destroyed(&tally);
    }
    group_end(g);
    assert_nothing_allocated(&counting);
}

static void check_copy(void *arg, int rc, sflight_result *r)
{
    bool *called = arg;
    struct {
        char bytes[128];
    } room;
    memcpy(&room, r, sizeof room); /* what a later header's assignment may do */
    for (size_t i = known_of(sizeof room, SFLIGHT_SIZE_RESULT, sizeof *r); i < sizeof room; i++)
        assert_int_equal(room.bytes[i], 0);
    assert_int_equal(rc, 0);
    assert_is_seven(r);
    sflight_result_release(r);
    *called = true;
}

/* A visit's info is in 128 bytes. */
static int check_info(const sflight_info *info, void *called)
{
    unsigned char bytes[128];
    memcpy(bytes, info, sizeof bytes);
    for (size_t i = offsetof(sflight_info, orphaned) + 1; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0);
    *(bool *)called = true;
    return 0;
}

static void infos_of_calls(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    bool called = false;
    assert_int_equal(sflight_group_each(g, check_info, &called), 0);
    assert_true(called);
    sflight_complete(call, 0);
    group_end(g);
}

static void results_of_futures(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (int i = 0; i < 3; i++) {
        size_t size = size_of(i, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        size_t known = known_of(size, SFLIGHT_SIZE_RESULT, sizeof(sflight_result));
        size_t larger = size + SFLIGHT_SIZE_COMPLETION - SFLIGHT_SIZE_RESULT;
        union room room;
        bool called = false;
        sflight_call *call = lead(g, "key");
        sflight_future *f[6];
        for (size_t k = 0; k < LENGTH(f); k++)
            f[k] = join(g, "key");
        for (size_t k = 3; k < LENGTH(f); k++)
            assert_int_equal(sflight_future_enqueue(f[k], q, 5), 0);
        assert_int_equal(sflight_future_then(f[2], check_copy, &called), 0);
        room_reset(&room);
        assert_int_equal(sflight_future_poll_sized(f[0], &room.r, size), -EAGAIN);
        assert_kept(&room, 0, size);
        room_reset(&room);
        assert_int_equal(sflight_future_get_sized(f[0], &in_the_past, &room.r, size), -ETIMEDOUT);
        assert_kept(&room, 0, size);
        value_set(call, &tally, 7);
        sflight_complete(call, 77);
        assert_true(called);
        room_reset(&room);
        assert_int_equal(sflight_future_poll_sized(f[0], &room.r, size), 0);
        assert_kept(&room, known, size);
        assert_is_seven(&room.r);
        sflight_result_release_sized(&room.r, size);
        room_reset(&room);
        assert_int_equal(sflight_future_get_sized(f[1], NULL, &room.r, size), 0);
        assert_kept(&room, known, size);
        assert_is_seven(&room.r);
        sflight_result_release_sized(&room.r, size);
        assert_int_equal(sflight_future_poll_sized(NULL, &room.r, size), -EINVAL);
        assert_int_equal(sflight_future_get_sized(NULL, NULL, &room.r, size), -EINVAL);
        assert_kept(&room, 0, size);

        /* Three completions, two and one. */
        union room out;
        room_reset(&out);
        assert_int_equal(sflight_queue_drain_sized(q, (void *)&out, 2, larger), 2);
        assert_kept(&out, 2 * larger, 2 * larger);
        assert_true(readable(sflight_queue_fd(q)));
        int n = sflight_queue_drain_sized(q, (void *)(out.bytes + 2 * larger), 5, larger);
        assert_int_equal(n, 1);
        assert_kept(&out, 3 * larger, 3 * larger);
        assert_true(readable(sflight_queue_fd(q)));
        room_reset(&room);
        assert_int_equal(sflight_queue_drain_sized(q, (void *)&room, 1, larger), 0);
        assert_kept(&room, 0, 0);
        assert_false(readable(sflight_queue_fd(q)));
        for (size_t k = 0; k < 3; k++) {
            union {
                sflight_completion c;
                union room room;
            } one;
            room_reset(&one.room);
            memcpy(&one, out.bytes + k * larger, larger);
            assert_kept(&one.room, known + larger - size, larger);
            assert_int_equal(one.c.tag, 5);
            assert_int_equal(one.c.rc, 0);
            assert_is_seven(&one.c.result);
        }
        for (int again = 0; again < 2; again++)
            sflight_completions_release_sized((void *)&out, 3, larger);
        for (size_t k = 0; k < 3; k++) /* each result zeroed, and nothing beyond */
            for (size_t at = larger - size; at < larger; at++)
                assert_int_equal(out.bytes[k * larger + at], 0);
        assert_kept(&out, 3 * larger, 3 * larger);
        assert_all_destroyed(&tally);
    }
    sflight_completions_release_sized(NULL, 3, SFLIGHT_SIZE_COMPLETION);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void statistics(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    assert_key_usable(g, "key");
    for (int i = 0; i < 3; i++) {
        size_t size = size_of(i, SFLIGHT_SIZE_STATS, sizeof(sflight_stats));
        union room room;
        room_reset(&room);
        assert_int_equal(sflight_group_stats_sized(g, &room.stats, size), 0);
        assert_kept(&room, known_of(size, SFLIGHT_SIZE_STATS, sizeof(sflight_stats)), size);
        assert_int_equal(room.stats.led, 1);
        assert_true(room.stats.bytes > 0);
    }
    group_end(g);
}

static void options(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        size_t size = size_of(i, SFLIGHT_SIZE_OPTIONS, sizeof(sflight_options));
        size_t known = known_of(size, SFLIGHT_SIZE_OPTIONS, sizeof(sflight_options));
        union room room;
        sflight_group *g;
        room_reset(&room);
        sflight_options_init_sized(&room.o, size);
        assert_kept(&room, known, size);
        assert_int_equal(room.o.struct_size, size);
        assert_true(room.o.spin_ns == SFLIGHT_SPIN_ADAPTIVE);
        room.o.max_waiters = 1;
        assert_int_equal(sflight_group_create(&g, &room.o), 0);
        sflight_call *call = lead(g, "key");
        sflight_future *f = join(g, "key"), *more;
        sflight_call *none;
        assert_int_equal(sflight_begin(g, "key", 3, &none, &more), -EAGAIN); /* what it said */
        sflight_complete(call, 0);
        sflight_future_drop(f);
        group_end(g);
    }
    /* Not to be understood. */
    union room room;
    sflight_group *g;
    for (size_t bad = 0; bad < SFLIGHT_SIZE_OPTIONS; bad++) {
        sflight_options_init_sized(&room.o, sizeof(sflight_options));
        room.o.struct_size = bad;
        assert_int_equal(sflight_group_create(&g, &room.o), -EINVAL);
    }
    room.o.struct_size = SIZE_MAX;
    assert_int_equal(sflight_group_create(&g, &room.o), -EINVAL);
    size_t large = sizeof(sflight_options) + 100;
    for (size_t i = large - 60; i < large; i++) {
        sflight_options_init_sized(&room.o, large);
        room.bytes[i] = 1;
        assert_int_equal(sflight_group_create(&g, &room.o), -EINVAL);
        assert_null(g);
    }
    sflight_options_init_sized(NULL, 1000);
}

/* Through a pointer, whatever this header has: the layouts of 0.1.0. */
static void by_address(void **state)
{
    (void)state;
    struct tally tally = {0};
    union room room;
    sflight_group *g;
    void (*volatile options_init)(sflight_options *) = sflight_options_init;
    int (*volatile stats)(sflight_group *, sflight_stats *) = sflight_group_stats;
    int (*volatile run)(sflight_group *, const void *, size_t, sflight_fn *, void *,
                        sflight_result *) = sflight_do;
    void (*volatile release)(sflight_result *) = sflight_result_release;
    room_reset(&room);
    options_init(&room.o);
    assert_kept(&room, SFLIGHT_SIZE_OPTIONS, SFLIGHT_SIZE_OPTIONS);
    assert_int_equal(room.o.struct_size, SFLIGHT_SIZE_OPTIONS);
    assert_int_equal(sflight_group_create(&g, &room.o), 0);
    room_reset(&room);
    assert_int_equal(run(g, "key", 3, seven, &tally, &room.r), 0);
    assert_kept(&room, SFLIGHT_SIZE_RESULT, SFLIGHT_SIZE_RESULT);
    assert_is_seven(&room.r);
    release(&room.r);
    assert_kept(&room, 0, SFLIGHT_SIZE_RESULT);
    assert_all_destroyed(&tally);
    room_reset(&room);
    assert_int_equal(stats(g, &room.stats), 0);
    assert_kept(&room, SFLIGHT_SIZE_STATS, SFLIGHT_SIZE_STATS);
    assert_int_equal(sflight_group_destroy(g), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_of_blocking_callers),
        cmocka_unit_test(results_of_batches),
        cmocka_unit_test(results_of_futures),
        cmocka_unit_test(infos_of_calls),
        cmocka_unit_test(statistics),
        cmocka_unit_test(options),
        cmocka_unit_test(by_address),
    };
    return RUN_TESTS(tests);
}
