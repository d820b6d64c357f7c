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
    slot->remembered = c;
}

NOINLINE void remember_none(struct slot *slot)
{
    struct sflight_call *c = slot->remembered;

    if (c == NULL)
        return;
    slot->remembered = NULL;
    atomic_fence_compiler();                               /* as remember_call() */
    (void)atomic_sub_release(&c->result.n_remembering, 1); /* [REMEMBER] */
}
