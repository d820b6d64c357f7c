/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unit_test.h - what the tests of the engine's floors share: actors, which are
 * threads that take one step when told to, so that a test can play an
 * interleaving by hand; and an allocator that fails when told to.
 */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include "../lib/test.h"

#include <semaphore.h>
#include <sys/syscall.h>

/* ---------------------------------------------------------------- threads */

static inline pid_t thread_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* True if the thread sleeps in the kernel. */
static inline bool thread_sleeps(pid_t tid)
{
    char path[64], state = '?';
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    FILE *f = fopen(path, "r");
    if (f != NULL) {
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        fclose(f);
    }
    return state == 'S';
}

/* ----------------------------------------------------------------- actors */

struct actor {
    pthread_t thread;
    sem_t told, done;
    void (*step)(void *arg); /* NULL: end */
    void *arg;
};

static inline void sem_take(sem_t *s)
{
    while (sem_wait(s) != 0)
        assert_int_equal(errno, EINTR);
}

static inline void *actor_main(void *self)
{
    struct actor *a = self;
    for (;;) {
        sem_take(&a->told);
        if (a->step == NULL)
            return NULL;
        a->step(a->arg);
        sem_post(&a->done);
    }
}

static inline void actor_start(struct actor *a)
{
    sem_init(&a->told, 0, 0);
    sem_init(&a->done, 0, 0);
    a->thread = thread_start(actor_main, a);
}

/* Begins a step, which may block. */
static inline void actor_tell(struct actor *a, void (*step)(void *), void *arg)
{
    a->step = step;
    a->arg = arg;
    sem_post(&a->told);
}

static inline void actor_await(struct actor *a)
{
    sem_take(&a->done);
}

static inline void actor_do(struct actor *a, void (*step)(void *), void *arg)
{
    actor_tell(a, step, arg);
    actor_await(a);
}

static inline void actor_end(struct actor *a)
{
    actor_tell(a, NULL, NULL);
    thread_join(a->thread);
    sem_destroy(&a->told);
    sem_destroy(&a->done);
}

/* -------------------------------------------------------------- allocator */

struct flaky {
    atomic_long calls;
    atomic_long fail_at;     /* the call, counted from 1, that fails; 0: none */
    atomic_uint fail_one_in; /* of the calls, by chance; 0: none */
    atomic_uint chance;
    atomic_size_t refused; /* blocks of this size; 0: none */
    atomic_long blocks;    /* given and not taken back */
};

static inline void *flaky_alloc(void *ctx, size_t size, size_t align)
{
    struct flaky *f = ctx;
    long call = atomic_fetch_add(&f->calls, 1) + 1;
    unsigned one_in = atomic_load(&f->fail_one_in);
    if (call == atomic_load(&f->fail_at) || size == atomic_load(&f->refused))
        return NULL;
    if (one_in != 0 && (atomic_fetch_add(&f->chance, 0x9e3779b9u) >> 8) % one_in == 0)
        return NULL;
    void *p = aligned_alloc(align, (size + align - 1) & ~(align - 1));
    assert_non_null(p);
    memset(p, 0xEE, size); /* nobody may count on zeros */
    atomic_fetch_add(&f->blocks, 1);
    return p;
}

static inline void flaky_free(void *ctx, void *ptr, size_t size)
{
    struct flaky *f = ctx;
    memset(ptr, 0xDD, size);
    atomic_fetch_sub(&f->blocks, 1);
    free(ptr);
}

/* The k-th call from now fails. */
static inline void flaky_fail(struct flaky *f, long k)
{
    atomic_store(&f->calls, 0);
    atomic_store(&f->fail_at, k);
}

#endif
