/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.durations: how long calls took and waits were.  Each call that has ended is counted once,
 * however it ended and whoever ended it.
 */
#include "../lib/batch_test.h"
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"
#include "../lib/takeover_test.h"

static sflight_options timed_options(void)
{
    sflight_options o = default_options();
    o.durations = 1;
    return o;
}

static sflight_group *timed_group(void)
{
    sflight_options o = timed_options();
    return group_new(&o);
}

/* How many have been counted whose durations stand at this place or after it. */
static uint64_t n_counted(const sflight_stats *s, size_t from)
{
    uint64_t n = 0;
    for (size_t i = from; i < LENGTH(s->durations); i++)
        n += s->durations[i];
    return n;
}

/* Nothing is in flight: all calls have been counted, and so many there were. */
static void assert_counted(sflight_group *g, uint64_t n)
{
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 0);
    assert_int_equal(s.led, n);
    assert_int_equal(n_counted(&s, 0), n);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pass_ns(int64_t ns)
{
    struct timespec then = deadline_in_ns(ns);
    WAIT_UNTIL(has_passed(&then));
}

/* ---------------------------------------------------------------- asked for */

static void none_without_the_option(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct work w = {0};
    struct caller c[2];
    sflight_result r;
    leader_start(&c[0], g, "key", work_fn, &w);
    caller_start(&c[1], g, "key", must_not_run, NULL);
    await_waiting(g, 1);
    atomic_store(&w.open, true);
    callers_join(c, 2);
    callers_release(c, 2);
    assert_int_equal(do_str(g, "key", nothing, NULL, &r), 0);
    sflight_result_release(&r);
    sflight_complete(lead(g, "key"), 0);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.led, 3);
    assert_int_equal(n_counted(&s, 0), 0);
    assert_int_equal(s.total_ns, 0);
    assert_int_equal(s.longest_wait_ns, 0);
    group_end(g);
}

static void the_option_is_one_or_zero(void **state)
{
    (void)state;
    sflight_options o = default_options();
    sflight_group *g;
    assert_int_equal(o.durations, 0);
    const uint64_t bad[] = {2, UINT64_C(1) << 32, UINT64_MAX};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        o.durations = bad[i];
        assert_int_equal(sflight_group_create(&g, &o), -EINVAL);
    }
}

static void memory_is_counted_and_given_back(void **state)
{
    (void)state;
    uint64_t bytes[2];
    for (unsigned timed = 0; timed < 2; timed++) {
        struct counting counting = {0};
        sflight_options o = counting_options(&counting);
        o.durations = timed;
        sflight_group *g = group_new(&o);
        assert_key_usable(g, "key");
        thread_join(thread_start(use_group, g));
        bytes[timed] = stats_of(g).bytes;
        assert_int_equal(bytes[timed], counting.bytes);
        group_end(g);
        assert_nothing_allocated(&counting);
    }
    assert_true(bytes[1] > bytes[0]);
}

/* ------------------------------------------------------------ each call once */

static void *call_and_exit(void *g)
{
    struct work w = {.open = true};
    sflight_result r;
    (void)do_str(g, "key", exit_fn, &w, &r);
    fail_msg("the thread should have ended");
    return NULL;
}

static int abandon_fn(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_call_abandon(call);
    return 0;
}

static int ask_another(sflight_call *call, void *g)
{
    sflight_result r;
    (void)call;
    assert_int_equal(do_str(g, "another", nothing, NULL, &r), 0);
    sflight_result_release(&r);
    return 0;
}

static int panic_at_once(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_panic(call, "at once");
}

static void calls_of_blocking_leaders(void **state)
{
    (void)state;
    for (int on_abandon = SFLIGHT_ABANDON_SHARE; on_abandon <= SFLIGHT_ABANDON_TAKEOVER;
         on_abandon++) {
        sflight_options o = timed_options();
        o.on_abandon = on_abandon;
        sflight_group *g = group_new(&o);
        static const char long_key[200] = "a key of two hundred bytes";
        sflight_result r;
        assert_int_equal(do_str(g, "key", nothing, NULL, &r), 0);
        sflight_result_release(&r);
        assert_int_equal(sflight_do(g, long_key, sizeof long_key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
        assert_counted(g, 2);
        assert_int_equal(do_str(g, "key", ask_another, g, &r), 0);
        sflight_result_release(&r);
        assert_counted(g, 4);
        assert_int_equal(do_str(g, "key", panic_at_once, NULL, &r), -ENOTRECOVERABLE);
        sflight_result_release(&r);
        assert_counted(g, 5);
        assert_int_equal(do_str(g, "key", abandon_fn, NULL, &r), -EOWNERDEAD);
        assert_counted(g, 6);
        thread_join(thread_start(call_and_exit, g));
        assert_counted(g, 7);
        struct batch b = {.g = g,
                          .n = 4,
                          .keys = {KEY("a"), KEY("b"), KEY("a"), KEY("c")},
                          .fn = batch_fn,
                          .open = true};
        batch_run(&b);
        batch_release(&b);
        assert_counted(g, 10);
        group_end(g);
    }
}

/* A call that is joined, and one beside another in its bucket. */
static void calls_with_company(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.durations = 1;
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller c[3];
    sflight_result r;
    leader_start(&c[0], g, "key", work_fn, &w);
    callers_start(c + 1, 2, g, "key", must_not_run, NULL);
    await_waiting(g, 2);
    for (int i = 0; i < 100; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(do_str(g, key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
    }
    sflight_stats s = stats_of(g);
    assert_int_equal(s.in_flight, 1);
    assert_int_equal(n_counted(&s, 0), 100);
    atomic_store(&w.open, true);
    callers_join(c, 3);
    assert_counted(g, 101);
    callers_release(c, 3);
    group_end(g);
}

static void permits_and_started_calls(void **state)
{
    (void)state;
    sflight_group *g = timed_group();
    sflight_queue *q;
    sflight_call *call = lead(g, "key");
    sflight_completion done;
    sflight_result r;
    uint64_t n = 0;
    assert_int_equal(sflight_queue_create(&q), 0);
    assert_int_equal(sflight_complete(call, 0), 0);
    assert_counted(g, ++n);
#ifndef SFLIGHT_DEBUG          /* which tells of it */
    sflight_complete(call, 0); /* does nothing */
    assert_counted(g, n);
#endif
    assert_int_equal(sflight_abandon(lead(g, "key")), 0);
    assert_counted(g, ++n);
    call = lead(g, "key");
    sflight_future_drop(join(g, "key"));
    sflight_complete(call, 0);
    assert_counted(g, ++n);
    call = lead(g, "key");
    sflight_future *f = join(g, "key");
    sflight_abandon(call);
    consume(f, BY_GET, -EOWNERDEAD);
    assert_counted(g, ++n);
    call = lead(g, "key");
    sflight_call_set_status(call, 5);
    assert_int_equal(sflight_call_future(call, &f), 0);
    sflight_complete(call, 0);
    consume(f, BY_POLL, 0);
    assert_counted(g, ++n);
    assert_int_equal(sflight_begin_enqueue(g, "key", 3, q, 9, &call, NULL), 0);
    sflight_complete(call, 0);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_result_release(&done.result);
    assert_counted(g, ++n);
    assert_int_equal(sflight_future_get(start(g, "key", nothing, NULL), NULL, &r), 0);
    sflight_result_release(&r);
    assert_counted(g, ++n);
    call = lead(g, "key");
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    sflight_complete(lead(g, "key"), 0);
    sflight_complete(call, 0);
    n += 2;
    assert_counted(g, n);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end_when_unused(g);
}

/* From the claim to the end, whoever led meanwhile; and nobody is counted who has died. */
static void a_call_that_is_taken_over_is_one(void **state)
{
    (void)state;
    enum { N = 4 };
    for (int survivor = 0; survivor <= N; survivor += N) {
        sflight_options o = timed_options();
        o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
        sflight_group *g = group_new(&o);
        struct chain chain = {.survivor = survivor};
        struct caller c[N];
        uint64_t before = now_ns();
        caller_start(&c[0], g, "key", chain_fn, &chain);
        WAIT_UNTIL(chain.runs == 1);
        callers_start(c + 1, N - 1, g, "key", chain_fn, &chain);
        await_waiting(g, N - 1);
        pass_ns(1 << 20);
        atomic_store(&chain.open, true);
        callers_join(c, N);
        assert_int_equal(chain.runs, N);
        assert_counted(g, 1);
        sflight_stats s = stats_of(g);
        assert_int_equal(s.taken_over, N - 1);
        assert_int_equal(n_counted(&s, 20), 1);
        assert_true(s.total_ns >= 1 << 20 && s.total_ns <= now_ns() - before);
        for (int i = 0; i < N; i++)
            if (c[i].rc == 0)
                sflight_result_release(&c[i].r);
        group_end(g);
    }
}

static void a_permit_that_is_taken_over(void **state)
{
    (void)state;
    sflight_options o = timed_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    sflight_group *g = group_new(&o);
    sflight_call *call = lead(g, "key");
    struct caller c;
    caller_start(&c, g, "key", nothing, NULL);
    await_waiting(g, 1);
    assert_int_equal(sflight_abandon(call), 1);
    caller_join(&c);
    assert_int_equal(c.rc, 0);
    callers_release(&c, 1);
    assert_counted(g, 1);
    group_end(g);
}

/* ------------------------------------------------------------------ how long */

static int take_a_while(sflight_call *call, void *ns)
{
    (void)call;
    pass_ns(*(int64_t *)ns);
    return 0;
}

static void how_long_a_call_took(void **state)
{
    (void)state;
    sflight_group *g = timed_group();
    uint64_t least = 0, before = now_ns();
    for (int power = 18; power < 22; power++) {
        int64_t ns = INT64_C(1) << power;
        sflight_result r;
        assert_int_equal(do_str(g, "key", take_a_while, &ns, &r), 0);
        sflight_result_release(&r);
        least += (uint64_t)ns;
        sflight_stats s = stats_of(g);
        assert_int_equal(n_counted(&s, 18), power - 17);
        assert_true(n_counted(&s, (size_t)power) >= 1);
        assert_true(s.total_ns >= least && s.total_ns <= now_ns() - before);
        assert_true(s.total_ns >= UINT64_C(1) << (63 - __builtin_clzll(least)));
    }
    sflight_complete(lead(g, "key"), 0);
    assert_counted(g, 5);
    group_end(g);
}

/* A leader that goes on for so long when a follower has parked. */
struct slow {
    sflight_group *g;
    atomic_int runs;
    uint64_t parked; /* before that */
    int64_t ns;
};

static int be_slow(sflight_call *call, void *arg)
{
    struct slow *slow = arg;
    (void)call;
    atomic_fetch_add(&slow->runs, 1);
    WAIT_UNTIL(stats_of(slow->g).parked == slow->parked + 1);
    pass_ns(slow->ns);
    return 0;
}

/* This thread waits, parked, for so long at least. */
static sflight_stats wait_for_a_call(sflight_group *g, int64_t ns)
{
    struct slow slow = {.g = g, .parked = stats_of(g).parked, .ns = ns};
    struct caller leader;
    sflight_result r;
    caller_start(&leader, g, "key", be_slow, &slow);
    WAIT_UNTIL(slow.runs == 1);
    assert_int_equal(do_str(g, "key", must_not_run, NULL, &r), 0);
    sflight_result_release(&r);
    caller_join(&leader);
    callers_release(&leader, 1);
    return stats_of(g);
}

static void the_longest_wait_of_a_follower(void **state)
{
    (void)state;
    enum { LONG_NS = 3000000 };
    sflight_options o = timed_options();
    o.spin_ns = 0;
    sflight_group *g = group_new(&o);
    uint64_t before = now_ns();
    sflight_stats s = wait_for_a_call(g, LONG_NS);
    assert_true(s.longest_wait_ns >= LONG_NS);
    assert_true(s.longest_wait_ns <= now_ns() - before);
    uint64_t longest, passed;
    do { /* until one is shorter */
        longest = s.longest_wait_ns;
        before = now_ns();
        s = wait_for_a_call(g, 0);
        passed = now_ns() - before;
        assert_true(s.longest_wait_ns >= longest);
        assert_true(s.longest_wait_ns == longest || s.longest_wait_ns <= passed);
    } while (passed >= longest);
    group_end(g);
}

/* One who gives up has waited, too. */
static void the_wait_of_one_who_leaves(void **state)
{
    (void)state;
    enum { LONG_NS = 3000000 };
    sflight_group *g = timed_group();
    sflight_call *call = lead(g, "key");
    sflight_result r;
    uint64_t before = now_ns();
    struct timespec soon = deadline_in_ns(LONG_NS);
    assert_int_equal(sflight_do_until(g, "key", 3, must_not_run, NULL, &soon, &r), -ETIMEDOUT);
    sflight_stats s = stats_of(g);
    assert_true(s.longest_wait_ns > 0);
    assert_true(s.longest_wait_ns <= now_ns() - before);
    sflight_complete(call, 0);
    group_end(g);
}

struct getter {
    sflight_group *g;
    sflight_future *f;
};

static void *get_main(void *arg)
{
    struct getter *getter = arg;
    consume(getter->f, BY_GET, 0);
    return NULL;
}

static void the_wait_for_a_future(void **state)
{
    (void)state;
    enum { LONG_NS = 3000000 };
    sflight_group *g = timed_group();
    uint64_t before = now_ns();
    sflight_call *call = lead(g, "key");
    struct getter getter = {g, join(g, "key")};
    pthread_t thread = thread_start(get_main, &getter);
    WAIT_UNTIL(stats_of(g).parked == 1);
    pass_ns(LONG_NS);
    sflight_complete(call, 0);
    thread_join(thread);
    sflight_stats s = stats_of(g);
    assert_true(s.longest_wait_ns >= LONG_NS);
    assert_true(s.longest_wait_ns <= now_ns() - before);
    group_end(g);
}

static int note_age(const sflight_info *info, void *age_ns)
{
    *(uint64_t *)age_ns = info->age_ns;
    return 0;
}

static void ages_are_known(void **state)
{
    (void)state;
    sflight_group *g = timed_group();
    uint64_t before = now_ns(), age_ns = SFLIGHT_AGE_UNKNOWN;
    sflight_call *call = lead(g, "key");
    assert_int_equal(sflight_group_each(g, note_age, &age_ns), 0);
    assert_true(age_ns <= now_ns() - before);
    sflight_complete(call, 0);
    group_end(g);
}

/* ------------------------------------------------- threads that end, children */

static pthread_key_t late;
static atomic_int n_late_calls;

/* Again and again: at last where the library has nothing of the thread's any more. */
static void call_late(void *g)
{
    static _Thread_local int n_rounds;
    sflight_result r;
    assert_int_equal(do_str(g, "key", nothing, NULL, &r), 0);
    sflight_result_release(&r);
    atomic_fetch_add(&n_late_calls, 1);
    if (++n_rounds < (SANITIZED ? 2 : 4)) /* TSan is gone in the last */
        pthread_setspecific(late, g);
}

static void *end_late(void *g)
{
    sflight_result r;
    assert_int_equal(pthread_setspecific(late, g), 0);
    assert_int_equal(do_str(g, "key", nothing, NULL, &r), 0);
    sflight_result_release(&r);
    atomic_fetch_add(&n_late_calls, 1);
    return NULL;
}

static void calls_of_threads_that_end(void **state)
{
    (void)state;
    pthread_t threads[4];
    sflight_group *g = timed_group();
    assert_int_equal(pthread_key_create(&late, call_late), 0);
    threads_start(threads, LENGTH(threads), end_late, g);
    threads_join(threads, LENGTH(threads));
    assert_true(n_late_calls > (int)LENGTH(threads));
    pthread_key_delete(late);
    /* Two for the same key at once are one. */
    sflight_stats s = stats_of(g);
    assert_true(s.led <= (uint64_t)n_late_calls);
    assert_counted(g, s.led);
    group_end(g);
}

static int fork_and_return(sflight_call *call, void *pid)
{
    (void)call;
    *(pid_t *)pid = fork_child();
    return 0;
}

/* A call that goes on in the child is counted in both; one that does not exist there only here. */
static void calls_over_a_fork(void **state)
{
    (void)state;
    sflight_group *g = timed_group();
    struct work w = {0};
    struct caller other;
    sflight_result r;
    pid_t pid = -1;
    assert_key_usable(g, "before");
    leader_start(&other, g, "another thread's", work_fn, &w);
    assert_int_equal(do_str(g, "key", fork_and_return, &pid, &r), 0);
    sflight_result_release(&r);
    sflight_stats s = stats_of(g);
    assert_int_equal(n_counted(&s, 0), 2);
    if (pid == 0) {
        assert_int_equal(s.in_flight, 0);
        assert_key_usable(g, "key");
        s = stats_of(g);
        assert_int_equal(n_counted(&s, 0), 3);
        group_end(g);
        _exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(s.in_flight, 1);
    atomic_store(&w.open, true);
    caller_join(&other);
    callers_release(&other, 1);
    assert_counted(g, 3);
    group_end(g);
}

/* ------------------------------------------------------------------ at once */

struct crowd {
    sflight_group *g;
    int rounds;
};

static void *ask_all_keys(void *arg)
{
    struct crowd *crowd = arg;
    static const char *const keys[] = {"a", "b", "c", "a key that is too long for the record"};
    for (int i = 0; i < crowd->rounds; i++) {
        sflight_result r;
        assert_int_equal(do_str(crowd->g, keys[i % 4], nothing, NULL, &r), 0);
        sflight_result_release(&r);
    }
    return NULL;
}

static void many_threads_at_once(void **state)
{
    (void)state;
    pthread_t threads[8];
    sflight_options o = small_options();
    o.durations = 1;
    struct crowd crowd = {group_new(&o), rounds(20000, 500)};
    threads_start(threads, LENGTH(threads), ask_all_keys, &crowd);
    threads_join(threads, LENGTH(threads));
    sflight_stats s = stats_of(crowd.g);
    assert_int_equal(s.led + s.joined, LENGTH(threads) * (size_t)crowd.rounds);
    assert_counted(crowd.g, s.led);
    group_end(crowd.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_without_the_option),
        cmocka_unit_test(the_option_is_one_or_zero),
        cmocka_unit_test(memory_is_counted_and_given_back),
        cmocka_unit_test(calls_of_blocking_leaders),
        cmocka_unit_test(calls_with_company),
        cmocka_unit_test(permits_and_started_calls),
        cmocka_unit_test(a_call_that_is_taken_over_is_one),
        cmocka_unit_test(a_permit_that_is_taken_over),
        cmocka_unit_test(how_long_a_call_took),
        cmocka_unit_test(the_longest_wait_of_a_follower),
        cmocka_unit_test(the_wait_of_one_who_leaves),
        cmocka_unit_test(the_wait_for_a_future),
        cmocka_unit_test(ages_are_known),
        cmocka_unit_test(calls_of_threads_that_end),
        cmocka_unit_test(calls_over_a_fork),
        cmocka_unit_test(many_threads_at_once),
    };
    return RUN_TESTS(tests);
}
