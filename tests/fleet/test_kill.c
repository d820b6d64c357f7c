/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that are killed, or stopped for longer than their lease.  What they do is written down
 * in memory that outlives them.
 */
#include "fleet_test.h"

static struct server_process server;

/* What the processes of a test have in common. */
struct log {
    struct fleet_work old, next;
    atomic_int refused, published, lost, returned;
    atomic_bool end;
};

/* A machine that stands still for so long loses leases: then there are more runs, and counters say
 * so. */
enum { LEASE_MS = 1000 };

static sflight_fleet *fleet_with_lease(const char *name)
{
    sflight_fleet_options o;
    fleet_options(&o, &server, name);
    o.lease_ms = LEASE_MS;
    return fleet_create(&o);
}

/* A process that leads, once, and then tells what became of it. */
static pid_t fork_leader(const char *name, struct log *log)
{
    int runs = atomic_load(&log->old.runs);
    pid_t pid = fork_worker();
    if (pid == 0) {
        sflight_fleet *f = fleet_with_lease(name);
        sflight_result r;
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &log->old, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        atomic_store(&log->returned, 1);
        assert_int_equal(sflight_fleet_close(f, NULL), 0);
        sflight_fleet_counters c = fleet_counters(f);
        atomic_fetch_add(&log->refused, (int)c.refused);
        atomic_fetch_add(&log->published, (int)c.published);
        assert_int_equal(sflight_fleet_destroy(f), 0);
        _exit(0);
    }
    WAIT_UNTIL(atomic_load(&log->old.runs) == runs + 1);
    return pid;
}

/* Those that wait elsewhere go on when the lease has ended: one of them leads. */
static void a_leader_that_is_killed(void **state)
{
    enum { N = 3 };
    (void)state;
    for (int i = 0; i < rounds(3, 2); i++) {
        struct log *log = shared_memory(sizeof *log);
        struct fleet_caller waiters[N];
        sflight_fleet *f[N];
        sflight_fleet_options o;
        log->old.size = log->next.size = 8;
        fleet_options(&o, &server, "killed");
        o.lease_ms = LEASE_MS;
        for (int k = 0; k < N; k++) {
            o.address = k % 2 == 0 ? server.address : server.tcp_address;
            f[k] = fleet_create(&o);
        }
        pid_t pid = fork_leader("killed", log);
        for (int k = 0; k < N; k++) {
            fleet_caller_start(&waiters[k], f[k], "k", fleet_work_fn, &log->next, NULL);
            WAIT_UNTIL(FLEET_COUNT(f[k], waiting) == 1);
        }
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        WAIT_UNTIL(atomic_load(&log->next.runs) == 1);
        /* When the others' timers have come, too, they wait for the new one. */
        WAIT_UNTIL(server_ask(&server, "STRLEN sf:killed{:k}") == N * 32);
        atomic_store(&log->next.open, true);
        for (int k = 0; k < N; k++)
            fleet_caller_got(&waiters[k], &log->next, 0);
        uint64_t takeovers = 0, lost = 0;
        for (int k = 0; k < N; k++) {
            assert_int_equal(sflight_fleet_close(f[k], NULL), 0);
            takeovers += FLEET_COUNT(f[k], takeovers);
            lost += FLEET_COUNT(f[k], leases_lost) + FLEET_COUNT(f[k], refused);
            assert_int_equal(sflight_fleet_destroy(f[k]), 0);
        }
        assert_int_equal(takeovers, log->next.runs);
        assert_true(takeovers == 1 || lost > 0);
        munmap(log, sizeof *log);
    }
}

static int n_stops; /* of the next test: the program's argument */

/* The stopped process's result comes while the next flight is under way, and is refused. */
static void a_leader_that_is_stopped_past_its_lease(void **state)
{
    (void)state;
    sflight_fleet *f = fleet_with_lease("stopped");
    for (int i = 0; i < n_stops; i++) {
        struct log *log = shared_memory(sizeof *log);
        struct fleet_caller waiter;
        int status;
        log->old.size = log->next.size = 8;
        pid_t pid = fork_leader("stopped", log);
        fleet_caller_start(&waiter, f, "k", fleet_work_fn, &log->next, NULL);
        WAIT_UNTIL(FLEET_COUNT(f, waiting) == 1);
        kill(pid, SIGSTOP);
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        WAIT_UNTIL(atomic_load(&log->next.runs) == 1);
        atomic_store(&log->old.open, true);
        kill(pid, SIGCONT);
        assert_child_succeeds(pid);
        assert_int_equal(log->refused, 1);
        assert_int_equal(log->published, 0);
        assert_int_equal(log->returned, 1);
        /* The second flight is as it was. */
        assert_int_equal(FLEET_COUNT(f, leading), 1);
        atomic_store(&log->next.open, true);
        fleet_caller_got(&waiter, &log->next, 1);
        WAIT_UNTIL(FLEET_COUNT(f, leading) == 0);
        assert_int_equal(FLEET_COUNT(f, published) + FLEET_COUNT(f, refused), i + 1);
        munmap(log, sizeof *log);
    }
    assert_true(FLEET_COUNT(f, refused) == 0 || FLEET_COUNT(f, leases_lost) > 0);
    fleet_free(f);
}

/* A leader that outlives its lease many times keeps it. */
static void a_long_run_is_renewed(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    (void)state;
    sflight_fleet *f = fleet_with_lease("long");
    fleet_options(&o, &server, "long");
    o.address = server.tcp_address;
    o.lease_ms = LEASE_MS;
    sflight_fleet *other = fleet_create(&o);
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    fleet_caller_start(&waiter, other, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(FLEET_COUNT(f, renewals) >= 9);
    if (FLEET_COUNT(f, leases_lost) == 0) /* a machine may stand still for longer than that */
        assert_int_equal(w.runs, 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    fleet_caller_got(&waiter, &w, 0);
    fleet_free(f);
    fleet_free(other);
}

/* Past max_age the lease is not renewed any more: others go on, and the old run publishes nothing.
 */
static void a_run_that_is_too_old(void **state)
{
    struct fleet_work old = {.size = 8}, w = {.size = 8};
    struct fleet_caller leader, waiter;
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "aged");
    o.lease_ms = LEASE_MS;
    o.max_age_ms = 2 * LEASE_MS;
    sflight_fleet *f = fleet_create(&o);
    o.address = server.tcp_address;
    o.max_age_ms = LONG_MS;
    sflight_fleet *other = fleet_create(&o);
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &old, NULL);
    WAIT_UNTIL(atomic_load(&old.runs) == 1);
    fleet_caller_start(&waiter, other, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    assert_int_equal(FLEET_COUNT(f, aged) + FLEET_COUNT(f, leases_lost), 1);
    atomic_store(&old.open, true);
    fleet_caller_got(&leader, &old, 1);
    WAIT_UNTIL(FLEET_COUNT(f, refused) == 1);
    atomic_store(&w.open, true);
    fleet_caller_got(&waiter, &w, 1);
    fleet_free(f);
    fleet_free(other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_that_is_killed),
        cmocka_unit_test(a_leader_that_is_stopped_past_its_lease),
        cmocka_unit_test(a_long_run_is_renewed),
        cmocka_unit_test(a_run_that_is_too_old),
    };
    n_stops = argc > 1 ? atoi(argv[1]) : rounds(5, 3);
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
