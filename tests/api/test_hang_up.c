/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that hang up: futures that are taken back, and leaders that are told. */
#include "../lib/event_test.h"

#include <setjmp.h>

static sflight_queue *queue_new(void)
{
    sflight_queue *q = NULL;
    assert_int_equal(sflight_queue_create(&q), 0);
    return q;
}

/* An event loop's client: true if it leads. */
static bool client(sflight_group *g, sflight_queue *q, uint64_t tag, sflight_call **call,
                   sflight_future **f)
{
    sflight_call *led = NULL;
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, tag, &led, f), 0);
    if (led != NULL)
        *call = led;
    return led != NULL;
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* ----------------------------------------------------------------- taking back */

/* Before the end of the call: nothing comes, nothing is left, and the others get theirs. */
static void before_the_end(void **state)
{
    (void)state;
    enum { N = 6 };
    for (unsigned gone = 0; gone < 1u << N; gone++) {
        sflight_group *g = group_new(NULL);
        sflight_queue *q = queue_new();
        sflight_call *call = NULL;
        sflight_future *f[N];
        sflight_completion done[N];
        unsigned n_left = N;
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(client(g, q, i, &call, &f[i]), i == 0);
        for (unsigned i = 0; i < N; i++)
            if (gone & 1u << i) {
                assert_int_equal(sflight_future_cancel(f[i]), 1);
                n_left--;
            }
        assert_int_equal(stats_of(g).waiting, n_left - !(gone & 1));
        assert_int_equal(sflight_call_unwanted(call), n_left == 0);
        assert_int_equal(sflight_complete(call, 0), n_left - !(gone & 1));
        assert_int_equal(sflight_queue_drain(q, done, N), n_left);
        for (unsigned i = 0; i < n_left; i++)
            assert_false(gone & 1u << done[i].tag);
        sflight_completions_release(done, n_left);
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
    }
}

/* The queue can go while the call is in flight: nothing is expected any more. */
static void queue_goes_first(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new(), *other = queue_new();
    sflight_call *call = NULL;
    sflight_future *f[3];
    for (unsigned i = 0; i < 3; i++)
        (void)client(g, i == 1 ? other : q, i, &call, &f[i]);
    assert_int_equal(sflight_future_cancel(f[1]), 1);
    assert_int_equal(sflight_queue_destroy(other), 0);
    assert_int_equal(sflight_future_cancel(f[0]), 1);
    assert_int_equal(sflight_queue_destroy(q), -EBUSY);
    assert_int_equal(sflight_future_cancel(f[2]), 1);
    assert_int_equal(sflight_queue_destroy(q), 0);
    assert_int_equal(sflight_complete(call, 0), 0);
    group_end(g);
}

/* After the end, before the drain: of any that are in the queue, in any state of it. */
static void in_the_queue(void **state)
{
    (void)state;
    enum { N = 6 };
    for (unsigned n_drained = 0; n_drained < N; n_drained++) {
        for (unsigned n_late = 0; n_late < 3; n_late++) {
            sflight_group *g = group_new(NULL);
            sflight_queue *q = queue_new();
            struct tally tally = {0};
            sflight_call *call = NULL, *late = NULL;
            sflight_future *f[2 * N];
            sflight_completion done[2 * N];
            bool seen[2 * N] = {0};
            for (unsigned i = 0; i < N; i++)
                (void)client(g, q, i, &call, &f[i]);
            value_set(call, &tally, 1);
            assert_int_equal(sflight_complete(call, 0), N - 1);
            int n = sflight_queue_drain(q, done, n_drained);
            assert_int_equal(n, n_drained);
            for (int i = 0; i < n; i++)
                seen[done[i].tag] = true;
            sflight_completions_release(done, n_drained);
            for (unsigned i = 0; i < n_late; i++) /* pushed where some wait to be drained */
                (void)client(g, q, N + i, &late, &f[N + i]);
            if (late != NULL)
                sflight_complete(late, 0);
            unsigned n_back = 0;
            for (unsigned i = 0; i < N + n_late; i += 2) {
                if (!seen[i]) {
                    assert_int_equal(sflight_future_cancel(f[i]), 1);
                    seen[i] = true;
                    n_back++;
                }
            }
            unsigned n_left = N + n_late - n_drained - n_back;
            if (n_left != 0)
                assert_true(readable(sflight_queue_fd(q)));
            assert_int_equal(sflight_queue_drain(q, done, 2 * N), n_left);
            for (unsigned i = 0; i < n_left; i++) {
                assert_false(seen[done[i].tag]);
                seen[done[i].tag] = true;
            }
            sflight_completions_release(done, n_left);
            assert_all_destroyed(&tally);
            assert_int_equal(sflight_queue_destroy(q), 0);
            group_end(g);
        }
    }
}

/* Completions still come, and the descriptor says so, after some were taken out. */
static void descriptor_still_tells(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    sflight_completion done[4];
    for (int round = 0; round < 20; round++) {
        sflight_call *call = NULL;
        sflight_future *f[2];
        (void)client(g, q, 0, &call, &f[0]);
        (void)client(g, q, 1, &call, &f[1]);
        sflight_complete(call, 0);
        assert_int_equal(sflight_future_cancel(f[round % 2]), 1);
        assert_true(readable(sflight_queue_fd(q)));
        assert_int_equal(sflight_queue_drain(q, done, 1), 1);
        assert_int_equal(done[0].tag, 1 - round % 2);
        sflight_completions_release(done, 1);
        if (round % 3 == 0)
            assert_int_equal(sflight_queue_drain(q, done, 4), 0);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

static void callbacks(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted[3] = {0};
    sflight_call *call = lead(g, "key");
    sflight_future *f[3];
    for (int i = 0; i < 3; i++) {
        f[i] = join(g, "key");
        assert_int_equal(sflight_future_cancel(f[i]), -EINVAL); /* not given to anything */
        assert_int_equal(sflight_future_then(f[i], note, &noted[i]), 0);
    }
    assert_int_equal(sflight_future_cancel(f[1]), 1);
    assert_int_equal(sflight_complete(call, 0), 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(noted[i].n, i != 1);
    group_end(g);
}

/* A callback takes back those that are to run after it, and ends another call. */
struct chain {
    sflight_future *others[3];
    sflight_call *next;
    bool last_first;
    int n_ran, n_back;
};

static void take_back_others(void *arg, int rc, sflight_result *r)
{
    struct chain *chain = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    chain->n_ran++;
    for (int k = 0; k < 3; k++) {
        int i = chain->last_first ? 2 - k : k;
        if (chain->others[i] != NULL)
            chain->n_back += sflight_future_cancel(chain->others[i]) == 1;
        chain->others[i] = NULL;
    }
    sflight_complete(chain->next, 0);
}

static void on_the_ending_thread(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        int more = how % 2;
        sflight_group *g = group_new(NULL);
        struct chain chain = {.last_first = how / 2};
        struct noted noted = {0}, of_next = {0};
        sflight_call *call = lead(g, "key");
        chain.next = lead(g, "next");
        assert_int_equal(sflight_future_then(join(g, "next"), note, &of_next), 0);
        assert_int_equal(sflight_future_then(join(g, "key"), take_back_others, &chain), 0);
        for (int i = 0; i < 3; i++) {
            chain.others[i] = join(g, "key");
            assert_int_equal(sflight_future_then(chain.others[i], note, &noted), 0);
        }
        if (more) /* and one that stays, which comes last */
            assert_int_equal(sflight_future_then(join(g, "key"), note, &noted), 0);
        assert_int_equal(sflight_complete(call, 0), 4 + more);
        assert_int_equal(chain.n_ran, 1);
        assert_int_equal(chain.n_back, 3);
        assert_int_equal(noted.n, more);
        assert_int_equal(of_next.n, 1);
        assert_key_usable(g, "key");
        group_end(g);
    }
}

/* With limits: who has been taken back makes room. */
static void makes_room(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.max_waiters = 1;
    sflight_group *g = group_new(&o);
    sflight_queue *q = queue_new();
    sflight_completion done[2];
    sflight_call *call = NULL, *none;
    sflight_future *f;
    (void)client(g, q, 0, &call, NULL);
    for (int i = 0; i < 100; i++) {
        (void)client(g, q, 1, &call, &f);
        assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 2, &none, NULL), -EAGAIN);
        assert_int_equal(sflight_future_cancel(f), 1);
    }
    assert_int_equal(sflight_complete(call, 0), 0);
    assert_int_equal(sflight_queue_drain(q, done, 2), 1);
    sflight_completions_release(done, 1);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

struct ending {
    sflight_call *call;
    atomic_bool go;
};

static void *end_call(void *arg)
{
    struct ending *e = arg;
    WAIT_UNTIL(e->go);
    sflight_complete(e->call, 0);
    return NULL;
}

/* Another thread has them to run, and is at an earlier one: they come. */
struct slow {
    atomic_bool runs, go;
    sflight_future *later[2];
    sflight_future *own;
};

static void run_slowly(void *arg, int rc, sflight_result *r)
{
    struct slow *slow = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    slow->runs = true;
    WAIT_UNTIL(slow->go);
}

static void cancel_too_late(void *arg, int rc, sflight_result *r)
{
    struct slow *slow = arg;
    assert_int_equal(rc, 0);
    sflight_result_release(r);
    assert_int_equal(sflight_future_cancel(slow->later[0]), 0);
    assert_int_equal(sflight_future_cancel(slow->own), 0);
    assert_int_equal(sflight_future_cancel(slow->later[1]), 0);
}

static void of_another_thread(void **state)
{
    (void)state;
    for (int in_callback = 0; in_callback < 2; in_callback++) {
        sflight_group *g = group_new(NULL);
        struct ending ending = {.call = lead(g, "key"), .go = true};
        struct slow slow = {0};
        struct noted noted = {0};
        assert_int_equal(sflight_future_then(join(g, "key"), run_slowly, &slow), 0);
        for (int i = 0; i < 2; i++) {
            slow.later[i] = join(g, "key");
            assert_int_equal(sflight_future_then(slow.later[i], note, &noted), 0);
        }
        assert_int_equal(sflight_call_future(ending.call, &slow.own), 0);
        assert_int_equal(sflight_future_then(slow.own, note, &noted), 0);
        pthread_t thread = thread_start(end_call, &ending);
        WAIT_UNTIL(slow.runs);
        sflight_result nothing = {0};
        if (in_callback) { /* a list of our own, in which they are not */
            sflight_call *here = lead(g, "here");
            assert_int_equal(sflight_future_then(join(g, "here"), cancel_too_late, &slow), 0);
            assert_int_equal(sflight_future_then(join(g, "here"), note, &noted), 0);
            assert_int_equal(sflight_complete(here, 0), 2);
        } else {
            cancel_too_late(&slow, 0, &nothing);
        }
        slow.go = true;
        thread_join(thread);
        assert_int_equal(noted.n, 3 + in_callback);
        assert_int_equal(stats_of(g).held, 0);
        group_end(g);
    }
}

/* Against the end of the call, on another thread: told or taken back, never both. */
static void against_the_end(void **state)
{
    (void)state;
    enum { N = 8 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    for (int round = 0; round < rounds(3000, 300); round++) {
        struct ending ending = {0};
        sflight_future *f[N];
        sflight_completion done[N];
        unsigned n_back = 0, n = 0;
        for (unsigned i = 0; i < N; i++)
            (void)client(g, q, i, &ending.call, &f[i]);
        pthread_t thread = thread_start(end_call, &ending);
        ending.go = true;
        for (int i = 0; i < N; i += 1 + round % 2) {
            int rc = sflight_future_cancel(f[i]);
            assert_true(rc == 0 || rc == 1);
            n_back += (unsigned)rc;
        }
        thread_join(thread);
        n = (unsigned)sflight_queue_drain(q, done, N);
        assert_int_equal(n + n_back, N);
        sflight_completions_release(done, n);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* ------------------------------------------------------------------ being told */

/* Once, by the last, however it leaves; and not if somebody waits. */
static void last_of_all(void **state)
{
    (void)state;
    for (int cancels = 0; cancels < 2; cancels++) {
        sflight_options o = default_options();
        o.cancel_unwanted = cancels;
        sflight_group *g = group_new(&o);
        sflight_queue *q = queue_new();
        sflight_call *call = NULL;
        sflight_future *own, *other[3];
        atomic_int told = 0;
        (void)client(g, q, 0, &call, &own);
        sflight_call_on_unwanted(call, count, &told);
        for (unsigned i = 0; i < 3; i++)
            other[i] = join(g, "key");
        assert_int_equal(sflight_future_enqueue(other[1], q, 1), 0);
        assert_int_equal(sflight_future_drop(other[0]), 0);
        assert_int_equal(sflight_future_cancel(other[1]), 1);
        assert_int_equal(sflight_future_cancel(own), 1);
        assert_int_equal(told, 0);
        assert_int_equal(sflight_future_drop(other[2]), 1);
        assert_int_equal(told, 1);
        if (cancels) {
            sflight_complete(lead(g, "key"), 0); /* it has been forgotten */
        } else {
            sflight_future_drop(join(g, "key"));
            assert_int_equal(told, 1); /* once */
            sflight_call_on_unwanted(call, count, &told);
            assert_int_equal(told, 2); /* nobody waits, and somebody has */
        }
        sflight_complete(call, 0);
        assert_int_equal(told, 2 - cancels);
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
    }
}

static void not_before_somebody_waited(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    atomic_int told = 0, other = 0;
    sflight_call *call = lead(g, "key");
    sflight_call_on_unwanted(call, count, &told); /* a permit alone */
    assert_int_equal(told, 0);
    sflight_call_on_unwanted(call, count, &other); /* in its place */
    sflight_future_drop(join(g, "key"));
    assert_int_equal(told, 0);
    assert_int_equal(other, 1);
    sflight_call_on_unwanted(call, count, &told);
    assert_int_equal(told, 1);
    sflight_call_on_unwanted(call, NULL, NULL);
    sflight_future_drop(join(g, "key"));
    sflight_complete(call, 0);
    assert_int_equal(told, 1);
    assert_int_equal(other, 1);
    group_end(g);
}

struct again {
    sflight_group *g;
    sflight_call *call;
    int n, n_sets;
    bool joins, takes_back, completes;
};

static void ask_again(void *arg)
{
    struct again *a = arg;
    a->n++;
    if (a->n <= a->n_sets)
        sflight_call_on_unwanted(a->call, ask_again, a);
    if (a->joins)
        sflight_future_drop(join(a->g, "key"));
    if (a->takes_back)
        sflight_call_on_unwanted(a->call, NULL, NULL);
    if (a->completes)
        sflight_complete(a->call, 0);
}

/* What is set inside the callback is for when somebody has joined and left again. */
static void set_in_the_callback(void **state)
{
    (void)state;
    enum { SETS, JOINS, TAKES_BACK, COMPLETES, WAYS };
    for (int way = 0; way < WAYS; way++) {
        sflight_group *g = group_new(NULL);
        struct again a = {.g = g,
                          .call = lead(g, "key"),
                          .n_sets = 5,
                          .joins = way == JOINS,
                          .takes_back = way == TAKES_BACK,
                          .completes = way == COMPLETES};
        sflight_call_on_unwanted(a.call, ask_again, &a);
        for (int i = 1; i <= 3; i++) {
            sflight_future_drop(join(g, "key"));
            assert_int_equal(a.n, way == SETS ? i : way == JOINS ? 6 : 1);
            if (a.completes)
                break;
        }
        if (!a.completes)
            sflight_complete(a.call, 0);
        assert_int_equal(a.n, way == SETS ? 3 : way == JOINS ? 6 : 1);
        group_end(g);
    }
}

/* The call has ended: never. */
static void not_after_the_end(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_queue *q = queue_new();
    for (int how = 0; how < 4; how++) {
        atomic_int told = 0;
        sflight_call *call = NULL;
        sflight_future *own, *other;
        sflight_completion done;
        (void)client(g, q, 0, &call, &own);
        other = join(g, "key");
        sflight_call_on_unwanted(call, count, &told);
        if (how % 2)
            sflight_abandon(call);
        else
            sflight_complete(call, 0);
        sflight_future_drop(other);
        if (how / 2) {
            assert_int_equal(sflight_future_cancel(own), 1);
        } else {
            assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
            sflight_completions_release(&done, 1);
        }
        assert_int_equal(told, 0);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* The callback ends the call itself, as when the query is called off at once. */
static void complete_call(void *arg)
{
    sflight_call **call = arg;
    sflight_call *ends = *call;
    *call = NULL;
    sflight_complete(ends, 499);
}

static void callback_ends_the_call(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        sflight_options o = default_options();
        o.cancel_unwanted = how % 2;
        sflight_group *g = group_new(&o);
        sflight_queue *q = queue_new();
        sflight_call *call = NULL;
        sflight_future *f;
        struct tally tally = {0};
        (void)client(g, q, 0, &call, &f);
        value_set(call, &tally, 1);
        if (how / 2) { /* here */
            assert_int_equal(sflight_future_cancel(f), 1);
            sflight_call_on_unwanted(call, complete_call, &call);
        } else {
            sflight_call_on_unwanted(call, complete_call, &call);
            assert_int_equal(sflight_future_cancel(f), 1);
        }
        assert_null(call);
        assert_all_destroyed(&tally);
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
    }
}

/*
 * Callbacks inside one another: the outer one's ends a call that has a callback of another kind,
 * and leaves a call whose own callback ends both.
 */
struct nest {
    sflight_call *calls[2], *third;
    sflight_future *last;
    struct noted noted;
    int n_told;
};

static void complete_both(void *arg)
{
    struct nest *nest = arg;
    nest->n_told++;
    complete_call(&nest->calls[0]);
    complete_call(&nest->calls[1]);
}

static void leave_the_other(void *arg)
{
    struct nest *nest = arg;
    nest->n_told++;
    sflight_complete(nest->third, 0);
    assert_int_equal(nest->noted.n, 1);
    assert_int_equal(sflight_future_drop(nest->last), 1);
    assert_int_equal(nest->n_told, 2);
}

static void callbacks_inside_one_another(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct nest nest = {.calls = {lead(g, "a"), lead(g, "b")}, .third = lead(g, "c")};
    assert_int_equal(sflight_future_then(join(g, "c"), note, &nest.noted), 0);
    sflight_call_on_unwanted(nest.calls[0], leave_the_other, &nest);
    sflight_call_on_unwanted(nest.calls[1], complete_both, &nest);
    nest.last = join(g, "b");
    assert_int_equal(sflight_future_drop(join(g, "a")), 1);
    assert_int_equal(nest.n_told, 2);
    assert_null(nest.calls[0]);
    assert_null(nest.calls[1]);
    group_end(g);
}

/* A follower that blocks, and leaves at its deadline. */
static void blocking_follower(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    atomic_int told = 0;
    sflight_result r;
    sflight_call *call = lead(g, "key");
    sflight_call_on_unwanted(call, count, &told);
    assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &in_the_past, &r),
                     -ETIMEDOUT);
    assert_int_equal(told, 1);
    sflight_complete(call, 0);
    group_end(g);
}

struct started {
    atomic_int told;
    atomic_bool asked, go;
    bool panics, exits;
};

static int ask_and_wait(sflight_call *call, void *arg)
{
    struct started *s = arg;
    sflight_call_on_unwanted(call, count, &s->told);
    s->asked = true;
    WAIT_UNTIL(s->go);
    if (s->panics)
        sflight_panic(call, "as asked");
    if (s->exits)
        pthread_exit(NULL);
    return sflight_call_unwanted(call) ? -ECANCELED : 0;
}

/* Inside fn of a started call; which may panic or exit nevertheless. */
static void started_call(void **state)
{
    (void)state;
    for (int how = 0; how < 6; how++) {
        sflight_group *g = group_new(NULL);
        struct started s = {.panics = how % 3 == 1, .exits = how % 3 == 2};
        sflight_future *f;
        sflight_result r;
        assert_int_equal(sflight_start(g, "key", 3, ask_and_wait, &s, &f), 0);
        WAIT_UNTIL(s.asked);
        if (how / 3) {
            assert_int_equal(sflight_future_drop(join(g, "key")), 0);
            assert_int_equal(s.told, 0);
            assert_int_equal(sflight_future_drop(f), 1);
            assert_int_equal(s.told, 1);
        }
        s.go = true;
        if (how / 3 == 0) {
            assert_int_equal(sflight_future_get(f, NULL, &r), s.panics  ? -ENOTRECOVERABLE
                                                              : s.exits ? -EOWNERDEAD
                                                                        : 0);
            sflight_result_release(&r);
            assert_int_equal(s.told, 0);
        }
        await_unused(g);
        group_end(g);
    }
}

static void panic_here(void *call)
{
    sflight_panic(call, "unwanted");
}

static int panic_when_told(sflight_call *call, void *arg)
{
    struct started *s = arg;
    s->asked = true;
    WAIT_UNTIL(s->go);
    sflight_call_on_unwanted(call, panic_here, call);
    return 0;
}

/* On the thread of fn, which it leaves. */
static void panic_in_the_callback(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct started s = {0};
    sflight_future *f;
    assert_int_equal(sflight_start(g, "key", 3, panic_when_told, &s, &f), 0);
    WAIT_UNTIL(s.asked);
    assert_int_equal(sflight_future_drop(f), 1);
    s.go = true;
    await_unused(g);
    assert_int_equal(stats_of(g).panicked, 1);
    group_end(g);
}

struct handed_on {
    sflight_group *g;
    sflight_call *permit;
    struct caller follower;
    atomic_bool leads, go;
};

static int lead_and_panic(sflight_call *call, void *arg)
{
    struct handed_on *h = arg;
    h->leads = true;
    WAIT_UNTIL(h->go);
    sflight_panic(call, "of the second");
}

static void hand_on(void *arg)
{
    struct handed_on *h = arg;
    caller_start(&h->follower, h->g, "key", lead_and_panic, h);
    await_waiting(h->g, 2); /* who leaves counts until it has */
    sflight_call_on_unwanted(h->permit, hand_on, h);
    sflight_abandon(h->permit);
    WAIT_UNTIL(h->leads);
}

/* The call is another leader's before the callback has returned. */
static void abandon_in_the_callback(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    struct handed_on h = {.g = group_new(&o)};
    h.permit = lead(h.g, "key");
    sflight_call_on_unwanted(h.permit, hand_on, &h);
    assert_int_equal(sflight_future_drop(join(h.g, "key")), 1);
    h.go = true;
    caller_join(&h.follower);
    assert_int_equal(h.follower.rc, -ENOTRECOVERABLE);
    sflight_result_release(&h.follower.r);
    group_end(h.g);
}

/* It asks, and a call inside it is left by longjmp(): its followers are told when the thread ends.
 */
struct jumper {
    sflight_group *g;
    jmp_buf out;
    atomic_int told;
    atomic_bool runs, go;
};

static int jump_out(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    (void)call;
    j->runs = true;
    WAIT_UNTIL(j->go);
    longjmp(j->out, 1);
}

static int ask_and_be_jumped_into(sflight_call *call, void *arg)
{
    struct jumper *j = arg;
    sflight_result r;
    sflight_call_on_unwanted(call, count, &j->told);
    if (setjmp(j->out) == 0)
        do_str(j->g, "inner", jump_out, j, &r);
    return 3;
}

static void started_call_with_a_jump(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct jumper j = {.g = g};
    struct caller follower;
    sflight_future *f;
    sflight_result r;
    assert_int_equal(sflight_start(g, "key", 3, ask_and_be_jumped_into, &j, &f), 0);
    WAIT_UNTIL(j.runs);
    caller_start(&follower, g, "inner", must_not_run, NULL);
    await_waiting(g, 1);
    j.go = true;
    assert_int_equal(sflight_future_get(f, NULL, &r), 0);
    assert_int_equal(r.status, 3);
    sflight_result_release(&r);
    caller_join(&follower);
    assert_int_equal(follower.rc, -EOWNERDEAD);
    assert_int_equal(j.told, 0);
    group_end_when_unused(g);
}

/* The leader of a call that blocks waits for it. */
static void blocking_leader(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct started s = {.go = false};
    struct caller leader;
    caller_start(&leader, g, "key", ask_and_wait, &s);
    WAIT_UNTIL(s.asked);
    assert_int_equal(sflight_future_drop(join(g, "key")), 0);
    s.go = true;
    caller_join(&leader);
    assert_int_equal(s.told, 0);
    assert_int_equal(leader.r.status, 0);
    sflight_result_release(&leader.r);
    group_end(g);
}

/* Several leave at once: one is the last, and tells; the end waits for it. */
struct leaver {
    sflight_future *f;
    atomic_bool *go;
    int last;
};

static void *leave(void *arg)
{
    struct leaver *l = arg;
    WAIT_UNTIL(atomic_load(l->go));
    l->last = sflight_future_drop(l->f);
    return NULL;
}

struct query {
    atomic_int told;
    atomic_bool freed;
};

static void call_off(void *arg)
{
    struct query *query = arg;
    assert_false(query->freed);
    sched_yield();
    assert_false(query->freed);
    atomic_fetch_add(&query->told, 1);
}

static void many_leave_at_once(void **state)
{
    (void)state;
    enum { N = 3 };
    for (int round = 0; round < rounds(2000, 200); round++) {
        sflight_options o = default_options();
        o.cancel_unwanted = round % 2;
        sflight_group *g = group_new(&o);
        struct query query = {0};
        struct leaver leavers[N];
        pthread_t threads[N];
        atomic_bool go = false;
        sflight_call *call = lead(g, "key");
        for (int i = 0; i < N; i++) {
            leavers[i] = (struct leaver){.go = &go};
            if (i != 0)
                leavers[i].f = join(g, "key");
            else
                assert_int_equal(sflight_call_future(call, &leavers[i].f), 0);
        }
        for (int i = 0; i < N; i++)
            threads[i] = thread_start(leave, &leavers[i]);
        go = true;
        sflight_call_on_unwanted(call, call_off, &query);
        bool ends_early = round % 4 / 2;
        if (!ends_early)
            WAIT_UNTIL(query.told);
        sflight_complete(call, 0);
        query.freed = true;
        int n_last = 0;
        for (int i = 0; i < N; i++) {
            thread_join(threads[i]);
            n_last += leavers[i].last;
        }
        assert_true(n_last == 1 || (ends_early && n_last == 0));
        assert_true(query.told == 1 || (ends_early && query.told == 0));
        group_end(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_end),
        cmocka_unit_test(queue_goes_first),
        cmocka_unit_test(in_the_queue),
        cmocka_unit_test(descriptor_still_tells),
        cmocka_unit_test(callbacks),
        cmocka_unit_test(on_the_ending_thread),
        cmocka_unit_test(makes_room),
        cmocka_unit_test(against_the_end),
        cmocka_unit_test(of_another_thread),
        cmocka_unit_test(callbacks_inside_one_another),
        cmocka_unit_test(started_call_with_a_jump),
        cmocka_unit_test(last_of_all),
        cmocka_unit_test(not_before_somebody_waited),
        cmocka_unit_test(set_in_the_callback),
        cmocka_unit_test(panic_in_the_callback),
        cmocka_unit_test(abandon_in_the_callback),
        cmocka_unit_test(not_after_the_end),
        cmocka_unit_test(callback_ends_the_call),
        cmocka_unit_test(blocking_follower),
        cmocka_unit_test(started_call),
        cmocka_unit_test(blocking_leader),
        cmocka_unit_test(many_leave_at_once),
    };
    return RUN_TESTS(tests);
}
