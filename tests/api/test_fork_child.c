/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a group is in a forked child, to the last: what is in flight and held there, what it
 * costs, and who may be the first to use it.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

#include <sys/syscall.h>

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

#ifndef SFLIGHT_DEBUG /* which tells of it */
/* A permit that has been used does nothing in a child either: its record may be in use again. */
static void a_permit_that_was_used_before(void **state)
{
    (void)state;
    enum { COMPLETES, ABANDONS, WANTS_A_FUTURE, USES };
    for (int use = 0; use < USES; use++) {
        for (int by_another = 0; by_another < 2; by_another++) {
            struct counting counting = {0};
            sflight_options o = counting_options(&counting);
            sflight_group *g = group_new(&o);
            sflight_call *permit, *next;
            sflight_future *f;
            assert_int_equal(sflight_begin(g, "key", 3, &permit, &f), 0);
            if (by_another)
                thread_join(thread_start(complete, permit));
            else
                complete(permit);
            pid_t pid = fork_child();
            if (pid == 0) {
                if (use == COMPLETES)
                    assert_int_equal(sflight_complete(permit, 0), 0);
                else if (use == ABANDONS)
                    assert_int_equal(sflight_abandon(permit), 0);
                else
                    assert_int_equal(sflight_call_future(permit, &f), -EINVAL);
                assert_int_equal(sflight_begin(g, "key", 3, &next, &f), 0);
                assert_non_null(next);
                sflight_complete(next, 0);
                child_uses_group(g);
                assert_nothing_allocated(&counting);
                exit(0);
            }
            assert_child_succeeds(pid);
            group_end(g);
        }
    }
}
#endif

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

/* A fork that runs no handlers, twice: the first use of anything notices it. */
static void a_fork_without_handlers(void **state)
{
    (void)state;
    if (SANITIZED || EMULATED)
        return;
    struct flight f = {0};
    flight_start(&f, group_new(NULL));
    sflight_call *permit;
    sflight_future *none;
    assert_int_equal(sflight_begin(f.g, "mine", 4, &permit, &none), 0);
    fflush(NULL);
    pid_t pid = _Fork();
    if (pid == 0) {
        assert_key_usable(f.g, "key");
        assert_int_equal(stats_of(f.g).in_flight, 1);
        pid_t grandchild = _Fork();
        sflight_complete(permit, 0);
        if (grandchild != 0)
            assert_child_succeeds(grandchild);
        assert_int_equal(sflight_group_destroy(f.g), 0);
        _exit(0);
    }
    assert_child_succeeds(pid);
    sflight_complete(permit, 0);
    flight_end(&f);
}

static sflight_group *of_early_handler;
static int n_early_runs, early_rc;
static struct work open_work = {.open = true};

/* Joins nobody. */
static void use_in_child(sflight_group *g)
{
    struct timespec past = deadline_in_ns(0);
    sflight_result r;
    early_rc = sflight_do_until(g, "key", 3, work_fn, &open_work, &past, &r);
    if (early_rc == 0)
        sflight_result_release(&r);
}

/* Runs before the library's own handler; the first child does not use the group. */
static void use_early(void)
{
    if (of_early_handler != NULL && ++n_early_runs == 2)
        use_in_child(of_early_handler);
}

__attribute__((constructor(101))) static void register_early_handler(void)
{
    assert_int_equal(pthread_atfork(NULL, NULL, use_early), 0);
}

/* In a child's child, of a group that the child has not used. */
static void a_group_that_is_not_right_yet(void **state)
{
    (void)state;
    if (SANITIZED || EMULATED)
        return;
    for (int by_handler = 0; by_handler < 2; by_handler++) {
        sflight_group *used = group_new(NULL);
        struct flight f = {0};
        assert_key_usable(used, "mine");
        flight_start(&f, group_new(NULL));
        assert_key_usable(f.g, "mine");
        fflush(NULL);
        of_early_handler = by_handler ? f.g : NULL;
        pid_t pid = by_handler ? fork() : _Fork();
        if (pid == 0) {
            assert_key_usable(used, "mine");
            pid_t grandchild = by_handler ? fork() : _Fork();
            if (grandchild == 0) {
                if (!by_handler)
                    use_in_child(f.g);
                assert_int_equal(early_rc, 0);
                _exit(0);
            }
            assert_child_succeeds(grandchild);
            assert_key_usable(f.g, "key");
            _exit(0);
        }
        of_early_handler = NULL;
        assert_child_succeeds(pid);
        flight_end(&f);
        group_end(used);
    }
}

struct passer {
    sflight_group *g;
    atomic_int tid;
};

static void *use_and_pass(void *arg)
{
    struct passer *p = arg;
    assert_key_usable(p->g, "key");
    p->tid = (int)syscall(SYS_gettid);
    return NULL;
}

/* No order that a sanitizer knows of leads from what the thread did last to the fork. */
static void a_thread_that_nobody_has_joined(void **state)
{
    (void)state;
    struct passer p = {.g = group_new(NULL)};
    assert_int_equal(pthread_detach(thread_start(use_and_pass, &p)), 0);
    WAIT_UNTIL(p.tid != 0 && syscall(SYS_tgkill, getpid(), p.tid, 0) != 0);
    pid_t pid = fork_child();
    child_uses_group(p.g);
    if (pid == 0)
        exit(0);
    assert_child_succeeds(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_without_handlers),
        cmocka_unit_test(a_group_that_is_not_right_yet),
        cmocka_unit_test(permits_that_were_forgotten),
#ifndef SFLIGHT_DEBUG
        cmocka_unit_test(a_permit_that_was_used_before),
#endif
        cmocka_unit_test(a_result_that_another_thread_completed),
        cmocka_unit_test(a_result_that_another_thread_holds),
        cmocka_unit_test(a_permit_of_a_thread_that_has_ended),
        cmocka_unit_test(a_batch_with_a_permit_of_its_own),
        cmocka_unit_test(a_large_group_is_not_copied),
        cmocka_unit_test(handlers_use_the_library),
        cmocka_unit_test(another_thread_is_first),
        cmocka_unit_test(a_thread_that_nobody_has_joined),
    };
    return RUN_TESTS(tests);
}
