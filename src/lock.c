/* SPDX-License-Identifier: BSD-2-Clause */
#include "lock.h"

#include "futex.h"
#include "process.h"

#include <errno.h>

#define LOCK_HELD UINT32_C(1)
#define LOCK_CONTENDED UINT32_C(2)

bool lock_take_until(struct lock *lock, const struct timespec *deadline)
{
    (void)process_salt_now();
    uint32_t held = process_generation() | LOCK_HELD;
    uint32_t wanted = held;
    uint32_t word = atomic_load_relaxed(&lock->word); /* the CAS decides */

    for (;;) {
        if ((word | LOCK_CONTENDED) != (held | LOCK_CONTENDED)) { /* free, or a parent's */
            if (atomic_cas_acquire(&lock->word, &word, wanted))   /* [LOCK] */
                return true;
            continue; /* RACE: somebody else takes it */
        }
        if (!(word & LOCK_CONTENDED) &&
            !atomic_cas_relaxed(&lock->word, &word, word | LOCK_CONTENDED))
            continue; /* RACE: given back, perhaps */
        if (futex_wait((uint32_t *)(void *)&lock->word, held | LOCK_CONTENDED, deadline) ==
            -ETIMEDOUT)
            return false;
        wanted = held | LOCK_CONTENDED; /* there may be others that sleep */
        word = atomic_load_relaxed(&lock->word);
    }
}

void lock_take(struct lock *lock)
{
    (void)lock_take_until(lock, NULL);
}

bool lock_try(struct lock *lock)
{
    (void)process_salt_now();
    uint32_t held = process_generation() | LOCK_HELD;
    uint32_t word = atomic_load_relaxed(&lock->word); /* the CAS decides */

    return (word | LOCK_CONTENDED) != (held | LOCK_CONTENDED) &&
           atomic_cas_acquire(&lock->word, &word, held); /* [LOCK] */
}

void lock_give(struct lock *lock)
{
    if (atomic_swap_release(&lock->word, 0) & LOCK_CONTENDED) /* [LOCK] */
        futex_wake((uint32_t *)(void *)&lock->word, 1);
}
