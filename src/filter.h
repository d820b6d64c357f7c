/* SPDX-License-Identifier: BSD-2-Clause */
/* A table in a forked child: what is dropped from it. */
#ifndef SFLIGHT_FILTER_H
#define SFLIGHT_FILTER_H

#include "table.h"

/*
 * Calls keep() for every node and drops those for which it says false.  Only
 * while nobody else uses the table.
 */
void filter_table(struct table *t, bool (*keep)(struct table_node *node, void *ctx), void *ctx);

#endif
