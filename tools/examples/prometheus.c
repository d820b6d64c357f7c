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

int main(void)
{
    sflight_group *group;
    if (sflight_group_create(&group, NULL) != 0)
        return 1;
    print_metrics(stdout, group, "pages");
    return sflight_group_destroy(group) != 0;
}
