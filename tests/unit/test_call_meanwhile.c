/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others may do while a caller is about to claim, has just joined or finds that
 * its deadline has passed: done by the allocator or by the clock, which are asked at
 * that moment.
 */
#include "array_test.h"
#include "call_test.h"

/* ---------------------------------------------------------- what is replaced */

static void (*on_clock)(struct timespec *now); /* asked once */
static _Thread_local bool is_fiber;            /* in a group that has any */
static atomic_uint n_fiber_asks;               /* for the time */

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long rc = syscall(SYS_clock_gettime, clock, t);
    if (is_fiber)
        atomic_fetch_add(&n_fiber_asks, 1);
    void (*hook)(struct timespec *) = on_clock;
    if (hook != NULL) {
        on_clock = NULL;
        hook(t);
    }
    return (int)rc;
}

/* ------------------------------------------------------------------- claims */

struct meanwhile {
    void (*happens)(struct meanwhile *m);
    long at; /* in the at-th allocation from now; 0: never */
    bool say_no;
    struct sflight_group *g;
};

static void *meanwhile_alloc(void *ctx, size_t size, size_t align)
{
    struct meanwhile *m = ctx;
    if (m->at != 0 && --m->at == 0) {
        m->happens(m);
        if (m->say_no)
            return NULL;
    }
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void meanwhile_free(void *ctx, void *ptr, size_t size)
{
    (void)ctx, (void)size;
    free(ptr);
}

static struct sflight_group *group_with(struct meanwhile *m)
{
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){m, meanwhile_alloc, meanwhile_free};
    m->g = group_new(&o);
    (void)thread_slot(m->g); /* allocated now, not later */
    return m->g;
}

static void close_group(struct meanwhile *m)
{
    assert_int_equal(sflight_group_close(m->g), 0);
}

/* Closed between the look at the flag and the claim. */
static void test_closed_before_the_claim(void **state)
{
    (void)state;
    struct meanwhile m = {.happens = close_group};
    sflight_result r;
    struct sflight_group *g = group_with(&m);
    m.at = 1;
    assert_int_equal(sflight_do(g, "key", 3, must_not_run, NULL, &r), -ESHUTDOWN);
    assert_int_equal(m.at, 0);
    assert_int_equal(stats_of(g).led, 1);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_end(g);
}

/* The same for a call that nobody joins: memory for its key is found last. */
static void test_closed_before_the_claim_of_a_ready_record(void **state)
{
    (void)state;
    static const char key[TABLE_KEY_INLINE + 1] = "a key that needs memory";
    struct meanwhile m = {.happens = close_group};
    sflight_result r;
    struct sflight_group *g = group_with(&m);
    assert_int_equal(sflight_do(g, "key", 3, nothing, NULL, &r), 0);
    sflight_result_release(&r);
    m.at = 1;
    assert_int_equal(sflight_do(g, key, sizeof(key), must_not_run, NULL, &r), -ESHUTDOWN);
    assert_int_equal(m.at, 0);
    assert_int_equal(stats_of(g).led, 2);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_end(g);
}

/* The same before the claims of a batch: none of its keys is led. */
static void test_closed_before_a_batch_claims(void **state)
{
    (void)state;
    struct meanwhile m = {.happens = close_group};
    sflight_key keys[] = {{"a", 1}, {"b", 1}, {"a", 1}};
    sflight_result r[3];
    int rc[3];
    struct sflight_group *g = group_with(&m);
    m.at = 3; /* the batch, the record for "a", the record for "b" */
    assert_int_equal(sflight_do_many(g, keys, 3, batch_must_not_run, NULL, NULL, r, rc), 0);
    assert_int_equal(m.at, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rc[i], -ESHUTDOWN);
    group_end(g);
}

/* --------------------------------------------------------------------- joins */

static struct sflight_call *closes;

static void closes_now(struct timespec *now)
{
    (void)now;
    atomic_fetch_or(&closes->state, STATE_CLOSED); /* its gate opens later */
}

/* The call closes when a caller has seen it open: that one leads the next, and is not counted. */
static void test_closed_before_it_is_joined(void **state)
{
    (void)state;
    sflight_options o = small_options();
    struct sflight_call *next;
    sflight_future *none;
    o.max_age_ns = UINT64_C(3600000000000);
    struct sflight_group *g = group_new(&o);
    assert_int_equal(sflight_begin(g, "key", 3, &closes, &none), 0);
    on_clock = closes_now;
    assert_int_equal(sflight_begin(g, "key", 3, &next, &none), 0);
    assert_null(on_clock);
    assert_non_null(next);
    assert_int_equal(joiners(closes), 0);
    sflight_complete(closes, 0);
    sflight_complete(next, 0);
    group_end(g);
}

/* -------------------------------------------------------------------- fibers */

/* A fiber's parks all return early. */
static void *fiber_self(void *ctx)
{
    return is_fiber ? ctx : NULL;
}

static void never_parks(void *ctx, void *fiber, const struct timespec *deadline)
{
    (void)ctx, (void)fiber, (void)deadline;
}

static void unparks_nobody(void *ctx, void *fiber)
{
    (void)ctx, (void)fiber;
}

/* ------------------------------------------------------------------ drainers */

#ifndef SFLIGHT_TEST_HASH /* with one hash for all keys there never is a second array */
static struct actor drainer;

static void step_drain(void *g)
{
    struct timespec later = deadline_in_an_hour();
    is_fiber = true;
    assert_int_equal(sflight_group_drain(g, &later), 0);
}

static bool drainer_has_returned(void)
{
    int n;
    assert_int_equal(sem_getvalue(&drainer.done, &n), 0);
    return n != 0;
}

static void drainer_looks(struct meanwhile *m)
{
    assert_int_equal(stats_of(m->g).in_flight, 0);
    actor_tell(&drainer, step_drain, m->g);
    /* It has looked, and will again. */
    WAIT_UNTIL(atomic_load(&n_fiber_asks) != 0 || drainer_has_returned());
}

static int drainer_waits(struct sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    assert_false(drainer_has_returned());
    return 0;
}

/* A search that may become a call: the drainer waits for its end, and nobody would wake it. */
static void test_drainer_meets_a_search(void **state)
{
    (void)state;
    static const char key[TABLE_KEY_INLINE + 1] = "a key that needs memory";
    for (int fibers = 0; fibers < 2; fibers++) {
        enum { MANY = 1000 };
        static struct sflight_call *permits[MANY];
        struct meanwhile m = {.happens = drainer_looks};
        sflight_options o = small_options();
        sflight_result r;
        unsigned n = 0;
        o.allocator = (sflight_allocator){&m, meanwhile_alloc, meanwhile_free};
        if (fibers)
            o.runtime = (sflight_runtime){&m, fiber_self, never_parks, unparks_nobody, NULL};
        struct sflight_group *g = m.g = group_new(&o);
        /* Calls until there is a second array: no claim goes without a search until it is frozen.
         */
        for (uint64_t buckets = stats_of(g).buckets; stats_of(g).buckets == buckets; n++) {
            sflight_future *none;
            assert_in_range(n, 0, MANY - 1);
            assert_int_equal(sflight_begin(g, &n, sizeof(n), &permits[n], &none), 0);
        }
        for (unsigned i = 0; i < n; i++)
            sflight_complete(permits[i], 0);
        for (size_t i = 0; i <= g->table.shard_mask; i++) {
            struct bucket_array *a = atomic_load(&g->table.shards[i].newest);
            if (a->previous != NULL)
                array_thaw(a->previous, false);
        }
        atomic_store(&n_fiber_asks, 0);
        actor_start(&drainer);
        m.at = 1;
        assert_int_equal(sflight_do(g, key, sizeof(key), drainer_waits, NULL, &r), 0);
        assert_int_equal(m.at, 0);
        sflight_result_release(&r);
        actor_await(&drainer);
        actor_end(&drainer);
        group_end(g);
    }
}
#endif

/* ----------------------------------------------------------------- deadlines */

static struct sflight_call *ends_late;

static void ends_at_the_deadline(struct timespec *now)
{
    now->tv_sec += 3600;
    sflight_complete(ends_late, 6);
}

static void is_in_time_yet(struct timespec *now)
{
    (void)now;
    on_clock = ends_at_the_deadline;
}

/* The call ends when a fiber that waits has just seen that it is too late: it is not, after all. */
static void test_told_at_the_deadline(void **state)
{
    (void)state;
    for (int future = 0; future < 2; future++) {
        struct meanwhile m = {.at = 0};
        sflight_options o = small_options();
        struct sflight_call *none;
        sflight_future *f;
        sflight_result r;
        o.runtime = (sflight_runtime){&m, fiber_self, never_parks, unparks_nobody, NULL};
        struct sflight_group *g = group_new(&o);
        assert_int_equal(sflight_begin(g, "key", 3, &ends_late, &f), 0);
        if (future)
            assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
        struct timespec soon = deadline_in_ns(INT64_C(1800000000000));
        is_fiber = true;
        on_clock = is_in_time_yet;
        int rc = future ? sflight_future_get(f, &soon, &r)
                        : sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r);
        is_fiber = false;
        assert_int_equal(rc, 0);
        assert_null(on_clock);
        assert_int_equal(r.status, 6);
        sflight_result_release(&r);
        group_end(g);
    }
}

/* -------------------------------------------------------------------- memory */

static void nothing_happens(struct meanwhile *m)
{
    (void)m;
}

/* There is no memory: nobody has led or joined. */
static void begins_without_memory(struct meanwhile *m)
{
    struct sflight_call *lead = (void *)m->g;
    sflight_future *join = (void *)m->g;
    uint64_t led = stats_of(m->g).led, joined = stats_of(m->g).joined;

    m->at = 1;
    assert_int_equal(sflight_begin(m->g, "key", 3, &lead, &join), -ENOMEM);
    assert_int_equal(m->at, 0);
    assert_null(lead);
    assert_null(join);
    assert_int_equal(stats_of(m->g).led, led);
    assert_int_equal(stats_of(m->g).joined, joined);
}

static void test_no_memory_to_begin(void **state)
{
    (void)state;
    enum { MANY = 100 };
    static sflight_future *joins[MANY];
    struct meanwhile m = {.happens = nothing_happens, .say_no = true};
    struct sflight_group *g = m.g = group_with(&m);
    struct sflight_call *lead, *none;
    unsigned n = 0;

    begins_without_memory(&m); /* for a record */
    assert_int_equal(sflight_begin(g, "key", 3, &lead, &joins[0]), 0);
    begins_without_memory(&m); /* for a future, of the first that joins */
    do                         /* and of one whose slot remembers the call */
        assert_int_equal(sflight_begin(g, "key", 3, &none, &joins[n++]), 0);
    while (n < MANY && (n < 3 || thread_slot(g)->spare_futures != NULL));
    assert_ptr_equal(thread_slot(g)->remembered, lead);
    begins_without_memory(&m);
    sflight_complete(lead, 0);
    while (n > 0)
        sflight_future_drop(joins[--n]);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_before_the_claim),
        cmocka_unit_test(test_closed_before_the_claim_of_a_ready_record),
        cmocka_unit_test(test_closed_before_a_batch_claims),
        cmocka_unit_test(test_closed_before_it_is_joined),
#ifndef SFLIGHT_TEST_HASH
        cmocka_unit_test(test_drainer_meets_a_search),
#endif
        cmocka_unit_test(test_told_at_the_deadline),
        cmocka_unit_test(test_no_memory_to_begin),
    };
    return RUN_TESTS(tests);
}
