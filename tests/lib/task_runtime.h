/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_runtime.h - a runtime for options.runtime that does what a test tells it.
 *
 * A task is a thread with a token: unpark puts it there, park takes it.  The test
 * can let parks return early, hold them although the token is there, and make
 * spawn fail, run at once, later or in a thread.  Hooks check how they are called.
 */
#ifndef TASK_RUNTIME_H
#define TASK_RUNTIME_H

#include "event_test.h"

enum spawning { SPAWN_THREAD, SPAWN_TASK, SPAWN_INLINE, SPAWN_LATER };

struct runtime {
    atomic_uint early_every; /* each n-th park of a task returns at once; 0: none */
    atomic_bool gated;       /* parks do not begin until this is false */
    atomic_bool holds;       /* parks do not return until this is false */
    atomic_int spawn_rc;     /* what spawn returns; below 0 it does nothing else */
    atomic_int spawning;     /* enum spawning */
    void (*later)(void *);   /* with SPAWN_LATER: for the test to run */
    void *later_arg;
    /* counted */
    atomic_uint n_tasks;   /* now */
    atomic_uint n_parked;  /* now */
    atomic_uint n_parks;   /* calls, those that returned early included */
    atomic_uint n_unparks; /* calls */
    atomic_uint n_spawns;
};

enum { TASK_ALIVE = 0x7a5c };

struct task {
    struct runtime *runtime;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool token;
    unsigned alive;
    unsigned n_parks;
    atomic_uint n_unparks;
    struct timespec deadline; /* of the last park that had one */
};

static _Thread_local struct task *this_task;
static _Thread_local bool in_hook;

/* The calling thread is a task from here to task_end(). */
static inline void task_begin(struct task *t, struct runtime *runtime)
{
    pthread_condattr_t attr;
    *t = (struct task){.runtime = runtime, .alive = TASK_ALIVE};
    pthread_mutex_init(&t->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->cond, &attr);
    pthread_condattr_destroy(&attr);
    assert_null(this_task);
    this_task = t;
    atomic_fetch_add(&runtime->n_tasks, 1);
}

static inline void task_end(struct task *t)
{
    assert_ptr_equal(this_task, t);
    assert_false(in_hook);
    this_task = NULL;
    pthread_mutex_lock(&t->mutex); /* an unpark that came too late would be seen by ASan and TSan */
    t->alive = 0;
    pthread_mutex_unlock(&t->mutex);
    pthread_cond_destroy(&t->cond);
    pthread_mutex_destroy(&t->mutex);
    atomic_fetch_sub(&t->runtime->n_tasks, 1);
}

/* A task for as long as the block lasts, however it is left. */
#define TASK(name, runtime)                                                                        \
    struct task name __attribute__((cleanup(task_end)));                                           \
    task_begin(&name, runtime)

/* ------------------------------------------------------------------ hooks */

static inline void *task_self(void *ctx)
{
    assert_false(in_hook);
    return this_task != NULL && this_task->runtime == ctx ? this_task : NULL;
}

static inline void task_park(void *ctx, void *task, const struct timespec *deadline)
{
    struct runtime *runtime = ctx;
    struct task *t = task;
    int rc = 0;
    assert_ptr_equal(t, this_task);
    assert_ptr_equal(t->runtime, runtime);
    assert_false(in_hook);
    in_hook = true;
    atomic_fetch_add(&runtime->n_parks, 1);
    if (deadline != NULL)
        t->deadline = *deadline;
    WAIT_UNTIL(!atomic_load(&runtime->gated));
    unsigned early = atomic_load(&runtime->early_every);
    if (early == 0 || ++t->n_parks % early != 0) {
        pthread_mutex_lock(&t->mutex);
        atomic_fetch_add(&runtime->n_parked, 1);
        while (!t->token && rc != ETIMEDOUT)
            rc = deadline == NULL ? pthread_cond_wait(&t->cond, &t->mutex)
                                  : pthread_cond_timedwait(&t->cond, &t->mutex, deadline);
        t->token = false;
        pthread_mutex_unlock(&t->mutex);
        WAIT_UNTIL(!atomic_load(&runtime->holds));
        atomic_fetch_sub(&runtime->n_parked, 1);
    }
    in_hook = false;
}

static inline void task_unpark(void *ctx, void *task)
{
    struct runtime *runtime = ctx;
    struct task *t = task;
    assert_false(in_hook);
    pthread_mutex_lock(&t->mutex);
    assert_int_equal(t->alive, TASK_ALIVE);
    assert_ptr_equal(t->runtime, runtime);
    atomic_fetch_add(&t->n_unparks, 1);
    atomic_fetch_add(&runtime->n_unparks, 1);
    t->token = true;
    pthread_cond_signal(&t->cond);
    pthread_mutex_unlock(&t->mutex);
}

struct spawned {
    struct runtime *runtime; /* NULL: not a task */
    void (*run)(void *arg);
    void *arg;
};

static inline void *spawned_main(void *arg)
{
    struct spawned s = *(struct spawned *)arg;
    free(arg);
    if (s.runtime != NULL) {
        TASK(task, s.runtime);
        s.run(s.arg);
    } else {
        s.run(s.arg);
    }
    return NULL;
}

static inline int task_spawn(void *ctx, void (*run)(void *arg), void *arg)
{
    struct runtime *runtime = ctx;
    assert_false(in_hook);
    int rc = atomic_load(&runtime->spawn_rc);
    if (rc < 0)
        return rc;
    atomic_fetch_add(&runtime->n_spawns, 1);
    enum spawning how = (enum spawning)atomic_load(&runtime->spawning);
    if (how == SPAWN_INLINE) {
        run(arg);
    } else if (how == SPAWN_LATER) {
        assert_null(runtime->later);
        runtime->later = run;
        runtime->later_arg = arg;
    } else {
        struct spawned *s = malloc(sizeof *s);
        assert_non_null(s);
        *s = (struct spawned){how == SPAWN_TASK ? runtime : NULL, run, arg};
        pthread_detach(thread_start(spawned_main, s));
    }
    return 0;
}

static inline sflight_runtime task_hooks(struct runtime *runtime)
{
    return (sflight_runtime){runtime, task_self, task_park, task_unpark, task_spawn};
}

static inline sflight_options runtime_options(struct runtime *runtime)
{
    sflight_options o = default_options();
    o.runtime = task_hooks(runtime);
    return o;
}

static inline sflight_group *runtime_group(struct runtime *runtime)
{
    sflight_options o = runtime_options(runtime);
    return group_new(&o);
}

/* ---------------------------------------------------------------- callers */

/* Runs run(arg) in a task of its own; runtime may be NULL: in a plain thread. */
struct runner {
    struct runtime *runtime;
    void *(*run)(void *);
    void *arg;
    pthread_t thread;
    unsigned n_unparks; /* of the task, when run has returned */
};

static inline void *runner_main(void *arg)
{
    struct runner *r = arg;
    if (r->runtime == NULL)
        return r->run(r->arg);
    TASK(task, r->runtime);
    void *ret = r->run(r->arg);
    r->n_unparks = task.n_unparks;
    return ret;
}

static inline void runner_start(struct runner *r, struct runtime *runtime, void *(*run)(void *),
                                void *arg)
{
    *r = (struct runner){.runtime = runtime, .run = run, .arg = arg};
    r->thread = thread_start(runner_main, r);
}

static inline void runner_join(struct runner *r)
{
    thread_join(r->thread);
}

/* A caller of api_test.h in a task. */
struct task_caller {
    struct caller c;
    struct runner runner;
};

static inline void task_caller_start_until(struct task_caller *t, struct runtime *runtime,
                                           sflight_group *g, const char *key, sflight_fn *fn,
                                           void *arg, const struct timespec *deadline)
{
    t->c = (struct caller){g, key, fn, arg, deadline, .rc = NEVER_RETURNED};
    runner_start(&t->runner, runtime, caller_main, &t->c);
}

static inline void task_caller_start(struct task_caller *t, struct runtime *runtime,
                                     sflight_group *g, const char *key, sflight_fn *fn, void *arg)
{
    task_caller_start_until(t, runtime, g, key, fn, arg, NULL);
}

static inline void task_callers_start(struct task_caller *t, size_t n, struct runtime *runtime,
                                      sflight_group *g, const char *key, sflight_fn *fn, void *arg)
{
    for (size_t i = 0; i < n; i++)
        task_caller_start(&t[i], runtime, g, key, fn, arg);
}

static inline void task_caller_join(struct task_caller *t)
{
    runner_join(&t->runner);
}

static inline void task_callers_join(struct task_caller *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        task_caller_join(&t[i]);
}

static inline void task_callers_release(struct task_caller *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sflight_result_release(&t[i].c.r);
}

static inline void await_parked(struct runtime *runtime, unsigned n)
{
    WAIT_UNTIL(atomic_load(&runtime->n_parked) == n);
}

/* Everybody has left, and nothing was done by halves. */
static inline void runtime_end(struct runtime *runtime)
{
    WAIT_UNTIL(atomic_load(&runtime->n_tasks) == 0); /* those that spawn made are detached */
    assert_int_equal(atomic_load(&runtime->n_parked), 0);
}

#endif
