/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin with a copy of the library inside, for test_unload. */
#include <singleflight.h>

int plugin_run(void);

static int status_7(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    return 7;
}

/* 7, if all is well. */
int plugin_run(void)
{
    sflight_group *g;
    sflight_result r;

    if (sflight_group_create(&g, NULL) != 0 || sflight_do(g, "key", 3, status_7, NULL, &r) != 0)
        return -1;
    int status = r.status;
    sflight_result_release(&r);
    return sflight_group_destroy(g) == 0 ? status : -1;
}
