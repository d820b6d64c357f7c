/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups from options to destruction: create, close, drain, destroy; stats; the strings. */
#include "../lib/counting_alloc.h"

/* -------------------------------------------------------------- options */

static void option_defaults(void **state)
{
    (void)state;
    sflight_options o;
    memset(&o, 0xA5, sizeof o);
    sflight_options_init(&o);
    assert_int_equal(o.struct_size, sizeof o);
    assert_int_equal(o.max_waiters, 0);
    assert_int_equal(o.max_age_ns, 0);
    assert_int_equal(o.on_abandon, SFLIGHT_ABANDON_SHARE);
    assert_int_equal(o.on_panic, SFLIGHT_PANIC_SHARE);
    assert_false(o.cancel_unwanted);
    assert_int_equal(o.spin_ns, SFLIGHT_SPIN_ADAPTIVE);
    assert_true(o.allocator.alloc == NULL && o.allocator.free == NULL);
    for (int explicitly = 0; explicitly <= 1; explicitly++) {
        sflight_group *g = group_new(explicitly ? &o : NULL);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

static void assert_refused(const sflight_options *o)
{
    sflight_group *g = (sflight_group *)(uintptr_t)-1;
    assert_int_equal(sflight_group_create(&g, o), -EINVAL);
    assert_null(g);
}

static void absurd_options_are_refused(void **state)
{
    (void)state;
    sflight_options o;
    assert_int_equal(sflight_group_create(NULL, NULL), -EINVAL);

    memset(&o, 0, sizeof o); /* never initialised */
    assert_refused(&o);
    o = default_options();
    o.expected_inflight = ((size_t)1 << 26) + 1;
    assert_refused(&o);
    o.expected_inflight = SIZE_MAX;
    assert_refused(&o);
    o = default_options();
    o.shards = 65537;
    assert_refused(&o);
    o.shards = UINT32_MAX;
    assert_refused(&o);
    const int bad_choices[] = {-1, 2, INT_MAX, INT_MIN};
    for (size_t i = 0; i < LENGTH(bad_choices); i++) {
        o = default_options();
        o.on_abandon = bad_choices[i];
        assert_refused(&o);
        o = default_options();
        o.on_panic = bad_choices[i];
        assert_refused(&o);
    }
    struct counting counting = {0};
    o = counting_options(&counting);
    o.allocator.free = NULL;
    assert_refused(&o);
    o = counting_options(&counting);
    o.allocator.alloc = NULL;
    assert_refused(&o);
    assert_nothing_allocated(&counting);
}

static void odd_options_work(void **state)
{
    (void)state;
    const uint32_t shards[] = {1, 3, 1000, 65536};
    const size_t inflight[] = {1, 3, 100000};
    for (size_t i = 0; i < LENGTH(shards); i++) {
        for (size_t j = 0; j < LENGTH(inflight); j++) {
            struct counting counting = {0};
            sflight_options o = counting_options(&counting);
            o.shards = shards[i];
            o.expected_inflight = inflight[j];
            sflight_group *g = group_new(&o);
            memset(&o, 0xA5, sizeof o); /* the options are not kept */
            assert_int_equal(stats_of(g).bytes, counting.bytes);
            assert_true(stats_of(g).buckets > 0);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* Legal, but more than the allocator has: an error, not a crash. */
static void the_largest_table_there_may_be(void **state)
{
    (void)state;
    struct counting counting = {.max_size = 1 << 20};
    sflight_options o = counting_options(&counting);
    o.expected_inflight = (size_t)1 << 26;
    sflight_group *g;
    assert_int_equal(sflight_group_create(&g, &o), -ENOMEM);
    assert_null(g);
    assert_nothing_allocated(&counting);
}

/* --------------------------------------------- close, drain, destroy */

static void destroying_nothing(void **state)
{
    (void)state;
    assert_int_equal(sflight_group_destroy(NULL), 0);
    assert_int_equal(sflight_group_destroy(group_new(NULL)), 0);
}

static void busy_while_a_call_is_in_flight(void **state)
{
    (void)state;
    for (int closed = 0; closed <= 1; closed++) {
        sflight_group *g = group_new(NULL);
        struct work w = {.status = 3};
        struct caller c[2];
        leader_start(&c[0], g, "key", work_fn, &w);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        caller_start(&c[1], g, "key", must_not_run, NULL);
        await_waiting(g, 1);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        if (closed)
            assert_int_equal(sflight_group_close(g), 0);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        atomic_store(&w.open, true);
        callers_join(c, 2);
        assert_int_equal(c[1].r.status, 3); /* nothing has happened to it */
        callers_release(c, 2);
        assert_all_destroyed(&w.tally);
        group_end(g);
    }
}

static void busy_while_a_forgotten_call_is_in_flight(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c;
    leader_start(&c, g, "key", work_fn, &w);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    assert_int_equal(stats_of(g).in_flight, 1);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    atomic_store(&w.open, true);
    caller_join(&c);
    callers_release(&c, 1);
    group_end(g);
}

static void busy_while_a_result_is_held(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
    assert_int_equal(sflight_result_retain(&r, &copy), 0);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    sflight_result_release(&r);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    assert_key_usable(g, "key"); /* and still in working order */
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_group_drain(g, NULL), 0); /* a hold is no call */
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    assert_int_equal(number_of(&copy), 1);
    sflight_result_release(&copy);
    assert_int_equal(w.tally.destroyed, 1);
    group_end(g);
}

static int destroy_own_group(sflight_call *call, void *arg)
{
    (void)call;
    return sflight_group_destroy(arg);
}

static void busy_inside_fn(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", destroy_own_group, g, &r), 0);
    assert_int_equal(r.status, -EBUSY);
    sflight_result_release(&r);
    group_end(g);
}

static void close_turns_newcomers_away(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 3};
    struct caller c[2];
    leader_start(&c[0], g, "key", work_fn, &w);
    caller_start(&c[1], g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_group_close(g), 0);
    const char *keys[] = {"key", "another"};
    for (int i = 0; i < 2; i++) {
        sflight_result r;
        assert_int_equal(do_str(g, keys[i], must_not_run, NULL, &r), -ESHUTDOWN);
        assert_zeroed(&r);
        assert_int_equal(sflight_do_until(g, keys[i], 3, must_not_run, NULL, &in_the_past, &r),
                         -ESHUTDOWN);
        assert_zeroed(&r);
    }
    atomic_store(&w.open, true);
    callers_join(c, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c[i].rc, 0);
        assert_int_equal(c[i].r.status, 3);
        assert_int_equal(c[i].r.followers, 1);
    }
    callers_release(c, 2);
    assert_int_equal(sflight_group_close(NULL), -EINVAL);
    group_end(g);
}

static int close_and_ask(sflight_call *call, void *arg)
{
    (void)call;
    sflight_result r;
    assert_int_equal(sflight_group_close(arg), 0);
    return sflight_do(arg, "another", 7, must_not_run, NULL, &r);
}

static void close_inside_fn(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", close_and_ask, g, &r), 0);
    assert_int_equal(r.status, -ESHUTDOWN);
    sflight_result_release(&r);
    group_end(g);
}

struct drainer {
    sflight_group *g;
    struct work *w;
    atomic_bool entered;
    pthread_t thread;
};

static void *drain(void *arg)
{
    struct drainer *d = arg;
    atomic_store(&d->entered, true);
    assert_int_equal(sflight_group_drain(d->g, NULL), 0);
    assert_true(d->w->open); /* not before its leader could have ended */
    assert_int_equal(stats_of(d->g).in_flight, 0);
    return NULL;
}

static void drain_waits_for_calls_in_flight(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        sflight_group *g = group_new(NULL);
        struct work w = {0};
        struct caller c[3];
        caller_start(&c[0], g, "key", work_fn, &w);
        caller_start(&c[1], g, "another", work_fn, &w);
        WAIT_UNTIL(w.runs == 2);
        caller_start(&c[2], g, "forgotten", work_fn, &w);
        WAIT_UNTIL(w.runs == 3);
        assert_int_equal(sflight_forget(g, "forgotten", 9), 1);
        assert_int_equal(sflight_group_close(g), 0);
        assert_int_equal(sflight_group_drain(g, &in_the_past), -ETIMEDOUT);
        struct timespec soon = deadline_in_ns(100000);
        assert_int_equal(sflight_group_drain(g, &soon), -ETIMEDOUT);
        assert_true(has_passed(&soon));
        struct drainer drainers[2];
        for (int i = 0; i < 2; i++) {
            drainers[i] = (struct drainer){g, &w, false, 0};
            drainers[i].thread = thread_start(drain, &drainers[i]);
            WAIT_UNTIL(drainers[i].entered);
        }
        atomic_store(&w.open, true);
        assert_int_equal(sflight_group_drain(g, NULL), 0);
        for (int i = 0; i < 2; i++)
            thread_join(drainers[i].thread);
        callers_join(c, 3);
        callers_release(c, 3);
        assert_all_destroyed(&w.tally);
        group_end(g);
    }
}

/* The sequence that the header recommends, while the drained call's followers return. */
static void close_drain_join_destroy(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        sflight_group *g = group_new(NULL);
        struct work w = {0};
        struct caller c[4];
        callers_start(c, LENGTH(c), g, "key", work_fn, &w);
        await_waiting(g, 3);
        assert_int_equal(sflight_group_close(g), 0);
        atomic_store(&w.open, true);
        assert_int_equal(sflight_group_drain(g, NULL), 0);
        callers_join(c, LENGTH(c));
        callers_release(c, LENGTH(c));
        assert_all_destroyed(&w.tally);
        assert_int_equal(sflight_group_destroy(g), 0);
    }
}

/* Callers that keep coming until they are turned away. */
struct siege {
    sflight_group *g;
    atomic_bool drained;
    struct work w;
    atomic_int served;
};

static int assert_not_drained(sflight_call *call, void *arg)
{
    (void)call;
    struct siege *s = arg;
    assert_false(s->drained);
    sched_yield();
    assert_false(s->drained);
    return 0;
}

static void *ask_until_shut(void *arg)
{
    struct siege *s = arg;
    int rc = 0;
    for (unsigned i = 0; rc == 0; i++) {
        unsigned key = i % 3;
        sflight_result r;
        rc = sflight_do(s->g, &key, sizeof key, assert_not_drained, s, &r);
        assert_true(rc == 0 || rc == -ESHUTDOWN);
        sflight_result_release(&r);
    }
    return NULL;
}

enum { FILLED = 64 }; /* keys in so many buckets that a newcomer has to search */

struct held_up {
    sflight_group *g;
    atomic_bool holds, inside, goes_on;
};

static void *alloc_held_up(void *ctx, size_t size, size_t align)
{
    struct held_up *h = ctx;
    if (atomic_exchange(&h->holds, false)) {
        atomic_store(&h->inside, true);
        WAIT_UNTIL(h->goes_on);
    }
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void free_any(void *ctx, void *p, size_t size)
{
    (void)ctx, (void)size;
    free(p);
}

/* A long key's memory is asked for between the search and the claim. */
static void *search_held_up(void *arg)
{
    struct held_up *h = arg;
    struct work w = {.open = true};
    char key[100] = {0};
    sflight_result r;

    assert_int_equal(sflight_do(h->g, "warm", 4, work_fn, &w, &r), 0);
    sflight_result_release(&r);
    atomic_store(&h->holds, true);
    assert_int_equal(sflight_do(h->g, key, sizeof(key), work_fn, &w, &r), 0);
    sflight_result_release(&r);
    return NULL;
}

/* What is not yet a call may become one: a drainer waits for it, but no longer than it wants. */
static void drain_beside_a_search(void **state)
{
    (void)state;
    static struct held_up h;
    sflight_options o = default_options();
    o.expected_inflight = 1;
    o.shards = 1;
    o.allocator = (sflight_allocator){&h, alloc_held_up, free_any};
    h.g = group_new(&o);
    sflight_call *calls[FILLED];

    for (int i = 0; i < FILLED; i++) {
        sflight_future *f;
        assert_int_equal(sflight_begin(h.g, &i, sizeof(i), &calls[i], &f), 0);
    }
    pthread_t thread = thread_start(search_held_up, &h);
    WAIT_UNTIL(h.inside);
    for (int i = 0; i < FILLED; i++)
        sflight_complete(calls[i], 0);
    struct timespec soon = deadline_in_ns(20000000);
    int rc = sflight_group_drain(h.g, &soon); /* comes back, though the search does not end */
    assert_true(rc == 0 || rc == -ETIMEDOUT); /* 0: its bucket was empty, and it claims */
    atomic_store(&h.goes_on, true);
    thread_join(thread);
    assert_int_equal(sflight_group_drain(h.g, NULL), 0);
    group_end(h.g);
}

static void nothing_begins_after_close_and_drain(void **state)
{
    (void)state;
    for (int round = 0; round < rounds(300, 50); round++) {
        struct siege s = {.g = group_new(NULL)};
        pthread_t threads[3];
        threads_start(threads, LENGTH(threads), ask_until_shut, &s);
        WAIT_UNTIL(stats_of(s.g).led > 10);
        assert_int_equal(sflight_group_close(s.g), 0);
        assert_int_equal(sflight_group_drain(s.g, NULL), 0);
        atomic_store(&s.drained, true);
        threads_join(threads, LENGTH(threads));
        group_end(s.g);
    }
}

/* The group may go as soon as the last hold has: nobody is joined before. */
static void *take_and_release(void *arg)
{
    struct siege *s = arg;
    sflight_result r;
    assert_int_equal(do_str(s->g, "key", work_fn, &s->w, &r), 0);
    atomic_fetch_add(&s->served, 1);
    sflight_result_release(&r);
    return NULL;
}

static void destroy_right_after_the_last_release(void **state)
{
    (void)state;
    for (int round = 0; round < rounds(2000, 200); round++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        struct siege s = {.g = group_new(&o), .w = {.open = true}};
        pthread_t threads[2];
        threads_start(threads, 2, take_and_release, &s);
        WAIT_UNTIL(s.served == 2);
        int rc;
        WAIT_UNTIL((rc = sflight_group_destroy(s.g)) != -EBUSY);
        assert_int_equal(rc, 0);
        assert_nothing_allocated(&counting);
        threads_join(threads, 2);
    }
}

static void drain_with_nothing_in_flight(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    assert_int_equal(sflight_group_drain(g, &in_the_past), 0);
    assert_key_usable(g, "key"); /* drained is not closed */
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    assert_int_equal(sflight_group_drain(NULL, NULL), -EINVAL);
    group_end(g);
}

struct drain_inside {
    sflight_group *g;
    sflight_group *other;
};

static int drain_here(sflight_call *call, void *arg)
{
    (void)call;
    struct drain_inside *d = arg;
    assert_int_equal(sflight_group_drain(d->g, NULL), -EDEADLK);
    assert_int_equal(sflight_group_drain(d->g, &in_the_past), -EDEADLK);
    return 0;
}

static int drain_from_elsewhere(sflight_call *call, void *arg)
{
    (void)call;
    struct drain_inside *d = arg;
    assert_int_equal(sflight_group_drain(d->other, NULL), 0); /* nothing there yet */
    sflight_result r;
    assert_int_equal(do_str(d->other, "inner", drain_here, d, &r), 0); /* g: through an outer fn */
    sflight_result_release(&r);
    return drain_here(call, arg);
}

static void drain_inside_fn(void **state)
{
    (void)state;
    struct drain_inside d = {group_new(NULL), group_new(NULL)};
    sflight_result r;
    assert_int_equal(do_str(d.g, "key", drain_from_elsewhere, &d, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_group_drain(d.g, NULL), 0);
    group_end(d.g);
    group_end(d.other);
}

/* ----------------------------------------------------------------- stats */

static void stats_are_exact_when_nothing_moves(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_stats zero = {0}, s = stats_of(g);
    zero.buckets = s.buckets;
    zero.bytes = s.bytes;
    assert_memory_equal(&s, &zero, sizeof s);
    assert_int_equal(s.bytes, counting.bytes);

    struct work w = {0};
    struct caller c[3];
    leader_start(&c[0], g, "key", work_fn, &w);
    callers_start(c + 1, 2, g, "key", must_not_run, NULL);
    await_waiting(g, 2);
    s = stats_of(g);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, 2);
    assert_int_equal(s.in_flight, 1);
    assert_int_equal(s.held, 0);
    atomic_store(&w.open, true);
    callers_join(c, 3);
    s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(s.held, 3);
    assert_int_equal(s.parked + s.spun, 2); /* every wait ended in one of two ways */
    callers_release(c, 3);

    for (int i = 0; i < 100; i++)
        assert_key_usable(g, "key");
    s = stats_of(g);
    assert_int_equal(s.led, 101);
    assert_int_equal(s.joined, 2);
    assert_int_equal(s.held, 0);
    assert_int_equal(s.bytes, counting.bytes);
    assert_int_equal(s.forgotten + s.timed_out + s.abandoned + s.panicked + s.taken_over +
                         s.expired + s.rejected + s.deadlocks,
                     0);
    assert_int_equal(sflight_group_stats(NULL, &s), -EINVAL);
    assert_int_equal(sflight_group_stats(g, NULL), -EINVAL);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* --------------------------------------------------------------- strings */

static void version_of_library_and_header_agree(void **state)
{
    (void)state;
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", SFLIGHT_VERSION_MAJOR, SFLIGHT_VERSION_MINOR,
             SFLIGHT_VERSION_PATCH);
    assert_string_equal(sflight_version(), version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(option_defaults),
        cmocka_unit_test(absurd_options_are_refused),
        cmocka_unit_test(odd_options_work),
        cmocka_unit_test(the_largest_table_there_may_be),
        cmocka_unit_test(destroying_nothing),
        cmocka_unit_test(busy_while_a_call_is_in_flight),
        cmocka_unit_test(busy_while_a_forgotten_call_is_in_flight),
        cmocka_unit_test(busy_while_a_result_is_held),
        cmocka_unit_test(busy_inside_fn),
        cmocka_unit_test(close_turns_newcomers_away),
        cmocka_unit_test(close_inside_fn),
        cmocka_unit_test(drain_waits_for_calls_in_flight),
        cmocka_unit_test(close_drain_join_destroy),
        cmocka_unit_test(drain_beside_a_search),
        cmocka_unit_test(nothing_begins_after_close_and_drain),
        cmocka_unit_test(destroy_right_after_the_last_release),
        cmocka_unit_test(drain_with_nothing_in_flight),
        cmocka_unit_test(drain_inside_fn),
        cmocka_unit_test(stats_are_exact_when_nothing_moves),
        cmocka_unit_test(version_of_library_and_header_agree),
    };
    return RUN_TESTS(tests);
}
