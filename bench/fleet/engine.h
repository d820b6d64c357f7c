/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.h - a redis-server of the program's own, in a temporary directory, on a unix socket or on
 * a free port of 127.0.0.1; and what is asked of it.  FLEET_ENGINE in the environment names another
 * server, such as valkey-server.  Whatever goes wrong ends the program.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct engine {
    pid_t pid;
    char dir[64];
    char socket[80];  /* on the file system, or */
    int port;         /* if this is not 0, on 127.0.0.1 */
    char address[96]; /* as sflight_fleet_options has it */
};

/* Returns when it answers.  It ends with the thread that started it. */
void engine_create(struct engine *e, bool tcp);
void engine_destroy(struct engine *e);

/* SIGKILL; and another one in its place, empty, at the same address. */
void engine_kill(struct engine *e);
void engine_restart(struct engine *e);

/* Stops and goes on, as by SIGSTOP and SIGCONT. */
void engine_freeze(const struct engine *e);
void engine_thaw(const struct engine *e);

/* A connection that blocks; freed by redisFree(). */
redisContext *engine_connect(const struct engine *e);

/* A command's answer, which is no error; freed by freeReplyObject(). */
redisReply *engine_ask(redisContext *c, const char *format, ...);

/* The next message of a connection, which has to come. */
redisReply *engine_message(redisContext *c);

/* The CPU time of the engine so far, in ns, as INFO says it. */
uint64_t engine_cpu_ns(redisContext *c);

/* Has the engine tell of each command that comes, and counts those of clients, not those that a
   script sends: from engine_count_start() to engine_count_end(). */
redisContext *engine_count_start(const struct engine *e);
uint64_t engine_count_end(redisContext *monitor, redisContext *other);

#endif
