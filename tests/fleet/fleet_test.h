/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fleet_test.h - what programs need that test the fleet with an engine: a server of their own, on
 * a unix socket in a new folder and on a free port of the loopback; fleets; what the engine knows.
 *
 * A server dies with the program.  Nothing waits for a time: a test waits until a number has moved,
 * of a fleet or of the engine.
 */
#ifndef FLEET_TEST_H
#define FLEET_TEST_H

#include "../lib/test.h"
#include "engine_exec.h"

#include "../../include/singleflight_fleet.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* --------------------------------------------------------------- servers */

struct server_process {
    char dir[64], socket[96], address[128], tcp_address[64];
    int port;
    pid_t pid;
    const char *extra[8]; /* arguments, NULL-terminated */
};

static inline int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline void server_exec(const struct server_process *s)
{
    char port[16];
    const char *args[32] = {"",          "--unixsocket", s->socket, "--port", port,   "--bind",
                            "127.0.0.1", "--save",       "",        "--dir",  s->dir, "--logfile",
                            "log",       "--io-threads", "1"};
    int n = 0;
    while (args[n] != NULL)
        n++;
    for (int i = 0; s->extra[i] != NULL; i++)
        args[n++] = s->extra[i];
    snprintf(port, sizeof port, "%d", s->port);
    engine_exec(args);
}

/* A connection of the test's own; waits until the server lets it in. */
static inline redisContext *server_connect(const struct server_process *s)
{
    for (;;) {
        redisContext *c = redisConnectUnix(s->socket);
        assert_non_null(c);
        if (c->err == 0) {
            redisReply *r = redisCommand(c, "PING");
            bool is_up =
                r != NULL && (r->type == REDIS_REPLY_STATUS || strncmp(r->str, "LOADING", 7) != 0);
            if (r != NULL)
                freeReplyObject(r);
            if (is_up)
                return c;
        }
        redisFree(c);
        assert_int_not_equal(waitpid(s->pid, NULL, WNOHANG), s->pid); /* it must not have ended */
        sched_yield();
    }
}

static inline void server_start(struct server_process *s)
{
    s->pid = fork_child();
    if (s->pid == 0)
        server_exec(s);
    redisFree(server_connect(s));
}

/* extra: NULL-terminated arguments, or NULL. */
static inline void server_new(struct server_process *s, const char *const *extra)
{
    *s = (struct server_process){.port = free_port()};
    for (int i = 0; extra != NULL && extra[i] != NULL; i++)
        s->extra[i] = extra[i];
    strcpy(s->dir, "/tmp/sf-fleet-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->socket, sizeof s->socket, "%s/s", s->dir);
    snprintf(s->address, sizeof s->address, "unix:%s", s->socket);
    snprintf(s->tcp_address, sizeof s->tcp_address, "tcp:127.0.0.1:%d", s->port);
    server_start(s);
}

static inline void server_kill(struct server_process *s)
{
    kill(s->pid, SIGCONT);
    kill(s->pid, SIGKILL);
    assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
    s->pid = 0;
    unlink(s->socket);
}

/* Stops it where it stands; returns when it does. */
static inline void server_freeze(const struct server_process *s)
{
    int status;
    kill(s->pid, SIGSTOP);
    assert_int_equal(waitpid(s->pid, &status, WUNTRACED), s->pid);
    assert_true(WIFSTOPPED(status));
}

static inline void server_thaw(const struct server_process *s)
{
    kill(s->pid, SIGCONT);
}

static inline void server_free(struct server_process *s)
{
    char command[128];
    if (s->pid != 0)
        server_kill(s);
    snprintf(command, sizeof command, "rm -rf %s", s->dir);
    assert_int_equal(system(command), 0);
}

/* The integer that a command answers; of an array or a string its length, of nil -1. */
__attribute__((format(printf, 2, 3))) static inline long long
server_ask(const struct server_process *s, const char *format, ...)
{
    redisContext *c = server_connect(s);
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(c, format, args);
    va_end(args);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        fprintf(stderr, "# %s: %s\n", format, r->str);
    assert_int_not_equal(r->type, REDIS_REPLY_ERROR);
    long long n = r->type == REDIS_REPLY_INTEGER ? r->integer
                  : r->type == REDIS_REPLY_ARRAY ? (long long)r->elements
                  : r->type == REDIS_REPLY_NIL   ? -1
                                                 : (long long)r->len;
    freeReplyObject(r);
    redisFree(c);
    return n;
}

/* ---------------------------------------------------------------- fleets */

enum { LONG_MS = 600000 }; /* nothing of that length ends in a test */

/* Defaults for tests: the name is given, and the engine is waited for. */
static inline void fleet_options(sflight_fleet_options *o, const struct server_process *s,
                                 const char *name)
{
    sflight_fleet_options_init(o);
    o->name = name;
    o->address = s->address;
    o->engine_timeout_ms = LONG_MS;
    o->lease_ms = LONG_MS;
    o->max_age_ms = LONG_MS;
}

static inline sflight_fleet *fleet_create(const sflight_fleet_options *o)
{
    sflight_fleet *f;
    assert_int_equal(sflight_fleet_create(&f, o), 0);
    assert_non_null(f);
    return f;
}

static inline sflight_fleet *fleet_new(const struct server_process *s, const char *name)
{
    sflight_fleet_options o;
    fleet_options(&o, s, name);
    return fleet_create(&o);
}

static inline void fleet_free(sflight_fleet *f)
{
    assert_int_equal(sflight_fleet_close(f, NULL), 0);
    assert_int_equal(sflight_fleet_destroy(f), 0);
}

static inline sflight_fleet_counters fleet_counters(sflight_fleet *f)
{
    sflight_fleet_counters c;
    assert_int_equal(sflight_fleet_stats(f, &c), 0);
    return c;
}

/* One number of a fleet, by its name. */
#define FLEET_COUNT(f, number) (fleet_counters(f).number)

static inline uint64_t fleet_alone_calls(const sflight_fleet_counters *c)
{
    return c->alone_down + c->alone_slow + c->alone_refused + c->alone_oversize + c->alone_gave_up +
           c->alone_forked + c->alone_memory;
}

/* Calls of the process: every one ends in one of these. */
static inline uint64_t fleet_ended_calls(const sflight_fleet_counters *c)
{
    return c->led + c->received + c->timed_out + fleet_alone_calls(c);
}

/* ----------------------------------------------------------------- work */

/* The work of a leader that waits at a gate; in memory that processes share, if need be. */
struct fleet_work {
    atomic_int runs; /* that have begun */
    atomic_bool open;
    int status;
    size_t size; /* of the value: at least 8 bytes */
};

/* The value begins with the number of the run, counted from 1. */
static inline int fleet_work_fn(sflight_call *call, void *arg)
{
    struct fleet_work *w = arg;
    int64_t run = atomic_fetch_add(&w->runs, 1) + 1;
    WAIT_UNTIL(atomic_load(&w->open));
    char *value = sflight_call_alloc(call, w->size);
    assert_non_null(value);
    memset(value, 'v', w->size);
    memcpy(value, &run, sizeof run);
    return w->status;
}

/* The same work, and no result. */
static inline int fleet_panic_fn(sflight_call *call, void *arg)
{
    (void)fleet_work_fn(call, arg);
    sflight_panic(call, "no");
}

static inline int64_t run_of(const sflight_result *r)
{
    int64_t run;
    assert_non_null(r->value);
    assert_true(r->size >= sizeof run);
    memcpy(&run, r->value, sizeof run);
    return run;
}

/* For callers that must get a result without running anything. */
static inline int fleet_must_not_run(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    abort();
}

/* One sflight_fleet_do() on a thread of its own. */
struct fleet_caller {
    sflight_fleet *f;
    const char *key;
    sflight_fn *fn;
    void *arg;
    const struct timespec *deadline;
    pthread_t thread;
    int rc;
    sflight_result r;
};

static inline int fleet_do(sflight_fleet *f, const char *key, sflight_fn *fn, void *arg,
                           sflight_result *r)
{
    memset(r, 0xA5, sizeof *r);
    return sflight_fleet_do(f, key, strlen(key), fn, arg, NULL, r);
}

static inline void *fleet_caller_main(void *arg)
{
    struct fleet_caller *c = arg;
    c->rc = sflight_fleet_do(c->f, c->key, strlen(c->key), c->fn, c->arg, c->deadline, &c->r);
    return NULL;
}

static inline void fleet_caller_start(struct fleet_caller *c, sflight_fleet *f, const char *key,
                                      sflight_fn *fn, void *arg, const struct timespec *deadline)
{
    *c = (struct fleet_caller){f, key, fn, arg, deadline, .rc = INT_MIN};
    c->thread = thread_start(fleet_caller_main, c);
}

/* One leads "k" by fleet a, and one waits for it by b, which would hear of the result. */
static inline void fleet_lead_and_wait(sflight_fleet *a, struct fleet_caller *leader,
                                       sflight_fleet *b, struct fleet_caller *waiter,
                                       struct fleet_work *w)
{
    fleet_caller_start(leader, a, "k", fleet_work_fn, w, NULL);
    WAIT_UNTIL(atomic_load(&w->runs) == 1);
    fleet_caller_start(waiter, b, "k", fleet_must_not_run, NULL, NULL);
    WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1 && FLEET_COUNT(b, inbox_ready) == 1);
}

/* The call has delivered run number `run`; 0: any.  Its result is released. */
static inline void fleet_caller_got(struct fleet_caller *c, const struct fleet_work *w, int64_t run)
{
    thread_join(c->thread);
    assert_int_equal(c->rc, 0);
    assert_int_equal(c->r.status, w->status);
    assert_int_equal(c->r.size, w->size);
    if (run != 0)
        assert_int_equal(run_of(&c->r), run);
    sflight_result_release(&c->r);
}

/* Memory that this process and its children share. */
static inline void *shared_memory(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

/* A child that dies with this process. */
static inline pid_t fork_worker(void)
{
    pid_t pid = fork_child();
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

#endif
