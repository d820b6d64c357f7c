/* SPDX-License-Identifier: BSD-2-Clause */
/* A program whose own names are also those of the library's inner functions and variables. */
#include <singleflight.h>

int alloc_get = 1, cpu_count = 2, event_fd_new = 3, futex_wait = 4, queue_create = 5,
    queue_push = 6, table_init = 7, thread_init = 8, thread_self = 9, registry_lock = 10,
    lifecycle_create = 11, gate_open = 12, agent_enter = 13, finish_call = 14, join_or_claim = 15,
    hold_retain = 16, reclaim_init = 17, batch_do = 18, async_begin = 19, do_any = 20,
    lead_run = 21, notify_hang = 22;

static int seven(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    return 7;
}

int main(void)
{
    sflight_group *group;
    sflight_result r;
    if (sflight_group_create(&group, (void *)0) != 0)
        return 1;
    if (sflight_do(group, "key", 3, seven, (void *)0, &r) != 0 || r.status != 7)
        return 2;
    sflight_result_release(&r);
    return sflight_group_destroy(group) == 0 && alloc_get == 1 && thread_self == 9 ? 0 : 3;
}
