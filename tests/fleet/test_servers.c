/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Servers that one would rather not have: that lack rights, load, cut off who is slow, belong to a
 * cluster, fail over to a replica, or whose clock is stepped.
 */
#include "fleet_test.h"

static struct server_process server;

/* Of what a test waits for here only a lease is long. */
enum { LEASE_MS = 500 };

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

static void assert_led(sflight_fleet *f, const char *key)
{
    struct fleet_work w = {.open = true, .size = 8};
    uint64_t led = FLEET_COUNT(f, led);
    sflight_result r;
    assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(f, led), led + 1);
}

/* Of a fleet that has no patience with the engine: sooner or later it is all well. */
static void leads_in_the_end(sflight_fleet *f, const char *key)
{
    struct fleet_work w = {.open = true, .size = 8};
    uint64_t led = FLEET_COUNT(f, led);
    WAIT_UNTIL(sflight_fleet_check(f, NULL, NULL, 0) == 0);
    while (FLEET_COUNT(f, led) == led) {
        sflight_result r;
        assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
    }
}

static void assert_refused(sflight_fleet *f, const char *key, const char *says)
{
    struct fleet_work w = {.open = true, .size = 8};
    char error[160];
    uint64_t refused = FLEET_COUNT(f, alone_refused);
    sflight_result r;
    assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
    assert_true(r.leader);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(f, alone_refused), refused + 1);
    sflight_fleet_last_error(f, error, sizeof error);
    if (strstr(error, says) == NULL)
        fprintf(stderr, "# %s\n", error);
    assert_non_null(strstr(error, says));
}

/* Says whether the server answers this with an error that begins so. */
static bool server_refuses(const struct server_process *s, const char *command, const char *with)
{
    redisContext *c = server_connect(s);
    redisReply *r = redisCommand(c, command);
    assert_non_null(r);
    bool refuses = r->type == REDIS_REPLY_ERROR && strncmp(r->str, with, strlen(with)) == 0;
    freeReplyObject(r);
    redisFree(c);
    return refuses;
}

/* ---------------------------------------------------------------- rights */

/* Of the rights that a fleet needs each is missing once: callers get no error, and check says so.
 */
static void each_right(void **state)
{
    static const struct {
        const char *without;
        bool is_checked; /* by sflight_fleet_check() */
    } rights[] = {
        {"-eval", true},
        {"-get", true},
        {"-set", true},
        {"-del", true},
        {"-append", true},
        {"-exists", true},
        {"-getrange", true},
        {"-pexpire", true},
        {"-pttl", true},
        {"-publish", true},
        {"-subscribe", true},
        {"-ping", false},
        {"-client|setname", false},
        {"resetkeys", true},
        {"resetchannels", true},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(rights); i++) {
        struct fleet_work w = {.size = 8};
        struct fleet_caller leader, waiter;
        sflight_fleet_options o;
        char why[200];
        server_ask(&server, "ACL SETUSER u reset on >secret ~sf:* &sf:* +eval +get +set +del "
                            "+append +exists +getrange +pexpire +pttl +publish +subscribe +ping "
                            "+client|setname");
        server_ask(&server, "ACL SETUSER u %s", rights[i].without);
        fleet_options(&o, &server, "rights");
        o.user = "u";
        o.password = "secret";
        o.lease_ms = LEASE_MS;
        sflight_fleet *a = fleet_create(&o);
        o.address = server.tcp_address;
        sflight_fleet *b = fleet_create(&o);
        if (rights[i].is_checked) {
            struct timespec later = deadline_in_ns(INT64_C(4) * LEASE_MS * 1000000);
            int rc = sflight_fleet_check(a, &later, why, sizeof why);
            if (rc == 0)
                fprintf(stderr, "# check does not see %s\n", rights[i].without);
            assert_int_equal(rc, -EHOSTUNREACH);
        } else {
            WAIT_UNTIL(sflight_fleet_check(a, NULL, why, sizeof why) == 0);
        }
        fleet_caller_start(&leader, a, "k", fleet_work_fn, &w, NULL);
        WAIT_UNTIL(atomic_load(&w.runs) == 1);
        fleet_caller_start(&waiter, b, "k", fleet_work_fn, &w, NULL);
        atomic_store(&w.open, true);
        fleet_caller_got(&leader, &w, 0);
        fleet_caller_got(&waiter, &w, 0);
        assert_int_equal(sflight_fleet_destroy(a), 0);
        assert_int_equal(sflight_fleet_destroy(b), 0);
        server_ask(&server, "FLUSHALL");
    }
}

/* --------------------------------------------------------------- loading */

static void an_engine_that_loads(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet_options o;
    char error[160];
    sflight_result r;
    (void)state;
    /* Each of them as long as what it reads before it looks for its clients again. */
    server_ask(&server, "EVAL %s 0",
               "local v=('x'):rep(1024) for i=1,2000 do redis.call('SET','k'..i,v) end return 1");
    server_ask(&server, "CONFIG SET rdbcompression no");
    server_ask(&server, "SAVE");
    server_kill(&server);
    /* So slowly that it does not end before it is told to. */
    static const char *const slowly[] = {"--key-load-delay", "100000",
                                         "--loading-process-events-interval-bytes", "1024"};
    memcpy(server.extra, slowly, sizeof slowly);
    server.pid = fork_child();
    if (server.pid == 0)
        server_exec(&server);
    fleet_options(&o, &server, "loading");
    o.engine_timeout_ms = 20;
    sflight_fleet *f = fleet_create(&o);
    do {
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        sflight_fleet_last_error(f, error, sizeof error);
    } while (strstr(error, "LOADING") == NULL);
    assert_int_equal(FLEET_COUNT(f, led), 0);
    server_kill(&server);
    memset(server.extra, 0, sizeof server.extra);
    server_start(&server);
    leads_in_the_end(f, "k");
    fleet_free(f);
}

/* -------------------------------------------------------- output buffers */

/* The message is longer than what the server keeps for who hears it: it is cut off, and asks. */
static void an_inbox_that_overflows(void **state)
{
    struct fleet_work w = {.size = 60000};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    (void)state;
    server_ask(&server, "CONFIG SET client-output-buffer-limit %s", "pubsub 20000 0 0");
    fleet_options(&o, &server, "overflow");
    sflight_fleet *a = fleet_create(&o);
    o.address = server.tcp_address;
    sflight_fleet *b = fleet_create(&o);
    fleet_lead_and_wait(a, &leader, b, &waiter, &w);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    assert_int_equal(FLEET_COUNT(b, inbox_reconnects), 1);
    assert_int_equal(FLEET_COUNT(b, recheck_hits), 1);
    assert_int_equal(FLEET_COUNT(b, pushes), 0);
    fleet_free(a);
    fleet_free(b);
}

/* --------------------------------------------------------------- cluster */

static void cluster_node(struct server_process *s)
{
    char bus[16];
    const char *const extra[] = {"--cluster-enabled", "yes", "--cluster-port", bus, NULL};
    snprintf(bus, sizeof bus, "%d", free_port());
    server_new(s, extra);
    server_ask(s, "CONFIG SET cluster-require-full-coverage no");
}

/* All names of a key are in one slot of a cluster; of a slot elsewhere nothing is followed. */
static void a_cluster(void **state)
{
    struct server_process nodes[2];
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    (void)state;
    cluster_node(&nodes[0]);
    cluster_node(&nodes[1]);
    fleet_options(&o, &nodes[0], "cluster");
    sflight_fleet *a = fleet_create(&o);
    o.address = nodes[0].tcp_address;
    sflight_fleet *b = fleet_create(&o);
    assert_refused(a, "k", "CLUSTERDOWN");
    server_ask(&nodes[0], "CLUSTER ADDSLOTSRANGE 0 16383");
    WAIT_UNTIL(!server_refuses(&nodes[0], "GET sf:cluster{:k}", "CLUSTERDOWN"));
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    fleet_caller_start(&waiter, b, "k", fleet_must_not_run, NULL, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    WAIT_UNTIL(FLEET_COUNT(a, leading) == 0);
    server_ask(&nodes[0], "FLUSHALL");
    server_ask(&nodes[0], "CLUSTER FLUSHSLOTS");
    server_ask(&nodes[1], "CLUSTER ADDSLOTSRANGE 0 16383");
    server_ask(&nodes[1], "CLUSTER BUMPEPOCH");
    redisContext *c = server_connect(&nodes[1]);
    redisReply *bus = redisCommand(c, "CONFIG GET cluster-port");
    assert_int_equal(bus->elements, 2);
    server_ask(&nodes[0], "CLUSTER MEET 127.0.0.1 %d %s", nodes[1].port, bus->element[1]->str);
    freeReplyObject(bus);
    redisFree(c);
    WAIT_UNTIL(server_refuses(&nodes[0], "GET sf:cluster{:k}", "MOVED"));
    assert_refused(a, "k", "MOVED");
    fleet_free(a);
    fleet_free(b);
    server_free(&nodes[0]);
    server_free(&nodes[1]);
}

/* -------------------------------------------------------------- failover */

static struct {
    struct server_process servers[2];
    struct server_process sentinel;
} ha;

static void sentinel_start(void)
{
    struct server_process *s = &ha.sentinel;
    char path[96];
    *s = (struct server_process){.port = free_port()};
    strcpy(s->dir, "/tmp/sf-fleet-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->socket, sizeof s->socket, "%s/s", s->dir);
    snprintf(path, sizeof path, "%s/conf", s->dir);
    FILE *conf = fopen(path, "w");
    assert_non_null(conf);
    fprintf(conf,
            "port %d\nbind 127.0.0.1\nunixsocket %s\ndir %s\nlogfile log\n"
            "sentinel monitor m 127.0.0.1 %d 1\nsentinel down-after-milliseconds m 1000\n"
            "sentinel failover-timeout m 10000\n",
            s->port, s->socket, s->dir, ha.servers[0].port);
    fclose(conf);
    s->pid = fork_child();
    if (s->pid == 0)
        engine_exec((const char *[]){"", path, "--sentinel", NULL});
    redisFree(server_connect(s));
}

/* Whom the sentinel takes for the master: its port. */
static int master_port(void)
{
    redisContext *c = server_connect(&ha.sentinel);
    redisReply *r = redisCommand(c, "SENTINEL GET-MASTER-ADDR-BY-NAME m");
    assert_non_null(r);
    int port = r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? atoi(r->element[1]->str) : 0;
    freeReplyObject(r);
    redisFree(c);
    return port;
}

static long long replicas_of_master(void)
{
    return server_ask(&ha.sentinel, "SENTINEL REPLICAS m");
}

static int ha_setup(void **state)
{
    (void)state;
    server_new(&ha.servers[0], NULL);
    server_new(&ha.servers[1], NULL);
    server_ask(&ha.servers[0], "CONFIG SET repl-diskless-sync-delay 0");
    server_ask(&ha.servers[1], "REPLICAOF 127.0.0.1 %d", ha.servers[0].port);
    server_ask(&ha.servers[0], "SET there 1");
    WAIT_UNTIL(server_ask(&ha.servers[1], "EXISTS there") == 1);
    sentinel_start();
    WAIT_UNTIL(replicas_of_master() == 1);
    return 0;
}

static int ha_teardown(void **state)
{
    (void)state;
    server_free(&ha.sentinel);
    server_free(&ha.servers[0]);
    server_free(&ha.servers[1]);
    return 0;
}

/* Two ways to say the same, so that each has an engine thread. */
static void ha_fleets(sflight_fleet **a, sflight_fleet **b, const char *name)
{
    char address[2][96];
    sflight_fleet_options o;
    snprintf(address[0], sizeof address[0], "sentinel:m@127.0.0.1:%d", ha.sentinel.port);
    snprintf(address[1], sizeof address[1], "sentinel:m@127.0.0.1:%d,127.0.0.1:%d",
             ha.sentinel.port, ha.sentinel.port);
    fleet_options(&o, &ha.servers[0], name);
    o.address = address[0];
    *a = fleet_create(&o);
    o.address = address[1];
    *b = fleet_create(&o);
}

/* Leader and waiter are in the replica, too, and go on there. */
static void a_failover(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader, waiter;
    sflight_fleet *a, *b;
    (void)state;
    ha_fleets(&a, &b, "failover");
    fleet_lead_and_wait(a, &leader, b, &waiter, &w);
    WAIT_UNTIL(server_ask(&ha.servers[1], "STRLEN sf:failover{:k}") >= 64);
    WAIT_UNTIL(!server_refuses(&ha.sentinel, "SENTINEL FAILOVER m", "NOGOODSLAVE"));
    WAIT_UNTIL(master_port() == ha.servers[1].port);
    WAIT_UNTIL(FLEET_COUNT(a, reconnects) >= 1 && FLEET_COUNT(a, connected) == 1);
    WAIT_UNTIL(FLEET_COUNT(b, reconnects) >= 1 && FLEET_COUNT(b, connected) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 1);
    fleet_free(a);
    fleet_free(b);
}

/* The master is killed: callers get no error meanwhile, and fly together when there is another. */
static void a_master_that_dies(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet_options o;
    char address[96];
    sflight_result r;
    (void)state;
    snprintf(address, sizeof address, "sentinel:m@127.0.0.1:1,127.0.0.1:%d", ha.sentinel.port);
    fleet_options(&o, &ha.servers[0], "dies");
    o.address = address;
    o.engine_timeout_ms = 20;
    sflight_fleet *f = fleet_create(&o);
    leads_in_the_end(f, "k");
    server_kill(&ha.servers[0]);
    while (master_port() != ha.servers[1].port) {
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
    }
    sflight_fleet_counters c = fleet_counters(f);
    assert_true(fleet_alone_calls(&c) > 0);
    leads_in_the_end(f, "k");
    fleet_free(f);
}

/* A sentinel that does not know the name, and none at all. */
static void no_such_master(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet_options o;
    char address[96], why[160];
    sflight_result r;
    (void)state;
    snprintf(address, sizeof address, "sentinel:other@127.0.0.1:%d", ha.sentinel.port);
    fleet_options(&o, &ha.servers[0], "none");
    o.address = address;
    o.engine_timeout_ms = 20;
    sflight_fleet *f = fleet_create(&o);
    assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
    sflight_result_release(&r);
    do {
        struct timespec soon = deadline_in_ns(20000000);
        assert_int_equal(sflight_fleet_check(f, &soon, why, sizeof why), -EHOSTUNREACH);
    } while (strstr(why, "no such master") == NULL);
    assert_int_equal(FLEET_COUNT(f, led), 0);
    fleet_free(f);
}

/* ----------------------------------------------------------------- clock */

/* Of the server only: see skew.c. */
static atomic_int_least64_t *skew_s;
static char skew_file[64];

static int clock_setup(void **state)
{
    (void)state;
    strcpy(skew_file, "/tmp/sf-fleet-skew-XXXXXX");
    int fd = mkstemp(skew_file);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, sizeof *skew_s), 0);
    skew_s = mmap(NULL, sizeof *skew_s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(skew_s, MAP_FAILED);
    close(fd);
    setenv("LD_PRELOAD", SKEW, 1);
    setenv("SKEW_FILE", skew_file, 1);
    server_new(&server, NULL);
    unsetenv("LD_PRELOAD");
    return 0;
}

static int clock_teardown(void **state)
{
    (void)state;
    server_free(&server);
    unlink(skew_file);
    munmap(skew_s, sizeof *skew_s);
    return 0;
}

static void step_clock(int64_t seconds)
{
    atomic_store(skew_s, seconds);
}

static void clock_fleets(sflight_fleet **a, sflight_fleet **b)
{
    sflight_fleet_options o;
    fleet_options(&o, &server, "clock");
    o.lease_ms = LEASE_MS;
    o.max_age_ms = LEASE_MS;
    *b = fleet_create(&o);
    o.max_age_ms = LONG_MS;
    o.address = server.tcp_address;
    *a = fleet_create(&o);
}

/* Forward: the lease is over at once, and another one leads; the old leader publishes nothing. */
static void a_clock_that_goes_forward(void **state)
{
    struct fleet_work old = {.size = 8, .status = 1}, w = {.size = 8, .status = 2};
    struct fleet_caller leader, waiter;
    sflight_fleet *a, *b;
    (void)state;
    clock_fleets(&a, &b);
    fleet_caller_start(&leader, a, "k", fleet_work_fn, &old, NULL);
    WAIT_UNTIL(atomic_load(&old.runs) == 1);
    step_clock(3600);
    WAIT_UNTIL(FLEET_COUNT(a, leases_lost) == 1);
    fleet_caller_start(&waiter, b, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    atomic_store(&old.open, true);
    fleet_caller_got(&leader, &old, 1);
    WAIT_UNTIL(FLEET_COUNT(a, refused) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&waiter, &w, 1);
    fleet_free(a);
    fleet_free(b);
}

/* Back: the lease of a dead leader lasts an hour; who waits for it runs its own all the same. */
static void a_clock_that_goes_back(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    struct fleet_caller waiter;
    sflight_fleet *a, *b;
    (void)state;
    clock_fleets(&a, &b);
    assert_led(b, "k");
    do { /* unless the lease was over before */
        step_clock(0);
        server_ask(&server, "SET sf:clock{:k} 00000000000000010000000000000100 PX %d", LEASE_MS);
        step_clock(-3600);
    } while (server_ask(&server, "PTTL sf:clock{:k}") < 10 * LEASE_MS);
    fleet_caller_start(&waiter, b, "k", fleet_work_fn, &w, NULL);
    fleet_caller_got(&waiter, &w, 1);
    assert_int_equal(FLEET_COUNT(b, alone_gave_up), 1);
    fleet_free(a);
    fleet_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_right, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_loads, setup, teardown),
        cmocka_unit_test_setup_teardown(an_inbox_that_overflows, setup, teardown),
        cmocka_unit_test(a_cluster),
        cmocka_unit_test_setup_teardown(a_failover, ha_setup, ha_teardown),
        cmocka_unit_test_setup_teardown(a_master_that_dies, ha_setup, ha_teardown),
        cmocka_unit_test_setup_teardown(no_such_master, ha_setup, ha_teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_goes_forward, clock_setup, clock_teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_goes_back, clock_setup, clock_teardown),
    };
    return RUN_TESTS(tests);
}
