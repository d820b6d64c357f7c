/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that join one call in turn, again and again: each has a joint of it then, and there are
 * more of them than joints.  It must never show, but in time.
 */
#include "../lib/counting_alloc.h"
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

/* A thread makes a joint when it has met others eight times, on a call that it remembers. */
enum { PLAYERS = 34, ROUNDS = 14, ALL = PLAYERS * ROUNDS };

/* They join in turn, one at a time; what they get stands here. */
struct game {
    sflight_group *g;
    unsigned n_players;
    atomic_uint turn, until; /* the next one, and the first that is not to come */
    atomic_bool over;
    sflight_future *f[2 * ALL];
    pthread_t threads[PLAYERS];
};

struct player {
    struct game *game;
    unsigned i;
};

static void *play(void *arg)
{
    struct player player = *(struct player *)arg;
    struct game *game = player.game;
    free(arg);
    for (;;) {
        unsigned turn = 0;
        WAIT_UNTIL(game->over ||
                   ((turn = game->turn) < game->until && turn % game->n_players == player.i));
        if (game->over)
            return NULL;
        game->f[turn] = join(game->g, "key");
        game->turn = turn + 1;
    }
}

static void play_until(struct game *game, unsigned n)
{
    game->until = n;
    WAIT_UNTIL(game->turn == n);
}

static struct game *game_start(const sflight_options *o, unsigned n_players)
{
    struct game *game = calloc(1, sizeof *game);
    assert_non_null(game);
    game->g = group_new(o);
    game->n_players = n_players;
    for (unsigned i = 0; i < n_players; i++) {
        struct player *player = malloc(sizeof *player);
        assert_non_null(player);
        *player = (struct player){game, i};
        game->threads[i] = thread_start(play, player);
    }
    return game;
}

static void game_over(struct game *game)
{
    game->over = true;
    for (unsigned i = 0; i < game->n_players; i++)
        thread_join(game->threads[i]);
    group_end(game->g);
    free(game);
}

static int count_futures(const sflight_info *info, void *n)
{
    *(unsigned *)n += info->futures;
    return 0;
}

static unsigned n_futures(sflight_group *g)
{
    unsigned n = 0;
    assert_int_equal(sflight_group_each(g, count_futures, &n), 0);
    return n;
}

static void all_are_counted_and_told(void **state)
{
    (void)state;
    struct game *game = game_start(NULL, PLAYERS);
    for (int again = 0; again < 2; again++) {
        sflight_call *call = lead(game->g, "key");
        struct noted noted = {0};
        sflight_queue *q;
        sflight_completion done[ALL];
        int n_then = 0, n_queued = 0;
        assert_int_equal(sflight_queue_create(&q), 0);
        game->turn = 0;
        play_until(game, ALL);
        assert_int_equal(stats_of(game->g).waiting, ALL);
        assert_int_equal(n_futures(game->g), ALL);
        for (int i = 0; i < ALL; i++) { /* before its end, half of them */
            if (i % 4 == 0 && ++n_then)
                assert_int_equal(sflight_future_then(game->f[i], note, &noted), 0);
            else if (i % 4 == 1 && ++n_queued)
                assert_int_equal(sflight_future_enqueue(game->f[i], q, 1), 0);
        }
        assert_int_equal(sflight_complete(call, 0), ALL);
        assert_int_equal(noted.n, n_then);
        assert_int_equal(sflight_queue_drain(q, done, ALL), n_queued);
        sflight_completions_release(done, (unsigned)n_queued);
        assert_int_equal(sflight_queue_destroy(q), 0);
        for (int i = 0; i < ALL; i++)
            if (i % 4 > 1)
                consume(game->f[i], (enum consumer)(i / 4 % CONSUMERS), 0);
    }
    game_over(game);
}

/* The last one, whoever has been counted where, and nobody else. */
static void the_last_to_leave_is_told(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        sflight_options o = default_options();
        o.cancel_unwanted = i % 2;
        struct game *game = game_start(&o, i < 2 ? 3 : PLAYERS);
        sflight_call *call = lead(game->g, "key");
        unsigned n = game->n_players * ROUNDS;
        play_until(game, n);
        for (unsigned k = 0; k + 1 < n; k++) {
            assert_int_equal(sflight_future_drop(game->f[k]), 0);
            assert_int_equal(sflight_call_unwanted(call), 0);
        }
        assert_int_equal(n_futures(game->g), 1);
        assert_int_equal(sflight_future_drop(game->f[n - 1]), 1);
        assert_int_equal(sflight_call_unwanted(call), 1);
        if (!o.cancel_unwanted) { /* they can join again */
            play_until(game, 2 * n);
            assert_int_equal(sflight_call_unwanted(call), 0);
            for (unsigned k = n; k < 2 * n; k += 2)
                assert_int_equal(sflight_future_drop(game->f[k]), 0);
        }
        assert_int_equal(sflight_complete(call, 0), o.cancel_unwanted ? 0 : n / 2);
        for (unsigned k = n + 1; k < 2 * n && !o.cancel_unwanted; k += 2)
            consume(game->f[k], BY_POLL, 0);
        game_over(game);
    }
}

static void what_is_forgotten_is_not_joined(void **state)
{
    (void)state;
    struct game *game = game_start(NULL, PLAYERS);
    sflight_call *call = lead(game->g, "key");
    play_until(game, ALL);
    assert_int_equal(sflight_forget_unshared(game->g, "key", 3), 0);
    assert_int_equal(sflight_forget(game->g, "key", 3), 1);
    sflight_call *next = lead(game->g, "key");
    play_until(game, ALL + PLAYERS);
    assert_int_equal(sflight_complete(next, 0), PLAYERS);
    for (int i = ALL; i < ALL + PLAYERS; i++)
        consume(game->f[i], BY_POLL, 0);
    for (int i = 0; i < ALL; i += 2)
        sflight_future_drop(game->f[i]);
    assert_int_equal(sflight_complete(call, 0), ALL / 2);
    for (int i = 1; i < ALL; i += 2)
        consume(game->f[i], BY_GET, 0);
    game_over(game);
}

/* A follower that blocks takes the call over: the others go on waiting, and more come. */
static void a_call_is_taken_over(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    struct game *game = game_start(&o, 3);
    struct work work = {.status = 5};
    struct caller caller;
    unsigned n = 3 * ROUNDS;
    sflight_call *call = lead(game->g, "key");
    play_until(game, n);
    caller_start(&caller, game->g, "key", work_fn, &work);
    await_waiting(game->g, n + 1);
    assert_int_equal(sflight_abandon(call), n + 1);
    WAIT_UNTIL(work.runs == 1);
    play_until(game, 2 * n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(sflight_future_drop(game->f[i]), 0);
    work.open = true;
    caller_join(&caller);
    assert_int_equal(caller.r.followers, n);
    sflight_result_release(&caller.r);
    for (unsigned i = n; i < 2 * n; i++) {
        sflight_result r;
        assert_int_equal(sflight_future_get(game->f[i], NULL, &r), 0);
        assert_int_equal(r.status, 5);
        sflight_result_release(&r);
    }
    assert_all_destroyed(&work.tally);
    game_over(game);
}

/* Nobody blocks in it: it ends. */
static void a_call_is_abandoned(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    struct game *game = game_start(&o, 3);
    unsigned n = 3 * ROUNDS;
    sflight_call *call = lead(game->g, "key");
    play_until(game, n);
    assert_int_equal(sflight_abandon(call), n);
    for (unsigned i = 0; i < n; i++)
        consume(game->f[i], BY_POLL, -EOWNERDEAD);
    game_over(game);
}

/* The last that could have taken it over leaves. */
static void an_orphan_is_left(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    struct game *game = game_start(&o, 3);
    struct noted noted = {0};
    struct work work = {.open = true, .status = 5};
    unsigned n = 3 * ROUNDS;
    for (int i = 0; i < 200; i++) {
        struct timespec soon = deadline_in_ns(i % 40 * 5000);
        struct caller caller;
        sflight_call *call = lead(game->g, "key");
        game->turn = 0;
        play_until(game, n);
        for (unsigned k = 0; k < n; k++)
            assert_int_equal(sflight_future_then(game->f[k], note, &noted), 0);
        caller_start_until(&caller, game->g, "key", work_fn, &work, &soon);
        sflight_abandon(call);
        caller_join(&caller);
        if (caller.rc == 0)
            sflight_result_release(&caller.r);
        WAIT_UNTIL(noted.n == (int)n);
        noted.n = 0;
    }
    assert_all_destroyed(&work.tally);
    game_over(game);
}

/* Where calls have ages there are no joints, and ages stay right. */
static void a_call_with_an_age(void **state)
{
    (void)state;
    sflight_options o = default_options();
    o.durations = 1;
    struct game *game = game_start(&o, 3);
    sflight_call *call = lead(game->g, "key");
    play_until(game, 3 * ROUNDS);
    assert_int_equal(n_futures(game->g), 3 * ROUNDS);
    assert_int_equal(sflight_complete(call, 0), 3 * ROUNDS);
    for (int i = 0; i < 3 * ROUNDS; i++)
        consume(game->f[i], BY_DROP, 0);
    game_over(game);
}

/* What is hung in joints and given up goes, while others stay there. */
static void what_is_given_up_is_freed(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct game *game = game_start(&o, 2);
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    sflight_call *call = lead(game->g, "key");
    size_t most = 0;
    for (int i = 0; i < 1000; i++) {
        game->turn = 0;
        play_until(game, 2 * ROUNDS);
        for (int k = 0; k < 2 * ROUNDS; k++)
            assert_int_equal(sflight_future_enqueue(game->f[k], q, 1), 0);
        for (int k = 0; k < 2 * ROUNDS - 2 * (i == 0); k++) /* two of the first stay */
            assert_int_equal(sflight_future_cancel(game->f[k]), 1);
        if (i < 100)
            most = counting.bytes > most ? counting.bytes : most;
        assert_true(counting.bytes <= 2 * most);
    }
    assert_int_equal(sflight_complete(call, 0), 2);
    sflight_completion done[3];
    assert_int_equal(sflight_queue_drain(q, done, 3), 2);
    sflight_completions_release(done, 2);
    assert_int_equal(sflight_queue_destroy(q), 0);
    game_over(game);
    assert_nothing_allocated(&counting);
}

/* Nobody is left, and all that has been hung hangs in joints. */
static void nobody_is_left_to_be_told(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    struct game *game = game_start(&o, 3);
    unsigned n = 3 * ROUNDS;
    sflight_call *call = lead(game->g, "key");
    play_until(game, n);
    for (unsigned i = n - 3; i < n; i++)
        assert_true(sflight_future_fd(game->f[i]) >= 0);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(sflight_future_drop(game->f[i]), i + 1 == n);
    assert_int_equal(sflight_complete(call, 0), 0);
    game_over(game);
    assert_nothing_allocated(&counting);
}

/* No memory for a joint is no failure. */
static void no_memory_for_a_joint(void **state)
{
    (void)state;
    struct counting counting = {0};
    sflight_options o = counting_options(&counting);
    o.expected_inflight = 1;
    struct game *game = game_start(&o, 2);
    sflight_call *call = lead(game->g, "key");
    play_until(game, 8);
    counting.max_size = sizeof(void *); /* futures are spare */
    play_until(game, 2 * ROUNDS);
    counting.max_size = 0;
    assert_int_equal(sflight_complete(call, 0), 2 * ROUNDS);
    for (int i = 0; i < 2 * ROUNDS; i++)
        consume(game->f[i], BY_DROP, 0);
    game_over(game);
    assert_nothing_allocated(&counting);
}

/* In a child whose thread has the permit all futures are as before. */
static void in_a_child_an_own_call(void **state)
{
    (void)state;
    struct game *game = game_start(NULL, 3);
    struct noted noted = {0};
    unsigned n = 3 * ROUNDS;
    sflight_call *call = lead(game->g, "key");
    play_until(game, n);
    for (unsigned i = n - 6; i < n; i++) /* two of each thread, but for one */
        if (i % 3 != 0)
            assert_int_equal(sflight_future_then(game->f[i], note, &noted), 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        assert_int_equal(n_futures(game->g), n);
        for (unsigned i = 0; i < 5; i++)
            assert_int_equal(sflight_future_drop(game->f[i]), 0);
        assert_int_equal(sflight_complete(call, 0), n - 5);
        assert_int_equal(noted.n, 4);
        for (unsigned i = 5; i < n; i++)
            if (i < n - 6 || i % 3 == 0)
                consume(game->f[i], BY_POLL, 0);
        child_uses_group(game->g);
        exit(0);
    }
    assert_child_succeeds(pid);
    assert_int_equal(sflight_complete(call, 0), n);
    for (unsigned i = 0; i < n; i++)
        if (i < n - 6 || i % 3 == 0)
            consume(game->f[i], BY_POLL, 0);
    game_over(game);
}

static void *lead_for(void *arg)
{
    struct game *game = arg;
    sflight_call *call = lead(game->g, "key");
    game->f[0] = NULL;
    play_until(game, 3 * ROUNDS);
    WAIT_UNTIL(game->over);
    sflight_complete(call, 0);
    return NULL;
}

/* That of another thread has no leader there, and its futures find it so. */
static void in_a_child_the_call_of_another(void **state)
{
    (void)state;
    struct game *game = game_start(NULL, 3);
    struct noted noted = {0};
    unsigned n = 3 * ROUNDS;
    pthread_t leader = thread_start(lead_for, game);
    WAIT_UNTIL(game->turn == n);
    assert_int_equal(sflight_future_then(game->f[n - 1], note, &noted), 0);
    assert_true(sflight_future_fd(game->f[n - 2]) >= 0);
    pid_t pid = fork_child();
    if (pid == 0) {
        for (unsigned i = 0; i < n - 1; i++)
            consume(game->f[i], BY_POLL, -EOWNERDEAD);
        assert_int_equal(noted.n, 0);
        child_uses_group(game->g);
        exit(0);
    }
    assert_child_succeeds(pid);
    game->over = true;
    thread_join(leader);
    for (unsigned i = 0; i < n - 1; i++)
        consume(game->f[i], BY_GET, 0);
    game_over(game);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_counted_and_told),
        cmocka_unit_test(the_last_to_leave_is_told),
        cmocka_unit_test(what_is_forgotten_is_not_joined),
        cmocka_unit_test(a_call_is_taken_over),
        cmocka_unit_test(a_call_is_abandoned),
        cmocka_unit_test(an_orphan_is_left),
        cmocka_unit_test(a_call_with_an_age),
        cmocka_unit_test(what_is_given_up_is_freed),
        cmocka_unit_test(nobody_is_left_to_be_told),
        cmocka_unit_test(no_memory_for_a_joint),
        cmocka_unit_test(in_a_child_an_own_call),
        cmocka_unit_test(in_a_child_the_call_of_another),
    };
    return RUN_TESTS(tests);
}
