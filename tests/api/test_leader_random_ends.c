/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ten thousand ends at random moments: threads exit, panic and are cancelled by
 * others, wherever they are, inside one call or inside several, leading or waiting.
 * Whatever comes, nobody waits for ever, values are destroyed once, and nothing
 * is left.  (Exceptions: tests/hpp/throws.cpp.)
 */
#include "../lib/counting_alloc.h"

enum { WORKERS = 6, KEYS = 4 };

struct worker {
    struct field *field;
    uint64_t random;
    pthread_mutex_t mutex; /* over the next two */
    bool there;
    pthread_t thread;
    atomic_bool ended;
    pthread_t supervisor;
};

struct field {
    sflight_group *g;
    struct worker workers[WORKERS];
    atomic_uint exits, panics, cancels, returns;
    unsigned ends; /* that there are to be */
    atomic_bool stop;
    struct tally tally;
};

static bool enough(struct field *f)
{
    return f->exits >= f->ends / 4 && f->panics >= f->ends / 4 && f->cancels >= f->ends / 4 &&
           f->exits + f->panics + f->cancels >= f->ends;
}

struct level {
    struct worker *me;
    unsigned key;
};

static void ask(struct worker *me, unsigned key);

static void linger(struct worker *me)
{
    for (unsigned i = random_pick(&me->random, 12); i > 0; i--) {
        pthread_testcancel();
        if (i % 3 == 0)
            sched_yield();
    }
}

static int end_somehow(sflight_call *call, void *arg)
{
    struct level *level = arg;
    struct worker *me = level->me;
    struct field *f = me->field;
    bool early = random_pick(&me->random, 2);
    if (early)
        value_set(call, &f->tally, 1);
    linger(me);
    if (level->key + 1 < KEYS && random_pick(&me->random, 3) == 0)
        ask(me, level->key + 1 + random_pick(&me->random, KEYS - level->key - 1));
    switch (random_pick(&me->random, 6)) {
    case 0:
        atomic_fetch_add(&f->exits, 1);
        pthread_exit(NULL);
    case 1:
        atomic_fetch_add(&f->panics, 1);
        sflight_panic(call, "at some moment");
    default:
        linger(me);
    }
    if (!early)
        value_set(call, &f->tally, 1);
    return 0;
}

static void ask(struct worker *me, unsigned key)
{
    struct level level = {me, key};
    sflight_result r;
    struct timespec soon = deadline_in_ns(random_pick(&me->random, 50) * 1000);
    int rc = sflight_do_until(me->field->g, &key, sizeof key, end_somehow, &level,
                              random_pick(&me->random, 3) == 0 ? &soon : NULL, &r);
    if (rc == 0)
        assert_int_equal(number_of(&r), 1);
    else
        assert_true(rc == -EOWNERDEAD || rc == -ENOTRECOVERABLE || rc == -ETIMEDOUT);
    atomic_fetch_add(&me->field->returns, 1);
    sflight_result_release(&r);
}

static void note_end(void *arg)
{
    struct worker *me = arg;
    atomic_store(&me->ended, true);
}

static void *work(void *arg)
{
    struct worker *me = arg;
    pthread_cleanup_push(note_end, me);
    while (!enough(me->field)) {
        ask(me, random_pick(&me->random, KEYS));
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void *supervise(void *arg)
{
    struct worker *me = arg;
    while (!enough(me->field)) {
        atomic_store(&me->ended, false);
        pthread_mutex_lock(&me->mutex);
        me->thread = thread_start(work, me);
        me->there = true;
        pthread_mutex_unlock(&me->mutex);
        WAIT_UNTIL(me->ended);
        pthread_mutex_lock(&me->mutex);
        me->there = false;
        pthread_mutex_unlock(&me->mutex);
        if (thread_join(me->thread) == PTHREAD_CANCELED)
            atomic_fetch_add(&me->field->cancels, 1);
    }
    return NULL;
}

static void *hunt(void *arg)
{
    struct field *f = arg;
    uint64_t random = random_from(4771);
    while (!f->stop) {
        struct worker *prey = &f->workers[random_pick(&random, WORKERS)];
        unsigned seen = f->returns;
        pthread_mutex_lock(&prey->mutex);
        if (prey->there)
            pthread_cancel(prey->thread);
        pthread_mutex_unlock(&prey->mutex);
        for (unsigned i = random_pick(&random, 200); i > 0 && f->returns - seen < 4; i--)
            sched_yield();
    }
    return NULL;
}

static void ten_thousand_ends(const sflight_options *given)
{
    struct counting counting = {0};
    sflight_options o = *given;
    o.allocator = (sflight_allocator){&counting, counting_alloc, counting_free};
    static struct field f;
    memset(&f, 0, sizeof f);
    f.ends = (unsigned)rounds(10000, 1000);
    f.g = group_new(&o);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &f.workers[i];
        w->field = &f;
        w->random = random_from(i);
        assert_int_equal(pthread_mutex_init(&w->mutex, NULL), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        f.workers[i].supervisor = thread_start(supervise, &f.workers[i]);
    pthread_t hunter = thread_start(hunt, &f);
    for (unsigned i = 0; i < WORKERS; i++)
        thread_join(f.workers[i].supervisor);
    atomic_store(&f.stop, true);
    thread_join(hunter);

    assert_all_destroyed(&f.tally);
    sflight_stats s = stats_of(f.g);
    assert_int_equal(s.deadlocks, 0);
    assert_true(s.panicked >= f.ends / 4);
    assert_true(s.abandoned >= f.ends / 4);
    for (unsigned key = 0; key < KEYS; key++) {
        struct work w = {.open = true};
        sflight_result r;
        assert_int_equal(sflight_do(f.g, &key, sizeof key, work_fn, &w, &r), 0);
        assert_true(r.leader);
        sflight_result_release(&r);
        assert_all_destroyed(&w.tally);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_mutex_destroy(&f.workers[i].mutex);
    group_end(f.g);
    assert_nothing_allocated(&counting);
}

static void everybody_is_told(void **state)
{
    (void)state;
    sflight_options o = default_options();
    ten_thousand_ends(&o);
    o.spin_ns = 0;
    ten_thousand_ends(&o);
}

static void followers_take_over(void **state)
{
    (void)state;
    sflight_options o = takeover_options();
    ten_thousand_ends(&o);
    o.spin_ns = 0;
    ten_thousand_ends(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_is_told),
        cmocka_unit_test(followers_take_over),
    };
    return RUN_TESTS(tests);
}
