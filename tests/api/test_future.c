/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Permits and futures: who begins leads or joins, a permit ends in any way on
 * any thread, and a future delivers once, however it is asked.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

/* ----------------------------------------------------------------- begin */

static void begin_leads_or_joins(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f[3];
    for (size_t i = 0; i < LENGTH(f); i++)
        f[i] = join(g, "key");
    assert_int_equal(stats_of(g).in_flight, 1);
    assert_int_equal(stats_of(g).waiting, 3);
    assert_int_equal(stats_of(g).held, 0);

    size_t len;
    assert_memory_equal(sflight_call_key(call, &len), "key", 3);
    assert_int_equal(len, 3);
    value_set(call, &tally, 5);
    sflight_complete(call, 8);
    assert_int_equal(stats_of(g).in_flight, 0);
    assert_int_equal(stats_of(g).waiting, 0);
    assert_int_equal(stats_of(g).held, 3);
    for (size_t i = 0; i < LENGTH(f); i++) {
        sflight_result r;
        assert_int_equal(sflight_future_poll(f[i], &r), 0);
        assert_int_equal(r.status, 8);
        assert_false(r.leader);
        assert_true(r.shared);
        assert_int_equal(r.followers, 3);
        assert_int_equal(number_of(&r), 5);
        sflight_result_release(&r);
    }
    assert_int_equal(tally.destroyed, 1);
    assert_key_usable(g, "key");
    group_end(g);
}

/* The value of a permit that nobody joined is destroyed by complete. */
static void nobody_joins(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 100; i++) {
        sflight_call *call = lead(g, "key");
        value_set(call, &tally, i);
        sflight_call_set_status(call, 3);
        if (i % 2)
            sflight_complete(call, 0);
        else
            sflight_abandon(call);
        assert_int_equal(tally.destroyed, i + 1);
    }
    assert_int_equal(stats_of(g).abandoned, 50);
    group_end(g);
}

static void arguments(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = (void *)1;
    sflight_future *f = (void *)1;
    sflight_result r;
    assert_int_equal(sflight_begin(NULL, "k", 1, &call, &f), -EINVAL);
    assert_null(call);
    assert_null(f);
    assert_int_equal(sflight_begin(g, NULL, 1, &call, &f), -EINVAL);
    assert_int_equal(sflight_begin(g, "k", 1, NULL, &f), -EINVAL);
    assert_int_equal(sflight_begin(g, "k", 1, &call, NULL), -EINVAL);
    assert_int_equal(sflight_future_get(NULL, NULL, &r), -EINVAL);
    assert_zeroed(&r);
    assert_int_equal(sflight_future_poll(NULL, &r), -EINVAL);
    assert_int_equal(sflight_future_fd(NULL), -EINVAL);
    assert_int_equal(sflight_future_then(NULL, note, NULL), -EINVAL);
    sflight_future_drop(NULL);

    call = lead(g, "");
    f = join(g, "");
    const struct timespec bad = {.tv_nsec = 1000000000};
    assert_int_equal(sflight_future_get(f, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_future_get(f, &bad, &r), -EINVAL);
    assert_int_equal(sflight_future_poll(f, NULL), -EINVAL);
    assert_int_equal(sflight_future_then(f, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_future_enqueue(f, NULL, 0), -EINVAL);
    sflight_complete(call, 1);
    assert_int_equal(sflight_future_poll(f, &r), 0); /* it is as it was */
    sflight_result_release(&r);

    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_begin(g, "k", 1, &call, &f), -ESHUTDOWN);
    assert_null(call);
    assert_null(f);
    group_end(g);
}

static void limits_count_futures(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 2;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key"), *other;
    sflight_future *a = join(g, "key"), *b = join(g, "key"), *c;
    sflight_result r;
    assert_int_equal(sflight_begin(g, "key", 3, &other, &c), -EAGAIN);
    assert_null(other);
    assert_null(c);
    assert_int_equal(do_str(g, "key", must_not_run, NULL, &r), -EAGAIN);
    sflight_future_drop(a);
    a = join(g, "key");
    sflight_complete(call, 0);
    sflight_future_drop(a);
    sflight_future_drop(b);
    group_end(g);
}

/* ----------------------------------------------------- ending on a thread */

struct ending {
    sflight_call *call;
    bool abandon;
    struct tally *tally;
};

static void *end_main(void *arg)
{
    struct ending *e = arg;
    if (e->abandon) {
        sflight_abandon(e->call);
    } else {
        value_set(e->call, e->tally, 6);
        sflight_complete(e->call, 2);
    }
    return NULL;
}

struct beginning {
    sflight_group *g;
    sflight_call *call;
};

static void *begin_main(void *arg)
{
    struct beginning *b = arg;
    b->call = lead(b->g, "key");
    return NULL;
}

/* The thread that got the permit has ended when another one ends the call. */
static void permits_outlive_their_thread(void **state)
{
    (void)state;
    for (int abandon = 0; abandon < 2; abandon++) {
        struct tally tally = {0};
        sflight_group *g = group_new(NULL);
        struct beginning b = {.g = g};
        thread_join(thread_start(begin_main, &b));
        struct caller c[2];
        callers_start(c, 2, g, "key", must_not_run, NULL);
        sflight_future *f = join(g, "key");
        await_waiting(g, 3);
        assert_int_equal(sflight_group_drain(g, &in_the_past), -ETIMEDOUT);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);

        struct ending e = {b.call, abandon, &tally};
        thread_join(thread_start(end_main, &e));
        int expected = abandon ? -EOWNERDEAD : 0;
        sflight_result r;
        assert_int_equal(sflight_future_get(f, NULL, &r), expected);
        if (abandon)
            assert_zeroed(&r);
        sflight_result_release(&r);
        callers_join(c, 2);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(c[i].rc, expected);
            assert_int_equal(c[i].r.followers, abandon ? 0 : 3);
        }
        callers_release(c, 2);
        assert_all_destroyed(&tally);
        assert_int_equal(sflight_group_drain(g, NULL), 0);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

static void *drain_main(void *g)
{
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    return NULL;
}

static void drain_waits_for_a_permit(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        sflight_group *g = group_new(NULL);
        sflight_call *call = lead(g, "key");
        pthread_t drainer = thread_start(drain_main, g);
        sflight_complete(call, 0);
        thread_join(drainer);
        group_end(g);
    }
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

/* ------------------------------------------------------------------- get */

struct getter {
    sflight_future *f;
    const struct timespec *deadline;
    int rc;
    sflight_result r;
};

static void *get_main(void *arg)
{
    struct getter *get = arg;
    get->rc = sflight_future_get(get->f, get->deadline, &get->r);
    return NULL;
}

static void get_waits(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_group *g = group_new(NULL);
    for (int i = 0; i < 200; i++) {
        sflight_call *call = lead(g, "key");
        struct getter get[2] = {{.f = join(g, "key")}, {.f = join(g, "key")}};
        uint64_t parked = stats_of(g).parked;
        pthread_t a = thread_start(get_main, &get[0]), b = thread_start(get_main, &get[1]);
        if (i % 2)
            WAIT_UNTIL(stats_of(g).parked == parked + 2);
        value_set(call, &tally, i);
        sflight_complete(call, 0);
        thread_join(a);
        thread_join(b);
        for (int j = 0; j < 2; j++) {
            assert_int_equal(get[j].rc, 0);
            assert_int_equal(number_of(&get[j].r), i);
            sflight_result_release(&get[j].r);
        }
    }
    assert_all_destroyed(&tally);
    group_end(g);
}

/* Whatever was asked of a future before, in whatever order, it can be asked the rest. */
static void futures_stay_valid(void **state)
{
    (void)state;
    struct counting counting = {0};
    for (unsigned asked = 0; asked < 27; asked++) {
        for (enum consumer how = 0; how < CONSUMERS; how++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = lead(g, "key");
            sflight_future *f = join(g, "key"), *other = join(g, "key");
            sflight_result r;
            int fd = -1;
            for (unsigned i = 0, rest = asked; i < 3; i++, rest /= 3) {
                switch (rest % 3) {
                case 0:
                    assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
                    assert_zeroed(&r);
                    break;
                case 1:
                    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
                    assert_zeroed(&r);
                    break;
                default:
                    if (fd < 0)
                        fd = sflight_future_fd(f);
                    assert_true(fd >= 0);
                    assert_int_equal(sflight_future_fd(f), fd); /* always the same */
                    assert_false(readable(fd));
                }
            }
            assert_int_equal(stats_of(g).waiting, 2);
            sflight_complete(call, 0);
            if (fd >= 0)
                assert_true(readable(fd));
            consume(f, how, 0);
            if (fd >= 0)
                assert_false(is_open(fd));
            consume(other, how, 0);
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* The same, consumed while the call flies. */
static void futures_consumed_in_flight(void **state)
{
    (void)state;
    struct counting counting = {0};
    for (unsigned asked = 0; asked < 4; asked++) {
        for (enum consumer how = BY_THEN; how < CONSUMERS; how++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = lead(g, "key");
            sflight_future *f = join(g, "key");
            sflight_queue *q;
            sflight_completion done[2];
            struct noted noted = {0};
            sflight_result r;
            assert_int_equal(sflight_queue_create(&q), 0);
            if (asked & 1)
                assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
            int fd = asked & 2 ? sflight_future_fd(f) : -1;
            if (how == BY_THEN)
                assert_int_equal(sflight_future_then(f, note, &noted), 0);
            else if (how == BY_QUEUE)
                assert_int_equal(sflight_future_enqueue(f, q, 4), 0);
            else
                sflight_future_drop(f);
            if (fd >= 0)
                assert_false(is_open(fd));
            assert_int_equal(stats_of(g).waiting, how != BY_DROP);
            assert_false(readable(sflight_queue_fd(q)));
            assert_int_equal(noted.n, 0);
            sflight_complete(call, 0);
            assert_int_equal(noted.n, how == BY_THEN);
            assert_int_equal(sflight_queue_drain(q, done, 2), how == BY_QUEUE);
            if (how == BY_QUEUE)
                sflight_result_release(&done[0].result);
            assert_int_equal(sflight_queue_destroy(q), 0);
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* A descriptor that is made when the result is there is readable at once. */
static void late_descriptors_are_readable(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    for (int timed_out = 0; timed_out < 2; timed_out++) {
        sflight_call *call = lead(g, "key");
        sflight_future *f = join(g, "key");
        sflight_result r;
        if (timed_out)
            assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
        sflight_complete(call, 0);
        int fd = sflight_future_fd(f);
        assert_true(readable(fd));
        consume(f, BY_POLL, 0);
        assert_false(is_open(fd));
    }
    group_end(g);
}

/* --------------------------------------------------------------- deadlock */

struct own {
    sflight_group *g;
    sflight_future *f;
};

static int get_own(sflight_call *call, void *arg)
{
    struct own *own = arg;
    size_t len;
    const void *key = sflight_call_key(call, &len);
    sflight_call *none;
    sflight_result r;
    assert_int_equal(sflight_begin(own->g, key, len, &none, &own->f), 0);
    assert_null(none);
    assert_int_equal(sflight_future_get(own->f, NULL, &r), -EDEADLK);
    assert_zeroed(&r);
    assert_int_equal(sflight_future_poll(own->f, &r), -EAGAIN);
    return 12;
}

static void get_inside_fn_of_its_own_call(void **state)
{
    (void)state;
    struct own own = {.g = group_new(NULL)};
    sflight_result r;
    assert_int_equal(do_str(own.g, "key", get_own, &own, &r), 0);
    assert_true(r.shared);
    sflight_result_release(&r);
    assert_int_equal(stats_of(own.g).deadlocks, 1);
    assert_int_equal(sflight_future_get(own.f, NULL, &r), 0); /* it stayed valid */
    assert_int_equal(r.status, 12);
    sflight_result_release(&r);
    group_end(own.g);
}

struct circle {
    sflight_group *g;
    atomic_int n_leading;
    atomic_int n_deadlocks;
};

static int get_the_other(sflight_call *call, void *arg)
{
    struct circle *circle = arg;
    size_t len;
    const char *key = sflight_call_key(call, &len);
    atomic_fetch_add(&circle->n_leading, 1);
    WAIT_UNTIL(circle->n_leading == 2);
    sflight_future *f = join(circle->g, key[0] == 'a' ? "b" : "a");
    sflight_result r;
    int rc = sflight_future_get(f, NULL, &r);
    if (rc == -EDEADLK) {
        atomic_fetch_add(&circle->n_deadlocks, 1);
        sflight_future_drop(f);
    } else {
        assert_int_equal(rc, 0);
        sflight_result_release(&r);
    }
    return 0;
}

static void circles_through_futures(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct circle circle = {.g = group_new(NULL)};
        struct caller c[2];
        caller_start(&c[0], circle.g, "a", get_the_other, &circle);
        caller_start(&c[1], circle.g, "b", get_the_other, &circle);
        callers_join(c, 2);
        assert_int_equal(circle.n_deadlocks, 1);
        callers_release(c, 2);
        group_end(circle.g);
    }
}

/* --------------------------------------------------- calls that end badly */

static void futures_on_calls_that_end_badly(void **state)
{
    (void)state;
    sflight_fn *const fns[] = {work_fn, panic_fn, exit_fn};
    const int expected[] = {0, -ENOTRECOVERABLE, -EOWNERDEAD};
    for (size_t i = 0; i < LENGTH(fns); i++) {
        for (enum consumer how = 0; how < CONSUMERS; how++) {
            struct counting counting = {0};
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            struct work w = {0};
            struct caller leader;
            caller_start(&leader, g, "key", fns[i], &w);
            WAIT_UNTIL(w.runs == 1);
            sflight_future *f = join(g, "key"), *text = join(g, "key");
            int fd = sflight_future_fd(text);
            atomic_store(&w.open, true);
            caller_join(&leader);
            assert_true(readable(fd));
            consume(f, how, expected[i]);
            sflight_result r;
            assert_int_equal(sflight_future_poll(text, &r), expected[i]);
            if (expected[i] == -ENOTRECOVERABLE)
                assert_non_null(strstr(r.value, "the leader panics"));
            sflight_result_release(&r);
            if (leader.rc != NEVER_RETURNED)
                callers_release(&leader, 1);
            assert_all_destroyed(&w.tally);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

static void futures_on_a_forgotten_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *old = lead(g, "key");
    sflight_future *of_old = join(g, "key");
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    sflight_call *fresh = lead(g, "key");
    sflight_future *of_fresh = join(g, "key");
    sflight_complete(fresh, 2);
    sflight_complete(old, 1);
    sflight_result r;
    assert_int_equal(sflight_future_get(of_old, NULL, &r), 0);
    assert_int_equal(r.status, 1);
    sflight_result_release(&r);
    assert_int_equal(sflight_future_get(of_fresh, NULL, &r), 0);
    assert_int_equal(r.status, 2);
    sflight_result_release(&r);
    group_end(g);
}

/* -------------------------------------------------------------- unwanted */

static void unwanted_permits(void **state)
{
    (void)state;
    for (int cancel = 0; cancel < 2; cancel++) {
        struct tally tally = {0};
        sflight_options o = default_options();
        o.cancel_unwanted = cancel;
        sflight_group *g = group_new(&o);
        sflight_call *call = lead(g, "key");
        assert_true(sflight_call_unwanted(call));
        sflight_future *a = join(g, "key"), *b = join(g, "key");
        assert_false(sflight_call_unwanted(call));
        sflight_future_drop(a);
        assert_false(sflight_call_unwanted(call));
        sflight_future_drop(join(g, "key"));
        sflight_future_drop(b);
        assert_true(sflight_call_unwanted(call));
        assert_int_equal(stats_of(g).forgotten, cancel);
        if (cancel) { /* nobody joins it any more */
            sflight_call *fresh = lead(g, "key");
            a = join(g, "key");
            sflight_complete(fresh, 1);
        } else {
            a = join(g, "key");
        }
        value_set(call, &tally, 1);
        sflight_complete(call, 0);
        sflight_result r;
        assert_int_equal(sflight_future_poll(a, &r), 0);
        assert_int_equal(r.status, cancel);
        sflight_result_release(&r);
        assert_all_destroyed(&tally);
        group_end(g);
    }
}

static void a_blocking_leader_is_always_wanted(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "key", work_fn, &w);
    sflight_future_drop(join(g, "key"));
    sflight_future *f = join(g, "key");
    atomic_store(&w.open, true);
    consume(f, BY_GET, 0);
    caller_join(&leader);
    callers_release(&leader, 1);
    assert_int_equal(stats_of(g).forgotten, 0);
    group_end(g);
}

/* --------------------------------------------------------------- takeover */

static void a_blocking_follower_takes_a_permit_over(void **state)
{
    (void)state;
    struct tally tally = {0};
    sflight_options o = takeover_options();
    o.cancel_unwanted = true;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    struct work w = {.status = 3};
    struct caller c[2];
    callers_start(c, 2, g, "key", work_fn, &w);
    await_waiting(g, 3);
    value_set(call, &tally, 1);
    sflight_abandon(call);
    assert_int_equal(tally.destroyed, 1);
    WAIT_UNTIL(w.runs == 1);
    sflight_future_drop(join(g, "key"));
    atomic_store(&w.open, true);
    callers_join(c, 2);
    assert_int_equal(c[0].r.leader + c[1].r.leader, 1);
    callers_release(c, 2);
    consume(f, BY_GET, 0);
    assert_int_equal(stats_of(g).taken_over, 1);
    assert_int_equal(stats_of(g).forgotten, 0);
    assert_all_destroyed(&w.tally);

    call = lead(g, "key"); /* nobody blocks: nobody takes over */
    f = join(g, "key");
    sflight_abandon(call);
    consume(f, BY_POLL, -EOWNERDEAD);
    assert_int_equal(stats_of(g).taken_over, 1);
    group_end(g);
}

/* --------------------------------------------------------------- callbacks */

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

/* ----------------------------------------------------------- cancellation */

static void *complete_cancelled(void *arg)
{
    pthread_cancel(pthread_self()); /* acts at the next cancellation point */
    sflight_complete(arg, 0);
    pthread_testcancel();
    return NULL;
}

/* Ending a call is no cancellation point, whoever is told. */
static void a_cancelled_thread_tells_everybody(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_completion done;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    sflight_future *a = join(g, "key"), *b = join(g, "key"), *c = join(g, "key");
    int fd_a = sflight_future_fd(a);
    assert_int_equal(sflight_future_enqueue(c, q, 1), 0);
    int fd_b = sflight_future_fd(b);
    assert_ptr_equal(thread_join(thread_start(complete_cancelled, call)), PTHREAD_CANCELED);
    assert_true(readable(fd_a));
    assert_true(readable(fd_b));
    consume(a, BY_POLL, 0);
    consume(b, BY_GET, 0);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_result_release(&done.result);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void note_and_test_cancel(void *arg, int rc, sflight_result *r)
{
    note(arg, rc, r);
    pthread_testcancel();
}

static void a_cancelled_thread_runs_all_callbacks(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted = {0};
    sflight_call *call = lead(g, "key");
    for (int i = 0; i < 3; i++)
        assert_int_equal(sflight_future_then(join(g, "key"), note_and_test_cancel, &noted), 0);
    assert_ptr_equal(thread_join(thread_start(complete_cancelled, call)), PTHREAD_CANCELED);
    assert_int_equal(noted.n, 3);
    group_end(g);
}

/* ------------------------------------------------------------------ limits */

static void out_of_descriptors(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key"), *timed_out = join(g, "key");
    sflight_result r;
    sflight_queue *q = (void *)1;
    struct rlimit old, none;
    assert_int_equal(sflight_future_get(timed_out, &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    errno = 0;
    int of_fresh = sflight_future_fd(f), of_old = sflight_future_fd(timed_out);
    int of_queue = sflight_queue_create(&q), after = errno;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(of_fresh, -EMFILE);
    assert_int_equal(of_old, -EMFILE);
    assert_int_equal(of_queue, -EMFILE);
    assert_null(q);
    assert_int_equal(after, 0); /* errno is left alone */

    int fd = sflight_future_fd(f); /* they still work */
    assert_true(fd >= 0);
    sflight_complete(call, 0);
    assert_true(readable(fd));
    consume(f, BY_POLL, 0);
    consume(timed_out, BY_GET, 0);
    group_end(g);
}

/* Whichever allocation fails: all, or nothing. */
static void out_of_memory(void **state)
{
    (void)state;
    struct counting counting = {0};
    bool failed = true;
    for (long k = 1; failed; k++) {
        for (int go_on = 0; go_on < 2; go_on++) {
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *call = NULL, *none = NULL;
            sflight_future *f = NULL;
            counting_fail(&counting, k, go_on);
            int rc = sflight_begin(g, "key", 3, &call, &f);
            assert_true(rc == 0 ? call != NULL : rc == -ENOMEM && call == NULL);
            assert_null(f);
            rc = call != NULL ? sflight_begin(g, "key", 3, &none, &f) : 0;
            assert_true(rc == 0 || (rc == -ENOMEM && f == NULL));
            assert_null(none);
            struct noted noted = {0};
            int then = 0;
            if (f != NULL && sflight_future_fd(f) >= 0) {
                then = sflight_future_then(f, note, &noted);
                assert_true(then == 0 || then == -ENOMEM);
            }
            failed = counting_relent(&counting);
            assert_int_equal(stats_of(g).in_flight, call != NULL);
            assert_int_equal(stats_of(g).waiting, f != NULL);
            if (call != NULL)
                sflight_complete(call, 0);
            if (then == -ENOMEM)
                consume(f, BY_POLL, 0); /* as it was */
            else
                assert_int_equal(noted.n, f != NULL);
            assert_key_usable(g, "key");
            group_end(g);
            assert_nothing_allocated(&counting);
        }
    }
}

/* A future that has been waited for is replaced by another one to be consumed. */
static void out_of_memory_for_another_future(void **state)
{
    (void)state;
    enum { N = 200 }; /* more than can be spare */
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct noted noted = {0};
    sflight_future *f[N];
    sflight_queue *q;
    sflight_result r;
    int n_then = 0;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    for (int i = 0; i < N; i++) {
        f[i] = join(g, "key");
        assert_int_equal(sflight_future_get(f[i], &in_the_past, &r), -ETIMEDOUT);
    }
    counting_fail(&counting, 1, true);
    while (n_then < N && sflight_future_then(f[n_then], note, &noted) == 0)
        n_then++;
    assert_true(n_then < N);
    for (int i = n_then; i < N; i++) {
        int rc = i % 2 ? sflight_future_then(f[i], note, &noted)
                       : sflight_future_enqueue(f[i], q, (uint64_t)i);
        assert_int_equal(rc, -ENOMEM);
    }
    assert_int_equal(stats_of(g).waiting, N);
    counting_relent(&counting);
    sflight_complete(call, 4);
    assert_int_equal(noted.n, n_then);
    for (int i = n_then; i < N; i++) { /* as they were */
        assert_int_equal(sflight_future_poll(f[i], &r), 0);
        assert_int_equal(r.status, 4);
        sflight_result_release(&r);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* ------------------------------------------------------------------ crowds */

static void a_hundred_thousand_on_one_call(void **state)
{
    (void)state;
    enum { CROWD = 100000 };
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct tally tally = {0};
    struct noted noted = {0};
    sflight_queue *q;
    sflight_completion done[256];
    assert_int_equal(sflight_queue_create(&q), 0);
    bool *seen = calloc(CROWD, sizeof(*seen));
    assert_non_null(seen);
    sflight_call *call = lead(g, "key");
    for (unsigned i = 0; i < CROWD; i++) {
        sflight_future *f = join(g, "key");
        if (i % 2)
            assert_int_equal(sflight_future_enqueue(f, q, i), 0);
        else
            assert_int_equal(sflight_future_then(f, note, &noted), 0);
    }
    struct caller blocking[2];
    callers_start(blocking, 2, g, "key", must_not_run, NULL);
    await_waiting(g, CROWD + 2);
    value_set(call, &tally, 1);
    sflight_complete(call, 0);
    assert_int_equal(noted.n, CROWD / 2);
    callers_join(blocking, 2);
    assert_int_equal(stats_of(g).held, CROWD / 2 + 2);
    int n, total = 0;
    while ((n = sflight_queue_drain(q, done, LENGTH(done))) > 0) {
        total += n;
        for (int i = 0; i < n; i++) {
            assert_false(seen[done[i].tag]);
            seen[done[i].tag] = true;
            assert_int_equal(done[i].rc, 0);
            assert_int_equal(done[i].result.followers, CROWD + 2);
            sflight_result_release(&done[i].result);
        }
    }
    assert_int_equal(total, CROWD / 2);
    assert_int_equal(blocking[0].r.followers, CROWD + 2);
    callers_release(blocking, 2);
    assert_int_equal(tally.destroyed, 1);
    free(seen);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_leads_or_joins),
        cmocka_unit_test(nobody_joins),
        cmocka_unit_test(arguments),
        cmocka_unit_test(limits_count_futures),
        cmocka_unit_test(permits_outlive_their_thread),
        cmocka_unit_test(drain_waits_for_a_permit),
        cmocka_unit_test(a_callback_may_wait_for_a_drainer),
        cmocka_unit_test(get_waits),
        cmocka_unit_test(futures_stay_valid),
        cmocka_unit_test(futures_consumed_in_flight),
        cmocka_unit_test(late_descriptors_are_readable),
        cmocka_unit_test(get_inside_fn_of_its_own_call),
        cmocka_unit_test(circles_through_futures),
        cmocka_unit_test(futures_on_calls_that_end_badly),
        cmocka_unit_test(futures_on_a_forgotten_call),
        cmocka_unit_test(unwanted_permits),
        cmocka_unit_test(a_blocking_leader_is_always_wanted),
        cmocka_unit_test(a_blocking_follower_takes_a_permit_over),
        cmocka_unit_test(callbacks_do_not_nest),
        cmocka_unit_test(callbacks_come_first_in_first_out),
        cmocka_unit_test(a_cancelled_thread_tells_everybody),
        cmocka_unit_test(a_cancelled_thread_runs_all_callbacks),
        cmocka_unit_test(out_of_descriptors),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(out_of_memory_for_another_future),
        cmocka_unit_test(a_hundred_thousand_on_one_call),
    };
    return RUN_TESTS(tests);
}
