/* SPDX-License-Identifier: BSD-2-Clause */
/* The lookup belongs to its thread and to who began it; whoever lets go last frees it. */
#include "resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct lookup {
    atomic_int n_owners;
    atomic_bool answered; /* release: list and error are there */
    int fd;
    dial_note *note;       /* of who began it */
    int error;             /* of getaddrinfo() */
    struct addrinfo *list; /* NULL with an error */
    char host[];
};

bool resolve_is_numeric(const char *host)
{
    unsigned char any[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, any) == 1 || inet_pton(AF_INET6, host, any) == 1;
}

static void let_go(struct lookup *l)
{
    if (atomic_fetch_sub_explicit(&l->n_owners, 1, memory_order_acq_rel) != 1)
        return;
    if (l->list != NULL)
        freeaddrinfo(l->list);
    close(l->fd);
    free(l);
}

static void *look_up(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

    l->error = getaddrinfo(l->host, NULL, &hints, &l->list);
    if (l->error != 0)
        l->list = NULL;
    atomic_store_explicit(&l->answered, true, memory_order_release);
    (void)eventfd_write(l->fd, 1);
    let_go(l);
    return NULL;
}

struct lookup *resolve_begin(const char *host, dial_note *note)
{
    size_t size = strlen(host) + 1;
    struct lookup *l = calloc(1, sizeof(*l) + size);
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;

    if (l == NULL)
        return NULL;
    memcpy(l->host, host, size);
    atomic_init(&l->n_owners, 2);
    l->note = note;
    dial_hold();
    l->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->fd >= 0)
        atomic_store(note, l->fd);
    dial_let_go();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool runs = false;
    if (l->fd >= 0 && pthread_attr_init(&attr) == 0) {
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        runs = pthread_create(&thread, &attr, look_up, l) == 0;
        pthread_attr_destroy(&attr);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (runs)
        return l;
    if (l->fd >= 0)
        dial_close(note, l->fd);
    free(l);
    return NULL;
}

int resolve_fd(const struct lookup *l)
{
    return l->fd;
}

bool resolve_end(struct lookup *l, unsigned which, char out[RESOLVE_MAX_LEN])
{
    bool found = false;

    atomic_store(l->note, -1);
    if (!atomic_load_explicit(&l->answered, memory_order_acquire)) {
        snprintf(out, RESOLVE_MAX_LEN, "the name is still looked up");
    } else if (l->list == NULL) {
        snprintf(out, RESOLVE_MAX_LEN, "%s", gai_strerror(l->error));
    } else {
        const struct addrinfo *a = l->list;
        unsigned n = 0;
        for (const struct addrinfo *i = a; i != NULL; i = i->ai_next)
            n++;
        for (which %= n; which > 0; which--)
            a = a->ai_next;
        int error =
            getnameinfo(a->ai_addr, a->ai_addrlen, out, RESOLVE_MAX_LEN, NULL, 0, NI_NUMERICHOST);
        found = error == 0;
        if (!found)
            snprintf(out, RESOLVE_MAX_LEN, "%s", gai_strerror(error));
    }
    let_go(l);
    return found;
}
