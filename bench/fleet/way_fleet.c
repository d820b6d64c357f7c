/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * way_fleet.c - the library: a fleet, and for comparison the group alone, which each process has
 * for itself, so that every process runs.
 */
#include "way.h"

#include "../lib/bench.h"

#include <singleflight_fleet.h>
#include <string.h>

struct request {
    way_run *run;
    void *arg;
};

static void free_value(void *value, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    free(value);
}

static int run_value(sflight_call *call, void *arg)
{
    const struct request *q = arg;
    struct way_value *v = malloc(sizeof(*v));
    BENCH_CHECK(v != NULL);
    q->run(v, q->arg);
    sflight_call_set(call, v, sizeof(*v), free_value, NULL);
    return 0;
}

static void take(int rc, sflight_result *r, struct way_value *v)
{
    BENCH_CHECK(rc == 0 && r->size == sizeof(*v));
    memcpy(v, r->value, sizeof(*v));
    sflight_result_release(r);
}

/* ---------------------------------------------------------------------- fleet */

static void *fleet_open(const struct engine *e, uint32_t lock_ms)
{
    sflight_fleet *f;
    sflight_fleet_options o;
    sflight_fleet_options_init(&o);
    o.name = "bench.v1";
    o.address = e->address;
    o.lease_ms = lock_ms;
    BENCH_CHECK(sflight_fleet_create(&f, &o) == 0);
    char why[256];
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += 60;
    if (sflight_fleet_check(f, &limit, why, sizeof(why)) != 0) {
        fprintf(stderr, "sflight_fleet_check: %s\n", why);
        abort();
    }
    return f;
}

static void fleet_get(void *own, const char *key, way_run *run, void *arg, struct way_value *v)
{
    sflight_result r;
    struct request q = {run, arg};
    take(sflight_fleet_do(own, key, strlen(key), run_value, &q, NULL, &r), &r, v);
}

static uint64_t fleet_settle(void *own)
{
    sflight_fleet_counters n;
    do {
        bench_sleep_ns(1000000);
        BENCH_CHECK(sflight_fleet_stats(own, &n) == 0);
    } while (n.leading != 0);
    return n.refused;
}

static void fleet_close(void *own)
{
    BENCH_CHECK(sflight_fleet_close(own, NULL) == 0 && sflight_fleet_destroy(own) == 0);
}

const struct way way_fleet = {.name = "fleet",
                              .open = fleet_open,
                              .get = fleet_get,
                              .settle = fleet_settle,
                              .close = fleet_close,
                              .threads = true};

/* ---------------------------------------------------------------------- alone */

static void *alone_open(const struct engine *e, uint32_t lock_ms)
{
    sflight_group *g;
    (void)e, (void)lock_ms;
    BENCH_CHECK(sflight_group_create(&g, NULL) == 0);
    return g;
}

static void alone_get(void *own, const char *key, way_run *run, void *arg, struct way_value *v)
{
    sflight_result r;
    struct request q = {run, arg};
    take(sflight_do(own, key, strlen(key), run_value, &q, &r), &r, v);
}

static void alone_close(void *own)
{
    BENCH_CHECK(sflight_group_destroy(own) == 0);
}

const struct way way_alone = {
    .name = "process", .open = alone_open, .get = alone_get, .close = alone_close, .threads = true};
