/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * -EDEADLK: for the own key, for circles of leaders that wait for one another,
 * also through several groups and batches; and only then.
 */
#include "../lib/api_test.h"

/* ------------------------------------------------------------- own key */

struct recursion {
    sflight_group *g;
    int depth;
};

static int ask_own_key_deeper(sflight_call *call, void *arg)
{
    struct recursion *rec = arg;
    sflight_result r;
    if (rec->depth-- > 0) { /* other keys may be in between */
        assert_int_equal(
            sflight_do(rec->g, &rec->depth, sizeof rec->depth, ask_own_key_deeper, rec, &r), 0);
        sflight_result_release(&r);
    }
    return ask_own_key(call, rec->g);
}

static void own_key(void **state)
{
    (void)state;
    struct recursion rec = {.g = group_new(NULL)};
    sflight_result r;
    assert_int_equal(do_str(rec.g, "key", ask_own_key_deeper, &rec, &r), 0);
    assert_int_equal(r.status, 5);
    assert_false(r.shared); /* asking in vain is not joining */
    assert_int_equal(r.followers, 0);
    sflight_result_release(&r);
    sflight_stats s = stats_of(rec.g);
    assert_int_equal(s.deadlocks, OWN_KEY_ASKS);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, 0);
    assert_key_usable(rec.g, "key");
    group_end(rec.g);
}

static void own_key_through_other_keys(void **state)
{
    (void)state;
    struct recursion rec = {.g = group_new(NULL), .depth = 20};
    sflight_result r;
    assert_int_equal(do_str(rec.g, "key", ask_own_key_deeper, &rec, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(stats_of(rec.g).deadlocks, 21 * OWN_KEY_ASKS);
    group_end(rec.g);
}

static int ask_own_key_elsewhere(sflight_call *call, void *arg)
{
    size_t len;
    const void *key = sflight_call_key(call, &len);
    struct work w = {.open = true};
    sflight_result r;
    assert_int_equal(sflight_do(arg, key, len, work_fn, &w, &r), 0);
    assert_true(r.leader);
    sflight_result_release(&r);
    return 0;
}

static void own_key_in_another_group_is_another_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL), *other = group_new(NULL);
    sflight_result r;
    assert_int_equal(do_str(g, "key", ask_own_key_elsewhere, other, &r), 0);
    sflight_result_release(&r);
    group_end(g);
    group_end(other);
}

/* -------------------------------------------------------------- circles */

/*
 * Thread i leads key i of groups[i % n_groups]; when all lead, each asks for
 * the key of the next.
 */
struct circle {
    size_t n;
    sflight_group *groups[2];
    size_t n_groups;
    int n_rounds;
    bool batches; /* ask through sflight_do_many() */
    pthread_barrier_t barrier;
    atomic_int deadlocks;
    atomic_int successes;
};

struct member {
    struct circle *circle;
    size_t index;
    pthread_t thread;
};

static sflight_group *group_at(struct circle *c, size_t i)
{
    return c->groups[i % c->n_groups];
}

static int ask_the_next(sflight_call *call, void *arg)
{
    (void)call;
    struct member *m = arg;
    struct circle *c = m->circle;
    size_t next = (m->index + 1) % c->n;
    sflight_key key = {&next, sizeof next};
    sflight_result r;
    int rc;
    pthread_barrier_wait(&c->barrier);
    if (c->batches)
        assert_int_equal(
            sflight_do_many(group_at(c, next), &key, 1, batch_must_not_run, NULL, NULL, &r, &rc),
            0);
    else
        rc = sflight_do(group_at(c, next), &next, sizeof next, must_not_run, NULL, &r);
    if (rc == -EDEADLK) {
        assert_zeroed(&r);
        atomic_fetch_add(&c->deadlocks, 1);
    } else {
        assert_int_equal(rc, 0);
        assert_int_equal(r.status, (int)next);
        atomic_fetch_add(&c->successes, 1);
    }
    sflight_result_release(&r);
    return (int)m->index;
}

static void *be_a_member(void *arg)
{
    struct member *m = arg;
    struct circle *c = m->circle;
    for (int round = 0; round < c->n_rounds; round++) {
        sflight_result r;
        assert_int_equal(
            sflight_do(group_at(c, m->index), &m->index, sizeof m->index, ask_the_next, m, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        pthread_barrier_wait(&c->barrier);
        if (m->index == 0) {
            assert_int_equal(c->deadlocks, round + 1);
            assert_int_equal(c->successes, (round + 1) * ((int)c->n - 1));
        }
        pthread_barrier_wait(&c->barrier);
    }
    return NULL;
}

static void run_circles(size_t n, size_t n_groups, int n_rounds, bool batches)
{
    struct circle c = {.n = n, .n_groups = n_groups, .n_rounds = n_rounds, .batches = batches};
    struct member members[16];
    for (size_t i = 0; i < n_groups; i++)
        c.groups[i] = group_new(NULL);
    assert_int_equal(pthread_barrier_init(&c.barrier, NULL, (unsigned)n), 0);
    for (size_t i = 0; i < n; i++) {
        members[i] = (struct member){.circle = &c, .index = i};
        members[i].thread = thread_start(be_a_member, &members[i]);
    }
    for (size_t i = 0; i < n; i++)
        thread_join(members[i].thread);
    uint64_t deadlocks = 0;
    for (size_t i = 0; i < n_groups; i++) {
        deadlocks += stats_of(c.groups[i]).deadlocks;
        group_end(c.groups[i]);
    }
    assert_int_equal(deadlocks, n_rounds);
    pthread_barrier_destroy(&c.barrier);
}

static void circle_of_two(void **state)
{
    (void)state;
    run_circles(2, 1, rounds(500, 100), false);
}

static void circle_of_three(void **state)
{
    (void)state;
    run_circles(3, 1, rounds(500, 100), false);
}

static void circle_of_sixteen(void **state)
{
    (void)state;
    run_circles(16, 1, rounds(100, 20), false);
}

static void circles_across_two_groups(void **state)
{
    (void)state;
    run_circles(2, 2, rounds(500, 100), false);
    run_circles(5, 2, rounds(100, 20), false);
}

static void circles_of_batches(void **state)
{
    (void)state;
    run_circles(2, 1, rounds(500, 100), true);
    run_circles(4, 2, rounds(100, 20), true);
}

/* ------------------------------------------------------- not a circle */

struct link {
    sflight_group *g;
    const char *next;
    const struct timespec *deadline;
    atomic_bool inside;
    atomic_bool open;
    int rc;
};

/* Waits at its gate, then asks for the next key. */
static int link_fn(sflight_call *call, void *arg)
{
    (void)call;
    struct link *l = arg;
    atomic_store(&l->inside, true);
    WAIT_UNTIL(l->open);
    sflight_result r;
    l->rc = sflight_do_until(l->g, l->next, strlen(l->next), must_not_run, NULL, l->deadline, &r);
    sflight_result_release(&r);
    return 0;
}

static void a_chain_is_not_a_circle(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    const char *keys[] = {"0", "1", "2", "3", "4", "5"};
    enum { N = LENGTH(keys) - 1 };
    struct link links[N];
    struct caller c[N], last;
    struct work w = {0};
    caller_start(&last, g, keys[N], work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    for (int i = N - 1; i >= 0; i--) {
        links[i] = (struct link){.g = g, .next = keys[i + 1], .open = true, .rc = NEVER_RETURNED};
        caller_start(&c[i], g, keys[i], link_fn, &links[i]);
        await_waiting(g, (uint64_t)(N - i));
    }
    atomic_store(&w.open, true);
    callers_join(c, N);
    caller_join(&last);
    for (int i = 0; i < N; i++) {
        assert_int_equal(links[i].rc, 0);
        assert_int_equal(c[i].rc, 0);
    }
    assert_int_equal(stats_of(g).deadlocks, 0);
    callers_release(c, N);
    callers_release(&last, 1);
    group_end(g);
}

static void a_wait_that_timed_out_closes_no_circle(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct timespec soon = deadline_in_ns(1000000);
    struct link a = {.g = g, .next = "b", .deadline = &soon, .open = true};
    struct link b = {.g = g, .next = "a"};
    struct caller ca, cb, held;
    struct work gate = {0};
    caller_start(&cb, g, "b", link_fn, &b);
    WAIT_UNTIL(b.inside);
    caller_start(&ca, g, "a", link_fn, &a); /* waits for b in vain */
    caller_join(&ca);
    assert_int_equal(a.rc, -ETIMEDOUT);
    leader_start(&held, g, "a", work_fn, &gate); /* "a" has another leader */
    atomic_store(&b.open, true);
    await_waiting(g, 1);
    atomic_store(&gate.open, true);
    caller_join(&held);
    caller_join(&cb);
    assert_int_equal(b.rc, 0);
    assert_int_equal(stats_of(g).deadlocks, 0);
    callers_release(&ca, 1);
    callers_release(&cb, 1);
    callers_release(&held, 1);
    group_end(g);
}

/*
 * b's leader waits for c, whose leader is this thread.  When c has ended, the
 * same thread leads a and asks for b, before b's leader has woken up: it is not
 * waiting for anything of this thread's any more.
 */
struct ender {
    sflight_group *g;
    atomic_bool inside;
    pthread_t thread;
};

static int end_when_waited_for(sflight_call *call, void *arg)
{
    struct ender *e = arg;
    (void)call;
    atomic_store(&e->inside, true);
    await_waiting(e->g, 1);
    return 0;
}

static int ask_for_b(sflight_call *call, void *arg)
{
    sflight_result b;
    (void)call;
    assert_int_equal(do_str(arg, "b", nothing, NULL, &b), 0);
    sflight_result_release(&b);
    return 0;
}

static void *end_c_then_lead_a(void *arg)
{
    struct ender *e = arg;
    sflight_result c, a;
    assert_int_equal(do_str(e->g, "c", end_when_waited_for, e, &c), 0);
    assert_int_equal(do_str(e->g, "a", ask_for_b, e->g, &a), 0);
    sflight_result_release(&a);
    sflight_result_release(&c);
    return NULL;
}

static void a_wait_that_is_over_closes_no_circle(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, SFLIGHT_SPIN_ADAPTIVE};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        sflight_group *g = group_new(&o);
        for (int round = 0; round < rounds(500, 100); round++) {
            struct ender e = {.g = g};
            struct link b = {.g = g, .next = "c", .open = true};
            struct caller cb;
            e.thread = thread_start(end_c_then_lead_a, &e);
            WAIT_UNTIL(e.inside);
            caller_start(&cb, g, "b", link_fn, &b);
            thread_join(e.thread);
            caller_join(&cb);
            assert_int_equal(b.rc, 0);
            callers_release(&cb, 1);
        }
        assert_int_equal(stats_of(g).deadlocks, 0);
        group_end(g);
    }
}

static void a_forgotten_call_closes_no_circle(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct link a = {.g = g, .next = "b", .open = true};
    struct work b = {0};
    struct work again = {.open = true};
    struct caller ca, cb;
    leader_start(&cb, g, "b", work_fn, &b);
    caller_start(&ca, g, "a", link_fn, &a); /* a waits for b */
    await_waiting(g, 1);
    assert_int_equal(sflight_forget(g, "a", 1), 1);
    sflight_result r; /* "a" is free: nobody waits for the forgotten call */
    assert_int_equal(do_str(g, "a", work_fn, &again, &r), 0);
    assert_true(r.leader);
    sflight_result_release(&r);
    atomic_store(&b.open, true);
    caller_join(&ca);
    caller_join(&cb);
    assert_int_equal(a.rc, 0);
    callers_release(&ca, 1);
    callers_release(&cb, 1);
    group_end(g);
}

/* ------------------------------------- circles that others wait for */

/* a waits for b; b asks for a and is told; the bystanders get their results. */
static void bystanders_are_unaffected(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct link a = {.g = g, .next = "b", .open = true};
    struct link b = {.g = g, .next = "a"};
    struct caller ca, cb, by[4];
    caller_start(&cb, g, "b", link_fn, &b);
    WAIT_UNTIL(b.inside);
    caller_start(&ca, g, "a", link_fn, &a);
    await_waiting(g, 1);
    callers_start(by, 2, g, "a", must_not_run, NULL);
    callers_start(by + 2, 2, g, "b", must_not_run, NULL);
    await_waiting(g, 5);
    atomic_store(&b.open, true);
    caller_join(&ca);
    caller_join(&cb);
    callers_join(by, 4);
    assert_int_equal(a.rc, 0);
    assert_int_equal(b.rc, -EDEADLK);
    assert_int_equal(ca.rc, 0);
    assert_int_equal(cb.rc, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(by[i].rc, 0);
    assert_int_equal(ca.r.followers, 2);
    assert_int_equal(cb.r.followers, 3);
    assert_int_equal(stats_of(g).deadlocks, 1);
    callers_release(&ca, 1);
    callers_release(&cb, 1);
    callers_release(by, 4);
    group_end(g);
}

/* The leader of a batch leads all of its keys, the last as well as the first. */
static int batch_asks_c(sflight_call *const *calls, size_t n, void *arg)
{
    assert_int_equal(n, 3);
    return link_fn(calls[0], arg);
}

struct batch {
    sflight_group *g;
    struct link link;
};

static void *lead_batch(void *arg)
{
    struct batch *b = arg;
    sflight_key keys[] = {{"x", 1}, {"y", 1}, {"z", 1}};
    sflight_result r[3];
    int rc[3];
    assert_int_equal(sflight_do_many(b->g, keys, 3, batch_asks_c, &b->link, NULL, r, rc), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rc[i], 0);
        sflight_result_release(&r[i]);
    }
    return NULL;
}

static void a_circle_through_any_key_of_a_batch(void **state)
{
    (void)state;
    const char *asked[] = {"x", "y", "z"};
    for (size_t i = 0; i < LENGTH(asked); i++) {
        sflight_group *g = group_new(NULL);
        struct link c = {.g = g, .next = asked[i]};
        struct batch batch = {.g = g, .link = {.g = g, .next = "c", .open = true}};
        struct caller cc;
        caller_start(&cc, g, "c", link_fn, &c);
        WAIT_UNTIL(c.inside);
        pthread_t thread = thread_start(lead_batch, &batch);
        await_waiting(g, 1); /* the batch waits for c */
        atomic_store(&c.open, true);
        caller_join(&cc);
        thread_join(thread);
        assert_int_equal(c.rc, -EDEADLK);
        assert_int_equal(batch.link.rc, 0);
        callers_release(&cc, 1);
        group_end(g);
    }
}

/* Waiting for an outer call of a thread that waits deeper inside. */
struct two_deep {
    struct link inner;
};

static int outer_fn(sflight_call *call, void *arg)
{
    (void)call;
    struct two_deep *t = arg;
    sflight_result r;
    int rc = do_str(t->inner.g, "inner", link_fn, &t->inner, &r);
    sflight_result_release(&r);
    return rc;
}

static void a_circle_through_an_outer_call(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct two_deep t = {{.g = g, .next = "b", .open = true}};
    struct link b = {.g = g, .next = "outer"};
    struct caller ct, cb;
    caller_start(&cb, g, "b", link_fn, &b);
    WAIT_UNTIL(b.inside);
    caller_start(&ct, g, "outer", outer_fn, &t);
    await_waiting(g, 1);
    atomic_store(&b.open, true);
    caller_join(&ct);
    caller_join(&cb);
    assert_int_equal(b.rc, -EDEADLK);
    assert_int_equal(t.inner.rc, 0);
    callers_release(&ct, 1);
    callers_release(&cb, 1);
    group_end(g);
}

/* a waits for b; b's leader dies; who takes b over asks for a. */
static void a_circle_through_a_takeover(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    sflight_group *g = group_new(&o);
    struct work first = {0};
    struct link taker = {.g = g, .next = "a"}, a = {.g = g, .next = "b"};
    struct caller leader, ct, ca;
    leader_start(&leader, g, "b", exit_fn, &first);
    caller_start(&ct, g, "b", link_fn, &taker);
    await_waiting(g, 1);
    atomic_store(&first.open, true);
    caller_join(&leader);
    WAIT_UNTIL(taker.inside);
    caller_start(&ca, g, "a", link_fn, &a);
    WAIT_UNTIL(a.inside);
    atomic_store(&a.open, true);
    await_waiting(g, 1);
    atomic_store(&taker.open, true);
    caller_join(&ct);
    caller_join(&ca);
    assert_int_equal(taker.rc, -EDEADLK);
    assert_int_equal(a.rc, 0);
    callers_release(&ct, 1);
    callers_release(&ca, 1);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_key),
        cmocka_unit_test(own_key_through_other_keys),
        cmocka_unit_test(own_key_in_another_group_is_another_call),
        cmocka_unit_test(circle_of_two),
        cmocka_unit_test(circle_of_three),
        cmocka_unit_test(circle_of_sixteen),
        cmocka_unit_test(circles_across_two_groups),
        cmocka_unit_test(circles_of_batches),
        cmocka_unit_test(a_chain_is_not_a_circle),
        cmocka_unit_test(a_wait_that_timed_out_closes_no_circle),
        cmocka_unit_test(a_wait_that_is_over_closes_no_circle),
        cmocka_unit_test(a_forgotten_call_closes_no_circle),
        cmocka_unit_test(bystanders_are_unaffected),
        cmocka_unit_test(a_circle_through_any_key_of_a_batch),
        cmocka_unit_test(a_circle_through_an_outer_call),
        cmocka_unit_test(a_circle_through_a_takeover),
    };
    return RUN_TESTS(tests);
}
