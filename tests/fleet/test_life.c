/* SPDX-License-Identifier: BSD-2-Clause */
/* Options, creating, closing, destroying, numbers. */
#include "fleet_test.h"

static struct server_process server;

static void the_defaults(void **state)
{
    sflight_fleet_options o;
    (void)state;
    memset(&o, 0xA5, sizeof o);
    sflight_fleet_options_init(&o);
    assert_int_equal(o.struct_size, sizeof o);
    assert_null(o.name);
    assert_null(o.address);
    assert_string_equal(o.prefix, "sf:");
    assert_int_equal(o.lease_ms, 3000);
    assert_int_equal(o.max_age_ms, 60000);
    assert_int_equal(o.engine_timeout_ms, 250);
    assert_int_equal(o.max_value, 1 << 20);
    assert_null(o.group);
    sflight_fleet_options_init(NULL);
}

static void refused(const sflight_fleet_options *o)
{
    sflight_fleet *f = (sflight_fleet *)&f;
    errno = 12345;
    assert_int_equal(sflight_fleet_create(&f, o), -EINVAL);
    assert_null(f);
    assert_int_equal(errno, 12345);
}

/* It is the user's, as it is with the other library. */
static void errno_is_left_alone(void **state)
{
    struct fleet_work w = {.open = true, .size = 8};
    sflight_fleet_options o;
    sflight_fleet *f, *other;
    sflight_result r;
    (void)state;
    fleet_options(&o, &server, "errno");
#define LEAVES(call, rc)                                                                           \
    errno = 12345;                                                                                 \
    assert_int_equal(call, rc);                                                                    \
    assert_int_equal(errno, 12345)
    LEAVES(sflight_fleet_create(&f, &o), 0);
    LEAVES(sflight_fleet_create(&other, &o), 0);
    LEAVES(sflight_fleet_check(f, NULL, NULL, 0), 0);
    LEAVES(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
    LEAVES(sflight_fleet_destroy(f), -EBUSY); /* a result is held */
    sflight_result_release(&r);
    LEAVES(sflight_fleet_forget(f, "k", 1) >= 0, true);
    LEAVES(sflight_fleet_close(f, NULL), 0);
    LEAVES(sflight_fleet_destroy(f), 0);
    LEAVES(sflight_fleet_destroy(other), 0); /* the engine thread's last one */
#undef LEAVES
}

static void options_out_of_form(void **state)
{
    static const char *const names[] = {"", "a b", "a{b", "a\n", "\xC3\xA9", "a/b"};
    static const char *const addresses[] = {"",
                                            "unix",
                                            "unix:",
                                            "unix:relative",
                                            "tcp:",
                                            "tcp:host",
                                            "tcp:host:",
                                            "tcp::1",
                                            "tcp:host:0",
                                            "tcp:host:65536",
                                            "tcp:host:1x",
                                            "tcp:ho st:1",
                                            "tcp:::1:1",
                                            "tcp:[::1:1",
                                            "tcp:[]:1",
                                            "tcp:a:1,b:1",
                                            "redis:host:1",
                                            "sentinel:host:1",
                                            "sentinel:@host:1",
                                            "sentinel:m@",
                                            "sentinel:m@a:1,",
                                            "tls:host"};
    char longer[200];
    sflight_fleet_options good, o;
    sflight_fleet *f;
    (void)state;
    fleet_options(&good, &server, "form");
    refused(NULL);
    assert_int_equal(sflight_fleet_create(NULL, &good), -EINVAL);
    for (size_t i = 0; i < LENGTH(names); i++) {
        o = good;
        o.name = names[i];
        refused(&o);
        o = good;
        o.prefix = names[i];
        refused(&o);
    }
    memset(longer, 'a', sizeof longer);
    longer[65] = '\0';
    o = good;
    o.name = longer;
    refused(&o);
    longer[64] = '\0';
    f = fleet_create(&o);
    fleet_free(f);
    for (size_t i = 0; i < LENGTH(addresses); i++) {
        o = good;
        o.address = addresses[i];
        refused(&o);
    }
    snprintf(longer, sizeof longer, "unix:/%0150d", 1);
    o = good;
    o.address = longer;
    refused(&o);
#define REFUSED(member, value)                                                                     \
    o = good;                                                                                      \
    o.member = value;                                                                              \
    refused(&o)
    REFUSED(name, NULL);
    REFUSED(address, NULL);
    REFUSED(prefix, NULL);
    REFUSED(struct_size, 0);
    REFUSED(struct_size, sizeof o - 1);
    REFUSED(database, -1);
    REFUSED(database, 65536);
    REFUSED(lease_ms, 99);
    REFUSED(lease_ms, 3600001);
    REFUSED(max_age_ms, 0);
    REFUSED(max_age_ms, o.lease_ms - 1);
    REFUSED(max_age_ms, 86400001);
    REFUSED(engine_timeout_ms, 0);
    REFUSED(engine_timeout_ms, 3600001);
    REFUSED(max_value, ((size_t)1 << 28) + 1);
    REFUSED(user, "u"); /* without a password */
    REFUSED(cert_file, "c");
    REFUSED(key_file, "k");
    sflight_options group;
    sflight_options_init(&group);
    group.on_abandon = 7;
    REFUSED(group, &group);
    group.struct_size = 1;
    REFUSED(group, &group);
}

/* Options of a later version are taken if what is not known is 0. */
static void structs_of_other_versions(void **state)
{
    struct {
        sflight_fleet_options o;
        char more[16];
    } later;
    struct {
        sflight_fleet_counters c;
        uint64_t more;
    } counters;
    sflight_fleet *f;
    (void)state;
    memset(&later, 0xA5, sizeof later);
    sflight_fleet_options_init_sized(&later.o, sizeof later);
    later.o.name = "later";
    later.o.address = server.address;
    assert_int_equal(sflight_fleet_create(&f, &later.o), 0);
    memset(&counters, 0xA5, sizeof counters);
    assert_int_equal(sflight_fleet_stats_sized(f, &counters.c, sizeof counters), 0);
    assert_int_equal(counters.c.struct_size, sizeof counters);
    assert_int_equal(counters.more, 0);
    memset(&counters, 0xA5, sizeof counters);
    assert_int_equal(sflight_fleet_stats_sized(f, &counters.c, 3 * 8), 0);
    assert_int_equal(counters.c.struct_size, 3 * 8);
    assert_int_equal(counters.c.timed_out, UINT64_C(0xA5A5A5A5A5A5A5A5));
    assert_non_null(sflight_fleet_counter(&counters.c, 1, NULL, NULL));
    assert_null(sflight_fleet_counter(&counters.c, 2, NULL, NULL));
    fleet_free(f);
    later.more[15] = 1;
    assert_int_equal(sflight_fleet_create(&f, &later.o), -EINVAL);
}

static void numbers_have_names(void **state)
{
    sflight_fleet *f = fleet_new(&server, "names");
    sflight_fleet_counters c;
    const char *name;
    uint64_t value;
    bool now;
    unsigned n = 0;
    (void)state;
    memset(&c, 0xA5, sizeof c);
    assert_int_equal(sflight_fleet_stats(f, &c), 0);
    c.bytes = 77;
    for (; (name = sflight_fleet_counter(&c, n, &value, &now)) != NULL; n++) {
        assert_int_equal(now, n >= 30);
        if (strcmp(name, "bytes") == 0)
            assert_int_equal(value, 77);
    }
    assert_int_equal(n, (sizeof c - sizeof c.struct_size) / 8);
    assert_string_equal(sflight_fleet_counter(&c, 0, &value, NULL), "led");
    assert_string_equal(sflight_fleet_counter(&c, n - 1, NULL, NULL), "bytes");
    assert_null(sflight_fleet_counter(NULL, 0, NULL, NULL));
    assert_int_equal(sflight_fleet_stats(NULL, &c), -EINVAL);
    assert_int_equal(sflight_fleet_stats(f, NULL), -EINVAL);
    fleet_free(f);
}

static void wrong_calls(void **state)
{
    sflight_fleet *f = fleet_new(&server, "wrong");
    struct timespec malformed = {.tv_nsec = 1000000000};
    sflight_result r;
    char text[4] = "abc";
    (void)state;
    assert_int_equal(sflight_fleet_do(NULL, "k", 1, fleet_must_not_run, NULL, NULL, &r), -EINVAL);
    assert_null(r.hold);
    assert_int_equal(sflight_fleet_do(f, NULL, 1, fleet_must_not_run, NULL, NULL, &r), -EINVAL);
    assert_int_equal(sflight_fleet_do(f, "k", 1, NULL, NULL, NULL, &r), -EINVAL);
    assert_null(r.hold);
    assert_int_equal(sflight_fleet_do(f, "k", 1, fleet_must_not_run, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(sflight_fleet_do(f, "k", 1, fleet_must_not_run, NULL, &malformed, &r),
                     -EINVAL);
    assert_int_equal(sflight_fleet_forget(NULL, "k", 1), -EINVAL);
    assert_int_equal(sflight_fleet_forget(f, NULL, 1), -EINVAL);
    assert_int_equal(sflight_fleet_check(NULL, NULL, NULL, 0), -EINVAL);
    assert_int_equal(sflight_fleet_check(f, &malformed, NULL, 0), -EINVAL);
    assert_int_equal(sflight_fleet_close(NULL, NULL), -EINVAL);
    assert_int_equal(sflight_fleet_close(f, &malformed), -EINVAL); /* and it is not closed */
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), 0);
    assert_int_equal(sflight_fleet_destroy(NULL), 0);
    assert_string_equal(sflight_fleet_last_error(NULL, text, sizeof text), "");
    assert_string_equal(sflight_fleet_last_error(f, NULL, 0), "");
    assert_string_equal(sflight_fleet_last_error(f, text, 1), "");
    fleet_free(f);
}

/* Fleets of one engine share the thread and the connections. */
static void fleets_share_an_engine(void **state)
{
    enum { N = 20 };
    sflight_fleet *f[N];
    (void)state;
    long long before = server_ask(&server, "PUBSUB CHANNELS");
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "share.%d", i);
        f[i] = fleet_new(&server, name);
    }
    assert_int_equal(sflight_fleet_check(f[N - 1], NULL, NULL, 0), 0);
    assert_int_equal(server_ask(&server, "PUBSUB CHANNELS"), before + 1);
    sflight_fleet_options o;
    fleet_options(&o, &server, "other");
    o.prefix = "other:";
    o.database = 3;
    sflight_fleet *other = fleet_create(&o);
    assert_int_equal(sflight_fleet_check(other, NULL, NULL, 0), 0);
    assert_int_equal(server_ask(&server, "PUBSUB CHANNELS"), before + 2);
    fleet_free(other);
    for (int i = 0; i < N; i++)
        fleet_free(f[i]);
    WAIT_UNTIL(server_ask(&server, "PUBSUB CHANNELS") == before);
}

static void a_fleet_that_is_in_use(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader;
    struct timespec soon = deadline_in_ns(1000000);
    sflight_result r;
    (void)state;
    sflight_fleet *f = fleet_new(&server, "use");
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    assert_int_equal(sflight_fleet_destroy(f), -EBUSY);
    assert_int_equal(sflight_fleet_close(f, &soon), -ETIMEDOUT);
    assert_int_equal(sflight_fleet_do(f, "x", 1, fleet_must_not_run, NULL, NULL, &r), -ESHUTDOWN);
    assert_int_equal(sflight_fleet_check(f, NULL, NULL, 0), -ESHUTDOWN);
    assert_int_equal(sflight_fleet_forget(f, "k", 1), -ESHUTDOWN);
    atomic_store(&w.open, true);
    thread_join(leader.thread);
    assert_int_equal(sflight_fleet_close(f, NULL), 0);
    assert_int_equal(FLEET_COUNT(f, published), 1);
    assert_int_equal(FLEET_COUNT(f, leading), 0);
    assert_int_equal(sflight_fleet_close(f, NULL), 0);
    assert_int_equal(sflight_fleet_destroy(f), -EBUSY); /* the result is held */
    sflight_result_release(&leader.r);
    assert_int_equal(sflight_fleet_destroy(f), 0);
}

/* Closing waits for what the engine has still to be told. */
static void close_waits_for_the_engine(void **state)
{
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader;
    sflight_fleet_options o;
    (void)state;
    fleet_options(&o, &server, "rest");
    o.lease_ms = o.max_age_ms = 3600000;
    sflight_fleet *f = fleet_create(&o);
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    server_freeze(&server);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    struct timespec soon = deadline_in_ns(20000000);
    assert_int_equal(sflight_fleet_close(f, &soon), -ETIMEDOUT);
    server_thaw(&server);
    assert_int_equal(sflight_fleet_close(f, NULL), 0);
    assert_int_equal(FLEET_COUNT(f, published), 1);
    assert_int_equal(sflight_fleet_destroy(f), 0);
}

/* Whoever cannot wait sees it, too: an event loop that comes by again and again. */
static void closing_without_waiting(void **state)
{
    const struct timespec past = {.tv_nsec = 1};
    struct fleet_work w = {.size = 8};
    struct fleet_caller leader;
    (void)state;
    sflight_fleet *f = fleet_new(&server, "past");
    fleet_caller_start(&leader, f, "k", fleet_work_fn, &w, NULL);
    WAIT_UNTIL(atomic_load(&w.runs) == 1);
    assert_int_equal(sflight_fleet_close(f, &past), -ETIMEDOUT);
    server_freeze(&server);
    atomic_store(&w.open, true);
    fleet_caller_got(&leader, &w, 1);
    assert_int_equal(sflight_fleet_close(f, &past), -ETIMEDOUT);
    server_thaw(&server);
    WAIT_UNTIL(sflight_fleet_close(f, &past) == 0);
    assert_int_equal(FLEET_COUNT(f, published), 1);
    assert_int_equal(sflight_fleet_close(f, &past), 0);
    assert_int_equal(sflight_fleet_destroy(f), 0);
    f = fleet_new(&server, "past");
    assert_int_equal(sflight_fleet_close(f, &past), 0);
    assert_int_equal(sflight_fleet_destroy(f), 0);
}

/* Threads that call until they are turned away; then nothing is left, there or here. */
struct load {
    sflight_fleet *f;
    atomic_int calls;
};

static void *call_until_shutdown(void *arg)
{
    struct load *l = arg;
    struct fleet_work w = {.open = true, .size = 8};
    for (unsigned i = 0;; i++) {
        char key[8];
        sflight_result r;
        snprintf(key, sizeof key, "k%u", i % 5);
        int rc = fleet_do(l->f, key, fleet_work_fn, &w, &r);
        if (rc == -ESHUTDOWN)
            return NULL;
        assert_int_equal(rc, 0);
        sflight_result_release(&r);
        atomic_fetch_add(&l->calls, 1);
    }
}

static void close_under_load(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(20, 5); i++) {
        struct load l = {.f = fleet_new(&server, "load")};
        pthread_t threads[4];
        threads_start(threads, 4, call_until_shutdown, &l);
        WAIT_UNTIL(atomic_load(&l.calls) > 50);
        assert_int_equal(sflight_fleet_close(l.f, NULL), 0);
        threads_join(threads, 4);
        sflight_fleet_counters c = fleet_counters(l.f);
        assert_int_equal(c.leading + c.waiting, 0);
        assert_int_equal(c.published, c.led);
        assert_int_equal(fleet_alone_calls(&c), 0);
        assert_int_equal(sflight_fleet_destroy(l.f), 0);
        for (int k = 0; k < 5; k++)
            assert_int_equal(server_ask(&server, "EXISTS sf:load{:k%d}", k), 0);
    }
}

/* Without close: what was to be published is given up, and the fleet is gone all the same. */
static void destroy_without_close(void **state)
{
    (void)state;
    for (int i = 0; i < rounds(100, 30); i++) {
        struct fleet_work w = {.open = true, .size = 8};
        sflight_result r;
        sflight_fleet *f = fleet_new(&server, "hurry");
        assert_int_equal(fleet_do(f, "k", fleet_work_fn, &w, &r), 0);
        sflight_result_release(&r);
        assert_int_equal(sflight_fleet_destroy(f), 0);
        server_ask(&server, "FLUSHALL");
    }
}

static int freeze_fn(sflight_call *call, void *arg)
{
    (void)call;
    server_freeze(arg);
    return 1;
}

/* Another fleet keeps the engine thread, which gets the answer to what the first one has left. */
static void destroy_before_the_answer(void **state)
{
    sflight_result r;
    (void)state;
    sflight_fleet *f = fleet_new(&server, "before"), *other = fleet_new(&server, "after");
    assert_int_equal(fleet_do(f, "k", freeze_fn, &server, &r), 0);
    sflight_result_release(&r);
    assert_int_equal(sflight_fleet_destroy(f), 0);
    server_thaw(&server);
    assert_int_equal(sflight_fleet_check(other, NULL, NULL, 0), 0);
    fleet_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults),
        cmocka_unit_test(errno_is_left_alone),
        cmocka_unit_test(options_out_of_form),
        cmocka_unit_test(structs_of_other_versions),
        cmocka_unit_test(numbers_have_names),
        cmocka_unit_test(wrong_calls),
        cmocka_unit_test(fleets_share_an_engine),
        cmocka_unit_test(a_fleet_that_is_in_use),
        cmocka_unit_test(close_waits_for_the_engine),
        cmocka_unit_test(closing_without_waiting),
        cmocka_unit_test(close_under_load),
        cmocka_unit_test(destroy_without_close),
        cmocka_unit_test(destroy_before_the_answer),
    };
    server_new(&server, NULL);
    int failed = RUN_TESTS(tests);
    server_free(&server);
    return failed;
}
