/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a group is in the child of a fork: only the thread that forked is left, and
 * every other thread was stopped where it stood.
 *
 * At the fork nothing is locked and next to nothing done, whatever groups, tables and
 * threads there are.  The child has another salt (process.h), and so:
 *
 *   who notices         when                             what is done
 *   ------------------  -------------------------------  --------------------------------
 *   handler, or whoever after the fork; or at the first  notes who forked and its batches,
 *   finds no salt       use of anything, if that is      and has its calls found SEEN
 *                       earlier
 *   registry_lock()     first time in the child, before  lanes are free; nobody looks for
 *                       a thread of it gets a lane       a circle
 *   thread_slot_slow()  a group's key has the salt in    the group is put right; the
 *   and group_enter()   it, so no slot is at hand        thread's list of slots mended
 *   queue_enter()       a queue's first use              nobody is pushing
 *   lock_take()         always                           a lock of the parent's is free
 *
 * The uncontended call pays one addition for each look at its slot.  Who has found a
 * slot need not look again until user code has run: that may have forked.  A call that
 * was alone until then goes the short way only if it is unseen, which the fork has seen to.
 *
 * Putting a group right, under the registry lock, by its first use and before any thread of
 * the child gets a slot of it:
 *   - Each call in flight is in the table, also if it has been forgotten; but one that a
 *     thread was just ending.  Those that the forking thread (or fiber) leads, or has begun,
 *     and that nobody has closed, are the child's; nobody but its own batches blocks in them.
 *     The others end as abandoned, in `orphans`, with so many holds that they stay until the
 *     group ends.  One that was being ended is found by who has a future on it.
 *   - Futures are not threads: all stay, and are counted apart from results.
 *   - Results count for the thread that got them.  Those of other running threads went with
 *     them; those of threads that had ended before are anybody's, and stay.
 *   - Slots of other threads become idle, and are made consistent: their lists of spare
 *     records, and of retired ones from the first on, are whole at every step.
 *
 * After a fork without handlers (_Fork(3)) the thread that forked has to be the first to use the
 * library: if a new one is, nothing is known of the calls that the other leads.
 *
 * The forking thread may itself be ended, or not have come, when another thread of the child
 * is first: so nothing of it is looked at but what the handler has noted, and its batches,
 * which take themselves off under the registry lock.
 */
#ifndef SFLIGHT_FORK_H
#define SFLIGHT_FORK_H

/* Once in the process, before anything that takes a lock. */
void fork_init(void);

/* Registers the handler, which says who forked.  Returns 0 or -ENOMEM. */
int fork_handle(void);

#endif
