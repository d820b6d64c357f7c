/* SPDX-License-Identifier: BSD-2-Clause */
/* A batch of keys; see sflight_do_many(). */
#ifndef SFLIGHT_BATCH_H
#define SFLIGHT_BATCH_H

#include "lead.h"
#include "wait.h"

struct batch;

/* Leaves a batch of this caller whose fn was left without returning. */
void batch_abandon(struct batch *b);

/* In a forked child, by who notices it: the innermost batch of the thread that forked. */
void batch_fork(struct batch *innermost);

/*
 * There, under the registry lock, when a group is put right: of those batches, and of the
 * fiber's that forked (or NULL), what they have joined is the child's, or has ended.
 */
void batch_after_fork(struct sflight_group *g, const struct agent *fiber, struct gauges_kept *kept);

/* Arguments have been checked.  Returns 0, -ENOMEM or -ESHUTDOWN. */
int batch_do(struct sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
             void *arg, const struct timespec *deadline, sflight_result *r, int *rc);

#endif
