/* SPDX-License-Identifier: BSD-2-Clause */
/* See future.h for the states. */
#include "retract.h"

bool retract_pass(struct sflight_group *g, struct sflight_future *f)
{
    uint32_t state = atomic_load_acquire(&f->state); /* [TAKE-BACK] */

    while (UNLIKELY(state != FUTURE_HUNG)) {
        if (state == FUTURE_GONE) {
            future_free(thread_slot(g), f);
            return false;
        }
        if (atomic_cas_acq_rel(&f->state, &state, FUTURE_TOLD)) /* [TAKE-BACK] */
            return false;                                       /* RACE: the canceller frees it */
    }
    return true;
}

void retract_begin(struct sflight_future *f)
{
    REQUIRE(f->kind == FUTURE_THEN || f->kind == FUTURE_QUEUED);
    /* What leaves the call next publishes it, to who closes the call after that. */
    atomic_store_release(&f->state, FUTURE_GOING); /* [TAKE-BACK] */
}

void retract_end(struct slot *slot, struct sflight_future *f)
{
    uint32_t state = FUTURE_GOING;

    if (!atomic_cas_acq_rel(&f->state, &state, FUTURE_GONE)) /* [TAKE-BACK] */
        future_free(slot, f);                                /* RACE: the call has ended since */
}

bool retract_undo(struct sflight_future *f)
{
    uint32_t state = FUTURE_GOING;

    return atomic_cas_acq_rel(&f->state, &state, FUTURE_HUNG); /* [TAKE-BACK] */
}

bool retract_after_fork(struct sflight_future *f)
{
    if (atomic_load_relaxed(&f->state) != FUTURE_GOING)
        return false;
    atomic_store_relaxed(&f->state, FUTURE_TOLD); /* alone in the child */
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
