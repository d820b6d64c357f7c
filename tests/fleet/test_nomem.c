/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For every k: the k-th allocation of the library fails, in every operation.  Callers get -ENOMEM,
 * or fly alone; nothing is lost, and the fleet works afterwards.  The linker lets the functions
 * below stand before the C library's, on whatever thread; hiredis' own allocations do not come
 * here.
 */
#include "fleet_test.h"

static struct server_process server;

/* Allocations until the one that fails; 0: none does. */
static atomic_long countdown;
static atomic_long n_failed;

static bool fails(void)
{
    if (atomic_load(&countdown) == 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return false;
    atomic_fetch_add(&n_failed, 1);
    errno = ENOMEM;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(align, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

enum { MARK = 12345 };

/* The k-th allocation from here on fails. */
static void fail_at(long k)
{
    errno = MARK;
    atomic_store(&n_failed, 0);
    atomic_store(&countdown, k);
}

/* None fails from here on, and none has changed errno; true: one has failed. */
static bool has_failed(void)
{
    assert_int_equal(errno, MARK);
    atomic_store(&countdown, 0);
    return atomic_load(&n_failed) > 0;
}

static int quick_fn(sflight_call *call, void *arg)
{
    static char value[16];
    sflight_call_set(call, value, sizeof value, NULL, NULL);
    atomic_fetch_add((atomic_int *)arg, 1);
    return 4;
}

static int gated_fn(sflight_call *call, void *arg)
{
    static char value[100];
    struct fleet_work *w = arg;
    atomic_fetch_add(&w->runs, 1);
    WAIT_UNTIL(atomic_load(&w->open));
    sflight_call_set(call, value, sizeof value, NULL, NULL);
    return 1;
}

static void assert_works(sflight_fleet *f)
{
    atomic_int runs = 0;
    sflight_result r;
    assert_int_equal(fleet_do(f, "k", quick_fn, &runs, &r), 0);
    assert_int_equal(r.status, 4);
    assert_int_equal(runs, 1);
    sflight_result_release(&r);
}

static void create_without_memory(void **state)
{
    bool again = true;
    (void)state;
    for (long k = 1; again; k++) {
        sflight_fleet_options o;
        sflight_fleet *f;
        fleet_options(&o, &server, "create");
        fail_at(k);
        int rc = sflight_fleet_create(&f, &o);
        again = has_failed();
        assert_int_equal(rc == 0, f != NULL);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            continue;
        }
        assert_works(f);
        fleet_free(f);
    }
}

static void do_without_memory(void **state)
{
    bool again = true;
    (void)state;
    for (long k = 1; again; k++) {
        sflight_fleet *f = fleet_new(&server, "do");
        atomic_int runs = 0;
        sflight_result r;
        assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
        fail_at(k);
        int rc = fleet_do(f, "k", quick_fn, &runs, &r);
        again = has_failed();
        assert_int_equal(runs, rc == 0);
        if (rc != 0)
            assert_int_equal(rc, -ENOMEM);
        sflight_result_release(&r);
        assert_works(f);
        fleet_free(f);
    }
}

/* One that waits for another process. */
static void receive_without_memory(void **state)
{
    bool again = true;
    (void)state;
    for (long k = 1; again; k++) {
        struct fleet_work w = {0};
        struct fleet_caller leader, waiter;
        sflight_fleet_options o;
        fleet_options(&o, &server, "receive");
        sflight_fleet *a = fleet_create(&o);
        o.address = server.tcp_address;
        sflight_fleet *b = fleet_create(&o);
        assert_int_equal(sflight_fleet_check(b, NULL, NULL, 0), 0);
        fleet_caller_start(&leader, a, "k", gated_fn, &w, NULL);
        WAIT_UNTIL(atomic_load(&w.runs) == 1);
        fleet_caller_start(&waiter, b, "k", gated_fn, &w, NULL);
        WAIT_UNTIL(FLEET_COUNT(b, waiting) == 1);
        fail_at(k);
        atomic_store(&w.open, true);
        thread_join(waiter.thread);
        thread_join(leader.thread);
        again = has_failed();
        if (leader.rc != 0)
            assert_int_equal(leader.rc, -ENOMEM);
        assert_int_equal(waiter.rc, 0);
        sflight_result_release(&leader.r);
        sflight_result_release(&waiter.r);
        fleet_free(a);
        fleet_free(b);
    }
}

static atomic_int n_leads;

static void lead(sflight_fleet_permit *permit, void *arg)
{
    (void)arg;
    if (permit != NULL)
        sflight_fleet_complete(permit, 6, NULL, 0, NULL, NULL);
    atomic_fetch_add(&n_leads, 1);
}

static void start_without_memory(void **state)
{
    bool again = true;
    (void)state;
    for (long k = 1; again; k++) {
        sflight_fleet *f = fleet_new(&server, "start");
        sflight_future *futures[2];
        sflight_result r;
        int n_futures = 0;
        assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
        atomic_store(&n_leads, 0);
        fail_at(k);
        for (int i = 0; i < 2; i++) {
            int rc = sflight_fleet_start(f, "k", 1, lead, NULL, &futures[n_futures]);
            assert_true(rc == 0 || rc == -ENOMEM);
            n_futures += rc == 0;
        }
        for (int i = 0; i < n_futures; i++) {
            assert_int_equal(sflight_future_get(futures[i], NULL, &r), 0);
            assert_int_equal(r.status, 6);
            sflight_result_release(&r);
        }
        again = has_failed();
        WAIT_UNTIL(atomic_load(&n_leads) == n_futures);
        assert_works(f);
        fleet_free(f);
    }
}

static void the_rest_without_memory(void **state)
{
    bool again = true;
    (void)state;
    for (long k = 1; again; k++) {
        sflight_fleet *f = fleet_new(&server, "rest");
        char why[80];
        assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
        fail_at(k);
        int check = sflight_fleet_check(f, NULL, why, sizeof why);
        int forget = sflight_fleet_forget(f, "k", 1);
        int closed = sflight_fleet_close(f, NULL);
        again = has_failed();
        assert_true(check == 0 || check == -ENOMEM || check == -EHOSTUNREACH);
        assert_true(forget == 0 || forget == -ENOMEM);
        assert_true(closed == 0 || closed == -ENOMEM);
        fleet_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_without_memory),   cmocka_unit_test(do_without_memory),
        cmocka_unit_test(receive_without_memory),  cmocka_unit_test(start_without_memory),
        cmocka_unit_test(the_rest_without_memory),
    };
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
