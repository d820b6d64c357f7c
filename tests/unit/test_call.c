/* SPDX-License-Identifier: BSD-2-Clause */
/* Moments in the life of a call that threads of the public API meet once in a million. */
#include "call_test.h"

/* -------------------------------------------------------- close, then publish */

/* The leader's first step of ending a call that somebody has joined. */
static void close_only(struct sflight_call *c)
{
    (void)atomic_or_acq_rel(&c->state, STATE_CLOSED);
}

/* A deadline passes after the close: the hold is given back before it is credited. */
static void test_leave_between_close_and_publish(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 3; n++) { /* followers, of whom the first leaves */
        struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
        struct party leader, f[3];
        party_start(&leader, g, "key");
        party_leads(&leader);
        for (size_t i = 0; i < n; i++) {
            party_start(&f[i], g, "key");
            party_joins(&f[i], &leader);
            assert_int_equal(f[i].rank, i);
        }
        close_only(leader.call);
        party_gives_up(&f[0]);
        assert_int_equal(gate_holds(leader.call->gate), (uint32_t)-1);
        party_finishes(&leader);
        assert_int_equal(gate_holds(leader.call->gate), n);
        assert_int_equal(leader.r.followers, n);
        for (size_t i = 1; i < n; i++)
            party_waits(&f[i], 0);
        assert_int_equal(stats_of(g).held, n);
        party_releases(&leader);
        for (size_t i = 0; i < n; i++) {
            party_releases(&f[i]);
            party_end(&f[i]);
        }
        assert_int_equal(stats_of(g).timed_out, 1);
        party_end(&leader);
        group_end(g);
    }
}

/* The same by a future that looks back whether the call is still wanted. */
static void test_drop_between_close_and_publish(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.cancel_unwanted = true;
    struct sflight_group *g = group_new(&o);
    struct sflight_call *call, *none;
    sflight_future *f, *no_future;
    assert_int_equal(sflight_begin(g, "key", 3, &call, &no_future), 0);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
    close_only(call);
    sflight_future_drop(f);
    assert_int_equal(gate_holds(call->gate), (uint32_t)-1);
    sflight_complete(call, 0);
    assert_int_equal(stats_of(g).forgotten, 0);
    group_end(g);
}

/* A deadline in the past, and a result that is there. */
static void test_result_is_there_at_the_deadline(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party p[2], *leader = &p[0], *f = &p[1];

    parties_start(p, 2, g);
    party_leads(leader);
    party_joins(f, leader);
    party_finishes(leader);
    f->deadline = &in_the_past;
    party_waits(f, 0);
    assert_int_equal(f->r.followers, 1);
    party_releases(leader);
    assert_int_equal(stats_of(g).held, 1);
    assert_int_equal(sflight_group_destroy(g), -EBUSY);
    party_releases(f);
    parties_end(p, 2);
}

/* Closed, but still in the table: who comes leads a new call, and what it added does not count. */
static void test_late_joiner(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party p[3], *leader = &p[0], *follower = &p[1], *late = &p[2];

    parties_start(p, 3, g);
    party_leads(leader);
    party_joins(follower, leader);
    close_only(leader->call);
    assert_int_equal(party_do(late, step_claim), JOIN_LEADS);
    assert_ptr_not_equal(late->call, leader->call);
    assert_int_equal(sflight_forget(g, "key", 3), 1); /* the new one */
    assert_int_equal(sflight_forget(g, "key", 3), 0);
    party_finishes(leader);
    assert_int_equal(leader->r.followers, 1);
    party_waits(follower, 0);
    party_finishes(late);
    assert_int_equal(late->r.followers, 0);
    assert_false(late->r.shared);
    party_releases(leader);
    party_releases(follower);
    party_releases(late);
    parties_end(p, 3);
}

/* ---------------------------------------------------------- the straight way */

static struct sflight_call *begins(struct sflight_group *g, const char *key, size_t len,
                                   sflight_future **f)
{
    struct sflight_call *call;
    assert_int_equal(sflight_begin(g, key, len, &call, f), 0);
    return call;
}

/* The first joiner of a call searches, the others go straight; whatever the key. */
static void test_joins_by_any_key(void **state)
{
    (void)state;
    enum { LONGEST = 60, N = 4 };
    static const char key[LONGEST + 1] =
        "a key of sixty bytes, of which so many are taken as i says..";
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    for (size_t len = 0; len <= LONGEST; len++) {
        sflight_future *f[N];
        struct sflight_call *call = begins(g, key, len, &f[0]);
        assert_non_null(call);
        for (int i = 0; i < N; i++) {
            assert_null(begins(g, key, len, &f[i]));
            assert_int_equal(stats_of(g).waiting, i + 1);
        }
        sflight_complete(call, 0);
        for (int i = 0; i < N; i++)
            assert_int_equal(sflight_future_drop(f[i]), 0);
    }
    assert_int_equal(stats_of(g).joined, (LONGEST + 1) * N);
    group_end(g);
}

static int began_since(struct sflight_call *call, void *since)
{
    assert_true(call->started_ns >= *(uint64_t *)since);
    return 0;
}

/* Where calls age, each notes when it began, though its record is the one of the call before. */
static void test_ages_from_its_own_beginning(void **state)
{
    (void)state;
    sflight_options o = small_options();
    o.max_age_ns = UINT64_MAX;
    struct sflight_group *g = group_new(&o);
    for (int i = 0; i < 3; i++) {
        sflight_result r;
        uint64_t since = clock_now_ns();
        assert_int_equal(sflight_do(g, "key", 3, began_since, &since, &r), 0);
        sflight_result_release(&r);
    }
    group_end(g);
}

/* Beside a call that was forgotten, one of its key comes and goes as if there were nothing. */
static void test_forgotten_is_passed_by(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_call *first, *next;
    sflight_future *none;

    assert_int_equal(sflight_begin(g, "key", 3, &first, &none), 0);
    assert_int_equal(sflight_forget(g, "key", 3), 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sflight_begin(g, "key", 3, &next, &none), 0);
        assert_true(table_unseen(&next->node, table_unseen_word(&next->node)));
        assert_int_equal(sflight_complete(next, 0), 0);
        assert_int_equal(atomic_load(first->node.bucket),
                         (uintptr_t)&first->node | LINK_SEEN | LINK_PASSED);
    }
    assert_int_equal(stats_of(g).retired_pending, 0);
    assert_int_equal(sflight_complete(first, 0), 0);
    group_end(g);
}

/* Each place of options.durations is for twice as long as the one before. */
static void test_places_of_durations(void **state)
{
    (void)state;
    assert_int_equal(gauges_place(0), 0);
    for (unsigned i = 0; i < SFLIGHT_DURATIONS; i++) {
        uint64_t first = UINT64_C(1) << i;
        assert_int_equal(gauges_place(first), i);
        assert_int_equal(gauges_place(first + (first - 1)), i);
    }
}

#ifndef SFLIGHT_TEST_HASH
/* Some lengths have a way of their own. */
static void test_hash_of_any_length(void **state)
{
    (void)state;
    unsigned char key[300];
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (unsigned char)(i * 37 + 1);
    for (size_t len = 0; len <= sizeof(key); len++)
        assert_true(hash_key(key, len, 0x123456789abcdef0) ==
                    XXH3_64bits_withSeed(key, len, 0x123456789abcdef0));
}
#endif

/* What the straight way leaves out is searched for, and nothing of the try stays behind. */
static void test_searches_after_all(void **state)
{
    (void)state;
    for (int limited = 0; limited < 3; limited++) {
        sflight_options o = small_options();
        o.max_waiters = limited == 1 ? 3 : 0;
        o.max_age_ns = limited == 2 ? UINT64_MAX : 0;
        struct sflight_group *g = group_new(&o);
        sflight_future *f[3], *none;
        struct sflight_call *call = begins(g, "key", 3, &none);
        assert_null(begins(g, "key", 3, &f[0])); /* it has been SEEN from here on */
        assert_null(begins(g, "key", 3, &f[1]));
        if (limited == 0) {
            /* There, and forgotten: looked at, and given up for a search. */
            assert_int_equal(sflight_forget(g, "key", 3), 1);
            struct sflight_call *next = begins(g, "key", 3, &f[2]);
            assert_non_null(next);
            assert_int_equal(stats_of(g).joined, 2);
            assert_int_equal(stats_of(g).waiting, 2);
            sflight_complete(next, 0);
        }
        sflight_complete(call, 0);
        sflight_future_drop(f[0]);
        sflight_future_drop(f[1]);
        group_end(g);
    }
}

/* ------------------------------------------------------------------- sealed */

/* forget_unshared() came between a joiner's look and its addition. */
static void test_sealed(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct sflight_group *g =
            group_small(takeover ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE);
        struct party leader;
        party_start(&leader, g, "key");
        party_leads(&leader);
        assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
        uint64_t found = atomic_add_acq_rel(&leader.call->state, STATE_BLOCKING);
        assert_true(found & STATE_SEALED); /* so it goes on, and has not joined */
        assert_int_equal(joiners(leader.call), 0);
        if (takeover) {
            party_do(&leader, step_abandon); /* there is nobody to take it over */
            assert_int_equal(stats_of(g).taken_over, 0);
        } else {
            party_finishes(&leader);
            assert_int_equal(leader.r.followers, 0);
            assert_false(leader.r.shared);
            assert_int_equal(gate_holds(leader.call->gate), 1);
            party_releases(&leader);
        }
        party_end(&leader);
        group_end(g);
    }
}

/* The last has left between a joiner's look and its addition, in a group that forgets such calls.
 */
static void test_sealed_by_who_leaves_last(void **unused)
{
    (void)unused;
    const uint64_t units[] = {STATE_STARTER, STATE_ASYNC, STATE_BLOCKING};
    for (size_t i = 0; i < LENGTH(units); i++) {
        state_word word;
        state_init(&word, units[i]);
        uint64_t state = units[i];
        assert_true(state_leave(&word, units[i], true, &state));
        assert_true(state_unwanted(state));
        assert_false(state_join(&word, STATE_ASYNC, &state));
        assert_int_equal(state_joiners(state_close_shut(&word)), 0);
        state_init(&word, units[i]); /* in any other group it may be joined */
        state = units[i];
        assert_true(state_leave(&word, units[i], false, &state));
        assert_true(state_join(&word, STATE_ASYNC, &state));
    }
}

/* Who closes a call with joints has to shut them first, and so has who forgets it. */
static void test_shut_first(void **unused)
{
    (void)unused;
    state_word word;
    uint64_t state;

    state_init(&word, 0);
    assert_true(state_add_joint(&word));
    assert_false(state_close(&word, &state));
    assert_int_equal(state_forget(&word, true, false), STATE_SHARED);
    assert_int_equal(state_forget(&word, false, false), STATE_HAS_JOINTS);
    assert_int_equal(state_orphan_or_close(&word, false, &state), STATE_SHUT_FIRST);
    assert_int_equal(require_word(&word), STATE_JOINT);
    assert_int_equal(state_forget(&word, false, true), STATE_FORGOT);
    assert_false(state_add_joint(&word));
    assert_int_equal(state_orphan_or_close(&word, true, &state), STATE_CLOSED_ALONE);
    assert_int_equal(state_joiners(state_with_joints(state, 4)), 5);

    state_init(&word, 0);
    for (unsigned i = 0; i < STATE_JOINTS_MOST; i++)
        assert_true(state_add_joint(&word));
    assert_false(state_add_joint(&word));
    assert_true(state_join(&word, STATE_BLOCKING, &state));
    assert_int_equal(state_orphan_or_close(&word, false, &state), STATE_FOLLOWED);
    state = require_word(&word);
    assert_true(state_leave_closes(state));
    assert_int_equal(state_joiners(state), STATE_JOINTS_MOST + 1);
    assert_int_equal(state_async(state_with_joints(state, 7)), STATE_JOINTS_MOST + 7);
    state_own_joint(&word);
    assert_int_equal(state_async(require_word(&word)), 1);
}

/* A joint through all of its life. */
static void test_joint(void **unused)
{
    (void)unused;
    joint_list list = 0;
    int makers[2] = {0};
    struct joint *j = joint_new(&alloc_process, &makers[0]),
                 *k = joint_new(&alloc_process, &makers[1]);

    assert_null(joint_choose(&list, &makers[0], 2, 3));
    assert_int_equal(joint_leave(&list, NULL), JOINT_NONE);
    assert_true(joint_add(&list, j));
    assert_true(joint_add(&list, k));
    assert_ptr_equal(joint_choose(&list, &makers[0], 2, 0), j);
    assert_ptr_equal(joint_choose(&list, NULL, 2, 2), k); /* the one that was added last */
    assert_ptr_equal(joint_choose(&list, NULL, 2, 3), j);
    assert_null(joint_choose(&list, NULL, 3, 3));
    assert_true(joint_join(j));
    assert_false(joint_revive(j));
    assert_int_equal(joint_more(list), 1);
    assert_int_equal(joint_leave(&list, j), JOINT_LEFT);
    assert_int_equal(joint_leave(&list, j), JOINT_LAST);
    assert_false(joint_join(j));
    assert_int_equal(joint_leave(&list, j), JOINT_LAST); /* k's */
    assert_int_equal(joint_leave(&list, j), JOINT_NONE);
    assert_true(joint_revive(j));
    assert_true(joint_join(j));
    joint_shut_all(&list);
    joint_shut_all(&list);
    assert_false(joint_join(j));
    assert_false(joint_revive(k));
    struct joint *late = joint_new(&alloc_process, NULL);
    assert_false(joint_add(&list, late));
    assert_int_equal(joint_leave(&list, NULL), JOINT_LEFT); /* that may be done still */
    assert_int_equal(joint_close_all(&list), 0);
    assert_int_equal(joint_leave(&list, NULL), JOINT_NONE);
    joint_free_all(&list, &alloc_process);
    assert_int_equal(list, 0);

    assert_true(joint_add(&list, late));
    assert_true(joint_join(late));
    assert_int_equal(joint_after_fork(&list), 2);
    assert_false(joint_join(late));
    assert_true(list & JOINT_LIST_SHUT); /* nor does anybody look for one, or make one */
    assert_int_equal(joint_leave(&list, NULL), JOINT_NONE);
    joint_free_all(&list, &alloc_process);
}

static void test_unshared_after_everybody_left(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party p[3], *leader = &p[0], *follower = &p[1], *next = &p[2];

    parties_start(p, 3, g);
    party_leads(leader);
    party_joins(follower, leader);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 0);
    party_gives_up(follower);
    assert_int_equal(sflight_forget_unshared(g, "key", 3), 1);
    party_leads(next);
    party_finishes(leader);
    assert_false(leader->r.shared);
    party_finishes(next);
    party_releases(leader);
    party_releases(next);
    parties_end(p, 3);
}

/* ----------------------------------------------------------------- takeover */

/* The last one that could take over leaves just then: the call ends as abandoned. */
static void test_last_follower_leaves_an_orphan(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_TAKEOVER);
    struct party p[3], *leader = &p[0], *follower = &p[1], *next = &p[2];

    parties_start(p, 3, g);
    party_leads(leader);
    party_joins(follower, leader);
    party_do(leader, step_abandon);
    assert_true(atomic_load(&leader->call->state) & STATE_ORPHAN);
    assert_int_equal(stats_of(g).in_flight, 1);
    party_gives_up(follower);
    assert_int_equal(stats_of(g).in_flight, 0);
    assert_int_equal(stats_of(g).taken_over, 0);
    party_leads(next); /* the key is free */
    party_finishes(next);
    party_releases(next);
    parties_end(p, 3);
}

/* A joiner that could not take it over leaves it alone. */
static void test_future_on_an_orphan_is_dropped(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_TAKEOVER);
    struct party p[2], *leader = &p[0], *follower = &p[1];
    sflight_future *f;
    struct sflight_call *none;

    parties_start(p, 2, g);
    party_leads(leader);
    party_joins(follower, leader);
    assert_int_equal(sflight_begin(g, "key", 3, &none, &f), 0);
    party_do(leader, step_abandon);
    assert_true(atomic_load(&leader->call->state) & STATE_ORPHAN);
    sflight_future_drop(f);
    assert_true(atomic_load(&leader->call->state) & STATE_ORPHAN);
    party_takes_over(follower);
    party_finishes(follower);
    assert_int_equal(follower->r.followers, 0);
    party_releases(follower);
    parties_end(p, 2);
}

/* One that was nudged leaves instead of answering: the nudge is passed on. */
static void test_leaver_passes_the_nudge_on(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_TAKEOVER);
    struct party p[3], *leader = &p[0], *hasty = &p[1], *patient = &p[2];

    parties_start(p, 3, g);
    assert_int_equal(party_do(leader, step_claim), JOIN_LEADS);
    party_joins(hasty, leader);
    party_joins(patient, leader);
    actor_tell(&patient->actor, step_wait, patient);
    WAIT_UNTIL(stats_of(g).parked == 1);
    /* As if the leader had just made it an orphan, and hasty had eaten the nudge. */
    atomic_store(&leader->call->owner, NULL);
    (void)atomic_or_acq_rel(&leader->call->state, STATE_ORPHAN);
    party_gives_up(hasty);
    actor_await(&patient->actor);
    assert_int_equal(patient->rc, TAKEN_OVER);
    assert_ptr_equal(atomic_load(&patient->call->owner), patient->self);
    party_do(patient, step_enter);
    party_finishes(patient);
    assert_int_equal(patient->r.followers, 0);
    party_releases(patient);
    assert_int_equal(stats_of(g).taken_over, 1);
    parties_end(p, 3);
}

/* Who is nudged and finds no orphan waits on. */
static void test_nudged_for_nothing(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_TAKEOVER);
    struct party p[2], *leader = &p[0], *follower = &p[1];

    parties_start(p, 2, g);
    party_leads(leader);
    party_joins(follower, leader);
    actor_tell(&follower->actor, step_wait, follower);
    for (uint64_t n = 1; n <= 3; n++) {
        WAIT_UNTIL(stats_of(g).parked == n);
        gate_nudge(&leader->call->gate);
    }
    WAIT_UNTIL(stats_of(g).parked == 4);
    party_finishes(leader);
    assert_int_equal(leader->r.followers, 1);
    actor_await(&follower->actor);
    assert_int_equal(follower->rc, 0);
    party_releases(leader);
    party_releases(follower);
    assert_int_equal(stats_of(g).taken_over, 0);
    parties_end(p, 2);
}

/* A newcomer joins the orphan and takes it over, although another was nudged. */
static void test_newcomer_takes_over(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_TAKEOVER);
    struct party p[3], *leader = &p[0], *follower = &p[1], *newcomer = &p[2];

    parties_start(p, 3, g);
    party_leads(leader);
    party_joins(follower, leader); /* and does not wait yet */
    party_do(leader, step_abandon);
    party_joins(newcomer, leader);
    party_takes_over(newcomer);
    party_do(newcomer, step_abandon); /* and dies as well */
    party_takes_over(follower);
    party_joins(leader, follower); /* back again, as a follower */
    actor_tell(&leader->actor, step_wait, leader);
    party_finishes(follower);
    actor_await(&leader->actor);
    assert_int_equal(leader->rc, 0);
    assert_int_equal(follower->r.followers, 1);
    party_releases(leader);
    party_releases(follower);
    sflight_stats s = stats_of(g);
    assert_int_equal(s.abandoned, 2);
    assert_int_equal(s.taken_over, 2);
    assert_int_equal(s.led, 1);
    parties_end(p, 3);
}

/* --------------------------------------------------------- records, sections */

static bool find(struct table_node *node, void *ctx)
{
    (void)node;
    (void)ctx;
    return true;
}

static void step_retire_some(void *g)
{
    for (int i = 0; i < RECLAIM_POLL_EVERY; i++)
        joined_call(g);
}

/* The n-th of 6: "o", and then "i1" to "i5". */
static int ask_inside(sflight_call *call, void *g)
{
    uint64_t n = stats_of(g).in_flight;
    const char own[2] = {n == 1 ? 'o' : 'i', (char)('0' + n - 1)},
               inner[2] = {'i', (char)('0' + n)};
    sflight_result r;
    size_t len;

    if (n < 6) {
        assert_int_equal(sflight_do(g, inner, 2, ask_inside, g, &r), 0);
        assert_int_equal(r.status, n + 1);
        sflight_result_release(&r);
    }
    const void *key = sflight_call_key(call, &len);
    assert_int_equal(len, n == 1 ? 1 : 2);
    assert_memory_equal(key, own, len);
    return (int)n;
}

/*
 * Calls inside calls, all in one bucket: each has a record of its own, also when records have
 * become spare and are prepared.
 */
static void test_inside_one_another(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    sflight_result r;

    for (int round = 0; round < RECLAIM_POLL_EVERY; round++) {
        assert_int_equal(sflight_do(g, "o", 1, ask_inside, g, &r), 0);
        assert_int_equal(r.status, 1);
        sflight_result_release(&r);
        assert_int_equal(stats_of(g).in_flight, 0);
    }
    group_end(g);
}

/* Who comes for the last of a long chain joins it. */
static void test_joins_the_last_of_many(void **state)
{
    (void)state;
    enum { N = 12 };
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct sflight_call *calls[N];
    sflight_future *f[N], *none;

    for (int i = 0; i < N; i++)
        assert_non_null(calls[i] = begins(g, &"abcdefghijkl"[i], 1, &none));
    for (int i = 0; i < N; i++)
        assert_null(begins(g, &"abcdefghijkl"[i], 1, &f[i]));
    for (int i = 0; i < N; i++) {
        sflight_complete(calls[i], 0);
        sflight_future_drop(f[i]);
    }
    group_end(g);
}

/* The call ends, is released and retired while a forgetter is about to unlink it. */
static void test_retired_under_a_forgetter(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party leader;
    struct table_search s = {
        .key = {hash_key("key", 3, g->seed), "key", 3}, .match = find, .ctx = NULL};

    party_start(&leader, g, "key");
    party_leads(&leader);
    struct lane *lane = reclaim_enter(reclaim_lane(5));
    assert_int_equal(table_search_in_section(&g->table, &s), TABLE_MATCHED);
    (void)atomic_or_acq_rel(&leader.call->state, STATE_FORGOTTEN);
    (void)atomic_or_acq_rel(&leader.call->node.next, LINK_MARK);
    party_finishes(&leader);
    party_releases(&leader);
    assert_int_equal(stats_of(g).retired_pending, 1);
    actor_do(&leader.actor, step_retire_some, g); /* which polls */
    assert_int_equal(stats_of(g).retired_pending, 1 + RECLAIM_POLL_EVERY);
    table_unlink_in_section(&g->table, &leader.call->node);
    reclaim_leave(lane);
    actor_do(&leader.actor, step_retire_some, g);
    assert_in_range(stats_of(g).retired_pending, 0, RECLAIM_POLL_EVERY);
    party_end(&leader);
    group_end(g);
}

static void test_record_reuse(void **state)
{
    (void)state;
    struct sflight_group *g = group_small(SFLIGHT_ABANDON_SHARE);
    struct party p[2], *leader = &p[0], *follower = &p[1];

    parties_start(p, 2, g);
    party_leads(leader);
    struct sflight_call *record = leader->call;
    for (int i = 0; i < 3; i++) { /* nobody has looked at it: the same one again, at once */
        party_finishes(leader);
        party_releases(leader);
        party_leads(leader);
        assert_ptr_equal(leader->call, record);
    }
    party_joins(follower, leader);
    party_finishes(leader);
    party_waits(follower, 0);
    party_releases(follower);
    struct lane *lane = reclaim_enter(reclaim_lane(9)); /* of somebody who may look at it */
    party_releases(leader);
    party_leads(leader); /* the old one awaits its grace period */
    assert_ptr_not_equal(leader->call, record);
    reclaim_leave(lane);
    party_finishes(leader);
    party_releases(leader);
    parties_end(p, 2);
}

/* They wait for a grace period, but not longer than they have to. */
static void test_retired_ones_are_few(void **state)
{
    (void)state;
    enum { N = 2 * SLOT_SPARES };
    struct sflight_group *g = group_new(NULL);
    sflight_call *calls[N];
    sflight_future *f;

    joined_call(g);
    uint64_t bytes = stats_of(g).bytes;
    for (int i = 0; i < 10; i++) {
        joined_call(g);
        assert_int_equal(stats_of(g).bytes, bytes); /* none is made where one can be had */
    }
    for (int i = 0; i < N; i++) /* so that there are spare ones */
        assert_int_equal(sflight_begin(g, &i, sizeof(i), &calls[i], &f), 0);
    for (int i = 0; i < N; i++)
        sflight_complete(calls[i], 0);
    for (int i = 0; i < 100; i++) {
        joined_call(g);
        assert_in_range(stats_of(g).retired_pending, 0, RECLAIM_POLL_EVERY);
    }
    group_end(g);
}

static void step_retire_long(void *g)
{
    static const char key[5000];
    sflight_call *call, *none;
    sflight_future *f;

    assert_int_equal(sflight_begin(g, key, sizeof(key), &call, &f), 0);
    assert_int_equal(sflight_begin(g, key, sizeof(key), &none, &f), 0);
    sflight_complete(call, 0);
    sflight_future_drop(f);
}

/* Somebody stands still in a section while a thread retires much, which is quiet from then on. */
static void test_retired_ones_are_left_to_others(void **state)
{
    (void)state;
    enum { ROUNDS = 20, MANY = ROUNDS * RECLAIM_POLL_EVERY, FEW = 5 * RECLAIM_POLL_EVERY };
    struct sflight_group *g = group_new(NULL);
    struct actor quiet;

    actor_start(&quiet);
    step_retire_some(g);
    struct lane *lane = reclaim_enter(reclaim_lane(5));
    for (int i = 0; i < ROUNDS; i++)
        actor_do(&quiet, step_retire_some, g);
    assert_in_range(stats_of(g).retired_pending, MANY, MANY + RECLAIM_POLL_EVERY);
    reclaim_leave(lane);
    step_retire_some(g);
    step_retire_some(g);
    assert_in_range(stats_of(g).retired_pending, 0, FEW);
    uint64_t bytes = stats_of(g).bytes;
    lane = reclaim_enter(reclaim_lane(5));
    actor_do(&quiet, step_retire_long, g);
    assert_in_range(stats_of(g).bytes, bytes + 5000, bytes + 20000);
    reclaim_leave(lane);
    step_retire_some(g);
    step_retire_some(g);
    assert_in_range(stats_of(g).bytes, 0, bytes + 1000);
    actor_end(&quiet);
    group_end(g);
}

/* Until all records of the thread wait, and whether they still have to has just been looked at. */
static void step_retire_all(void *g)
{
    struct slot *slot = thread_slot(g);
    unsigned n = 0;

    do
        joined_call(g);
    while (++n < 1000 && (slot->limbo.n_unpolled != 0 || slot->spare != NULL));
    assert_in_range(n, 1, 999);
    assert_non_null(slot->limbo.first);
}

static void step_lead_one(void *g)
{
    sflight_call *call;
    sflight_future *none;

    assert_int_equal(sflight_begin(g, "one", 3, &call, &none), 0);
    sflight_complete(call, 0);
}

/* Then, without memory, those do. */
static void test_waiting_ones_do_without_memory(void **state)
{
    (void)state;
    struct flaky flaky = {0};
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){&flaky, flaky_alloc, flaky_free};
    struct sflight_group *g = group_new(&o);
    struct actor much;

    actor_start(&much);
    for (int i = 0; i < 100; i++)
        actor_do(&much, step_retire_some, g); /* it is one that retires much */
    struct lane *lane = reclaim_enter(reclaim_lane(5));
    actor_do(&much, step_retire_all, g);
    reclaim_leave(lane);
    atomic_store(&flaky.refused, sizeof(struct sflight_call));
    actor_do(&much, step_lead_one, g);
    atomic_store(&flaky.refused, 0);
    actor_end(&much);
    group_end(g);
    assert_int_equal(flaky.blocks, 0);
}

/* Many records with long keys: spare ones keep some memory, and nothing is lost. */
static void test_many_in_flight(void **state)
{
    (void)state;
    enum { N = 500 };
    static struct sflight_call *calls[N];
    static char keys[N][3000];
    struct flaky flaky = {0};
    sflight_options o = small_options();
    o.allocator = (sflight_allocator){&flaky, flaky_alloc, flaky_free};
    struct sflight_group *g = group_new(&o);
    struct slot *slot = thread_slot(g);
    unsigned rank;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < N; i++) {
            memset(keys[i], 'k', sizeof(keys[i]));
            snprintf(keys[i], sizeof(keys[i]), "%zu", i);
            size_t len = i % 4 == 0 ? sizeof(keys[i]) : i % 4 == 1 ? 100 : 24;
            assert_int_equal(join_or_claim(g, slot, keys[i], len,
                                           NEWCOMER_BLOCKING(&thread_self.agent), NULL, &calls[i],
                                           &rank),
                             JOIN_LEADS);
            struct sflight_call *again = NULL;
            assert_int_equal(join_or_claim(g, slot, keys[i], len,
                                           NEWCOMER_BLOCKING(&thread_self.agent), NULL, &again,
                                           &rank),
                             -EDEADLK);
            assert_int_equal(calls[i]->node.key_len, len);
            assert_memory_equal(calls[i]->node.key, keys[i], len);
        }
        assert_int_equal(stats_of(g).in_flight, N);
        for (size_t i = 0; i < N; i++) {
            size_t j = (i * 7 + 3) % N;
            finish_call(slot, calls[j], 0);
            hold_release(slot, calls[j]);
        }
    }
    sflight_stats s = stats_of(g);
    assert_int_equal(s.led, 3 * N);
    assert_int_equal(s.deadlocks, 3 * N);
    group_end(g);
    assert_int_equal(flaky.blocks, 0);
}

/* After a crowd the group keeps some records and futures, not all. */
static void test_spares_are_limited(void **state)
{
    (void)state;
    enum { N = 5000, KEPT = 65536, QUIET = 16384 };
    static sflight_call *calls[N];
    static sflight_future *futures[N];
    sflight_options o = default_options();
    o.expected_inflight = N;
    struct sflight_group *g = group_new(&o);
    uint64_t before = stats_of(g).bytes;
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(sflight_begin(g, &i, sizeof(i), &calls[i], &futures[i]), 0);
    assert_true(stats_of(g).bytes > before + KEPT);
    for (size_t i = 0; i < N; i++)
        sflight_complete(calls[i], 0);
    assert_in_range(stats_of(g).bytes, before, before + KEPT);
    assert_int_equal(sflight_begin(g, "key", 3, &calls[0], &futures[0]), 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(sflight_begin(g, "key", 3, &calls[1], &futures[i]), 0);
    assert_true(stats_of(g).bytes > before + 2 * KEPT);
    for (size_t i = 0; i < N; i++)
        sflight_future_drop(futures[i]);
    sflight_complete(calls[0], 0);
    assert_in_range(stats_of(g).bytes, before, before + 2 * KEPT);
    /* Then the thread does with few: those that it does not use go, too. */
    for (size_t i = 0; i < 200; i++) {
        sflight_future *f;
        assert_int_equal(sflight_begin(g, "key", 3, &calls[0], &futures[0]), 0);
        assert_int_equal(sflight_begin(g, "key", 3, &calls[1], &f), 0);
        sflight_result r;
        sflight_complete(calls[0], 0);
        assert_int_equal(sflight_future_poll(f, &r), 0);
        sflight_result_release(&r);
    }
    assert_in_range(stats_of(g).bytes, before, before + QUIET);
    group_end(g);
}

/* The memory of long keys is kept for the next ones, but of very long ones. */
static void test_spares_with_long_keys(void **state)
{
    (void)state;
    enum { N = 64, LEN = 1000 };
    static const size_t lens[] = {LEN, 100, LEN, 100, CALL_KEY_KEPT, LEN, CALL_KEY_KEPT, 100};
    static char keys[N][LEN];
    struct sflight_group *g = group_new(NULL);
    uint64_t before = stats_of(g).bytes;
    sflight_call *calls[N];
    sflight_future *f;
    for (size_t round = 0; round < LENGTH(lens); round++) {
        size_t len = lens[round], kept = round < 4 ? 128 : CALL_KEY_KEPT;
        for (int i = 0; i < N; i++) {
            memset(keys[i], 'k', len);
            memcpy(keys[i], &i, sizeof(i));
            assert_int_equal(sflight_begin(g, keys[i], len, &calls[i], &f), 0);
        }
        for (int i = 0; i < N; i++)
            sflight_complete(calls[i], 0);
        /* Of keys that share a bucket the records wait for a grace period, with their keys. */
        size_t record = sizeof(struct sflight_call) + kept + 16, key = LEN + 80;
        sflight_stats s = stats_of(g);
        assert_in_range(s.bytes, before,
                        before + 2048 + SLOT_SPARES * record + s.retired_pending * (record + key));
    }
    group_end(g);
}

enum { QUEUED_CALLS = 3, QUEUED_EACH = 4, QUEUED_ALL = QUEUED_CALLS * QUEUED_EACH };

/* Joins some calls through the queue, one after the other; tags count the calls' followers. */
static void enqueue_on_some(struct sflight_group *g, sflight_queue *q, sflight_call **calls,
                            sflight_future **futures)
{
    sflight_future *none;
    sflight_call *led;
    for (unsigned c = 0; c < QUEUED_CALLS; c++)
        assert_int_equal(sflight_begin(g, &c, sizeof(c), &calls[c], &none), 0);
    for (unsigned i = 0; i < QUEUED_ALL; i++) {
        unsigned c = i % QUEUED_CALLS, tag = c * QUEUED_EACH + i / QUEUED_CALLS;
        assert_int_equal(sflight_begin_enqueue(g, &c, sizeof(c), q, tag, &led, &futures[tag]), 0);
        assert_null(led);
    }
}

/* Takes n completions at most, which are those from *next on. */
static void drain_in_order(sflight_queue *q, unsigned n, unsigned *next)
{
    sflight_completion done[QUEUED_ALL];
    int n_out = sflight_queue_drain(q, done, n);
    assert_true(n_out > 0);
    for (int i = 0; i < n_out; i++)
        assert_int_equal(done[i].tag, (*next)++);
    sflight_completions_release(done, (unsigned)n_out);
}

/* Of calls whose followers go to one queue the first to end comes first, and its oldest follower.
 */
static void test_completions_oldest_first(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_call *calls[QUEUED_CALLS];
    sflight_future *futures[QUEUED_ALL];
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    for (unsigned at_a_time = 1; at_a_time <= QUEUED_ALL; at_a_time++) {
        unsigned next = 0;
        enqueue_on_some(g, q, calls, futures);
        for (unsigned c = 0; c < QUEUED_CALLS; c++)
            sflight_complete(calls[c], 0);
        while (next < QUEUED_ALL)
            drain_in_order(q, at_a_time, &next);
    }
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* The same where one is taken back from what has been pushed since some were drained. */
static void test_completions_around_one_taken_back(void **state)
{
    (void)state;
    struct sflight_group *g = group_new(NULL);
    sflight_call *calls[QUEUED_CALLS];
    sflight_future *futures[QUEUED_ALL];
    sflight_queue *q;
    unsigned next = 0;
    assert_int_equal(sflight_queue_create(&q), 0);
    enqueue_on_some(g, q, calls, futures);
    sflight_complete(calls[0], 0);
    drain_in_order(q, 1, &next);
    for (unsigned c = 1; c < QUEUED_CALLS; c++)
        sflight_complete(calls[c], 0);
    assert_int_equal(sflight_future_cancel(futures[QUEUED_EACH + 1]), 1);
    drain_in_order(q, QUEUED_EACH, &next);
    assert_int_equal(next++, QUEUED_EACH + 1);
    while (next < QUEUED_ALL)
        drain_in_order(q, QUEUED_ALL, &next);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leave_between_close_and_publish),
        cmocka_unit_test(test_drop_between_close_and_publish),
        cmocka_unit_test(test_result_is_there_at_the_deadline),
        cmocka_unit_test(test_late_joiner),
        cmocka_unit_test(test_joins_by_any_key),
        cmocka_unit_test(test_searches_after_all),
        cmocka_unit_test(test_ages_from_its_own_beginning),
        cmocka_unit_test(test_forgotten_is_passed_by),
        cmocka_unit_test(test_places_of_durations),
#ifndef SFLIGHT_TEST_HASH
        cmocka_unit_test(test_hash_of_any_length),
#endif
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_sealed_by_who_leaves_last),
        cmocka_unit_test(test_shut_first),
        cmocka_unit_test(test_joint),
        cmocka_unit_test(test_unshared_after_everybody_left),
        cmocka_unit_test(test_last_follower_leaves_an_orphan),
        cmocka_unit_test(test_future_on_an_orphan_is_dropped),
        cmocka_unit_test(test_leaver_passes_the_nudge_on),
        cmocka_unit_test(test_nudged_for_nothing),
        cmocka_unit_test(test_newcomer_takes_over),
        cmocka_unit_test(test_inside_one_another),
        cmocka_unit_test(test_joins_the_last_of_many),
        cmocka_unit_test(test_retired_under_a_forgetter),
        cmocka_unit_test(test_retired_ones_are_few),
        cmocka_unit_test(test_retired_ones_are_left_to_others),
        cmocka_unit_test(test_waiting_ones_do_without_memory),
        cmocka_unit_test(test_record_reuse),
        cmocka_unit_test(test_many_in_flight),
        cmocka_unit_test(test_spares_are_limited),
        cmocka_unit_test(test_spares_with_long_keys),
        cmocka_unit_test(test_completions_oldest_first),
        cmocka_unit_test(test_completions_around_one_taken_back),
    };
    return RUN_TESTS(tests);
}
