/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Claims beside what nobody looks at: src/table.c as it is.  A bucket holds 'a'; 'b', 'c' and 'd'
 * have other fingerprints, 'i' has that of 'a'.  What the threads do to it at the same time:
 *
 *   -DCASE=1  'b' is claimed and removed; the owner of 'a' removes it
 *   -DCASE=2  as 1, and somebody walks to 'b'
 *   -DCASE=3  'b' is claimed and removed, twice: once by each of two; 'a' stays
 *   -DCASE=4  'a' is forgotten, so newcomers pass it by; two claim 'i'
 *   -DCASE=5  the same with one of them, and the owner of 'a' removes it
 *
 *   - a node that has been removed is not reached any more (an access to freed memory otherwise);
 *   - of two that claim one key one gets it, and the two are never inside together (I1, I2), nor
 *     does the second miss what the first one has written [CLAIM];
 *   - what has not been removed stays reachable, and with -DCASE=3 it can be removed unseen.
 */
#define MODEL_THREADS 4
#define APART
#include "model_table.h"

#ifndef CASE
#define CASE 1
#endif

static struct table_node *a;
static _Atomic(int) n_inside;
static int n_led;

/* Claims the key, leads, and removes the node; false: somebody else has the key. */
static bool lead(int thread, unsigned char key)
{
    struct table_node *node = node_make(key);

    if (!node_claim_unlooked(node)) {
        section_enter(thread);
        struct table_node *found = node_search(key, node);
        section_leave(thread);
        if (found != NULL)
            return false;
    }
    assert(atomic_add_relaxed(&n_inside, 1) == 0);
    atomic_fence_after_rmw(); /* as after every claim */
    n_led++;
    atomic_sub_relaxed(&n_inside, 1);
    node_remove(thread, node);
    return true;
}

static void *leader(void *arg)
{
    (void)lead((int)(intptr_t)arg, CASE >= 4 ? 'i' : 'b');
    return NULL;
}

static void *owner_of_a(void *unused)
{
    (void)unused;
    node_remove(3, a);
    return NULL;
}

static void *walker(void *unused)
{
    (void)unused;
    section_enter(2);
    struct table_node *found = node_search('b', NULL);
    assert(found == NULL || found->key_inline[0] == 'b');
    section_leave(2);
    return NULL;
}

int main(void)
{
    pthread_t threads[3];
    int n = 0;

    table_make();
    a = node_make('a');
    assert(node_claim_unlooked(a));
#if CASE >= 4
    section_enter(0);
    assert(node_search('a', NULL) == a);
    table_pass_by_in_section(a);
    section_leave(0);
#endif
    pthread_create(&threads[n++], NULL, leader, (void *)1);
#if CASE == 1 || CASE == 5
    pthread_create(&threads[n++], NULL, owner_of_a, NULL);
#elif CASE == 2
    pthread_create(&threads[n++], NULL, owner_of_a, NULL);
    pthread_create(&threads[n++], NULL, walker, NULL);
#else
    pthread_create(&threads[n++], NULL, leader, (void *)2);
#endif
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);

    REACHED(n_led == 2);
#if CASE == 4
    node_remove(3, a);
#endif
#if CASE == 3
    /* Nobody has looked at it, unless the two have met. */
    assert(link_node(bucket_now()) == a);
    assert((bucket_now() & LINK_SEEN) || table_remove_unseen(a, table_unseen_word(a)));
#else
    assert(bucket_now() == 0);
#endif
    return 0;
}
