/* SPDX-License-Identifier: BSD-2-Clause */
/* src/lock.c: held in the parent, free in the child; and a lock as any other, with a deadline. */
#include "unit_test.h"

#include "lock.h"

#include <sys/wait.h>
#include <unistd.h>

enum { N_THREADS = 4, N_TURNS = 20000 };

static struct lock lock;
static unsigned n_turns; /* under the lock */

static void *take_turns(void *unused)
{
    for (int i = 0; i < N_TURNS; i++) {
        if (i % 2 == 0 || !lock_try(&lock))
            lock_take(&lock);
        n_turns++;
        lock_give(&lock);
    }
    return unused;
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    n_turns = 0;
    for (int i = 0; i < N_THREADS; i++)
        threads[i] = thread_start(take_turns, NULL);
    for (int i = 0; i < N_THREADS; i++)
        thread_join(threads[i]);
    assert_int_equal(n_turns, N_THREADS * N_TURNS);
    assert_int_equal(atomic_load(&lock.word), 0);
}

static void test_try(void **state)
{
    (void)state;
    assert_true(lock_try(&lock));
    assert_false(lock_try(&lock));
    lock_give(&lock);
    assert_true(lock_try(&lock));
    lock_give(&lock);
}

static _Atomic(pid_t) sleeper;

static void *sleep_for_it(void *deadline)
{
    atomic_store(&sleeper, thread_id());
    assert_true(lock_take_until(&lock, deadline));
    lock_give(&lock);
    return NULL;
}

/* Who gives up takes nothing, and no wake from those that sleep on. */
static void test_deadline(void **state)
{
    (void)state;
    struct timespec past = {0}, far = deadline_in_an_hour();
    assert_true(lock_take_until(&lock, &past)); /* it is free */
    assert_false(lock_take_until(&lock, &past));
    for (int i = 0; i < 2; i++) {
        atomic_store(&sleeper, 0);
        pthread_t thread = thread_start(sleep_for_it, i == 0 ? NULL : &far);
        WAIT_UNTIL(atomic_load(&sleeper) != 0 && thread_sleeps(atomic_load(&sleeper)));
        assert_false(lock_take_until(&lock, &past));
        assert_false(lock_try(&lock));
        lock_give(&lock);
        thread_join(thread);
        lock_take(&lock);
    }
    lock_give(&lock);
    assert_int_equal(atomic_load(&lock.word), 0);
}

/* The parent's lock is held, with somebody who sleeps for it or without. */
static void *wait_for_it(void *unused)
{
    lock_take(&lock);
    lock_give(&lock);
    return unused;
}

static void test_held_at_a_fork(void **state)
{
    (void)state;
    for (int contended = 0; contended < 2; contended++)
        for (int tries = 0; tries < 2; tries++) {
            pthread_t waiter = pthread_self();
            int status;
            lock_take(&lock);
            if (contended) {
                uint32_t free_of_others = atomic_load(&lock.word);
                waiter = thread_start(wait_for_it, NULL);
                WAIT_UNTIL(atomic_load(&lock.word) != free_of_others);
            }
            pid_t child = fork();
            assert_int_not_equal(child, -1);
            if (child == 0) {
                alarm(60);
                if (tries && !lock_try(&lock))
                    _exit(1);
                if (!tries)
                    lock_take(&lock);
                if (lock_try(&lock))
                    _exit(2);
                lock_give(&lock);
                _exit(lock_try(&lock) ? 0 : 3);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_int_equal(status, 0);
            assert_false(lock_try(&lock)); /* here it is held still */
            lock_give(&lock);
            if (contended)
                thread_join(waiter);
        }
    assert_int_equal(atomic_load(&lock.word), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_try),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_held_at_a_fork),
    };
    return RUN_TESTS(tests);
}
