/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include "lock.h"

static struct lock registry;
static _Atomic(uint64_t) last_number;
static uint64_t right_in; /* the process, by its salt; under the registry lock */
static void (*process_right)(void);
static void (*group_right)(struct sflight_group *g);

#ifdef SFLIGHT_CHECKED
_Thread_local bool registry_held;
#define REQUIRE_REGISTRY_TAKEN() ((void)(registry_held = true))
#define REQUIRE_REGISTRY_LEFT() ((void)(registry_held = false))
#else
#define REQUIRE_REGISTRY_TAKEN() ((void)0)
#define REQUIRE_REGISTRY_LEFT() ((void)0)
#endif

void registry_lock(void)
{
    lock_take(&registry);
    REQUIRE_REGISTRY_TAKEN();
    if (UNLIKELY(right_in != process_salt())) {
        if (right_in != 0)
            process_right();
        right_in = process_salt();
    }
}
void registry_unlock(void)
{
    REQUIRE_REGISTRY();
    REQUIRE_REGISTRY_LEFT();
    lock_give(&registry);
}

void group_init(struct sflight_group *g)
{
    g->number = atomic_add_relaxed(&last_number, 1) + 1; /* any order will do */
    uint64_t salt = process_salt_now();
    atomic_store_relaxed(&g->salt, salt); /* nobody else yet */
    registry_lock();                      /* before its first use */
    registry_unlock();
}

void group_put_right_by(void (*process)(void), void (*group)(struct sflight_group *g))
{
    process_right = process;
    group_right = group;
}

NOINLINE void group_put_right(struct sflight_group *g)
{
    uint64_t salt = process_salt_now();

    registry_lock();
    if (atomic_load_relaxed(&g->salt) != salt) { /* ordered by the lock */
        group_right(g);
        atomic_store_release(&g->salt, salt); /* [PROCESS] */
    }
    registry_unlock();
}
