/* SPDX-License-Identifier: BSD-2-Clause */
/* A batch of keys; see sflight_do_many(). */
#ifndef SFLIGHT_BATCH_H
#define SFLIGHT_BATCH_H

#include "lead.h"
#include "wait.h"

struct batch;

/* Leaves a batch of this caller whose fn was left without returning. */
void batch_abandon(struct batch *b);

/* In a forked child: what this caller's batches have joined has ended. */
void batch_after_fork(const struct agent *agent, struct sflight_group *g, struct remains *remains);

/* Arguments have been checked.  Returns 0, -ENOMEM or -ESHUTDOWN. */
int batch_do(struct sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
             void *arg, const struct timespec *deadline, sflight_result *r, int *rc);

#endif
