/* SPDX-License-Identifier: BSD-2-Clause */
#include "remember.h"

NOINLINE void remember_call(struct slot *slot, struct sflight_call *c)
{
    unsigned char n = atomic_load_relaxed(&c->result.n_remembering); /* the CAS decides */

    if (c->node.key_len > CALL_KEY_KEPT || group_has(c->group, GROUP_LIMITED))
        return;
    remember_none(slot);
    do
        if (n == REMEMBER_MOST)
            return;
    /* Who looks at it comes after this thread's hold has been given up.  [REMEMBER] */
    while (!atomic_cas_relaxed(&c->result.n_remembering, &n, (unsigned char)(n + 1)));
    atomic_fence_compiler(); /* a child that another thread forks finds one too many, or right */
    slot->n_met = 0;
    slot->joined_state = 0;
    slot->remembered = c;
}

NOINLINE void remember_none(struct slot *slot)
{
    struct sflight_call *c = slot->remembered;

    if (c == NULL)
        return;
    slot->joint = NULL;
    atomic_fence_compiler(); /* as remember_call(): no joint is of another call */
    slot->remembered = NULL;
    atomic_fence_compiler();                               /* as remember_call() */
    (void)atomic_sub_release(&c->result.n_remembering, 1); /* [REMEMBER] */
}

NOINLINE bool remember_joint(struct slot *slot)
{
    struct sflight_call *c = slot->remembered;
    struct alloc *alloc = &c->group->alloc;

    slot->n_met = 0;
    if (group_has(c->group, GROUP_AGES) || (call_joints(c) & JOINT_LIST_SHUT))
        return false;
    struct joint *j = slot->joint, *made = NULL;
    if (j == NULL)
        j = joint_choose(&c->joints, slot, STATE_JOINTS_MOST, slot->owner);
    if (j != NULL && joint_join(j)) {
        slot->joint = j;
        return true;
    }
    if (j == NULL && (j = made = joint_new(alloc, slot)) == NULL)
        return false;
    bool joined = state_add_joint(&c->state);
    if (joined && (made != NULL ? joint_add(&c->joints, j) : joint_revive(j))) {
        slot->joint = j;
        return true;
    }
    if (joined) /* RACE: the joints are being shut, or another thread has made this one busy */
        state_own_joint(&c->state);
    alloc_put(alloc, made, sizeof(*made));
    return joined; /* false: it has ended, been forgotten, or has as many joints as there can be */
}
