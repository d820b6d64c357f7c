/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many keys at once: sflight_do_many().
 *
 * A batch claims or joins all of its keys, then runs fn for the calls that it leads, then waits
 * for the others.  As nobody waits who has work of its own to do, two batches cannot wait for
 * each other.
 *
 * A key that stands twice in a batch is an ALIAS of its first place, and is never claimed or
 * joined.  An alias of a call that is led here gets its hold when the call ends (extra_holds); an
 * alias of a call that was joined gets it from the result of its first place.
 *
 * A batch is one block of memory in the list of its agent, not on the stack, because fn may leave
 * by longjmp() past the frame that began the batch.
 */
#ifndef SFLIGHT_BATCH_H
#define SFLIGHT_BATCH_H

#include "lead.h"
#include "wait.h"

struct batch;

/*
 * Gives up what a batch has joined and taken, and frees it: its fn was left without returning.  By
 * its agent, or by the agent's thread as it ends.
 */
void batch_abandon(struct batch *b);

/* In a forked child, by who notices it: the innermost batch of the thread that forked. */
void batch_fork(struct batch *innermost);

/*
 * There, under the registry lock, when a group is put right: of those batches, and of the
 * fiber's that forked (or NULL), what they have joined is the child's, or has ended.
 */
void batch_after_fork(struct sflight_group *g, const struct agent *fiber, struct gauges_kept *kept);

/* As sflight_do_many_sized(); arguments have been checked, but the keys.  Returns 0 or -ENOMEM. */
int batch_do(struct sflight_group *g, const sflight_key *keys, size_t n, sflight_many_fn *fn,
             void *arg, const struct timespec *deadline, sflight_result *out, size_t size, int *rc);

#endif
