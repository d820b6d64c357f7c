/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups with options.runtime. */
#include "drain.h"
#include "tasks.h"

static void tasks_begin(int on_abandon)
{
    sflight_options o = world_options();

    o.on_abandon = on_abandon;
    o.runtime = tasks_runtime();
    world_begin(&o);
    sched.counters = sched_mishap(8); /* whose slot is it? */
}

static void go_ask(unsigned i, const char *key)
{
    go_task(ask_whole, fresh(i, key));
}

static void end(void)
{
    join_all();
    world_end();
    some_are_threads = false;
}

static void mixed(void (*scenario)(void))
{
    some_are_threads = true;
    scenario();
}

/* ------------------------------------------------------------- join, deadlines */

static void two(void *first)
{
    struct ask *ask = first;
    ask_whole(&ask[0]);
    ask_whole(&ask[1]);
}

static void task_join(void)
{
    tasks_begin(SFLIGHT_ABANDON_SHARE);
    for (unsigned i = 0; i < 4; i++)
        fresh(i, "a");
    go_task(two, &asks[0]);
    go_task(two, &asks[2]);
    if (variant(2))
        go_ask(4, "a");
    end();
}

static void mixed_join(void)
{
    mixed(task_join);
}

static void task_deadline(void)
{
    tasks_begin(SFLIGHT_ABANDON_SHARE);
    world.may = MAY_TIME_OUT;
    go_ask(0, "a");
    fresh(1, "a")->patience_ns = variant(2) ? SHORT_NS : 1;
    go_task(ask_whole, &asks[1]);
    if (variant(2)) {
        fresh(2, "a")->patience_ns = SHORT_NS;
        go_task(ask_whole, &asks[2]);
    }
    end();
}

static void mixed_deadline(void)
{
    mixed(task_deadline);
}

/* -------------------------------------------------------------------- futures */

static void complete(void *ask)
{
    ask_complete(ask);
}

static void abandon(void *ask)
{
    ask_abandon(ask);
}

/* Joins without blocking, then waits, has itself told or drops it. */
static void future(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future == NULL)
        return;
    switch (variant(3)) {
    case 0:
        ask_get(ask);
        if (ask->future != NULL)
            ask_get(ask); /* once more, after its deadline */
        if (ask->future != NULL)
            ask_drop(ask);
        else
            ask_release(ask);
        break;
    case 1:
        ask_then(ask);
        break;
    default:
        ask_drop(ask);
    }
}

static void task_future(void)
{
    tasks_begin(SFLIGHT_ABANDON_SHARE);
    world.may = MAY_TIME_OUT;
    ask_begin(fresh(0, "a"));
    go_task(complete, &asks[0]);
    fresh(1, "a")->patience_ns = variant(2) ? SHORT_NS : 0;
    go_task(future, &asks[1]);
    if (variant(2))
        go_task(future, fresh(2, "a"));
    end();
}

static void mixed_future(void)
{
    mixed(task_future);
}

static void start_and_get(void *arg)
{
    struct ask *ask = arg;
    ask_start(ask);
    if (ask->future == NULL)
        return;
    if (variant(3) == 0) {
        ask_drop(ask);
        return;
    }
    ask_get(ask);
    ask_release(ask);
}

static void task_started(void)
{
    tasks_begin(SFLIGHT_ABANDON_SHARE); /* taken over, it would have two leaders */
    world.may = MAY_BE_DEAD;
    for (unsigned i = 0; i < 2; i++) {
        fresh(i, "a")->way = variant(4) == 0 ? EXITS : RETURNS;
        go_task(start_and_get, &asks[i]);
    }
    go_ask(2, "a");
    end();
}

/* ------------------------------------------------------------------- takeover */

/* One after the other dies; of those that follow one leaves at its deadline. */
static void task_takeover(void)
{
    tasks_begin(SFLIGHT_ABANDON_TAKEOVER);
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    fresh(0, "a")->way = EXITS;
    go_task(ask_whole, &asks[0]);
    fresh(1, "a")->patience_ns = SHORT_NS;
    go_task(ask_whole, &asks[1]);
    fresh(2, "a")->way = variant(2) ? EXITS : RETURNS;
    go_task(ask_whole, &asks[2]);
    if (variant(2)) {
        fresh(3, "a")->patience_ns = variant(2) ? SHORT_NS : 0;
        go_task(ask_whole, &asks[3]);
    }
    if (variant(2))
        go_ask(4, "a");
    end();
}

static void mixed_takeover(void)
{
    mixed(task_takeover);
}

/* The same with futures in the list, and a permit that is given up. */
static void task_takeover_futures(void)
{
    tasks_begin(SFLIGHT_ABANDON_TAKEOVER);
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    ask_begin(fresh(0, "a"));
    go_task(abandon, &asks[0]);
    go_ask(1, "a");
    go_task(future, fresh(2, "a"));
    fresh(3, "a")->patience_ns = SHORT_NS;
    asks[3].way = variant(2) ? EXITS : RETURNS;
    go_task(ask_whole, &asks[3]);
    if (variant(2))
        go_task(future, fresh(4, "a"));
    end();
}

static void hang_and_drop(void *arg)
{
    struct ask *ask = arg;
    (void)sflight_future_fd(ask->future);
    ask_drop(ask);
}

/* Its permit is given up while another thread holds its list; who follows must learn of that. */
static void task_takeover_amid_sweep(void)
{
    tasks_begin(SFLIGHT_ABANDON_TAKEOVER);
    world.may = MAY_BE_DEAD;
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "a"));
    go_task(ask_whole, fresh(2, "a"));
    go(hang_and_drop, &asks[1]);
    go(abandon, &asks[0]);
    end();
}

static void mixed_takeover_futures(void)
{
    mixed(task_takeover_futures);
}

/* ---------------------------------------------------------------------- drain */

static void task_drain(void)
{
    tasks_begin(SFLIGHT_ABANDON_SHARE);
    sched.counters = true;
    in_fn = false;
    fresh(0, "a")->inside = say_in_fn;
    go_task(drain, NULL);
    go_task(ask_whole, &asks[0]);
    if (variant(2))
        go_task(variant(2) ? drain : drain_until, NULL);
    end();
}

static void mixed_drain(void)
{
    mixed(task_drain);
}

/* -------------------------------------------------------------------- circles */

static void circle_of(unsigned n)
{
    static const char *const keys[] = {"a", "b", "c"};
    unsigned n_deadlocks = 0;
    bool closed = true;

    tasks_begin(SFLIGHT_ABANDON_SHARE);
    for (unsigned i = 0; i < n; i++) {
        fresh(i, keys[i])->inner = fresh(n + i, keys[(i + 1) % n]);
        asks[n + i].may = MAY_DEADLOCK;
        go_task(ask_whole, &asks[i]);
    }
    join_all();
    for (unsigned i = 0; i < n; i++) {
        closed = closed && asks[i].led;
        n_deadlocks += asks[n + i].over && asks[n + i].rc == -EDEADLK;
    }
    CHECK(n_deadlocks <= 1);
    CHECK(closed || n_deadlocks == 0);
    end();
}

static void task_circle(void)
{
    circle_of(2);
}

/* They lead, wait in fn, and may then be on other threads. */
static void task_in_fn(void)
{
    tasks_begin((int)variant(2));
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    static const char *const keys[] = {"a", "b", "d"};
    for (unsigned i = 0; i < 3; i++) {
        fresh(i, keys[i])->inner = fresh(3 + i, "c");
        asks[3 + i].way = variant(4) == 0 ? EXITS : RETURNS;
        asks[3 + i].patience_ns = variant(4) == 0 ? SHORT_NS : 0;
        go_task(ask_whole, &asks[i]);
    }
    end();
}

static void mixed_circle_of_three(void)
{
    some_are_threads = true;
    circle_of(3);
}

const struct scenario scenarios_tasks[] = {
    {"task_join", task_join, 100, 2},
    {"mixed_join", mixed_join, 100, 0},
    {"task_deadline", task_deadline, 100, 2},
    {"mixed_deadline", mixed_deadline, 100, 0},
    {"task_future", task_future, 100, 2},
    {"mixed_future", mixed_future, 100, 0},
    {"task_started", task_started, 100, 0},
    {"task_takeover", task_takeover, 200, 1},
    {"mixed_takeover", mixed_takeover, 100, 0},
    {"task_takeover_futures", task_takeover_futures, 200, 0},
    {"task_takeover_amid_sweep", task_takeover_amid_sweep, 100, 1},
    {"mixed_takeover_futures", mixed_takeover_futures, 100, 0},
    {"task_drain", task_drain, 100, 1},
    {"mixed_drain", mixed_drain, 100, 0},
    {"task_circle", task_circle, 100, 2},
    {"task_in_fn", task_in_fn, 100, 1},
    {"mixed_circle_of_three", mixed_circle_of_three, 100, 0},
    {0},
};
