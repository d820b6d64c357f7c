/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork() while calls are in flight: the parent is unaffected; the child uses
 * every group at once, and the calls that other threads led do not exist there.
 */
#include "../lib/counting_alloc.h"

static void *use_group(void *g)
{
    assert_key_usable(g, "key");
    return NULL;
}

/* Everything that the child does with a group of which it holds nothing. */
static void child_uses_group(sflight_group *g)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.waiting, 0);
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    for (int i = 0; i < 100; i++)
        assert_key_usable(g, i % 2 ? "key" : "new");
    /* TSan allows no threads after the fork of a threaded process; qemu aborts. */
    if (!SANITIZED && !EMULATED)
        thread_join(thread_start(use_group, g));
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    group_end(g);
    sflight_group *fresh = group_new(NULL);
    assert_key_usable(fresh, "key");
    group_end(fresh);
}

enum { FOLLOWERS = 3 };

struct flight {
    sflight_group *g;
    struct work w;
    struct caller c[1 + FOLLOWERS];
};

static void flight_start(struct flight *f, sflight_group *g)
{
    f->g = g;
    caller_start(&f->c[0], g, "key", work_fn, &f->w);
    WAIT_UNTIL(f->w.runs == 1);
    callers_start(f->c + 1, FOLLOWERS, g, "key", must_not_run, NULL);
    await_waiting(g, FOLLOWERS);
}

/* The parent's callers have noticed nothing. */
static void flight_end(struct flight *f)
{
    atomic_store(&f->w.open, true);
    callers_join(f->c, LENGTH(f->c));
    assert_int_equal(f->w.runs, 1);
    for (size_t i = 0; i < LENGTH(f->c); i++) {
        assert_int_equal(f->c[i].rc, 0);
        assert_int_equal(f->c[i].r.followers, FOLLOWERS);
        assert_int_equal(number_of(&f->c[i].r), 1);
    }
    callers_release(f->c, LENGTH(f->c));
    assert_all_destroyed(&f->w.tally);
    assert_key_usable(f->g, "key");
    group_end(f->g);
}

static void child_uses_the_group_at_once(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct flight f = {0};
    flight_start(&f, group_new(&o));
    pid_t pid = fork_child();
    if (pid == 0) {
        child_uses_group(f.g);
        assert_nothing_allocated(&counting); /* no record is left of the parent's calls */
        exit(0);                             /* under ASan: the leak check runs */
    }
    assert_child_succeeds(pid);
    flight_end(&f);
    assert_nothing_allocated(&counting);
}

static void every_way_of_waiting(void **state)
{
    (void)state;
    const uint64_t spins[] = {0, 1000000000};
    for (size_t i = 0; i < LENGTH(spins); i++) {
        sflight_options o = default_options();
        o.spin_ns = spins[i];
        o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
        struct flight f = {0};
        flight_start(&f, group_new(&o));
        pid_t pid = fork_child();
        if (pid == 0) {
            child_uses_group(f.g);
            exit(0);
        }
        assert_child_succeeds(pid);
        flight_end(&f);
    }
}

static void grandchildren(void **state)
{
    (void)state;
    struct flight f = {0};
    flight_start(&f, group_new(NULL));
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_key_usable(f.g, "key");
        pid_t grandchild = fork_child();
        if (grandchild == 0) {
            child_uses_group(f.g);
            exit(0);
        }
        assert_child_succeeds(grandchild);
        child_uses_group(f.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    flight_end(&f);
}

/* A result that the forking thread holds is held in both processes. */
static void a_held_result_is_held_in_both(void **state)
{
    (void)state;
    struct flight f = {0};
    struct work held = {.open = true, .status = 4};
    sflight_result r;
    flight_start(&f, group_new(NULL));
    assert_int_equal(do_str(f.g, "held", work_fn, &held, &r), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(number_of(&r), 1);
        assert_int_equal(stats_of(f.g).held, 1);
        assert_int_equal(sflight_group_destroy(f.g), -EBUSY);
        sflight_result_release(&r);
        assert_int_equal(held.tally.destroyed, 1);
        child_uses_group(f.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(number_of(&r), 1);
    assert_int_equal(held.tally.destroyed, 0);
    sflight_result_release(&r);
    assert_int_equal(held.tally.destroyed, 1);
    flight_end(&f);
}

struct moved {
    sflight_group *g;
    struct work w;
    sflight_result r;
};

static void *lead_for_another(void *arg)
{
    struct moved *m = arg;
    assert_int_equal(do_str(m->g, "moved", work_fn, &m->w, &m->r), 0);
    return NULL;
}

/* The forking thread holds what another thread, gone or not, has led. */
static void a_result_of_another_thread(void **state)
{
    (void)state;
    struct flight f = {0};
    struct moved m = {.w = {.open = true}};
    flight_start(&f, m.g = group_new(NULL));
    thread_join(thread_start(lead_for_another, &m));
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(number_of(&m.r), 1);
        sflight_result_release(&m.r);
        assert_int_equal(m.w.tally.destroyed, 1);
        child_uses_group(m.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    sflight_result_release(&m.r);
    assert_int_equal(m.w.tally.destroyed, 1);
    flight_end(&f);
}

static void *get_and_release(void *future)
{
    sflight_result r;
    assert_int_equal(sflight_future_get(future, NULL, &r), 0);
    sflight_result_release(&r);
    return NULL;
}

/* The forking thread has ended a call, and another thread has had all of its result. */
static void a_result_that_was_released_elsewhere(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *permit, *none;
    sflight_future *f;
    assert_int_equal(sflight_begin(g, "key", 3, &permit, &f), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
    assert_null(none);
    sflight_complete(permit, 0);
    thread_join(thread_start(get_and_release, f));
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(stats_of(g).held, 0);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    group_end(g);
}

/* ------------------------------------------------ a leader forks inside fn */

struct forker {
    sflight_group *g;
    struct work w;
    pid_t pid;
};

static int fork_in_fn(sflight_call *call, void *arg)
{
    struct forker *f = arg;
    atomic_fetch_add(&f->w.runs, 1);
    WAIT_UNTIL(f->w.open);
    f->pid = fork_child();
    value_set(call, &f->w.tally, f->pid == 0);
    size_t len;
    assert_memory_equal(sflight_call_key(call, &len), "mine", 4);
    return 6;
}

static void *lead_and_fork(void *arg)
{
    struct forker *f = arg;
    sflight_result r;
    assert_int_equal(do_str(f->g, "mine", fork_in_fn, f, &r), 0);
    assert_true(r.leader);
    assert_int_equal(r.status, 6);
    assert_int_equal(number_of(&r), f->pid == 0);
    sflight_result_release(&r);
    if (f->pid == 0) {
        assert_all_destroyed(&f->w.tally); /* the follower does not exist here */
        child_uses_group(f->g);
        _exit(0); /* what cmocka has is on the main thread's stack: leaked, for ASan */
    }
    return NULL;
}

static void a_leader_forks_inside_fn(void **state)
{
    (void)state;
    struct flight f = {0}; /* somebody else's call, besides */
    flight_start(&f, group_new(NULL));
    struct forker forker = {.g = f.g};
    struct caller follower;
    pthread_t thread = thread_start(lead_and_fork, &forker);
    WAIT_UNTIL(forker.w.runs == 1);
    caller_start(&follower, f.g, "mine", must_not_run, NULL);
    await_waiting(f.g, FOLLOWERS + 1);
    atomic_store(&forker.w.open, true);
    thread_join(thread);
    caller_join(&follower);
    assert_int_equal(follower.r.status, 6);
    callers_release(&follower, 1);
    assert_all_destroyed(&forker.w.tally);
    assert_child_succeeds(forker.pid);
    flight_end(&f);
}

struct nest {
    sflight_group *g[2];
    struct work other;
    pid_t pid;
};

static int fork_in_many_fn(sflight_call *const *calls, size_t n, void *arg)
{
    struct nest *nest = arg;
    (void)calls;
    assert_int_equal(n, 1);
    nest->pid = fork_child();
    if (nest->pid != 0)
        atomic_store(&nest->other.open, true);
    return 3;
}

static int fork_in_nested_fn(sflight_call *call, void *arg)
{
    struct nest *nest = arg;
    (void)call;
    assert_int_equal(sflight_forget_unshared(nest->g[0], "mine", 4), 1);
    sflight_key keys[] = {{"inner", 5}, {"theirs", 6}};
    sflight_result r[2];
    int rc[2];
    assert_int_equal(sflight_do_many(nest->g[1], keys, 2, fork_in_many_fn, nest, NULL, r, rc), 0);
    assert_int_equal(rc[0], 0);
    assert_int_equal(r[0].status, 3);
    assert_int_equal(rc[1], nest->pid == 0 ? -EOWNERDEAD : 0);
    sflight_result_release(&r[0]);
    sflight_result_release(&r[1]);
    return 2;
}

static void *lead_nested_and_fork(void *arg)
{
    struct nest *nest = arg;
    sflight_result r;
    assert_int_equal(do_str(nest->g[0], "mine", fork_in_nested_fn, nest, &r), 0);
    assert_int_equal(r.status, 2);
    assert_true(r.leader);
    sflight_result_release(&r);
    if (nest->pid == 0) {
        child_uses_group(nest->g[0]);
        child_uses_group(nest->g[1]);
        _exit(0);
    }
    return NULL;
}

/* A batch in one group, in a call that has been forgotten, of another. */
static void a_leader_forks_further_in(void **state)
{
    (void)state;
    struct nest nest = {.g = {group_new(NULL), group_new(NULL)}};
    struct caller other;
    leader_start(&other, nest.g[1], "theirs", work_fn, &nest.other);
    thread_join(thread_start(lead_nested_and_fork, &nest));
    assert_child_succeeds(nest.pid);
    caller_join(&other);
    callers_release(&other, 1);
    assert_all_destroyed(&nest.other.tally);
    group_end(nest.g[0]);
    group_end(nest.g[1]);
}

struct forking {
    pid_t pid;
    struct work *other;
};

static int fork_in_batch(sflight_call *const *calls, size_t n, void *arg)
{
    struct forking *f = arg;
    (void)calls;
    assert_int_equal(n, 1);
    f->pid = fork_child();
    if (f->pid != 0)
        atomic_store(&f->other->open, true);
    return 5;
}

/* The child has joined a call of a thread that does not exist there. */
static void a_batch_forks_while_it_follows(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.status = 7};
    struct caller other;
    leader_start(&other, g, "theirs", work_fn, &w);
    sflight_key keys[] = {{"mine", 4}, {"theirs", 6}};
    sflight_result r[2];
    int rc[2];
    struct forking f = {.other = &w};
    assert_int_equal(sflight_do_many(g, keys, 2, fork_in_batch, &f, NULL, r, rc), 0);
    assert_int_equal(rc[0], 0);
    assert_int_equal(r[0].status, 5);
    assert_int_equal(rc[1], f.pid == 0 ? -EOWNERDEAD : 0);
    sflight_result_release(&r[0]);
    sflight_result_release(&r[1]);
    if (f.pid == 0)
        _exit(sflight_group_destroy(g) == 0 ? 0 : 1);
    assert_child_succeeds(f.pid);
    caller_join(&other);
    callers_release(&other, 1);
    group_end(g);
}

/* ------------------------------------------------------- what others led */

static int set_then_work(sflight_call *call, void *arg)
{
    struct work *w = arg;
    value_set(call, &w->tally, 0);
    return work_fn(call, arg);
}

/* A value set by a leader that does not exist in the child is destroyed with the group. */
static void values_of_other_leaders(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller leader;
    leader_start(&leader, g, "key", set_then_work, &w);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(w.tally.made, 1);
        assert_int_equal(w.tally.destroyed, 0);
        child_uses_group(g);
        assert_int_equal(w.tally.destroyed, 1);
        exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(w.tally.destroyed, 0);
    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_release(&leader, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

/* One more hold on what was held before the fork. */
static void a_held_result_is_retained_in_the_child(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", work_fn, &w, &r), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(sflight_result_retain(&r, &copy), 0);
        assert_int_equal(stats_of(g).held, 2);
        sflight_result_release(&r);
        assert_int_equal(stats_of(g).held, 1);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        assert_int_equal(number_of(&copy), 1);
        sflight_result_release(&copy);
        assert_int_equal(w.tally.destroyed, 1);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    sflight_result_release(&r);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

static sflight_result moved;
static atomic_bool done;

static void *get_and_stay(void *g)
{
    assert_int_equal(sflight_do(g, "moved", 5, nothing, NULL, &moved), 0);
    atomic_store(&done, true);
    WAIT_UNTIL(!done);
    return NULL;
}

/* What the child gives up of another thread's must not hide what it holds. */
static void a_result_that_came_from_another_thread(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    pthread_t thread = thread_start(get_and_stay, g);
    WAIT_UNTIL(done);
    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_result r;
        sflight_result_release(&moved);
        int rc = sflight_do(g, "own", 3, nothing, NULL, &r);
        bool right = rc == 0 && stats_of(g).held == 1 && sflight_group_destroy(g) == -EBUSY;
        sflight_result_release(&r);
        _exit(right && sflight_group_destroy(g) == 0 ? 0 : 1);
    }
    assert_child_succeeds(pid);
    atomic_store(&done, false);
    thread_join(thread);
    sflight_result_release(&moved);
    group_end(g);
}

/* Started calls run on threads that do not exist in the child. */
static void started_calls(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct work w = {0};
    sflight_future *f[3];
    const char *keys[] = {"kept", "dropped", "joined"};
    for (size_t i = 0; i < LENGTH(f); i++)
        assert_int_equal(sflight_start(g, keys[i], strlen(keys[i]), work_fn, &w, &f[i]), 0);
    WAIT_UNTIL(w.runs == LENGTH(f));
    sflight_future_drop(f[1]);
    sflight_future *more;
    assert_int_equal(sflight_start(g, "joined", 6, must_not_run, NULL, &more), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_result r;
        sflight_stats s = stats_of(g);
        assert_int_equal(s.in_flight, 0);
        assert_int_equal(s.waiting, 0);
        assert_int_equal(s.held, 3);
        assert_int_equal(sflight_future_get(f[0], NULL, &r), -EOWNERDEAD);
        assert_int_equal(sflight_future_poll(more, &r), -EOWNERDEAD);
        sflight_future_drop(f[2]);
        child_uses_group(g);
        assert_nothing_allocated(&counting);
        exit(0);
    }
    assert_child_succeeds(pid);
    atomic_store(&w.open, true);
    sflight_result r[3];
    assert_int_equal(sflight_future_get(f[0], NULL, &r[0]), 0);
    assert_int_equal(sflight_future_get(f[2], NULL, &r[1]), 0);
    assert_int_equal(sflight_future_get(more, NULL, &r[2]), 0);
    for (size_t i = 0; i < LENGTH(r); i++)
        sflight_result_release(&r[i]);
    assert_int_equal(sflight_group_drain(g, NULL), 0);
    WAIT_UNTIL(sflight_group_destroy(g) == 0); /* fn's threads are on their way out */
    assert_all_destroyed(&w.tally);
    assert_nothing_allocated(&counting);
}

/* ------------------------------------------------ forks in the thick of it */

struct traffic {
    sflight_group *g;
    atomic_bool stop;
};

static void *keep_calling(void *arg)
{
    struct traffic *t = arg;
    for (unsigned i = 0; !t->stop; i++) {
        unsigned key = i % 3;
        sflight_result r;
        assert_int_equal(sflight_do(t->g, &key, sizeof key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
        if (i % 5 == 0)
            sflight_forget(t->g, &key, sizeof key);
    }
    return NULL;
}

/*
 * Wherever the other threads are inside the library, the child is not stuck.
 * What they held at that moment is lost in the child, so that it cannot expect
 * to destroy the group.
 */
static void forks_amid_traffic(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* the sanitizers' own locks are not made for fork */
    struct traffic t = {.g = group_new(NULL)};
    pthread_t threads[3];
    threads_start(threads, LENGTH(threads), keep_calling, &t);
    for (int round = 0; round < 300; round++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            for (unsigned key = 0; key < 3; key++) {
                struct work w = {.open = true};
                sflight_result r;
                assert_int_equal(sflight_do(t.g, &key, sizeof key, work_fn, &w, &r), 0);
                assert_true(r.leader);
                sflight_result_release(&r);
                assert_all_destroyed(&w.tally);
            }
            assert_int_equal(stats_of(t.g).in_flight, 0);
            assert_int_equal(stats_of(t.g).waiting, 0);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&t.stop, true);
    threads_join(threads, LENGTH(threads));
    group_end(t.g);
}

static void *create_and_destroy(void *arg)
{
    struct traffic *t = arg;
    while (!t->stop) {
        sflight_group *g = group_new(NULL);
        assert_key_usable(g, "key");
        group_end(g);
    }
    return NULL;
}

static void forks_amid_births_and_deaths_of_groups(void **state)
{
    (void)state;
    if (SANITIZED)
        return;
    struct traffic t = {.g = group_new(NULL)};
    pthread_t threads[2];
    threads_start(threads, LENGTH(threads), create_and_destroy, &t);
    for (int round = 0; round < 300; round++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            child_uses_group(t.g);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&t.stop, true);
    threads_join(threads, LENGTH(threads));
    group_end(t.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_uses_the_group_at_once),
        cmocka_unit_test(every_way_of_waiting),
        cmocka_unit_test(grandchildren),
        cmocka_unit_test(a_held_result_is_held_in_both),
        cmocka_unit_test(a_result_of_another_thread),
        cmocka_unit_test(a_result_that_was_released_elsewhere),
        cmocka_unit_test(a_leader_forks_inside_fn),
        cmocka_unit_test(a_leader_forks_further_in),
        cmocka_unit_test(a_batch_forks_while_it_follows),
        cmocka_unit_test(values_of_other_leaders),
        cmocka_unit_test(a_held_result_is_retained_in_the_child),
        cmocka_unit_test(a_result_that_came_from_another_thread),
        cmocka_unit_test(started_calls),
        cmocka_unit_test(forks_amid_traffic),
        cmocka_unit_test(forks_amid_births_and_deaths_of_groups),
    };
    return RUN_TESTS(tests);
}
