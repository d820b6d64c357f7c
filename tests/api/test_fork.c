/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork() while calls are in flight: the parent is unaffected; the child uses
 * every group at once, and the calls that other threads led do not exist there.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

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

/* ------------------------------------------------ a leader forks inside fn */

static void a_leader_forks_inside_fn(void **state)
{
    (void)state;
    struct flight f = {0}; /* somebody else's call, besides */
    flight_start(&f, group_new(NULL));
    struct forker forker = {.g = f.g, .child = child_uses_group};
    struct caller follower;
    pthread_t thread = thread_start(lead_and_fork, &forker);
    WAIT_UNTIL(forker.w.runs == 1);
    caller_start(&follower, f.g, "mine", must_not_run, NULL);
    await_asleep(f.g, FOLLOWERS + 1);
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
    sflight_future *enqueued; /* on the call that the batch has joined */
    int cancelled;
};

static int fork_in_batch(sflight_call *const *calls, size_t n, void *arg)
{
    struct forking *f = arg;
    (void)calls;
    assert_int_equal(n, 1);
    f->pid = fork_child();
    if (f->pid != 0)
        atomic_store(&f->other->open, true);
    else if (f->enqueued != NULL)
        f->cancelled = sflight_future_cancel(f->enqueued);
    return 5;
}

/* The child has joined a call of a thread that does not exist there. */
static void a_batch_forks(bool has_enqueued)
{
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    struct work w = {.status = 7};
    struct caller other;
    leader_start(&other, g, "theirs", work_fn, &w);
    sflight_key keys[] = {{"mine", 4}, {"theirs", 6}};
    sflight_result r[2];
    int rc[2];
    struct forking f = {.other = &w};
    sflight_completion done;
    assert_int_equal(sflight_queue_create(&q), 0);
    if (has_enqueued) {
        f.enqueued = join(g, "theirs");
        assert_int_equal(sflight_future_enqueue(f.enqueued, q, 0), 0);
    }
    assert_int_equal(sflight_do_many(g, keys, 2, fork_in_batch, &f, NULL, r, rc), 0);
    assert_int_equal(rc[0], 0);
    assert_int_equal(r[0].status, 5);
    assert_int_equal(rc[1], f.pid == 0 ? -EOWNERDEAD : 0);
    sflight_result_release(&r[0]);
    sflight_result_release(&r[1]);
    if (f.pid == 0) {
        assert_int_equal(f.cancelled, has_enqueued);
        assert_int_equal(stats_of(g).held, 0);
        assert_int_equal(sflight_group_destroy(g), 0);
        assert_int_equal(sflight_queue_destroy(q), 0);
        _exit(0);
    }
    assert_child_succeeds(f.pid);
    caller_join(&other);
    callers_release(&other, 1);
    if (has_enqueued) {
        WAIT_UNTIL(sflight_queue_drain(q, &done, 1) == 1);
        sflight_completions_release(&done, 1);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void a_batch_forks_while_it_follows(void **state)
{
    (void)state;
    a_batch_forks(false);
    a_batch_forks(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(child_uses_the_group_at_once),
        cmocka_unit_test(every_way_of_waiting),
        cmocka_unit_test(grandchildren),
        cmocka_unit_test(a_leader_forks_inside_fn),
        cmocka_unit_test(a_leader_forks_further_in),
        cmocka_unit_test(a_batch_forks_while_it_follows),
    };
    return RUN_TESTS(tests);
}
