/* SPDX-License-Identifier: BSD-2-Clause */
/* pair_test.h - two fleets of one name, as two processes have them, for each test of a program. */
#ifndef PAIR_TEST_H
#define PAIR_TEST_H

#include "fleet_test.h"

static struct server_process server;
static sflight_fleet *a, *b; /* of one name, with an engine thread each */

static int setup(void **state)
{
    static int n;
    sflight_fleet_options o;
    char name[32];
    (void)state;
    snprintf(name, sizeof name, "test.%d", n++);
    fleet_options(&o, &server, name);
    o.max_value = 4096;
    a = fleet_create(&o);
    o.address = server.tcp_address;
    b = fleet_create(&o);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fleet_free(a);
    fleet_free(b);
    return 0;
}

#endif
