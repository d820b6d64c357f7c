/* SPDX-License-Identifier: BSD-2-Clause */
/* Fibers of Boost.Fiber as callers, moving between threads, by fiber_runtime.hpp. */
#include "../../tools/examples/runtimes/fiber_pool.hpp"
#include "../hpp/tap.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace
{
using boost::this_fiber::yield;
using std::atomic;

/* A failure from which there is no going on: other fibers may use this one's stack. */
void must_(bool condition, const char *what, int line)
{
    if (condition)
        return;
    std::printf("Bail out! line %d: %s\n", line, what);
    std::fflush(stdout);
    std::abort();
}
#define must(condition) must_((condition), #condition, __LINE__)

struct group {
    sflight_group *g = nullptr;

    explicit group(int on_abandon = SFLIGHT_ABANDON_SHARE)
    {
        sflight_options o;
        sflight_options_init(&o);
        o.runtime = fiber_runtime::hooks();
        o.on_abandon = on_abandon;
        must(sflight_group_create(&g, &o) == 0);
    }

    sflight_stats stats() const
    {
        sflight_stats s;
        must(sflight_group_stats(g, &s) == 0);
        return s;
    }

    /* When all fibers have ended: nothing may be left over. */
    bool end()
    {
        const sflight_stats s = stats();
        return s.in_flight == 0 && s.waiting == 0 && s.held == 0 && sflight_group_destroy(g) == 0;
    }
};

struct tally {
    atomic<int> made{0}, destroyed{0};
    bool even() const { return made == destroyed; }
};

void destroy(void *value, size_t, void *ctx)
{
    static_cast<tally *>(ctx)->destroyed++;
    delete static_cast<unsigned *>(value);
}

void set(sflight_call *call, tally *t, unsigned number)
{
    t->made++;
    sflight_call_set(call, new unsigned(number), sizeof number, destroy, t);
}

/* fn may be any callable that takes the call. */
template <typename F>
int run_callable(sflight_call *call, void *arg)
{
    return (*static_cast<F *>(arg))(call);
}

template <typename F>
int call_do(const group &g, unsigned key, F &fn, sflight_result *r,
            const timespec *deadline = nullptr)
{
    return sflight_do_until(g.g, &key, sizeof key, run_callable<F>, &fn, deadline, r);
}

struct {
    int operator()(sflight_call *)
    {
        must(!"this caller must not lead");
        return 0;
    }
} nobody;

timespec in_ns(long ns)
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (t.tv_nsec + ns) / 1000000000;
    t.tv_nsec = (t.tv_nsec + ns) % 1000000000;
    return t;
}

/*
 * n fibers ask for keys; each fn returns when all the others have joined.  With one thread
 * that can only happen if a fiber that waits lets the others run.
 */
void stampede(unsigned n_threads, unsigned n, unsigned n_keys, const char *what)
{
    group g;
    tally t;
    atomic<unsigned> runs{0}, right{0};
    {
        fiber_pool pool(n_threads);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&, key = i % n_keys] {
                auto fn = [&](sflight_call *call) {
                    runs++;
                    while (g.stats().joined != n - n_keys)
                        yield();
                    set(call, &t, 1000 + key);
                    return static_cast<int>(key);
                };
                sflight_result r;
                const int rc = call_do(g, key, fn, &r);
                right += rc == 0 && r.status == static_cast<int>(key) &&
                         *static_cast<unsigned *>(r.value) == 1000 + key &&
                         r.followers == n / n_keys - 1;
                sflight_result_release(&r);
            });
        }
    }
    OK(right == n && runs == n_keys && t.even() && t.made == static_cast<int>(n_keys) && g.end(),
       what);
}

/* The hooks alone. */
void an_early_unpark_is_remembered()
{
    atomic<bool> late{false};
    {
        fiber_pool pool(1);
        pool.start([&] {
            const sflight_runtime hooks = fiber_runtime::hooks();
            void *me = hooks.self(hooks.ctx);
            hooks.unpark(hooks.ctx, me);
            hooks.unpark(hooks.ctx, me);
            hooks.park(hooks.ctx, me, nullptr); /* or never returns */
            const timespec far = in_ns(INT64_C(3600000000000));
            hooks.unpark(hooks.ctx, me);
            hooks.park(hooks.ctx, me, &far); /* or in an hour */
            const timespec soon = in_ns(1000000);
            hooks.park(hooks.ctx, me, &soon); /* of several, one */
            const timespec now = in_ns(0);
            late = now.tv_sec > soon.tv_sec ||
                   (now.tv_sec == soon.tv_sec && now.tv_nsec >= soon.tv_nsec);
        });
    }
    OK(late, "an unpark before its park is remembered, once");
}

/* The hooks alone: as one fiber parks without a deadline, and with one, others unpark it. */
void an_unpark_meets_its_park()
{
    const sflight_runtime hooks = fiber_runtime::hooks();
    atomic<void *> parks{nullptr};
    atomic<int> n_unparked{0}, n_parked{0};
    atomic<bool> over{false};
    const int n_parks = 500;
    {
        fiber_pool pool(2);
        pool.start([&] {
            void *me = hooks.self(hooks.ctx);
            const timespec far = in_ns(INT64_C(3600000000000));
            parks = me;
            while (n_parked < n_parks) {
                const int n = n_parked;
                while (n_unparked <= n)
                    hooks.park(hooks.ctx, me, n % 2 == 0 ? nullptr : &far); /* or for ever */
                n_parked = n + 1;
            }
            while (!over) /* until the last unpark has returned */
                yield();
        });
        pool.start([&] {
            while (parks == nullptr)
                yield();
            for (int n = 0; n < n_parks; n++) {
                while (n_parked < n)
                    yield();
                n_unparked = n + 1;
                hooks.unpark(hooks.ctx, parks);
            }
            over = true;
        });
    }
    OK(n_parked == n_parks, "of many unparks and parks that meet none is lost");
}

/* One fiber keeps its thread busy until the ones that it has started have run. */
void a_thread_with_nothing_to_do_takes_fibers()
{
    const unsigned n = 100;
    atomic<unsigned> ran{0};
    {
        fiber_pool pool(2);
        pool.start([&] {
            while (fiber_queue::n_asleep() != 1)
                std::this_thread::yield();
            for (unsigned i = 0; i < n; i++)
                boost::fibers::fiber(boost::fibers::launch::post, [&] { ran++; }).detach();
            while (ran != n) /* no fiber runs in this thread meanwhile */
                std::this_thread::yield();
        });
    }
    OK(ran == n, "a thread with nothing to do takes the fibers of a busy one");
}

/* Not inlined, and asks the kernel: the compiler may keep the address of thread-local data. */
__attribute__((noinline)) pid_t this_thread()
{
    return gettid();
}

/* Each of two threads always has another fiber that is ready. */
void busy_threads_exchange_fibers()
{
    atomic<bool> holding{false}, moved{false};
    atomic<int> n_others{0};
    {
        fiber_pool pool(2);
        pool.start([&] {
            holding = true;
            while (n_others != 2) /* this thread runs nothing else meanwhile */
                std::this_thread::yield();
            boost::fibers::fiber(boost::fibers::launch::post, [&, here = this_thread()] {
                while (this_thread() == here)
                    yield();
                moved = true;
            }).detach();
            while (!moved)
                yield();
        });
        while (!holding)
            std::this_thread::yield();
        for (int i = 0; i < 2; i++)
            pool.start([&] {
                n_others++;
                while (!moved)
                    yield();
            });
    }
    OK(moved, "busy threads exchange fibers");
}

/* As in a stampede, with somebody else on that thread who ends the call. */
void another_fiber_of_the_thread_ends_the_call()
{
    group g;
    const unsigned key = 1, n = 100;
    atomic<unsigned> right{0};
    sflight_call *permit;
    sflight_future *f;
    must(sflight_begin(g.g, &key, sizeof key, &permit, &f) == 0 && permit != nullptr);
    {
        fiber_pool pool(1);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&] {
                sflight_result r;
                const int rc = call_do(g, key, nobody, &r);
                right += rc == 0 && r.status == 7;
                sflight_result_release(&r);
            });
        }
        pool.start([&] {
            while (g.stats().waiting != n)
                yield();
            sflight_complete(permit, 7);
        });
    }
    OK(right == n && g.end(), "with all callers of a thread waiting, its other fibers run");
}

void a_plain_thread_ends_the_call()
{
    group g;
    const unsigned key = 1, n = 1000;
    atomic<unsigned> right{0};
    sflight_call *permit;
    sflight_future *f;
    {
        fiber_pool pool(2);
        for (int round = 0; round < 20; round++) {
            must(sflight_begin(g.g, &key, sizeof key, &permit, &f) == 0 && permit != nullptr);
            for (unsigned i = 0; i < n; i++) {
                pool.start([&] {
                    sflight_result r;
                    const int rc = call_do(g, key, nobody, &r);
                    right += rc == 0 && r.status == 7;
                    sflight_result_release(&r);
                });
            }
            if (round % 2) /* in the other rounds many are on their way */
                while (g.stats().waiting != n)
                    std::this_thread::yield();
            while (g.stats().joined != n * static_cast<unsigned>(round + 1))
                std::this_thread::yield();
            sflight_complete(permit, 7);
            pool.wait();
        }
    }
    OK(right == 20 * n && g.end(), "a plain thread unparks fibers, parked or about to be");
}

void a_leader_moves_to_another_thread()
{
    group g;
    const unsigned key = 1;
    atomic<bool> moved{false}, over{false};
    atomic<int> own_rc{0}, status{-1}, follower_rc{-1};
    {
        fiber_pool pool(2);
        pool.start([&] {
            auto fn = [&](sflight_call *) {
                const pid_t first = this_thread();
                while (this_thread() == first)
                    yield();
                moved = true;
                sflight_result own;
                own_rc = call_do(g, key, nobody, &own);
                while (g.stats().waiting != 1)
                    yield();
                return 5;
            };
            sflight_result r;
            must(call_do(g, key, fn, &r) == 0);
            status = r.status;
            sflight_result_release(&r);
            over = true;
        });
        pool.start([&] {
            while (!moved)
                yield();
            sflight_result r;
            follower_rc = call_do(g, key, nobody, &r);
            must(follower_rc != 0 || r.status == 5);
            sflight_result_release(&r);
        });
        /* Something for both threads to do. */
        for (int i = 0; i < 4; i++)
            pool.start([&] {
                while (!over)
                    yield();
            });
    }
    OK(moved && status == 5, "a call begins on one thread and ends on another");
    OK(own_rc == -EDEADLK && follower_rc == 0,
       "its leader is known as leader there, and the threads' other fibers are not");
    OK(g.stats().deadlocks == 1 && g.end(), "and nothing is left over");
}

void deadlines()
{
    group g;
    const unsigned key = 1, n = 1000;
    atomic<unsigned> late{0}, told{0}, left{0};
    {
        fiber_pool pool(2);
        pool.start([&] {
            auto fn = [&](sflight_call *) {
                while (left != n || g.stats().waiting != n)
                    yield();
                return 3;
            };
            sflight_result r;
            must(call_do(g, key, fn, &r) == 0);
            sflight_result_release(&r);
        });
        while (g.stats().in_flight == 0)
            std::this_thread::yield();
        for (unsigned i = 0; i < 2 * n; i++) {
            pool.start([&, i] {
                const timespec soon = in_ns(i % 5 * 1000000), never = {INT64_MAX, 0};
                sflight_result r;
                const int rc = call_do(g, key, nobody, &r, i % 2 ? &soon : &never);
                late += i % 2 && rc == -ETIMEDOUT;
                left += i % 2;
                told += i % 2 == 0 && rc == 0 && r.status == 3;
                sflight_result_release(&r);
            });
        }
    }
    OK(late == n && told == n && g.stats().timed_out == n && g.end(),
       "fibers leave at their deadlines, the others stay");
}

void deadlines_against_completion()
{
    group g;
    tally t;
    atomic<unsigned> other{0}, told{0}, late{0};
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < 64; i++) {
            pool.start([&, i] {
                for (unsigned n = 0; n < 500; n++) {
                    auto fn = [&](sflight_call *call) {
                        for (unsigned y = n % 16; y > 0; y--)
                            yield();
                        set(call, &t, 9);
                        return 9;
                    };
                    const timespec soon = in_ns((i * 13 + n) % 50 * 2000);
                    sflight_result r;
                    const int rc = call_do(g, n / 8 % 3, fn, &r, &soon);
                    if (rc == 0)
                        told += r.status == 9 && *static_cast<unsigned *>(r.value) == 9;
                    else if (rc == -ETIMEDOUT)
                        late++;
                    else
                        other++;
                    sflight_result_release(&r);
                }
            });
        }
    }
    OK(told + late == 64 * 500 && told > 0 && other == 0 && t.even() && g.end(),
       "deadlines against completion: the one or the other");
}

void exceptions(int on_abandon, const char *what)
{
    group g(on_abandon);
    tally t;
    const unsigned key = 1, n = 1000;
    atomic<unsigned> caught{0}, told{0}, dead{0}, runs{0};
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&] {
                auto fn = [&](sflight_call *call) {
                    const bool first = runs++ == 0;
                    while (first && g.stats().waiting != n - 1)
                        yield();
                    set(call, &t, 4);
                    if (first)
                        throw std::runtime_error("the first");
                    return 4;
                };
                sflight_result r;
                try {
                    const int rc = call_do(g, key, fn, &r);
                    dead += rc == -EOWNERDEAD;
                    told += rc == 0 && r.status == 4;
                    sflight_result_release(&r);
                } catch (const std::runtime_error &) {
                    caught++;
                }
            });
        }
    }
    const bool takeover = on_abandon == SFLIGHT_ABANDON_TAKEOVER;
    OK(caught == 1 && told == (takeover ? n - 1 : 0) && dead == (takeover ? 0 : n - 1) &&
           runs == (takeover ? 2 : 1) && t.even() && g.end(),
       what);
}

void panics()
{
    group g;
    const unsigned key = 1, n = 100;
    atomic<unsigned> right{0};
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&] {
                auto fn = [&](sflight_call *call) -> int {
                    while (g.stats().waiting != n - 1)
                        yield();
                    sflight_panic(call, "a fiber panics");
                };
                sflight_result r;
                const int rc = call_do(g, key, fn, &r);
                right += rc == -ENOTRECOVERABLE &&
                         std::strstr(static_cast<char *>(r.value), "a fiber panics") != nullptr;
                sflight_result_release(&r);
            });
        }
    }
    OK(right == n && g.end(), "a panic reaches every fiber");
}

/* Each of n fibers leads its key and then asks for the next one's. */
void circles(unsigned n, unsigned n_threads, const char *what)
{
    group g;
    atomic<unsigned> told{0}, deadlocks{0};
    const unsigned rounds = 200;
    {
        fiber_pool pool(n_threads);
        for (unsigned round = 0; round < rounds; round++) {
            atomic<unsigned> leading{0};
            for (unsigned i = 0; i < n; i++) {
                pool.start([&, i] {
                    auto fn = [&](sflight_call *) {
                        leading++;
                        while (leading != n)
                            yield();
                        sflight_result r;
                        const int rc = call_do(g, (i + 1) % n, nobody, &r);
                        told += rc == 0;
                        deadlocks += rc == -EDEADLK;
                        sflight_result_release(&r);
                        return 0;
                    };
                    sflight_result r;
                    must(call_do(g, i, fn, &r) == 0);
                    sflight_result_release(&r);
                });
            }
            pool.wait();
        }
    }
    OK(deadlocks == rounds && told == rounds * (n - 1) && g.end(), what);
}

/* 1 asks for 2, 2 for 3, ...; many fibers ask for each of them. */
void nested_calls()
{
    group g;
    tally t;
    atomic<unsigned> right{0};
    constexpr unsigned n = 1000, depth = 10;
    struct nest {
        const group &g;
        tally &t;
        unsigned key;
        int operator()(sflight_call *call)
        {
            yield();
            int below = 0;
            if (key < depth) {
                nest next{g, t, key + 1};
                sflight_result r;
                must(call_do(g, key + 1, next, &r) == 0);
                below = r.status;
                sflight_result_release(&r);
            }
            set(call, &t, key);
            return below + 1;
        }
    };
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&, key = 1 + i % depth] {
                nest fn{g, t, key};
                sflight_result r;
                const int rc = call_do(g, key, fn, &r);
                right += rc == 0 && r.status == static_cast<int>(depth - key + 1) &&
                         *static_cast<unsigned *>(r.value) == key;
                sflight_result_release(&r);
            });
        }
    }
    OK(right == n && g.stats().deadlocks == 0 && t.even() && g.end(), "calls inside calls");
}

void started_in_fibers()
{
    group g;
    tally t;
    const unsigned n = 1000;
    atomic<unsigned> right{0}, runs{0};
    struct {
        tally *t;
        atomic<unsigned> *runs;
    } arg{&t, &runs};
    using arg_t = decltype(arg);
    sflight_fn *fn = [](sflight_call *call, void *p) {
        auto *a = static_cast<arg_t *>(p);
        must(fiber_runtime::runs_fibers);
        yield();
        (*a->runs)++;
        set(call, a->t, 6);
        return 6;
    };
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < n; i++) {
            pool.start([&, key = i] {
                sflight_future *f;
                must(sflight_start(g.g, &key, sizeof key, fn, &arg, &f) == 0);
                sflight_result r;
                const int rc = sflight_future_get(f, nullptr, &r);
                right += rc == 0 && r.status == 6 && r.leader;
                sflight_result_release(&r);
            });
        }
        pool.wait();
        pool.start([&] { must(sflight_group_drain(g.g, nullptr) == 0); });
        pool.wait();
        while (g.stats().held != 0) /* a started call gives up its own hold last */
            std::this_thread::yield();
    }
    OK(right == n && runs == n && t.even(), "started calls are led by fibers");
    sflight_future *f;
    const unsigned key = 0;
    OK(sflight_start(g.g, &key, sizeof key, fn, &arg, &f) == -EAGAIN && f == nullptr && g.end(),
       "a plain thread has no fibers to start one in");
}

void drainers()
{
    group g;
    const unsigned key = 1, n = 100;
    sflight_call *permit;
    sflight_future *f;
    atomic<unsigned> drained{0}, late{0};
    must(sflight_begin(g.g, &key, sizeof key, &permit, &f) == 0 && permit != nullptr);
    {
        fiber_pool pool(1);
        for (unsigned i = 0; i < n; i++)
            pool.start([&] { drained += sflight_group_drain(g.g, nullptr) == 0; });
        pool.start([&] {
            const timespec soon = in_ns(1000000);
            late = sflight_group_drain(g.g, &soon) == -ETIMEDOUT;
            must(drained == 0);
            sflight_complete(permit, 0);
        });
    }
    OK(drained == n && late == 1 && g.end(), "fibers wait for the group to be drained");
}

/* At most a few thousand at a time, all mixed. */
void stress()
{
    group g(SFLIGHT_ABANDON_TAKEOVER);
    tally t;
    const unsigned n = 100000, keys = 50, waves = 20;
    atomic<unsigned> ended{0}, wrong{0};
    {
        fiber_pool pool(2);
        for (unsigned i = 0; i < n; i++) {
            if (i % (n / waves) == 0)
                pool.wait();
            pool.start([&, i] {
                unsigned seed = i * 2654435769u;
                const auto random = [&seed] { return (seed = seed * 1664525 + 1013904223) >> 8; };
                const unsigned key = random() % keys, what = random() % 256;
                auto fn = [&](sflight_call *call) {
                    for (unsigned y = what % 4; y > 0; y--)
                        yield();
                    set(call, &t, key);
                    if (what == 0)
                        throw std::runtime_error("stress");
                    if (what == 1)
                        sflight_panic(call, "stress");
                    return static_cast<int>(key);
                };
                const timespec soon = in_ns(static_cast<long>(random() % 1000000));
                sflight_result r;
                try {
                    const int rc = call_do(g, key, fn, &r, what % 3 ? nullptr : &soon);
                    if (rc == 0)
                        wrong += r.status != static_cast<int>(key) ||
                                 *static_cast<unsigned *>(r.value) != key;
                    else
                        wrong += rc != -ENOTRECOVERABLE && (rc != -ETIMEDOUT || what % 3);
                    sflight_result_release(&r);
                } catch (const std::runtime_error &) {
                    wrong += what != 0;
                }
                ended++;
            });
        }
    }
    OK(ended == n && wrong == 0, "100,000 fibers");
    OK(t.even() && g.end(), "and every value is destroyed once");
}
} // namespace

int main()
{
    an_early_unpark_is_remembered();
    an_unpark_meets_its_park();
    a_thread_with_nothing_to_do_takes_fibers();
    busy_threads_exchange_fibers();
    stampede(1, 1000, 1, "1,000 fibers of one thread wait for one call");
    stampede(2, 10000, 4, "10,000 fibers of two threads, four keys: one execution for each");
    another_fiber_of_the_thread_ends_the_call();
    a_plain_thread_ends_the_call();
    a_leader_moves_to_another_thread();
    deadlines();
    deadlines_against_completion();
    exceptions(SFLIGHT_ABANDON_SHARE, "an exception leaves fn: the others learn of it");
    exceptions(SFLIGHT_ABANDON_TAKEOVER, "an exception leaves fn: one fiber goes on");
    panics();
    circles(2, 1, "circles of two fibers on one thread: one of them is told");
    circles(2, 2, "circles of two fibers on two threads");
    circles(7, 2, "circles of seven fibers on two threads");
    nested_calls();
    started_in_fibers();
    drainers();
    stress();
    return tap::done();
}
