/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes become a few callers, what each of them does, and the schedule; see
 * README.md for the format.  The rules of tests/explore are the oracle.
 */
#include "../explore/rules.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CALLERS = 4, MAX_OPS = 4, SHORT_NS = 300 };

static const char *const keys[] = {"a1", "a2", "b", "a key that is too long for the record"};

struct caller_of_bytes {
    uint8_t ops[MAX_OPS];
    unsigned n_ops, first_ask;
};

static struct {
    uint8_t options;
    unsigned n_callers;
    struct caller_of_bytes callers[MAX_CALLERS];
} program;

static void by_future(struct ask *ask, unsigned how)
{
    if (ask->permit != NULL && how == 3)
        ask_abandon(ask);
    else if (ask->permit != NULL)
        ask_complete(ask);
    if (ask->future == NULL)
        return;
    switch (how) {
    case 0:
        ask_get(ask);
        if (ask->future != NULL)
            ask_drop(ask);
        else
            ask_release(ask);
        break;
    case 1:
        ask_then(ask);
        break;
    default:
        ask_drop(ask);
    }
}

/* Bits 0 and 1: the key; 2 to 4: what; 5 and 6: how. */
static void operate(struct ask *ask, uint8_t op)
{
    unsigned how = op >> 5 & 3;

    switch (op >> 2 & 7) {
    case 0:
        ask_whole(ask);
        break;
    case 1:
        ask->patience_ns = 1 + how * SHORT_NS;
        ask_whole(ask);
        break;
    case 2:
        (void)forget(ask->key, how & 1);
        break;
    case 3:
        ask_begin(ask);
        by_future(ask, how);
        break;
    case 4:
        ask->way = how == 3 ? PANICS : RETURNS;
        ask->may = MAY_BE_FULL; /* there are only so many threads */
        ask_start(ask);
        by_future(ask, how);
        break;
    case 5:
        ask->way = how & 1 ? EXITS : PANICS;
        ask_whole(ask);
        break;
    case 6:
        ask_many(ask, 1);
        ask_release(ask);
        break;
    default:
        ask_result(ask);
        pause_here();
        ask_release(ask);
    }
}

static void call(void *arg)
{
    const struct caller_of_bytes *caller = arg;
    for (unsigned i = 0; i < caller->n_ops; i++)
        operate(fresh(caller->first_ask + i, keys[caller->ops[i] & 3]), caller->ops[i]);
}

static void scenario(void *unused)
{
    sflight_options o = world_options();

    (void)unused;
    memset(&world, 0, sizeof(world));
    o.on_abandon = program.options & 1 ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE;
    o.cancel_unwanted = program.options >> 1 & 1;
    o.max_waiters = program.options >> 2 & 1;
    door.failures = program.options >> 3 & 1 ? 8 : 0;
    world_begin(&o);
    world.leavers = true;
    world.forgets = o.cancel_unwanted;
    world.may = MAY_TIME_OUT | MAY_BE_DEAD | (o.max_waiters != 0 ? MAY_BE_FULL : 0);
    for (unsigned i = 0; i < program.n_callers; i++)
        go(call, &program.callers[i]);
    join_all();
    world_end();
}

/* Returns how many bytes are left for the schedule, and where. */
static const uint8_t *decode(const uint8_t *p, size_t *size)
{
    size_t n = *size;

    program.options = *p++;
    program.n_callers = 2 + (program.options >> 4 & 1) + (program.options >> 5 & 1);
    n--;
    for (unsigned i = 0; i < program.n_callers; i++) {
        struct caller_of_bytes *caller = &program.callers[i];
        caller->first_ask = i * MAX_OPS;
        caller->n_ops = 0;
        while (n != 0 && caller->n_ops < MAX_OPS) {
            uint8_t b = *p++;
            n--;
            caller->ops[caller->n_ops++] = b;
            if (b & 0x80)
                break; /* its last one */
        }
    }
    *size = n;
    return p;
}

static void failed(void)
{
    fflush(stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint64_t seed = 0;
    const uint8_t *schedule = decode(data, &size);
    for (size_t i = 0; i < size; i++) /* of what the bytes do not say */
        seed = seed * 31 + schedule[i];
    struct sched_plan plan = {
        .strategy = BY_BYTES, .seed = seed, .bytes = schedule, .n_bytes = size};
    sched_failed = failed;
    door_reset();
    sched_run(&plan, scenario, NULL);
    door_check_end();
    return 0;
}
