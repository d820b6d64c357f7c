/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks of GNU Pth as callers, all in one thread, by pth_runtime.h. */
#include "../../tools/examples/runtimes/pth_runtime.h"
#include "../lib/api_test.h"

typedef pth_t task_id;
#define TASK_RUNTIME pth_runtime

static task_id task_start(void *(*run)(void *), void *arg)
{
    return pth_spawn(PTH_ATTR_DEFAULT, run, arg);
}

static bool task_join(task_id task)
{
    return pth_join(task, NULL);
}

static void task_yield(void)
{
    pth_yield(NULL);
}

#include "one_thread_test.h"

int main(void)
{
    const struct CMUnitTest tests[] = {ONE_THREAD_TESTS};
    if (!pth_init() || pth_runtime_init() != 0)
        return EXIT_FAILURE;
    return RUN_TESTS(tests);
}
