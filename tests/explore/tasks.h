/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks.h - an options.runtime.  Coroutines are its tasks; some stay threads.  What a
 * runtime may do is done: park returns early, an unpark that comes first is
 * remembered, and a task may go on on the thread of another one that is parked.
 */
#ifndef TASKS_H
#define TASKS_H

#include "rules.h"

#include <string.h>

struct task {
    void (*body)(void *arg);
    void *arg;
    bool exists, parked, unparked;
    struct clock told; /* what came before an unpark comes before the end of its park */
    struct clock left; /* what its thread has done, when it is parked */
};

static struct task tasks[MAX_THREADS]; /* by coroutine */
static bool some_are_threads, tasks_share_a_bin;

/* src/agent.c looks at the high bits of a name times the one; the other is its inverse. */
#define FROM_ONE_BIN UINT64_C(0x9e3779b97f4a7c15)
#define TO_ONE_BIN UINT64_C(0xf1de83e19937733d)

/* Not an address: what is drawn from it must not differ from process to process. */
static void *name_of(const struct task *t)
{
    uintptr_t n = ((uintptr_t)(t - tasks) + 1) * 64;
    return (void *)(tasks_share_a_bin ? n * TO_ONE_BIN : n);
}

static struct task *task_of(const void *name)
{
    uintptr_t n = (uintptr_t)name * (tasks_share_a_bin ? FROM_ONE_BIN : 1);
    CHECK(n % 64 == 0 && n / 64 >= 1 && n / 64 <= MAX_THREADS);
    return &tasks[n / 64 - 1];
}

static void *self(void *ctx)
{
    CHECK(ctx == tasks);
    CHECK(!door_in_section());
    return tasks[sched.self].exists ? name_of(&tasks[sched.self]) : NULL;
}

/* Perhaps on the thread of another task that is parked. */
static void resume(struct task *t)
{
    unsigned others[MAX_THREADS], n = 0;

    for (unsigned i = 0; i < MAX_THREADS; i++)
        if (tasks[i].parked && &tasks[i] != t)
            others[n++] = i;
    if (n != 0 && variant(2)) {
        unsigned other = others[variant(n)];
        struct clock left = tasks[other].left;
        door_swap_threads((int)(t - tasks), (int)other);
        tasks[other].left = t->left;
        t->left = left;
    }
    memory_take(&t->left);
    t->parked = false;
}

static void park(void *ctx, void *task, const struct timespec *deadline)
{
    struct task *t = task_of(task);
    uint64_t until_ns = NEVER;

    CHECK(ctx == tasks && t == &tasks[sched.self] && t->exists);
    CHECK(!door_in_section() && !door_has_mutex());
    if (deadline != NULL)
        until_ns = (uint64_t)deadline->tv_sec * 1000000000u + (uint64_t)deadline->tv_nsec;
    sched_point(SITE);
    if (sched_mishap(8))
        return; /* early */
    (memset)(&t->left, 0, sizeof(t->left));
    memory_give(&t->left);
    t->parked = true;
    if (!t->unparked && until_ns > sched.now_ns)
        (void)sched_sleep(t, until_ns, true, SITE);
    if (t->unparked)
        memory_take(&t->told);
    t->unparked = false;
    resume(t);
}

static void unpark(void *ctx, void *task)
{
    struct task *t = task_of(task);

    CHECK(ctx == tasks);
    CHECK(!door_in_section() && !door_has_mutex());
    sched_point(SITE);
    if (!t->exists)
        explore_fail("a task is unparked that is no more");
    t->unparked = true;
    memory_give(&t->told);
    sched_wake(t, 1);
}

static void task_ends(struct task **t)
{
    (*t)->exists = false;
}

static void task_body(void *unused)
{
    struct task *t __attribute__((cleanup(task_ends))) = &tasks[sched.self];
    (void)unused;
    t->exists = true;
    t->body(t->arg);
}

static void go_task(void (*body)(void *arg), void *arg)
{
    if (some_are_threads && variant(2)) {
        go(body, arg);
        return;
    }
    int thread = go(task_body, NULL);
    tasks[thread].body = body;
    tasks[thread].arg = arg;
}

static int spawn(void *ctx, void (*run)(void *arg), void *arg)
{
    CHECK(ctx == tasks);
    CHECK(!door_in_section() && !door_has_mutex());
    go_task(run, arg);
    return 0;
}

/* Of a group in which the tasks are this file's, from the beginning of a run. */
static sflight_runtime tasks_runtime(void)
{
    (memset)(tasks, 0, sizeof(tasks));
    return (sflight_runtime){tasks, self, park, unpark, spawn};
}

#endif
