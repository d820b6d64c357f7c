/* SPDX-License-Identifier: BSD-2-Clause */
/* Coroutines with stacks of their own, on one thread, in a group without a runtime. */
#include "../lib/api_test.h"

#include <ucontext.h>

enum { N_COROUTINES = 3, COROUTINE_STACK = 65536 };

/* On one thread, in a group without a runtime: each leads a key of its own and yields in fn. */
static struct coroutines {
    sflight_group *g;
    ucontext_t main, each[N_COROUTINES];
    char stacks[N_COROUTINES][COROUTINE_STACK];
    bool batches, done[N_COROUTINES];
} co;

static void coroutine_yield(int me)
{
    swapcontext(&co.each[me], &co.main);
}

static int yield_in_fn(sflight_call *call, void *arg)
{
    (void)call;
    coroutine_yield(*(int *)arg);
    return 40 + *(int *)arg;
}

static int yield_in_many(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls;
    assert_int_equal(n, 2);
    coroutine_yield(*(int *)arg);
    return 40 + *(int *)arg;
}

static void coroutine_main(int me)
{
    char names[2][2] = {{(char)('a' + me), 0}, {(char)('k' + me), 0}};
    sflight_result r[2];
    if (!co.batches) {
        assert_int_equal(do_str(co.g, names[0], yield_in_fn, &me, &r[0]), 0);
    } else {
        sflight_key keys[] = {{names[0], 1}, {names[1], 1}};
        int rc[2];
        assert_int_equal(sflight_do_many(co.g, keys, 2, yield_in_many, &me, NULL, r, rc), 0);
        assert_int_equal(rc[0], 0);
        assert_int_equal(rc[1], 0);
        assert_int_equal(r[1].status, 40 + me);
        sflight_result_release(&r[1]);
    }
    assert_int_equal(r[0].status, 40 + me);
    sflight_result_release(&r[0]);
    co.done[me] = true;
}

static void coroutines_end_in_any_order(void **state)
{
    (void)state;
    static const int orders[][N_COROUTINES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                               {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    if (HOOKED || SANITIZED)
        return; /* a task of a runtime has one stack; sanitizers want to be told of others */
    static size_t i;
    for (i = 0; i < 2 * LENGTH(orders); i++) {
        co = (struct coroutines){.g = group_new(NULL), .batches = i % 2};
        for (int k = 0; k < N_COROUTINES; k++) {
            assert_int_equal(getcontext(&co.each[k]), 0);
            co.each[k].uc_stack.ss_sp = co.stacks[k];
            co.each[k].uc_stack.ss_size = COROUTINE_STACK;
            co.each[k].uc_link = &co.main;
            makecontext(&co.each[k], (void (*)(void))coroutine_main, 1, k);
            swapcontext(&co.main, &co.each[k]);
        }
        for (int k = 0; k < N_COROUTINES; k++) {
            int next = orders[i / 2][k];
            assert_false(co.done[next]);
            swapcontext(&co.main, &co.each[next]);
            assert_true(co.done[next]);
        }
        assert_int_equal(stats_of(co.g).abandoned, 0);
        group_end(co.g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coroutines_end_in_any_order),
    };
    return RUN_TESTS(tests);
}
