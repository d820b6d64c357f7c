/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks of State Threads as callers, all in one thread, by st_runtime.h. */
#include "../../tools/examples/runtimes/st_runtime.h"
#include "../lib/api_test.h"

typedef st_thread_t task_id;
#define TASK_RUNTIME st_runtime

/* A panic's backtrace wants more stack than the default. */
static task_id task_start(void *(*run)(void *), void *arg)
{
    return st_thread_create(run, arg, 1, 256 * 1024);
}

static bool task_join(task_id task)
{
    return st_thread_join(task, NULL) == 0;
}

static void task_yield(void)
{
    st_usleep(0);
}

#include "one_thread_test.h"

int main(void)
{
    const struct CMUnitTest tests[] = {ONE_THREAD_TESTS};
    if (st_init() != 0 || st_runtime_init() != 0)
        return EXIT_FAILURE;
    return RUN_TESTS(tests);
}
