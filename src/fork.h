/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fork: what every group, queue and lane is in the child, where only the thread that forked goes
 * on.
 *
 * Before fork() the locks of the library are taken, so that no list is half changed.  What is
 * changed without a lock may be stopped at any instruction: so a child does not rely on two
 * words that another thread of the parent writes one after the other, but makes the second anew
 * from the first (reclaim_after_fork(), table_filter_in_child(), call_recount_spares()).
 *
 * In the child, calls of other threads are abandoned (orphan.h), their slots become idle, and the
 * counters are made anew from what remains.  The handler runs with the locks held, and
 * calls no allocator.
 */
#ifndef SFLIGHT_FORK_H
#define SFLIGHT_FORK_H

/* Once in the process: registers the handlers.  Returns 0 or -ENOMEM. */
int fork_init(void);

#endif
