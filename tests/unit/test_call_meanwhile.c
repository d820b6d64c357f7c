/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others may do while a caller is about to claim or has just joined: done
 * by the allocator, which is asked at that moment.
 */
#include "call_test.h"

struct meanwhile {
    void (*happens)(struct meanwhile *m);
    long at; /* in the at-th allocation from now; 0: never */
    bool say_no;
    struct sflight_group *g;
};

static void *meanwhile_alloc(void *ctx, size_t size, size_t align)
{
    struct meanwhile *m = ctx;
    if (m->at != 0 && --m->at == 0) {
        m->happens(m);
        if (m->say_no)
            return NULL;
    }
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void meanwhile_free(void *ctx, void *ptr, size_t size)
{
    (void)ctx, (void)size;
    free(ptr);
}

static struct sflight_group *group_with(struct meanwhile *m)
{
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){m, meanwhile_alloc, meanwhile_free};
    m->g = group_up(&o);
    (void)thread_slot(m->g); /* allocated now, not later */
    return m->g;
}

static int must_not_run(struct sflight_call *call, void *arg)
{
    (void)call, (void)arg;
    fail();
    return 0;
}

static int batch_must_not_run(struct sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    fail();
    return 0;
}

static void close_group(struct meanwhile *m)
{
    assert_int_equal(sflight_group_close(m->g), 0);
}

/* Closed between the look at the flag and the claim. */
static void test_closed_before_the_claim(void **state)
{
    (void)state;
    struct meanwhile m = {.happens = close_group};
    sflight_result r;
    struct sflight_group *g = group_with(&m);
    m.at = 1;
    assert_int_equal(sflight_do(g, "key", 3, must_not_run, NULL, &r), -ESHUTDOWN);
    assert_int_equal(m.at, 0);
    assert_int_equal(stats_of(g).led, 1);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_down(g);
}

/* The same before the claims of a batch: none of its keys is led. */
static void test_closed_before_a_batch_claims(void **state)
{
    (void)state;
    struct meanwhile m = {.happens = close_group};
    sflight_key keys[] = {{"a", 1}, {"b", 1}, {"a", 1}};
    sflight_result r[3];
    int rc[3];
    struct sflight_group *g = group_with(&m);
    m.at = 3; /* the batch, the record for "a", the record for "b" */
    assert_int_equal(sflight_do_many(g, keys, 3, batch_must_not_run, NULL, NULL, r, rc), 0);
    assert_int_equal(m.at, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rc[i], -ESHUTDOWN);
    group_down(g);
}

static void nothing_happens(struct meanwhile *m)
{
    (void)m;
}

/* There is no memory for a future: nobody has led or joined. */
static void test_no_memory_for_a_future(void **state)
{
    (void)state;
    struct meanwhile m = {.happens = nothing_happens, .say_no = true};
    struct sflight_group *g = group_with(&m);
    struct sflight_call *lead = (void *)g;
    sflight_future *join = (void *)g;
    m.at = 1; /* futures are there before anything else is done */
    assert_int_equal(sflight_begin(g, "key", 3, &lead, &join), -ENOMEM);
    assert_int_equal(m.at, 0);
    assert_null(lead);
    assert_null(join);
    assert_int_equal(stats_of(g).led, 0);
    group_down(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_before_the_claim),
        cmocka_unit_test(test_closed_before_a_batch_claims),
        cmocka_unit_test(test_no_memory_for_a_future),
    };
    return RUN_TESTS(tests);
}
