/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that nobody joins, on ready records (src/call_alone.h): against all that may
 * come between, and with results that go on to other threads.
 */
#include "rules.h"

#include <errno.h>

enum { BARE = 3 }; /* the first makes a record, which the next find ready */

/* Records are kept: otherwise none is ever ready. */
static void alone_begin(void)
{
    world_begin(NULL);
    door.no_spares = false;
    door.common_slots = false;
}

static struct ask *bare(unsigned first, const char *key)
{
    for (unsigned i = 0; i < BARE; i++)
        fresh(first + i, key)->bare = true;
    return &asks[first];
}

static void some(void *first)
{
    struct ask *ask = first;
    for (unsigned i = 0; i < BARE; i++)
        ask_whole(&ask[i]);
}

/* ------------------------------------------------------------- results copied */

static sflight_result copies[2];
static bool copied[2];

static void copy_and_release(void *arg)
{
    unsigned i = *(unsigned *)arg;
    asks[1].run->holds++;
    CHECK(sflight_result_retain(&asks[1].r, &copies[i]) == 0);
    reached(&copied[i]);
    pause_here();
    asks[1].run->holds--;
    sflight_result_release(&copies[i]);
}

/* Two threads make copies of one result at once: its value goes once, after the last. */
static void copied_at_once(void)
{
    static unsigned numbers[2] = {0, 1};

    alone_begin();
    ask_whole(fresh(0, "a"));
    ask_result(fresh(1, "a"));
    for (unsigned i = 0; i < 2; i++) {
        copied[i] = false;
        go(copy_and_release, &numbers[i]);
    }
    until(&copied[0]);
    until(&copied[1]);
    ask_release(&asks[1]);
    join_all();
    world_end();
}

/* ------------------------------------------------------------------ the fast path */

static void alone_against_join(void)
{
    alone_begin();
    go(some, bare(0, "a"));
    go(some, bare(BARE, "a"));
    join_all();
    world_end();
}

static void forget_twice(void *key)
{
    (void)forget(key, variant(2));
    (void)forget(key, variant(2));
}

static void alone_against_forget(void)
{
    alone_begin();
    go(some, bare(0, "a"));
    go(forget_twice, "a");
    if (variant(2))
        go(some, bare(BARE, "a"));
    join_all();
    world_end();
}

static void close_and_drain(void *unused)
{
    (void)unused;
    CHECK(sflight_group_close(world.group) == 0);
    CHECK(sflight_group_drain(world.group, NULL) == 0);
    CHECK(n_running() == 0);
    world.shut = true;
}

/* It has a ready record before somebody closes the group. */
static void alone_against_close(void)
{
    alone_begin();
    sched.counters = true;
    world.may = MAY_BE_SHUT;
    ask_whole(bare(0, "a"));
    go(close_and_drain, NULL);
    ask_whole(&asks[1]);
    ask_whole(&asks[2]);
    join_all();
    world_end();
}

static bool ready[2];

static void get_ready_and_ask(void *arg)
{
    struct ask *ask = arg;
    ask_whole(&ask[0]);
    reached(&ready[ask != asks]);
    ask_whole(&ask[1]);
}

/* Of two claims one fails, and need not try again: the group has been closed. */
static void alone_claims_against_close(void)
{
    alone_begin();
    sched.counters = true;
    world.may = MAY_BE_SHUT;
    if (variant(2)) /* as x86, which needs more of a fence there */
        memory_old_values = memory_x86 = true;
    ready[0] = ready[1] = false;
    bare(0, "b")[1].key = "a";
    bare(BARE, "c")[1].key = "a";
    go(get_ready_and_ask, &asks[0]);
    go(get_ready_and_ask, &asks[BARE]);
    until(&ready[0]);
    until(&ready[1]);
    close_and_drain(NULL);
    join_all();
    world_end();
}

/* Claims beside another call of the bucket, with ready records. */
static void alone_beside(void)
{
    alone_begin();
    bare(0, "b"), bare(BARE, "c");
    asks[1].key = "a1", asks[2].key = "a2";
    asks[BARE + 1].key = "a2", asks[BARE + 2].key = "a1";
    ask_begin(fresh(2 * BARE, "a3"));
    go(some, &asks[0]);
    go(some, &asks[BARE]);
    if (variant(2))
        ask_complete(&asks[2 * BARE]); /* meanwhile */
    join_all();
    if (asks[2 * BARE].permit != NULL)
        ask_complete(&asks[2 * BARE]);
    world_end();
}

/* Who has joined a call that was claimed beside another one drains: fn has returned then. */
static void beside_against_drain(void)
{
    struct ask *joiner = &asks[BARE + 1];

    alone_begin();
    sched.counters = true;
    ready[0] = false;
    bare(0, "b")[1].key = "a1";
    ask_begin(fresh(BARE, "a3"));
    go(get_ready_and_ask, &asks[0]);
    until(&ready[0]);
    ask_begin(fresh(BARE + 1, "a1"));
    bool joined = joiner->future != NULL;
    if (!joined)
        ask_complete(joiner);
    ask_complete(&asks[BARE]);
    CHECK(sflight_group_drain(world.group, NULL) == 0);
    CHECK(!joined || (asks[1].run != NULL && asks[1].run->ended != 0));
    join_all();
    if (joined) {
        ask_get(joiner);
        ask_release(joiner);
    }
    world_end();
}

static void beside_against_fork(void)
{
    alone_begin();
    ask_begin(fresh(4 * BARE, "a3"));
    go(some, bare(0, "a1"));
    go(some, bare(BARE, variant(2) ? "a1" : "a2"));
    for (unsigned n = variant(120); n != 0; n--)
        sched_yield_point(SITE);
    world_fork();
    some(bare(2 * BARE, "a1"));
    some(bare(3 * BARE, "a2"));
    CHECK(asks[2 * BARE].rc == 0 && asks[3 * BARE].rc == 0);
    ask_complete(&asks[4 * BARE]);
    world_end();
}

static void alone_against_fork(void)
{
    alone_begin();
    go(some, bare(0, "a"));
    go(some, bare(BARE, variant(2) ? "a" : "b"));
    if (variant(2))
        some(bare(2 * BARE, "c"));
    for (unsigned n = variant(60); n != 0; n--)
        sched_yield_point(SITE);
    world_fork();
    some(bare(2 * BARE, "a"));
    some(bare(3 * BARE, "b"));
    CHECK(asks[2 * BARE].rc == 0 && asks[3 * BARE].rc == 0);
    world_end();
}

/* ---------------------------------------------------------------- handed over */

static bool there;

static void take_and_ask(void *first)
{
    ask_whole(&asks[2 * BARE]); /* has a slot, and a spare record */
    until(&there);
    ask_release(&asks[1]);
    some(first);
}

/* A result goes to another thread, which gives it up and asks in its turn. */
static void alone_handed_over(void)
{
    alone_begin();
    there = false;
    bare(0, "a"), bare(BARE, "b");
    fresh(2 * BARE, "c")->bare = true;
    go(take_and_ask, &asks[BARE]);
    ask_whole(&asks[0]);
    ask_result(&asks[1]);
    reached(&there);
    asks[2].key = "b";
    ask_whole(&asks[2]);
    join_all();
    world_end();
}

const struct scenario scenarios_alone[] = {
    {"copied_at_once", copied_at_once, 100, 2},
    {"alone_against_join", alone_against_join, 100, 1},
    {"alone_beside", alone_beside, 100, 1},
    {"beside_against_drain", beside_against_drain, 100, 2},
    {"beside_against_fork", beside_against_fork, 100, 0},
    {"alone_against_forget", alone_against_forget, 100, 2},
    {"alone_against_close", alone_against_close, 100, 2},
    {"alone_claims_against_close", alone_claims_against_close, 300, 1},
    {"alone_against_fork", alone_against_fork, 100, 0},
    {"alone_handed_over", alone_handed_over, 100, 2},
    {0},
};
