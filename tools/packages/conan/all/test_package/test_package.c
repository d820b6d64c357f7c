/* SPDX-License-Identifier: BSD-2-Clause */
#include <singleflight.h>
#include <stdio.h>
#include <stdlib.h>

static int answer(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    return 42;
}

int main(void)
{
    sflight_group *group;
    sflight_result result;
    if (sflight_group_create(&group, NULL) != 0)
        return EXIT_FAILURE;
    int rc = sflight_do(group, "key", 3, answer, NULL, &result);
    printf("libsingleflight %s: %d\n", sflight_version(), result.status);
    int right = rc == 0 && result.status == 42;
    sflight_result_release(&result);
    return sflight_group_destroy(group) == 0 && right ? EXIT_SUCCESS : EXIT_FAILURE;
}
