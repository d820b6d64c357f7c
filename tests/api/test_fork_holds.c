/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork() by a thread that holds results, futures and permits: what it holds it
 * holds in both processes, and what others led does not exist in the child.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

/* ------------------------------------------------------- what the child holds */

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

struct moved {
    sflight_group *g;
    struct work w;
    sflight_result r;
    atomic_bool led, may_end;
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
        assert_int_equal(stats_of(m.g).held, 1); /* of a thread that has ended: anybody's */
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

static void *lead_for_another_and_stay(void *arg)
{
    struct moved *m = arg;
    lead_for_another(m);
    atomic_store(&m->led, true);
    WAIT_UNTIL(m->may_end);
    return NULL;
}

/* What the child gives up of another thread's must not hide what it holds. */
static void a_result_that_came_from_another_thread(void **state)
{
    (void)state;
    struct moved m = {.g = group_new(NULL), .w = {.open = true}};
    pthread_t thread = thread_start(lead_for_another_and_stay, &m);
    WAIT_UNTIL(m.led);
    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_result r;
        sflight_result_release(&m.r);
        assert_int_equal(sflight_do(m.g, "own", 3, nothing, NULL, &r), 0);
        assert_int_equal(stats_of(m.g).held, 1);
        assert_int_equal(sflight_group_destroy(m.g), -EBUSY);
        sflight_result_release(&r);
        assert_int_equal(sflight_group_destroy(m.g), 0);
        _exit(0);
    }
    assert_child_succeeds(pid);
    atomic_store(&m.may_end, true);
    thread_join(thread);
    sflight_result_release(&m.r);
    assert_all_destroyed(&m.w.tally);
    group_end(m.g);
}

/* The same where the forking thread has several holds of its own, and gives up one of many. */
static void several_and_a_result_of_another_thread(void **state)
{
    (void)state;
    struct moved m = {.g = group_new(NULL), .w = {.open = true}};
    sflight_result own[3], r;
    pthread_t thread = thread_start(lead_for_another_and_stay, &m);
    WAIT_UNTIL(m.led);
    assert_int_equal(sflight_do(m.g, "key", 3, nothing, NULL, &own[0]), 0);
    assert_int_equal(sflight_result_retain(&own[0], &own[1]), 0);
    assert_int_equal(sflight_result_retain(&own[0], &own[2]), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            sflight_result_release(&own[i]);
        sflight_result_release(&m.r);
        assert_int_equal(sflight_do(m.g, "own", 3, nothing, NULL, &r), 0);
        assert_int_equal(stats_of(m.g).held, 1);
        assert_int_equal(sflight_group_destroy(m.g), -EBUSY);
        sflight_result_release(&r);
        assert_int_equal(sflight_group_destroy(m.g), 0);
        _exit(0);
    }
    assert_child_succeeds(pid);
    atomic_store(&m.may_end, true);
    thread_join(thread);
    for (int i = 0; i < 3; i++)
        sflight_result_release(&own[i]);
    sflight_result_release(&m.r);
    assert_all_destroyed(&m.w.tally);
    group_end(m.g);
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

static void *release_and_stay(void *arg)
{
    struct moved *m = arg;
    sflight_result_release(&m->r);
    atomic_store(&m->led, true);
    WAIT_UNTIL(m->may_end);
    return NULL;
}

/* The same, and that thread does not end before the fork. */
static void a_result_that_is_released_by_a_thread_that_stays(void **state)
{
    (void)state;
    struct moved m = {.g = group_new(NULL)};
    assert_int_equal(sflight_do(m.g, "key", 3, nothing, NULL, &m.r), 0);
    pthread_t thread = thread_start(release_and_stay, &m);
    WAIT_UNTIL(m.led);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(stats_of(m.g).held, 0);
        child_uses_group(m.g);
        exit(0);
    }
    assert_child_succeeds(pid);
    atomic_store(&m.may_end, true);
    thread_join(thread);
    group_end(m.g);
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

/* ------------------------------------------------------ futures and permits */

static void futures_and_permits(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct work w = {0};
    struct caller leader;
    sflight_queue *q;
    struct noted noted = {0};
    sflight_result r;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *mine = lead(g, "mine");
    sflight_future *on_mine = join(g, "mine");
    struct caller follower; /* does not exist in the child */
    caller_start(&follower, g, "mine", must_not_run, NULL);
    leader_start(&leader, g, "theirs", work_fn, &w);
    sflight_future *f[3] = {join(g, "theirs"), join(g, "theirs"), join(g, "theirs")};
    assert_true(sflight_future_fd(f[1]) >= 0);
    assert_int_equal(sflight_future_get(f[2], &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(sflight_future_then(join(g, "theirs"), note, &noted), 0);
    assert_int_equal(sflight_future_enqueue(join(g, "theirs"), q, 1), 0);
    sflight_future *dropped = join(g, "theirs");
    assert_true(sflight_future_fd(dropped) >= 0);
    sflight_future_drop(dropped);
    await_waiting(g, 7);
    WAIT_UNTIL(stats_of(g).parked == 1);

    pid_t pid = fork_child();
    if (pid == 0) {
        sflight_stats s = stats_of(g);
        assert_int_equal(s.in_flight, 1);
        assert_int_equal(s.waiting, 1);
        assert_int_equal(s.held, 3);
        for (size_t i = 0; i < LENGTH(f); i++)
            consume(f[i], i % 2 ? BY_POLL : BY_GET, -EOWNERDEAD);
        assert_int_equal(stats_of(g).held, 0);
        sflight_future *more = join(g, "mine");
        assert_int_equal(sflight_group_drain(g, &in_the_past), -ETIMEDOUT);
        assert_int_equal(sflight_group_destroy(g), -EBUSY);
        sflight_complete(mine, 5);
        consume(on_mine, BY_GET, 0);
        consume(more, BY_THEN, 0);
        assert_int_equal(noted.n, 0);
        assert_key_usable(g, "theirs");
        assert_key_usable(g, "mine");
        assert_int_equal(sflight_queue_destroy(q), 0);
        group_end(g);
        assert_nothing_allocated(&counting);
        exit(0);
    }
    assert_child_succeeds(pid);

    atomic_store(&w.open, true);
    caller_join(&leader);
    callers_release(&leader, 1);
    for (size_t i = 0; i < LENGTH(f); i++)
        consume(f[i], i % 2 ? BY_POLL : BY_GET, 0);
    assert_int_equal(noted.n, 1);
    sflight_completion done;
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_result_release(&done.result);
    assert_int_equal(sflight_queue_destroy(q), 0);
    sflight_complete(mine, 0);
    consume(on_mine, BY_GET, 0);
    caller_join(&follower);
    callers_release(&follower, 1);
    assert_all_destroyed(&w.tally);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* Completions of one call that were drained before the fork, given back all together. */
static void completions(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct tally tally = {0};
    sflight_queue *q;
    sflight_completion done[4];
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(g, "key");
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(sflight_future_enqueue(join(g, "key"), q, i), 0);
    value_set(call, &tally, 1);
    sflight_complete(call, 0);
    assert_int_equal(sflight_queue_drain(q, done, 4), 4);
    pid_t pid = fork_child();
    if (pid == 0)
        assert_int_equal(stats_of(g).held, 4);
    sflight_completions_release(done, 3); /* in both */
    assert_int_equal(stats_of(g).held, 1);
    assert_int_equal(tally.destroyed, 0);
    sflight_completions_release(done + 3, 1);
    assert_all_destroyed(&tally);
    assert_int_equal(sflight_queue_destroy(q), 0);
    if (pid == 0) {
        child_uses_group(g);
        assert_nothing_allocated(&counting);
        exit(0);
    }
    group_end(g);
    assert_nothing_allocated(&counting);
    assert_child_succeeds(pid);
}

struct giver {
    sflight_group *g;
    sflight_result r;
    atomic_bool given, go;
};

static void *give_and_stay(void *arg)
{
    struct giver *giver = arg;
    assert_int_equal(do_str(giver->g, "given", nothing, NULL, &giver->r), 0);
    giver->given = true;
    WAIT_UNTIL(giver->go);
    return NULL;
}

static pid_t forked_by_destroy;

static void fork_in_destroy(void *value, size_t size, void *ctx)
{
    (void)value, (void)size, (void)ctx;
    forked_by_destroy = fork_child();
}

/*
 * The hold that is given up is there at the fork, which comes before that is counted.  But the
 * thread has given one up that another one got: so it counts for nothing, or one that is `mine`.
 */
static void give_up_around_a_fork(bool with_mine)
{
    sflight_group *g = group_new(NULL);
    struct giver giver = {.g = g};
    sflight_result mine = {0}, later;
    pthread_t thread = thread_start(give_and_stay, &giver);
    WAIT_UNTIL(giver.given);
    sflight_result_release(&giver.r);
    if (with_mine)
        assert_int_equal(do_str(g, "mine", nothing, NULL, &mine), 0);
    sflight_call *call = lead(g, "key");
    sflight_call_set(call, "", 1, fork_in_destroy, NULL);
    sflight_complete(call, 0);
    if (forked_by_destroy == 0)
        assert_int_equal(stats_of(g).held, 0);
    sflight_result_release(&mine);
    assert_int_equal(do_str(g, "later", nothing, NULL, &later), 0);
    assert_int_equal(stats_of(g).held, 1);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    sflight_result_release(&later);
    if (forked_by_destroy == 0)
        exit(sflight_group_destroy(g) == 0 ? 0 : 1);
    assert_child_succeeds(forked_by_destroy);
    giver.go = true;
    thread_join(thread);
    group_end(g);
}

static void given_up_around_a_fork(void **state)
{
    (void)state;
    give_up_around_a_fork(false);
    give_up_around_a_fork(true);
}

struct takeover {
    sflight_group *g;
    atomic_bool leads, is_given_up, destroyed_first, go;
};

static void wait_for_the_follower(void *value, size_t size, void *ctx)
{
    struct takeover *t = ctx;
    (void)value, (void)size;
    t->destroyed_first = true;
    WAIT_UNTIL(t->is_given_up);
}

static int set_and_abandon(sflight_call *call, void *arg)
{
    struct takeover *t = arg;
    sflight_call_set(call, "", 1, wait_for_the_follower, t);
    t->leads = true;
    WAIT_UNTIL(stats_of(t->g).waiting == 1);
    sflight_call_abandon(call);
    return 0;
}

static int set_to_fork(sflight_call *call, void *arg)
{
    (void)arg;
    sflight_call_set(call, "", 1, fork_in_destroy, NULL);
    return 0;
}

static void *follow_give_up_and_stay(void *arg)
{
    struct takeover *t = arg;
    sflight_result r;
    WAIT_UNTIL(t->leads);
    assert_int_equal(do_str(t->g, "key", set_to_fork, NULL, &r), 0);
    WAIT_UNTIL(t->destroyed_first);
    sflight_result_release(&r);
    t->is_given_up = true;
    WAIT_UNTIL(t->go);
    return NULL;
}

/*
 * Who has abandoned a call still has a hold while its value is destroyed, and it is the last one,
 * after a takeover: so it destroys the other value as well.
 */
static void given_up_by_who_has_abandoned(void **state)
{
    (void)state;
    sflight_options o;
    sflight_options_init(&o);
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    struct takeover t = {.g = group_new(&o)};
    sflight_result r;
    pthread_t thread = thread_start(follow_give_up_and_stay, &t);
    assert_int_equal(do_str(t.g, "key", set_and_abandon, &t, &r), -EOWNERDEAD);
    if (forked_by_destroy == 0) {
        assert_int_equal(stats_of(t.g).held, 0);
        exit(sflight_group_destroy(t.g) == 0 ? 0 : 1);
    }
    assert_child_succeeds(forked_by_destroy);
    t.go = true;
    thread_join(thread);
    group_end(t.g);
}

/* The first use of the group in the child gives a future away. */
static void given_away_first(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    struct noted noted = {0};
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    pid_t pid = fork_child();
    assert_int_equal(sflight_future_then(f, note, &noted), 0);
    assert_int_equal(sflight_complete(call, 0), 1);
    assert_int_equal(noted.n, 1);
    group_end(g);
    if (pid == 0)
        exit(0);
    assert_child_succeeds(pid);
}

/* A permit of another thread, which asked to be told, and what waits for it is taken back. */
struct asker {
    sflight_group *g;
    atomic_int told;
    atomic_bool asked, go;
};

static void count(void *n)
{
    atomic_fetch_add((atomic_int *)n, 1);
}

static void *ask_and_stay(void *arg)
{
    struct asker *a = arg;
    sflight_call *call = lead(a->g, "theirs");
    sflight_call_on_unwanted(call, count, &a->told);
    a->asked = true;
    WAIT_UNTIL(a->go);
    sflight_complete(call, 0);
    return NULL;
}

static void taken_back(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    struct asker asker = {.g = g};
    struct noted noted = {0};
    sflight_queue *q;
    sflight_completion done;
    assert_int_equal(sflight_queue_create(&q), 0);
    pthread_t thread = thread_start(ask_and_stay, &asker);
    WAIT_UNTIL(asker.asked);
    sflight_future *f[2] = {join(g, "theirs"), join(g, "theirs")};
    assert_int_equal(sflight_future_then(f[0], note, &noted), 0);
    assert_int_equal(sflight_future_enqueue(f[1], q, 1), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        for (int i = 0; i < 2; i++)
            assert_int_equal(sflight_future_cancel(f[i]), 1);
        assert_int_equal(noted.n, 0);
        assert_int_equal(sflight_queue_drain(q, &done, 1), 0);
        assert_int_equal(sflight_queue_destroy(q), 0);
        assert_int_equal(asker.told, 0);
        assert_int_equal(stats_of(g).held, 0);
        child_uses_group(g);
        assert_nothing_allocated(&counting);
        exit(0);
    }
    assert_child_succeeds(pid);
    asker.go = true;
    thread_join(thread);
    assert_int_equal(noted.n, 1);
    assert_int_equal(sflight_queue_drain(q, &done, 1), 1);
    sflight_completions_release(&done, 1);
    assert_int_equal(sflight_queue_destroy(q), 0);
    assert_int_equal(asker.told, 0);
    group_end(g);
    assert_nothing_allocated(&counting);
}

/* Calls that have been forgotten are not in the table, where a fork finds the others. */
static void forgotten_calls(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    sflight_group *g = group_new(&o);
    sflight_call *mine = lead(g, "key");
    sflight_future *on_mine[2] = {join(g, "key"), join(g, "key")};
    sflight_result r;
    struct work w = {.open = false};
    struct caller leader;
    assert_int_equal(sflight_future_get(on_mine[1], &in_the_past, &r), -ETIMEDOUT);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    leader_start(&leader, g, "theirs", work_fn, &w);
    sflight_future *on_theirs = join(g, "theirs");
    assert_int_equal(sflight_forget(g, "theirs", 6), 1);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(sflight_future_poll(on_mine[0], &r), -EAGAIN); /* the child's to end */
        assert_int_equal(stats_of(g).in_flight, 1);
        assert_int_equal(stats_of(g).waiting, 2);
        consume(on_theirs, BY_GET, -EOWNERDEAD);
        assert_key_usable(g, "key");
    } else {
        atomic_store(&w.open, true);
        caller_join(&leader);
        callers_release(&leader, 1);
        consume(on_theirs, BY_GET, 0);
    }
    sflight_complete(mine, 5);
    for (size_t i = 0; i < LENGTH(on_mine); i++) {
        assert_int_equal(sflight_future_poll(on_mine[i], &r), 0);
        assert_int_equal(r.status, 5);
        assert_int_equal(r.followers, 2);
        sflight_result_release(&r);
    }
    group_end(g);
    assert_nothing_allocated(&counting);
    if (pid == 0)
        exit(0);
    assert_all_destroyed(&w.tally);
    assert_child_succeeds(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_result_is_held_in_both),
        cmocka_unit_test(a_held_result_is_retained_in_the_child),
        cmocka_unit_test(a_result_of_another_thread),
        cmocka_unit_test(a_result_that_came_from_another_thread),
        cmocka_unit_test(several_and_a_result_of_another_thread),
        cmocka_unit_test(a_result_that_was_released_elsewhere),
        cmocka_unit_test(a_result_that_is_released_by_a_thread_that_stays),
        cmocka_unit_test(values_of_other_leaders),
        cmocka_unit_test(started_calls),
        cmocka_unit_test(futures_and_permits),
        cmocka_unit_test(completions),
        cmocka_unit_test(given_up_around_a_fork),
        cmocka_unit_test(given_up_by_who_has_abandoned),
        cmocka_unit_test(given_away_first),
        cmocka_unit_test(taken_back),
        cmocka_unit_test(forgotten_calls),
    };
    return RUN_TESTS(tests);
}
