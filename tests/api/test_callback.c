/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callbacks of futures: in their order, never one inside another, and none keeps a drainer; whose
 * thread ends in one, which hpp/callbacks.cpp has for exceptions.
 */
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

#if GLIBC /* with musl a callback must not be left by the end of its thread */
static void exit_here(void *arg, int rc, sflight_result *r)
{
    note(arg, rc, r);
    pthread_exit(NULL);
}

struct ender {
    sflight_call *call;
    sflight_future *unwanted; /* is dropped, or NULL: the call is completed */
    bool returned;
};

static void *end_main(void *arg)
{
    struct ender *e = arg;
    if (e->unwanted != NULL)
        sflight_future_drop(e->unwanted);
    else
        sflight_complete(e->call, 0);
    e->returned = true;
    return NULL;
}

static void a_thread_that_ends_in_a_callback(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted = {0};
    struct ender e = {.call = lead(g, "key")};
    assert_int_equal(sflight_future_then(join(g, "key"), exit_here, &noted), 0);
    assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);
    assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);
    thread_join(thread_start(end_main, &e));
    assert_false(e.returned);
    assert_int_equal(noted.n, 3);
    group_end(g);
}

static void exit_unwanted(void *arg)
{
    struct noted *noted = arg;
    noted->n++;
    pthread_exit(NULL);
}

static void a_thread_that_ends_as_nobody_waits(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted = {0};
    struct ender e = {.call = lead(g, "key"), .unwanted = join(g, "key")};
    sflight_call_on_unwanted(e.call, exit_unwanted, &noted);
    thread_join(thread_start(end_main, &e));
    assert_false(e.returned);
    assert_int_equal(noted.n, 1);
    sflight_complete(e.call, 0);
    group_end(g);
}

static void two_exits(void)
{
    struct noted noted = {0};
    sflight_group *g = group_new(NULL);
    struct ender e = {.call = lead(g, "key")};
    assert_int_equal(sflight_future_then(join(g, "key"), exit_here, &noted), 0);
    assert_int_equal(sflight_future_then(join(g, "key"), exit_here, &noted), 0);
    thread_join(thread_start(end_main, &e));
}

static void destroy_and_exit(void *value, size_t size, void *ctx)
{
    (void)value, (void)size, (void)ctx;
    pthread_exit(NULL);
}

/* The callback is left first. */
static void a_callback_and_destroy(void)
{
    struct noted noted = {0};
    sflight_group *g = group_new(NULL);
    struct ender e = {.call = lead(g, "key")};
    assert_int_equal(sflight_future_then(join(g, "key"), exit_here, &noted), 0);
    sflight_call_set(e.call, "", 1, destroy_and_exit, NULL);
    thread_join(thread_start(end_main, &e));
}

static void *abandon_main(void *permit)
{
    sflight_abandon(permit);
    return NULL;
}

/* The same, where it would have been taken over. */
static void a_callback_and_destroy_of_the_dead(void)
{
    struct noted noted = {0};
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    sflight_call *permit = lead(g, "key");
    assert_int_equal(sflight_future_then(join(g, "key"), exit_here, &noted), 0);
    sflight_call_set(permit, "", 1, destroy_and_exit, NULL);
    thread_join(thread_start(abandon_main, permit));
}

struct batch_left {
    sflight_group *g;
    struct noted noted;
};

static int call_back_and_abandon(sflight_call *const *calls, size_t n, void *arg)
{
    struct batch_left *b = arg;
    assert_int_equal(n, 2);
    assert_int_equal(sflight_future_then(join(b->g, "b"), exit_here, &b->noted), 0);
    sflight_call_set(calls[0], "", 1, destroy_and_exit, NULL);
    sflight_call_abandon(calls[0]);
    return 0;
}

static void *batch_main(void *arg)
{
    struct batch_left *b = arg;
    sflight_key keys[] = {{"a", 1}, {"b", 1}};
    sflight_result r[2];
    int rc[2];
    sflight_do_many(b->g, keys, 2, call_back_and_abandon, b, NULL, r, rc);
    return NULL;
}

/* The other way round. */
static void destroy_and_a_callback(void)
{
    struct batch_left b = {.g = group_new(NULL)};
    thread_join(thread_start(batch_main, &b));
}

static void of_two_that_are_left_the_process_ends(void **state)
{
    (void)state;
    assert_aborts(two_exits, "it must return");
    assert_aborts(a_callback_and_destroy, "it must return");
    assert_aborts(a_callback_and_destroy_of_the_dead, "it must return");
    assert_aborts(destroy_and_a_callback, "it must return");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callbacks_do_not_nest),
        cmocka_unit_test(callbacks_come_first_in_first_out),
        cmocka_unit_test(a_callback_may_wait_for_a_drainer),
#if GLIBC
        cmocka_unit_test(a_thread_that_ends_in_a_callback),
        cmocka_unit_test(a_thread_that_ends_as_nobody_waits),
        cmocka_unit_test(of_two_that_are_left_the_process_ends),
#endif
    };
    return RUN_TESTS(tests);
}
