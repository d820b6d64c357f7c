/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Partitions, silent ones: each process is in a network namespace of its own, and the server in
 * another one; a cut drops every packet between two, both ways, and nobody is told.  Needs the
 * right to make namespaces, and iproute2; says so where it is skipped.
 */
#include "fleet_test.h"

enum { LEASE_MS = 1000, HASTY_MS = 100, WAITER_MS = 3000 };

static struct server_process server;
static const char *lacking; /* why there are no namespaces; NULL: there are */

/* What the test and its two processes have in common. */
static struct shared {
    struct fleet_work old, next;
    atomic_int published, refused, unpublished, returned, alone;
    atomic_int n_ready;
    atomic_bool has_network, is_cut, end;
} * shared;

__attribute__((format(printf, 1, 2))) static bool shell(const char *format, ...)
{
    char command[400];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    return system(command) == 0;
}

static int setup(void **state)
{
    static const char *const extra[] = {"--bind", "0.0.0.0", "--protected-mode", "no", NULL};
    (void)state;
    shared = shared_memory(sizeof *shared);
    shared->old.size = shared->next.size = 8;
    if (lacking == NULL)
        server_new(&server, extra);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (lacking == NULL)
        server_free(&server);
    munmap(shared, sizeof *shared);
    return 0;
}

/* Of process i: 10.9.i.1 is the server's end, 10.9.i.2 the process's. */
static bool connect_network(int i, pid_t pid)
{
    return shell("ip link add v%d type veth peer name w%d && ip link set w%d netns %d && "
                 "ip addr add 10.9.%d.1/24 dev v%d && ip link set v%d up && "
                 "nsenter --net=/proc/%d/ns/net sh -c "
                 "'ip link set lo up; ip addr add 10.9.%d.2/24 dev w%d; ip link set w%d up'",
                 i, i, i, (int)pid, i, i, i, (int)pid, i, i, i);
}

/* Every packet is longer than a byte. */
static void cut(int i, pid_t pid)
{
    assert_true(shell("tc qdisc add dev v%d root bfifo limit 1 && "
                      "nsenter --net=/proc/%d/ns/net tc qdisc add dev w%d root bfifo limit 1",
                      i, (int)pid, i));
}

static void mend(int i, pid_t pid)
{
    assert_true(shell("tc qdisc del dev v%d root && "
                      "nsenter --net=/proc/%d/ns/net tc qdisc del dev w%d root",
                      i, (int)pid, i));
}

/* Of process i, on the one engine thread that it has. */
static sflight_fleet *fleet_over(int i, uint32_t engine_timeout_ms)
{
    sflight_fleet_options o;
    char address[64];
    fleet_options(&o, &server, "parts");
    snprintf(address, sizeof address, "tcp:10.9.%d.1:%d", i, server.port);
    o.address = address;
    o.lease_ms = LEASE_MS;
    o.engine_timeout_ms = engine_timeout_ms;
    return fleet_create(&o);
}

/* In a process: returns when it has a network. */
static void enter_network(void)
{
    if (unshare(CLONE_NEWNET) != 0)
        _exit(1);
    atomic_fetch_add(&shared->n_ready, 1);
    WAIT_UNTIL(atomic_load(&shared->has_network));
}

/* Calls until one has led again. */
static void lead_again(sflight_fleet *f, const char *key)
{
    struct fleet_work w = {.open = true, .size = 8};
    uint64_t led = FLEET_COUNT(f, led);
    while (FLEET_COUNT(f, led) == led) {
        sflight_result r;
        assert_int_equal(fleet_do(f, key, fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
    }
}

/* A caller of another key, which nobody else wants: no error, alone or not. */
static void call_alone(sflight_fleet *f)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet_counters c = fleet_counters(f);
    uint64_t alone = fleet_alone_calls(&c);
    while (fleet_alone_calls(&c) == alone) {
        sflight_result r;
        assert_int_equal(fleet_do(f, "other", fleet_work_fn, &w, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        c = fleet_counters(f);
    }
    atomic_fetch_add(&shared->alone, 1);
}

/* Leads, and calls something else while cut off, if it is to be. */
static void leader_main(int i, bool is_cut)
{
    struct fleet_caller c;
    enter_network();
    sflight_fleet *f = fleet_over(i, LONG_MS), *hasty = fleet_over(i, HASTY_MS);
    fleet_caller_start(&c, f, "k", fleet_work_fn, &shared->old, NULL);
    if (is_cut) {
        WAIT_UNTIL(atomic_load(&shared->is_cut));
        call_alone(hasty);
    }
    fleet_caller_got(&c, &shared->old, 1);
    atomic_fetch_add(&shared->returned, 1);
    WAIT_UNTIL(FLEET_COUNT(f, leading) == 0);
    sflight_fleet_counters n = fleet_counters(f);
    atomic_store(&shared->published, (int)n.published);
    atomic_store(&shared->refused, (int)n.refused);
    atomic_store(&shared->unpublished, (int)n.unpublished);
    WAIT_UNTIL(atomic_load(&shared->end));
    lead_again(hasty, "a");
    fleet_free(f);
    fleet_free(hasty);
    _exit(0);
}

/* A caller that waits for the leader; where the machine stood still, and it flew alone: once more.
 */
static void wait_for_leader(struct fleet_caller *c, sflight_fleet *f)
{
    struct fleet_work *w = &shared->next;
    for (;;) {
        fleet_caller_start(c, f, "k", fleet_work_fn, w, NULL);
        WAIT_UNTIL(FLEET_COUNT(f, waiting) == 1 || atomic_load(&w->runs) == 1);
        if (atomic_load(&w->runs) == 0)
            return;
        atomic_store(&w->open, true);
        fleet_caller_got(c, w, 1);
        atomic_store(&w->open, false);
        atomic_store(&w->runs, 0);
    }
}

/* Waits for the leader; runs its own when it may not. */
static void waiter_main(int i, bool is_cut)
{
    struct fleet_caller c;
    enter_network();
    sflight_fleet *f = fleet_over(i, WAITER_MS), *hasty = fleet_over(i, HASTY_MS);
    WAIT_UNTIL(atomic_load(&shared->old.runs) == 1);
    lead_again(f, "b");
    wait_for_leader(&c, f);
    atomic_fetch_add(&shared->n_ready, 1);
    if (is_cut) {
        WAIT_UNTIL(atomic_load(&shared->is_cut));
        call_alone(hasty);
    }
    fleet_caller_got(&c, &shared->next, 1);
    atomic_fetch_add(&shared->returned, 1);
    WAIT_UNTIL(atomic_load(&shared->end));
    lead_again(f, "b");
    fleet_free(f);
    fleet_free(hasty);
    _exit(0);
}

/* Both processes: one leads, the other one waits, and `connected` tells those that are to be cut.
 */
static bool begin(pid_t pids[2], bool cuts_leader, bool cuts_waiter)
{
    if (lacking != NULL) {
        print_message("# no partitions: %s\n",
                      lacking); /* not skip(): for prove that is a failure */
        return false;
    }
    for (int i = 0; i < 2; i++) {
        pids[i] = fork_worker();
        if (pids[i] == 0) {
            if (i == 0)
                leader_main(i, cuts_leader);
            else
                waiter_main(i, cuts_waiter);
        }
    }
    WAIT_UNTIL(atomic_load(&shared->n_ready) == 2);
    for (int i = 0; i < 2; i++)
        assert_true(connect_network(i, pids[i]));
    atomic_store(&shared->has_network, true);
    WAIT_UNTIL(atomic_load(&shared->n_ready) == 3);
    for (int i = 0; i < 2; i++)
        if (i == 0 ? cuts_leader : cuts_waiter)
            cut(i, pids[i]);
    atomic_store(&shared->is_cut, true);
    return true;
}

static void end(const pid_t pids[2])
{
    atomic_store(&shared->end, true);
    for (int i = 0; i < 2; i++)
        assert_child_succeeds(pids[i]);
    for (int i = 0; i < 2; i++)
        (void)shell("ip link del v%d 2>/dev/null", i);
}

/* The waiter takes over when the lease has ended; the old result publishes nothing. */
static void a_leader_that_is_cut_off(void **state)
{
    pid_t pids[2];
    (void)state;
    if (!begin(pids, true, false))
        return;
    WAIT_UNTIL(atomic_load(&shared->alone) == 1);
    WAIT_UNTIL(atomic_load(&shared->next.runs) == 1);
    /* Its own callers have its result, cut off as it is. */
    atomic_store(&shared->old.open, true);
    WAIT_UNTIL(atomic_load(&shared->returned) == 1);
    mend(0, pids[0]);
    WAIT_UNTIL(atomic_load(&shared->refused) + atomic_load(&shared->unpublished) == 1);
    assert_int_equal(atomic_load(&shared->published), 0);
    atomic_store(&shared->next.open, true);
    end(pids);
    assert_int_equal(atomic_load(&shared->next.runs), 1);
}

/* It does not hear of the result, and runs its own in the end; the leader does not notice. */
static void a_follower_that_is_cut_off(void **state)
{
    pid_t pids[2];
    (void)state;
    if (!begin(pids, false, true))
        return;
    atomic_store(&shared->old.open, true);
    WAIT_UNTIL(atomic_load(&shared->published) == 1);
    WAIT_UNTIL(atomic_load(&shared->alone) == 1);
    WAIT_UNTIL(atomic_load(&shared->next.runs) == 1);
    atomic_store(&shared->next.open, true);
    WAIT_UNTIL(atomic_load(&shared->returned) == 2);
    mend(1, pids[1]);
    end(pids);
}

/* Everybody flies alone, and together again when it is back. */
static void an_engine_that_is_cut_off(void **state)
{
    pid_t pids[2];
    (void)state;
    if (!begin(pids, true, true))
        return;
    WAIT_UNTIL(atomic_load(&shared->alone) == 2);
    WAIT_UNTIL(atomic_load(&shared->next.runs) == 1);
    atomic_store(&shared->old.open, true);
    atomic_store(&shared->next.open, true);
    WAIT_UNTIL(atomic_load(&shared->returned) == 2);
    mend(0, pids[0]);
    mend(1, pids[1]);
    end(pids);
    assert_int_equal(atomic_load(&shared->published) + atomic_load(&shared->refused) +
                         atomic_load(&shared->unpublished),
                     1);
}

/* A namespace of the test's own, for the server, in which packets can be dropped. */
static void make_namespace(void)
{
    if (unshare(CLONE_NEWNET) != 0)
        lacking = "no right to make network namespaces (CAP_NET_ADMIN)";
    else if (!shell("ip link set lo up") || !shell("command -v tc nsenter >/dev/null"))
        lacking = "ip, tc and nsenter are needed (iproute2, util-linux)";
    else if (!shell("tc qdisc add dev lo root bfifo limit 100000 && tc qdisc del dev lo root"))
        lacking = "the kernel has no bfifo queue";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_leader_that_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(a_follower_that_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(an_engine_that_is_cut_off, setup, teardown),
    };
    make_namespace();
    return RUN_TESTS(tests);
}
