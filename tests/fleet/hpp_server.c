/* SPDX-License-Identifier: BSD-2-Clause */
#include "hpp_server.h"

#include "fleet_test.h"

static struct server_process server;

const char *hpp_server_begin(void)
{
    server_new(&server, NULL);
    return server.address;
}

void hpp_server_freeze(void)
{
    server_freeze(&server);
}

void hpp_server_thaw(void)
{
    server_thaw(&server);
}

/* Where the socket is while nobody is to find it. */
static void away(char path[128])
{
    snprintf(path, 128, "%s.away", server.socket);
}

void hpp_server_cut(void)
{
    char path[128];
    redisContext *c = server_connect(&server);
    away(path);
    assert_int_equal(rename(server.socket, path), 0);
    freeReplyObject(redisCommand(c, "CLIENT KILL TYPE normal SKIPME yes"));
    freeReplyObject(redisCommand(c, "CLIENT KILL TYPE pubsub"));
    redisFree(c);
}

void hpp_server_mend(void)
{
    char path[128];
    away(path);
    assert_int_equal(rename(path, server.socket), 0);
}

void hpp_server_end(void)
{
    server_free(&server);
}

/* A slot is the leader's token, then those of who waits. */
long hpp_server_waiters(const char *fleet, const char *key)
{
    enum { TOKEN = 32 };
    return (long)(server_ask(&server, "STRLEN sf:%s{:%s}", fleet, key) / TOKEN) - 1;
}
