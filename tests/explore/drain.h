/* SPDX-License-Identifier: BSD-2-Clause */
/* drain.h - who drains while asks[0] is led, in a thread or in a task. */
#ifndef DRAIN_H
#define DRAIN_H

#include "rules.h"

#include <errno.h>

static bool in_fn;

static void say_in_fn(struct ask *ask)
{
    (void)ask;
    reached(&in_fn);
    pause_here();
}

static void drain(void *unused)
{
    (void)unused;
    until(&in_fn);
    CHECK(sflight_group_drain(world.group, NULL) == 0);
    CHECK(asks[0].run->ended != 0);
}

static void drain_until(void *unused)
{
    (void)unused;
    struct timespec deadline = {1, SHORT_NS};
    int rc = sflight_group_drain(world.group, &deadline);
    CHECK(rc == 0 || rc == -ETIMEDOUT);
}

#endif
