/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A record that is used again at once: src/table.c as it is.
 *
 * Thread 0 claims key 'a', writes the node's contents, removes it if nobody
 * has seen it, and then uses the same node for key 'b'; a node that was seen is
 * retired, and another is used.  Thread 1 searches for 'b' meanwhile, and
 * claims it if it is not there.  With -DFINISH, 'b' is removed again too.
 *   - whoever walks reads a node that is filled in, and that its owner does not
 *     write ([CLAIM], [SEEN]: a data race otherwise);
 *   - what is found has the key that was asked for;
 *   - two nodes for 'b' are never in the table together, and the two owners'
 *     work for 'b' does not overlap (I1, I2; -DEXCLUSIVE counts it in a plain
 *     variable, so that the one must also be ordered before the other).
 *
 * With -DONLY_B thread 0 starts with 'b'.  With -DCHAIN another node is behind them, with
 * -DEMPTY_CLAIM thread 1 tries the claim without a section first.
 */
#define MODEL_THREADS 2
#include "model_table.h"

static _Atomic(int) n_leading; /* 'b' */
#ifdef EXCLUSIVE
static int n_led;
#endif

static void lead_b(void)
{
    assert(atomic_add_relaxed(&n_leading, 1) == 0);
#ifdef EXCLUSIVE
    atomic_fence_after_rmw(); /* as after every claim */
    n_led++;
#endif
#ifdef FINISH
    atomic_sub_relaxed(&n_leading, 1);
#endif
}

/* Ends the owner's time with the node; returns one to use next. */
static struct table_node *finish(int thread, struct table_node *node)
{
    if (table_unseen(node, table_unseen_word(node)) &&
        table_remove_unseen(node, table_unseen_word(node)))
        return node;
    REACHED(thread == 0);
    node_remove(thread, node);
    return node_make(0);
}

/* Claims the key with the node; false if somebody else has it. */
static bool claim(int thread, struct table_node *node, unsigned char key)
{
    node_key(node, key);
    if (node_claim_unlooked(node))
        return true;
    section_enter(thread);
    struct table_node *found = node_search(key, node);
    section_leave(thread);
    return found == NULL;
}

static void *other(void *unused)
{
    struct table_node *node = node_make('b');

    (void)unused;
#ifdef EMPTY_CLAIM
    bool claimed = claim(1, node, 'b');
#else
    section_enter(1);
    struct table_node *found = node_search('b', node);
    if (found != NULL)
        assert(found->key_inline[0] == 'b');
    section_leave(1);
    bool claimed = found == NULL;
#endif
    if (claimed) {
        lead_b();
#ifdef FINISH
        (void)finish(1, node);
#endif
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    struct table_node *node = node_make('a');

    table_make();
#ifdef CHAIN
    struct table_node *behind = node_make('z');
    assert(node_search('z', behind) == NULL);
#endif
    pthread_create(&thread, NULL, other, NULL);
#ifndef ONLY_B
    assert(claim(0, node, 'a'));
    node = finish(0, node);
#endif
    if (claim(0, node, 'b')) {
        lead_b();
#ifdef FINISH
        (void)finish(0, node);
#endif
    }
    pthread_join(thread, NULL);
#if defined(FINISH) && defined(CHAIN)
    assert(link_node(bucket_now()) == behind);
#elif defined(FINISH)
    assert(bucket_now() == 0);
#endif
    return 0;
}
