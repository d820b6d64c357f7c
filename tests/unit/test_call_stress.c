/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several threads, few keys, everything at once: calls that end, that are
 * abandoned and taken over, forgotten, sealed, outlived by deadlines, refused
 * by the allocator.  What must hold at the end: nothing in flight, waiting,
 * held or allocated; each value destroyed once; and, all the time, a result
 * belongs to the key that was asked for.
 */
#include "call_test.h"

enum { THREADS = 4, KEYS = 3, STEPS = 12000 };

struct world {
    struct sflight_group *g;
    struct flaky flaky;
    bool impatient, forgetful;
    atomic_long made, destroyed;
};

struct value {
    struct world *world;
    unsigned key;
    atomic_bool sealed; /* forget_unshared() said so: for its leader only */
    atomic_bool alive;
};

static struct world world;
static const char *const keys[KEYS] = {"a", "bb", "a key that is longer than 24 bytes"};

static void value_destroy(void *value, size_t size, void *ctx)
{
    struct value *v = value;
    assert_int_equal(size, sizeof(*v));
    assert_ptr_equal(ctx, v->world);
    assert_true(atomic_exchange(&v->alive, false));
    atomic_fetch_add(&v->world->destroyed, 1);
    free(v);
}

static void value_set(struct sflight_call *call, unsigned key)
{
    struct value *v = malloc(sizeof(*v));
    assert_non_null(v);
    v->world = &world;
    v->key = key;
    atomic_init(&v->sealed, false);
    atomic_init(&v->alive, true);
    atomic_fetch_add(&world.made, 1);
    hold_set_value(call, v, sizeof(*v), value_destroy, &world);
}

/* Returns false if the leader has died. */
static bool lead(struct slot *slot, struct sflight_call *call, unsigned key, uint32_t r)
{
    lead_enter(&thread_self.agent, call, NULL);
    if (r % 4 != 0)
        value_set(call, key);
    if (r % 32 == 1)
        sched_yield();
    bool sealed = false;
    if (world.forgetful && r % 8 == 2) { /* inside fn, for its own key or another */
        unsigned which = (r >> 8) % KEYS;
        if (r % 16 == 2)
            (void)join_forget(world.g, keys[which], strlen(keys[which]));
        else
            sealed = join_forget_unshared(world.g, keys[which], strlen(keys[which])) &&
                     (atomic_load(&call->state) & STATE_SEALED);
    }
    if (r % 8 == 7) {
        lead_abandon(call);
        return false;
    }
    lead_exit(&thread_self.agent, call);
    finish_call(slot, call, 0);
    if (sealed)
        assert_int_equal(call->result.n_followers, 0);
    return true;
}

static void take(struct slot *slot, struct sflight_call *call, bool leader, unsigned key)
{
    sflight_result res, copy;
    int rc = hold_deliver(slot, call, leader, &res);
    if (rc != 0) {
        assert_int_equal(rc, -EOWNERDEAD);
        assert_null(res.hold);
        return;
    }
    const struct value *v = res.value;
    if (v != NULL) {
        assert_true(atomic_load(&v->alive));
        assert_int_equal(v->key, key);
        assert_int_equal(sflight_result_retain(&res, &copy), 0);
        sflight_result_release(&res);
        assert_true(atomic_load(&v->alive));
        res = copy;
    }
    sflight_result_release(&res);
}

static void one_caller(struct slot *slot, unsigned key, uint32_t r)
{
    struct sflight_call *call = NULL;
    unsigned rank = 0;
    struct timespec soon = deadline_in_ns((r >> 20) % 40000);
    const struct timespec *deadline = !world.impatient || r % 2 ? NULL : &soon;

    int rc = join_or_claim(world.g, slot, keys[key], strlen(keys[key]),
                           NEWCOMER_BLOCKING(&thread_self.agent), NULL, &call, &rank);
    if (rc == JOIN_FOLLOWS) {
        rc = wait_for_end(slot, &thread_self.agent, call, rank,
                          r % 64 == 0 ? &in_the_past : deadline);
        if (rc == JOIN_FOLLOWS) {
            take(slot, call, false, key);
            return;
        }
    }
    if (rc == JOIN_LEADS) {
        if (lead(slot, call, key, r >> 3))
            take(slot, call, true, key);
        return;
    }
    assert_true(rc == -ETIMEDOUT || rc == -EAGAIN || rc == -ENOMEM);
}

static void *worker(void *arg)
{
    uint64_t random = random_from(*(const unsigned *)arg);
    for (int i = rounds(STEPS, STEPS); i != 0; i--) {
        uint32_t r = random_next(&random);
        unsigned key = (r >> 16) % KEYS;
        if (world.forgetful && r % 16 == 5)
            (void)join_forget(world.g, keys[key], strlen(keys[key]));
        else if (world.forgetful && r % 16 == 6)
            (void)join_forget_unshared(world.g, keys[key], strlen(keys[key]));
        else
            one_caller(thread_slot(world.g), key, random_next(&random));
    }
    return NULL;
}

static void run(sflight_options o, bool impatient, bool forgetful, unsigned fail_one_in)
{
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];

    memset((void *)&world, 0, sizeof(world));
    o.allocator = (sflight_allocator){&world.flaky, flaky_alloc, flaky_free};
    world.g = group_new(&o);
    world.impatient = impatient;
    world.forgetful = forgetful;
    atomic_store(&world.flaky.fail_one_in, fail_one_in);
    for (size_t i = 0; i < THREADS; i++) {
        numbers[i] = (unsigned)i;
        threads[i] = thread_start(worker, &numbers[i]);
    }
    threads_join(threads, THREADS);
    sflight_stats s = stats_of(world.g);
    assert_true(s.abandoned > 0 && (s.joined > 0 || o.max_age_ns != 0));
    assert_true(o.on_abandon == SFLIGHT_ABANDON_TAKEOVER || s.taken_over == 0);
    assert_int_equal(world.made, world.destroyed);
    group_end(world.g);
    assert_int_equal(world.flaky.blocks, 0);
}

static void test_share(void **state)
{
    (void)state;
    run(small_options(), false, false, 0);
    run(small_options(), true, true, 0);
}

static void test_takeover(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    run(o, false, false, 0);
    run(o, true, false, 0);
    run(o, true, true, 0);
}

static void test_limits(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    o.max_waiters = 1;
    run(o, true, true, 0);
    o.max_waiters = 2;
    o.max_age_ns = 1000;
    run(o, true, true, 0);
    o.max_age_ns = 1;
    o.spin_ns = 0;
    run(o, true, true, 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    run(o, true, true, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_takeover),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_no_memory),
    };
    return RUN_TESTS(tests);
}
