/* SPDX-License-Identifier: BSD-2-Clause */
/* What threads that are quiet, or have ended, leave behind: how much, and who gives it back. */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

/* Calls that somebody has joined: their records need a grace period. */
static void joined_calls(sflight_group *g, unsigned n, size_t key_len)
{
    char *key = calloc(1, key_len);
    assert_non_null(key);
    for (unsigned i = 0; i < n; i++) {
        sflight_call *led, *none;
        sflight_future *f;
        key[0] = (char)i;
        assert_int_equal(sflight_begin(g, key, key_len, &led, &f), 0);
        assert_int_equal(sflight_begin(g, key, key_len, &none, &f), 0);
        assert_int_equal(sflight_complete(led, 0), 1);
        sflight_future_drop(f);
    }
    free(key);
}

struct quiet {
    sflight_group *g;
    unsigned n_calls;
    size_t key_len;
    atomic_uint n_quiet;
    atomic_bool leave;
};

/* Of a thread that calls an allocator: it uses that allocator's group. */
static _Thread_local bool uses_group;

static void *use_and_be_quiet(void *arg)
{
    struct quiet *q = arg;
    uses_group = true;
    joined_calls(q->g, q->n_calls, q->key_len);
    atomic_fetch_add(&q->n_quiet, 1);
    WAIT_UNTIL(q->leave);
    return NULL;
}

static void quiet_start(struct quiet *q, pthread_t *threads, unsigned n)
{
    for (unsigned i = 0; i < n; i++) { /* one after the other: nobody else is in the library */
        threads[i] = thread_start(use_and_be_quiet, q);
        WAIT_UNTIL(q->n_quiet == i + 1);
    }
}

static void long_keys_do_not_stay(void **state)
{
    (void)state;
    enum { THREADS = 12, KEY_LEN = 1 << 18 };
    pthread_t threads[THREADS];
    struct quiet q = {.g = group_new(NULL), .n_calls = 5, .key_len = KEY_LEN};
    uint64_t before = stats_of(q.g).bytes;
    quiet_start(&q, threads, THREADS);
    assert_in_range(stats_of(q.g).bytes, before, before + KEY_LEN / 2);
    q.leave = true;
    threads_join(threads, THREADS);
    group_end(q.g);
}

static void *use_and_end(void *g)
{
    joined_calls(g, 3, 20);
    return NULL;
}

/* What waits there, the next thread goes on with. */
static void who_ends_leaves_it_to_the_next(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 100; i++) {
        thread_join(thread_start(use_and_end, g));
        assert_in_range(stats_of(g).retired_pending, 0, 16);
    }
    group_end(g);
}

static atomic_uint n_foreign;

static void *alloc_here(void *ctx, size_t size, size_t align)
{
    atomic_fetch_add(&n_foreign, !uses_group);
    return counting_alloc(ctx, size, align);
}

static void free_here(void *ctx, void *ptr, size_t size)
{
    atomic_fetch_add(&n_foreign, !uses_group);
    counting_free(ctx, ptr, size);
}

static void *use_another(void *g)
{
    joined_calls(g, 40, 20);
    return NULL;
}

/*
 * Grace periods end on whatever thread; an allocator is called on those that use its group.  What a
 * quiet thread has retired waits for it, and is not much.
 */
static void allocators_are_called_by_users(void **state)
{
    (void)state;
    enum { THREADS = 12, OTHERS = 300, CALLS = 100 };
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    o.allocator.alloc = alloc_here;
    o.allocator.free = free_here;
    pthread_t threads[THREADS];
    uses_group = true;
    struct quiet q = {.g = group_new(&o), .n_calls = CALLS, .key_len = 20};
    sflight_group *other = group_new(NULL);
    joined_calls(q.g, 1, 20);
    quiet_start(&q, threads, THREADS);
    assert_in_range(stats_of(q.g).retired_pending, 1, (THREADS + 1) * 16);
    for (int i = 0; i < OTHERS; i++)
        thread_join(thread_start(use_another, other));
    q.leave = true;
    threads_join(threads, THREADS);
    assert_int_equal(n_foreign, 0);
    group_end(q.g);
    assert_nothing_allocated(&counting);
    group_end(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_keys_do_not_stay),
        cmocka_unit_test(who_ends_leaves_it_to_the_next),
        cmocka_unit_test(allocators_are_called_by_users),
    };
    return RUN_TESTS(tests);
}
