/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include <pthread.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct sflight_group *groups;
static uint64_t n_numbers;

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

void registry_lock(void)
{
    pthread_mutex_lock(&registry);
    REQUIRE_REGISTRY_TAKEN();
}

bool registry_try_lock(void)
{
    if (pthread_mutex_trylock(&registry) != 0)
        return false;
    REQUIRE_REGISTRY_TAKEN();
    return true;
}

void registry_unlock(void)
{
    REQUIRE_REGISTRY();
    REQUIRE_REGISTRY_LEFT();
    pthread_mutex_unlock(&registry);
}

void registry_add(struct sflight_group *g)
{
    REQUIRE_REGISTRY();
    g->number = group_number(++n_numbers);
    g->next = groups;
    g->prev = &groups;
    if (groups != NULL)
        groups->prev = &g->next;
    groups = g;
}

void registry_remove(struct sflight_group *g)
{
    REQUIRE_REGISTRY();
    *g->prev = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
}

struct sflight_group *registry_first(void)
{
    REQUIRE_REGISTRY();
    return groups;
}
