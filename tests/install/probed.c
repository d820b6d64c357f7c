/* SPDX-License-Identifier: BSD-2-Clause */
/* Passes tracepoints, and has one of its own (OWN_PROBE), for test_probes.sh. */
#include <singleflight.h>
#ifdef OWN_PROBE
#include <sys/sdt.h>
#endif

static int fn(sflight_call *call, void *arg)
{
    (void)call, (void)arg;
#ifdef OWN_PROBE
    DTRACE_PROBE(program, in_fn);
#endif
    return 7;
}

int main(void)
{
    sflight_group *group;
    sflight_result r;
    if (sflight_group_create(&group, NULL) != 0 ||
        sflight_do(group, "the key", 7, fn, NULL, &r) != 0)
        return 1;
    sflight_result_release(&r);
    return sflight_group_destroy(group) != 0;
}
