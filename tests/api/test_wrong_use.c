/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is used once and is used again: permits, futures, results.  In a debug build that aborts
 * with one line, which names the function; elsewhere a permit that was used is known as such, as
 * long as its record has no other call.
 */
#include "../lib/event_test.h"

#ifdef SFLIGHT_DEBUG

static sflight_group *g;

/* A future on a call that has ended. */
static sflight_future *ended(void)
{
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    sflight_complete(call, 0);
    return f;
}

static void enqueue(sflight_future *f, sflight_queue **q)
{
    assert_int_equal(sflight_queue_create(q), 0);
    assert_int_equal(sflight_future_enqueue(f, *q, 1), 0);
}

/* ----------------------------------------------------------------- permits */

static void complete_twice(void)
{
    sflight_call *call = lead(g, "key");
    sflight_complete(call, 0);
    sflight_complete(call, 0);
}
/* The record has another call: it must not be ended. */
static void complete_twice_beside_another(void)
{
    sflight_call *call = lead(g, "key");
    sflight_complete(call, 0);
    (void)lead(g, "other");
    sflight_complete(call, 0);
}
static void complete_when_the_group_is_gone(void)
{
    sflight_group *own = group_new(NULL);
    sflight_call *call = lead(own, "key");
    sflight_complete(call, 0);
    assert_int_equal(sflight_group_destroy(own), 0);
    sflight_complete(call, 0);
}
static void abandon_what_was_completed(void)
{
    sflight_call *call = lead(g, "key");
    sflight_complete(call, 0);
    sflight_abandon(call);
}
static void complete_what_was_abandoned(void)
{
    sflight_call *call = lead(g, "key");
    sflight_abandon(call);
    sflight_complete(call, 0);
}
static void set_after_complete(void)
{
    sflight_call *call = lead(g, "key");
    sflight_complete(call, 0);
    sflight_call_set(call, NULL, 0, NULL, NULL);
}
static void own_future_after_complete(void)
{
    sflight_call *call = lead(g, "key");
    sflight_future *f;
    sflight_complete(call, 0);
    (void)sflight_call_future(call, &f);
}
static int complete_here(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_complete(call, 0);
    return 0;
}
static void complete_inside_fn(void)
{
    sflight_result r;
    (void)do_str(g, "key", complete_here, NULL, &r);
}
static void complete_nothing(void)
{
    sflight_complete(NULL, 0);
}

/* ----------------------------------------------------------------- futures */

static void get_twice(void)
{
    sflight_future *f = ended();
    sflight_result r;
    (void)sflight_future_get(f, NULL, &r);
    (void)sflight_future_get(f, NULL, &r);
}
static void drop_after_a_failed_get(void)
{
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    sflight_result r;
    sflight_abandon(call);
    assert_int_equal(sflight_future_get(f, NULL, &r), -EOWNERDEAD);
    sflight_future_drop(f);
}
static void poll_after_drop(void)
{
    sflight_future *f = ended();
    sflight_result r;
    sflight_future_drop(f);
    (void)sflight_future_poll(f, &r);
}
static void drop_after_poll(void)
{
    sflight_future *f = ended();
    sflight_result r;
    assert_int_equal(sflight_future_poll(f, &r), 0);
    sflight_future_drop(f);
}
static void fd_after_drop(void)
{
    sflight_future *f = ended();
    sflight_future_drop(f);
    (void)sflight_future_fd(f);
}
static void then_after_enqueue(void)
{
    struct noted noted = {0};
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    sflight_queue *q;
    (void)call;
    enqueue(f, &q);
    (void)sflight_future_then(f, note, &noted);
}
static void enqueue_after_then(void)
{
    struct noted noted = {0};
    sflight_future *f = ended();
    sflight_queue *q;
    assert_int_equal(sflight_future_then(f, note, &noted), 0);
    assert_int_equal(noted.n, 1);
    enqueue(f, &q);
}
static void get_after_begin_enqueue(void)
{
    sflight_call *call;
    sflight_future *f;
    sflight_queue *q;
    sflight_result r;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 1, &call, &f), 0);
    (void)sflight_future_get(f, NULL, &r);
}
static void cancel_after_drop(void)
{
    sflight_future *f = ended();
    sflight_future_drop(f);
    (void)sflight_future_cancel(f);
}
static void cancel_twice(void)
{
    sflight_queue *q;
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    (void)call;
    enqueue(f, &q);
    assert_int_equal(sflight_future_cancel(f), 1);
    (void)sflight_future_cancel(f);
}
static void cancel_what_was_drained(void)
{
    sflight_completion done;
    sflight_queue *q;
    sflight_future *f = ended();
    enqueue(f, &q);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    (void)sflight_future_cancel(f);
}
static void cancel_after_begin_enqueue_and_drain(void)
{
    sflight_completion done;
    sflight_call *call;
    sflight_future *f;
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 1, &call, &f), 0);
    sflight_complete(call, 0);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    (void)sflight_future_cancel(f);
}
static void cancel_what_was_called_back(void)
{
    struct noted noted = {0};
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    assert_int_equal(sflight_future_then(f, note, &noted), 0);
    sflight_complete(call, 0);
    (void)sflight_future_cancel(f);
}
/* Another record took its place when it was given away. */
static void cancel_what_had_a_descriptor(void)
{
    sflight_completion done;
    sflight_queue *q;
    sflight_future *f = ended();
    assert_true(sflight_future_fd(f) >= 0);
    enqueue(f, &q);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    (void)sflight_future_cancel(f);
}
static void drop_a_permit(void)
{
    sflight_future_drop((sflight_future *)lead(g, "key"));
}

/* ----------------------------------------------------------------- results */

static void release_a_copy(void)
{
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", return_7, NULL, &r), 0);
    copy = r;
    sflight_result_release(&r);
    sflight_result_release(&copy);
}
/* Others have holds on the same call, which must not be given up. */
static void release_a_copy_of_one_of_two(void)
{
    sflight_call *call = lead(g, "key");
    sflight_future *f[] = {join(g, "key"), join(g, "key")};
    sflight_result r, copy, other;
    sflight_complete(call, 0);
    assert_int_equal(sflight_future_get(f[0], NULL, &r), 0);
    assert_int_equal(sflight_future_get(f[1], NULL, &other), 0);
    copy = r;
    sflight_result_release(&r);
    sflight_result_release(&copy);
}
static void retain_what_was_released(void)
{
    sflight_result r, copy, other;
    assert_int_equal(do_str(g, "key", return_7, NULL, &r), 0);
    copy = r;
    sflight_result_release(&r);
    (void)sflight_result_retain(&copy, &other);
}
/* A completion, and the result that is copied from it. */
static sflight_result drain_one(sflight_completion *done)
{
    sflight_queue *q;
    enqueue(ended(), &q);
    assert_int_equal(sflight_queue_drain(q, done, 1), 1);
    return done->result;
}
static void release_a_copy_of_a_completion(void)
{
    sflight_completion done;
    sflight_result copy = drain_one(&done);
    sflight_completions_release(&done, 1);
    sflight_result_release(&copy);
}
static void release_a_completion_twice(void)
{
    sflight_completion done;
    sflight_result copy = drain_one(&done);
    sflight_result_release(&copy);
    sflight_completions_release(&done, 1);
}
static void release_a_copy_of_a_panic(void)
{
    struct work w = {.open = true};
    sflight_result r, copy;
    assert_int_equal(do_str(g, "key", panic_fn, &w, &r), -ENOTRECOVERABLE);
    copy = r;
    sflight_result_release(&r);
    sflight_result_release(&copy);
}
static void release_a_copy_of_a_batch(void)
{
    const sflight_key keys[] = {{"a", 1}, {"a", 1}};
    sflight_result r[2], copy;
    int rc[2];
    assert_int_equal(sflight_do_many(g, keys, 2, nothing_for_all, NULL, NULL, r, rc), 0);
    copy = r[0];
    sflight_result_release(&r[0]);
    sflight_result_release(&copy);
}

#define PERMIT(by) "this permit has been used already, by " by "(); a call is ended once"
#define FUTURE(by)                                                                                 \
    "this future has been consumed already, by " by "(); what has been consumed is gone"
#define RESULT(by)                                                                                 \
    "this result has been released already, by " by "(); an assigned copy is no hold of its own"
#define LINE(function, what) "singleflight: " function "(): " what "\n"

static const struct {
    void (*run)(void);
    const char *says; /* and nothing else */
} wrong[] = {
    {complete_twice, LINE("sflight_complete", PERMIT("sflight_complete"))},
    {complete_twice_beside_another, LINE("sflight_complete", PERMIT("sflight_complete"))},
    {complete_when_the_group_is_gone, LINE("sflight_complete", PERMIT("sflight_complete"))},
    {abandon_what_was_completed, LINE("sflight_abandon", PERMIT("sflight_complete"))},
    {complete_what_was_abandoned, LINE("sflight_complete", PERMIT("sflight_abandon"))},
    {set_after_complete, LINE("sflight_call_set", PERMIT("sflight_complete"))},
    {own_future_after_complete, LINE("sflight_call_future", PERMIT("sflight_complete"))},
    {complete_inside_fn, LINE("sflight_complete", "this is no permit")},
    {complete_nothing, LINE("sflight_complete", "this is no permit")},
    {get_twice, LINE("sflight_future_get", FUTURE("sflight_future_get"))},
    {drop_after_a_failed_get, LINE("sflight_future_drop", FUTURE("sflight_future_get"))},
    {poll_after_drop, LINE("sflight_future_poll", FUTURE("sflight_future_drop"))},
    {drop_after_poll, LINE("sflight_future_drop", FUTURE("sflight_future_poll"))},
    {fd_after_drop, LINE("sflight_future_fd", FUTURE("sflight_future_drop"))},
    {then_after_enqueue, LINE("sflight_future_then", FUTURE("sflight_future_enqueue"))},
    {enqueue_after_then,
     LINE("sflight_future_enqueue", FUTURE("the callback of sflight_future_then"))},
    {get_after_begin_enqueue, LINE("sflight_future_get", FUTURE("sflight_begin_enqueue"))},
    {cancel_after_drop, LINE("sflight_future_cancel", FUTURE("sflight_future_drop"))},
    {cancel_twice, LINE("sflight_future_cancel", FUTURE("sflight_future_cancel"))},
    {cancel_what_was_drained, LINE("sflight_future_cancel", FUTURE("sflight_queue_drain"))},
    {cancel_after_begin_enqueue_and_drain,
     LINE("sflight_future_cancel", FUTURE("sflight_queue_drain"))},
    {cancel_what_had_a_descriptor, LINE("sflight_future_cancel", FUTURE("sflight_queue_drain"))},
    {cancel_what_was_called_back,
     LINE("sflight_future_cancel", FUTURE("the callback of sflight_future_then"))},
    {drop_a_permit, LINE("sflight_future_drop", "this is no future")},
    {release_a_copy, LINE("sflight_result_release", RESULT("sflight_result_release"))},
    {release_a_copy_of_one_of_two,
     LINE("sflight_result_release", RESULT("sflight_result_release"))},
    {retain_what_was_released, LINE("sflight_result_retain", RESULT("sflight_result_release"))},
    {release_a_copy_of_a_completion,
     LINE("sflight_result_release", RESULT("sflight_completions_release"))},
    {release_a_completion_twice,
     LINE("sflight_completions_release", RESULT("sflight_result_release"))},
    {release_a_copy_of_a_panic, LINE("sflight_result_release", RESULT("sflight_result_release"))},
    {release_a_copy_of_a_batch, LINE("sflight_result_release", RESULT("sflight_result_release"))},
};

static void each_aborts_with_one_line(void **state)
{
    (void)state;
    char text[1000];
    g = group_new(NULL);
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        last_words(wrong[i].run, text, sizeof text);
        assert_string_equal(text, wrong[i].says);
    }
    group_end(g);
}

/* What has not been consumed may be used again. */
static void what_leaves_a_future_as_it_was(void **state)
{
    (void)state;
    sflight_group *own = group_new(NULL);
    sflight_call *call = lead(own, "key");
    sflight_future *f = join(own, "key");
    sflight_result r;
    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
    assert_int_equal(sflight_future_get(f, &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(sflight_future_cancel(f), -EINVAL);
    assert_int_equal(sflight_future_then(f, NULL, NULL), -EINVAL);
    sflight_complete(call, 3);
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    assert_int_equal(r.status, 3);
    sflight_result_release(&r);
    sflight_result_release(&r);
    group_end(own);
}

/* More than are kept. */
static void handles_are_used_again(void **state)
{
    (void)state;
    sflight_group *own = group_new(NULL);
    for (int i = 0; i < 50000; i++)
        sflight_complete(lead(own, "key"), 0);
    long before = memory_kib("VmRSS:");
    for (int i = 0; i < 500000; i++)
        sflight_complete(lead(own, "key"), 0);
    assert_true(memory_kib("VmRSS:") - before < 4096);
    group_end(own);
}

#else

/* As many as the group knows of, and each key with a call of its own. */
static void assert_unharmed(sflight_group *g)
{
    sflight_call *call[40];
    char key[8];
    for (size_t i = 0; i < LENGTH(call); i++) {
        snprintf(key, sizeof key, "%zu", i);
        call[i] = lead(g, key);
        sflight_future_drop(join(g, key));
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(call[i], call[k]);
    }
    for (size_t i = 0; i < LENGTH(call); i++)
        sflight_complete(call[i], 0);
    group_end(g); /* nothing is in flight or held */
}

static void a_permit_is_used_up(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        for (int followed = 0; followed < 2; followed++) {
            sflight_options o = default_options();
            o.cancel_unwanted = true;
            sflight_group *g = group_new(&o);
            sflight_call *call = lead(g, "key");
            sflight_future *own = NULL, *f = followed ? join(g, "key") : NULL;
            assert_int_equal(first ? sflight_abandon(call) : sflight_complete(call, 1), followed);
            assert_int_equal(sflight_complete(call, 2), 0);
            assert_int_equal(sflight_abandon(call), 0);
            assert_int_equal(sflight_complete(call, 2), 0);
            assert_int_equal(sflight_call_future(call, &own), -EINVAL);
            (void)sflight_call_unwanted(call);
            if (!followed)
                sflight_call_set(call, call, 1, NULL, NULL);
            sflight_stats s = stats_of(g);
            assert_int_equal(s.in_flight, 0);
            assert_int_equal(s.held, followed);
            assert_int_equal(s.abandoned, first);
            if (followed)
                consume(f, BY_GET, first ? -EOWNERDEAD : 0);
            assert_unharmed(g);
        }
    }
}

/* The permit holder's own future, and who asks to be told, take another way. */
static void a_permit_that_has_more_is_used_up(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *own;
    sflight_result r;
    assert_int_equal(sflight_call_future(call, &own), 0);
    sflight_call_on_unwanted(call, NULL, NULL);
    sflight_call_set_status(call, 5);
    assert_int_equal(sflight_complete(call, 1), 0);
    assert_int_equal(sflight_complete(call, 2), 0);
    assert_int_equal(sflight_abandon(call), 0);
    assert_int_equal(sflight_future_get(own, NULL, &r), 0);
    assert_int_equal(r.status, 5);
    assert_int_equal(stats_of(g).held, 1);
    sflight_result_release(&r);
    assert_unharmed(g);
}

/* The follower goes on with the same record. */
static void a_permit_is_used_up_by_a_takeover(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    sflight_group *g = group_new(&o);
    struct work w = {.status = 4};
    struct caller c;
    sflight_call *call = lead(g, "key");
    caller_start(&c, g, "key", work_fn, &w);
    await_waiting(g, 1);
    assert_int_equal(sflight_abandon(call), 1);
    assert_int_equal(sflight_complete(call, 2), 0);
    WAIT_UNTIL(w.runs == 1);
    assert_int_equal(sflight_complete(call, 2), 0);
    assert_int_equal(sflight_abandon(call), 0);
    atomic_store(&w.open, true);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    assert_int_equal(c.r.status, 4);
    sflight_result_release(&c.r);
    assert_unharmed(g);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef SFLIGHT_DEBUG
        cmocka_unit_test(each_aborts_with_one_line),
        cmocka_unit_test(what_leaves_a_future_as_it_was),
        cmocka_unit_test(handles_are_used_again),
#else
        cmocka_unit_test(a_permit_is_used_up),
        cmocka_unit_test(a_permit_that_has_more_is_used_up),
        cmocka_unit_test(a_permit_is_used_up_by_a_takeover),
#endif
    };
    return RUN_TESTS(tests);
}
