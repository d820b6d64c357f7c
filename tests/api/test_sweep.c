/* SPDX-License-Identifier: BSD-2-Clause */
/* Futures that are given up while their call goes on: what they had is used again. */
#include "../lib/event_test.h"

enum {
    BYTES_EACH = 41, /* of a future, with its share of a block; others in there may be unused */
    FEW = 64,        /* given up, that may stay in a call's list whoever waits */
    SPARE = 20 << 10 /* bytes of futures that a thread may keep for later */
};

/* Each way to give up a future that is in its call's list. */
enum way { GET_AND_DROP, FD_AND_DROP, ENQUEUE_AND_CANCEL, THEN_AND_CANCEL, WAYS };

static void must_not_come(void *arg, int rc, sflight_result *r)
{
    (void)arg, (void)rc, (void)r;
    fail_msg("taken back, and called");
}

static void come_and_go(sflight_group *g, const char *key, enum way way, sflight_queue *q)
{
    sflight_future *f = join(g, key);
    sflight_result r;
    switch (way) {
    case GET_AND_DROP:
        assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
        sflight_future_drop(f);
        break;
    case FD_AND_DROP:
        assert_true(sflight_future_fd(f) >= 0);
        sflight_future_drop(f);
        break;
    case ENQUEUE_AND_CANCEL:
        assert_int_equal(sflight_future_enqueue(f, q, 0), 0);
        assert_int_equal(sflight_future_cancel(f), 1);
        break;
    default:
        assert_int_equal(sflight_future_then(f, must_not_come, NULL), 0);
        assert_int_equal(sflight_future_cancel(f), 1);
    }
}

/* Two calls, whose clients come and go by turns, and one or many that stay. */
static void nothing_piles_up(void **state)
{
    (void)state;
    for (enum way way = 0; way < WAYS; way++)
        for (unsigned n_stay = 1; n_stay <= 500; n_stay += 499) {
            sflight_group *g = group_new(NULL);
            sflight_queue *q;
            struct noted noted = {0};
            assert_int_equal(sflight_queue_create(&q), 0);
            sflight_call *calls[] = {lead(g, "a"), lead(g, "b")};
            for (unsigned i = 0; i < n_stay; i++)
                assert_int_equal(sflight_future_then(join(g, "a"), note, &noted), 0);
            uint64_t before = stats_of(g).bytes;
            for (int i = 0; i < 8000; i++)
                come_and_go(g, i % 2 == 0 ? "a" : "b", way, q);
            assert_in_range(stats_of(g).bytes - before, 0,
                            (2 * FEW + 4 * n_stay) * BYTES_EACH + SPARE);
            assert_int_equal(sflight_complete(calls[0], 0), n_stay);
            assert_int_equal(sflight_complete(calls[1], 0), 0);
            assert_int_equal(noted.n, n_stay);
            assert_int_equal(sflight_queue_destroy(q), 0);
            group_end(g);
        }
}

struct in_order {
    int *next;
    int number;
};

static void check_order(void *arg, int rc, sflight_result *r)
{
    struct in_order *o = arg;
    assert_int_equal(rc, 0);
    assert_int_equal(o->number, (*o->next)++);
    sflight_result_release(r);
}

/* Those that stay are told in the order in which they came, whoever has gone in between. */
static void order_is_kept(void **state)
{
    (void)state;
    enum { N = 20 };
    sflight_group *g = group_new(NULL);
    struct in_order orders[N];
    int next = 0;
    sflight_call *call = lead(g, "a");
    for (int i = 0; i < N; i++) {
        orders[i] = (struct in_order){&next, i};
        for (int k = 0; k < 50; k++)
            come_and_go(g, "a", k % 2 == 0 ? GET_AND_DROP : THEN_AND_CANCEL, NULL);
        assert_int_equal(sflight_future_then(join(g, "a"), check_order, &orders[i]), 0);
    }
    come_and_go(g, "a", FD_AND_DROP, NULL);
    assert_int_equal(sflight_complete(call, 0), N);
    assert_int_equal(next, N);
    group_end(g);
}

/* Callbacks run on the thread that ends the call, also when others are giving up meanwhile. */
struct crowd {
    sflight_group *g;
    atomic_bool stop;
    pthread_t ender;
    atomic_int n, n_left;
};

static void on_the_ending_thread(void *arg, int rc, sflight_result *r)
{
    struct crowd *c = arg;
    (void)rc;
    assert_true(pthread_equal(pthread_self(), c->ender));
    sflight_result_release(r);
    atomic_fetch_add(&c->n, 1);
}

static void *come_and_go_main(void *arg)
{
    struct crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        sflight_call *led;
        sflight_future *f;
        sflight_result r;
        assert_int_equal(sflight_begin(c->g, "a", 1, &led, &f), 0);
        if (led != NULL) {
            sflight_complete(led, 0);
            continue;
        }
        if (sflight_future_get(f, &in_the_past, &r) == -ETIMEDOUT)
            sflight_future_drop(f);
        else
            sflight_result_release(&r);
        atomic_fetch_add(&c->n_left, 1);
    }
    return NULL;
}

static void against_the_end(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    struct crowd c = {.g = group_new(NULL), .ender = pthread_self()};
    pthread_t threads[THREADS];
    threads_start(threads, THREADS, come_and_go_main, &c);
    for (int i = 0, n = rounds(3000, 300); i < n; i++) {
        sflight_call *led = NULL;
        sflight_future *f;
        while (led == NULL) {
            assert_int_equal(sflight_begin(c.g, "a", 1, &led, &f), 0);
            if (led == NULL)
                sflight_future_drop(f);
        }
        for (int k = 0; k < 3; k++) {
            int left = c.n_left;
            if (i % 8 == 0)
                WAIT_UNTIL(c.n_left >= left + FEW);
            assert_int_equal(sflight_begin(c.g, "a", 1, &(sflight_call *){NULL}, &f), 0);
            assert_int_equal(sflight_future_then(f, on_the_ending_thread, &c), 0);
        }
        sflight_complete(led, 0);
        assert_int_equal(c.n, 3 * (i + 1));
    }
    c.stop = true;
    threads_join(threads, THREADS);
    group_end(c.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_piles_up),
        cmocka_unit_test(order_is_kept),
        cmocka_unit_test(against_the_end),
    };
    return RUN_TESTS(tests);
}
