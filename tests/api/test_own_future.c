/* SPDX-License-Identifier: BSD-2-Clause */
/* The permit holder's own future, begin and enqueue in one step, and what ending a call returns. */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"

static sflight_future *own_future(sflight_call *call)
{
    sflight_future *f = NULL;
    assert_int_equal(sflight_call_future(call, &f), 0);
    assert_non_null(f);
    return f;
}

static void get(sflight_future *f, sflight_result *r)
{
    assert_int_equal(sflight_future_get(f, NULL, r), 0);
}

static void arguments(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_call *call = (sflight_call *)g;
    sflight_future *f = (sflight_future *)g;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_call_future(NULL, &f), -EINVAL);
    assert_null(f);
    f = (sflight_future *)g;
    assert_int_equal(sflight_begin_enqueue(NULL, "k", 1, q, 0, &call, &f), -EINVAL);
    assert_null(call);
    assert_null(f);
    assert_int_equal(sflight_begin_enqueue(g, NULL, 1, q, 0, &call, &f), -EINVAL);
    assert_int_equal(sflight_begin_enqueue(g, "k", 1, NULL, 0, &call, &f), -EINVAL);
    assert_int_equal(sflight_begin_enqueue(g, "k", 1, q, 0, NULL, &f), -EINVAL);
    call = lead(g, "key");
    assert_int_equal(sflight_call_future(call, NULL), -EINVAL);
    f = own_future(call);
    sflight_future *second = f;
    assert_int_equal(sflight_call_future(call, &second), -EINVAL); /* one for each permit */
    assert_null(second);
    sflight_future_drop(f);
    assert_int_equal(sflight_call_future(call, &second), -EINVAL);
    sflight_complete(call, 0);
    sflight_completions_release(NULL, 3);
    assert_int_equal(sflight_future_cancel(NULL), 0);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static int ask_future(sflight_call *call, void *arg)
{
    sflight_future *f = NULL;
    (void)arg;
    assert_int_equal(sflight_call_future(call, &f), -EINVAL);
    assert_null(f);
    return 0;
}

/* Inside fn there is no permit. */
static void fn_has_none(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    sflight_future *f;
    assert_int_equal(do_str(g, "key", ask_future, NULL, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_start(g, "key", 3, ask_future, NULL, &f), 0);
    get(f, &r);
    sflight_result_release(&r);
    await_unused(g);
    group_end(g);
}

/* Alone: it led, nobody shared it, and nobody has joined. */
static void alone(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct tally tally = {0};
    sflight_result r;
    sflight_call *call = lead(g, "key");
    sflight_future *f = own_future(call);
    assert_false(sflight_call_unwanted(call));
    assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
    value_set(call, &tally, 7);
    assert_int_equal(sflight_complete(call, 3), 0);
    get(f, &r);
    assert_int_equal(number_of(&r), 7);
    assert_int_equal(r.status, 3);
    assert_true(r.leader);
    assert_false(r.shared);
    assert_int_equal(r.followers, 0);
    sflight_result_release(&r);
    assert_all_destroyed(&tally);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.led, 1);
    assert_int_equal(s.joined, 0);
    group_end(g);
}

/* It takes no follower's place, and others are counted exactly. */
static void counts_others_only(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 1;
    sflight_group *g = group_new(&o);
    sflight_result r;
    sflight_call *call = lead(g, "key");
    sflight_future *own = own_future(call), *other = join(g, "key");
    sflight_call *none;
    sflight_future *refused;
    assert_int_equal(sflight_begin(g, "key", 3, &none, &refused), -EAGAIN);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);
    assert_int_equal(stats_of(g).waiting, 1);
    assert_int_equal(sflight_complete(call, 0), 1);
    assert_int_equal(stats_of(g).held, 2);
    get(own, &r);
    assert_true(r.leader);
    assert_true(r.shared);
    assert_int_equal(r.followers, 1);
    sflight_result_release(&r);
    get(other, &r);
    assert_false(r.leader);
    assert_true(r.shared);
    assert_int_equal(r.followers, 1);
    sflight_result_release(&r);
    group_end(g);
}

/* forget_unshared does not see it. */
static void is_unshared(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_result r;
    sflight_call *call = lead(g, "key");
    sflight_future *f = own_future(call);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    sflight_call *next = lead(g, "key");
    assert_int_equal(sflight_complete(call, 1), 0);
    get(f, &r);
    assert_int_equal(r.status, 1);
    assert_true(r.leader);
    sflight_result_release(&r);
    sflight_complete(next, 0);
    group_end(g);
}

/* Nothing may come between: it gives its own call's result, whatever happened meanwhile. */
static void whatever_happens(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        sflight_options o = default_options();
        o.max_age_ns = what == 1;
        o.cancel_unwanted = what == 3;
        sflight_group *g = group_new(&o);
        sflight_call *call = lead(g, "key"), *newer = NULL;
        sflight_future *f = NULL;
        sflight_result r;
        if (what == 4)
            f = own_future(call); /* before it, too */
        switch (what) {
        case 0:
        case 4:
            assert_int_equal(sflight_forget(g, "key", 3), 1);
            newer = lead(g, "key");
            break;
        case 1:
            newer = lead(g, "key"); /* the first one is too old */
            break;
        case 2:
            assert_int_equal(sflight_group_close(g), 0);
            break;
        default:
            assert_int_equal(sflight_future_drop(join(g, "key")), 1);
            newer = lead(g, "key");
        }
        if (f == NULL)
            f = own_future(call);
        if (newer != NULL)
            assert_int_equal(sflight_complete(newer, 9), 0);
        assert_int_equal(sflight_future_poll(f, &r), -EAGAIN);
        assert_int_equal(sflight_complete(call, 5), 0);
        get(f, &r);
        assert_int_equal(r.status, 5);
        assert_true(r.leader);
        sflight_result_release(&r);
        group_end(g);
    }
}

/* In all the ways of a future. */
static void every_way(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_completion done;
    sflight_result r;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (int way = 0; way < 4; way++) {
        for (int ends = 0; ends < 2; ends++) {
            struct noted noted = {0};
            int right = ends ? -EOWNERDEAD : 0;
            sflight_call *call = lead(g, "key");
            sflight_future *f = own_future(call);
            int fd = way == 2 ? sflight_future_fd(f) : -1;
            if (way == 0)
                assert_int_equal(sflight_future_then(f, note, &noted), 0);
            if (way == 1)
                assert_int_equal(sflight_future_enqueue(f, q, 5), 0);
            if (ends)
                assert_int_equal(sflight_abandon(call), 0);
            else
                assert_int_equal(sflight_complete(call, 0), 0);
            switch (way) {
            case 0:
                assert_int_equal(noted.n, 1);
                assert_int_equal(noted.rc, right);
                break;
            case 1:
                assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
                assert_int_equal(done.rc, right);
                assert_int_equal(done.result.leader, !ends);
                sflight_completions_release(&done, 1);
                break;
            case 2:
                assert_true(readable(fd));
                assert_int_equal(sflight_future_poll(f, &r), right);
                sflight_result_release(&r);
                break;
            default:
                assert_int_equal(sflight_future_drop(f), 0); /* it has ended */
            }
        }
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* Dropped before the end: of those who wait it may be the last, and the permit remains. */
static void dropped(void **state)
{
    (void)state;
    for (int cancels = 0; cancels < 2; cancels++) {
        sflight_options o = default_options();
        o.cancel_unwanted = cancels;
        sflight_group *g = group_new(&o);
        struct tally tally = {0};
        sflight_call *call = lead(g, "key");
        sflight_future *own = own_future(call), *other = join(g, "key");
        assert_int_equal(sflight_future_drop(other), 0);
        assert_false(sflight_call_unwanted(call));
        sflight_future_drop(join(g, "key"));
        assert_int_equal(sflight_future_drop(own), 1);
        assert_true(sflight_call_unwanted(call));
        if (cancels)
            sflight_complete(lead(g, "key"), 0);
        else
            assert_int_equal(sflight_future_drop(join(g, "key")), 1);
        value_set(call, &tally, 1);
        assert_int_equal(sflight_complete(call, 0), 0);
        assert_all_destroyed(&tally);
        assert_int_equal(stats_of(g).forgotten, cancels);
        group_end(g);
    }
}

static void blocking_callers_are_no_last(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = false};
    struct caller leader;
    caller_start(&leader, g, "key", work_fn, &w);
    WAIT_UNTIL(w.runs == 1);
    assert_int_equal(sflight_future_drop(join(g, "key")), 0); /* its leader waits */
    w.open = true;
    caller_join(&leader);
    sflight_result_release(&leader.r);
    group_end(g);
}

/* One call of begin_enqueue, one completion, for everybody. */
static void enqueued(void **state)
{
    (void)state;
    enum { N = 5 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    struct tally tally = {0};
    sflight_completion done[N + 1];
    bool seen[N] = {0};
    sflight_call *call = NULL;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (unsigned i = 0; i < N; i++) {
        sflight_call *led = NULL;
        sflight_future *f = NULL;
        assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, i, &led, i % 2 ? &f : NULL), 0);
        assert_int_equal(led != NULL, i == 0);
        assert_int_equal(f != NULL, i % 2);
        if (i == 0)
            call = led;
    }
    assert_int_equal(sflight_queue_drain(q, done, N + 1), 0);
    value_set(call, &tally, 3);
    assert_int_equal(sflight_complete(call, 0), N - 1);
    assert_int_equal(sflight_queue_drain(q, done, N + 1), N);
    for (unsigned i = 0; i < N; i++) {
        assert_false(seen[done[i].tag]);
        seen[done[i].tag] = true;
        assert_int_equal(number_of(&done[i].result), 3);
        assert_int_equal(done[i].result.leader, done[i].tag == 0);
        assert_int_equal(done[i].result.followers, N - 1);
    }
    sflight_completions_release(done, N);
    for (unsigned i = 0; i < N; i++)
        assert_zeroed(&done[i].result);
    sflight_completions_release(done, N); /* idempotent */
    assert_all_destroyed(&tally);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* Results of several calls, failures among them, some of which somebody else still holds. */
static void completions_of_many_calls(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    struct tally tally = {0};
    sflight_completion done[16];
    sflight_result kept;
    sflight_call *calls[3], *none;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (unsigned i = 0; i < 3; i++) {
        char key = (char)('0' + i);
        assert_int_equal(sflight_begin_enqueue(g, &key, 1, q, i, &calls[i], NULL), 0);
        for (unsigned k = 0; k < 3 + i; k++)
            assert_int_equal(sflight_begin_enqueue(g, &key, 1, q, i, &none, NULL), 0);
    }
    value_set(calls[0], &tally, 0);
    value_set(calls[2], &tally, 2);
    assert_int_equal(sflight_complete(calls[0], 0), 3);
    assert_int_equal(sflight_abandon(calls[1]), 4);
    assert_int_equal(sflight_complete(calls[2], 0), 5);
    assert_int_equal(sflight_queue_drain(q, done, 16), 15);
    unsigned of_last = 0;
    while (done[of_last].tag != 2)
        of_last++;
    assert_int_equal(sflight_result_retain(&done[of_last].result, &kept), 0);
    sflight_completions_release(done, 15);
    assert_int_equal(tally.destroyed, 1);
    assert_int_equal(number_of(&kept), 2);
    sflight_result_release(&kept);
    assert_all_destroyed(&tally);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* On failure nothing is claimed, and nothing will come. */
static void refused(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 1;
    sflight_group *g = group_new(&o);
    sflight_queue *q;
    sflight_completion done[4];
    sflight_call *call, *none = (sflight_call *)g;
    sflight_future *f = (sflight_future *)g;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 0, &call, NULL), 0);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 1, &none, NULL), 0);
    none = (sflight_call *)g;
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 2, &none, &f), -EAGAIN);
    assert_null(none);
    assert_null(f);
    assert_int_equal(sflight_group_close(g), 0);
    assert_int_equal(sflight_begin_enqueue(g, "other", 5, q, 3, &none, &f), -ESHUTDOWN);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 4, &none, &f), -ESHUTDOWN);
    assert_int_equal(sflight_complete(call, 0), 1);
    assert_int_equal(sflight_queue_drain(q, done, 4), 2);
    sflight_completions_release(done, 2);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* Whichever allocation fails: as before, or done. */
static void no_memory(void **state)
{
    (void)state;
    unsigned n_failed = 0;
    for (long k = 1; k < 12; k++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        sflight_group *g = group_new(&o);
        sflight_queue *q;
        sflight_completion done[2];
        sflight_call *call, *permit;
        sflight_future *f;
        assert_int_equal(sflight_queue_create(&q), 0);
        counting_fail(&counting, k, true);
        int rc = sflight_begin_enqueue(g, "key", 3, q, 0, &call, &f);
        n_failed += counting_relent(&counting);
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_int_equal(rc == 0, call != NULL);
        assert_int_equal(rc == 0, f != NULL);
        permit = lead(g, "more");
        counting_fail(&counting, k, true);
        int more = sflight_call_future(permit, &f);
        (void)counting_relent(&counting);
        assert_true(more == 0 || more == -ENOMEM);
        assert_int_equal(more == 0, f != NULL);
        sflight_future_drop(f);
        sflight_complete(permit, 0);
        if (rc == 0)
            sflight_complete(call, 0);
        assert_int_equal(sflight_queue_drain(q, done, 2), rc == 0);
        sflight_completions_release(done, rc == 0);
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
        assert_nothing_allocated(&counting);
    }
    assert_true(n_failed != 0);
}

/* None that is left over from others, either. */
static void no_memory_for_an_own_one(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key"), *none;
    sflight_future *others[200], *f = (sflight_future *)g;
    size_t n = 0;
    counting_fail(&counting, 1, true);
    while (n < LENGTH(others) && sflight_begin(g, "key", 3, &none, &others[n]) == 0)
        n++;
    assert_true(n < LENGTH(others));
    assert_int_equal(sflight_call_future(call, &f), -ENOMEM);
    assert_null(f);
    assert_true(counting_relent(&counting));
    sflight_future_drop(own_future(call));
    while (n != 0)
        sflight_future_drop(others[--n]);
    assert_int_equal(sflight_complete(call, 0), 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* A loop's key after another one's call was forgotten, as often as one likes: nothing is left over.
 */
static void forgotten_in_turn(void **state)
{
    (void)state;
    enum { N = 50 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    sflight_call *calls[N];
    sflight_completion done[N];
    assert_int_equal(sflight_queue_create(&q), 0);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, i, &calls[i], NULL), 0);
        assert_non_null(calls[i]);
        assert_int_equal(sflight_forget(g, "key", 3), 1);
    }
    assert_int_equal(stats_of(g).in_flight, N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(sflight_complete(calls[i], (int)i), 0);
    assert_int_equal(sflight_queue_drain(q, done, N), N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(done[i].result.status, done[i].tag);
    sflight_completions_release(done, N);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* A dead permit holder's call is taken over by a follower that blocks. */
static void abandoned_to_a_follower(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    struct work w = {.open = true, .status = 4};
    struct caller follower;
    sflight_call *call = lead(g, "key");
    sflight_future *other = join(g, "key");
    sflight_result r;
    caller_start(&follower, g, "key", work_fn, &w);
    await_waiting(g, 2);
    assert_int_equal(sflight_abandon(call), 2);
    caller_join(&follower);
    assert_int_equal(follower.rc, 0);
    get(other, &r);
    assert_int_equal(r.status, 4);
    sflight_result_release(&r);
    sflight_result_release(&follower.r);
    group_end(g);
}

/* ---------------------------------------------------------- sflight_call_abandon() */

static int abandons(sflight_call *call, void *arg)
{
    struct work *w = arg;
    atomic_fetch_add(&w->runs, 1);
    WAIT_UNTIL(w->open);
    value_set(call, &w->tally, 1);
    sflight_call_set_status(call, 5);
    sflight_call_abandon(call);
    return 6;
}

static void abandoned_inside(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {.open = true};
    sflight_result r;
    sflight_future *f;
    assert_int_equal(do_str(g, "key", abandons, &w, &r), -EOWNERDEAD); /* nobody else */
    assert_zeroed(&r);
    assert_all_destroyed(&w.tally);
    assert_key_usable(g, "key");
    assert_int_equal(do_str(g, "key", abandons, &w, &r), -EOWNERDEAD); /* nor this time */
    assert_zeroed(&r);

    struct caller leader;
    w.open = false;
    caller_start(&leader, g, "key", abandons, &w);
    WAIT_UNTIL(w.runs == 3);
    f = join(g, "key");
    w.open = true;
    assert_int_equal(sflight_future_get(f, NULL, &r), -EOWNERDEAD);
    caller_join(&leader);
    assert_int_equal(leader.rc, -EOWNERDEAD);
    assert_zeroed(&leader.r);

    assert_int_equal(sflight_start(g, "key", 3, abandons, &w, &f), 0);
    assert_int_equal(sflight_future_get(f, NULL, &r), -EOWNERDEAD);
    await_unused(g);
    assert_all_destroyed(&w.tally);
    assert_int_equal(stats_of(g).abandoned, 4);
    group_end(g);
}

static void abandoned_inside_and_taken_over(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    struct work w = {.open = false}, next = {.open = true, .status = 8};
    struct caller leader, follower;
    caller_start(&leader, g, "key", abandons, &w);
    WAIT_UNTIL(w.runs == 1);
    caller_start(&follower, g, "key", work_fn, &next);
    await_waiting(g, 1);
    w.open = true;
    caller_join(&leader);
    caller_join(&follower);
    assert_int_equal(leader.rc, -EOWNERDEAD);
    assert_int_equal(follower.rc, 0);
    assert_int_equal(follower.r.status, 8);
    assert_true(follower.r.leader);
    sflight_result_release(&follower.r);
    assert_all_destroyed(&w.tally);
    assert_all_destroyed(&next.tally);
    group_end(g);
}

/* A permit: completing it abandons it. */
static void abandoned_permit(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct tally tally = {0};
    sflight_result r;
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    value_set(call, &tally, 1);
    sflight_call_abandon(call);
    assert_int_equal(sflight_complete(call, 3), 1);
    assert_int_equal(sflight_future_get(f, NULL, &r), -EOWNERDEAD);
    assert_zeroed(&r);
    assert_all_destroyed(&tally);
    assert_int_equal(stats_of(g).abandoned, 1);
    group_end(g);
}

/* Of a batch that has taken it over. */
static int abandons_one(sflight_call *const *calls, size_t n, void *runs)
{
    assert_int_equal(n, 1);
    sflight_call_abandon(calls[0]);
    atomic_fetch_add((atomic_int *)runs, 1);
    return 2;
}

struct successor {
    sflight_group *g;
    atomic_int runs;
    sflight_result r;
    int rc;
};

static void *succeed(void *arg)
{
    struct successor *s = arg;
    const sflight_key key = {"key", 3};
    assert_int_equal(sflight_do_many(s->g, &key, 1, abandons_one, &s->runs, NULL, &s->r, &s->rc),
                     0);
    return NULL;
}

static void abandoned_by_a_batch_that_took_over(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader;
    struct successor s = {.g = g};
    leader_start(&leader, g, "key", abandons, &w);
    pthread_t thread = thread_start(succeed, &s);
    await_waiting(g, 1);
    w.open = true;
    caller_join(&leader);
    thread_join(thread);
    assert_int_equal(leader.rc, -EOWNERDEAD);
    assert_int_equal(s.runs, 1);
    assert_int_equal(s.rc, -EOWNERDEAD);
    assert_zeroed(&s.r);
    assert_all_destroyed(&w.tally);
    group_end(g);
}

/* Of a batch, the second key, which is named twice. */
static int abandons_second(sflight_call *const *calls, size_t n, void *arg)
{
    struct tally *tally = arg;
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++)
        value_set(calls[i], tally, (int)i);
    sflight_call_abandon(calls[1]);
    return 2;
}

static void abandoned_of_a_batch(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        sflight_options o = default_options();
        o.on_abandon = takeover;
        sflight_group *g = group_new(&o);
        const sflight_key keys[] = {{"a", 1}, {"b", 1}, {"b", 1}, {"c", 1}, {"a", 1}};
        struct tally tally = {0};
        sflight_result r[5];
        int rc[5];
        assert_int_equal(sflight_do_many(g, keys, 5, abandons_second, &tally, NULL, r, rc), 0);
        for (int i = 0; i < 5; i++) {
            bool dead = i == 1 || i == 2;
            assert_int_equal(rc[i], dead ? -EOWNERDEAD : 0);
            if (dead)
                assert_zeroed(&r[i]);
            else
                assert_int_equal(number_of(&r[i]), i == 3 ? 2 : 0);
            sflight_result_release(&r[i]);
        }
        assert_all_destroyed(&tally);
        assert_key_usable(g, "b");
        group_end(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments),
        cmocka_unit_test(fn_has_none),
        cmocka_unit_test(alone),
        cmocka_unit_test(counts_others_only),
        cmocka_unit_test(is_unshared),
        cmocka_unit_test(whatever_happens),
        cmocka_unit_test(every_way),
        cmocka_unit_test(dropped),
        cmocka_unit_test(blocking_callers_are_no_last),
        cmocka_unit_test(enqueued),
        cmocka_unit_test(completions_of_many_calls),
        cmocka_unit_test(refused),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(no_memory_for_an_own_one),
        cmocka_unit_test(forgotten_in_turn),
        cmocka_unit_test(abandoned_to_a_follower),
        cmocka_unit_test(abandoned_inside),
        cmocka_unit_test(abandoned_inside_and_taken_over),
        cmocka_unit_test(abandoned_permit),
        cmocka_unit_test(abandoned_by_a_batch_that_took_over),
        cmocka_unit_test(abandoned_of_a_batch),
    };
    return RUN_TESTS(tests);
}
