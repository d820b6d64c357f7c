/* SPDX-License-Identifier: BSD-2-Clause */
/* The C functions used from C++: exceptions, lambdas, thread_local destructors. */
#include <singleflight.h>

#include "tap.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

static void await_waiting(sflight_group *g, std::uint64_t n)
{
    sflight_stats s;
    while (sflight_group_stats(g, &s) == 0 && s.waiting != n)
        std::this_thread::yield();
}

static bool idle(sflight_group *g)
{
    sflight_stats s;
    return sflight_group_stats(g, &s) == 0 && s.in_flight == 0 && s.waiting == 0 && s.held == 0;
}

/* What the callables below get as arg. */
struct scene {
    sflight_group *g = nullptr;
    unsigned followers = 0;
    std::atomic<bool> leading{false};
    std::atomic<int> runs{0}, unwound{0};
};

struct count_on_exit {
    std::atomic<int> &n;
    ~count_on_exit() { n++; }
};

/* The first to run throws once the followers are there; a later one returns. */
static int throw_first(sflight_call *, void *arg)
{
    auto &s = *static_cast<scene *>(arg);
    const count_on_exit unwound{s.unwound};
    s.leading = true;
    if (s.runs++ > 0)
        return 7;
    await_waiting(s.g, s.followers);
    throw std::out_of_range("thrown through C");
}

static int return_one(sflight_call *, void *)
{
    return 1;
}

static int status_of(sflight_group *g, const char *key, sflight_fn *fn, void *arg)
{
    sflight_result r;
    const int rc = sflight_do(g, key, std::strlen(key), fn, arg, &r);
    const int status = r.status;
    sflight_result_release(&r);
    return rc < 0 ? rc : status;
}

static void test_exception(int on_abandon)
{
    const bool takeover = on_abandon == SFLIGHT_ABANDON_TAKEOVER;
    sflight_options o;
    sflight_options_init(&o);
    o.on_abandon = on_abandon;
    scene s;
    sflight_group_create(&s.g, &o);
    s.followers = 4;
    std::atomic<int> caught{0}, dead{0}, seven{0};
    std::thread leader([&] {
        try {
            status_of(s.g, "k", throw_first, &s);
        } catch (const std::out_of_range &) {
            caught++;
        }
    });
    while (!s.leading)
        std::this_thread::yield();
    std::vector<std::thread> followers;
    for (unsigned i = 0; i < s.followers; i++)
        followers.emplace_back([&] {
            const int rc = status_of(s.g, "k", throw_first, &s);
            dead += rc == -EOWNERDEAD;
            seven += rc == 7;
        });
    leader.join();
    for (std::thread &t : followers)
        t.join();
    OK(caught == 1, "an exception goes up through sflight_do() to its caller");
    OK(s.unwound == s.runs, "the frame it left was unwound");
    if (takeover)
        OK(s.runs == 2 && dead == 0 && seven == 4, "takeover: one follower ran its fn for all");
    else
        OK(s.runs == 1 && dead == 4 && seven == 0, "every follower gets -EOWNERDEAD");
    OK(status_of(s.g, "k", return_one, nullptr) == 1, "the key is free after it");
    OK(idle(s.g) && sflight_group_destroy(s.g) == 0, "nothing is left in flight or held");
}

static int throw_many(sflight_call *const *, std::size_t, void *)
{
    throw 42;
}

static void test_exception_in_batch()
{
    sflight_group *g = nullptr;
    sflight_group_create(&g, nullptr);
    const sflight_key keys[] = {{"a", 1}, {"b", 1}, {"a", 1}};
    sflight_result r[3];
    int rc[3];
    bool caught = false;
    try {
        sflight_do_many(g, keys, 3, throw_many, nullptr, nullptr, r, rc);
    } catch (int e) {
        caught = e == 42;
    }
    OK(caught, "an exception goes up through sflight_do_many()");
    OK(status_of(g, "a", return_one, nullptr) == 1 && status_of(g, "b", return_one, nullptr) == 1,
       "the keys of the batch are free after it");
    OK(idle(g) && sflight_group_destroy(g) == 0, "nothing of the batch is left");
}

/* An exception of a nested call, caught inside the outer fn. */
static int catch_inner(sflight_call *, void *arg)
{
    auto &s = *static_cast<scene *>(arg);
    try {
        return status_of(s.g, "inner", throw_first, &s);
    } catch (const std::out_of_range &) {
        return 5;
    }
}

static void test_nested()
{
    scene s;
    sflight_group_create(&s.g, nullptr);
    OK(status_of(s.g, "outer", catch_inner, &s) == 5, "the outer call outlives an inner exception");
    OK(idle(s.g) && sflight_group_destroy(s.g) == 0, "and nothing is left");
}

static int n_given_up;
static bool has_memory;

static void give_up(void *, std::size_t, void *)
{
    n_given_up++;
}

static int panic_twice_and_go_on(sflight_call *call, void *value)
{
    for (const char *text : {"the first", "another"}) {
        try {
            sflight_panic(call, "%s", text);
        } catch (...) {
        }
    }
    sflight_call_set(call, value, 1, give_up, nullptr);
    has_memory = sflight_call_alloc(call, 1) != nullptr;
    return 3;
}

/* The panic is not undone, and its message stays. */
static void test_panic_is_stopped()
{
    sflight_group *g = nullptr;
    sflight_result r;
    char value = 0;
    sflight_group_create(&g, nullptr);
    const int rc = sflight_do(g, "k", 1, panic_twice_and_go_on, &value, &r);
    const char *text = static_cast<const char *>(r.value);
    OK(rc == -ENOTRECOVERABLE && r.size == std::strlen(text) &&
           std::strncmp(text, "the first", 9) == 0,
       "a panic that catch (...) has stopped keeps its message");
    OK(n_given_up == 1 && !has_memory, "a value that comes later is destroyed at once");
    sflight_result_release(&r);
    OK(n_given_up == 1 && idle(g) && sflight_group_destroy(g) == 0, "and only then");
}

static void test_lambda()
{
    sflight_group *g = nullptr;
    sflight_group_create(&g, nullptr);
    sflight_result r;
    int destroyed = 0;
    auto make = [](sflight_call *call, void *arg) {
        sflight_call_set(
            call, new int(3), sizeof(int),
            [](void *value, std::size_t, void *ctx) {
                delete static_cast<int *>(value);
                ++*static_cast<int *>(ctx);
            },
            arg);
        return 9;
    };
    OK(sflight_do(g, "k", 1, make, &destroyed, &r) == 0 && r.status == 9 &&
           *static_cast<int *>(r.value) == 3,
       "a lambda that captures nothing is an sflight_fn");
    sflight_result_release(&r);
    OK(destroyed == 1 && sflight_group_destroy(g) == 0, "and an sflight_destroy_fn");
}

/* A thread_local of C++ is destroyed before the library's own per-thread data, or after. */
struct late_caller {
    sflight_group *g = nullptr;
    std::atomic<int> *ran = nullptr;
    ~late_caller()
    {
        if (g != nullptr)
            *ran += status_of(g, "late", return_one, nullptr) == 1;
    }
};

static void test_thread_local_destructor()
{
    sflight_group *g = nullptr;
    sflight_group_create(&g, nullptr);
    std::atomic<int> ran{0};
    for (const bool early : {false, true})
        std::thread([&] {
            if (early)
                (void)status_of(g, "early", return_one, nullptr);
            static thread_local late_caller late;
            late.g = g;
            late.ran = &ran;
        }).join();
    OK(ran == 2, "sflight_do() works in the destructor of a thread_local");
    OK(idle(g) && sflight_group_destroy(g) == 0, "and leaves nothing");
}

int main()
{
    test_exception(SFLIGHT_ABANDON_SHARE);
    test_exception(SFLIGHT_ABANDON_TAKEOVER);
    test_exception_in_batch();
    test_nested();
    test_panic_is_stopped();
    test_lambda();
    test_thread_local_destructor();
    return tap::done();
}
