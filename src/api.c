/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: groups; argument checks only.  Documented in singleflight.h. */
#include "../include/singleflight.h"

#include "clock.h"
#include "finish.h"
#include "lifecycle.h"

#include <errno.h>
#include <string.h>

enum {
    MAX_INFLIGHT = 1 << 26,
    MAX_SHARDS = 1 << 16,
};

void sflight_options_init(sflight_options *o)
{
    if (o == NULL)
        return;
    memset(o, 0, sizeof(*o));
    o->struct_size = sizeof(*o);
    o->on_abandon = SFLIGHT_ABANDON_SHARE;
    o->on_panic = SFLIGHT_PANIC_SHARE;
    o->spin_ns = SFLIGHT_SPIN_ADAPTIVE;
}

static bool options_valid(const sflight_options *o)
{
    return o->struct_size == sizeof(*o) && o->expected_inflight <= MAX_INFLIGHT &&
           o->shards <= MAX_SHARDS &&
           (o->on_abandon == SFLIGHT_ABANDON_SHARE || o->on_abandon == SFLIGHT_ABANDON_TAKEOVER) &&
           (o->on_panic == SFLIGHT_PANIC_SHARE || o->on_panic == SFLIGHT_PANIC_ABORT) &&
           (o->allocator.alloc == NULL) == (o->allocator.free == NULL) &&
           (o->runtime.park == NULL) == (o->runtime.self == NULL) &&
           (o->runtime.park == NULL) == (o->runtime.unpark == NULL);
}

int sflight_group_create(sflight_group **out, const sflight_options *o)
{
    sflight_options defaults;

    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    if (o == NULL) {
        sflight_options_init(&defaults);
        o = &defaults;
    }
    if (!options_valid(o))
        return -EINVAL;
    return lifecycle_create(out, o);
}

int sflight_group_close(sflight_group *g)
{
    if (g == NULL)
        return -EINVAL;
    lifecycle_close(g);
    return 0;
}

int sflight_group_drain(sflight_group *g, const struct timespec *deadline)
{
    if (g == NULL || !clock_deadline_valid(deadline))
        return -EINVAL;
    return agent_leads_one_of(g) ? -EDEADLK : finish_drain(g, deadline);
}

int sflight_group_destroy(sflight_group *g)
{
    return g == NULL ? 0 : lifecycle_destroy(g);
}

int sflight_group_stats(sflight_group *g, sflight_stats *out)
{
    if (g == NULL || out == NULL)
        return -EINVAL;
    gauges_stats(g, out);
    return 0;
}

const char *sflight_strerror(int rc)
{
    switch (rc) {
    case 0:
        return "success";
    case -EINVAL:
        return "an argument is NULL, out of range or malformed";
    case -ENOMEM:
        return "out of memory";
    case -EAGAIN:
        return "the call has as many waiters as the group allows";
    case -ETIMEDOUT:
        return "the deadline passed";
    case -EDEADLK:
        return "waiting here would wait for the caller itself";
    case -ESHUTDOWN:
        return "the group is closed";
    case -EBUSY:
        return "the group is in use";
    case -EOWNERDEAD:
        return "the leader left its function without returning";
    case -ENOTRECOVERABLE:
        return "the leader panicked";
    default:
        return "not a code of this library";
    }
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *sflight_version(void)
{
    return TEXT(SFLIGHT_VERSION_MAJOR) "." TEXT(SFLIGHT_VERSION_MINOR) "." TEXT(
        SFLIGHT_VERSION_PATCH);
}
