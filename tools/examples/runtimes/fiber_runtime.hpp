/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fiber_runtime.hpp - options.runtime for Boost.Fiber, made to be copied.
 *
 *     fiber_runtime::thread here;                  // in each thread that runs fibers
 *     options.runtime = fiber_runtime::hooks();
 *
 * From then on a fiber that waits in the library lets the others run.  Any
 * scheduling algorithm will do, those that move fibers to other threads too.
 * A thread may end when no fiber that waits in the library has last run on it,
 * and none is about to be unparked: join the threads after the fibers.
 *
 * Exceptions belong to threads (the Itanium C++ ABI keeps them there): as everywhere
 * in Boost.Fiber, a fiber that can move must not park inside a catch block.
 */
#ifndef FIBER_RUNTIME_HPP
#define FIBER_RUNTIME_HPP

#include <boost/fiber/all.hpp>
#include <singleflight.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <system_error>

namespace fiber_runtime
{
/*
 * What a fiber parks on: a token, put there by unpark, taken by park.
 *
 * Without a deadline the fiber is suspended, and whoever changes SUSPENDED to TOKEN has it
 * scheduled.  If it is about to be suspended only, nothing is lost: that was another thread,
 * which puts it into a queue of the thread that it is on; and that looks there when the fiber
 * has left it.  Nobody else may schedule a fiber that is parked.
 *
 * With a deadline it waits at a condition variable, and TIMED is changed under the mutex only.
 * That is one of threads, held for a few steps and never across a switch of fibers: so unpark
 * never has its own fiber wait.
 */
struct alignas(64) parker {
    enum word { EMPTY, TOKEN, SUSPENDED, TIMED };
    std::atomic<word> state{EMPTY};
    boost::fibers::context *fiber = boost::fibers::context::active();
    std::mutex mutex;
    boost::fibers::condition_variable_any unparked;
};

/* This thread runs fibers; others are plain threads and wait as such. */
inline thread_local bool runs_fibers = false;

struct thread {
    thread() { runs_fibers = true; }
    ~thread() { runs_fibers = false; }
    thread(const thread &) = delete;
    thread &operator=(const thread &) = delete;
};

/* Made at a fiber's first call, deleted at its end. */
inline parker *own_parker()
{
    static boost::fibers::fiber_specific_ptr<parker> own;
    if (own.get() == nullptr)
        own.reset(new parker);
    return own.get();
}

inline void *self(void *) noexcept
{
    return runs_fibers ? own_parker() : nullptr;
}

inline void park(void *, void *task, const struct timespec *deadline) noexcept
{
    using std::chrono::steady_clock; /* CLOCK_MONOTONIC */
    parker *p = static_cast<parker *>(task);
    parker::word state = parker::EMPTY;
    constexpr std::int64_t last_s = std::numeric_limits<std::int64_t>::max() / 1000000000 - 1;
    if (deadline == nullptr || deadline->tv_sec > last_s) {
        if (p->state.compare_exchange_strong(state, parker::SUSPENDED))
            p->fiber->suspend();
        p->state.exchange(parker::EMPTY);
    } else {
        const auto at = std::chrono::seconds(deadline->tv_sec < 0 ? 0 : deadline->tv_sec) +
                        std::chrono::nanoseconds(deadline->tv_nsec);
        std::unique_lock<std::mutex> guard(p->mutex);
        if (p->state.compare_exchange_strong(state, parker::TIMED))
            p->unparked.wait_until(guard, steady_clock::time_point(at),
                                   [p] { return p->state != parker::TIMED; });
        p->state.exchange(parker::EMPTY);
    }
}

inline void unpark(void *, void *task) noexcept
{
    parker *p = static_cast<parker *>(task);
    parker::word state = p->state;
    for (;;) {
        if (state == parker::TIMED) {
            /* A fiber that leaves at its deadline does so before or after both steps. */
            std::lock_guard<std::mutex> guard(p->mutex);
            state = p->state;
            if (state == parker::TIMED) {
                p->state = parker::TOKEN;
                p->unparked.notify_one();
                return;
            }
        } else if (p->state.compare_exchange_weak(state, parker::TOKEN)) {
            if (state == parker::SUSPENDED)
                boost::fibers::context::active()->schedule(p->fiber);
            return;
        }
    }
}

/* In a fiber of the calling thread; a plain thread has none to run it. */
inline int spawn(void *, void (*run)(void *), void *arg) noexcept
{
    if (!runs_fibers)
        return -EAGAIN;
    try {
        boost::fibers::fiber(boost::fibers::launch::post, run, arg).detach();
        return 0;
    } catch (const std::bad_alloc &) {
        return -ENOMEM;
    } catch (const std::exception &) {
        return -EAGAIN;
    }
}

inline sflight_runtime hooks()
{
    return {nullptr, self, park, unpark, spawn};
}
} // namespace fiber_runtime

#endif
