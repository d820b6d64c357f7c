/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Growing against claiming: src/table.c as it is.  While main makes a larger
 * array the newest, two threads claim the same key.
 *   - at most one of them gets it, whichever arrays they see (I1) [FREEZE];
 *   - an array is not read before it is filled in [GROW-ARRAY] (an
 *     uninitialised read otherwise).
 * With -DFINISH who has claimed the key removes it again, so that the key
 * wanders from the old array to the new one: the two are then never inside at
 * once, and the old array counts as drained exactly when it is frozen and
 * empty.
 * With -DTHIRD a third thread claims as well; with -DOCCUPIED another node is in the old bucket,
 * and stays.
 */
#define MODEL_THREADS 4
#include "model_table.h"

static _Atomic(int) n_inside;

static void *claimer(void *arg)
{
    int thread = (int)(intptr_t)arg;
    struct table_node *node = node_make('k');
    bool claimed = node_claim_unlooked(node);

    if (!claimed) {
        section_enter(thread);
        claimed = node_search('k', node) == NULL;
        section_leave(thread);
    }
    if (!claimed)
        return NULL;
    assert(atomic_add_relaxed(&n_inside, 1) == 0);
#ifdef FINISH
    atomic_sub_relaxed(&n_inside, 1);
    node_remove(thread, node);
#endif
    return NULL;
}

int main(void)
{
    pthread_t threads[3];

    table_make();
    struct bucket_array *old = atomic_load_relaxed(&shard.newest);
#ifdef OCCUPIED
    assert(node_search('z', node_make('z')) == NULL);
#endif
    pthread_create(&threads[0], NULL, claimer, (void *)1);
    pthread_create(&threads[1], NULL, claimer, (void *)2);
#ifdef THIRD
    pthread_create(&threads[2], NULL, claimer, (void *)3);
#endif

    struct bucket_array *larger = array_make(2, old);
    if (!atomic_swap_acquire(&shard.growing, true)) { /* [GROW-ONE] */
        atomic_store_relaxed(&shard.only, 0);
        atomic_store_release(&shard.newest, larger); /* [GROW-ARRAY] */
        atomic_store_release(&shard.growing, false); /* [GROW-ONE] */
    }

    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
#ifdef THIRD
    pthread_join(threads[2], NULL);
#endif
    bool drained = atomic_load_relaxed(&old->buckets[0]) == LINK_FROZEN;
    REACHED(drained);
    assert(atomic_load_relaxed(&old->n_drained) == (drained ? 1 : 0));
    return 0;
}
