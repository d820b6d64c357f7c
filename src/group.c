/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include <pthread.h>

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct sflight_group *groups;
static uint64_t last_number;

void registry_lock(void)
{
    pthread_mutex_lock(&registry);
}
void registry_unlock(void)
{
    pthread_mutex_unlock(&registry);
}

void registry_add(struct sflight_group *g)
{
    g->number = ++last_number;
    g->next = groups;
    g->prev = &groups;
    if (groups != NULL)
        groups->prev = &g->next;
    groups = g;
}

void registry_remove(struct sflight_group *g)
{
    *g->prev = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
}

struct sflight_group *registry_first(void)
{
    return groups;
}
