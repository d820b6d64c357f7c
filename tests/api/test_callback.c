/* SPDX-License-Identifier: BSD-2-Clause */
/* Callbacks of futures: in their order, never one inside another, and none keeps a drainer. */
#include "../lib/event_test.h"

struct chain {
    sflight_group *g;
    sflight_call **calls;
    int n, next;
    int depth, max_depth;
};

static void complete_next(void *arg, int rc, sflight_result *r)
{
    struct chain *chain = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    if (++chain->depth > chain->max_depth)
        chain->max_depth = chain->depth;
    if (chain->next < chain->n)
        sflight_complete(chain->calls[chain->next++], 0);
    chain->depth--;
}

static void callbacks_do_not_nest(void **state)
{
    (void)state;
    enum { LINKS = 100000 };
    struct chain chain = {.g = group_new(NULL), .n = LINKS};
    chain.calls = calloc(LINKS, sizeof(*chain.calls));
    assert_non_null(chain.calls);
    for (int i = 0; i < LINKS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        chain.calls[i] = lead(chain.g, key);
        assert_int_equal(sflight_future_then(join(chain.g, key), complete_next, &chain), 0);
    }
    sflight_complete(chain.calls[chain.next++], 0);
    assert_int_equal(chain.next, LINKS);
    assert_int_equal(chain.max_depth, 1);
    free(chain.calls);
    group_end(chain.g);
}

struct order {
    int n;
    int seen[8];
};
struct ordered {
    struct order *order;
    int i;
};

static void note_order(void *arg, int rc, sflight_result *r)
{
    struct ordered *o = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    o->order->seen[o->order->n++] = o->i;
}

static void callbacks_come_first_in_first_out(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct order order = {0};
    struct ordered o[8];
    sflight_call *call = lead(g, "key");
    for (int i = 0; i < 8; i++) {
        o[i] = (struct ordered){&order, i};
        assert_int_equal(sflight_future_then(join(g, "key"), note_order, &o[i]), 0);
    }
    sflight_complete(call, 0);
    assert_int_equal(order.n, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(order.seen[i], i);
    group_end(g);
}

static void wait_for_drainer(void *arg, int rc, sflight_result *r)
{
    pthread_t *drainer = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    thread_join(*drainer);
}

/* The call has ended: its callbacks do not keep drainers. */
static void a_callback_may_wait_for_a_drainer(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    pthread_t drainer = thread_start(drain_main, g);
    assert_int_equal(sflight_future_then(join(g, "key"), wait_for_drainer, &drainer), 0);
    sflight_complete(call, 0);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callbacks_do_not_nest),
        cmocka_unit_test(callbacks_come_first_in_first_out),
        cmocka_unit_test(a_callback_may_wait_for_a_drainer),
    };
    return RUN_TESTS(tests);
}
