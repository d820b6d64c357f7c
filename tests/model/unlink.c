/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Removal: src/table.c as it is.  One bucket holds the chain 'c' -> 'b' -> 'a',
 * all SEEN.  What the threads do to it at the same time:
 *
 *   -DCASE=1  the owners of 'c' and 'b' remove them (adjacent nodes)
 *   -DCASE=2  the owners of 'b' and 'a' remove them
 *   -DCASE=3  somebody forgets 'b' while its owner removes it and the owner of
 *             'c', in front of it, removes that
 *   -DCASE=4  somebody inserts 'd' in front while the owner of 'c' removes it,
 *             and then takes 'd' out again
 *   -DCASE=5  the owners of 'c' and 'b' remove them while somebody walks to 'a'
 *   -DCASE=6  somebody inserts 'd' in front, and two others look for it
 *   -DCASE=7  as 4, while somebody walks to 'a'
 *
 *   - a node that has been unlinked and retired is not reached any more, also
 *     not by who removes its neighbour (I6: access to freed memory otherwise);
 *   - what has not been removed stays reachable.
 */
#define MODEL_THREADS 4
#include "model_table.h"

#ifndef CASE
#define CASE 1
#endif

static struct table_node *a, *b, *c;

static void *owner_of_c(void *unused)
{
    (void)unused;
    node_remove(1, c);
    return NULL;
}

static void *owner_of_b(void *unused)
{
    (void)unused;
    node_remove(2, b);
    return NULL;
}

/* As forget(): the node found in a section is unlinked in it. */
static void *forgetter(void *unused)
{
    (void)unused;
    section_enter(0);
    struct table_node *found = node_search('b', NULL);
    if (found != NULL)
        table_unlink_in_section(&table, found);
    section_leave(0);
    REACHED(found != NULL);
    return NULL;
}

static void *inserter(void *unused)
{
    struct table_node *d = node_make('d');

    (void)unused;
    section_enter(0);
    assert(node_search('d', d) == NULL);
    section_leave(0);
    node_remove(0, d);
    return NULL;
}

static void *searcher(void *arg)
{
    int thread = arg == NULL ? 1 : 2;

    section_enter(thread);
    struct table_node *found = node_search('d', NULL);
    section_leave(thread);
    REACHED(found != NULL && found == link_node(bucket_now()));
    return NULL;
}

static void *walker(void *unused)
{
    (void)unused;
    section_enter(3);
    assert(node_search('a', NULL) == a);
    section_leave(3);
    return NULL;
}

int main(void)
{
    void *(*work[3])(void *) = {NULL, NULL, NULL};
    pthread_t threads[3];

    table_make();
    a = node_make('a');
    b = node_make('b');
    c = node_make('c');
    assert(node_search('a', a) == NULL);
    assert(node_search('b', b) == NULL);
    assert(node_search('c', c) == NULL);
    assert(node_search('c', NULL) == c); /* SEEN */

#if CASE == 1
    work[0] = owner_of_c;
    work[1] = owner_of_b;
#elif CASE == 2
    work[1] = owner_of_b;
#elif CASE == 3
    work[0] = owner_of_c;
    work[1] = owner_of_b;
    work[2] = forgetter;
#elif CASE == 4 || CASE == 7
    work[0] = owner_of_c;
    work[2] = inserter;
#if CASE == 7
    work[1] = walker;
#endif
#elif CASE == 5
    work[0] = owner_of_c;
    work[1] = owner_of_b;
    work[2] = walker;
#else
    work[0] = searcher;
    work[1] = searcher;
#endif
    for (int i = 0; i < 3; i++)
        if (work[i] != NULL)
            pthread_create(&threads[i], NULL, work[i], i == 0 ? NULL : &threads);
#if CASE == 2
    node_remove(0, a);
#elif CASE == 6
    struct table_node *d = node_make('d');
    section_enter(0);
    assert(node_search('d', d) == NULL);
    section_leave(0);
#endif
    for (int i = 0; i < 3; i++)
        if (work[i] != NULL)
            pthread_join(threads[i], NULL);

    /* What is left, and nothing else. */
    struct table_node *first = link_node(bucket_now());
#if CASE == 1 || CASE == 3 || CASE == 5
    assert(first == a && link_node(atomic_load_relaxed(&a->next)) == NULL);
#elif CASE == 2
    assert(first == c && atomic_load_relaxed(&c->next) == 0);
#elif CASE == 4 || CASE == 7
    assert(first == b && link_node(atomic_load_relaxed(&b->next)) == a);
#else
    assert(first == d && link_node(atomic_load_relaxed(&d->next)) == c);
#endif
    return 0;
}
