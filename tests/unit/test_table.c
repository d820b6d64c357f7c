/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table, one step after the other: what several threads would do at the
 * same time is played by hand, in the orders that matter.
 */
#include "table_test.h"

/* ------------------------------------------------------ claim and remove */

static void test_claim_and_find(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 2, 4);
    struct item a, same, b;

    item_set(&a, 1, 1), item_set(&same, 1, 1), item_set(&b, 5, 2); /* b: a's bucket */
    assert_int_equal(t->n_buckets, 8);
    assert_false(present(t, &a));
    assert_true(claim_empty(t, &a));
    assert_true(unseen(&a));
    assert_false(claim_empty(t, &same));
    assert_false(claim_empty(t, &b));
    assert_int_equal(search_or_claim(t, &same), TABLE_MATCHED);
    assert_false(unseen(&a));
    assert_int_equal(search_or_claim(t, &b), TABLE_CLAIMED);
    assert_true(present(t, &a));
    assert_true(present(t, &b));
    a.closed = true; /* as if it did not exist */
    assert_int_equal(search_or_claim(t, &same), TABLE_CLAIMED);
    assert_true(present(t, &same));
    unlink_item(t, &a);
    assert_false(reachable(&a));
    assert_true(present(t, &same));
    assert_true(present(t, &b));
    table_down(&f);
}

static void test_empty_key(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item empty, other;

    item_set(&empty, 7, 0)->node.key_len = 0;
    empty.node.key = NULL;
    item_set(&other, 7, 0);
    claim(t, &other);
    assert_false(present(t, &empty));
    claim(t, &empty);
    assert_true(present(t, &empty));
    assert_true(present(t, &other));
    table_down(&f);
}

/* Keys of one hash and one length that differ in one byte, wherever that is, are two keys. */
static void test_each_byte_counts(void **state)
{
    (void)state;
    enum { MOST = 40 };
    unsigned char bytes[MOST] = {0}, other[MOST] = {0};
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);

    for (size_t len = 1; len <= MOST; len++) {
        struct item item, wanted;
        struct meanwhile m = {0};
        item_set(&item, 7, 0)->node.key = bytes;
        item_set(&wanted, 7, 0)->node.key = other;
        item.node.key_len = wanted.node.key_len = len;
        claim(t, &item);
        assert_int_equal(search_with(t, &wanted, NULL, &m, NULL), TABLE_MATCHED);
        for (size_t i = 0; i < len; i++) {
            other[i] = 1;
            assert_int_equal(search_with(t, &wanted, NULL, &m, NULL), TABLE_ABSENT);
            other[i] = 0;
        }
        unlink_item(t, &item);
    }
    table_down(&f);
}

static void test_remove_unseen(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item a, b;

    item_set(&a, 1, 1), item_set(&b, 2, 2);
    for (int i = 0; i < 3; i++) { /* free to be reused at once */
        assert_true(claim_empty(t, &a));
        assert_true(remove_unseen(&a));
        assert_int_equal(atomic_load(a.node.bucket), 0);
    }
    assert_true(claim_empty(t, &a));
    claim(t, &b); /* looks at a, and stands before it */
    assert_false(unseen(&a));
    assert_false(remove_unseen(&a));
    assert_true(remove_unseen(&b)); /* nobody has looked at b */
    /* a is first again, but had been seen. */
    assert_false(unseen(&a));
    assert_false(remove_unseen(&a));
    assert_true(table_unlink_first(t, &a.node));
    assert_int_equal(atomic_load(a.node.bucket), 0);

    assert_true(claim_empty(t, &a));
    assert_true(unseen(&a));
    assert_true(present(t, &a)); /* comes between the hint and the removal */
    assert_false(remove_unseen(&a));
    assert_true(present(t, &a));
    table_down(&f);
}

/* Hashes of one bucket, with fingerprints of their own. */
static uint64_t apart(unsigned number)
{
    return (uint64_t)number << 32 | 1;
}

/* Who is known apart comes and goes without a look at what is there, which stays unseen. */
static void test_claim_unlooked(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 4);
    struct item a, b, same, third;

    item_set(&a, apart(1), 1), item_set(&b, apart(2), 2);
    item_set(&same, apart(9), 3); /* a's fingerprint: it has three bits */
    item_set(&third, apart(3), 4);
    for (int seen = 0; seen < 2; seen++) {
        assert_true(claim_unlooked(t, &a));
        assert_false(claim_unlooked(t, &same));
        if (seen)
            assert_true(present(t, &a));
        assert_true(claim_unlooked(t, &b));
        assert_ptr_equal(link_node(atomic_load(a.node.bucket)), &b.node);
        assert_false(claim_unlooked(t, &same));
        assert_false(claim_unlooked(t, &third)); /* of two nothing is known */
        assert_true(remove_unseen(&b));
        assert_false(claim_unlooked(t, &same)); /* a is as it was */
        assert_int_equal(unseen(&a), !seen);
        assert_true(claim_unlooked(t, &third));
        assert_true(present(t, &a)); /* looks at all of them */
        assert_false(unseen(&third));
        assert_true(table_unlink_first(t, &third.node));
        assert_false(unseen(&a));
        assert_true(claim_unlooked(t, &b)); /* a is alone again, and known */
        assert_false(table_unlink_first(t, &a.node));
        unlink_item(t, &a); /* from behind b */
        assert_false(reachable(&a));
        assert_true(present(t, &b));
        assert_false(claim_unlooked(t, &third)); /* what b is was not noted, as it was not alone */
        assert_true(table_unlink_first(t, &b.node));
        assert_int_equal(atomic_load(a.node.bucket), 0);
    }
    table_down(&f);
}

/* An owner has its node seen though another one is in front of it that has looked at nothing. */
static void test_see_behind_another(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 4);
    struct item a, b;

    item_set(&a, apart(1), 1), item_set(&b, apart(2), 2);
    assert_true(claim_unlooked(t, &a));
    assert_true(claim_unlooked(t, &b));
    table_see(&a.node);
    assert_false(remove_unseen(&b));
    assert_true(table_unlink_first(t, &b.node));
    assert_false(remove_unseen(&a));
    assert_true(table_unlink_first(t, &a.node));
    table_see(&a.node); /* nothing is there */
    assert_int_equal(atomic_load(a.node.bucket), 0);
    table_down(&f);
}

static void pass_by(struct item *i)
{
    struct lane *lane = reclaim_enter(&reclaim_no_lane);
    table_pass_by_in_section(&i->node);
    reclaim_leave(lane);
}

/* What no search matches any more is passed by, also by its own key; if it is alone. */
static void test_pass_by(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 4);
    struct item a, same, b, c;

    item_set(&a, apart(1), 1), item_set(&same, apart(1), 1);
    item_set(&b, apart(2), 2), item_set(&c, apart(2), 2);
    claim(t, &a);
    assert_true(present(t, &a));
    a.closed = true;
    pass_by(&a);
    assert_true(claim_unlooked(t, &same));
    assert_true(present(t, &same));
    same.closed = true;
    pass_by(&same); /* not alone */
    assert_false(claim_unlooked(t, &b));
    pass_by(&a); /* not first */
    assert_false(claim_unlooked(t, &b));
    assert_true(table_unlink_first(t, &same.node));
    assert_true(claim_unlooked(t, &b)); /* a is still passed by */
    assert_int_equal(search_or_claim(t, &c), TABLE_MATCHED);
    assert_true(table_unlink_first(t, &b.node));
    assert_true(table_unlink_first(t, &a.node));
    assert_int_equal(atomic_load(a.node.bucket), 0);
    table_down(&f);
}

static void test_unlink_alone(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item a, b, c;

    item_set(&a, 1, 1), item_set(&b, 2, 2), item_set(&c, 3, 3);
    claim(t, &a), claim(t, &b), claim(t, &c);
    assert_false(table_unlink_first(t, &b.node)); /* not first: and nothing has happened */
    assert_true(present(t, &b));
    assert_ptr_equal(link_node(atomic_load(&b.node.next)), &a.node);
    assert_true(table_unlink_first(t, &c.node)); /* others behind it: marked */
    assert_true(atomic_load(&c.node.next) & LINK_MARK);
    assert_false(reachable(&c));
    assert_true(present(t, &a) && present(t, &b));
    mark(&b); /* another remover's first step */
    assert_true(table_unlink_first(t, &b.node));
    assert_true(table_unlink_first(t, &a.node)); /* the last one */
    assert_int_equal(atomic_load(a.node.bucket), 0);
    assert_false(table_unlink_first(t, &a.node)); /* gone already */
    unlink_item(t, &a);                           /* and again, by who does not know */
    unlink_item(t, &b);
    table_down(&f);
}

/* --------------------------------------------------- several removers */

static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Neighbours, with one that stays before, behind, or on both sides; marked before, or not. */
static void unlink_in_order(const int *order, bool before, bool behind, bool all_marked, bool alone)
{
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item x[3], first, last;

    item_set(&first, 10, 10), item_set(&last, 11, 11);
    if (behind)
        claim(t, &last);
    for (unsigned i = 0; i < 3; i++)
        claim(t, item_set(&x[i], i, i));
    if (before)
        claim(t, &first);
    for (int i = 0; all_marked && i < 3; i++)
        mark(&x[i]);
    for (int i = 0; i < 3; i++) {
        struct item *gone = &x[order[i]];
        if (!alone || !table_unlink_first(t, &gone->node))
            unlink_item(t, gone);
        assert_false(reachable(gone));
        assert_false(present(t, gone));
        for (int j = i + 1; j < 3; j++)
            assert_int_equal(present(t, &x[order[j]]), !all_marked);
        assert_int_equal(present(t, &first), before);
        assert_int_equal(present(t, &last), behind);
    }
    if (!before && !behind)
        assert_int_equal(atomic_load(x[0].node.bucket), 0);
    table_down(&f);
}

static void test_three_neighbours_in_every_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(orders); i++)
        for (unsigned bits = 0; bits < 16; bits++)
            unlink_in_order(orders[i], bits & 1, bits & 2, bits & 4, bits & 8);
}

/* One has marked its node and not unlinked it; the neighbour's remover does it. */
static void test_other_remover_purges(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item a, b, c;

    item_set(&a, 1, 1), item_set(&b, 2, 2), item_set(&c, 3, 3);
    claim(t, &a), claim(t, &b), claim(t, &c);
    mark(&b);
    assert_false(present(t, &b));
    unlink_item(t, &a); /* walks over b */
    assert_false(reachable(&b));
    assert_false(reachable(&a));
    unlink_item(t, &b);
    assert_true(present(t, &c));

    /* The same with the marked node first. */
    claim(t, &a);
    mark(&a);
    claim(t, &b); /* b's next is a marked node */
    assert_true(present(t, &b));
    unlink_item(t, &c);
    assert_false(reachable(&a));
    assert_false(reachable(&c));
    assert_true(present(t, &b));
    assert_int_equal(atomic_load(&b.node.next), 0);
    table_down(&f);
}

/* A marked node's key may be claimed anew while it still stands there. */
static void test_claim_beside_marked(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item old, new;

    item_set(&old, 1, 1), item_set(&new, 1, 1);
    claim(t, &old);
    mark(&old);
    claim(t, &new);
    assert_true(present(t, &new));
    assert_false(table_unlink_first(t, &old.node));
    unlink_item(t, &old);
    assert_true(present(t, &new));
    assert_false(reachable(&old));
    table_down(&f);
}

/* ---------------------------------------- a search that must begin again */

static void act_claim_other(struct meanwhile *m, struct item *at)
{
    if (at->closed && m->n_looks == 1)
        claim(m->table, m->other);
}

/* Somebody else claims the key while this searcher looks at a closed one. */
static void test_search_meets_newcomer(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item old, theirs, mine, unrelated;

    item_set(&old, 1, 1)->closed = true;
    item_set(&theirs, 1, 1), item_set(&mine, 1, 1), item_set(&unrelated, 2, 2);
    assert_true(claim_empty(t, &old));
    struct meanwhile m = {.act = act_claim_other, .table = t, .other = &theirs};
    assert_int_equal(search_with(t, &mine, &mine, &m, NULL), TABLE_MATCHED);
    assert_ptr_equal(m.found, &theirs);
    unlink_item(t, &theirs);

    /* A newcomer of another key restarts it as well, but does not stop it. */
    m = (struct meanwhile){.act = act_claim_other, .table = t, .other = &unrelated};
    assert_int_equal(search_with(t, &mine, &mine, &m, NULL), TABLE_CLAIMED);
    assert_int_equal(m.n_looks, 2);
    assert_true(present(t, &mine) && present(t, &unrelated));
    assert_false(unseen(&unrelated));
    table_down(&f);
}

static void act_unlink(struct meanwhile *m, struct item *at)
{
    if (m->n_looks == 1 && !table_unlink_first(m->table, &at->node))
        unlink_item(m->table, at);
}

/* What the search looks at goes away under it. */
static void test_search_loses_its_node(void **state)
{
    (void)state;
    for (int behind = 0; behind < 2; behind++) {
        struct fixture f;
        struct table *t = table_up(&f, 1, 1);
        struct item old, last, mine;
        item_set(&last, 2, 2), item_set(&old, 1, 1)->closed = true;
        item_set(&mine, 1, 1);
        if (behind)
            claim(t, &last);
        claim(t, &old);
        struct meanwhile m = {.act = act_unlink, .table = t};
        assert_int_equal(search_with(t, &mine, &mine, &m, NULL), TABLE_CLAIMED);
        assert_false(reachable(&old));
        assert_true(present(t, &mine));
        assert_int_equal(present(t, &last), behind);
        table_down(&f);
    }
}

static void act_come_and_go(struct meanwhile *m, struct item *at)
{
    (void)at;
    if (m->n_looks == 1) {
        claim(m->table, m->other);
        assert_true(remove_unseen(m->other));
    }
}

/* The bucket is as it was, and so is what it says: the claim goes through. */
static void test_search_and_unseen_visitor(void **state)
{
    (void)state;
    struct fixture f;
    struct table *t = table_up(&f, 1, 1);
    struct item old, visitor, mine;

    item_set(&old, 1, 1)->closed = true;
    item_set(&visitor, 1, 1), item_set(&mine, 1, 1);
    claim(t, &old);
    struct meanwhile m = {.act = act_come_and_go, .table = t, .other = &visitor};
    assert_int_equal(search_with(t, &mine, &mine, &m, NULL), TABLE_CLAIMED);
    assert_true(present(t, &mine));
    table_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim_and_find),
        cmocka_unit_test(test_empty_key),
        cmocka_unit_test(test_each_byte_counts),
        cmocka_unit_test(test_remove_unseen),
        cmocka_unit_test(test_claim_unlooked),
        cmocka_unit_test(test_see_behind_another),
        cmocka_unit_test(test_pass_by),
        cmocka_unit_test(test_unlink_alone),
        cmocka_unit_test(test_three_neighbours_in_every_order),
        cmocka_unit_test(test_other_remover_purges),
        cmocka_unit_test(test_claim_beside_marked),
        cmocka_unit_test(test_search_meets_newcomer),
        cmocka_unit_test(test_search_loses_its_node),
        cmocka_unit_test(test_search_and_unseen_visitor),
    };
    reclaim_init();
    return RUN_TESTS(tests);
}
