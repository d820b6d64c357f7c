/* SPDX-License-Identifier: BSD-2-Clause */
/* prometheus.c - a group's statistics as Prometheus reads them; grafana.json shows them. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <singleflight.h>
#include <stdio.h>

/* What an HTTP server answers at /metrics, as text/plain; version=0.0.4. */
static void print_metrics(FILE *f, sflight_group *group, const char *name)
{
    sflight_stats s;
    sflight_group_stats(group, &s);
    const struct {
        const char *what, *suffix, *type;
        uint64_t value;
    } metrics[] = {
#define COUNTER(member) {#member, "_total", "counter", s.member}
#define GAUGE(member)                                                                              \
    {                                                                                              \
#member, "", "gauge", s.member                                                             \
    }
        COUNTER(led),       COUNTER(joined),    COUNTER(forgotten),  COUNTER(timed_out),
        COUNTER(abandoned), COUNTER(panicked),  COUNTER(taken_over), COUNTER(expired),
        COUNTER(rejected),  COUNTER(deadlocks), COUNTER(parked),     COUNTER(spun),
        GAUGE(in_flight),   GAUGE(waiting),     GAUGE(held),         GAUGE(retired_pending),
        GAUGE(buckets),     GAUGE(bytes)};
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        fprintf(f, "# TYPE sflight_%s%s %s\nsflight_%s%s{group=\"%s\"} %" PRIu64 "\n",
                metrics[i].what, metrics[i].suffix, metrics[i].type, metrics[i].what,
                metrics[i].suffix, name, metrics[i].value);
}

/* The same of a group with options.durations: from a microsecond on, and up to two minutes. */
static void print_durations(FILE *f, sflight_group *group, const char *name)
{
    sflight_stats s;
    uint64_t n = 0;
    sflight_group_stats(group, &s);
    fprintf(f, "# TYPE sflight_longest_wait_seconds gauge\n");
    fprintf(f, "sflight_longest_wait_seconds{group=\"%s\"} %.9f\n", name,
            (double)s.longest_wait_ns / 1e9);
    fprintf(f, "# TYPE sflight_duration_seconds histogram\n");
    for (int i = 0; i < SFLIGHT_DURATIONS; i++) {
        n += s.durations[i];
        if (i >= 9 && i <= 36)
            fprintf(f, "sflight_duration_seconds_bucket{group=\"%s\",le=\"%g\"} %" PRIu64 "\n",
                    name, (double)(UINT64_C(2) << i) / 1e9, n);
    }
    fprintf(f, "sflight_duration_seconds_bucket{group=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, n);
    fprintf(f, "sflight_duration_seconds_sum{group=\"%s\"} %.9f\n", name, (double)s.total_ns / 1e9);
    fprintf(f, "sflight_duration_seconds_count{group=\"%s\"} %" PRIu64 "\n", name, n);
}

int main(void)
{
    sflight_options o;
    sflight_group *group;
    sflight_options_init(&o);
    o.durations = 1;
    if (sflight_group_create(&group, &o) != 0)
        return 1;
    print_metrics(stdout, group, "pages");
    print_durations(stdout, group, "pages");
    return sflight_group_destroy(group) != 0;
}
