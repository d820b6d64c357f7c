/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Showing what is in flight, without stopping anybody.
 *
 * The calls of one bucket are copied in a section, and shown outside of it.  Who has been looked at
 * is SEEN (table.h), so that a walk costs the leaders of the calls that it meets the short way.
 */
#ifndef SFLIGHT_EACH_H
#define SFLIGHT_EACH_H

#include "call.h"

/*
 * As sflight_group_each(): returns 0, what visit has returned that is not 0, or -ENOMEM.
 */
int each_call(struct sflight_group *g, int (*visit)(const sflight_info *, void *), void *ctx);

#endif
