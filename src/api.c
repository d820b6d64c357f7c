/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: groups; argument checks only.  Documented in singleflight.h. */
#define SFLIGHT_PLAIN /* these are the functions */
#include "../include/singleflight.h"

#include "clock.h"
#include "each.h"
#include "finish.h"
#include "lifecycle.h"
#include "sizes.h"

#include <errno.h>
#include <string.h>

enum {
    MAX_INFLIGHT = 1 << 26,
    MAX_SHARDS = 1 << 16,
};

static const sflight_options defaults = {
    .struct_size = sizeof(sflight_options),
    .on_abandon = SFLIGHT_ABANDON_SHARE,
    .on_panic = SFLIGHT_PANIC_SHARE,
    .spin_ns = SFLIGHT_SPIN_ADAPTIVE,
};

void sflight_options_init_sized(sflight_options *o, size_t size)
{
    if (o == NULL)
        return;
    sizes_copy(o, size, &defaults, sizeof(defaults));
    o->struct_size = size;
}

void sflight_options_init(sflight_options *o)
{
    sflight_options_init_sized(o, SFLIGHT_SIZE_OPTIONS);
}

/* What the caller's options say of what is known here; false if they say more. */
static bool options_known(sflight_options *known, const sflight_options *o)
{
    size_t size = o->struct_size;

    if (size < SFLIGHT_SIZE_OPTIONS || size > SIZES_MAX_OPTIONS)
        return false;
    for (size_t i = sizeof(*known); i < size; i++)
        if (((const char *)o)[i] != 0)
            return false;
    *known = defaults;
    memcpy(known, o, size < sizeof(*known) ? size : sizeof(*known));
    return true;
}

static bool options_valid(const sflight_options *o)
{
    return o->expected_inflight <= MAX_INFLIGHT && o->shards <= MAX_SHARDS &&
           (o->on_abandon == SFLIGHT_ABANDON_SHARE || o->on_abandon == SFLIGHT_ABANDON_TAKEOVER) &&
           (o->on_panic == SFLIGHT_PANIC_SHARE || o->on_panic == SFLIGHT_PANIC_ABORT) &&
           (o->allocator.alloc == NULL) == (o->allocator.free == NULL) &&
           (o->runtime.park == NULL) == (o->runtime.self == NULL) &&
           (o->runtime.park == NULL) == (o->runtime.unpark == NULL) && o->durations <= 1;
}

int sflight_group_create(sflight_group **out, const sflight_options *o)
{
    sflight_options known;

    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    if (!options_known(&known, o != NULL ? o : &defaults) || !options_valid(&known))
        return -EINVAL;
    return lifecycle_create(out, &known);
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

int sflight_group_stats_sized(sflight_group *g, sflight_stats *out, size_t size)
{
    sflight_stats full;

    if (g == NULL || out == NULL)
        return -EINVAL;
    group_enter(g);
    gauges_stats(g, &full);
    sizes_copy(out, size, &full, sizeof(full));
    return 0;
}

int sflight_group_stats(sflight_group *g, sflight_stats *out)
{
    return sflight_group_stats_sized(g, out, SFLIGHT_SIZE_STATS);
}

int sflight_group_each(sflight_group *g, int (*visit)(const sflight_info *info, void *ctx),
                       void *ctx)
{
    return g == NULL || visit == NULL ? -EINVAL : each_call(g, visit, ctx);
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
        return "not now: no more waiters are allowed, no thread is to be had, or there is no "
               "result yet";
    case -ETIMEDOUT:
        return "the deadline passed";
    case -EDEADLK:
        return "waiting here would wait for the caller itself";
    case -ESHUTDOWN:
        return "the group is closed";
    case -EBUSY:
        return "the group, or the queue, is in use";
    case -EMFILE:
        return "the process has as many descriptors as it may";
    case -ENFILE:
        return "the system has as many descriptors as it can";
    case -EPERM:
        return "the system does not let this process have a descriptor or a thread";
    case -ENOSYS:
        return "this system, or a sandbox, has no descriptor or thread of the kind needed";
    case -EOWNERDEAD:
        return "the leader left its function without returning, or gave its call up";
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
