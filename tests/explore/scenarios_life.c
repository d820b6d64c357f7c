/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups and threads that end: close, drain, destroy, exit, fork. */
#include "drain.h"

static void go_ask(unsigned i, const char *key)
{
    go(ask_whole, fresh(i, key));
}

/* -------------------------------------------------------- close, drain, destroy */

static void close_and_drain(void *unused)
{
    (void)unused;
    CHECK(sflight_group_close(world.group) == 0);
    CHECK(sflight_group_drain(world.group, NULL) == 0);
    CHECK(n_running() == 0);
    world.shut = true; /* nothing begins any more */
}

static void close_against_claim(void)
{
    world_begin(NULL);
    sched.counters = true;
    world.may = MAY_BE_SHUT;
    go(close_and_drain, NULL);
    go_ask(0, "a");
    if (variant(2))
        go_ask(1, variant(2) ? "a" : "b");
    join_all();
    world_end();
}

static void begin_one(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future != NULL) {
        ask_get(ask);
        ask_release(ask);
    }
}

static void close_against_begin(void)
{
    world_begin(NULL);
    sched.counters = true;
    world.may = MAY_BE_SHUT;
    go(close_and_drain, NULL);
    go(begin_one, fresh(0, "a"));
    go(begin_one, fresh(1, "a"));
    join_all();
    world_end();
}

/* Who drains sees the end of the call, and does not sleep through it. */
static void drain_against_complete(void)
{
    world_begin(NULL);
    sched.counters = true;
    in_fn = false;
    fresh(0, "a")->inside = say_in_fn;
    go(drain, NULL);
    go(ask_whole, &asks[0]);
    if (variant(2))
        go(drain, NULL);
    join_all();
    world_end();
}

static void drain_with_deadline(void)
{
    world_begin(NULL);
    sched.counters = true;
    go(drain_until, NULL);
    go_ask(0, "a");
    go_ask(1, "a");
    join_all();
    world_end();
}

static void destroy_when_idle(void *unused)
{
    (void)unused;
    int rc;
    while ((rc = sflight_group_destroy(world.group)) == -EBUSY)
        sched_yield_point(SITE);
    CHECK(rc == 0);
    CHECK(n_running() == 0);
    world.shut = true;
}

/* For scenarios that destroy the group by themselves, as its counters allow. */
static void destroyed_begin(const sflight_options *options)
{
    world_begin(options);
    sched.counters = true;
    world.settled = true;
}

static void get_and_release(void *arg)
{
    struct ask *ask = arg;
    ask_get(ask);
    ask_release(ask);
}

static void complete(void *ask)
{
    ask_complete(ask);
}

/* Of a call that nobody ends meanwhile. */
static void drain_times_out(void)
{
    world_begin(NULL);
    ask_begin(fresh(0, "a"));
    struct timespec deadline = {1, SHORT_NS};
    CHECK(sflight_group_drain(world.group, &deadline) == -ETIMEDOUT);
    ask_complete(&asks[0]);
    world_end();
}

/* Destroyed as soon as that is allowed, by somebody who does not wait for the threads. */
static void destroy_against_calls(void)
{
    destroyed_begin(NULL);
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "a"));
    go(complete, &asks[0]);
    go(get_and_release, &asks[1]);
    go(destroy_when_idle, NULL);
    join_all();
    world_end();
}

static void destroy_against_leader_body(void *unused)
{
    until(&in_fn);
    destroy_when_idle(unused);
}

static void destroy_against_leader(void)
{
    destroyed_begin(NULL);
    in_fn = false;
    fresh(0, "a")->inside = say_in_fn;
    go(ask_whole, &asks[0]);
    go(destroy_against_leader_body, NULL);
    join_all();
    world_end();
}

static bool is_in[2];

static void say_is_in(struct ask *ask)
{
    reached(&is_in[ask - asks]);
    pause_here();
}

/* Who comes back knows that it was in, and whether the other one is. */
static void ask_and_say(void *arg)
{
    struct ask *ask = arg;
    ask_result(ask);
    if (ask->rc == 0 && ask->r.followers != 0)
        reached(&is_in[1 - (ask - asks)]);
    ask_release(ask);
    reached(&is_in[ask - asks]);
}

static bool has_tried;

/* Who has joined does not get much further meanwhile. */
static void dawdle(void)
{
    for (unsigned n = 0; n < 200 && !has_tried; n++)
        sched_yield_point(SITE);
}

/* Somebody knows of a follower, but from the leader only, and destroys as soon as may be. */
static void destroy_against_follower(void)
{
    sflight_options o = world_options();
    o.max_waiters = variant(2);
    destroyed_begin(&o);
    has_tried = false;
    door.left = variant(2) ? dawdle : NULL;
    bool seen = variant(2);
    for (unsigned i = 0; i < 2; i++) {
        is_in[i] = false;
        fresh(i, "a")->inside = say_is_in;
        go(ask_and_say, &asks[i]);
        if (seen && i == 0) { /* the other one need not search */
            until(&is_in[0]);
            CHECK(sflight_forget(world.group, "another in this bucket", 22) == 0);
        }
    }
    until(&is_in[0]);
    until(&is_in[1]);
    int rc = sflight_group_destroy(world.group);
    has_tried = true;
    if (rc != 0)
        destroy_when_idle(NULL);
    join_all();
    world_end();
}

static void remember_and_join(void *arg)
{
    (void)arg;
    for (unsigned i = 1; i < 4; i++) {
        ask_begin(fresh(i, "a"));
        if (asks[i].future != NULL)
            ask_drop(&asks[i]);
    }
    reached(&is_in[1]);
    ask_begin_and_complete(fresh(4, "a"));
    if (asks[4].future != NULL)
        ask_drop(&asks[4]);
}

/* The same where the follower's thread remembers the call. */
static void destroy_against_remembered(void)
{
    sflight_options o = world_options();
    destroyed_begin(&o);
    door.joint_after = variant(2) ? 0 : 100;
    sched.counters = true;
    is_in[1] = false;
    ask_begin(fresh(0, "a"));
    int64_t *followers = &asks[0].run->followers;
    go(remember_and_join, NULL);
    until(&is_in[1]);
    if (variant(2))
        pause_here();
    ask_complete(&asks[0]);
    if (*followers == 0)
        join_all(); /* it may not have come yet */
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

static void forget_a(void *unused)
{
    (void)unused;
    (void)forget("a", false);
}

/* Somebody knows by the next call for the key that it has been forgotten. */
static void destroy_against_forget(void)
{
    destroyed_begin(NULL);
    ask_begin(fresh(0, "a"));
    go(forget_a, NULL);
    ask_begin(fresh(1, "a"));
    bool knows = asks[1].permit != NULL;
    ask_complete(&asks[0]);
    if (knows)
        ask_complete(&asks[1]);
    else
        get_and_release(&asks[1]);
    if (!knows)
        join_all();
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

static bool walks;

static int walks_now(const sflight_info *info, void *unused)
{
    (void)info, (void)unused;
    reached(&walks);
    return 0;
}

static void walk(void *unused)
{
    (void)unused;
    int rc = sflight_group_each(world.group, walks_now, NULL);
    CHECK(rc == 0 || rc == -ENOMEM);
    reached(&walks);
}

/* A walk has begun, and ends while somebody destroys. */
static void destroy_against_each(void)
{
    walks = false;
    destroyed_begin(NULL);
    ask_begin(fresh(0, "a"));
    go(walk, NULL);
    until(&walks);
    ask_complete(&asks[0]);
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

static void drop(void *ask)
{
    ask_drop(ask);
}

/* The permit holder's own future is dropped as its call ends on another thread. */
static void destroy_against_own_drop(void)
{
    destroyed_begin(NULL);
    ask_begin(fresh(0, "a"));
    CHECK(ask_own_future(&asks[0]));
    go(complete, &asks[0]);
    ask_drop(&asks[0]);
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

/* Its starter leaves while a call that it started ends. */
static void destroy_against_start(void)
{
    destroyed_begin(NULL);
    ask_start(fresh(0, "a"));
    go(variant(3) == 0 ? get_and_release : drop, &asks[0]);
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

/* Who has drained may destroy: the threads that the library made are not in it any more. */
static void drained_runner(void)
{
    destroyed_begin(NULL);
    ask_start(fresh(0, "a"));
    if (asks[0].future != NULL && variant(2))
        get_and_release(&asks[0]);
    else if (asks[0].future != NULL)
        ask_drop(&asks[0]);
    world_drain(0);
    CHECK(sflight_group_destroy(world.group) == 0);
    world.shut = true;
    join_all();
    world_end();
}

/* Who is said to wait has joined: the call that ends then has it as a follower. */
static void stats_say_who_waits(void)
{
    sflight_stats stats = {0};
    world_begin(NULL);
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    struct run *run = asks[0].run;
    CHECK(sflight_forget(world.group, "another in this bucket", 22) == 0); /* it is seen */
    go(begin_one, fresh(1, "a"));
    for (unsigned i = 0; i < 20 && stats.waiting == 0; i++)
        CHECK(sflight_group_stats(world.group, &stats) == 0);
    ask_complete(&asks[0]);
    CHECK(stats.waiting == 0 || run->followers == 1);
    join_all();
    world_end();
}

static void begin_three(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);

    for (unsigned i = 0; i < 3; i++)
        ask_begin(fresh(n + i, "a"));
    for (unsigned i = 0; i < 3; i++)
        if (asks[n + i].permit != NULL)
            ask_complete(&asks[n + i]);
    until(&has_tried);
    for (unsigned i = 0; i < 3; i++)
        if (asks[n + i].future != NULL)
            ask_drop(&asks[n + i]);
}

/* The same of one who remembers the call. */
static void stats_say_who_waits_again(void)
{
    sflight_stats stats = {0};
    world_begin(NULL);
    door.joint_after = variant(2) ? 0 : 100;
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    struct run *run = asks[0].run;
    has_tried = false;
    go(begin_three, fresh(1, "a"));
    for (unsigned i = 0; i < 40 && stats.waiting < 3; i++)
        CHECK(sflight_group_stats(world.group, &stats) == 0);
    ask_complete(&asks[0]);
    CHECK(run->followers >= (int64_t)stats.waiting);
    reached(&has_tried);
    join_all();
    world_end();
}

/* A future counts as waiting or as held, at any moment. */
static void stats_against_complete(void)
{
    world_begin(NULL);
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "a"));
    go(complete, &asks[0]);
    for (unsigned i = 0; i < 4; i++) {
        sflight_stats stats;
        CHECK(sflight_group_stats(world.group, &stats) == 0);
        CHECK(stats.waiting + stats.held >= 1);
    }
    get_and_release(&asks[1]);
    join_all();
    world_end();
}

/* Who sees that a call has ended sees how long it took; counted by two at once, too. */
static void durations_against_end(void)
{
    sflight_options o = world_options();

    o.durations = 1;
    world_begin(&o);
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "b"));
    if (variant(2) != 0)
        go(begin_one, fresh(2, "a"));
    go(complete, &asks[0]);
    go(complete, &asks[1]);
    for (unsigned i = 0; i < 3; i++) {
        sflight_stats stats;
        CHECK(sflight_group_stats(world.group, &stats) == 0);
        CHECK(n_timed(&stats) + stats.in_flight >= 2);
    }
    join_all();
    world_end();
}

static void drop_both(void *unused)
{
    (void)unused;
    ask_drop(&asks[0]);
    ask_drop(&asks[1]);
}

static void join_and_get(void *ask)
{
    ask_begin(ask);
    if (asks[1].permit != NULL)
        ask_complete(ask);
    ask_get_or_drop(ask);
}

/* Counted as a joiner after it has joined: the end of the call may come between. */
static void stats_against_join(void)
{
    world_begin(NULL);
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    go(join_and_get, fresh(1, "a"));
    go(complete, &asks[0]);
    for (unsigned i = 0; i < 3; i++) {
        sflight_stats stats;
        CHECK(sflight_group_stats(world.group, &stats) == 0);
        CHECK(stats.waiting <= 1 && stats.held <= MAX_ASKS);
    }
    join_all();
    world_end();
}

/* Given up between the close and the publishing: released before it is counted as held. */
static void stats_against_drop(void)
{
    world_begin(NULL);
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    CHECK(ask_own_future(&asks[0]));
    ask_begin(fresh(1, "a"));
    go(complete, &asks[0]);
    go(drop_both, NULL);
    for (unsigned i = 0; i < 3; i++) {
        sflight_stats stats;
        CHECK(sflight_group_stats(world.group, &stats) == 0);
        CHECK(stats.held <= MAX_ASKS);
    }
    join_all();
    world_end();
}

static void drain_only(void *unused)
{
    (void)unused;
    CHECK(sflight_group_drain(world.group, NULL) == 0);
}

/* The last call to end has been looked at, and nobody has joined it. */
static void drain_against_unjoined(void)
{
    world_begin(NULL);
    sched.counters = true;
    door.fingerprints = false;
    ask_begin(fresh(0, "a1"));
    ask_begin(fresh(1, "a2")); /* in the same bucket */
    unsigned first = variant(2);
    ask_complete(&asks[1 - first]);
    go(drain_only, NULL);
    ask_complete(&asks[first]);
    join_all();
    world_end();
}

/* A claim that is counted and fails, while somebody waits for the count to go down. */
static void drain_against_claims(void)
{
    world_begin(NULL);
    sched.counters = true;
    go(drain_only, NULL);
    go_ask(0, "a");
    go_ask(1, "a");
    join_all();
    world_end();
}

/* --------------------------------------------------------------- thread exit */

/* Slots pass from threads that end to those that come. */
static void threads_come_and_go(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < 6; i++) {
        go_ask(i, i % 2 ? "a" : "b");
        if (variant(2))
            join_all();
    }
    join_all();
    world_end();
}

/* A thread ends while the group that it has used is destroyed. */
static bool has_used;

static void use_and_say(void *ask)
{
    ask_whole(ask);
    reached(&has_used);
}

static void exit_against_destroy(void)
{
    world_begin(NULL);
    world.settled = true;
    has_used = false;
    go(use_and_say, fresh(0, "a"));
    until(&has_used);
    destroy_when_idle(NULL);
    join_all();
    world_end();
}

/* ---------------------------------------------------------------------- fork */

static void child_goes_on(void)
{
    ask_whole(fresh(20, "a"));
    ask_whole(fresh(21, "b"));
    CHECK(asks[20].rc == 0 && asks[20].led);
    CHECK(asks[21].rc == 0 && asks[21].led);
}

static void forget_and_ask(void *ask)
{
    (void)forget("a", variant(2));
    ask_whole(ask);
}

static void let_others_go_on(void)
{
    for (unsigned n = variant(60); n != 0; n--)
        sched_yield_point(SITE);
}

/* Others claim, follow, forget, leave and end while this thread forks. */
static void fork_amidst(void)
{
    sflight_options o = world_options();
    o.on_abandon = (int)variant(2);
    world_begin(&o);
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    if (variant(2))
        ask_whole(fresh(0, "a"));
    go_ask(1, "a");
    fresh(2, "a")->patience_ns = SHORT_NS;
    go(ask_whole, &asks[2]);
    fresh(3, "b")->way = variant(2) ? EXITS : RETURNS;
    go(ask_whole, &asks[3]);
    if (variant(2))
        go(forget_and_ask, fresh(4, "a"));
    let_others_go_on();
    world_fork();
    child_goes_on();
    world_end();
}

static bool forked;

static void fork_here(struct ask *ask)
{
    (void)ask;
    let_others_go_on();
    world_fork();
    forked = true;
}

/* Another thread of the child is the first to use the group. */
static void fork_here_and_start(struct ask *ask)
{
    fork_here(ask);
    go(ask_whole, fresh(9, "d"));
}

/* The leader itself forks, in fn: the call is the child's. */
static void fork_in_fn(void)
{
    sflight_options o = world_options();
    o.on_abandon = (int)variant(2);
    world_begin(&o);
    world.may = MAY_BE_DEAD | MAY_TIME_OUT;
    forked = false;
    door.forks_noticed = variant(2);
    fresh(0, "a")->inside = door.forks_noticed ? fork_here_and_start : fork_here;
    go_ask(1, "a");
    fresh(2, "a")->patience_ns = SHORT_NS;
    go(ask_whole, &asks[2]);
    go_ask(3, "b");
    if (variant(2))
        ask_whole(&asks[0]);
    else
        ask_many(&asks[0], 1), ask_release(&asks[0]);
    join_all(); /* if somebody else led; or in the child */
    if (forked)
        child_goes_on();
    world_end();
}

static void end_all(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (asks[i].permit != NULL)
            ask_complete(&asks[i]);
    for (unsigned i = 0; i < n; i++) {
        if (asks[i].future == NULL)
            continue;
        if (variant(2)) {
            ask_get(&asks[i]);
            ask_release(&asks[i]);
        } else {
            ask_drop(&asks[i]);
        }
    }
}

static void futures_begin(void)
{
    sflight_options o = world_options();
    o.on_abandon = (int)variant(2);
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.may = MAY_BE_DEAD;
    world.forgets = o.cancel_unwanted;
}

static void hang_and_drop(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future == NULL)
        return;
    (void)sflight_future_fd(ask->future);
    ask_drop(ask);
}

/* Joins the key's call again and again, as far as there is one, and gives that up. */
static void remember(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);
    const char *key = first->key;

    for (unsigned i = 0; i < 4; i++)
        hang_and_drop(fresh(n + i, key));
}

static void fork_and_end_all(unsigned n)
{
    let_others_go_on();
    world_fork();
    end_all(n);
    child_goes_on();
    world_end();
}

/* The forking thread has permits, and futures on its own calls; others follow those. */
static void fork_with_permits(void)
{
    futures_begin();
    ask_begin(fresh(0, "c"));
    ask_begin(fresh(1, "c"));
    go_ask(2, "c");
    go_ask(3, "b");
    let_others_go_on();
    ask_begin(fresh(4, "c"));
    fork_and_end_all(5);
}

/* Others hold the list of a call of its own, to take out of it what they have given up. */
static void fork_amid_sweep(void)
{
    futures_begin();
    ask_begin(fresh(0, "c"));
    ask_begin(fresh(1, "c"));
    (void)sflight_future_fd(asks[1].future);
    go(hang_and_drop, fresh(2, "c"));
    go(hang_and_drop, fresh(3, "c"));
    fork_and_end_all(2);
}

/* It got its permit when there was no memory for what a thread has, and then there was. */
static void fork_with_bare_permit(void)
{
    door.failures = 2;
    world_begin(NULL);
    world.may = MAY_BE_DEAD | MAY_TIME_OUT;
    ask_begin(fresh(0, "a"));
    door.failures = 0;
    ask_whole(fresh(1, "b"));
    world_fork();
    world_drain(SHORT_NS);
    if (asks[0].permit != NULL)
        ask_complete(&asks[0]);
    world_drain(0);
    world_end();
}

/* It has futures on the calls of others, which do not exist in the child. */
static void fork_with_futures(void)
{
    futures_begin();
    go_ask(0, "a");
    go_ask(1, "a");
    let_others_go_on();
    ask_begin(fresh(2, "a"));
    ask_begin(fresh(3, "a"));
    fork_and_end_all(4);
}

/* It remembers a call of its own or of another thread; others remember them, or are about to. */
static void fork_with_remembered(void)
{
    futures_begin();
    ask_begin(fresh(0, "c"));
    go_ask(1, "a");
    let_others_go_on();
    const char *key = variant(2) ? "a" : "c";
    go(remember, fresh(30, key));
    remember(fresh(40, variant(2) ? "a" : "c"));
    fork_and_end_all(2);
}

/* Its futures are of a joint of its own call, or of another thread's; others come and go meanwhile.
 */
static void fork_with_joints(void)
{
    futures_begin();
    door.joint_after = 0;
    ask_begin(fresh(0, "c"));
    go_ask(1, "a");
    let_others_go_on();
    const char *key = variant(2) ? "a" : "c";
    go(remember, fresh(30, variant(2) ? "a" : "c"));
    go(remember, fresh(40, key));
    for (unsigned i = 2; i < 7; i++) {
        ask_begin(fresh(i, key));
        if (asks[i].future != NULL && variant(2))
            (void)sflight_future_fd(asks[i].future);
    }
    if (asks[4].future != NULL && variant(2))
        ask_drop(&asks[4]);
    fork_and_end_all(7);
}

static bool begun, joined;

static void complete_when_joined(void *ask)
{
    ask_begin(ask);
    reached(&begun);
    until(&joined);
    ask_complete(ask);
}

static void end_one(void *arg)
{
    struct ask *ask = arg;

    if (variant(2))
        ask_drop(ask);
    else
        ask_get_or_drop(ask);
}

/* Another thread ends the call that it has futures on; several threads of the child use those. */
static void fork_amid_telling(void)
{
    futures_begin();
    begun = joined = false;
    go(complete_when_joined, fresh(0, "a"));
    until(&begun);
    for (unsigned i = 1; i <= 2; i++) {
        ask_begin(fresh(i, "a"));
        (void)sflight_future_fd(asks[i].future);
    }
    reached(&joined);
    let_others_go_on();
    world_fork();
    for (unsigned i = 1; i <= 2; i++)
        go(end_one, &asks[i]);
    join_all();
    child_goes_on();
    world_end();
}

/* The same; each was hung up without a descriptor, and the child asks for one. */
static void fork_amid_telling_without_fd(void)
{
    futures_begin();
    world.may |= MAY_TIME_OUT;
    begun = joined = false;
    go(complete_when_joined, fresh(0, "a"));
    until(&begun);
    for (unsigned i = 1; i <= 3; i++) {
        ask_begin(fresh(i, "a"));
        asks[i].patience_ns = 1;
        ask_get(&asks[i]);
    }
    reached(&joined);
    let_others_go_on();
    world_fork();
    for (unsigned i = 1; i <= 3; i++)
        ask_by_fd(&asks[i]);
    join_all();
    child_goes_on();
    world_end();
}

static void hang_and_get(void *arg)
{
    struct ask *ask = arg;

    (void)sflight_future_fd(ask->future);
    ask_get(ask);
    ask_release(ask);
}

/* Of the futures on a call of its own each is used by another thread of the child, at once. */
static void fork_and_hang(void)
{
    futures_begin();
    ask_begin(fresh(0, "c"));
    for (unsigned i = 1; i <= 2; i++)
        ask_begin(fresh(i, "c"));
    world_fork();
    for (unsigned i = 1; i <= 2; i++)
        go(hang_and_get, &asks[i]);
    if (variant(2))
        let_others_go_on();
    ask_complete(&asks[0]);
    join_all();
    child_goes_on();
    world_end();
}

/* Calls that have been forgotten before the fork: a permit, and somebody else's. */
static void fork_with_forgotten(void)
{
    futures_begin();
    ask_begin(fresh(0, "c"));
    go_ask(1, "c");
    go_ask(2, "a");
    let_others_go_on();
    ask_begin(fresh(3, "a"));
    (void)forget(variant(2) ? "a" : "c", false);
    fork_and_end_all(4);
}

/* The call of a permit that has been dropped, and that nobody has taken over yet, is nobody's. */
static void fork_with_abandoned(void)
{
    sflight_options o = world_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    world_begin(&o);
    world.may = MAY_BE_DEAD;
    ask_begin(fresh(0, "a"));
    go_ask(1, "a");
    let_others_go_on();
    ask_abandon(&asks[0]);
    ask_begin(fresh(2, "a"));
    world_fork();
    end_all(3);
    child_goes_on();
    world_end();
}

static void end_permit(void *permit)
{
    if (variant(2))
        sflight_complete(permit, 0);
    else
        sflight_abandon(permit);
}

static void run_for_a_while(void *arg)
{
    (void)arg;
    let_others_go_on();
}

/*
 * Another thread ends the forking one's permit, perhaps behind a callback that runs, or is about
 * to.  The child ends it if it is in flight there, and then the key is free.
 */
static void fork_with_ended_permit(void)
{
    sflight_stats stats;
    sflight_call *permit;
    sflight_future *none;

    futures_begin();
    ask_whole(fresh(1, "b"));
    CHECK(sflight_begin(world.group, "c", 1, &permit, &none) == 0 && permit != NULL);
    if (variant(2))
        sflight_call_on_unwanted(permit, run_for_a_while, NULL);
    if (variant(2))
        go(hang_and_drop, fresh(2, "c"));
    go(end_permit, permit);
    let_others_go_on();
    world_fork();
    world_loses(2); /* of who was ending it, and of its callback */
    CHECK(sflight_group_stats(world.group, &stats) == 0);
    if (stats.in_flight != 0)
        end_permit(permit); /* otherwise its memory may be gone */
    ask_whole(fresh(3, "c"));
    CHECK(asks[3].rc == 0 && asks[3].led);
    child_goes_on();
    world_end();
}

static void lead_meanwhile(struct ask *ask)
{
    (void)ask;
    let_others_go_on();
}

/* Completions are pushed by others, or lost with the threads that were about to. */
static void fork_with_queue(void)
{
    static const char *const keys[] = {"a", "b", "c"};
    enum { N = sizeof(keys) / sizeof(keys[0]) };
    unsigned n_in = 0;
    sflight_queue *queue;

    world_begin(NULL);
    world.may = MAY_BE_DEAD;
    CHECK(sflight_queue_create(&queue) == 0);
    for (unsigned i = 0; i < N; i++) {
        fresh(i, keys[i])->inside = lead_meanwhile;
        go(ask_whole, &asks[i]);
    }
    let_others_go_on();
    for (unsigned i = 0; i < N; i++) {
        ask_begin(fresh(N + i, keys[i]));
        if (asks[N + i].permit != NULL)
            ask_complete(&asks[N + i]);
        else
            n_in += ask_enqueue(&asks[N + i], queue);
    }
    for (unsigned n = variant(4); n != 0; n--)
        let_others_go_on();
    world_fork();
    n_in -= ask_drain(queue);
    for (; sflight_queue_destroy(queue) == -EBUSY; n_in--) {
        CHECK(n_in != 0);
        door_drain_lost(queue);
        world_loses(1);
    }
    child_goes_on();
    world_end();
}

static sflight_result copies[2];

static void copy(struct ask *ask, sflight_result *to)
{
    CHECK(sflight_result_retain(&ask->r, to) == 0);
    ask->run->holds++;
}

static void release_copy(void *i)
{
    asks[(uintptr_t)i].run->holds--;
    sflight_result_release(&copies[(uintptr_t)i]);
}

static bool copied;

/* Has a copy, and waits for the forking thread. */
static void copy_and_wait(void *arg)
{
    struct ask *ask = arg;
    ask_result(ask);
    copy(ask, &copies[1]);
    ask_release(ask);
    reached(&copied);
    ask_whole(fresh(2, "c"));
}

/*
 * In the child two threads give up what the forking thread has from before the fork; then what
 * another had, which was running and is not there.
 */
static void fork_and_release(void)
{
    sflight_stats stats;

    copied = false;
    world_begin(NULL);
    door.forks_noticed = true;
    ask_result(fresh(0, "a"));
    copy(&asks[0], &copies[0]);
    ask_begin(fresh(3, "c"));
    go(copy_and_wait, fresh(1, "b"));
    until(&copied);
    world_fork();
    go(release_copy, (void *)0);
    ask_release(&asks[0]);
    join_all();
    release_copy((void *)1); /* is not counted: nor was the hold */
    ask_complete(&asks[3]);
    ask_result(fresh(4, "a"));
    CHECK(sflight_group_stats(world.group, &stats) == 0);
    CHECK(stats.held == 1);
    ask_release(&asks[4]);
    child_goes_on();
    world_end();
}

const struct scenario scenarios_life[] = {
    {"close_against_claim", close_against_claim, 200, 2},
    {"close_against_begin", close_against_begin, 100, 1},
    {"drain_against_complete", drain_against_complete, 200, 2},
    {"drain_against_unjoined", drain_against_unjoined, 200, 2},
    {"drain_with_deadline", drain_with_deadline, 100, 1},
    {"drain_times_out", drain_times_out, 20, 1},
    {"destroy_against_calls", destroy_against_calls, 200, 1},
    {"destroy_against_leader", destroy_against_leader, 100, 2},
    {"destroy_against_remembered", destroy_against_remembered, 100, 2},
    {"destroy_against_follower", destroy_against_follower, 200, 1},
    {"destroy_against_forget", destroy_against_forget, 200, 2},
    {"destroy_against_each", destroy_against_each, 100, 2},
    {"destroy_against_own_drop", destroy_against_own_drop, 200, 2},
    {"destroy_against_start", destroy_against_start, 500, 2},
    {"drained_runner", drained_runner, 100, 2},
    {"stats_say_who_waits", stats_say_who_waits, 100, 1},
    {"stats_say_who_waits_again", stats_say_who_waits_again, 200, 1},
    {"stats_against_complete", stats_against_complete, 100, 2},
    {"durations_against_end", durations_against_end, 100, 1},
    {"stats_against_join", stats_against_join, 100, 2},
    {"stats_against_drop", stats_against_drop, 100, 1},
    {"drain_against_claims", drain_against_claims, 200, 1},
    {"threads_come_and_go", threads_come_and_go, 100, 0},
    {"exit_against_destroy", exit_against_destroy, 100, 2},
    {"fork_amidst", fork_amidst, 300, 0},
    {"fork_in_fn", fork_in_fn, 200, 0},
    {"fork_with_permits", fork_with_permits, 200, 0},
    {"fork_amid_sweep", fork_amid_sweep, 200, 0},
    {"fork_with_bare_permit", fork_with_bare_permit, 50, 0},
    {"fork_with_futures", fork_with_futures, 200, 0},
    {"fork_with_remembered", fork_with_remembered, 200, 0},
    {"fork_with_joints", fork_with_joints, 200, 0},
    {"fork_amid_telling", fork_amid_telling, 200, 0},
    {"fork_amid_telling_without_fd", fork_amid_telling_without_fd, 200, 0},
    {"fork_and_hang", fork_and_hang, 200, 0},
    {"fork_with_forgotten", fork_with_forgotten, 100, 0},
    {"fork_with_abandoned", fork_with_abandoned, 100, 0},
    {"fork_with_ended_permit", fork_with_ended_permit, 200, 0},
    {"fork_with_queue", fork_with_queue, 100, 0},
    {"fork_and_release", fork_and_release, 50, 2},
    {0},
};
