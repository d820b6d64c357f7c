/* SPDX-License-Identifier: BSD-2-Clause */
/* What singleflight_embedding(7) tells embedders to do: its examples, and that they hold. */
#include "../lib/event_test.h"

#include <sys/epoll.h>

/* ------------------------------------------------- errors raised by longjmp() */

/* A host in the manner of Lua, R or PostgreSQL: raise() leaves for the innermost handler. */
static _Thread_local jmp_buf *handler;

_Noreturn static void raise_error(int error)
{
    longjmp(*handler, error);
}

struct body {
    struct tally tally;
    atomic_bool open;
    int error; /* 0: none */
};

static void body_run(sflight_call *call, struct body *b)
{
    WAIT_UNTIL(atomic_load(&b->open));
    if (b->error != 0)
        raise_error(b->error);
    value_set(call, &b->tally, 1);
}

/* No error passes the library: fn stops it, and says it as its status. */
static int guarded(sflight_call *call, void *arg)
{
    jmp_buf here, *outer = handler;
    int error = setjmp(here);
    if (error == 0) {
        handler = &here;
        body_run(call, arg);
    }
    handler = outer;
    return error;
}

/* Every caller, leader or not, raises it again, after the release. */
static int call_and_raise(sflight_group *g, struct body *b)
{
    sflight_result r;
    int rc = sflight_do(g, "key", 3, guarded, b, &r);
    int error = rc == 0 ? r.status : rc, number = error == 0 ? number_of(&r) : 0;
    sflight_result_release(&r);
    if (error != 0)
        raise_error(error);
    return number;
}

struct user {
    sflight_group *g;
    struct body *body;
};

static void *catching(void *arg)
{
    struct user *u = arg;
    jmp_buf here;
    int error = setjmp(here);
    if (error == 0) {
        handler = &here;
        error = 1000 + call_and_raise(u->g, u->body);
    }
    return (void *)(intptr_t)error;
}

static void errors_by_longjmp(void **state)
{
    (void)state;
    enum { USERS = 5 };
    for (int error = 0; error <= 42; error += 42) {
        struct body body = {.error = error};
        struct user u = {group_new(NULL), &body};
        pthread_t users[USERS];
        for (int i = 0; i < USERS; i++)
            users[i] = thread_start(catching, &u);
        await_waiting(u.g, USERS - 1);
        atomic_store(&body.open, true);
        for (int i = 0; i < USERS; i++)
            assert_int_equal((intptr_t)thread_join(users[i]), error != 0 ? error : 1001);
        assert_all_destroyed(&body.tally);
        assert_key_usable(u.g, "key");
        group_end(u.g);
    }
}

/* ----------------------------------------------------------------- event loops */

static void edge_triggered(void **state)
{
    (void)state;
    enum { N = 10, BATCH = 4 };
    sflight_group *g = group_new(NULL);
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, sflight_queue_fd(q), &e), 0);
    for (int round = 0; round < 3; round++) {
        sflight_call *call = lead(g, "key");
        for (int i = 0; i < N; i++)
            assert_int_equal(sflight_future_enqueue(join(g, "key"), q, 1), 0);
        sflight_complete(call, 0);
        assert_int_equal(epoll_wait(epoll, &e, 1, -1), 1);
        int got = 0, n;
        do { /* until none comes */
            sflight_completion c[BATCH];
            n = sflight_queue_drain(q, c, BATCH);
            for (int i = 0; i < n; i++)
                sflight_result_release(&c[i].result);
            got += n;
        } while (n != 0);
        assert_int_equal(got, N);
        assert_int_equal(epoll_wait(epoll, &e, 1, 0), 0);
    }
    close(epoll);
    assert_int_equal(sflight_queue_destroy(q), 0);
    group_end(g);
}

/* A duplicate, as a forked child has one, would keep a closed descriptor in the set for ever. */
static void deleted_before_it_is_consumed(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    sflight_future *f = join(g, "key");
    int fd = sflight_future_fd(f), duplicate = dup(fd), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN};
    sflight_result r;
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), 0);
    sflight_complete(call, 0);
    assert_int_equal(epoll_wait(epoll, &e, 1, -1), 1);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), 0);
    assert_int_equal(sflight_future_poll(f, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(epoll_wait(epoll, &e, 1, 0), 0);
    close(duplicate);
    close(epoll);
    group_end(g);
}

/* --------------------------------------------------------------- cancellation */

static void *cancelled_while_it_waits(void *arg)
{
    static int type,
        state; /* nothing on a stack that is unwound: AddressSanitizer keeps books of it */
    static sflight_result r;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    /* Around every function of the library. */
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    int rc = sflight_do(arg, "key", 3, must_not_run, NULL, &r);
    sflight_result_release(&r);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    pthread_setcanceltype(type, &type);
    pthread_testcancel();
    return (void *)(intptr_t)rc;
}

static void asynchronous_cancellation(void **state)
{
    (void)state;
    sflight_group *g = group_new(NULL);
    sflight_call *call = lead(g, "key");
    pthread_t thread = thread_start(cancelled_while_it_waits, g);
    await_waiting(g, 1);
    assert_int_equal(pthread_cancel(thread), 0);
    sflight_complete(call, 0);
    assert_ptr_equal(thread_join(thread), PTHREAD_CANCELED);
    group_end(g); /* nothing has been left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_by_longjmp),
        cmocka_unit_test(edge_triggered),
        cmocka_unit_test(deleted_before_it_is_consumed),
        cmocka_unit_test(asynchronous_cancellation),
    };
    return RUN_TESTS(tests);
}
