/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers are counted up, so their low bits spread the claims evenly. */
#include "claims.h"

#include <stdlib.h>

enum { FIRST_SIZE = 64 };

/* --------------------------------------------------------------- table */

bool claims_init(struct claims *t)
{
    *t = (struct claims){.n_buckets = FIRST_SIZE};
    t->buckets = calloc(t->n_buckets, sizeof(struct claim *));
    return t->buckets != NULL;
}

void claims_free(struct claims *t)
{
    free(t->buckets);
    free(t->heap);
}

static struct claim **bucket_of(const struct claims *t, uint64_t number)
{
    return &t->buckets[number & (t->n_buckets - 1)];
}

static void chain(struct claims *t, struct claim *c)
{
    struct claim **at = bucket_of(t, c->number);

    c->next = *at;
    c->link = at;
    if (c->next != NULL)
        c->next->link = &c->next;
    *at = c;
}

/* Without memory the chains become longer. */
static void grow(struct claims *t)
{
    struct claim **old = t->buckets;
    size_t n_old = t->n_buckets;
    struct claim **larger = calloc(2 * n_old, sizeof(struct claim *));

    if (larger == NULL)
        return;
    t->buckets = larger;
    t->n_buckets = 2 * n_old;
    for (size_t i = 0; i < n_old; i++)
        for (struct claim *c = old[i], *next; c != NULL; c = next) {
            next = c->next;
            chain(t, c);
        }
    free(old);
}

bool claims_add(struct claims *t, struct claim *c)
{
    if (t->n + 1 > t->heap_size) {
        size_t size = t->heap_size == 0 ? FIRST_SIZE : 2 * t->heap_size;
        struct claim **larger = realloc(t->heap, size * sizeof(struct claim *));
        if (larger == NULL)
            return false;
        t->heap = larger;
        t->heap_size = size;
    }
    if (t->n >= t->n_buckets)
        grow(t);
    c->timer_at = CLAIMS_NO_TIMER;
    chain(t, c);
    t->n++;
    return true;
}

struct claim *claims_find(const struct claims *t, uint64_t number)
{
    struct claim *c = *bucket_of(t, number);

    while (c != NULL && c->number != number)
        c = c->next;
    return c;
}

struct claim *claims_first(const struct claims *t, struct claims_walk *w)
{
    *w = (struct claims_walk){0};
    return claims_next(t, w);
}

struct claim *claims_next(const struct claims *t, struct claims_walk *w)
{
    struct claim *c = w->next;

    while (c == NULL && w->bucket < t->n_buckets)
        c = t->buckets[w->bucket++];
    w->next = c != NULL ? c->next : NULL;
    return c;
}

/* ---------------------------------------------------------------- heap */

static uint64_t time_at(const struct claims *t, size_t at)
{
    return t->heap[at]->flight.timer_ns;
}

static void place(struct claims *t, struct claim *c, size_t at)
{
    t->heap[at] = c;
    c->timer_at = at;
}

static void sift_up(struct claims *t, size_t at)
{
    struct claim *c = t->heap[at];

    for (; at > 0 && c->flight.timer_ns < time_at(t, (at - 1) / 2); at = (at - 1) / 2)
        place(t, t->heap[(at - 1) / 2], at);
    place(t, c, at);
}

static void sift_down(struct claims *t, size_t at)
{
    struct claim *c = t->heap[at];

    for (size_t child; (child = 2 * at + 1) < t->n_timers; at = child) {
        if (child + 1 < t->n_timers && time_at(t, child + 1) < time_at(t, child))
            child++;
        if (c->flight.timer_ns <= time_at(t, child))
            break;
        place(t, t->heap[child], at);
    }
    place(t, c, at);
}

static void remove_timer(struct claims *t, struct claim *c)
{
    size_t at = c->timer_at;
    struct claim *last = t->heap[--t->n_timers];

    c->timer_at = CLAIMS_NO_TIMER;
    if (last == c)
        return;
    place(t, last, at);
    sift_up(t, at);
    sift_down(t, last->timer_at);
}

void claims_set_timer(struct claims *t, struct claim *c)
{
    if (c->flight.timer_ns == FLIGHT_NEVER) {
        if (c->timer_at != CLAIMS_NO_TIMER)
            remove_timer(t, c);
        return;
    }
    if (c->timer_at == CLAIMS_NO_TIMER)
        place(t, c, t->n_timers++);
    sift_up(t, c->timer_at);
    sift_down(t, c->timer_at);
}

struct claim *claims_soonest(const struct claims *t)
{
    return t->n_timers > 0 ? t->heap[0] : NULL;
}

void claims_remove(struct claims *t, struct claim *c)
{
    if (c->timer_at != CLAIMS_NO_TIMER)
        remove_timer(t, c);
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    t->n--;
}
