/* SPDX-License-Identifier: BSD-2-Clause */
#include "dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { KEEP_IDLE_S = 15 }; /* a connection that is quiet is probed after so long */

static pthread_mutex_t forks = PTHREAD_MUTEX_INITIALIZER;

void dial_hold(void)
{
    pthread_mutex_lock(&forks);
}

void dial_let_go(void)
{
    pthread_mutex_unlock(&forks);
}

static int dial(dial_note *note, int family, const struct sockaddr *to, socklen_t len)
{
    int error = 0;

    dial_hold();
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, to, len) != 0 && errno != EINPROGRESS))
        error = errno;
    if (error == 0)
        atomic_store(note, fd);
    else if (fd >= 0)
        close(fd);
    dial_let_go();
    return error == 0 ? fd : -error;
}

static void set_options(int fd, uint32_t timeout_ms)
{
    int on = 1, idle = KEEP_IDLE_S, interval = 5, count = 3;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

int dial_tcp(dial_note *note, const char *digits, int port, uint32_t timeout_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[12];

    snprintf(service, sizeof(service), "%d", port);
    int error = getaddrinfo(digits, service, &hints, &list);
    if (error != 0)
        return error == EAI_MEMORY ? -ENOMEM : -EINVAL;
    int fd = dial(note, list->ai_family, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    if (fd >= 0)
        set_options(fd, timeout_ms);
    return fd;
}

int dial_unix(dial_note *note, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(to.sun_path))
        return -ENAMETOOLONG;
    strcpy(to.sun_path, path);
    return dial(note, AF_UNIX, (struct sockaddr *)&to, sizeof(to));
}

void dial_close(dial_note *note, int fd)
{
    dial_hold();
    atomic_store(note, -1);
    close(fd);
    dial_let_go();
}
