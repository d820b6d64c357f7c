/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random mixtures of everything at once, and what must hold for all of them:
 *
 *   - each value is destroyed exactly once;
 *   - executions of a key that is never forgotten do not overlap;
 *   - no caller that began after any caller of a call had returned gets that
 *     call's result;
 *   - the stats add up with what the callers have seen.
 *
 * SFLIGHT_TEST_SEED=n repeats the choices of an earlier run, though not the
 * scheduling of its threads.
 */
#include "../lib/counting_alloc.h"

enum { MAX_THREADS = 16, MAX_KEYS = 8, MAX_BATCH = 4, LOT = 16 };

struct mixture {
    unsigned threads;
    unsigned keys;
    unsigned ops; /* of each thread */
    sflight_options options;
    bool failures; /* leaders panic, exit and are cancelled */
    bool nested;   /* leaders ask for other keys, always for higher ones */
};

struct world {
    const struct mixture *m;
    sflight_group *g;
    atomic_ullong clock;                /* tickets: an order of beginnings and returns */
    atomic_int running[MAX_KEYS];       /* executions of each key */
    _Atomic(sflight_result *) lot[LOT]; /* results left for others to release */
    /* what the callers have seen */
    atomic_ullong callers, executed, abandoned, panicked, timed_out, rejected;
    atomic_ullong gave_up; /* keys followed by a batch when its thread ended, at most */
    atomic_ullong forgot, forgot_unshared, made, destroyed;
};

struct worker {
    struct world *w;
    uint64_t random;
    unsigned ops_left;
    unsigned batch;        /* keys of the batch that it asks for */
    struct inside *inside; /* the innermost */
    pthread_t supervisor;
};

static bool may_be_forgotten(const struct world *w, unsigned key)
{
    return key % 2 == 1 || w->m->options.max_age_ns != 0;
}

/* -------------------------------------------------------------- values */

struct execution {
    struct world *w;
    unsigned key;
    int status;
    atomic_bool alive;
    atomic_ullong last_begin;   /* of its callers */
    atomic_ullong first_return; /* of its callers */
};

static void execution_destroy(void *value, size_t size, void *ctx)
{
    struct execution *e = value;
    assert_int_equal(size, sizeof *e);
    assert_ptr_equal(ctx, e->w);
    assert_true(atomic_exchange(&e->alive, false));
    assert_true(e->last_begin < e->first_return);
    atomic_fetch_add(&e->w->destroyed, 1);
    free(e);
}

static struct execution *execution_set(sflight_call *call, struct worker *me)
{
    struct execution *e = malloc(sizeof *e);
    assert_non_null(e);
    const unsigned *key = sflight_call_key(call, NULL);
    *e = (struct execution){me->w, *key, (int)random_pick(&me->random, 1000), true, 0, ULLONG_MAX};
    atomic_fetch_add(&me->w->made, 1);
    sflight_call_set(call, e, sizeof *e, execution_destroy, me->w);
    return e;
}

static void raise_to(atomic_ullong *a, unsigned long long x)
{
    unsigned long long old = *a;
    while (old < x && !atomic_compare_exchange_weak(a, &old, x))
        ;
}

static void lower_to(atomic_ullong *a, unsigned long long x)
{
    unsigned long long old = *a;
    while (old > x && !atomic_compare_exchange_weak(a, &old, x))
        ;
}

/* ------------------------------------------------------------- leaders */

/* The part of fn that must not overlap; left also by unwinding. */
struct inside {
    struct inside *outer;
    struct worker *me;
    struct world *w;
    unsigned n;
    unsigned followed; /* other keys of the same batch, at most */
    unsigned keys[MAX_BATCH];
    bool accounted; /* for how fn was left; otherwise its thread has ended */
};

static void inside_leave(struct inside *in)
{
    in->me->inside = in->outer;
    for (unsigned i = 0; i < in->n; i++)
        atomic_fetch_sub(&in->w->running[in->keys[i]], 1);
    if (!in->accounted) {
        atomic_fetch_add(&in->w->abandoned, in->n);
        atomic_fetch_add(&in->w->gave_up, in->followed);
    }
}

/* Where the end of a thread unwinds nothing. */
static void leave_all(struct worker *me)
{
    while (!GLIBC && me->inside != NULL)
        inside_leave(me->inside);
}

static void ask(struct worker *me, unsigned key);

static void leave_somehow(struct worker *me, sflight_call *call, struct inside *in)
{
    switch (random_pick(&me->random, 64)) {
    case 0:
    case 1:
        in->accounted = true;
        atomic_fetch_add(&me->w->panicked, in->n);
        sflight_panic(call, "panic of key %u", in->keys[0]);
    case 2:
        leave_all(me);
        pthread_exit(NULL);
    case 3:
        leave_all(me);
        pthread_cancel(pthread_self());
        pthread_testcancel();
        break;
    default:
        break;
    }
}

static int lead_some(sflight_call *const *calls, size_t n, struct worker *me, unsigned followed)
{
    struct world *w = me->w;
    struct inside in __attribute__((cleanup(inside_leave))) = {
        .outer = me->inside, .me = me, .w = w, .followed = followed};
    unsigned highest = 0;
    me->inside = &in;
    assert_in_range(n, 1, MAX_BATCH);
    atomic_fetch_add(&w->executed, n);
    for (in.n = 0; in.n < n; in.n++) {
        struct execution *e = execution_set(calls[in.n], me);
        in.keys[in.n] = e->key;
        int others = atomic_fetch_add(&w->running[e->key], 1);
        assert_true(others == 0 || may_be_forgotten(w, e->key));
        sflight_call_set_status(calls[in.n], e->status);
        highest = e->key > highest ? e->key : highest;
    }
    for (unsigned i = random_pick(&me->random, 4); i > 0; i--)
        sched_yield();
    unsigned key = in.keys[0];
    if (may_be_forgotten(w, key) && random_pick(&me->random, 16) == 0)
        atomic_fetch_add(&w->forgot, (unsigned)sflight_forget(w->g, &key, sizeof key));
    if (w->m->nested && highest + 1 < w->m->keys && random_pick(&me->random, 8) == 0)
        ask(me, highest + 1 + random_pick(&me->random, w->m->keys - highest - 1));
    if (w->m->failures)
        leave_somehow(me, calls[0], &in);
    in.accounted = true;
    return -1; /* each call has a status of its own */
}

static int lead(sflight_call *call, void *arg)
{
    return lead_some(&call, 1, arg, 0);
}

static int lead_many(sflight_call *const *calls, size_t n, void *arg)
{
    struct worker *me = arg;
    return lead_some(calls, n, me, me->batch - (unsigned)n);
}

/* ------------------------------------------------------------- callers */

static void see_result(struct worker *me, unsigned key, unsigned long long began, int rc,
                       sflight_result *r)
{
    struct world *w = me->w;
    unsigned long long returned = atomic_fetch_add(&w->clock, 1);
    char message[32];
    switch (rc) {
    case 0: {
        struct execution *e = r->value;
        assert_non_null(e);
        assert_true(e->alive);
        assert_int_equal(e->key, key);
        assert_int_equal(e->status, r->status);
        assert_true(r->leader || r->shared);
        assert_int_equal(r->shared, !r->leader || r->followers > 0);
        raise_to(&e->last_begin, began);
        lower_to(&e->first_return, returned);
        break;
    }
    case -ENOTRECOVERABLE:
        assert_non_null(r->value);
        snprintf(message, sizeof message, "panic of key ");
        assert_non_null(strstr(r->value, message));
        break;
    case -ETIMEDOUT:
        atomic_fetch_add(&w->timed_out, 1);
        break;
    case -EAGAIN:
        atomic_fetch_add(&w->rejected, 1);
        break;
    case -EOWNERDEAD:
        break;
    default:
        fail_msg("unexpected %s", sflight_strerror(rc));
    }
    if (rc != -ENOTRECOVERABLE && rc != 0)
        assert_zeroed(r);
    if (rc == 0 && random_pick(&me->random, 4) == 0) { /* leave a second hold to somebody else */
        sflight_result *copy = malloc(sizeof *copy);
        assert_non_null(copy);
        assert_int_equal(sflight_result_retain(r, copy), 0);
        copy = atomic_exchange(&w->lot[random_pick(&me->random, LOT)], copy);
        sflight_result_release(copy);
        free(copy);
    }
    sflight_result_release(r);
}

static void ask(struct worker *me, unsigned key)
{
    struct world *w = me->w;
    sflight_result r;
    struct timespec deadline;
    const struct timespec *until = NULL;
    if (random_pick(&me->random, 4) == 0) {
        deadline = deadline_in_ns(random_pick(&me->random, 20) * 1000);
        until = &deadline;
    }
    atomic_fetch_add(&w->callers, 1);
    unsigned long long began = atomic_fetch_add(&w->clock, 1);
    int rc = sflight_do_until(w->g, &key, sizeof key, lead, me, until, &r);
    see_result(me, key, began, rc, &r);
}

static void ask_many(struct worker *me)
{
    struct world *w = me->w;
    unsigned numbers[MAX_BATCH];
    sflight_key keys[MAX_BATCH];
    sflight_result r[MAX_BATCH];
    int rc[MAX_BATCH];
    unsigned n = 1 + random_pick(&me->random, w->m->keys < MAX_BATCH ? w->m->keys : MAX_BATCH);
    unsigned first = random_pick(&me->random, w->m->keys);
    for (unsigned i = 0; i < n; i++) {
        numbers[i] = (first + i) % w->m->keys; /* all different */
        keys[i] = (sflight_key){&numbers[i], sizeof numbers[i]};
    }
    me->batch = n;
    atomic_fetch_add(&w->callers, n);
    unsigned long long began = atomic_fetch_add(&w->clock, 1);
    struct timespec deadline = deadline_in_ns(random_pick(&me->random, 50) * 1000);
    int ret = sflight_do_many(w->g, keys, n, lead_many, me,
                              random_pick(&me->random, 2) ? &deadline : NULL, r, rc);
    assert_int_equal(ret, 0);
    for (unsigned i = 0; i < n; i++)
        see_result(me, numbers[i], began, rc[i], &r[i]);
}

static void *work(void *arg)
{
    struct worker *me = arg;
    struct world *w = me->w;
    while (me->ops_left > 0) {
        me->ops_left--;
        unsigned key = random_pick(&me->random, w->m->keys);
        switch (random_pick(&me->random, 32)) {
        case 0:
        case 1:
            if (may_be_forgotten(w, key))
                atomic_fetch_add(&w->forgot, (unsigned)sflight_forget(w->g, &key, sizeof key));
            break;
        case 2:
        case 3:
            if (may_be_forgotten(w, key))
                atomic_fetch_add(&w->forgot_unshared,
                                 (unsigned)sflight_forget_unshared(w->g, &key, sizeof key));
            break;
        case 4:
            assert_true(stats_of(w->g).led <= w->callers);
            break;
        case 5:
        case 6:
        case 7:
        case 8:
            ask_many(me);
            break;
        default:
            ask(me, key);
        }
    }
    return NULL;
}

/* Workers end in the middle of their work; another thread goes on with it. */
static void *supervise(void *arg)
{
    struct worker *me = arg;
    while (me->ops_left > 0)
        thread_join(thread_start(work, me));
    return NULL;
}

/* ------------------------------------------------------------- mixtures */

static uint64_t seed(void)
{
    static uint64_t chosen;
    if (chosen == 0) {
        const char *given = getenv("SFLIGHT_TEST_SEED");
        struct timespec now = deadline_in_ns(0);
        chosen = given != NULL ? strtoull(given, NULL, 0)
                               : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        print_message("# SFLIGHT_TEST_SEED=%llu\n", (unsigned long long)chosen);
    }
    return chosen;
}

static void run(struct mixture *m)
{
    struct counting counting = {0};
    struct world w = {.m = m};
    struct worker workers[MAX_THREADS];
    const unsigned ops = (unsigned)rounds((int)m->ops, (int)m->ops / 8);
    m->options.allocator = (sflight_allocator){&counting, counting_alloc, counting_free};
    w.g = group_new(&m->options);
    assert_in_range(m->threads, 1, MAX_THREADS);
    assert_in_range(m->keys, 1, MAX_KEYS);
    for (unsigned i = 0; i < m->threads; i++) {
        workers[i] = (struct worker){.w = &w, .random = random_from(seed() + i), .ops_left = ops};
    }
    for (unsigned i = 0; i < m->threads; i++)
        workers[i].supervisor = thread_start(supervise, &workers[i]);
    for (unsigned i = 0; i < m->threads; i++)
        thread_join(workers[i].supervisor);
    for (unsigned i = 0; i < LOT; i++) {
        sflight_result_release(w.lot[i]);
        free(w.lot[i]);
    }

    sflight_stats s = stats_of(w.g);
    assert_int_equal(s.led + s.joined + s.rejected, w.callers);
    assert_in_range(s.led + s.taken_over, w.executed, w.executed + w.gave_up);
    assert_in_range(s.abandoned, w.abandoned, w.abandoned + w.gave_up);
    assert_int_equal(s.panicked, w.panicked);
    assert_in_range(s.timed_out, w.timed_out, w.timed_out + w.gave_up);
    assert_in_range(s.rejected, w.rejected, w.rejected + w.gave_up);
    assert_int_equal(s.deadlocks, 0);
    assert_in_range(s.forgotten, w.forgot, w.forgot + w.forgot_unshared);
    assert_true(s.taken_over <= s.abandoned);
    assert_int_equal(w.made, w.executed);
    assert_int_equal(w.destroyed, w.made);
    for (unsigned i = 0; i < MAX_KEYS; i++)
        assert_int_equal(w.running[i], 0);
    assert_int_equal(s.bytes, counting.bytes);
    group_end(w.g);
    assert_nothing_allocated(&counting);
}

/* Every mixture with waiters that park, that spin, and that find out. */
static void run_all(struct mixture m)
{
    const uint64_t spins[] = {0, 20000, SFLIGHT_SPIN_ADAPTIVE};
    sflight_options o = default_options();
    o.shards = m.options.shards;
    o.expected_inflight = m.options.expected_inflight;
    o.on_abandon = m.options.on_abandon;
    o.max_waiters = m.options.max_waiters;
    o.max_age_ns = m.options.max_age_ns;
    o.cancel_unwanted = m.options.cancel_unwanted;
    for (size_t i = 0; i < LENGTH(spins); i++) {
        m.options = o;
        m.options.spin_ns = spins[i];
        run(&m);
    }
}

static void two_threads_on_one_key(void **state)
{
    (void)state;
    run_all((struct mixture){.threads = 2, .keys = 1, .ops = 40000});
}

static void four_threads_on_two_keys(void **state)
{
    (void)state;
    run_all((struct mixture){.threads = 4, .keys = 2, .ops = 15000});
}

static void sixteen_threads_in_one_bucket(void **state)
{
    (void)state;
    run_all((struct mixture){
        .threads = 16, .keys = 8, .ops = 3000, .options = {.shards = 1, .expected_inflight = 1}});
}

static void leaders_that_fail(void **state)
{
    (void)state;
    run_all((struct mixture){.threads = 4, .keys = 3, .ops = 4000, .failures = true});
}

static void leaders_that_are_taken_over(void **state)
{
    (void)state;
    run_all((struct mixture){.threads = 8,
                             .keys = 2,
                             .ops = 2000,
                             .failures = true,
                             .options = {.on_abandon = SFLIGHT_ABANDON_TAKEOVER}});
}

static void calls_inside_calls(void **state)
{
    (void)state;
    run_all((struct mixture){.threads = 6, .keys = 8, .ops = 6000, .nested = true});
}

static void calls_inside_calls_that_fail(void **state)
{
    (void)state;
    for (int on_abandon = SFLIGHT_ABANDON_SHARE; on_abandon <= SFLIGHT_ABANDON_TAKEOVER;
         on_abandon++)
        run_all((struct mixture){.threads = 6,
                                 .keys = 6,
                                 .ops = 1500,
                                 .failures = true,
                                 .nested = true,
                                 .options = {.on_abandon = on_abandon}});
}

static void few_waiters_and_old_calls(void **state)
{
    (void)state;
    run_all((struct mixture){
        .threads = 8, .keys = 2, .ops = 4000, .failures = true, .options = {.max_waiters = 2}});
    run_all((struct mixture){.threads = 8,
                             .keys = 2,
                             .ops = 4000,
                             .failures = true,
                             .options = {.max_age_ns = 10000, .cancel_unwanted = true}});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_threads_on_one_key),
        cmocka_unit_test(four_threads_on_two_keys),
        cmocka_unit_test(sixteen_threads_in_one_bucket),
        cmocka_unit_test(leaders_that_fail),
        cmocka_unit_test(leaders_that_are_taken_over),
        cmocka_unit_test(calls_inside_calls),
        cmocka_unit_test(calls_inside_calls_that_fail),
        cmocka_unit_test(few_waiters_and_old_calls),
    };
    return RUN_TESTS(tests);
}
