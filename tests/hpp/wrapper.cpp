/* SPDX-License-Identifier: BSD-2-Clause */
/* singleflight.hpp: values, exceptions, holds, failures, ends of threads. */
#include <singleflight.hpp>

#include "tap.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>

namespace sf = singleflight;
using std::chrono::steady_clock;

/* Returns when n callers wait as followers. */
static void await_waiting(const sf::group &g, std::uint64_t n)
{
    while (g.stats().waiting != n)
        std::this_thread::yield();
}

/* Runs f; the errno of the std::system_error it throws, 0 if it throws none. */
template <class F>
static int error_of(F &&f)
{
    try {
        f();
    } catch (const std::system_error &e) {
        return e.code().category() == std::generic_category() ? e.code().value() : -1;
    }
    return 0;
}

/* Runs f; does it throw an E? */
template <class E, class F>
static bool throws(F &&f)
{
    try {
        f();
    } catch (const E &) {
        return true;
    }
    return false;
}

/* Whether everything of the group has been given back. */
static bool idle(const sf::group &g)
{
    const sflight_stats s = g.stats();
    return s.in_flight == 0 && s.waiting == 0 && s.held == 0;
}

/*
 * One leader and n followers of one call: the leader's callable waits until the
 * n others have joined and then goes on with f.  Each of the n + 1 threads does
 * each(run), where run() is its group::run().
 */
template <class F, class Each>
static void herd(sf::group &g, unsigned n, F f, Each each)
{
    std::atomic<bool> leading{false};
    auto gated = [&] {
        leading = true;
        await_waiting(g, n);
        return f();
    };
    auto run = [&] { return g.run("herd", gated); };
    std::vector<std::thread> threads;
    threads.emplace_back([&] { each(run); });
    while (!leading)
        std::this_thread::yield();
    for (unsigned i = 0; i < n; i++)
        threads.emplace_back([&] { each(run); });
    for (std::thread &t : threads)
        t.join();
}

static void test_value()
{
    sf::group g;
    auto r = g.run("key", [] { return std::string_view("value"); });
    OK(*r == "value" && r->size() == 5 && r.get() == "value", "run() delivers the value");
    OK(r.leader() && !r.shared() && r.followers() == 0, "a lone caller leads, shares with nobody");
    OK(g.run("", [] { return 1; }).get() == 1, "the empty key is a key");
    OK(g.run(std::string_view(), [] { return 2; }).get() == 2, "so is the null string_view");
}

static int seven()
{
    return 7;
}

struct counter {
    int n = 0;
    int operator()() { return ++n; }
};

static void test_callables()
{
    sf::group g;
    OK(*g.run("k", seven) == 7 && *g.run("k", &seven) == 7, "a function will do");
    counter c;
    g.run("k", c);
    OK(c.n == 1, "a callable passed as lvalue is not copied");
    const auto constant = [] { return 3; };
    OK(*g.run("k", constant) == 3, "a const callable will do");
    using namespace std::literals;
    auto key = g.run("a\0b"sv, [](const sf::call &call) {
        return std::pair(call.key() == "a\0b"sv, call.unwanted());
    });
    OK(key->first && !key->second, "a callable that takes the call can ask it");
    const int one = 1;
    auto copied = g.run("k", [&]() -> const int & { return one; });
    static_assert(std::is_same_v<decltype(copied), sf::result<int>>);
    OK(*copied == 1 && &*copied != &one, "what is returned by reference is copied");
}

struct immovable {
    int n;
    explicit immovable(int i) : n(i) {}
    immovable(const immovable &) = delete;
    immovable &operator=(const immovable &) = delete;
};

struct alignas(256) aligned {
    char c;
};

static void test_types()
{
    sf::group g;
    bool ran = false;
    sf::result<void> nothing = g.run("k", [&] { ran = true; });
    OK(ran && nothing && nothing.leader(), "void");
    OK(**g.run("k", [] { return std::make_unique<int>(4); }) == 4, "a type that only moves");
    OK(g.run("k", [] { return immovable(5); })->n == 5, "a type that does not even move");
    auto big = g.run("k", [] { return std::array<char, 1 << 20>{'x'}; });
    OK(big->front() == 'x' && big->back() == '\0', "a type of a mebibyte");
    auto far = g.run("k", [] { return aligned(); });
    OK(reinterpret_cast<std::uintptr_t>(&*far) % 256 == 0, "a type with an alignment of 256");
}

static void test_shared()
{
    sf::group g;
    std::atomic<int> runs{0}, leaders{0}, right{0}, arrived{0};
    std::atomic<const std::vector<int> *> first{nullptr};
    auto work = [&] {
        runs++;
        return std::vector<int>{1, 2, 3};
    };
    herd(g, 4, work, [&](auto &run) {
        auto r = run();
        const std::vector<int> *expected = nullptr;
        const bool same = first.compare_exchange_strong(expected, &*r) || expected == &*r;
        leaders += r.leader();
        right += same && r->size() == 3 && r.shared() && r.followers() == 4;
        arrived++; /* and hold on until all have compared */
        while (arrived < 5)
            std::this_thread::yield();
    });
    OK(runs == 1 && leaders == 1, "five callers: one ran the callable");
    OK(right == 5, "five callers: one object, shared by all");
    OK(idle(g), "five callers: everything was given back");
}

static void test_exception()
{
    sf::group g;
    std::mutex m;
    std::vector<std::exception_ptr> caught;
    herd(
        g, 4, []() -> int { throw std::out_of_range("no such page"); },
        [&](auto &run) {
            try {
                run();
            } catch (const std::out_of_range &) {
                std::lock_guard<std::mutex> guard(m);
                caught.push_back(std::current_exception());
            }
        });
    OK(caught.size() == 5, "an exception reaches every caller");
    OK(std::all_of(caught.begin(), caught.end(), [&](auto &e) { return e == caught[0]; }),
       "it is the same exception for all");
    OK(throws<int>([&] { g.run("void", [] { throw 42; }); }),
       "anything may be thrown, also from void");
    OK(idle(g), "an exception holds on to nothing");
    OK(*g.run("herd", [] { return 1; }) == 1, "the key is free after an exception");
}

static thread_local bool no_memory;

void *operator new(std::size_t size, const std::nothrow_t &) noexcept
{
    try {
        return no_memory ? nullptr : ::operator new(size);
    } catch (...) {
        return nullptr;
    }
}

static void test_no_memory()
{
    sf::group g;
    OK(throws<std::bad_alloc>([&] { g.run("k", []() -> int { throw std::bad_alloc(); }); }),
       "std::bad_alloc travels like any exception");
    std::atomic<int> bad{0};
    auto work = []() -> int {
        no_memory = true;
        throw 42;
    };
    herd(g, 2, work, [&](auto &run) {
        bad += throws<std::bad_alloc>(run);
        no_memory = false;
    });
    OK(bad == 3 && idle(g), "no memory for the exception: std::bad_alloc for all callers");
}

struct tracked {
    static inline std::atomic<int> alive{0};
    tracked() { alive++; }
    ~tracked() { alive--; }
    tracked(const tracked &) = delete;
    tracked &operator=(const tracked &) = delete;
};

static void test_holds()
{
    sf::group g;
    auto make = [] { return tracked(); };
    {
        auto a = g.run("k", make);
        auto b = a;
        OK(&*a == &*b && g.stats().held == 2 && tracked::alive == 1, "a copy is a second hold");
        auto c = std::move(a);
        OK(!a && c && &*c == &*b && g.stats().held == 2, "a move hands the hold on");
        auto &same = c;
        c = same;
        OK(c && g.stats().held == 2, "assignment to itself changes nothing");
        b = g.run("k", make);
        OK(tracked::alive == 2 && g.stats().held == 2, "assignment gives up the old hold");
        sf::result<tracked> empty, copy_of_empty = empty;
        OK(!empty && !copy_of_empty, "an empty result may be copied");
        c = empty;
        OK(!c && tracked::alive == 1, "assigning an empty result gives up the hold");
        std::thread([moved = std::move(b)] { (void)moved; }).join();
        OK(tracked::alive == 0, "another thread may give up the last hold");
    }
    OK(idle(g), "no hold is left");
}

static void test_type_mismatch()
{
    sf::group g;
    std::atomic<bool> leading{false};
    std::thread leader([&] {
        g.run("k", [&] {
            leading = true;
            await_waiting(g, 1);
            return 1;
        });
    });
    while (!leading)
        std::this_thread::yield();
    OK(throws<std::logic_error>([&] { g.run("k", [] { return 1L; }); }),
       "a follower that asks for another type gets std::logic_error");
    leader.join();
    OK(idle(g), "and holds nothing");
}

static void test_deadline()
{
    sf::group g;
    const auto past = steady_clock::time_point();
    OK(*g.run_until(past, "k", [] { return 1; }) == 1,
       "a deadline in the past does not stop a leader");
    OK(*g.run_until(steady_clock::time_point::min(), "k", [] { return 1; }) == 1,
       "nor the least one");
    std::atomic<bool> leading{false}, go{false};
    std::thread leader([&] {
        g.run("k", [&] {
            leading = true;
            while (!go)
                std::this_thread::yield();
            return 1;
        });
    });
    while (!leading)
        std::this_thread::yield();
    OK(error_of([&] { g.run_until(past, "k", [] { return 2; }); }) == ETIMEDOUT,
       "a follower leaves at its deadline with ETIMEDOUT");
    OK(error_of([&] { g.drain_until(past); }) == ETIMEDOUT, "so does drain_until()");
    std::thread patient([&] {
        OK(*g.run_until(steady_clock::time_point::max(), "k", [] { return 3; }) == 1,
           "the last deadline is never reached");
    });
    await_waiting(g, 1);
    go = true;
    leader.join();
    patient.join();
    OK(idle(g), "after deadlines nothing is left");
}

static void test_forget()
{
    sf::group g;
    OK(!g.forget("k") && g.forget_unshared("k"), "nothing in flight, nothing to forget");
    auto r = g.run("k", [&] {
        const bool forgot = g.forget("k");
        return std::pair(forgot, *g.run("k", [] { return 2; }));
    });
    OK(r->first && r->second == 2, "a forgotten key can be led again, also inside its callable");
    std::atomic<bool> kept{false};
    herd(
        g, 1, [&] { kept = !g.forget_unshared("herd"); }, [](auto &run) { run(); });
    OK(kept, "forget_unshared() keeps a call with a follower");
}

static void test_lifecycle()
{
    sf::options bad;
    bad.on_panic = 99;
    OK(error_of([&] { sf::group g(bad); }) == EINVAL, "options out of range: EINVAL");
    sf::options few;
    few.max_waiters = 1;
    sf::group g(few);
    int deadlock = 0, drain = 0;
    g.run("k", [&] {
        deadlock = error_of([&] { g.run("k", [] {}); });
        drain = error_of([&] { g.drain(); });
    });
    OK(deadlock == EDEADLK && drain == EDEADLK, "waiting for oneself: EDEADLK");
    sf::group moved(std::move(g));
    OK(error_of([&] { g.run("k", [] {}); }) == EINVAL, "a group that was moved from: EINVAL");
    moved.run("k", [] {});
    OK(moved.stats().led == 2, "a move keeps the group");
    moved.close();
    OK(error_of([&] { moved.run("k", [] {}); }) == ESHUTDOWN, "a closed group: ESHUTDOWN");
    moved.drain();
    g = std::move(moved);
    g = sf::group();
    OK(*g.run("k", [] { return 1; }) == 1, "assignment replaces the group");
}

static void test_each()
{
    sf::group g;
    std::string seen;
    bool caught = false, ended = true;
    g.run("outer", [&] {
        g.run("inner", [&] {
            g.each([&](const sflight_info &i) {
                seen += std::string_view(static_cast<const char *>(i.key.data), i.key.len);
            });
            ended = g.each([](const sflight_info &) { return false; });
            try {
                g.each([](const sflight_info &) { throw std::runtime_error("a visit"); });
            } catch (const std::runtime_error &) {
                caught = true;
            }
        });
    });
    OK(seen == "outerinner" || seen == "innerouter", "each call in flight is visited");
    OK(!ended, "a visit ends the walk");
    OK(caught, "what a visit throws goes on");
    OK(g.each([](const sflight_info &) { return true; }), "nothing is in flight");
    OK(idle(g), "and nothing is left of a walk");
}

/* Leads through the C functions, for a follower that comes through the wrapper. */
static int lead_c(sflight_call *call, void *arg)
{
    auto &leading = *static_cast<std::atomic<bool> *>(arg);
    static char value[] = "not a box";
    sflight_call_set(call, value, sizeof(value), nullptr, nullptr);
    leading = true;
    while (leading)
        std::this_thread::yield();
    return 0;
}

static void test_mixed()
{
    sf::group g;
    std::atomic<bool> leading{false};
    std::thread leader([&] {
        sflight_result r;
        sflight_do(g.native_handle(), "k", 1, lead_c, &leading, &r);
        sflight_result_release(&r);
    });
    while (!leading)
        std::this_thread::yield();
    std::thread follower([&] {
        OK(throws<std::logic_error>([&] { g.run("k", [] {}); }),
           "a call led through the C functions: std::logic_error");
    });
    await_waiting(g, 1);
    leading = false;
    leader.join();
    follower.join();
    OK(idle(g), "and nothing is held");
}

/* How the leader's thread ends while its callable runs. */
static void *exit_in_callable(void *arg)
{
    auto &g = *static_cast<sf::group *>(arg);
    g.run("k", [&] {
        tracked local;
        await_waiting(g, 2);
        pthread_exit(arg);
    });
    return nullptr;
}

static void *cancelled_in_callable(void *arg)
{
    auto &g = *static_cast<sf::group *>(arg);
    g.run("k", [&] {
        tracked local;
        for (;;)
            pthread_testcancel();
    });
    return nullptr;
}

static void test_thread_ends(void *(*leader)(void *), bool cancel, const char *what)
{
    sf::group g;
    pthread_t id;
    pthread_create(&id, nullptr, leader, &g);
    while (g.stats().in_flight != 1)
        std::this_thread::yield();
    std::atomic<int> dead{0};
    std::vector<std::thread> followers;
    for (int i = 0; i < 2; i++)
        followers.emplace_back([&] { dead += error_of([&] { g.run("k", [] {}); }) == EOWNERDEAD; });
    if (cancel) {
        await_waiting(g, 2);
        pthread_cancel(id);
    }
    void *status = nullptr;
    pthread_join(id, &status);
    for (std::thread &t : followers)
        t.join();
    OK(status == (cancel ? PTHREAD_CANCELED : &g), what);
    OK(dead == 2, "its followers get EOWNERDEAD");
    OK(tracked::alive == 0 && idle(g), "its stack was unwound, nothing is left");
}

/* As a plugin with hidden visibility has them: another type_info of the same type. */
struct other_type_info : std::type_info {
    explicit other_type_info(const char *name) : std::type_info(name) {}
};

/* Two types of this name, each with its type_info. */
static bool are_same(const std::string &name)
{
    const std::string again = name;
    const other_type_info a(name.c_str()), b(again.c_str());
    return sf::detail::same_type(a, b);
}

static void test_types_of_two_plugins()
{
    const other_type_info a("4page"), b("4pane");
    OK(sf::detail::same_type(a, a) && !sf::detail::same_type(a, b), "a type is itself");
    OK(are_same("4page") && are_same("St4pairI8ZipPagesiE") && are_same("8HTML5Doc"),
       "types of one name are the same, wherever they stand");
    OK(are_same("Z4loadvE4page") && are_same("Z4loadvEUlvE_") && are_same("N4loadMUlvE_E"),
       "so are what an inline function has, and a variable's closure");
    OK(!are_same("N12_GLOBAL__N_14pageE"), "not those of two unnamed namespaces");
    OK(!are_same("ZL4loadvE4page") && !are_same("ZN2nsL4loadIiEEDavE4page") &&
           !are_same("St4pairIiZL4loadvE4pageE") && !are_same("1XIXadL_ZL3varEEE"),
       "nor what two functions of internal linkage have");
    OK(!are_same("NL4loadMUlvE_E") && !are_same("3$_0") && !are_same("ZNK3$_2clEvE4page"),
       "nor closures of two files");
#ifdef __GLIBCXX__
    OK(!are_same("*ZplRK1AiE4page"), "nor what g++ marks");
#endif
}

int main()
{
    test_value();
    test_callables();
    test_types();
    test_shared();
    test_exception();
    test_no_memory();
    test_holds();
    test_type_mismatch();
    test_types_of_two_plugins();
    test_deadline();
    test_forget();
    test_lifecycle();
    test_each();
    test_mixed();
    test_thread_ends(exit_in_callable, false,
                     "pthread_exit() in the callable ends the thread as asked");
    test_thread_ends(cancelled_in_callable, true, "pthread_cancel() ends the thread as asked");
    return tap::done();
}
