/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine.h"

#include "../lib/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static redisContext *try_connect(const struct engine *e)
{
    return e->port != 0 ? redisConnect("127.0.0.1", e->port) : redisConnectUnix(e->socket);
}

static bool is_up(const struct engine *e)
{
    redisContext *c = try_connect(e);
    BENCH_CHECK(c != NULL);
    redisReply *pong = c->err == 0 ? redisCommand(c, "PING") : NULL;
    const bool up = pong != NULL && pong->type == REDIS_REPLY_STATUS;
    if (pong != NULL)
        freeReplyObject(pong);
    redisFree(c);
    return up;
}

static void start(struct engine *e)
{
    char port[16];
    const pid_t parent = getpid();
    snprintf(port, sizeof(port), "%d", e->port);
    fflush(stdout);
    e->pid = fork();
    BENCH_CHECK(e->pid >= 0);
    if (e->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
        const char *server = getenv("FLEET_ENGINE");
        const char *const args[] = {"redis-server", "--port",       port,      "--bind",
                                    "127.0.0.1",    "--unixsocket", e->socket, "--dir",
                                    e->dir,         "--save",       "",        "--appendonly",
                                    "no",           "--logfile",    "log",     NULL};
        execvp(server != NULL ? server : "redis-server", (char **)args);
        /* Debian's redis-tools has the server under another name. */
        execv("/usr/bin/redis-check-rdb", (char **)args);
        perror("redis-server");
        _exit(EXIT_FAILURE);
    }
    while (!is_up(e)) {
        BENCH_CHECK(waitpid(e->pid, NULL, WNOHANG) == 0); /* it lives */
        bench_sleep_ns(1000000);
    }
}

/* One that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BENCH_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    BENCH_CHECK(getsockname(fd, (struct sockaddr *)&a, &size) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

void engine_create(struct engine *e, bool tcp)
{
    *e = (struct engine){.dir = "/tmp/bench-fleet.XXXXXX"};
    BENCH_CHECK(mkdtemp(e->dir) != NULL);
    snprintf(e->socket, sizeof(e->socket), "%s/socket", e->dir);
    e->port = tcp ? free_port() : 0;
    if (tcp)
        snprintf(e->address, sizeof(e->address), "tcp:127.0.0.1:%d", e->port);
    else
        snprintf(e->address, sizeof(e->address), "unix:%s", e->socket);
    start(e);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void engine_destroy(struct engine *e)
{
    engine_kill(e);
    nftw(e->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void engine_kill(struct engine *e)
{
    kill(e->pid, SIGKILL);
    BENCH_CHECK(waitpid(e->pid, NULL, 0) == e->pid);
}

void engine_restart(struct engine *e)
{
    start(e);
}

void engine_freeze(const struct engine *e)
{
    int status;
    kill(e->pid, SIGSTOP);
    BENCH_CHECK(waitpid(e->pid, &status, WUNTRACED) == e->pid && WIFSTOPPED(status));
}

void engine_thaw(const struct engine *e)
{
    kill(e->pid, SIGCONT);
}

redisContext *engine_connect(const struct engine *e)
{
    redisContext *c = try_connect(e);
    BENCH_CHECK(c != NULL && c->err == 0);
    return c;
}

static redisReply *checked(redisContext *c, redisReply *r)
{
    if (r == NULL || r->type == REDIS_REPLY_ERROR)
        fprintf(stderr, "redis-server: %s\n", r != NULL ? r->str : c->errstr);
    BENCH_CHECK(r != NULL && r->type != REDIS_REPLY_ERROR);
    return r;
}

redisReply *engine_ask(redisContext *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(c, format, args);
    va_end(args);
    return checked(c, r);
}

redisReply *engine_message(redisContext *c)
{
    void *r = NULL;
    BENCH_CHECK(redisGetReply(c, &r) == REDIS_OK);
    return checked(c, r);
}

static double info_number(const char *info, const char *name)
{
    const char *found = strstr(info, name);
    BENCH_CHECK(found != NULL);
    return strtod(found + strlen(name), NULL);
}

uint64_t engine_cpu_ns(redisContext *c)
{
    redisReply *info = engine_ask(c, "INFO cpu");
    const double s =
        info_number(info->str, "\nused_cpu_sys:") + info_number(info->str, "\nused_cpu_user:");
    freeReplyObject(info);
    return (uint64_t)(s * 1e9);
}

redisContext *engine_count_start(const struct engine *e)
{
    redisContext *c = engine_connect(e);
    freeReplyObject(engine_ask(c, "MONITOR"));
    return c;
}

/* A line of MONITOR:   1700000000.123456 [0 127.0.0.1:40000] "GET" "key"   and of a script [0 lua]
 */
uint64_t engine_count_end(redisContext *monitor, redisContext *other)
{
    uint64_t n = 0;
    freeReplyObject(engine_ask(other, "ECHO counted"));
    for (;;) {
        redisReply *line = engine_message(monitor);
        const bool last = strstr(line->str, "\"ECHO\" \"counted\"") != NULL;
        n += !last && strstr(line->str, " lua] ") == NULL;
        freeReplyObject(line);
        if (last)
            break;
    }
    redisFree(monitor);
    return n;
}
