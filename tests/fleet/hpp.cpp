/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * singleflight_fleet.hpp: codecs, values, exceptions, event loops; against a server of its own. Two
 * fleets of one name stand for two processes: they meet at the engine only.  Also where there are
 * neither exceptions nor RTTI: then without what needs them.
 */
#include <singleflight_fleet.hpp>

#include "../hpp/tap.hpp"
#include "hpp_server.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

#ifdef __cpp_exceptions
#define THROWS 1
#endif

namespace sf = singleflight;
using std::chrono::steady_clock;

namespace
{

const char *address;
constexpr std::uint32_t long_ms = 600000; /* nothing of that length ends in a test */

struct page {
    int number;
    std::string text;
};

/* "NUMBER:TEXT"; counts what it does. */
struct page_codec {
    static std::atomic<int> n_written, n_read;

    std::string to_bytes(const page &p) const
    {
        n_written++;
        return std::to_string(p.number) + ":" + p.text;
    }
    page from_bytes(std::string_view bytes) const
    {
        n_read++;
        const std::size_t colon = bytes.find(':');
#ifdef THROWS
        if (colon == bytes.npos)
            throw std::invalid_argument("no page");
#endif
        return {std::atoi(std::string(bytes.substr(0, colon)).c_str()),
                std::string(bytes.substr(colon + 1))};
    }
};
std::atomic<int> page_codec::n_written{0}, page_codec::n_read{0};

sf::fleet_options options(const char *name)
{
    sf::fleet_options o;
    o.name = name;
    o.address = address;
    o.engine_timeout_ms = long_ms;
    o.lease_ms = long_ms;
    o.max_age_ms = long_ms;
    return o;
}

template <class Done>
void await(Done done)
{
    while (!done())
        std::this_thread::yield();
}

template <class Fleet>
sflight_fleet_counters counters(const Fleet &f)
{
    sflight_fleet_counters c;
    (void)sflight_fleet_stats(f.native_handle(), &c);
    return c;
}

/* ------------------------------------------------------------ without exceptions */

void failures_are_returned()
{
    sf::fleet<> f(nullptr);
    sf::fleet_options none;
    OK(none.lease_ms == 3000 && none.name == nullptr, "options have the defaults");
    OK(sf::fleet<>::create(f, none) == -EINVAL && f.native_handle() == nullptr,
       "no fleet, and the reason");
    sf::future out;
    auto alive = std::make_shared<int>(0);
    OK(f.start(
           "key", [alive](sf::fleet_permit) {}, out) == -EINVAL &&
           !out,
       "without a fleet nothing begins");
    OK(alive.use_count() == 1, "and the callable is gone");
    const sf::fleet_permit no;
    OK(!no && no.native_handle() == nullptr, "a permit that is none");
}

/* start(), whose permit is handed over to the caller. */
struct starter {
    std::atomic<sflight_fleet_permit *> permit{nullptr};
    std::atomic<int> n_called{0};
    std::shared_ptr<int> alive = std::make_shared<int>(0);
    sf::future join;

    template <class Fleet>
    int start(Fleet &f, std::string_view key)
    {
        return f.start(
            key,
            [this, alive = alive](sf::fleet_permit p) {
                n_called++;
                permit = p.release();
            },
            join);
    }
    sf::fleet_permit take()
    {
        await([this] { return permit.load() != nullptr; });
        return sf::fleet_permit(permit.exchange(nullptr));
    }
    /* The callable of start() has been destroyed. */
    void await_end()
    {
        await([this] { return alive.use_count() == 1; });
    }
};

void starts_of_two_processes()
{
    sf::fleet<page_codec> a(nullptr), b(nullptr);
    OK(sf::fleet<page_codec>::create(a, options("start")) == 0 && a.native_handle() != nullptr &&
           sf::fleet<page_codec>::create(b, options("start")) == 0,
       "two fleets of a name");
    starter first, joins, receives;
    OK(first.start(a, "key") == 0 && first.join, "the first start");
    sf::fleet_permit lead = first.take();
    OK(lead && lead.key() == "key", "it has a permit, which knows its key");
    OK(joins.start(a, "key") == 0 && receives.start(b, "key") == 0, "others follow");
    await([] { return hpp_server_waiters("start", "key") == 1; });
    first.await_end();
    sf::fleet_permit moved = std::move(lead);
    lead = sf::fleet_permit(); /* what was moved from ends nothing */
    OK(moved.complete(200, a.codec().to_bytes({7, "text"})) == 1 && !moved,
       "completed, with one follower in this process");
    sf::answer one, two, three;
    OK(first.join.get(one) == 0 && joins.join.get(two) == 0 && receives.join.get(three) == 0,
       "all futures have a result");
    joins.await_end();
    receives.await_end();
    OK(first.n_called == 1 && joins.n_called == 0 && receives.n_called == 0, "one permit for all");
    OK(one.leader() && !two.leader() && one.value() == two.value() && one.value() != three.value(),
       "shared in the process, copied to the other one");
    OK(one.status() == 200 && three.status() == 200, "the status goes with it");
    const page p = b.decode(three);
    OK(p.number == 7 && p.text == "text" && a.decode(two).text == "text", "the codec reads it");
    one = two = three = sf::answer();
    OK(counters(a).led == 1 && counters(b).received == 1, "one has led, one received");
}

void permits_are_given_up()
{
    sf::fleet<> a(nullptr), b(nullptr);
    (void)sf::fleet<>::create(a, options("given-up"));
    (void)sf::fleet<>::create(b, options("given-up"));
    starter first, second;
    OK(first.start(a, "key") == 0, "one leads");
    {
        sf::fleet_permit lead = first.take();
        OK(second.start(b, "key") == 0, "another process waits");
        await([] { return hpp_server_waiters("given-up", "key") == 1; });
    }
    sf::fleet_permit lead = second.take();
    OK(bool(lead), "a permit that goes has abandoned its call, and the other process leads");
    sf::answer none, all;
    OK(first.join.get(none) == -EOWNERDEAD && none.rc() == -EOWNERDEAD, "nobody has a result here");
    OK(lead.complete(0, std::string()) == 0 && second.join.get(all) == 0 && all.size() == 0 &&
           b.decode(all).empty(),
       "no bytes are a value, too");
    all = sf::answer();
    sf::fleet_permit third;
    starter last;
    OK(last.start(a, "key") == 0, "the key is usable");
    third = last.take();
    OK(third.abandon() == 0 && !third, "abandoned");
    OK(counters(a).unshared == 2, "counted");
}

void moves()
{
    sf::fleet<> a(nullptr), b(nullptr);
    (void)sf::fleet<>::create(a, options("moves"));
    sflight_fleet *handle = a.native_handle();
    sf::fleet<> moved = std::move(a);
    b = std::move(moved);
    OK(b.native_handle() == handle && a.native_handle() == nullptr &&
           moved.native_handle() == nullptr,
       "a fleet is moved");
}

/* The connections are cut when the result is there, and come back when the fleet is going. */
void a_destructor_publishes()
{
    sf::fleet<> b(nullptr);
    (void)sf::fleet<>::create(b, options("destructor"));
    starter first, second;
    std::atomic<bool> going{false};
    std::thread mends([&] {
        await([&] { return going.load(); });
        hpp_server_mend();
    });
    {
        sf::fleet<> a(nullptr);
        (void)sf::fleet<>::create(a, options("destructor"));
        (void)first.start(a, "key");
        sf::fleet_permit lead = first.take();
        (void)second.start(b, "key");
        await([] { return hpp_server_waiters("destructor", "key") == 1; });
        hpp_server_cut();
        await([&] { return counters(a).connected == 0; });
        (void)lead.complete(0, "last words");
        (void)first.join.drop();
        going = true;
    }
    mends.join();
    sf::answer a;
    OK(second.permit == nullptr && second.join.get(a) == 0 && b.decode(a) == "last words",
       "a destructor publishes");
    a = sf::answer();
    OK(counters(b).received == 1, "received by the other process");
}

#ifdef THROWS
/* --------------------------------------------------------------- with exceptions */

/* Runs f; the errno of the std::system_error it throws, 0 if it throws none. */
template <class F>
int error_of(F &&f)
{
    try {
        f();
    } catch (const std::system_error &e) {
        return e.code().category() == std::generic_category() ? e.code().value() : -1;
    }
    return 0;
}

template <class E, class F>
bool throws(F &&f)
{
    try {
        f();
    } catch (const E &) {
        return true;
    }
    return false;
}

void values()
{
    sf::fleet flat(options("values"));
    auto r = flat.run("key", [] { return std::string("a\0b", 3); });
    static_assert(std::is_same_v<decltype(r), sf::fleet_result<std::string_view>>);
    OK(*r == std::string_view("a\0b", 3) && r->size() == 3 && r.get() == *r, "bytes are bytes");
    OK(r.leader() && !r.shared() && r.followers() == 0, "a lone caller leads");
    OK(flat.run("", [] { return ""; })->empty(), "the empty key, the empty value");
    OK(*flat.run(std::string_view("k\0{}\n", 5),
                 [](sf::call &c) { return std::string(c.key()); }) ==
           std::string_view("k\0{}\n", 5),
       "a callable that takes the call, and any key");
    auto copy = r;
    r = flat.run("key", [] { return "other"; });
    OK(*copy == std::string_view("a\0b", 3) && *r == "other", "a copy is another hold");
    const auto held = std::move(copy);
    OK(held && !copy && *held == std::string_view("a\0b", 3), "moved on");

    sf::fleet<page_codec> pages(options("pages"));
    const int written = page_codec::n_written, read = page_codec::n_read;
    auto p = pages.run("key", [] { return page{5, "five"}; });
    OK(p->number == 5 && p->text == "five", "the codec's type");
    OK(page_codec::n_written == written + 1 && page_codec::n_read == read + 1,
       "written once, and read by the leader, too");
    OK(counters(pages).led == 1, "led");
}

/* Callers of two processes; the leader waits until n of its own process and one other wait. */
void a_crowd()
{
    constexpr int n = 4;
    sf::fleet<page_codec> a(options("crowd")), b(options("crowd"));
    std::atomic<int> runs{0}, good{0}, leaders{0};
    auto work = [&] {
        runs++;
        await([&] {
            return hpp_server_waiters("crowd", "key") == 1 && counters(a).joined == n &&
                   counters(b).joined == n;
        });
        return page{runs, "crowd"};
    };
    auto caller = [&](sf::fleet<page_codec> &f) {
        auto r = f.run("key", work);
        good += r->number == 1 && r->text == "crowd" && r.shared();
        leaders += r.leader();
    };
    const int written = page_codec::n_written, read = page_codec::n_read;
    std::vector<std::thread> threads;
    threads.emplace_back([&] { caller(a); });
    await([&] { return runs == 1; });
    for (int i = 0; i < n; i++)
        threads.emplace_back([&] { caller(a); });
    for (int i = 0; i < n + 1; i++)
        threads.emplace_back([&] { caller(b); });
    for (std::thread &t : threads)
        t.join();
    OK(runs == 1 && good == 2 * n + 2 && leaders == 1, "one run for two processes' callers");
    OK(page_codec::n_written == written + 1 && page_codec::n_read == read + 2 * n + 2,
       "written once, read by each");
}

/* An exception is of its own caller; others run their own. */
void exceptions()
{
    sf::fleet<page_codec> a(options("throws")), b(options("throws"));
    std::atomic<bool> leading{false};
    bool thrown = false;
    std::thread dies([&] {
        thrown = throws<std::out_of_range>([&] {
            a.run("key", [&]() -> page {
                leading = true;
                await([&] {
                    return hpp_server_waiters("throws", "key") == 1 && counters(a).joined == 1;
                });
                throw std::out_of_range("mine");
            });
        });
    });
    await([&] { return leading.load(); });
    std::atomic<int> runs{0}, got{0};
    auto other = [&](sf::fleet<page_codec> &f) {
        got += f.run("key", [&] { return page{++runs, "own"}; })->text == "own";
    };
    std::thread here([&] { other(a); }), there([&] { other(b); });
    dies.join();
    here.join();
    there.join();
    OK(thrown, "an exception goes on to its own caller");
    OK(got == 2 && runs >= 1 && runs <= 2, "the others have run their own");
    OK(counters(a).unshared == 1, "nothing was published of it");
    OK(throws<std::bad_alloc>([&] { a.run("key", []() -> page { throw std::bad_alloc(); }); }) &&
           a.run("key",
                 [] {
                     return page{1, "after"};
                 })->text == "after",
       "the key is usable");
}

struct mute {
    std::string to_bytes(int n) const
    {
        if (n < 0)
            throw std::domain_error("negative");
        return std::string(static_cast<std::size_t>(n), 'x');
    }
    int from_bytes(std::string_view bytes) const
    {
        if (bytes.size() == 13)
            throw std::range_error("thirteen");
        return static_cast<int>(bytes.size());
    }
};

void codecs_that_throw()
{
    sf::fleet<mute> f(options("mute"));
    OK(throws<std::domain_error>([&] { f.run("key", [] { return -1; }); }), "to_bytes() throws");
    OK(throws<std::range_error>([&] { f.run("key", [] { return 13; }); }), "from_bytes() throws");
    OK(*f.run("key", [] { return 14; }) == 14, "the key is usable");
    const auto c = counters(f);
    OK(c.led == 3 && c.unshared == 1, "what could not be written was not shared");
    f.close();
    OK(error_of([&] { f.run("key", [] { return 1; }); }) == ESHUTDOWN, "closed: nothing is held");
}

void failures_are_thrown()
{
    OK(error_of([] { sf::fleet<> f{sf::fleet_options()}; }) == EINVAL, "no name");
    sf::fleet<> f(options("failures"));
    OK(f.check_until(steady_clock::now() + std::chrono::milliseconds(long_ms)).empty() &&
           f.last_error().empty(),
       "the engine is of use");
    OK(!f.forget("key"), "nothing to forget");
    std::atomic<bool> leading{false}, go{false};
    std::thread leads([&] {
        f.run("key", [&] {
            leading = true;
            await([&] { return go.load(); });
            return "old";
        });
    });
    await([&] { return leading.load(); });
    OK(error_of([&] { f.run_until(steady_clock::now(), "key", [] { return "x"; }); }) == ETIMEDOUT,
       "a deadline");
    OK(f.forget("key"), "a flight is forgotten");
    OK(*f.run_until(steady_clock::now() + std::chrono::milliseconds(long_ms), "key",
                    [] { return "new"; }) == "new",
       "the next one is another flight");
    go = true;
    leads.join();
    OK(f.stats().led == 2 && f.stats().timed_out == 0, "numbers");
    f.close_until(steady_clock::now() + std::chrono::milliseconds(long_ms));
    f.close();
    OK(error_of([&] { f.forget("key"); }) == ESHUTDOWN &&
           error_of([&] { (void)f.check_until(steady_clock::now()); }) == ESHUTDOWN,
       "closed");
}

/* None for values above some size. */
void no_memory()
{
    sf::options group;
    group.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    group.allocator.alloc = [](void *, std::size_t size, std::size_t align) -> void * {
        return size < 1000000 ? std::aligned_alloc(align, (size + align - 1) / align * align)
                              : nullptr;
    };
    group.allocator.free = [](void *, void *p, std::size_t) { std::free(p); };
    sf::fleet_options o = options("no-memory");
    o.group = &group;
    sf::fleet<> f(o);
    OK(throws<std::bad_alloc>([&] { f.run("key", [] { return std::string(1000000, 'x'); }); }),
       "no memory for the bytes");
    OK(*f.run("key", [] { return "small"; }) == "small", "the key is usable");
}

/* A view of the bytes, which looks at them whenever something is done with it. */
struct reader {
    static inline bool copy_fails = false, assignment_fails = false;
    static inline int n_gone = 0;
    std::string_view bytes;

    explicit reader(std::string_view b) : bytes(b) {}
    reader(const reader &other) : bytes(other.look(copy_fails)) {}
    reader &operator=(const reader &other)
    {
        look(assignment_fails);
        bytes = other.look(false);
        return *this;
    }
    ~reader() { look(false); }

    std::string_view look(bool fails) const
    {
        n_gone += bytes.front() == '\0';
        if (fails)
            throw std::domain_error("reader");
        return bytes;
    }
};

struct reader_codec {
    std::string to_bytes(char c) const { return std::string(1000, c); }
    reader from_bytes(std::string_view bytes) const { return reader(bytes); }
};

/* Freed memory is kept, with nothing in it. */
void views_of_the_bytes()
{
    static std::mutex mutex;
    static std::vector<void *> freed;
    sf::options group;
    group.allocator.alloc = [](void *, std::size_t size, std::size_t align) -> void * {
        return std::aligned_alloc(align, (size + align - 1) / align * align);
    };
    group.allocator.free = [](void *, void *p, std::size_t size) {
        std::memset(p, 0, size);
        std::lock_guard<std::mutex> guard(mutex);
        freed.push_back(p);
    };
    sf::fleet_options o = options("views");
    o.group = &group;
    {
        sf::fleet<reader_codec> f(o);
        auto make = [&](char c) { return f.run("key", [c] { return c; }); };
        auto a = make('a'), b = make('b'), c = make('c');
        const auto is = [](const sf::fleet_result<reader> &r, char what) {
            return r && r->bytes.size() == 1000 && r->bytes.front() == what;
        };
        a = std::move(b);
        OK(is(a, 'b') && !b, "moved in: the old bytes are there until it is assigned");
        b = a;
        a = make('d');
        auto &same = a;
        a = same;
        std::swap(a, c);
        OK(is(a, 'c') && is(b, 'b') && is(c, 'd'), "copied, replaced, assigned to itself, swapped");
        reader::assignment_fails = true;
        OK(throws<std::domain_error>([&] { a = b; }) && is(a, 'c') && is(b, 'b'),
           "an assignment that throws: the old bytes stay");
        reader::copy_fails = true;
        OK(throws<std::domain_error>([&] { a = b; }) && is(a, 'c') && is(b, 'b') &&
               throws<std::domain_error>([&] { const auto moved = std::move(b); }) && is(b, 'b'),
           "so they do if copying throws, or moving");
        reader::assignment_fails = reader::copy_fails = false;
    }
    OK(reader::n_gone == 0 && !freed.empty(), "no bytes were gone before their views");
    for (void *p : freed)
        std::free(p);

    struct constant {
        const int n;
    };
    using fixed = sf::fleet_result<constant>;
    using only_moves = sf::fleet_result<std::unique_ptr<int>>;
    static_assert(std::is_copy_constructible_v<fixed> &&
                  std::is_nothrow_move_constructible_v<fixed>);
    static_assert(!std::is_copy_assignable_v<fixed> && !std::is_move_assignable_v<fixed>);
    static_assert(!std::is_copy_constructible_v<only_moves> &&
                  !std::is_copy_assignable_v<only_moves>);
    static_assert(std::is_nothrow_move_assignable_v<only_moves>);
}

/* In one process a C program leads, with a status of its own, while run() waits in another. */
void led_in_c()
{
    sf::fleet<> f(options("led-in-c")), c(options("led-in-c"));
    std::atomic<bool> leading{false};
    auto fn = [](sflight_call *, void *arg) {
        *static_cast<std::atomic<bool> *>(arg) = true;
        await([] { return hpp_server_waiters("led-in-c", "key") == 1; });
        return 5;
    };
    sflight_result r;
    int rc = 0;
    std::thread in_c(
        [&] { rc = sflight_fleet_do(c.native_handle(), "key", 3, fn, &leading, nullptr, &r); });
    await([&] { return leading.load(); });
    OK(throws<std::logic_error>([&] { f.run("key", [] { return "x"; }); }),
       "a flight that was led without run()");
    in_c.join();
    OK(rc == 0 && r.status == 5, "which has its own result");
    sflight_result_release(&r);
}

void an_engine_that_hangs()
{
    sf::fleet_options o = options("hangs");
    o.engine_timeout_ms = 20;
    sf::fleet<page_codec> f(o);
    OK(f.check_until(steady_clock::now() + std::chrono::milliseconds(long_ms)).empty(), "well");
    hpp_server_freeze();
    OK(f.run("key",
             [] {
                 return page{1, "alone"};
             })->text == "alone" &&
           f.stats().alone_slow == 1,
       "flies alone, with the codec");
    OK(error_of([&] { f.forget("key"); }) == EHOSTUNREACH, "it cannot be told to forget");
    OK(!f.check_until(steady_clock::now()).empty(), "and says why");
    hpp_server_thaw();
}

/* The thread of a callable is cancelled: passes through, and the call is abandoned. */
void cancelled()
{
    sf::fleet<> f(options("cancelled"));
    std::atomic<bool> leading{false};
    struct argument {
        sf::fleet<> &f;
        std::atomic<bool> &leading;
    } argument{f, leading};
    pthread_t thread;
    pthread_create(
        &thread, nullptr,
        [](void *arg) -> void * {
            auto &a = *static_cast<struct argument *>(arg);
            a.f.run("key", [&]() -> const char * {
                a.leading = true;
                for (;;) {
                    pthread_testcancel();
                    std::this_thread::yield();
                }
            });
            return nullptr;
        },
        &argument);
    await([&] { return leading.load(); });
    pthread_cancel(thread);
    void *end;
    pthread_join(thread, &end);
    OK(end == PTHREAD_CANCELED, "a thread is cancelled in its callable");
    OK(*f.run("key", [] { return "next"; }) == "next" && f.stats().unshared == 1,
       "the key is usable");
}
#endif

} // namespace

int main()
{
    address = hpp_server_begin();
    failures_are_returned();
    starts_of_two_processes();
    permits_are_given_up();
    moves();
    a_destructor_publishes();
#ifdef THROWS
    values();
    a_crowd();
    exceptions();
    codecs_that_throw();
    failures_are_thrown();
    no_memory();
    views_of_the_bytes();
    led_in_c();
    an_engine_that_hangs();
    cancelled();
#endif
    hpp_server_end();
    return tap::done();
}
