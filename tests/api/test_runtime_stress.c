/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks and threads do everything at once, in a group with options.runtime. */
#include "../lib/task_test.h"

struct storm {
    struct runtime runtime;
    sflight_group *g;
    atomic_uint seed, n;
    unsigned all; /* calls */
    struct tally tally;
};

enum { STORM_KEYS = 3 };

static int storm_fn(sflight_call *call, void *arg)
{
    struct storm *s = arg;
    uint64_t random = random_from(atomic_fetch_add(&s->seed, 1));
    size_t len;
    unsigned key, what = random_pick(&random, 64);
    memcpy(&key, sflight_call_key(call, &len), sizeof key);
    value_set(call, &s->tally, (int)key);
    for (unsigned i = random_pick(&random, 8); i > 0; i--)
        sched_yield();
    if (what == 0 && GLIBC) /* elsewhere no task may */
        pthread_exit(NULL);
    if (what == 1)
        sflight_panic(call, "stormy");
    if (what < 16) { /* asks for another: there may be a circle */
        unsigned other = (key + 1) % STORM_KEYS;
        sflight_result r;
        int rc = sflight_do(s->g, &other, sizeof other, storm_fn, s, &r);
        assert_true(rc == 0 || rc == -EDEADLK || rc == -ENOTRECOVERABLE || rc == -EOWNERDEAD);
        sflight_result_release(&r);
    }
    return (int)key;
}

static void check_storm(int rc, sflight_result *r, unsigned key)
{
    if (rc == 0) {
        assert_int_equal(r->status, key);
        assert_int_equal(number_of(r), key);
    } else {
        assert_true(rc == -ETIMEDOUT || rc == -ENOTRECOVERABLE || rc == -EOWNERDEAD);
    }
    sflight_result_release(r);
}

static void *ride_the_storm(void *arg)
{
    struct storm *s = arg;
    uint64_t random = random_from(atomic_fetch_add(&s->seed, 1));
    while (atomic_fetch_add(&s->n, 1) < s->all) {
        unsigned key = random_pick(&random, STORM_KEYS);
        struct timespec soon = deadline_in_ns(random_pick(&random, 100000));
        const struct timespec *deadline = random_pick(&random, 2) ? &soon : NULL;
        sflight_result r;
        sflight_future *f;
        int rc;
        switch (random_pick(&random, 8)) {
        case 0:
            assert_int_equal(sflight_start(s->g, &key, sizeof key, storm_fn, s, &f), 0);
            rc = sflight_future_get(f, deadline, &r);
            if (rc == -ETIMEDOUT)
                sflight_future_drop(f);
            check_storm(rc, &r, key);
            break;
        case 1:
            sflight_forget(s->g, &key, sizeof key);
            break;
        case 2:
            rc = sflight_group_drain(s->g, &soon);
            assert_true(rc == 0 || rc == -ETIMEDOUT);
            break;
        default:
            rc = sflight_do_until(s->g, &key, sizeof key, storm_fn, s, deadline, &r);
            check_storm(rc, &r, key);
        }
    }
    return NULL;
}

static void everything_at_once(void **state)
{
    (void)state;
    for (int takeover = 0; takeover < 2; takeover++) {
        struct storm s = {.runtime = {.early_every = 7, .spawning = SPAWN_TASK},
                          .all = (unsigned)rounds(30000, 5000)};
        s.g = takeover ? runtime_takeover_group(&s.runtime) : runtime_group(&s.runtime);
        struct runner riders[8];
        for (size_t i = 0; i < LENGTH(riders); i++)
            runner_start(&riders[i], i % 4 ? &s.runtime : NULL, ride_the_storm, &s);
        for (size_t i = 0; i < LENGTH(riders); i++) {
            /* Those whose fn ended them are replaced, until there is nothing left to do. */
            runner_join(&riders[i]);
            if (atomic_load(&s.n) < s.all)
                runner_start(&riders[i], i % 4 ? &s.runtime : NULL, ride_the_storm, &s), i--;
        }
        await_unused(s.g);
        assert_all_destroyed(&s.tally);
        runtime_group_end(s.g, &s.runtime);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
    };
    return RUN_TESTS(tests);
}
