/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include <pthread.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct sflight_group *groups;
static uint64_t last_number;

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
void registry_unlock(void)
{
    REQUIRE_REGISTRY();
    REQUIRE_REGISTRY_LEFT();
    pthread_mutex_unlock(&registry);
}

void registry_add(struct sflight_group *g)
{
    REQUIRE_REGISTRY();
    g->number = ++last_number;
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
