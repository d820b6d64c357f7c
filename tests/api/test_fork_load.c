/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thousand forks while every kind of call is being made.  The forking thread
 * itself has a permit, a future and a result each time; the child puts them to
 * use, and then all keys.
 */
#include "../lib/event_test.h"
#include "../lib/fork_test.h"

enum { FORKS = 1000, KEYS = 4, CALLERS = 3 };

struct load {
    sflight_group *g;
    sflight_queue *queue;
    atomic_bool stop;
    atomic_uint rounds;
    struct tally tally;
    atomic_int noted, to_note;
};

static int work_a_little(sflight_call *call, void *arg)
{
    struct load *l = arg;
    value_set(call, &l->tally, 1);
    sched_yield();
    return 0;
}

static int work_then_panic(sflight_call *call, void *arg)
{
    work_a_little(call, arg);
    sflight_panic(call, "panic");
}

static int work_for_some(sflight_call *const *calls, size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++)
        work_a_little(calls[i], arg);
    return 0;
}

static void assert_ended(int rc)
{
    assert_true(rc == 0 || rc == -ENOTRECOVERABLE || rc == -EOWNERDEAD || rc == -ETIMEDOUT);
}

static void note_one(void *arg, int rc, sflight_result *r)
{
    struct load *l = arg;
    assert_ended(rc);
    sflight_result_release(r);
    atomic_fetch_add(&l->noted, 1);
}

static void use_future(struct load *l, sflight_future *f, unsigned i)
{
    sflight_result r;
    switch (i % 4) {
    case 0:
        atomic_fetch_add(&l->to_note, 1);
        assert_int_equal(sflight_future_then(f, note_one, l), 0);
        return;
    case 1:
        assert_int_equal(sflight_future_enqueue(f, l->queue, i), 0);
        return;
    case 2:
        assert_ended(sflight_future_get(f, NULL, &r));
        sflight_result_release(&r);
        return;
    default:
        sflight_future_drop(f);
    }
}

static void *put_load(void *arg)
{
    struct load *l = arg;
    unsigned id = atomic_fetch_add(&l->rounds, 1);
    for (unsigned i = id; !l->stop; i++) {
        unsigned key = i % KEYS, other = (i + 1) % KEYS;
        sflight_result r[2];
        sflight_call *call;
        sflight_future *f;
        int rc[2];
        struct timespec soon = deadline_in_ns(20000);
        assert_ended(sflight_do_until(l->g, &key, sizeof key,
                                      i % 16 == 0 ? work_then_panic : work_a_little, l,
                                      i % 2 ? &soon : NULL, &r[0]));
        sflight_result_release(&r[0]);
        const sflight_key keys[] = {{&key, sizeof key}, {&other, sizeof other}};
        assert_int_equal(sflight_do_many(l->g, keys, 2, work_for_some, l, &soon, r, rc), 0);
        for (int j = 0; j < 2; j++) {
            assert_ended(rc[j]);
            sflight_result_release(&r[j]);
        }
        assert_int_equal(sflight_begin(l->g, &key, sizeof key, &call, &f), 0);
        if (call != NULL && i % 8 == 0)
            sflight_abandon(call);
        else if (call != NULL)
            sflight_complete(call, 0);
        else
            use_future(l, f, i / KEYS);
        if (i % 32 == id) {
            assert_int_equal(sflight_start(l->g, &other, sizeof other, work_a_little, l, &f), 0);
            use_future(l, f, i / KEYS);
        }
        if (i % 7 == 0)
            sflight_forget(l->g, &key, sizeof key);
        atomic_fetch_add(&l->rounds, 1);
    }
    return NULL;
}

static void drain(struct load *l)
{
    sflight_completion done[16];
    int n;
    while ((n = sflight_queue_drain(l->queue, done, 16)) > 0)
        for (int i = 0; i < n; i++) {
            assert_ended(done[i].rc);
            sflight_result_release(&done[i].result);
        }
}

/* What the forking thread has. */
struct mine {
    sflight_call *permit;
    sflight_future *own;   /* on the permit */
    sflight_future *other; /* on somebody's call, or NULL */
    sflight_result result;
    struct tally tally;
};

static struct value *mine_set(struct mine *m)
{
    return value_set(m->permit, &m->tally, 2);
}

static void mine_end(struct load *l, struct mine *m)
{
    sflight_result r;
    mine_set(m);
    sflight_complete(m->permit, 2);
    assert_int_equal(sflight_future_poll(m->own, &r), 0);
    assert_int_equal(number_of(&r), 2);
    sflight_result_release(&r);
    if (m->other != NULL) { /* in the child nobody will end that call: found abandoned */
        int rc = sflight_future_get(m->other, NULL, &r);
        assert_ended(rc);
        sflight_result_release(&r);
    }
    assert_int_equal(number_of(&m->result), 1);
    sflight_result_release(&m->result);
    assert_all_destroyed(&m->tally);
    (void)l;
}

static void child(struct load *l, struct mine *m)
{
    mine_end(l, m);
    for (unsigned key = 0; key < KEYS; key++) {
        struct work w = {.open = true};
        sflight_result r;
        assert_int_equal(sflight_do(l->g, &key, sizeof key, work_fn, &w, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        assert_all_destroyed(&w.tally);
        sflight_call *call;
        sflight_future *f;
        assert_int_equal(sflight_begin(l->g, &key, sizeof key, &call, &f), 0);
        assert_non_null(call);
        sflight_complete(call, 0);
    }
    assert_key_usable(l->g, "key");
    assert_int_equal(stats_of(l->g).in_flight, 0);
    assert_int_equal(stats_of(l->g).waiting, 0);
    _exit(0);
}

static void a_thousand_forks_under_load(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* the sanitizers' own locks are not made for fork */
    for (int on_abandon = SFLIGHT_ABANDON_SHARE; on_abandon <= SFLIGHT_ABANDON_TAKEOVER;
         on_abandon++) {
        sflight_options o = default_options();
        o.on_abandon = on_abandon;
        static struct load l;
        memset(&l, 0, sizeof l);
        l.g = group_new(&o);
        assert_int_equal(sflight_queue_create(&l.queue), 0);
        pthread_t threads[CALLERS];
        threads_start(threads, CALLERS, put_load, &l);
        for (unsigned i = 0; i < FORKS / 2; i++) {
            struct mine m = {.permit = lead(l.g, "mine"), .own = join(l.g, "mine")};
            struct work w = {.open = true};
            assert_int_equal(do_str(l.g, "held", work_fn, &w, &m.result), 0);
            unsigned key = i % KEYS;
            sflight_call *call;
            assert_int_equal(sflight_begin(l.g, &key, sizeof key, &call, &m.other), 0);
            if (call != NULL)
                sflight_complete(call, 0);
            pid_t pid = fork_child();
            if (pid == 0)
                child(&l, &m);
            assert_child_succeeds(pid);
            mine_end(&l, &m);
            assert_all_destroyed(&w.tally);
            drain(&l);
        }
        atomic_store(&l.stop, true);
        threads_join(threads, CALLERS);
        WAIT_UNTIL(stats_of(l.g).in_flight == 0);
        WAIT_UNTIL(l.noted == l.to_note);
        WAIT_UNTIL((drain(&l), stats_of(l.g).held == 0));
        assert_int_equal(sflight_queue_destroy(l.queue), 0);
        WAIT_UNTIL(l.tally.made == l.tally.destroyed);
        group_end(l.g);
    }
}

/* ------------------------------------------------------------ one kind of load */

struct traffic {
    sflight_group *g;
    atomic_bool stop;
};

static void *keep_calling(void *arg)
{
    struct traffic *t = arg;
    for (unsigned i = 0; !t->stop; i++) {
        unsigned key = i % 3;
        sflight_result r;
        assert_int_equal(sflight_do(t->g, &key, sizeof key, nothing, NULL, &r), 0);
        sflight_result_release(&r);
        if (i % 5 == 0)
            sflight_forget(t->g, &key, sizeof key);
    }
    return NULL;
}

/*
 * Wherever the other threads are inside the library, the child is not stuck.
 * What they held at that moment is lost in the child, so that it cannot expect
 * to destroy the group.
 */
static void forks_amid_traffic(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* the sanitizers' own locks are not made for fork */
    struct traffic t = {.g = group_new(NULL)};
    pthread_t threads[3];
    threads_start(threads, LENGTH(threads), keep_calling, &t);
    for (int round = 0; round < 300; round++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            for (unsigned key = 0; key < 3; key++) {
                struct work w = {.open = true};
                sflight_result r;
                assert_int_equal(sflight_do(t.g, &key, sizeof key, work_fn, &w, &r), 0);
                assert_true(r.leader);
                sflight_result_release(&r);
                assert_all_destroyed(&w.tally);
            }
            assert_int_equal(stats_of(t.g).in_flight, 0);
            assert_int_equal(stats_of(t.g).waiting, 0);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&t.stop, true);
    threads_join(threads, LENGTH(threads));
    group_end(t.g);
}

static void *create_and_destroy(void *arg)
{
    struct traffic *t = arg;
    while (!t->stop) {
        sflight_group *g = group_new(NULL);
        assert_key_usable(g, "key");
        group_end(g);
    }
    return NULL;
}

static void forks_amid_births_and_deaths_of_groups(void **state)
{
    (void)state;
    if (SANITIZED)
        return;
    struct traffic t = {.g = group_new(NULL)};
    pthread_t threads[2];
    threads_start(threads, LENGTH(threads), create_and_destroy, &t);
    for (int round = 0; round < 300; round++) {
        pid_t pid = fork_child();
        if (pid == 0) {
            child_uses_group(t.g);
            _exit(0);
        }
        assert_child_succeeds(pid);
    }
    atomic_store(&t.stop, true);
    threads_join(threads, LENGTH(threads));
    group_end(t.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_forks_under_load),
        cmocka_unit_test(forks_amid_traffic),
        cmocka_unit_test(forks_amid_births_and_deaths_of_groups),
    };
    return RUN_TESTS(tests);
}
