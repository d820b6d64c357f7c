/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork() while calls are in flight: the parent is unaffected; the child uses
 * every group at once, and the calls that other threads led do not exist there.
 */
#include "../lib/counting_alloc.h"

#include <sys/wait.h>

static pid_t fork_child(void)
{
    fflush(NULL); /* exit() in the child would print it again */
    pid_t pid = fork();
    assert_true(pid >= 0);
    return pid;
}

static void assert_child_succeeds(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

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
    caller_start(&other, nest.g[1], "theirs", work_fn, &nest.other);
    WAIT_UNTIL(nest.other.runs == 1);
    thread_join(thread_start(lead_nested_and_fork, &nest));
    assert_child_succeeds(nest.pid);
    caller_join(&other);
    callers_release(&other, 1);
    assert_all_destroyed(&nest.other.tally);
    group_end(nest.g[0]);
    group_end(nest.g[1]);
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
    caller_start(&leader, g, "key", set_then_work, &w);
    WAIT_UNTIL(w.runs == 1);
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

/* ------------------------------------------------ what is held or in flight */

/* A permit that a forget, or its age, has taken the key from is in flight all the same. */
static void permits_that_were_forgotten(void **state)
{
    (void)state;
    for (int by_age = 0; by_age < 2; by_age++) {
        sflight_options o = default_options();
        o.max_age_ns = (uint64_t)by_age;
        sflight_group *g = group_new(&o);
        sflight_call *permit, *next, *none;
        sflight_future *f, *on_next;
        assert_int_equal(sflight_begin(g, "key", 3, &permit, &f), 0);
        if (!by_age) {
            assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
            assert_int_equal(sflight_forget(g, "key", 3), 1);
        }
        assert_int_equal(sflight_begin(g, "key", 3, &next, &on_next), 0);
        assert_non_null(next);
        pid_t pid = fork_child();
        if (pid == 0) {
            sflight_result r;
            assert_int_equal(stats_of(g).in_flight, 2);
            assert_int_equal(stats_of(g).waiting, !by_age);
            assert_int_equal(sflight_group_destroy(g), -EBUSY);
            sflight_complete(next, 0);
            assert_int_equal(sflight_group_destroy(g), -EBUSY);
            sflight_complete(permit, 7);
            if (!by_age) {
                assert_int_equal(stats_of(g).held, 1);
                assert_int_equal(sflight_group_destroy(g), -EBUSY);
                assert_int_equal(sflight_future_poll(f, &r), 0);
                assert_int_equal(r.status, 7);
                sflight_result_release(&r);
            }
            group_end(g);
            exit(0);
        }
        assert_child_succeeds(pid);
        sflight_complete(permit, 0);
        sflight_complete(next, 0);
        if (!by_age)
            sflight_future_drop(f);
        group_end(g);
    }
}

static void *complete(void *permit)
{
    sflight_complete(permit, 5);
    return NULL;
}

/* What a future of the forking thread gave counts for that, whoever ended the call. */
static void a_result_that_another_thread_completed(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *permit, *none;
    sflight_future *f;
    sflight_result r;
    assert_int_equal(sflight_begin(g, "key", 3, &permit, &f), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
    thread_join(thread_start(complete, permit));
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(stats_of(g).held, 1);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        assert_int_equal(r.status, 5);
        sflight_result_release(&r);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    sflight_result_release(&r);
    group_end(g);
}

struct holder {
    sflight_future *f;
    atomic_bool has, stop;
};

static void *get_and_hold(void *arg)
{
    struct holder *h = arg;
    sflight_result r;
    assert_int_equal(sflight_future_get(h->f, NULL, &r), 0);
    atomic_store(&h->has, true);
    WAIT_UNTIL(h->stop);
    sflight_result_release(&r);
    return NULL;
}

/* What another thread holds went with it, though the forking thread has ended the call. */
static void a_result_that_another_thread_holds(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *permit, *none;
    struct holder h = {0};
    assert_int_equal(sflight_begin(g, "key", 3, &permit, &h.f), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &h.f), 0);
    sflight_complete(permit, 0);
    pthread_t thread = thread_start(get_and_hold, &h);
    WAIT_UNTIL(h.has);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(stats_of(g).held, 0);
        child_uses_group(g);
        _exit(0); /* the record is lost */
    }
    assert_child_succeeds(pid);
    atomic_store(&h.stop, true);
    thread_join(thread);
    group_end(g);
}

struct lent {
    sflight_group *g;
    sflight_call *permit;
    pid_t pid;
};

static void *begin_and_end(void *arg)
{
    struct lent *l = arg;
    sflight_future *f;
    assert_int_equal(sflight_begin(l->g, "key", 3, &l->permit, &f), 0);
    return NULL;
}

static void *fork_elsewhere(void *arg)
{
    struct lent *l = arg;
    l->pid = fork_child();
    if (l->pid == 0) {
        assert_int_equal(stats_of(l->g).in_flight, 0);
        assert_key_usable(l->g, "key");
        sflight_complete(l->permit, 0); /* not the child's: nothing happens */
        assert_key_usable(l->g, "key");
        child_uses_group(l->g);
        _exit(0);
    }
    return NULL;
}

/* A thread that has ended is nobody, though another one has its stack now. */
static void a_permit_of_a_thread_that_has_ended(void **state)
{
    (void)state;
    struct lent l = {.g = group_new(NULL)};
    thread_join(thread_start(begin_and_end, &l));
    thread_join(thread_start(fork_elsewhere, &l));
    assert_child_succeeds(l.pid);
    sflight_complete(l.permit, 0);
    group_end(l.g);
}

struct own_permit {
    sflight_call *permit;
    pid_t pid;
};

static int fork_and_complete(sflight_call *const *calls, size_t n, void *arg)
{
    struct own_permit *own = arg;
    (void)calls;
    (void)n;
    own->pid = fork_child();
    sflight_complete(own->permit, 42);
    return 0;
}

/* A batch waits for a permit of its own thread, which ends it in the child as well. */
static void a_batch_with_a_permit_of_its_own(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct own_permit own;
    sflight_future *f;
    assert_int_equal(sflight_begin(g, "permit", 6, &own.permit, &f), 0);
    sflight_key keys[] = {{"led", 3}, {"permit", 6}};
    sflight_result r[2];
    int rc[2];
    assert_int_equal(sflight_do_many(g, keys, 2, fork_and_complete, &own, NULL, r, rc), 0);
    assert_int_equal(rc[1], 0);
    assert_int_equal(r[1].status, 42);
    assert_int_equal(r[1].followers, 1);
    sflight_result_release(&r[0]);
    sflight_result_release(&r[1]);
    group_end(g);
    if (own.pid == 0)
        exit(0);
    assert_child_succeeds(own.pid);
}

/* ------------------------------------------------------ what a fork costs */

static long private_dirty_kib(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    long kib = -1;
    while (f != NULL && kib < 0 && fgets(line, sizeof line, f) != NULL)
        (void)sscanf(line, "Private_Dirty: %ld", &kib);
    if (f != NULL)
        fclose(f);
    return kib;
}

/* A large table is not touched by the fork, and not written by the first use. */
static void a_large_group_is_not_copied(void **state)
{
    (void)state;
    if (SANITIZED || EMULATED)
        return; /* they have memory of their own */
    sflight_options o = default_options();
    o.expected_inflight = 1000000; /* 64 MiB */
    sflight_group *g = group_new(&o);
    assert_key_usable(g, "key");
    pid_t pid = fork_child();
    if (pid == 0) {
        long before = private_dirty_kib();
        assert_key_usable(g, "key");
        long after = private_dirty_kib();
        assert_true(before < 2048); /* of the whole process */
        assert_true(after < 4096);
        child_uses_group(g);
        exit(0);
    }
    assert_child_succeeds(pid);
    group_end(g);
}

static sflight_group *of_handlers;

static void use_in_handler(void)
{
    if (of_handlers != NULL)
        assert_key_usable(of_handlers, "handler");
}

/* No lock of the library is held while the handlers of others run. */
static void handlers_use_the_library(void **state)
{
    (void)state;
    struct flight f = {0};
    flight_start(&f, group_new(NULL));
    of_handlers = f.g;
    assert_int_equal(pthread_atfork(use_in_handler, use_in_handler, use_in_handler), 0);
    pid_t pid = fork_child();
    of_handlers = NULL;
    if (pid == 0) {
        child_uses_group(f.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    flight_end(&f);
}

struct in_fn {
    sflight_group *g;
    pid_t pid;
};

static int fork_and_let_another_be_first(sflight_call *call, void *arg)
{
    struct in_fn *in = arg;
    (void)call;
    in->pid = fork_child();
    if (in->pid == 0)
        thread_join(thread_start(use_group, in->g));
    return 8;
}

/* A new thread of the child puts the group right while the one that forked is still in fn. */
static void another_thread_is_first(void **state)
{
    (void)state;
    if (SANITIZED || EMULATED)
        return;
    struct in_fn in = {.g = group_new(NULL)};
    sflight_result r;
    assert_key_usable(in.g, "mine"); /* so that a ready record is used */
    assert_int_equal(do_str(in.g, "mine", fork_and_let_another_be_first, &in, &r), 0);
    assert_int_equal(r.status, 8);
    assert_int_equal(stats_of(in.g).in_flight, 0);
    assert_int_equal(stats_of(in.g).held, 1);
    sflight_result_release(&r);
    if (in.pid == 0) {
        child_uses_group(in.g);
        exit(0);
    }
    assert_child_succeeds(in.pid);
    group_end(in.g);
}

/* ------------------------------------------------ forks in the thick of it */

struct traffic {
    sflight_group *g;
    atomic_bool stop;
};

static int no_work(sflight_call *call, void *arg)
{
    (void)call;
    (void)arg;
    return 0;
}

static void *keep_calling(void *arg)
{
    struct traffic *t = arg;
    for (unsigned i = 0; !t->stop; i++) {
        unsigned key = i % 3;
        sflight_result r;
        assert_int_equal(sflight_do(t->g, &key, sizeof key, no_work, NULL, &r), 0);
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
    for (size_t i = 0; i < LENGTH(threads); i++)
        threads[i] = thread_start(keep_calling, &t);
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
    for (size_t i = 0; i < LENGTH(threads); i++)
        thread_join(threads[i]);
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
    for (size_t i = 0; i < LENGTH(threads); i++)
        threads[i] = thread_start(create_and_destroy, &t);
    for (int round = 0; round < 300; round++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            child_uses_group(t.g);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&t.stop, true);
    for (size_t i = 0; i < LENGTH(threads); i++)
        thread_join(threads[i]);
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
        cmocka_unit_test(values_of_other_leaders),
        cmocka_unit_test(a_held_result_is_retained_in_the_child),
        cmocka_unit_test(started_calls),
        cmocka_unit_test(permits_that_were_forgotten),
        cmocka_unit_test(a_result_that_another_thread_completed),
        cmocka_unit_test(a_result_that_another_thread_holds),
        cmocka_unit_test(a_permit_of_a_thread_that_has_ended),
        cmocka_unit_test(a_batch_with_a_permit_of_its_own),
        cmocka_unit_test(a_large_group_is_not_copied),
        cmocka_unit_test(handlers_use_the_library),
        cmocka_unit_test(another_thread_is_first),
        cmocka_unit_test(forks_amid_traffic),
        cmocka_unit_test(forks_amid_births_and_deaths_of_groups),
    };
    return RUN_TESTS(tests);
}
