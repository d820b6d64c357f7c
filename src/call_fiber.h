/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocking callers in a group with a runtime: fibers of it, and plain threads. */
#ifndef SFLIGHT_CALL_FIBER_H
#define SFLIGHT_CALL_FIBER_H

#include "call.h"

/* As sflight_do_until(); arguments have been checked. */
int call_do_by_fiber(struct sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                     void *arg, const struct timespec *deadline, sflight_result *r);

#endif
