/* SPDX-License-Identifier: BSD-2-Clause */
/* metrics.h - what the servers say at /metrics, in Prometheus' text format, and at /flights. */
#ifndef METRICS_H
#define METRICS_H

#include <singleflight.h>

#include <stdio.h>

/* One metric; type is "counter" or "gauge". */
void metric(FILE *f, const char *name, const char *type, const char *help, double value);

/* The group's statistics, one metric each. */
void metrics_of_group(FILE *f, sflight_group *group);

/*
 * A line for each call in flight, whose key is a product: its followers, who leads it, and since
 * when, where that is known; then how many there are.  False: not all of them.
 */
bool metrics_flights(FILE *f, sflight_group *group);

/* CPU time. */
void metrics_of_process(FILE *f);

#endif
