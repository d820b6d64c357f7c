/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One run for a key in many processes.  Two fleets of one name with different ways to the server,
 * unix socket and TCP, are two processes as far as the engine knows; where real ones matter, they
 * are forked.
 */
#include "pair_test.h"

/* One caller of a leads, one of b waits for it, when this returns. */
static void lead_and_wait(struct fleet_caller *leader, struct fleet_caller *waiter, const char *key,
                          sflight_fn *fn, struct fleet_work *w, sflight_fn *waiter_fn)
{
    int runs = atomic_load(&w->runs);
    uint64_t waiting = FLEET_COUNT(b, waiting);
    fleet_caller_start(leader, a, key, fn, w, NULL);
    WAIT_UNTIL(atomic_load(&w->runs) == runs + 1);
    fleet_caller_start(waiter, b, key, waiter_fn, w, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == waiting + 1);
}

static void another_process_gets_the_result(void **state)
{
    struct fleet_work w = {.status = 200, .size = 100};
    struct fleet_caller leader, waiter;
    (void)state;
    lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &w, fleet_must_not_run);
    assert_int_equal(FLEET_COUNT(a, leading), 1);
    atomic_store(&w.open, true);
    thread_join(waiter.thread);
    assert_int_equal(waiter.rc, 0);
    assert_false(waiter.r.leader);
    assert_true(waiter.r.shared);
    assert_int_equal(waiter.r.status, 200);
    assert_int_equal(waiter.r.size, 100);
    assert_int_equal(run_of(&waiter.r), 1);
    assert_int_equal(((char *)waiter.r.value)[99], 'v');
    sflight_result_release(&waiter.r);
    thread_join(leader.thread);
    assert_int_equal(leader.rc, 0);
    assert_true(leader.r.leader);
    sflight_result_release(&leader.r);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 1);
    assert_int_equal(FLEET_COUNT(a, led), 1);
    assert_int_equal(FLEET_COUNT(b, received), 1);
    assert_int_equal(FLEET_COUNT(b, pushes), 1);
    assert_int_equal(FLEET_COUNT(b, rechecks), 0);
}

/* Two fleets of one name and one engine thread are as two processes, too. */
static void another_fleet_of_the_process_gets_the_result(void **state)
{
    struct fleet_work w = {.status = 3, .size = 8};
    struct fleet_caller leader, waiter;
    (void)state;
    sflight_fleet *x = fleet_new(&server, "twice"), *y = fleet_new(&server, "twice");
    fleet_caller_start(&leader, x, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    fleet_caller_start(&waiter, y, "k", fleet_must_not_run, &w, NULL);
    WAIT_UNTIL(FLEET_COUNT(y, waiting) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&waiter, &w, 1);
    fleet_caller_got(&leader, &w, 1);
    assert_int_equal(FLEET_COUNT(y, received), 1);
    fleet_free(x);
    fleet_free(y);
}

/* Nobody who comes after the end gets an old result. */
static void nothing_is_cached(void **state)
{
    struct fleet_work w = {.open = true, .status = 1, .size = 8};
    sflight_result r;
    (void)state;
    for (int i = 1; i <= 50; i++) {
        sflight_fleet *f = i % 2 == 0 ? a : b;
        sflight_fleet *other = i % 2 == 0 ? b : a;
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        assert_int_equal(run_of(&r), i);
        assert_true(r.leader);
        assert_false(r.shared);
        sflight_result_release(&r);
        WAIT_UNTIL(FLEET_COUNT(f, leading) == 0); /* the engine has been told */
        assert_int_equal(FLEET_COUNT(other, leading), 0);
    }
    assert_int_equal(FLEET_COUNT(a, led) + FLEET_COUNT(b, led), 50);
    assert_int_equal(FLEET_COUNT(a, received) + FLEET_COUNT(b, received), 0);
}

static void followers_in_the_process_cost_nothing(void **state)
{
    enum { N = 16 };
    struct fleet_work w = {.status = 5, .size = 8};
    struct fleet_caller leader, others[N];
    (void)state;
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    uint64_t commands = FLEET_COUNT(a, commands);
    for (int i = 0; i < N; i++)
        fleet_caller_start(&others[i], a, "k", fleet_must_not_run, NULL, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, joined) == N);
    assert_int_equal(FLEET_COUNT(a, commands), commands);
    atomic_store(&w.open, true);
    for (int i = 0; i < N; i++)
        fleet_caller_got(&others[i], &w, 1);
    fleet_caller_got(&leader, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 1);
    assert_int_equal(FLEET_COUNT(a, commands), commands + 1);
}

/* The commands of a flight: a claim each, and one publish. */
static void eight_processes(void **state)
{
    enum { PROCESSES = 8, THREADS = 4, ROUNDS = 10 };
    struct shared {
        struct fleet_work work[ROUNDS];
        atomic_int round, done, led, received, joined, commands, started;
    } *shared = shared_memory(sizeof *shared);
    pid_t pids[PROCESSES];
    (void)state;
    for (int i = 0; i < ROUNDS; i++)
        shared->work[i] = (struct fleet_work){.status = i, .size = 64};
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork_worker();
        if (pids[p] != 0)
            continue;
        sflight_fleet *f = fleet_new(&server, "eight");
        WAIT_UNTIL(FLEET_COUNT(f, inbox_ready) == 1); /* else it asks again, when it is */
        for (int i = 0; i < ROUNDS; i++) {
            struct fleet_caller callers[THREADS];
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            WAIT_UNTIL(atomic_load(&shared->round) == i);
            for (int t = 0; t < THREADS; t++)
                fleet_caller_start(&callers[t], f, key, fleet_work_fn, &shared->work[i], NULL);
            WAIT_UNTIL(FLEET_COUNT(f, joined) == (uint64_t)((i + 1) * (THREADS - 1)));
            atomic_fetch_add(&shared->started, 1);
            for (int t = 0; t < THREADS; t++)
                fleet_caller_got(&callers[t], &shared->work[i], 1);
            atomic_fetch_add(&shared->done, 1);
        }
        assert_int_equal(sflight_fleet_close(f, NULL), 0);
        sflight_fleet_counters c = fleet_counters(f);
        assert_int_equal(fleet_ended_calls(&c), ROUNDS);
        assert_int_equal(fleet_alone_calls(&c), 0);
        assert_int_equal(c.published, c.led);
        atomic_fetch_add(&shared->led, (int)c.led);
        atomic_fetch_add(&shared->received, (int)c.received);
        atomic_fetch_add(&shared->joined, (int)c.joined);
        atomic_fetch_add(&shared->commands, (int)c.commands);
        assert_int_equal(sflight_fleet_destroy(f), 0);
        _exit(0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        /* Every process is in the slot, and every thread has joined: only then may fn end. */
        WAIT_UNTIL(server_ask(&server, "STRLEN sf:eight{:k%d}", i) == PROCESSES * 32);
        WAIT_UNTIL(atomic_load(&shared->started) == (i + 1) * PROCESSES);
        atomic_store(&shared->work[i].open, true);
        WAIT_UNTIL(atomic_load(&shared->done) == (i + 1) * PROCESSES);
        atomic_store(&shared->round, i + 1);
    }
    for (int p = 0; p < PROCESSES; p++)
        assert_child_succeeds(pids[p]);
    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(shared->work[i].runs, 1);
    assert_int_equal(shared->led, ROUNDS);
    assert_int_equal(shared->received, ROUNDS * (PROCESSES - 1));
    assert_int_equal(shared->joined, ROUNDS * PROCESSES * (THREADS - 1));
    assert_int_equal(shared->commands, ROUNDS * (PROCESSES + 1));
}

static void any_key_flies(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } keys[] = {{"", 0},   {"\0", 1},   {"a\0b", 3},   {"{", 1},        {"}", 1},    {"{}", 2},
                {"}{", 2}, {"{:k}", 4}, {"a\r\nb", 4}, {"\xFF\xFE", 2}, {"k}00", 4}, {"%s%n*$", 6}};
    char longest[SFLIGHT_FLEET_MAX_KEY + 1];
    struct fleet_work w = {.open = true, .status = 1, .size = 8};
    sflight_result r;
    (void)state;
    memset(longest, 'x', sizeof longest);
    for (size_t i = 0; i < LENGTH(keys); i++) {
        assert_int_equal(
            sflight_fleet_do(a, keys[i].bytes, keys[i].len, fleet_work_fn, &w, NULL, &r), 0);
        assert_int_equal(run_of(&r), i + 1);
        sflight_result_release(&r);
    }
    assert_int_equal(
        sflight_fleet_do(a, longest, SFLIGHT_FLEET_MAX_KEY, fleet_work_fn, &w, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(a, led), LENGTH(keys) + 1);
    assert_int_equal(sflight_fleet_do(a, longest, sizeof longest, fleet_work_fn, &w, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(a, led), LENGTH(keys) + 1);
    assert_int_equal(FLEET_COUNT(a, alone_oversize), 1);
}

static int no_value_fn(sflight_call *call, void *arg)
{
    (void)call;
    struct fleet_work *w = arg;
    atomic_fetch_add(&w->runs, 1);
    WAIT_UNTIL(atomic_load(&w->open));
    return INT32_MIN;
}

static void a_result_without_a_value(void **state)
{
    struct fleet_work w = {0};
    struct fleet_caller leader, waiter;
    (void)state;
    lead_and_wait(&leader, &waiter, "k", no_value_fn, &w, fleet_must_not_run);
    atomic_store(&w.open, true);
    thread_join(leader.thread);
    thread_join(waiter.thread);
    assert_int_equal(waiter.rc, 0);
    assert_int_equal(waiter.r.status, INT32_MIN);
    assert_int_equal(waiter.r.size, 0);
    sflight_result_release(&leader.r);
    sflight_result_release(&waiter.r);
}

static void values_up_to_the_limit(void **state)
{
    static const size_t sizes[] = {8, 9, 100, 4095, 4096};
    (void)state;
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        struct fleet_work w = {.size = sizes[i]};
        struct fleet_caller leader, waiter;
        lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &w, fleet_must_not_run);
        atomic_store(&w.open, true);
        fleet_caller_got(&waiter, &w, 1);
        fleet_caller_got(&leader, &w, 1);
        WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    }
    assert_int_equal(FLEET_COUNT(b, received), LENGTH(sizes));
}

/* Those that wait are told, and run their own. */
static void a_value_over_the_limit_stays(void **state)
{
    struct fleet_work w = {.size = 4097};
    struct fleet_caller leader, waiter;
    (void)state;
    lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &w, fleet_work_fn);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 2);
    assert_int_equal(FLEET_COUNT(a, too_large), 1);
    assert_int_equal(FLEET_COUNT(b, alone_oversize), 1);
}

static int zeros_fn(sflight_call *call, void *arg)
{
    const struct fleet_work *w = arg;
    char *value = sflight_call_alloc(call, w->size);
    assert_non_null(value);
    memset(value, 0, w->size);
    return w->status;
}

/* What a socket does not take at once goes out as it takes more, whatever bytes come next. */
static void a_large_value_of_zeros(void **state)
{
    const char *const addresses[] = {server.address, server.tcp_address};
    struct fleet_work w = {.size = 8 << 20};
    sflight_fleet_options o;
    sflight_result r;
    (void)state;
    fleet_options(&o, &server, "zeros");
    o.max_value = w.size;
    for (size_t i = 0; i < LENGTH(addresses); i++) {
        o.address = addresses[i];
        sflight_fleet *f = fleet_create(&o);
        assert_int_equal(fleet_do(f, "k", zeros_fn, &w, &r), 0);
        sflight_result_release(&r);
        WAIT_UNTIL(FLEET_COUNT(f, leading) == 0 || FLEET_COUNT(f, reconnects) != 0);
        assert_int_equal(FLEET_COUNT(f, published), 1);
        assert_int_equal(FLEET_COUNT(f, reconnects), 0);
        fleet_free(f);
    }
}

/* Processes of one fleet may differ in max_value: who cannot take a value runs its own. */
static void a_value_over_the_limit_of_who_waits(void **state)
{
    static const struct {
        size_t size, max_value;
    } cases[] = {
        {4097, 4096},    /* one byte */
        {65528, 0},      /* the longest push */
        {65529, 0},      /* asked for: a little longer than that */
        {4 << 20, 4096}, /* and by far */
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct fleet_work w = {.size = cases[i].size};
        struct fleet_caller leader, waiter;
        sflight_fleet_options o;
        fleet_options(&o, &server, "unequal");
        o.max_value = 8 << 20;
        a = fleet_create(&o);
        o.address = server.tcp_address;
        o.max_value = cases[i].max_value;
        b = fleet_create(&o);
        lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &w, fleet_work_fn);
        WAIT_UNTIL(FLEET_COUNT(b, inbox_ready) == 1);
        atomic_store(&w.open, true);
        fleet_caller_got(&leader, &w, 1);
        fleet_caller_got(&waiter, &w, 2);
        assert_int_equal(FLEET_COUNT(b, alone_oversize), 1);
        assert_int_equal(FLEET_COUNT(b, reconnects), 0);
        assert_int_equal(FLEET_COUNT(b, inbox_reconnects), 0);
        fleet_free(a);
        fleet_free(b);
    }
}

static int abandon_fn(sflight_call *call, void *arg)
{
    int status = fleet_work_fn(call, arg);
    sflight_call_abandon(call);
    return status;
}

static int exit_fn(sflight_call *call, void *arg)
{
    fleet_work_fn(call, arg);
    pthread_exit(NULL);
}

/* Whoever waits elsewhere is told at once, and runs its own: no lease has to end. */
static void fn_that_does_not_return(void **state)
{
    static const struct {
        sflight_fn *fn;
        int rc;
    } ways[] = {{abandon_fn, -EOWNERDEAD}, {fleet_panic_fn, -ENOTRECOVERABLE}, {exit_fn, INT_MIN}};
    (void)state;
    for (size_t i = 0; i < LENGTH(ways); i++) {
        struct fleet_work w = {.size = 8};
        struct fleet_caller leader, waiter;
        lead_and_wait(&leader, &waiter, "k", ways[i].fn, &w, fleet_work_fn);
        atomic_store(&w.open, true);
        thread_join(leader.thread);
        assert_int_equal(leader.rc, ways[i].rc);
        if (leader.rc == -ENOTRECOVERABLE)
            sflight_result_release(&leader.r);
        fleet_caller_got(&waiter, &w, 2);
        WAIT_UNTIL(FLEET_COUNT(b, leading) == 0);
        assert_int_equal(FLEET_COUNT(a, unshared), i + 1);
        assert_int_equal(FLEET_COUNT(b, takeovers), i + 1);
    }
}

static bool even(void *ctx, int status)
{
    (void)ctx;
    return status % 2 == 0;
}

static void a_status_that_is_not_published(void **state)
{
    sflight_fleet_options o;
    sflight_fleet *before = a;
    struct fleet_caller leader, waiter;
    struct fleet_work odd = {.size = 8, .status = 1}, w = {.size = 8, .status = 2};
    (void)state;
    fleet_options(&o, &server, "filter");
    o.publish = even;
    a = fleet_create(&o);
    sflight_fleet *b_before = b;
    o.address = server.tcp_address;
    b = fleet_create(&o);
    lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &w, fleet_must_not_run);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    lead_and_wait(&leader, &waiter, "k", fleet_work_fn, &odd, fleet_work_fn);
    atomic_store(&odd.open, true);
    fleet_caller_got(&leader, &odd, 1);
    fleet_caller_got(&waiter, &odd, 2);
    assert_int_equal(FLEET_COUNT(a, unshared), 1);
    fleet_free(a);
    fleet_free(b);
    a = before;
    b = b_before;
}

/* Its process's callers stay, a newcomer begins another flight, and the old run publishes nothing.
 */
static void forgetting(void **state)
{
    struct fleet_work old = {.size = 8, .status = 1}, w = {.size = 8, .status = 2};
    struct fleet_caller leader, waiter, newcomer;
    (void)state;
    assert_int_equal(sflight_fleet_forget(a, "k", 1), 0);
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &old, NULL);
    WAIT_UNTIL(atomic_load(&old.runs) == 1);
    fleet_caller_start(&waiter, b, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    assert_int_equal(sflight_fleet_forget(b, "k", 1), 1);
    WAIT_UNTIL(FLEET_COUNT(a, forgotten) == 1);
    /* The call of b was forgotten as well, but it goes on, and leads now. */
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    fleet_caller_start(&newcomer, a, "k", fleet_must_not_run, NULL, NULL);
    WAIT_UNTIL(FLEET_COUNT(a, waiting) == 1);
    atomic_store(&old.open, true);
    fleet_caller_got(&leader, &old, 1);
    WAIT_UNTIL(FLEET_COUNT(a, refused) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&waiter, &w, 1);
    fleet_caller_got(&newcomer, &w, 1);
    assert_int_equal(sflight_fleet_forget(a, "k", 1) >= 0, true);
}

static void checking(void **state)
{
    char why[128] = "x";
    (void)state;
    assert_int_equal(sflight_fleet_check(a, NULL, why, sizeof why), 0);
    assert_string_equal(why, "");
    assert_int_equal(sflight_fleet_check(b, NULL, NULL, 0), 0);
    assert_int_equal(fleet_ended_calls(&(sflight_fleet_counters){0}), 0);
    assert_int_equal(FLEET_COUNT(a, connected), 1);
    assert_int_equal(FLEET_COUNT(a, inbox_ready), 1);
}

/* What a check leaves in the engine is to be read: its key is of digits. */
static void a_check_can_be_seen(void **state)
{
    sflight_fleet *f = fleet_new(&server, "seen");
    redisContext *c = server_connect(&server);
    redisReply *r = redisCommand(c, "MONITOR");
    const char *slot = NULL;
    (void)state;
    freeReplyObject(r);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    while (slot == NULL) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        slot = strstr(r->str, "sf:seen{:");
        if (slot != NULL) {
            assert_int_equal(strspn(slot + 9, "0123456789abcdef"), 32);
            assert_int_equal(slot[9 + 32], '}');
        }
        freeReplyObject(r);
    }
    redisFree(c);
    fleet_free(f);
}

/* All that is left in the engine are results, which nobody can find any more, for some seconds. */
static void nothing_stays_in_the_engine(void **state)
{
    (void)state;
    redisContext *c = server_connect(&server);
    redisReply *keys = redisCommand(c, "KEYS *");
    assert_int_equal(keys->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < keys->elements; i++) {
        redisReply *ttl =
            redisCommand(c, "PTTL %b", keys->element[i]->str, (size_t)keys->element[i]->len);
        assert_int_not_equal(ttl->integer, -1); /* it has one, or is gone */
        assert_true(ttl->integer <= 5000);
        assert_int_not_equal(keys->element[i]->str[keys->element[i]->len - 1], '}');
        freeReplyObject(ttl);
    }
    freeReplyObject(keys);
    redisFree(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_process_gets_the_result, setup, teardown),
        cmocka_unit_test(another_fleet_of_the_process_gets_the_result),
        cmocka_unit_test_setup_teardown(nothing_is_cached, setup, teardown),
        cmocka_unit_test_setup_teardown(followers_in_the_process_cost_nothing, setup, teardown),
        cmocka_unit_test(eight_processes),
        cmocka_unit_test_setup_teardown(any_key_flies, setup, teardown),
        cmocka_unit_test_setup_teardown(a_result_without_a_value, setup, teardown),
        cmocka_unit_test_setup_teardown(values_up_to_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_value_over_the_limit_stays, setup, teardown),
        cmocka_unit_test(a_large_value_of_zeros),
        cmocka_unit_test(a_value_over_the_limit_of_who_waits),
        cmocka_unit_test_setup_teardown(fn_that_does_not_return, setup, teardown),
        cmocka_unit_test_setup_teardown(a_status_that_is_not_published, setup, teardown),
        cmocka_unit_test_setup_teardown(forgetting, setup, teardown),
        cmocka_unit_test_setup_teardown(checking, setup, teardown),
        cmocka_unit_test(a_check_can_be_seen),
        cmocka_unit_test(nothing_stays_in_the_engine),
    };
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
