/* SPDX-License-Identifier: BSD-2-Clause */
/* Wrong use: a call is ended twice. */
#include <singleflight.h>

int main(void)
{
    sflight_group *g;
    sflight_call *call;
    sflight_future *f;

    if (sflight_group_create(&g, NULL) != 0 || sflight_begin(g, "key", 3, &call, &f) != 0)
        return 2;
    sflight_complete(call, 0);
    sflight_complete(call, 0);
    return sflight_group_destroy(g) == 0 ? 0 : 3;
}
