/* SPDX-License-Identifier: BSD-2-Clause */
/* See future.h for the states. */
#include "retract.h"

bool retract_pass(struct sflight_group *g, struct sflight_future *f)
{
    uintptr_t word = atomic_load_acquire(&f->word); /* [TAKE-BACK] */

    while (UNLIKELY((word & FUTURE_BACK) != 0)) {
        if ((word & FUTURE_BACK) == FUTURE_BACK_GONE) {
            future_free(thread_slot(g), f);
            return false;
        }
        if (atomic_cas_acq_rel(&f->word, &word, word | FUTURE_BACK_TOLD)) /* [TAKE-BACK] */
            return false; /* RACE: the canceller frees it */
    }
    return true;
}

void retract_begin(struct sflight_future *f)
{
    REQUIRE(future_kind(f) == FUTURE_THEN || future_kind(f) == FUTURE_QUEUED);
    /* Nobody else writes it now.  What leaves the call next publishes it, to who closes the call.
     */
    atomic_store_release(&f->word, future_word(f) | FUTURE_BACK_GOING); /* [TAKE-BACK] */
}

/* From GOING to what is given; false: the teller has made it TOLD. */
static bool goes_to(struct sflight_future *f, uintptr_t back)
{
    uintptr_t going = (future_word(f) & ~FUTURE_BACK) | FUTURE_BACK_GOING; /* the CAS decides */

    return atomic_cas_acq_rel(&f->word, &going, (going & ~FUTURE_BACK) | back); /* [TAKE-BACK] */
}

void retract_end(struct slot *slot, struct sflight_future *f)
{
    if (!goes_to(f, FUTURE_BACK_GONE))
        future_free(slot, f); /* RACE: the call has ended since */
}

bool retract_undo(struct sflight_future *f)
{
    return goes_to(f, 0);
}

bool retract_after_fork(struct sflight_future *f)
{
    uintptr_t word = future_word(f);

    if ((word & FUTURE_BACK) != FUTURE_BACK_GOING)
        return false;
    atomic_store_relaxed(&f->word, word | FUTURE_BACK_TOLD); /* alone in the child */
    return true;
}

bool retract_callback(struct sflight_future *f)
{
    struct thread_frame *all = thread_callbacks();
    struct sflight_future **at = all != NULL ? &all->first : NULL;

    while (at != NULL && *at != f)
        at = *at != NULL ? &(*at)->next : NULL;
    if (at == NULL)
        return false;
    *at = f->next;
    if (all->last == &f->next)
        all->last = at;
    return true;
}
