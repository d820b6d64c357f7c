/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pth_runtime.h - options.runtime for GNU Pth, made to be copied.
 *
 *     pth_init();
 *     pth_runtime_init();                          // in Pth's thread, 0 or -1
 *     options.runtime = pth_runtime;
 *
 * Pth runs all its threads, here called tasks, in one thread of the system; other
 * threads of the system are plain threads to the library.  An unpark by one of those
 * is handed over through an eventfd to a task that waits for it.
 */
#ifndef PTH_RUNTIME_H
#define PTH_RUNTIME_H

#include <pth.h>
#include <pthread.h>
#include <singleflight.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * What a task parks on: a port, and a message put there by unpark.  (Not a condition
 * variable: pth_cond_notify() lets others run, and unpark must not wait for them.)
 * Port and message are for Pth's thread only.
 */
struct pth_parker {
    pth_msgport_t port;
    pth_message_t token;
    bool there;       /* the token, in the port */
    bool handed_over; /* in the list below; under handover_mutex, as are its links */
    struct pth_parker *next, **prev;
};

static pth_key_t parker_key;
static pthread_t pth_os_thread;
static pthread_mutex_t handover_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pth_parker *handed_over;
static int handover_fd;

static void handover_take(struct pth_parker *p)
{
    *p->prev = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    p->handed_over = false;
}

static void parker_free(void *parker)
{
    struct pth_parker *p = parker;
    pthread_mutex_lock(&handover_mutex);
    if (p->handed_over) /* its wait has ended before it was told */
        handover_take(p);
    pthread_mutex_unlock(&handover_mutex);
    pth_msgport_destroy(p->port);
    free(p);
}

static void *pth_hook_self(void *ctx)
{
    (void)ctx;
    if (!pthread_equal(pthread_self(), pth_os_thread))
        return NULL;
    struct pth_parker *p = pth_key_getdata(parker_key);
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL || (p->port = pth_msgport_create(NULL)) == NULL ||
            !pth_key_setdata(parker_key, p))
            abort();
    }
    return p;
}

/* Pth has times of day only: what is left is converted.  NULL if it has passed. */
static pth_event_t deadline_event(const struct timespec *deadline)
{
    enum { LONGEST_S = 1000000 }; /* then park returns early */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long s = deadline->tv_sec > now.tv_sec + LONGEST_S ? LONGEST_S : deadline->tv_sec - now.tv_sec;
    long us = (deadline->tv_nsec - now.tv_nsec) / 1000 + 1;
    if (us < 0) {
        s--;
        us += 1000000;
    }
    return s < 0 ? NULL : pth_event(PTH_EVENT_TIME, pth_timeout(s, us));
}

static void pth_hook_park(void *ctx, void *task, const struct timespec *deadline)
{
    struct pth_parker *p = task;
    (void)ctx;
    if (!p->there) {
        pth_event_t told = pth_event(PTH_EVENT_MSG, p->port);
        pth_event_t late = deadline != NULL ? deadline_event(deadline) : NULL;
        if (told == NULL || (deadline != NULL && late == NULL)) {
            pth_yield(NULL); /* too late, or no memory: it will be back */
        } else {
            if (late != NULL)
                pth_event_concat(told, late, NULL);
            pth_wait(told);
        }
        if (late != NULL)
            pth_event_free(late, PTH_FREE_THIS);
        if (told != NULL)
            pth_event_free(told, PTH_FREE_THIS);
    }
    if (p->there)
        pth_msgport_get(p->port);
    p->there = false;
}

static void make_ready(struct pth_parker *p)
{
    if (!p->there)
        pth_msgport_put(p->port, &p->token);
    p->there = true;
}

static void pth_hook_unpark(void *ctx, void *task)
{
    struct pth_parker *p = task;
    (void)ctx;
    if (pthread_equal(pthread_self(), pth_os_thread)) {
        make_ready(p);
        return;
    }
    pthread_mutex_lock(&handover_mutex);
    if (!p->handed_over) {
        p->handed_over = true;
        p->next = handed_over;
        p->prev = &handed_over;
        if (p->next != NULL)
            p->next->prev = &p->next;
        handed_over = p;
    }
    pthread_mutex_unlock(&handover_mutex);
    uint64_t one = 1;
    (void)!write(handover_fd, &one, sizeof one);
}

/* A task of Pth. */
static void *take_over_unparks(void *arg)
{
    uint64_t n;
    (void)arg;
    for (;;) {
        if (pth_read(handover_fd, &n, sizeof n) < 0)
            continue;
        pthread_mutex_lock(&handover_mutex);
        while (handed_over != NULL) {
            make_ready(handed_over);
            handover_take(handed_over);
        }
        pthread_mutex_unlock(&handover_mutex);
    }
    return NULL;
}

struct pth_spawned {
    void (*run)(void *arg);
    void *arg;
};

static void *run_spawned(void *arg)
{
    struct pth_spawned s = *(struct pth_spawned *)arg;
    free(arg);
    s.run(s.arg);
    return NULL;
}

static int pth_hook_spawn(void *ctx, void (*run)(void *arg), void *arg)
{
    (void)ctx;
    if (!pthread_equal(pthread_self(), pth_os_thread))
        return -EAGAIN;
    struct pth_spawned *s = malloc(sizeof *s);
    pth_attr_t attr = pth_attr_new();
    pth_t task = NULL;
    if (s != NULL && attr != NULL) {
        *s = (struct pth_spawned){run, arg};
        pth_attr_set(attr, PTH_ATTR_JOINABLE, FALSE);
        task = pth_spawn(attr, run_spawned, s);
    }
    if (attr != NULL)
        pth_attr_destroy(attr);
    if (task == NULL)
        free(s);
    return task != NULL ? 0 : -ENOMEM;
}

static const sflight_runtime pth_runtime = {NULL, pth_hook_self, pth_hook_park, pth_hook_unpark,
                                            pth_hook_spawn};

static int pth_runtime_init(void)
{
    pth_os_thread = pthread_self();
    handover_fd = eventfd(0, EFD_CLOEXEC);
    if (handover_fd < 0 || !pth_key_create(&parker_key, parker_free))
        return -1;
    return pth_spawn(PTH_ATTR_DEFAULT, take_over_unparks, NULL) != NULL ? 0 : -1;
}

#endif
