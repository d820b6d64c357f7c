/* SPDX-License-Identifier: BSD-2-Clause */
/* A fleet is of the process that created it: in a child it flies alone, and says so. */
#include "fleet_test.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct server_process server;

static void a_fleet_from_before_the_fork(void **state)
{
    struct fleet_work w = {.open = true, .size = 8, .status = 1};
    sflight_result r;
    char why[128];
    (void)state;
    sflight_fleet *f = fleet_new(&server, "fork");
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    pid_t pid = fork_worker();
    if (pid == 0) {
        for (uint64_t i = 1; i <= 3; i++) {
            assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
            assert_true(r.leader);
            sflight_result_release(&r);
            assert_int_equal(FLEET_COUNT(f, alone_forked), i);
        }
        assert_int_equal(FLEET_COUNT(f, connected), 0);
        assert_int_equal(sflight_fleet_check(f, NULL, why, sizeof why), -EHOSTUNREACH);
        assert_non_null(strstr(why, "forked"));
        assert_int_equal(sflight_fleet_forget(f, "k", 1), -EHOSTUNREACH);
        assert_string_equal(sflight_fleet_last_error(f, why, sizeof why), "");
        /* A new one works beside it. */
        sflight_fleet *mine = fleet_new(&server, "fork");
        assert_int_equal(fleet_do(mine, "k", fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
        assert_int_equal(FLEET_COUNT(mine, led), 1);
        fleet_free(mine);
        assert_int_equal(sflight_fleet_close(f, NULL), 0);
        assert_int_equal(sflight_fleet_destroy(f), 0);
        _exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(f, led), 1);
    fleet_free(f);
}

static sflight_fleet *used_in_handler;

/* A handler that is older than any fleet, and so comes before the fleet's own. */
static void in_the_child(void)
{
    if (used_in_handler == NULL)
        return;
    struct fleet_work w = {.open = true, .size = 8};
    sflight_result r;
    assert_int_equal(sflight_fleet_forget(used_in_handler, "k", 1), -EHOSTUNREACH);
    assert_int_equal(fleet_do(used_in_handler, "k", fleet_work_fn, &w, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(FLEET_COUNT(used_in_handler, alone_forked), 1);
}

static void a_handler_of_the_fork(void **state)
{
    (void)state;
    used_in_handler = fleet_new(&server, "handler");
    pid_t pid = fork_worker();
    if (pid == 0)
        _exit(sflight_fleet_destroy(used_in_handler) == 0 ? 0 : 1);
    assert_child_succeeds(pid);
    fleet_free(used_in_handler);
    used_in_handler = NULL;
}

static pid_t forked;

static int fork_fn(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    forked = fork_worker();
    return forked == 0 ? 1 : 2;
}

/* The parent publishes, the child does not. */
static void a_fork_in_fn(void **state)
{
    sflight_result r;
    (void)state;
    sflight_fleet *f = fleet_new(&server, "infn");
    assert_int_equal(fleet_do(f, "k", fork_fn, NULL, &r), 0);
    if (forked == 0) {
        assert_int_equal(r.status, 1);
        sflight_result_release(&r);
        assert_int_equal(sflight_fleet_destroy(f), 0);
        _exit(0);
    }
    assert_int_equal(r.status, 2);
    sflight_result_release(&r);
    assert_child_succeeds(forked);
    WAIT_UNTIL(FLEET_COUNT(f, published) == 1);
    fleet_free(f);
}

struct forking {
    sflight_fleet *f;
    atomic_bool stop;
};

static void *call_until_told(void *arg)
{
    struct forking *l = arg;
    struct fleet_work w = {.open = true, .size = 8};
    while (!atomic_load(&l->stop)) {
        sflight_result r;
        assert_int_equal(fleet_do(l->f, "k", fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
    }
    return NULL;
}

/* Children of a busy parent: each flies alone, and flies with a fleet of its own. */
static void forks_under_load(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* another thread may hold a lock of its malloc(), which it has in the child for
                   ever */
    struct forking l = {.f = fleet_new(&server, "forks")};
    pthread_t threads[3];
    threads_start(threads, 3, call_until_told, &l);
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork_worker();
        if (pid == 0) {
            struct fleet_work w = {.open = true, .size = 8};
            sflight_result r;
            uint64_t before = FLEET_COUNT(l.f, alone_forked);
            assert_int_equal(fleet_do(l.f, "mine", fleet_work_fn, &w, &r), 0);
            sflight_result_release(&r);
            assert_int_equal(FLEET_COUNT(l.f, alone_forked), before + 1);
            sflight_fleet *mine = fleet_new(&server, "forks");
            assert_int_equal(sflight_fleet_check(mine, NULL, NULL, 0), 0);
            fleet_free(mine);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&l.stop, true);
    threads_join(threads, 3);
    fleet_free(l.f);
}

/* Sockets, and what is no file: eventfds. */
static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        struct stat s;
        n += fstat(fd, &s) == 0 && (S_ISSOCK(s.st_mode) || (s.st_mode & S_IFMT) == 0);
    }
    return n;
}

static void *create_and_destroy_until_told(void *arg)
{
    struct forking *l = arg;
    while (!atomic_load(&l->stop)) {
        sflight_fleet *f = fleet_new(&server, "short");
        assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
        fleet_free(f);
    }
    return NULL;
}

/* At no moment of an engine's life does a child keep a connection of it, or another descriptor. */
static void forks_while_engines_come_and_go(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* as above */
    struct forking l = {.stop = false};
    int before = descriptors();
    pthread_t thread = thread_start(create_and_destroy_until_told, &l);
    for (int i = 0; i < 500; i++) {
        pid_t pid = fork_worker();
        if (pid == 0)
            _exit(descriptors() != before);
        assert_child_succeeds(pid);
    }
    atomic_store(&l.stop, true);
    thread_join(thread);
}

/* Descriptors whose other side is the port; each is closed when a program is executed. */
static int connections_to(int port)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_in a;
        socklen_t len = sizeof a;
        if (getpeername(fd, (struct sockaddr *)&a, &len) != 0 || a.sin_family != AF_INET ||
            ntohs(a.sin_port) != port)
            continue;
        assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        n++;
    }
    return n;
}

/* A server that never answers: connections that are not made yet are not the child's either. */
static void connections_that_are_being_made(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    sflight_fleet_options o;
    char address[64];
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(listen(listener, 16), 0);
    snprintf(address, sizeof address, "tcp:127.0.0.1:%d", ntohs(a.sin_port));
    fleet_options(&o, &server, "silent");
    o.address = address;
    sflight_fleet *f = fleet_create(&o);
    WAIT_UNTIL(connections_to(ntohs(a.sin_port)) == 2);
    pid_t pid = fork_worker();
    if (pid == 0) {
        assert_int_equal(connections_to(ntohs(a.sin_port)), 0);
        _exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(FLEET_COUNT(f, connected), 0);
    close(listener);
    fleet_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fleet_from_before_the_fork),
        cmocka_unit_test(a_handler_of_the_fork),
        cmocka_unit_test(a_fork_in_fn),
        cmocka_unit_test(forks_under_load),
        cmocka_unit_test(forks_while_engines_come_and_go),
        cmocka_unit_test(connections_that_are_being_made),
    };
    assert_int_equal(pthread_atfork(NULL, NULL, in_the_child), 0);
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
