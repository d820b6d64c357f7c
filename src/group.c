/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include "cpu.h"
#include "lock.h"

#ifndef REGISTRY_TURNS        /* fewer in a build for tests */
enum { REGISTRY_TURNS = 18 }; /* of who looks for the lock; the last two are sleeps */
#endif

static struct lock registry;
static struct sflight_group *groups;
static uint64_t n_numbers;
static uint64_t right_in; /* the process, by its salt; under the registry lock */
static void (*process_right)(void);
static void (*group_right)(struct sflight_group *g);

/*
 * The n-th number: a bijection, so that none is given twice, and one that spreads whatever
 * groups a thread uses over its table of places (splitmix64's last steps; 0 only for 0).
 */
static uint64_t group_number(uint64_t n)
{
    n = (n ^ n >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ n >> 27) * UINT64_C(0x94d049bb133111eb);
    return n ^ n >> 31;
}

#ifdef SFLIGHT_CHECKED
_Thread_local bool registry_held;
#define REQUIRE_REGISTRY_TAKEN() ((void)(registry_held = true))
#define REQUIRE_REGISTRY_LEFT() ((void)(registry_held = false))
#else
#define REQUIRE_REGISTRY_TAKEN() ((void)0)
#define REQUIRE_REGISTRY_LEFT() ((void)0)
#endif

/* In a forked child a thread may have been stopped in the middle of a change of the list. */
static void mend_groups(void)
{
    struct sflight_group **prev = &groups;

    for (struct sflight_group *g = groups; g != NULL; g = g->next) {
        if (g->prev != prev)
            g->prev = prev; /* RACE: the fork came amid a change; only then it is written */
        prev = &g->next;
    }
}

static void registry_taken(void)
{
    REQUIRE_REGISTRY_TAKEN();
    if (UNLIKELY(right_in != process_salt())) {
        if (right_in != 0) {
            mend_groups();
            process_right();
        }
        right_in = process_salt();
    }
}

void registry_lock(void)
{
    lock_take(&registry);
    registry_taken();
}

bool registry_lock_soon(void)
{
    unsigned n_turns = 0;

    while (!lock_try(&registry)) {
        if (n_turns == REGISTRY_TURNS)
            return false;
        cpu_back_off(&n_turns);
    }
    registry_taken();
    return true;
}

bool registry_try_lock(void)
{
    if (!lock_try(&registry))
        return false;
    REQUIRE_REGISTRY_TAKEN();
    return true;
}

void registry_unlock(void)
{
    REQUIRE_REGISTRY();
    REQUIRE_REGISTRY_LEFT();
    lock_give(&registry);
}

void group_init(struct sflight_group *g)
{
    registry_lock(); /* also before its first use */
    g->number = group_number(++n_numbers);
    atomic_store_relaxed(&g->salt, process_salt()); /* nobody else yet */
    g->next = groups;
    g->prev = &groups;
    if (groups != NULL)
        groups->prev = &g->next;
    atomic_fence_compiler(); /* for a child that another thread forks */
    groups = g;
    registry_unlock();
}

void group_put_right_by(void (*process)(void), void (*group)(struct sflight_group *g))
{
    process_right = process;
    group_right = group;
}

void group_fini(struct sflight_group *g)
{
    REQUIRE_REGISTRY();
    *g->prev = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
}

static void put_right(struct sflight_group *g)
{
    if (atomic_load_relaxed(&g->salt) != process_salt()) { /* ordered by the lock */
        group_right(g);
        atomic_store_release(&g->salt, process_salt()); /* [PROCESS] */
    }
}

NOINLINE void group_put_right(struct sflight_group *g)
{
    registry_lock();
    put_right(g);
    registry_unlock();
}

void group_put_all_right(void)
{
    registry_lock();
    for (struct sflight_group *g = groups; g != NULL; g = g->next)
        put_right(g);
    registry_unlock();
}
