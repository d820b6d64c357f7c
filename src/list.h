/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lists of those who wait for a call, other than at its gate: futures and waiters (future.h),
 * in the call's own list, or futures in that of a joint; and that of a group's drainers.
 *
 * Anybody may put an entry in front at any moment, so that the one that was hung up last stands
 * first.  Whoever is to tell a list takes all of it in one step (notify_ended(), and finish.c of
 * the drainers').  An entry that was given up (GONE) stays where it is, and is freed by the teller,
 * or, of a call, by a sweep before that.
 *
 * To take single entries out of a call's lists a thread HOLDS them, all at once.  Nobody else takes
 * anything out meanwhile: another one that wants to hold it waits, and so does who is to tell it.
 *
 *     holder                              teller
 *     LIST_HELD                           opens the gate
 *     fence                               fence                                       [SWEEP]
 *     gate open? then lets go             LIST_HELD? then waits
 *
 * So all who stay are told by one thread, and those of a list in the order in which they came.  The
 * lists are held for a step for each entry, without user code and without an allocation.
 */
#ifndef SFLIGHT_LIST_H
#define SFLIGHT_LIST_H

#include "cpu.h"
#include "future.h"

/* Puts an entry into the list; false if the list has been told [NOTIFY]. */
static ALWAYS_INLINE bool list_push(_Atomic(struct sflight_future *) *list,
                                    struct sflight_future *f)
{
    struct sflight_future *first = atomic_load_acquire(list);
    do {
        if (UNLIKELY(first == WAITERS_TOLD))
            return false;
        f->next = first;
    } while (!atomic_cas_acq_rel(list, &first, f)); /* [HANG] [NOTIFY] */
    return true;
}

/*
 * Takes the waiter that was hung up last out of the call's list; NULL: there is none, or the call
 * has ended.  The calling function keeps the call.
 */
struct sflight_future *list_take_waiter(struct sflight_call *c);

/*
 * To be called when an entry of the call's list has been given up, or is about to be.  When as many
 * have been as still wait for the call, frees all those that it finds.  The calling function
 * keeps the call: it has not left it yet.
 */
void list_sweep(struct slot *slot, struct sflight_call *c);

/* By who has opened the call's gate, after a fence, before it takes the list: nobody holds it. */
static inline void list_await(struct sflight_call *c)
{
    unsigned n_turns = 0;

    while (UNLIKELY(atomic_load_acquire(&c->gone) & LIST_HELD)) /* [SWEEP] */
        cpu_back_off(&n_turns); /* RACE: a few steps, if that thread is running */
}

#endif
