/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callers that block.  Small situations, each with a few threads; rules.h has
 * what must hold in all of them.
 */
#include "rules.h"

#include <errno.h>
#include <string.h>

static void go_ask(unsigned i, const char *key)
{
    go(ask_whole, fresh(i, key));
}

static void claim_claim(void)
{
    world_begin(NULL);
    go_ask(0, "a");
    go_ask(1, "a");
    join_all();
    world_end();
}

static void two(void *first)
{
    struct ask *ask = first;
    ask_whole(&ask[0]);
    ask_whole(&ask[1]);
}

/* Who comes again as soon as it has returned never joins what it comes from. */
static void join_against_complete(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < 4; i++)
        fresh(i, "a");
    go(two, &asks[0]);
    go(two, &asks[2]);
    join_all();
    world_end();
}

/* More followers than the opener wakes: the chain of wakes. */
static void many_followers(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < 6; i++)
        go_ask(i, "a");
    join_all();
    world_end();
}

/* Neighbours in one bucket come and go: marks, unlinks, insertions in front. */
static void neighbours(void)
{
    static const char *const keys[] = {"a1", "a2", "a3", "a1"};
    world_begin(NULL);
    for (unsigned i = 0; i < 4; i++)
        go_ask(i, keys[i]);
    join_all();
    world_end();
}

/* A record that nobody has looked at is used again at once, for another key. */
static void reuse(void)
{
    world_begin(NULL);
    fresh(0, "a1");
    fresh(1, "a2");
    fresh(2, "a2");
    fresh(3, "a1");
    go(two, &asks[0]);
    go(two, &asks[2]);
    join_all();
    world_end();
}

/* Who has another fingerprint claims in front of what stays, without a look, and goes before it. */
static void known_apart(void)
{
    world_begin(NULL);
    door.fingerprints = true;
    ask_begin(fresh(0, "a1"));
    go(come_and_go, fresh(1, "a2"));
    go(variant(2) ? come_and_go : ask_whole, fresh(2, variant(2) ? "a1" : "a3"));
    if (variant(2))
        go_ask(3, "a2");
    ask_complete(&asks[0]);
    join_all();
    ask_whole(fresh(4, "a2"));
    world_end();
}

/* -------------------------------------------------------------------- forget */

static void forget_once(void *key)
{
    (void)forget(key, variant(2));
}

/* Newcomers pass by what was forgotten, but not by what is in front of it or behind. */
static void passed_by(void)
{
    static const char *const keys[] = {"a1", "a2"};
    unsigned forgotten = variant(2);
    bool both = variant(2);

    world_begin(NULL);
    door.fingerprints = variant(2);
    ask_begin(fresh(0, keys[both ? 1 - forgotten : forgotten]));
    if (both)
        ask_begin(fresh(1, keys[forgotten]));
    if (variant(2))
        forget_once((void *)(uintptr_t)keys[variant(4) ? forgotten : 1 - forgotten]);
    else
        go(forget_once, (void *)(uintptr_t)keys[variant(4) ? forgotten : 1 - forgotten]);
    go(variant(2) ? come_and_go : ask_whole, fresh(2, "a1"));
    go(variant(2) ? come_and_go : ask_whole, fresh(3, keys[variant(2)]));
    if (both && variant(2))
        ask_complete(&asks[1]);
    ask_complete(&asks[0]);
    if (both && !asks[1].over)
        ask_complete(&asks[1]);
    join_all();
    world_end();
}

/* What ends behind a call as that is forgotten comes before the next of its key all the same. */
static void passed_by_from_behind(void)
{
    world_begin(NULL);
    ask_begin(fresh(0, "a1"));
    ask_begin(fresh(1, "a2"));
    go(forget_once, "a2");
    go(complete_permit, &asks[0]);
    go(come_and_go, fresh(2, "a1"));
    join_all();
    ask_complete(&asks[1]);
    world_end();
}

static void forget_against_complete(void)
{
    world_begin(NULL);
    go_ask(0, "a");
    go_ask(1, "a");
    go(forget_once, "a");
    join_all();
    world_end();
}

static void forget_then_ask(void *ask)
{
    (void)forget(((struct ask *)ask)->key, variant(2));
    ask_whole(ask);
}

/* Who begins after a forget does not get what was forgotten. */
static void forget_and_ask(void)
{
    world_begin(NULL);
    go_ask(0, "a");
    go(forget_then_ask, fresh(1, "a"));
    if (variant(2))
        go(forget_then_ask, fresh(2, "a"));
    join_all();
    world_end();
}

static void forget_own(struct ask *ask)
{
    (void)forget(ask->key, false);
}

/* The same key again, in fn, after it was forgotten. */
static void forget_inside(void)
{
    world_begin(NULL);
    fresh(0, "a")->inside = forget_own;
    asks[0].inner = fresh(2, "a");
    go(ask_whole, &asks[0]);
    go_ask(1, "a");
    world.may = MAY_DEADLOCK; /* the inner one may join a call that waits for the outer */
    join_all();
    world_end();
}

/* sflight_forget_unshared(): never false after that call's do has returned. */
static void unshared_alone(void *ask)
{
    ask_whole(ask);
    CHECK(forget(((struct ask *)ask)->key, true) == 1 || n_runs() > 1);
}

static void forget_unshared(void)
{
    world_begin(NULL);
    go(unshared_alone, fresh(0, "a"));
    go(forget_then_ask, fresh(1, "a"));
    join_all();
    world_end();
}

/* ----------------------------------------------------------------- deadlines */

static void deadline_against_complete(void)
{
    world_begin(NULL);
    world.may = MAY_TIME_OUT;
    go_ask(0, "a");
    fresh(1, "a")->patience_ns = variant(2) ? SHORT_NS : 1;
    go(ask_whole, &asks[1]);
    if (variant(2))
        go_ask(2, "a");
    join_all();
    world_end();
}

static void no_more_waiters(void)
{
    sflight_options o = world_options();
    o.max_waiters = 1;
    world_begin(&o);
    world.may = MAY_BE_FULL;
    for (unsigned i = 0; i < 3; i++)
        go_ask(i, "a");
    join_all();
    for (unsigned i = 0; i < 3; i++)
        CHECK(asks[i].rc != 0 || asks[i].run->n_followers <= 1);
    world_end();
}

enum { MAX_AGE_NS = 1000 };
static uint64_t in_fn_since_ns[3]; /* by ask */

static void in_fn(struct ask *ask)
{
    in_fn_since_ns[ask - asks] = sched.now_ns;
    for (unsigned n = variant(20); n != 0; n--)
        pause_here();
    sched.now_ns += variant(2) * 2 * MAX_AGE_NS;
    for (unsigned n = variant(20); n != 0; n--)
        pause_here();
}

static void ask_for_new(void *arg)
{
    struct ask *ask = arg;
    uint64_t begun_ns = sched.now_ns;
    ask_result(ask);
    CHECK(ask->led || begun_ns <= in_fn_since_ns[ask->run->leader - asks] + MAX_AGE_NS);
    ask_release(ask);
}

/* max_age_ns: the next caller forgets what is too old. */
static void old_age(void)
{
    sflight_options o = world_options();
    o.max_age_ns = MAX_AGE_NS;
    world_begin(&o);
    door.haste = 4;
    world.forgets = true;
    for (unsigned i = 0; i < 3; i++) {
        fresh(i, "a")->inside = in_fn;
        go(ask_for_new, &asks[i]);
    }
    join_all();
    world_end();
}

/* ----------------------------------------------------------- leaders that die */

static void leader_dies(void)
{
    world_begin(NULL);
    world.may = MAY_BE_DEAD;
    fresh(0, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    go_ask(1, "a");
    if (variant(2))
        go_ask(2, "a");
    join_all();
    world_end();
}

static void leader_panics(void)
{
    world_begin(NULL);
    fresh(0, "a")->way = PANICS;
    go(ask_whole, &asks[0]);
    go_ask(1, "a");
    join_all();
    world_end();
}

static void takeover_begin(void)
{
    sflight_options o = world_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    world_begin(&o);
}

static void takeover(void)
{
    takeover_begin();
    fresh(0, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    go_ask(1, "a");
    go_ask(2, "a");
    join_all();
    world_end();
}

/* The one who takes over dies as well. */
static void takeover_twice(void)
{
    takeover_begin();
    world.may = MAY_BE_DEAD; /* if nobody has followed yet */
    fresh(0, "a")->way = EXITS;
    fresh(1, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    go(ask_whole, &asks[1]);
    go_ask(2, "a");
    go_ask(3, "a");
    join_all();
    world_end();
}

/* Followers leave while somebody is called upon: whoever stays must hear of it. */
static void takeover_against_leaving(void)
{
    takeover_begin();
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    fresh(0, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    fresh(1, "a")->patience_ns = SHORT_NS;
    go(ask_whole, &asks[1]);
    go_ask(2, "a");
    if (variant(2)) {
        fresh(3, "a")->patience_ns = SHORT_NS;
        go(ask_whole, &asks[3]);
    }
    join_all();
    world_end();
}

/* The last one that could have taken over leaves. */
static void last_follower_leaves(void)
{
    takeover_begin();
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    fresh(0, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    fresh(1, "a")->patience_ns = SHORT_NS;
    go(ask_whole, &asks[1]);
    fresh(2, "a"); /* finds the key free, or joins */
    if (variant(2))
        go(ask_whole, &asks[2]);
    join_all();
    world_end();
}

/* ------------------------------------------------------------------- circles */

static unsigned n_answers(unsigned first, unsigned n, int rc)
{
    unsigned found = 0;
    for (unsigned i = first; i < first + n; i++)
        found += asks[i].over && asks[i].rc == rc;
    return found;
}

/* n threads, each of which asks in fn for what the next one leads. */
static void circle_of(unsigned n)
{
    static const char *const keys[] = {"a", "b", "c"};
    bool closed = true;

    world_begin(NULL);
    for (unsigned i = 0; i < n; i++) {
        fresh(i, keys[i])->inner = fresh(n + i, keys[(i + 1) % n]);
        asks[n + i].may = MAY_DEADLOCK;
        go(ask_whole, &asks[i]);
    }
    join_all();
    for (unsigned i = 0; i < n; i++)
        closed = closed && asks[i].led;
    unsigned n_deadlocks = n_answers(n, n, -EDEADLK);
    CHECK(n_deadlocks <= 1);
    CHECK(closed || n_deadlocks == 0);
    world_end();
}

static void circle(void)
{
    circle_of(2);
}

static void circle_of_three(void)
{
    circle_of(3);
}

/* The circle is there only once a follower has taken over. */
static void circle_by_takeover(void)
{
    takeover_begin();
    world.may = MAY_DEADLOCK | MAY_BE_DEAD;
    fresh(0, "a")->way = EXITS;
    go(ask_whole, &asks[0]);
    fresh(1, "a")->inner = fresh(3, "b");
    fresh(2, "b")->inner = fresh(4, "a");
    go(ask_whole, &asks[1]);
    go(ask_whole, &asks[2]);
    join_all();
    CHECK(n_answers(3, 2, -EDEADLK) <= 1);
    world_end();
}

static void own_key(void)
{
    world_begin(NULL);
    fresh(0, "a")->inner = fresh(2, "a");
    asks[2].may = MAY_DEADLOCK;
    go(ask_whole, &asks[0]);
    go_ask(1, "a");
    join_all();
    CHECK(!asks[0].led || asks[2].rc == -EDEADLK);
    world_end();
}

/* -------------------------------------------------------------------- batches */

static void batch_of_three(void *first)
{
    struct ask *ask = first;
    ask_many(ask, 3);
    for (unsigned i = 0; i < 3; i++)
        ask_release(&ask[i]);
}

/* Two batches name the same keys in another order, one of them twice. */
static void crossing_batches(void)
{
    world_begin(NULL);
    fresh(0, "a"), fresh(1, "b"), fresh(2, "a");
    fresh(3, "b"), fresh(4, "a"), fresh(5, "c");
    go(batch_of_three, &asks[0]);
    go(batch_of_three, &asks[3]);
    go_ask(6, "b");
    join_all();
    world_end();
}

static void dying_batch(void)
{
    sflight_options o = world_options();
    o.on_abandon = variant(2) ? SFLIGHT_ABANDON_SHARE : SFLIGHT_ABANDON_TAKEOVER;
    world_begin(&o);
    world.may = MAY_BE_DEAD;
    fresh(0, "a"), fresh(1, "b"), fresh(2, "a");
    for (unsigned i = 0; i < 3; i++)
        asks[i].way = EXITS;
    go(batch_of_three, &asks[0]);
    go_ask(3, "b");
    go_ask(4, "a");
    join_all();
    world_end();
}

/* -------------------------------------------------------------------- growth */

static const char *const full[] = {"b", "c", "d", "e", "f", "g", "h", "i", "j", "a1", "a2", "a3"};
enum { N = sizeof(full) / sizeof(full[0]) };

/* A table that is full but for one call. */
static void begin_full(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < N; i++)
        ask_begin(fresh(i, full[i]));
}

static void complete_all(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!asks[i].over)
            ask_complete(&asks[i]);
}

/*
 * The call comes with company: the array is replaced while its keys are searched
 * for, claimed and removed.
 */
static void growth(void)
{
    begin_full();
    fresh(N, "a4");
    fresh(N + 1, "a5");
    go(two, &asks[N]);
    go_ask(N + 2, "a4");
    go_ask(N + 3, variant(2) ? "a5" : "a4");
    if (variant(2))
        ask_complete(&asks[N - 1]);
    join_all();
    complete_all(N);
    ask_whole(fresh(N + 4, "a4"));
    world_end();
}

static void begin_one(void *ask)
{
    ask_begin(ask);
}

/* Two find it full at once: one of them makes the larger array, and none is lost. */
static void growth_by_two(void)
{
    begin_full();
    go(begin_one, fresh(N, "a4"));
    go(begin_one, fresh(N + 1, "a5"));
    join_all();
    complete_all(N + 2);
    world_end();
}

/* Newcomers that are known apart from what the old array has, one of whom knows of no other yet. */
static void growth_apart(void)
{
    begin_full();
    door.fingerprints = true;
    go(begin_one, fresh(N, "a4"));
    go_ask(N + 1, "b1");
    go(variant(2) ? ask_whole : come_and_go, fresh(N + 2, "b1"));
    if (variant(2))
        ask_complete(&asks[0]);
    join_all();
    complete_all(N + 1);
    world_end();
}

/* ---------------------------------------------------------------------- each */

static unsigned n_shown[MAX_ASKS];

static int show(const sflight_info *info, void *n)
{
    pause_here();
    for (unsigned i = 0; i < *(unsigned *)n; i++)
        if (asks[i].key[info->key.len] == 0 &&
            memcmp(asks[i].key, info->key.data, info->key.len) == 0) {
            n_shown[i]++;
            return 0;
        }
    CHECK(!"a key that somebody asks for");
    return 0;
}

/* Of the n asks the first n_held lead, each its own key, all the while. */
static void walk(unsigned n, unsigned n_held)
{
    memset(n_shown, 0, sizeof(n_shown));
    int rc = sflight_group_each(world.group, show, &n);
    CHECK(rc == 0 || (rc == -ENOMEM && door.failures != 0));
    for (unsigned i = 0; i < n_held; i++)
        CHECK(n_shown[i] <= 1 && (n_shown[i] == 1 || rc != 0 || asks[i].permit == NULL));
}

static void walk_full(void *unused)
{
    (void)unused;
    walk(N + 2, N);
}

/* A larger array takes over amid a walk. */
static void each_against_growth(void)
{
    begin_full();
    fresh(N, "a4");
    fresh(N + 1, "a5");
    go(walk_full, NULL);
    go(begin_one, &asks[N]);
    go(begin_one, &asks[N + 1]);
    join_all();
    walk(N + 2, N + 2);
    complete_all(N + 2);
    walk(N + 2, 0);
    for (unsigned i = 0; i < N + 2; i++)
        CHECK(n_shown[i] == 0);
    world_end();
}

static void walk_one(void *unused)
{
    (void)unused;
    walk(5, 1);
}

/* Neighbours of what stays are claimed and end, and are forgotten, amid a walk. */
static void each_against_complete(void)
{
    static const char *const keys[] = {"a1", "a2", "a3", "a2", "a2"};
    world_begin(NULL);
    for (unsigned i = 0; i < 5; i++)
        fresh(i, keys[i]);
    ask_begin(&asks[0]);
    go(walk_one, NULL);
    go(two, &asks[1]);
    if (variant(2))
        go(two, &asks[3]);
    else
        go(ask_whole, &asks[3]);
    if (variant(2))
        go(forget_once, variant(2) ? "a1" : "a2");
    join_all();
    if (asks[0].permit != NULL)
        ask_complete(&asks[0]);
    world_end();
}

static void let_others_go_on(void)
{
    for (unsigned n = variant(30); n != 0; n--)
        sched_yield_point(SITE);
}

static void complete_three(void *first)
{
    struct ask *ask = first;
    for (unsigned i = 0; i < 3; i++)
        ask_complete(&ask[i]);
}

static void wait_and_ask(void *ask)
{
    let_others_go_on();
    ask_whole(ask);
}

/*
 * An array from which the last calls go, with a key whose next run is in the array
 * after it: the one run is ordered before the other by that array's having drained.
 */
static void drained(void)
{
    static const char *const keys[] = {"a", "b", "c", "d",  "e",  "f",
                                       "g", "h", "j", "i1", "i2", "i3"};
    enum { N = sizeof(keys) / sizeof(keys[0]), I1 = N - 3, I4 = N, Z1 = N + 1 };

    world_begin(NULL);
    for (unsigned i = 0; i < N; i++)
        ask_begin(fresh(i, keys[i]));
    ask_begin(fresh(I4, "i4")); /* in a chain so long that the array is replaced */
    ask_begin(fresh(Z1, "z1"));
    for (unsigned i = 0; i < I1; i++)
        ask_complete(&asks[i]);
    ask_whole(fresh(0, "a")); /* freezes buckets 0 to 7 of the old array */
    if (variant(2))
        ask_whole(fresh(0, "k")); /* and the others, that of the i's included */
    fresh(2, "k"), fresh(3, "z2"), fresh(4, "i4"), fresh(5, variant(2) ? "i3" : "z3");
    go(complete_three, &asks[I1]);
    if (variant(2))
        ask_complete(&asks[I4]);
    go(two, &asks[2]); /* freezes the others, and may find the old array drained */
    go(wait_and_ask, &asks[4]);
    go(wait_and_ask, &asks[5]);
    if (asks[I4].permit != NULL)
        ask_complete(&asks[I4]);
    join_all();
    ask_complete(&asks[Z1]);
    world_end();
}

static void complete_chain(void *last)
{
    struct ask *ask = last;
    for (unsigned i = 0; i < 4; i++)
        ask_complete(&ask[-(int)i]);
}

/* Permits: 0 to 12 in a first array, of 16 buckets, the others in one of 128. */
static const char *const crowd[] = {"a",  "b", "c", "d", "e", "f",  "g",  "h", "j", "i", "i1", "i2",
                                    "i3", "A", "B", "C", "D", "E",  "F",  "G", "H", "I", "J",  "K",
                                    "L",  "M", "N", "O", "P", "A1", "A2", "Q", "R", "S", "T"};
enum { CROWD = sizeof(crowd) / sizeof(crowd[0]), I3 = 12, B = 14 };

/* All of the first array is frozen, and only the i's are in it. */
static void begin_crowd(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < CROWD; i++)
        ask_begin(fresh(i, crowd[i])); /* the second array comes with i3 */
    ask_whole(fresh(CROWD, "z"));
    ask_whole(fresh(CROWD, "y"));
    for (unsigned i = 0; i < I3 - 3; i++)
        ask_complete(&asks[i]);
}

static void end_crowd(void)
{
    join_all();
    for (unsigned i = 0; i < CROWD; i++)
        if (asks[i].permit != NULL)
            ask_complete(&asks[i]);
    world_end();
}

/* A third array comes, while the first drains that the second stands before. */
static void third_array(void)
{
    begin_crowd();
    go(complete_chain, &asks[I3]);
    go(wait_and_ask, fresh(CROWD, "A3"));       /* makes the third */
    go(wait_and_ask, fresh(CROWD + 1, "\xe9")); /* with i in one bucket of the first two */
    go(wait_and_ask, fresh(CROWD + 2, "i3"));
    end_crowd();
}

/* The third is in use; the others drain, one after the other or at once. */
static void two_drain(void)
{
    static const char *const last[] = {"\x7f", "~", "}", "|", "{", "z", "y", "x",
                                       "w",    "v", "u", "t", "s", "r", "q", "p"};
    begin_crowd();
    ask_begin(fresh(0, "A3")); /* the third */
    for (unsigned i = I3 + 1; i < CROWD; i++)
        if (i != B)
            ask_complete(&asks[i]);
    for (unsigned i = 0; i < sizeof(last) / sizeof(last[0]); i++)
        ask_whole(fresh(CROWD, last[i])); /* each freezes 8 more */
    ask_begin(fresh(1, "z1"));
    go(complete_chain, &asks[I3]);
    go(wait_and_ask, fresh(CROWD, "z2")); /* may find an array that has drained */
    go(wait_and_ask, fresh(CROWD + 1, "z3"));
    go(wait_and_ask, fresh(CROWD + 2, "i3"));
    for (unsigned n = variant(60); n != 0; n--)
        sched_yield_point(SITE);
    ask_complete(&asks[B]);
    end_crowd();
}

/* --------------------------------------------------------------------- memory */

/* Allocations fail now and then; nothing else may go wrong for that. */
static void no_memory(void)
{
    sflight_options o = world_options();
    o.on_abandon = variant(2) ? SFLIGHT_ABANDON_SHARE : SFLIGHT_ABANDON_TAKEOVER;
    door.failures = 3;
    world_begin(&o);
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    fresh(0, "a"), fresh(1, "a key that is too long for the record");
    fresh(2, "a key that is too long for the record"), fresh(3, "a");
    asks[1].way = variant(2) ? PANICS : EXITS;
    go(two, &asks[0]);
    go(two, &asks[2]);
    fresh(4, "a"), fresh(5, "a key that is too long for the record"), fresh(6, "b");
    go(batch_of_three, &asks[4]);
    join_all();
    world_end();
}

const struct scenario scenarios_blocking[] = {
    {"claim_claim", claim_claim, 100, 3},
    {"join_against_complete", join_against_complete, 200, 2},
    {"many_followers", many_followers, 100, 0},
    {"neighbours", neighbours, 200, 1},
    {"reuse", reuse, 200, 2},
    {"known_apart", known_apart, 200, 2},
    {"passed_by", passed_by, 200, 1},
    {"passed_by_from_behind", passed_by_from_behind, 100, 1},
    {"forget_against_complete", forget_against_complete, 100, 2},
    {"forget_and_ask", forget_and_ask, 200, 3},
    {"forget_inside", forget_inside, 100, 2},
    {"forget_unshared", forget_unshared, 100, 2},
    {"deadline_against_complete", deadline_against_complete, 200, 3},
    {"no_more_waiters", no_more_waiters, 100, 1},
    {"old_age", old_age, 100, 1},
    {"leader_dies", leader_dies, 100, 2},
    {"leader_panics", leader_panics, 20, 1},
    {"takeover", takeover, 200, 1},
    {"takeover_twice", takeover_twice, 100, 1},
    {"takeover_against_leaving", takeover_against_leaving, 300, 2},
    {"last_follower_leaves", last_follower_leaves, 200, 3},
    {"circle", circle, 100, 2},
    {"circle_of_three", circle_of_three, 100, 0},
    {"circle_by_takeover", circle_by_takeover, 100, 1},
    {"own_key", own_key, 50, 1},
    {"crossing_batches", crossing_batches, 100, 1},
    {"dying_batch", dying_batch, 100, 1},
    {"growth", growth, 200, 1},
    {"growth_by_two", growth_by_two, 50, 2},
    {"growth_apart", growth_apart, 100, 1},
    {"each_against_growth", each_against_growth, 100, 1},
    {"each_against_complete", each_against_complete, 200, 1},
    {"drained", drained, 200, 0},
    {"third_array", third_array, 200, 0},
    {"two_drain", two_drain, 100, 0},
    {"no_memory", no_memory, 100, 0},
    {0},
};
