/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * st_runtime.h - options.runtime for State Threads, made to be copied.
 *
 *     st_init();
 *     st_runtime_init();                           // in the thread that runs them, 0 or -1
 *     options.runtime = st_runtime;
 *
 * State Threads runs all its threads, here called tasks, in one thread of the system;
 * other threads of the system are plain threads to the library.  An unpark by one of
 * those is handed over through an eventfd to a task that waits for it.
 */
#ifndef ST_RUNTIME_H
#define ST_RUNTIME_H

#include <pthread.h>
#include <singleflight.h>
#include <st.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* What a task parks on.  Condition and token are for State Threads' own thread only. */
struct st_parker {
    st_cond_t unparked;
    bool token;
    bool handed_over; /* in the list below; under st_handover_mutex, as are its links */
    struct st_parker *next, **prev;
};

static int st_parker_key;
static pthread_t st_os_thread;
static pthread_mutex_t st_handover_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct st_parker *st_handed_over;
static st_netfd_t st_handover_fd;

static void st_handover_take(struct st_parker *p)
{
    *p->prev = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    p->handed_over = false;
}

/* At a task's end. */
static void st_parker_free(void *parker)
{
    struct st_parker *p = parker;
    pthread_mutex_lock(&st_handover_mutex);
    if (p->handed_over) /* its wait has ended before it was told */
        st_handover_take(p);
    pthread_mutex_unlock(&st_handover_mutex);
    st_cond_destroy(p->unparked);
    free(p);
}

static void *st_hook_self(void *ctx)
{
    (void)ctx;
    if (!pthread_equal(pthread_self(), st_os_thread))
        return NULL;
    struct st_parker *p = st_thread_getspecific(st_parker_key);
    if (p == NULL) {
        p = calloc(1, sizeof *p);
        if (p == NULL || (p->unparked = st_cond_new()) == NULL ||
            st_thread_setspecific(st_parker_key, p) != 0)
            abort();
    }
    return p;
}

/* State Threads waits for so many microseconds, by a clock of its own. */
static st_utime_t st_left_us(const struct timespec *deadline)
{
    enum { LONGEST_S = 1000000 }; /* then park returns early */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (deadline->tv_sec > now.tv_sec + LONGEST_S)
        return (st_utime_t)LONGEST_S * 1000000;
    long long us =
        (deadline->tv_sec - now.tv_sec) * 1000000LL + (deadline->tv_nsec - now.tv_nsec) / 1000 + 1;
    return us > 0 ? (st_utime_t)us : 0;
}

/* May return early: at the end of LONGEST_S, or when the task is interrupted. */
static void st_hook_park(void *ctx, void *task, const struct timespec *deadline)
{
    struct st_parker *p = task;
    (void)ctx;
    if (!p->token)
        st_cond_timedwait(p->unparked,
                          deadline != NULL ? st_left_us(deadline) : ST_UTIME_NO_TIMEOUT);
    p->token = false;
}

static void st_make_ready(struct st_parker *p)
{
    p->token = true;
    st_cond_signal(p->unparked); /* runs nothing yet */
}

static void st_hook_unpark(void *ctx, void *task)
{
    struct st_parker *p = task;
    (void)ctx;
    if (pthread_equal(pthread_self(), st_os_thread)) {
        st_make_ready(p);
        return;
    }
    pthread_mutex_lock(&st_handover_mutex);
    if (!p->handed_over) {
        p->handed_over = true;
        p->next = st_handed_over;
        p->prev = &st_handed_over;
        if (p->next != NULL)
            p->next->prev = &p->next;
        st_handed_over = p;
    }
    pthread_mutex_unlock(&st_handover_mutex);
    (void)eventfd_write(st_netfd_fileno(st_handover_fd), 1);
}

/* A task. */
static void *st_take_over_unparks(void *arg)
{
    uint64_t n;
    (void)arg;
    for (;;) {
        if (st_read(st_handover_fd, &n, sizeof n, ST_UTIME_NO_TIMEOUT) < 0)
            continue;
        pthread_mutex_lock(&st_handover_mutex);
        while (st_handed_over != NULL) {
            st_make_ready(st_handed_over);
            st_handover_take(st_handed_over);
        }
        pthread_mutex_unlock(&st_handover_mutex);
    }
    return NULL;
}

struct st_spawned {
    void (*run)(void *arg);
    void *arg;
};

static void *st_run_spawned(void *arg)
{
    struct st_spawned s = *(struct st_spawned *)arg;
    free(arg);
    s.run(s.arg);
    return NULL;
}

static int st_hook_spawn(void *ctx, void (*run)(void *arg), void *arg)
{
    (void)ctx;
    if (!pthread_equal(pthread_self(), st_os_thread))
        return -EAGAIN;
    struct st_spawned *s = malloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct st_spawned){run, arg};
    if (st_thread_create(st_run_spawned, s, 0, 0) != NULL)
        return 0;
    free(s);
    return -ENOMEM;
}

static const sflight_runtime st_runtime = {NULL, st_hook_self, st_hook_park, st_hook_unpark,
                                           st_hook_spawn};

static int st_runtime_init(void)
{
    st_os_thread = pthread_self();
    int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0 || (st_handover_fd = st_netfd_open(fd)) == NULL ||
        st_key_create(&st_parker_key, st_parker_free) != 0)
        return -1;
    return st_thread_create(st_take_over_unparks, NULL, 0, 0) != NULL ? 0 : -1;
}

#endif
