/* SPDX-License-Identifier: BSD-2-Clause */
/* A user's program: sees nothing but what was installed. */
#include <singleflight.h>

#include <stdio.h>
#include <string.h>

static int greet(sflight_call *call, void *arg)
{
    size_t n = strlen(arg) + 1;
    char *copy = sflight_call_alloc(call, n);
    if (copy == NULL)
        return 1;
    memcpy(copy, arg, n);
    return 0;
}

static int panic(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_panic(call, "a panic"); /* unwinds through the library's frames */
}

int main(void)
{
    sflight_group *group;
    sflight_result r;
    char greeting[] = "hello";

    if (sflight_group_create(&group, NULL) != 0)
        return 1;
    if (sflight_do(group, "key", 3, greet, greeting, &r) != 0 || strcmp(r.value, "hello") != 0)
        return 2;
    sflight_result_release(&r);
    if (sflight_do(group, "key", 3, panic, NULL, &r) == 0)
        return 3;
    sflight_result_release(&r);
    puts(sflight_version());
    return sflight_group_destroy(group) == 0 ? 0 : 4;
}
