/* SPDX-License-Identifier: BSD-2-Clause */
/* A user's program, in C and in C++: one flight.  Without an argument nobody is there to be asked.
 */
#include <singleflight_fleet.h>

#include <stdio.h>
#include <string.h>

static int greet(sflight_call *call, void *arg)
{
    size_t n = strlen((const char *)arg) + 1;
    char *copy = (char *)sflight_call_alloc(call, n);
    if (copy == NULL)
        return 1;
    memcpy(copy, arg, n);
    return 0;
}

int main(int argc, char **argv)
{
    sflight_fleet_options o;
    sflight_fleet *fleet;
    sflight_fleet_counters c;
    sflight_result r;
    char greeting[] = "hello";

    sflight_fleet_options_init(&o);
    o.name = "install";
    o.address = argc > 1 ? argv[1] : "unix:/nonexistent/socket";
    o.engine_timeout_ms = argc > 1 ? 600000 : 1;
    if (sflight_fleet_create(&fleet, &o) != 0)
        return 1;
    if (sflight_fleet_do(fleet, "key", 3, greet, greeting, NULL, &r) != 0 ||
        strcmp((const char *)r.value, "hello") != 0)
        return 2;
    sflight_result_release(&r);
    if (sflight_fleet_stats(fleet, &c) != 0 || c.led != (argc > 1) ||
        c.led + c.alone_down + c.alone_slow != 1)
        return 3;
    if (sflight_fleet_close(fleet, NULL) != 0 || sflight_fleet_destroy(fleet) != 0)
        return 4;
    puts(sflight_version());
    return 0;
}
