/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Few keys, several threads, a table of one bucket that grows from scratch in
 * each round, with an allocator that often refuses: at no time are there two
 * live nodes of one key, no node is touched after its grace period (it is
 * freed: the sanitizers see it), and none is lost.
 */
#include "table_test.h"

enum {
    THREADS = 4,
    KEYS = 24,
    KEPT = 5, /* items a thread has in the table at a time */
    ROUNDS = 60,
    STEPS = 3000,
};

enum life { NEW, LIVE, ENDING, DEAD }; /* a node is passed over when it is DEAD */

struct piece {
    _Alignas(CACHE_LINE) struct table_node node;
    uint64_t hash;
    atomic_int life;
    struct reclaim_entry retired;
    unsigned key;
};

static struct fixture world;
static uint64_t hashes[KEYS];
static atomic_bool taken[KEYS]; /* there is a live node */
static atomic_long n_pieces, n_claims, n_matches, n_forgotten;

/* Ends a node's life; true for the one who did it. */
static bool piece_end(struct piece *p)
{
    int live = LIVE;
    if (!atomic_compare_exchange_strong(&p->life, &live, ENDING))
        return false;
    assert_true(atomic_exchange(&taken[p->key], false));
    return true;
}

static bool match_live(struct table_node *node, void *ctx)
{
    (void)ctx;
    return atomic_load(&container_of(node, struct piece, node)->life) != DEAD;
}

static bool match_forget(struct table_node *node, void *ctx)
{
    struct piece *p = container_of(node, struct piece, node), **found = ctx;
    if (!piece_end(p))
        return false;
    atomic_store(&p->life, DEAD);
    *found = p;
    return true;
}

static void piece_hash(struct piece *p, uint64_t hash)
{
    p->hash = hash;
    p->node.hash = table_short_hash(hash);
}

static struct piece *piece_new(unsigned key)
{
    struct piece *p = aligned_alloc(CACHE_LINE, sizeof(*p));
    assert_non_null(p);
    memset((void *)p, 0, sizeof(*p));
    p->key = key;
    piece_hash(p, hashes[key]);
    p->node.key = p->node.key_inline;
    p->node.key_len = sizeof(key);
    memcpy(p->node.key_inline, &key, sizeof(key));
    atomic_fetch_add(&n_pieces, 1);
    return p;
}

static void piece_free(struct piece *p)
{
    memset((void *)p, 0xDD, sizeof(*p));
    free(p);
    atomic_fetch_sub(&n_pieces, 1);
}

struct worker {
    pthread_t thread;
    struct lane *lane;
    struct reclaim_limbo limbo;
    uint64_t random;
};

static void worker_polls(struct worker *w)
{
    struct reclaim_entry *entry;
    unsigned polled = reclaim_poll(w->lane);

    w->limbo.n_unpolled = 0;
    while ((entry = reclaim_take(&w->limbo, polled)) != NULL)
        piece_free(container_of(entry, struct piece, retired));
}

static bool piece_claim(struct piece *p, struct worker *w)
{
    struct table *t = &world.table;
    link_word *bucket = table_only_bucket(t, p->hash);
    uintptr_t word = atomic_load(bucket);
    if ((word != 0 && !table_may_claim_unlooked(word, p->hash)) ||
        !table_claim_unlooked(bucket, word, &p->node, link_fingerprint(p->hash))) {
        struct table_search s = {
            .key = {p->hash, p->node.key, p->node.key_len}, .match = match_live, .claim = &p->node};
        struct lane *lane = reclaim_enter(w->lane);
        enum table_found found = table_search_in_section(t, &s);
        reclaim_leave(lane);
        if (found == TABLE_MATCHED) {
            atomic_fetch_add(&n_matches, 1);
            return false;
        }
        assert_int_equal(found, TABLE_CLAIMED);
        if (s.crowded)
            table_relieve(t, p->hash);
    }
    assert_false(atomic_exchange(&taken[p->key], true));
    atomic_store(&p->life, LIVE); /* from here on it may be forgotten */
    atomic_fetch_add(&n_claims, 1);
    return true;
}

/* Returns true if the piece may be used again at once. */
static bool piece_remove(struct piece *p, struct worker *w, uint32_t how)
{
    struct table *t = &world.table;
    bool mine = piece_end(p);
    if (table_unseen(&p->node, table_unseen_word(&p->node)) &&
        table_remove_unseen(&p->node, table_unseen_word(&p->node))) {
        assert_true(mine);
        return true;
    }
    if (mine)
        atomic_store(&p->life, DEAD);
    WAIT_UNTIL(atomic_load(&p->life) == DEAD); /* a forgetter must have let go of the key */
    if (how % 4 == 0 || !table_unlink_first(t, &p->node)) {
        struct lane *lane = reclaim_enter(w->lane);
        table_unlink_in_section(t, &p->node);
        reclaim_leave(lane);
    }
    reclaim_retire(&w->limbo, &p->retired);
    if (w->limbo.n_unpolled >= RECLAIM_POLL_EVERY)
        worker_polls(w);
    return false;
}

static void forget_key(unsigned key, struct worker *w)
{
    struct piece *found = NULL;
    struct table_search s = {
        .key = {hashes[key], &key, sizeof(key)}, .match = match_forget, .ctx = &found};
    struct lane *lane = reclaim_enter(w->lane);
    (void)table_search_in_section(&world.table, &s);
    if (found != NULL)
        table_unlink_in_section(&world.table, &found->node);
    reclaim_leave(lane);
    if (found != NULL)
        atomic_fetch_add(&n_forgotten, 1);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct piece *kept[KEPT] = {0}, *spare = NULL;

    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t r = random_next(&w->random);
        struct piece **place = &kept[step % KEPT];
        if (*place != NULL) {
            if (piece_remove(*place, w, r >> 8)) {
                if (spare != NULL)
                    piece_free(spare);
                spare = *place;
            }
            *place = NULL;
        }
        if (r % 8 == 0) {
            forget_key((r >> 16) % KEYS, w);
            continue;
        }
        struct piece *p = piece_new((r >> 16) % KEYS);
        if (spare != NULL && r % 2) { /* the same memory, at once */
            unsigned key = p->key;
            piece_free(p);
            p = spare;
            spare = NULL;
            p->key = key;
            piece_hash(p, hashes[key]);
            memcpy(p->node.key_inline, &key, sizeof(key));
        }
        atomic_store(&p->life, NEW);
        if (piece_claim(p, w))
            *place = p;
        else
            piece_free(p);
        if (r % 64 == 0)
            sched_yield();
    }
    for (unsigned i = 0; i < KEPT; i++)
        if (kept[i] != NULL && piece_remove(kept[i], w, i))
            piece_free(kept[i]);
    if (spare != NULL)
        piece_free(spare);
    return NULL;
}

static void assert_empty(struct table *t)
{
    for (struct bucket_array *a = atomic_load(&t->shards[0].newest); a != NULL; a = a->previous)
        for (size_t i = 0; i <= a->mask; i++)
            assert_null(link_node(atomic_load(&a->buckets[i])));
}

static void test_unique(void **state)
{
    (void)state;
    uint64_t random = random_from(0);
    size_t most_buckets = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct worker workers[THREADS];
        struct table *t = table_up(&world, 1, round % 2 ? 1 : 8);
        atomic_store(&world.flaky.fail_one_in, round % 3 == 0 ? 0 : 2);
        for (unsigned i = 0; i < KEYS; i++)
            hashes[i] = round % 5 == 4 ? i / 8 : random_next(&random);
        for (unsigned i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){.lane = reclaim_lane(i),
                                         .random = random_from(random_next(&random))};
            workers[i].thread = thread_start(worker_main, &workers[i]);
        }
        for (unsigned i = 0; i < THREADS; i++)
            thread_join(workers[i].thread);
        for (unsigned i = 0; i < THREADS; i++)
            worker_polls(&workers[i]); /* nobody is in a section */
        for (unsigned i = 0; i < KEYS; i++)
            assert_false(taken[i]);
        assert_empty(t);
        if (t->n_buckets > most_buckets)
            most_buckets = t->n_buckets;
        assert_int_equal(n_pieces, 0);
        table_down(&world);
    }
    /* It was about something. */
    assert_true(n_claims > 0 && n_matches > 0 && n_forgotten > 0);
    assert_true(most_buckets > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unique)};
    reclaim_init();
    return RUN_TESTS(tests);
}
