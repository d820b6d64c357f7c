/* SPDX-License-Identifier: BSD-2-Clause */
/* metrics.c - see metrics.h. */
#include "metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

void metric(FILE *f, const char *name, const char *type, const char *help, double value)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

void metrics_of_group(FILE *f, sflight_group *group)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } metrics[] = {
#define METRIC(field, suffix, type, help)                                                          \
    {"sflight_" #field suffix, type, help, offsetof(sflight_stats, field)}
        METRIC(led, "_total", "counter", "Calls begun."),
        METRIC(joined, "_total", "counter", "Callers that joined a call in flight."),
        METRIC(forgotten, "_total", "counter", "Calls forgotten."),
        METRIC(timed_out, "_total", "counter", "Followers that left at their deadline."),
        METRIC(abandoned, "_total", "counter", "Calls whose leader left without returning."),
        METRIC(panicked, "_total", "counter", "Calls whose leader panicked."),
        METRIC(taken_over, "_total", "counter", "Abandoned calls that a follower went on with."),
        METRIC(expired, "_total", "counter", "Calls forgotten because of their age."),
        METRIC(rejected, "_total", "counter", "Callers turned away from a full call."),
        METRIC(deadlocks, "_total", "counter", "Callers told that waiting would deadlock."),
        METRIC(parked, "_total", "counter", "Waits that put their thread to sleep."),
        METRIC(spun, "_total", "counter", "Waits that ended while spinning."),
        METRIC(in_flight, "", "gauge", "Calls in flight."),
        METRIC(waiting, "", "gauge", "Followers waiting."),
        METRIC(held, "", "gauge", "Results not yet released."),
        METRIC(retired_pending, "", "gauge", "Call records that await their grace period."),
        METRIC(buckets, "", "gauge", "Hash buckets."),
        METRIC(bytes, "", "gauge", "Memory of the group in bytes."),
#undef METRIC
    };
    sflight_stats stats;
    if (sflight_group_stats(group, &stats) != 0)
        return;
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
        uint64_t value;
        memcpy(&value, (const char *)&stats + metrics[i].offset, sizeof(value));
        metric(f, metrics[i].name, metrics[i].type, metrics[i].help, (double)value);
    }
}

struct flights {
    FILE *f;
    unsigned n;
};

static int print_flight(const sflight_info *info, void *arg)
{
    static const char *const leaders[] = {
        [SFLIGHT_KIND_LEADER] = "a client's thread",
        [SFLIGHT_KIND_PERMIT] = "a permit",
        [SFLIGHT_KIND_STARTED] = "a thread of its own",
    };
    struct flights *flights = arg;
    FILE *f = flights->f;
    uint32_t product;

    flights->n++;
    memcpy(&product, info->key.data, sizeof(product));
    fprintf(f, "product %" PRIu32 ": %" PRIu32 " followers, led by %s", product,
            info->blocking + info->futures, leaders[info->kind]);
    if (info->age_ns != SFLIGHT_AGE_UNKNOWN)
        fprintf(f, ", for %.3f s", (double)info->age_ns / 1e9);
    fprintf(f, "%s%s\n", info->forgotten ? ", forgotten" : "", info->orphaned ? ", orphaned" : "");
    return 0;
}

bool metrics_flights(FILE *f, sflight_group *group)
{
    struct flights flights = {.f = f};
    if (sflight_group_each(group, print_flight, &flights) != 0)
        return false;
    fprintf(f, "%u in flight\n", flights.n);
    return true;
}

void metrics_of_process(FILE *f)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    const double cpu_s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    metric(f, "process_cpu_seconds_total", "counter", "CPU time of the server.", cpu_s);
}
