/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What may happen to the engine, and what callers get then: never an error.  Where a leader or an
 * engine must outlast something it is held until that has been seen.
 */
#include "fleet_test.h"

static struct server_process server;

static int setup(void **state)
{
    (void)state;
    server_new(&server, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_free(&server);
    return 0;
}

/* Two fleets of one engine: one has no patience with it, the other all the patience of a test. */
static void fleet_pair(const char *name, sflight_fleet **hasty, sflight_fleet **patient)
{
    sflight_fleet_options o;
    fleet_options(&o, &server, name);
    *patient = fleet_create(&o);
    o.engine_timeout_ms = 20;
    *hasty = fleet_create(&o);
}

static void assert_led(sflight_fleet *f, const char *key)
{
    struct fleet_work w = {.open = true, .size = 8, .status = 3};
    uint64_t led = FLEET_COUNT(f, led);
    sflight_result r;
    assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(f, led), led + 1);
}

static void assert_flies_alone(sflight_fleet *f, const char *key)
{
    struct fleet_work w = {.open = true, .size = 8, .status = 3};
    sflight_fleet_counters before = fleet_counters(f), after;
    sflight_result r;
    assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
    assert_int_equal(r.status, 3);
    assert_true(r.leader);
    assert_int_equal(run_of(&r), 1);
    sflight_result_release(&r);
    after = fleet_counters(f);
    assert_int_equal(fleet_alone_calls(&after), fleet_alone_calls(&before) + 1);
    assert_int_equal(fleet_ended_calls(&after), fleet_ended_calls(&before) + 1);
}

static void kill_others(void)
{
    assert_true(server_ask(&server, "CLIENT KILL TYPE normal SKIPME yes") >= 2);
}

static void assert_last_error(sflight_fleet *f, const char *says)
{
    char error[160];
    sflight_fleet_last_error(f, error, sizeof error);
    if (strstr(error, says) == NULL)
        fprintf(stderr, "# %s\n", error);
    assert_non_null(strstr(error, says));
}

/* A host by its name, and by its address; one that there is not. */
static void hosts_by_name(void **state)
{
    char address[64], why[160];
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "hosts");
    o.address = address;
    snprintf(address, sizeof address, "tcp:localhost:%d", server.port);
    sflight_fleet *f = fleet_create(&o);
    /* The name may have several addresses, of which the server has one: they are tried in turn. */
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), 0);
    assert_led(f, "k");
    fleet_free(f);
    snprintf(address, sizeof address, "tcp:[::ffff:127.0.0.1]:%d", server.port);
    f = fleet_create(&o);
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), 0);
    fleet_free(f);
    snprintf(address, sizeof address, "tcp:no.such.host.invalid:%d", server.port);
    o.engine_timeout_ms = 20;
    f = fleet_create(&o);
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, connected), 0);
    fleet_free(f);
}

/* A sentinel of this server, in its folder; the address names two, of which the first is not there.
 */
static pid_t sentinel_start(int port)
{
    char path[96];
    const char *args[] = {"", path, "--sentinel", NULL};
    snprintf(path, sizeof path, "%s/sentinel.conf", server.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "port %d\nbind 127.0.0.1\ndir %s\nlogfile sentinel-log\n"
            "sentinel monitor main 127.0.0.1 %d 1\n",
            port, server.dir, server.port);
    assert_int_equal(fclose(f), 0);
    pid_t pid = fork_worker();
    if (pid == 0)
        engine_exec(args);
    return pid;
}

static void a_sentinel(void **state)
{
    int port = free_port();
    char address[96], why[160];
    sflight_fleet_options o;
    (void)state;
    pid_t pid = sentinel_start(port);
    fleet_options(&o, &server, "sentinel");
    o.address = address;
    snprintf(address, sizeof address, "sentinel:main@127.0.0.1:1,localhost:%d", port);
    sflight_fleet *f = fleet_create(&o);
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), 0);
    assert_led(f, "k");
    /* The address is asked for again. */
    kill_others();
    WAIT_UNTIL(FLEET_COUNT(f, reconnects) >= 1);
    assert_led(f, "k");
    fleet_free(f);
    snprintf(address, sizeof address, "sentinel:other@127.0.0.1:%d", port);
    o.engine_timeout_ms = 20;
    f = fleet_create(&o);
    assert_flies_alone(f, "k");
    WAIT_UNTIL(sflight_fleet_last_error(f, why, sizeof why)[0] != '\0');
    assert_last_error(f, "knows no such master");
    fleet_free(f);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Whoever comes while there is none flies alone; once there is one, together. */
static void an_engine_that_comes_late(void **state)
{
    sflight_fleet *f, *patient;
    char why[160];
    (void)state;
    server_kill(&server);
    fleet_pair("late", &f, &patient);
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_down), 1);
    assert_int_equal(FLEET_COUNT(f, connected), 0);
    assert_last_error(f, "No such file");
    assert_int_equal(sflight_fleet_check(f, &in_the_past, why, sizeof why), -EHOSTUNREACH);
    assert_non_null(strstr(why, "No such file"));
    assert_int_equal(sflight_fleet_forget(f, "k", 1), -EHOSTUNREACH);
    server_start(&server);
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), 0);
    assert_led(patient, "k");
    fleet_free(f);
    fleet_free(patient);
}

/* Once it is known that there is none, nobody waits for one, however patient. */
static void an_engine_that_is_not_there(void **state)
{
    sflight_fleet_options o;
    char why[160];
    (void)state;
    server_kill(&server);
    fleet_options(&o, &server, "absent");
    o.engine_timeout_ms = 3600000;
    sflight_fleet *f = fleet_create(&o);
    WAIT_UNTIL(sflight_fleet_last_error(f, why, sizeof why)[0] != '\0');
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_down), 1);
    server_start(&server);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_led(f, "k");
    fleet_free(f);
}

/* The leader's callers have its result, and the next ones fly alone until there is one again. */
static void an_engine_that_dies(void **state)
{
    struct fleet_work w = {.size = 8, .status = 3};
    struct fleet_caller leader;
    (void)state;
    sflight_fleet *hasty, *f;
    fleet_pair("dies", &hasty, &f);
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    server_kill(&server);
    WAIT_UNTIL(FLEET_COUNT(f, connected) == 0);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    assert_flies_alone(hasty, "other");
    server_start(&server);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_true(FLEET_COUNT(f, reconnects) >= 1);
    WAIT_UNTIL(FLEET_COUNT(f, inbox_reconnects) >= 1);
    /* Its slot was lost with the engine. */
    WAIT_UNTIL(FLEET_COUNT(f, leading) == 0);
    assert_int_equal(FLEET_COUNT(f, refused) + FLEET_COUNT(f, unpublished), 1);
    assert_led(f, "k");
    fleet_free(f);
    fleet_free(hasty);
}

/* Who waits for another process leads, once the engine is there again, and has lost all it knew. */
static void an_engine_that_forgets_everything(void **state)
{
    struct fleet_work old = {.size = 8, .status = 1}, w = {.size = 8, .status = 2};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "forgets");
    sflight_fleet *a = fleet_create(&o);
    o.address = server.tcp_address;
    sflight_fleet *b = fleet_create(&o);
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &old, NULL);
    WAIT_UNTIL(atomic_load(&old.runs) == 1);
    fleet_caller_start(&waiter, b, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    server_kill(&server);
    server_start(&server);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    WAIT_UNTIL(FLEET_COUNT(a, leases_lost) == 1); /* its renewal was refused */
    atomic_store(&old.open, true);
    fleet_caller_got(&leader, &old, 1);
    WAIT_UNTIL(FLEET_COUNT(a, refused) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&waiter, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(b, published) == 1);
    fleet_free(a);
    fleet_free(b);
}

static void a_frozen_engine(void **state)
{
    sflight_fleet *f, *patient;
    struct timespec soon;
    sflight_result r;
    (void)state;
    fleet_pair("frozen", &f, &patient);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_led(patient, "k");
    WAIT_UNTIL(FLEET_COUNT(patient, leading) == 0);
    server_freeze(&server);
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_slow), 1);
    /* The next ones do not ask any more. */
    WAIT_UNTIL(FLEET_COUNT(f, connected) == 0);
    uint64_t commands = FLEET_COUNT(f, commands);
    for (int i = 0; i < 10; i++)
        assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_slow), 11);
    assert_int_equal(FLEET_COUNT(f, commands), commands);
    /* Leading is no waiting, so a deadline in the past does not matter. */
    struct fleet_work w = {.open = true, .size = 8};
    assert_int_equal(sflight_fleet_do(f, "k", 1, fleet_work_fn, &w, &in_the_past, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_fleet_forget(f, "k", 1), -EHOSTUNREACH);
    server_thaw(&server);
    WAIT_UNTIL(FLEET_COUNT(f, connected) == 1);
    /* What it has granted meanwhile was given back. */
    WAIT_UNTIL(server_ask(&server, "EXISTS sf:frozen{:k}") == 0);
    assert_led(patient, "k");
    soon = deadline_in_ns(0);
    assert_int_equal(sflight_fleet_do(patient, "k", 1, fleet_must_not_run, NULL, &soon, &r),
                     -ETIMEDOUT);
    fleet_free(f);
    fleet_free(patient);
}

/* A deadline does not depend on the engine, nor on its time-out. */
static void a_deadline_before_the_answer(void **state)
{
    struct timespec soon;
    sflight_result r;
    (void)state;
    sflight_fleet *f = fleet_new(&server, "deadline");
    assert_led(f, "k");
    WAIT_UNTIL(FLEET_COUNT(f, leading) == 0);
    server_freeze(&server);
    for (uint64_t i = 1; i <= 3; i++) {
        soon = deadline_in_ns(20000000);
        assert_int_equal(sflight_fleet_do(f, "k", 1, fleet_must_not_run, NULL, &soon, &r),
                         -ETIMEDOUT);
        assert_true(has_passed(&soon));
        assert_null(r.hold);
        assert_int_equal(FLEET_COUNT(f, timed_out), i);
    }
    soon = deadline_in_ns(20000000);
    assert_int_equal(sflight_fleet_check(f, &soon, NULL, 0), -EHOSTUNREACH);
    server_thaw(&server);
    /* Nobody wants the leads that come now. */
    WAIT_UNTIL(server_ask(&server, "EXISTS sf:deadline{:k}") == 0);
    assert_led(f, "k");
    fleet_free(f);
}

/* One fleet leads and another waits, on connections that the test may cut; then this is done. */
static void while_one_waits(const char *name, void (*cut)(void), bool is_inbox)
{
    struct fleet_work w = {.size = 8, .status = 1};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    fleet_options(&o, &server, name);
    sflight_fleet *a = fleet_create(&o);
    o.address = server.tcp_address;
    sflight_fleet *b = fleet_create(&o);
    fleet_lead_and_wait(a, &leader, b, &waiter, &w);
    WAIT_UNTIL(FLEET_COUNT(a, inbox_ready) == 1);
    cut();
    if (is_inbox) {
        /* Published while nobody hears it. */
        atomic_store(&w.open, true);
        WAIT_UNTIL(FLEET_COUNT(b, inbox_reconnects) >= 1);
    } else {
        WAIT_UNTIL(FLEET_COUNT(a, reconnects) >= 1 && FLEET_COUNT(b, reconnects) >= 1);
        atomic_store(&w.open, true);
    }
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    assert_int_equal(FLEET_COUNT(b, received), 1);
    WAIT_UNTIL(FLEET_COUNT(a, published) == 1);
    fleet_free(a);
    fleet_free(b);
}

static void kill_inboxes(void)
{
    assert_true(server_ask(&server, "CLIENT KILL TYPE pubsub") >= 2);
}

static void an_inbox_that_is_cut(void **state)
{
    (void)state;
    while_one_waits("inbox", kill_inboxes, true);
}

static void a_connection_that_is_cut(void **state)
{
    (void)state;
    while_one_waits("cut", kill_others, false);
}

/* A slot that is gone is a lease that is gone: the late result is refused. */
static void a_slot_that_is_evicted(void **state)
{
    struct fleet_work old = {.size = 8, .status = 1}, w = {.size = 8, .status = 2};
    struct fleet_caller leader, other;
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "evicted");
    sflight_fleet *a = fleet_create(&o);
    o.address = server.tcp_address;
    sflight_fleet *b = fleet_create(&o);
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &old, NULL);
    WAIT_UNTIL(atomic_load(&old.runs) == 1);
    assert_int_equal(server_ask(&server, "DEL sf:evicted{:k}"), 1);
    fleet_caller_start(&other, b, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    atomic_store(&old.open, true);
    fleet_caller_got(&leader, &old, 1);
    WAIT_UNTIL(FLEET_COUNT(a, refused) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&other, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(b, published) == 1);
    fleet_free(a);
    fleet_free(b);
}

/* Refusals: of a full engine, of a replica, of a foreign type, of missing rights. */
static void a_foreign_type_in_the_slot(void **state)
{
    (void)state;
    sflight_fleet *f = fleet_new(&server, "type");
    server_ask(&server, "RPUSH sf:type{:k} x");
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_refused), 1);
    assert_last_error(f, "WRONGTYPE");
    assert_led(f, "other");
    fleet_free(f);
}

static void garbage_in_the_slot(void **state)
{
    (void)state;
    sflight_fleet *f = fleet_new(&server, "garbage");
    server_ask(&server, "SET sf:garbage{:k} xyz");
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_refused), 1);
    assert_int_equal(FLEET_COUNT(f, bad_frames), 1);
    fleet_free(f);
}

static void a_full_engine(void **state)
{
    (void)state;
    sflight_fleet *f = fleet_new(&server, "full");
    assert_led(f, "k");
    WAIT_UNTIL(FLEET_COUNT(f, leading) == 0);
    server_ask(&server, "CONFIG SET maxmemory 1");
    assert_flies_alone(f, "k");
    assert_int_equal(FLEET_COUNT(f, alone_refused), 1);
    assert_last_error(f, "OOM");
    server_ask(&server, "CONFIG SET maxmemory 0");
    assert_led(f, "k");
    fleet_free(f);
}

static void a_replica(void **state)
{
    (void)state;
    sflight_fleet *f, *patient;
    fleet_pair("replica", &f, &patient);
    assert_led(patient, "k");
    server_ask(&server, "REPLICAOF 127.0.0.1 1");
    assert_flies_alone(f, "k");
    assert_last_error(f, "READONLY");
    assert_int_equal(FLEET_COUNT(f, alone_refused), 0); /* an engine that is no use is gone */
    server_ask(&server, "REPLICAOF NO ONE");
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_led(patient, "k");
    fleet_free(f);
    fleet_free(patient);
}

/* Of each right that a fleet needs one is taken: check says so, and nobody gets an error. */
static void a_missing_right(void **state)
{
    static const char *const rights[] = {"-eval", "-get",      "-set", "-append",
                                         "-pttl", "-getrange", "-del"};
    sflight_fleet_options o;
    char why[200];
    (void)state;
    server_ask(&server,
               "ACL SETUSER u on >secret resetkeys ~sf:* resetchannels &sf:* -@all +eval +get "
               "+set +del +append +exists +getrange +pexpire +pttl +publish +subscribe +ping "
               "+client|setname");
    fleet_options(&o, &server, "rights");
    o.user = "u";
    o.password = "secret";
    sflight_fleet *f = fleet_create(&o);
    assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), 0);
    for (size_t i = 0; i < LENGTH(rights); i++) {
        char right[16];
        snprintf(right, sizeof right, "+%s", rights[i] + 1);
        server_ask(&server, "ACL SETUSER u %s", rights[i]);
        /* With -del the deadline may come before the refusal: then once more. */
        do {
            struct timespec soon = deadline_in_ns(100000000);
            assert_int_equal(sflight_fleet_check(f, &soon, why, sizeof why), -EHOSTUNREACH);
        } while (strstr(why, "can't run") == NULL && strstr(why, "permission") == NULL);
        struct fleet_work w = {.open = true, .size = 8};
        sflight_result r;
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
        server_ask(&server, "ACL SETUSER u %s", right);
        server_ask(&server, "FLUSHALL");
    }
    fleet_free(f);
    o.password = "wrong";
    o.engine_timeout_ms = 50;
    f = fleet_create(&o);
    struct timespec soon = deadline_in_ns(50000000);
    assert_int_equal(sflight_fleet_check(f, &soon, why, sizeof why), -EHOSTUNREACH);
    assert_non_null(strstr(why, "WRONGPASS"));
    assert_flies_alone(f, "k");
    fleet_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hosts_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sentinel, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_comes_late, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_forgets_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frozen_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_before_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(an_inbox_that_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_that_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_that_is_evicted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_foreign_type_in_the_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_in_the_slot, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(a_replica, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_right, setup, teardown),
    };
    return RUN_TESTS(tests);
}
