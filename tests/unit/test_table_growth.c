/* SPDX-License-Identifier: BSD-2-Clause */
/* Arrays that take over from one another, and what they leave behind. */
#include "array_test.h"
#include "table_test.h"

#include "filter.h"

enum {
    FIRST = 8, /* buckets, then 64, then 512 */
    MANY = 300,
};

static struct item items[MANY];

static struct bucket_array *newest(struct table *t)
{
    return atomic_load(&t->shards[0].newest);
}

static struct bucket_array *older(struct bucket_array *a)
{
    return atomic_load(&a->older);
}

/* Items with the hashes from..to-1, and then room for more. */
static void fill(struct table *t, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        claim(t, item_set(&items[i], i, i));
    table_relieve(t, 0);
}

static void assert_all(struct table *t, unsigned from, unsigned to, bool there)
{
    for (unsigned i = from; i < to; i++)
        assert_int_equal(present(t, &items[i]), there);
}

/* Three arrays: items 0..7 in the first, 8..71 in the second, the others in the third. */
static struct table *three_arrays(struct fixture *f, unsigned n)
{
    struct table *t = table_up(f, 1, FIRST);
    fill(t, 0, FIRST);
    assert_int_equal(newest(t)->mask, 63);
    fill(t, FIRST, 72);
    assert_int_equal(newest(t)->mask, 511);
    assert_int_equal(t->n_buckets, 8 + 64 + 512);
    for (unsigned i = 72; i < n; i++)
        claim(t, item_set(&items[i], i, i));
    return t;
}

static void test_found_in_every_array(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = three_arrays(&f, MANY);
    struct item same;

    assert_all(t, 0, MANY, true);
    for (unsigned i = 0; i < MANY; i++) {
        item_set(&same, i, i);
        assert_false(claim_empty(t, &same));
        assert_int_equal(search_or_claim(t, &same), TABLE_MATCHED);
    }
    for (unsigned i = 0; i < MANY; i += 2) /* not first, in one array or another */
        if (!table_unlink_first(t, &items[i].node))
            unlink_item(t, &items[i]);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(present(t, &items[i]), i % 2);
    table_down(&f);
}

static void test_full_only(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, FIRST);

    for (unsigned i = 0; i < 2; i++) {
        claim(t, item_set(&items[i], i, i));
        table_relieve(t, i);
        assert_int_equal(t->n_buckets, FIRST);
    }
    claim(t, item_set(&items[2], 2, 2)); /* 3 of 8 */
    table_relieve(t, 0);
    assert_int_equal(t->n_buckets, FIRST + 64);
    table_relieve(t, 0); /* the new one is empty */
    assert_int_equal(t->n_buckets, FIRST + 64);
    table_down(&f);
}

/* A claim without a search needs the buckets of older arrays to be frozen, without the key. */
static void test_fast_claim_looks_at_older_arrays(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, FIRST);
    struct item low, high, apart;

    for (unsigned i = 0; i < 5; i++)
        claim(t, item_set(&items[i], i, i));
    table_relieve(t, 0);
    assert_int_equal(t->shards[0].only, 0);
    array_thaw(older(newest(t)), false);
    item_set(&low, 8 + 7, 1); /* its old bucket is empty, and not frozen */
    assert_false(claim_empty(t, &low));
    assert_false(present(t, &low)); /* freezes it */
    assert_true(claim_empty(t, &low));
    item_set(&high, 8 + 1, 2); /* its old bucket has items[1], frozen or not */
    assert_false(claim_empty(t, &high));
    assert_false(present(t, &high));
    assert_false(claim_empty(t, &high));
    item_set(&apart, (UINT64_C(1) << 32) + 8 + 1, 3); /* the fingerprint there is another one */
    assert_true(claim_empty(t, &apart));
    assert_true(table_unlink_first(t, &apart.node));
    assert_true(table_unlink_first(t, &items[1].node));
    assert_true(claim_empty(t, &high));
    table_down(&f);
}

/* An owner who knows nothing of the growth removes its node from a frozen bucket. */
static void test_unseen_node_is_frozen(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, FIRST);
    struct item other;

    for (unsigned i = 0; i < FIRST; i++)
        assert_true(claim_empty(t, item_set(&items[i], i, i)));
    table_relieve(t, 0);
    uintptr_t word = table_unseen_word(&items[3].node);
    atomic_store(items[3].node.bucket, word); /* as if not frozen yet */
    assert_true(table_remove_unseen(&items[3].node, word));
    for (unsigned i = 0; i < FIRST; i++)
        assert_false(present(t, item_set(&other, i, 1000)));
    assert_false(unseen(&items[4]));
    assert_false(remove_unseen(&items[4]));
    assert_true(present(t, &items[4]));
    assert_true(table_unlink_first(t, &items[4].node));
    assert_int_equal(atomic_load(items[4].node.bucket), LINK_FROZEN);
    assert_int_equal(atomic_load(&older(newest(t))->n_drained), 2);
    table_down(&f);
}

/* While a search looks at the newest array, that is no longer the newest. */
static void act_grow_and_freeze(struct meanwhile *m, struct item *at)
{
    struct item probe;
    if (m->n_looks > 1)
        return;
    table_relieve(m->table, 0);
    assert_false(present(m->table, item_set(&probe, at->hash, 1001)));
}

static void act_grow_and_claim(struct meanwhile *m, struct item *at)
{
    (void)at;
    if (m->n_looks > 1)
        return;
    table_relieve(m->table, 0);
    claim(m->table, m->other);
}

static void test_search_is_overtaken_by_growth(void **state)
{
    (void)state;
    for (int claimed = 0; claimed < 2; claimed++) {
        struct fixture f;
        struct table *t = table_up(&f, 1, FIRST);
        struct item mine, theirs;
        for (unsigned i = 0; i < FIRST; i++)
            claim(t, item_set(&items[i], i, i));
        items[2].closed = true;
        item_set(&mine, 2, 2), item_set(&theirs, 2, 2);
        struct meanwhile m = {.act = claimed ? act_grow_and_claim : act_grow_and_freeze,
                              .table = t,
                              .other = &theirs};
        enum table_found found = search_with(t, &mine, &mine, &m, NULL);
        assert_int_equal(found, claimed ? TABLE_MATCHED : TABLE_CLAIMED);
        struct item *there = claimed ? &theirs : &mine;
        assert_ptr_equal(there->node.bucket, &newest(t)->buckets[2]);
        if (claimed)
            assert_ptr_equal(m.found, &theirs);
        table_down(&f);
    }
}

/* Newcomers freeze: an array whose nodes are gone is skipped after a while, cold buckets and all.
 */
static void test_old_arrays_drain(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = three_arrays(&f, 72);
    struct bucket_array *third = newest(t), *second = older(third), *first = older(second);
    struct item probe;

    for (unsigned i = 0; i < 72; i++)
        if (!table_unlink_first(t, &items[i].node))
            unlink_item(t, &items[i]);
    assert_int_equal(atomic_load(&first->n_drained), 8);
    assert_int_equal(atomic_load(&second->n_drained), 64);
    array_thaw(first, true);
    array_thaw(second, true);
    for (int i = 0; i < 3; i++) { /* always the same key */
        assert_true(claim_empty(t, item_set(&probe, 0, 1002)));
        unlink_item(t, &probe);
    }
    assert_int_equal(atomic_load(&first->n_drained), 8);
    assert_int_equal(atomic_load(&second->n_drained), 64);
    assert_null(older(third));
    assert_int_equal(t->shards[0].only, (uintptr_t)third->buckets | 9); /* 2^9 buckets */
    assert_ptr_equal(table_only_bucket(t, 512 + 78), &third->buckets[78]);
    table_down(&f);
}

/* The array is found by what a node keeps of the hash. */
static void test_arrays_of_a_shard_drain(void **state)
{
    (void)state;
    enum { SHARDS = 4 };
    struct fixture f;
    struct table *t = table_up(&f, SHARDS, FIRST);
    struct item probe;

    for (uint64_t shard = 0; shard < SHARDS; shard++) {
        uint64_t hash = shard << 48;
        for (unsigned i = 0; i < FIRST; i++)
            claim(t, item_set(&items[i], hash | i, i));
        table_relieve(t, hash);
        struct bucket_array *second = atomic_load(&t->shards[shard].newest), *first = older(second);
        assert_int_equal(first->mask, FIRST - 1);
        for (unsigned i = 0; i < FIRST; i++)
            assert_false(present(t, item_set(&probe, hash | i, 1001)));
        for (unsigned i = 0; i < FIRST; i++)
            if (!table_unlink_first(t, &items[i].node))
                unlink_item(t, &items[i]);
        assert_int_equal(atomic_load(&first->n_drained), FIRST);
        for (int i = 0; i < 200; i++)
            assert_false(present(t, item_set(&probe, hash, 1002)));
        assert_null(older(second));
    }
    table_down(&f);
}

/* The array in the middle drains first, and goes; the one behind it is still searched. */
static void test_middle_array_drains_first(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = three_arrays(&f, 100);
    struct bucket_array *third = newest(t), *first = older(older(third));
    struct item probe;

    for (unsigned i = FIRST; i < 72; i++)
        unlink_item(t, &items[i]);
    for (int i = 0; i < 200; i++)
        assert_false(present(t, item_set(&probe, 200, 1004)));
    assert_ptr_equal(older(third), first);
    assert_all(t, 0, FIRST, true);
    assert_all(t, 72, 100, true);
    for (unsigned i = 0; i < FIRST; i++)
        unlink_item(t, &items[i]);
    assert_false(present(t, item_set(&probe, 200, 1004)));
    assert_null(older(third));
    table_down(&f);
}

/* A remover that purges its neighbours' nodes empties the bucket once. */
static void test_drained_once(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, FIRST);
    struct bucket_array *first = newest(t);
    struct item x[3], probe;

    for (unsigned i = 0; i < FIRST; i++)
        claim(t, item_set(&items[i], i, i));
    for (unsigned i = 0; i < 3; i++)
        claim(t, item_set(&x[i], 1, 100 + i));
    table_relieve(t, 0);
    assert_false(present(t, item_set(&probe, 1, 1005))); /* freezes bucket 1, sweeps bucket 0 */
    for (unsigned i = 0; i < 3; i++)
        mark(&x[i]);
    unlink_item(t, &items[1]);
    assert_int_equal(atomic_load(items[1].node.bucket), LINK_FROZEN);
    assert_int_equal(atomic_load(&first->n_drained), 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(table_unlink_first(t, &x[i].node));
        unlink_item(t, &x[i]);
    }
    assert_int_equal(atomic_load(&first->n_drained), 1);
    table_down(&f);
}

/* ------------------------------------------------------------- collisions */

static void test_one_hash_for_all(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 4, 4);
    bool crowded;

    for (unsigned i = 0; i < 100; i++) {
        struct meanwhile m = {0};
        item_set(&items[i], UINT64_C(0xabcdef0123456789), i);
        assert_int_equal(search_with(t, &items[i], &items[i], &m, &crowded), TABLE_CLAIMED);
        assert_int_equal(m.n_looks, 0);
        assert_int_equal(crowded, i >= 3);
        if (crowded)
            table_relieve(t, items[i].hash);
    }
    assert_int_equal(t->n_buckets, 16); /* more buckets would not help */
    assert_all(t, 0, 100, true);
    for (unsigned i = 0; i < 100; i += 3)
        unlink_item(t, &items[i]);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(present(t, &items[i]), i % 3 != 0);
    table_down(&f);
}

/* Equal hash, and one key is the beginning of the other; or they differ in the last byte. */
static void test_keys_are_compared_in_full(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    static const char *const keys[] = {"", "k", "ke", "key", "kez", "Key"};

    for (unsigned i = 0; i < LENGTH(keys); i++) {
        item_set(&items[i], 1, 0);
        items[i].node.key = (const unsigned char *)keys[i];
        items[i].node.key_len = strlen(keys[i]);
        claim(t, &items[i]);
    }
    assert_all(t, 0, LENGTH(keys), true);
    table_down(&f);
}

/* ----------------------------------------------------------------- memory */

static void test_growth_without_memory(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, FIRST);

    for (unsigned i = 0; i < 20; i++)
        claim(t, item_set(&items[i], i, i));
    for (int i = 0; i < 3; i++) {
        flaky_fail(&f.flaky, 1);
        table_relieve(t, 0);
        assert_int_equal(t->n_buckets, FIRST);
    }
    assert_all(t, 0, 20, true);
    table_relieve(t, 0);
    assert_int_equal(t->n_buckets, FIRST + 64);
    assert_all(t, 0, 20, true);
    table_down(&f);
}

static void test_init_without_memory(void **state)
{
    (void)state;
    for (long k = 1; k <= 9; k++) {
        struct fixture f = {0};
        alloc_init(&f.alloc, &f.flaky, flaky_alloc, flaky_free);
        flaky_fail(&f.flaky, k);
        assert_int_equal(table_init(&f.table, &f.alloc, 8, 2), -ENOMEM);
        assert_int_equal(f.flaky.blocks, 0);
        assert_int_equal(f.alloc.bytes, 0);
    }
}

struct crowd {
    struct flaky flaky;
    struct table *table;
    unsigned n_more; /* who found the table full as well */
};

static void *crowd_alloc(void *ctx, size_t size, size_t align)
{
    struct crowd *c = ctx;
    if (c->table != NULL) {
        c->n_more++;
        table_relieve(c->table, 0);
    }
    return flaky_alloc(&c->flaky, size, align);
}

static void crowd_free(void *ctx, void *ptr, size_t size)
{
    flaky_free(&((struct crowd *)ctx)->flaky, ptr, size);
}

/* Whoever finds it full while somebody makes a larger array leaves that to him. */
static void test_one_at_a_time_grows_it(void **state)
{
    (void)state;
    struct crowd crowd = {.table = NULL};
    struct alloc alloc;
    struct table t;

    memset((void *)&alloc, 0, sizeof(alloc));
    alloc_init(&alloc, &crowd, crowd_alloc, crowd_free);
    assert_int_equal(table_init(&t, &alloc, 1, FIRST), 0);
    for (unsigned i = 0; i < FIRST; i++)
        claim(&t, item_set(&items[i], i, i));
    crowd.table = &t;
    table_relieve(&t, 0);
    crowd.table = NULL;
    assert_int_equal(crowd.n_more, 1);
    assert_int_equal(t.n_buckets, FIRST + 64);
    assert_all(&t, 0, FIRST, true);
    table_destroy(&t);
    assert_int_equal(crowd.flaky.blocks, 0);
}

/* ----------------------------------------------------------------- filter */

static bool keep_even(struct table_node *node, void *ctx)
{
    unsigned *n_asked = ctx;
    ++*n_asked;
    return container_of(node, struct item, node)->hash % 2 == 0;
}

static void test_filter(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = three_arrays(&f, MANY);
    struct bucket_array *second = older(newest(t)), *first = older(second);
    unsigned n_asked = 0;
    struct item probe;

    mark(&items[2]); /* removers that were stopped half-way */
    mark(&items[3]);
    mark(&items[100]);
    atomic_store(&t->shards[0].growing, true); /* and one that made an array */
    filter_table(t, keep_even, &n_asked);
    assert_int_equal(n_asked, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(present(t, &items[i]), i % 2 == 0 && i != 2 && i != 100);
        assert_int_equal(reachable(&items[i]), i % 2 == 0 && i != 2 && i != 100);
    }
    for (unsigned i = 0; i < MANY; i += 2)
        unlink_item(t, &items[i]);
    for (int i = 0; i < 200; i++)
        assert_false(present(t, item_set(&probe, 5, 1006)));
    assert_int_equal(atomic_load(&first->n_drained), 8);
    assert_int_equal(atomic_load(&second->n_drained), 64);
    assert_null(older(newest(t)));
    fill(t, 0, MANY); /* it still works, and grows if it must */
    for (unsigned i = 0; i < 512; i++)
        (void)search_or_claim(t, item_set(&probe, i, 1007 + i)), unlink_item(t, &probe);
    assert_all(t, 0, MANY, true);
    table_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_in_every_array),
        cmocka_unit_test(test_full_only),
        cmocka_unit_test(test_fast_claim_looks_at_older_arrays),
        cmocka_unit_test(test_unseen_node_is_frozen),
        cmocka_unit_test(test_search_is_overtaken_by_growth),
        cmocka_unit_test(test_old_arrays_drain),
        cmocka_unit_test(test_arrays_of_a_shard_drain),
        cmocka_unit_test(test_middle_array_drains_first),
        cmocka_unit_test(test_drained_once),
        cmocka_unit_test(test_one_hash_for_all),
        cmocka_unit_test(test_keys_are_compared_in_full),
        cmocka_unit_test(test_growth_without_memory),
        cmocka_unit_test(test_init_without_memory),
        cmocka_unit_test(test_one_at_a_time_grows_it),
        cmocka_unit_test(test_filter),
    };
    reclaim_init();
    return RUN_TESTS(tests);
}
