/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the engine is, as options.address says it:
 *
 *     unix:/PATH    tcp:HOST:PORT    tls:HOST:PORT    sentinel:MASTER@HOST:PORT,HOST:PORT...
 */
#ifndef SFLIGHT_FLEET_ADDRESS_H
#define SFLIGHT_FLEET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ADDRESS_MAX_LEN = 4096,   /* of the text */
    ADDRESS_MAX_SERVERS = 64, /* sentinels */
    ADDRESS_MAX_PATH = 107    /* of a unix socket, as the system has it */
};

enum address_kind { ADDRESS_UNIX, ADDRESS_TCP, ADDRESS_TLS, ADDRESS_SENTINEL };

struct server {
    const char *host; /* without brackets */
    int port;
};

struct address {
    enum address_kind kind;
    const char *path;       /* UNIX */
    const char *master;     /* SENTINEL */
    struct server *servers; /* of the others; n_servers of them: 1, but of SENTINEL */
    unsigned n_servers;
    char *text; /* what the names point into */
};

/* Returns 0, -EINVAL (malformed) or -ENOMEM; on failure *out holds nothing. */
int address_parse(struct address *out, const char *text);

void address_free(struct address *a);

#endif
