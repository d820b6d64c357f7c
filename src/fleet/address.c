/* SPDX-License-Identifier: BSD-2-Clause */
/* The text is copied once and cut into pieces where it stands. */
#include "address.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse_port(const char *s)
{
    int port = 0;

    if (*s == '\0' || strlen(s) > 5)
        return 0;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return 0;
        port = port * 10 + (*s - '0');
    }
    return port <= 65535 ? port : 0;
}

/* "HOST:PORT", or "[HOST]:PORT" for a host with colons. */
static bool parse_server(struct server *out, char *s)
{
    char *colon = strrchr(s, ':');

    if (colon == NULL || colon == s)
        return false;
    *colon = '\0';
    out->port = parse_port(colon + 1);
    if (*s == '[') {
        if (colon[-1] != ']')
            return false;
        colon[-1] = '\0';
        s++;
    } else if (strchr(s, ':') != NULL) {
        return false;
    }
    out->host = s;
    return out->port != 0 && *s != '\0' && strpbrk(s, " \t\r\n[]@,/") == NULL;
}

static bool parse_servers(struct address *a, char *s)
{
    unsigned n = 1;

    for (const char *p = s; (p = strchr(p, ',')) != NULL; p++)
        n++;
    if (n > ADDRESS_MAX_SERVERS || (n > 1 && a->kind != ADDRESS_SENTINEL))
        return false;
    for (char *rest = s; (s = strsep(&rest, ",")) != NULL; a->n_servers++)
        if (!parse_server(&a->servers[a->n_servers], s))
            return false;
    return true;
}

static bool parse(struct address *a)
{
    char *rest = strchr(a->text, ':');

    if (rest == NULL)
        return false;
    *rest++ = '\0';
    if (strcmp(a->text, "unix") == 0) {
        a->kind = ADDRESS_UNIX;
        a->path = rest;
        return rest[0] == '/' && strlen(rest) <= ADDRESS_MAX_PATH;
    }
    if (strcmp(a->text, "tcp") == 0) {
        a->kind = ADDRESS_TCP;
    } else if (strcmp(a->text, "tls") == 0) {
        a->kind = ADDRESS_TLS;
    } else if (strcmp(a->text, "sentinel") == 0) {
        char *at = strchr(rest, '@');
        if (at == NULL || at == rest)
            return false;
        *at = '\0';
        a->kind = ADDRESS_SENTINEL;
        a->master = rest;
        rest = at + 1;
    } else {
        return false;
    }
    return parse_servers(a, rest);
}

int address_parse(struct address *out, const char *text)
{
    *out = (struct address){0};
    if (text == NULL || strnlen(text, ADDRESS_MAX_LEN + 1) > ADDRESS_MAX_LEN)
        return -EINVAL;
    out->text = strdup(text);
    out->servers = calloc(ADDRESS_MAX_SERVERS, sizeof(*out->servers));
    if (out->text != NULL && out->servers != NULL && parse(out))
        return 0;
    int rc = out->text != NULL && out->servers != NULL ? -EINVAL : -ENOMEM;
    address_free(out);
    return rc;
}

void address_free(struct address *a)
{
    free(a->text);
    free(a->servers);
    *a = (struct address){0};
}
