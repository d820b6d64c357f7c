/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fiber_pool.hpp - N threads that share the fibers started in them: a fiber that
 * was suspended goes on wherever there is a thread with nothing to do.
 */
#ifndef FIBER_POOL_HPP
#define FIBER_POOL_HPP

#include "fiber_runtime.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

/* Boost's shared queue of fibers; but a thread that sleeps is woken when there is work. */
class shared_queue : public boost::fibers::algo::shared_work
{
    using base = boost::fibers::algo::shared_work;
    static inline std::mutex mutex_;
    static inline std::vector<shared_queue *> asleep_;
    static inline std::atomic<std::size_t> n_asleep_{0};

  public:
    shared_queue() : base(true) {}

    void awakened(boost::fibers::context *fiber) noexcept override
    {
        const bool pinned = fiber->is_context(boost::fibers::type::pinned_context);
        base::awakened(fiber);
        if (pinned || n_asleep_.load(std::memory_order_relaxed) == 0)
            return;
        std::lock_guard<std::mutex> guard(mutex_);
        if (!asleep_.empty())
            asleep_.back()->notify();
    }

    void suspend_until(const std::chrono::steady_clock::time_point &until) noexcept override
    {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            asleep_.push_back(this);
            n_asleep_++;
        }
        base::suspend_until(until);
        std::lock_guard<std::mutex> guard(mutex_);
        asleep_.erase(std::find(asleep_.begin(), asleep_.end(), this));
        n_asleep_--;
    }
};

/* One pool in a program at a time: the queue is Boost's own, and global. */
class fiber_pool
{
    using work = std::function<void()>;
    boost::fibers::buffered_channel<work> work_{1024};
    std::atomic<std::size_t> n_running_{0};
    std::vector<std::thread> threads_;
    std::mutex mutex_;
    boost::fibers::condition_variable_any ended_;

    void run_thread()
    {
        boost::fibers::use_scheduling_algorithm<shared_queue>();
        fiber_runtime::thread here;
        work f;
        while (work_.pop(f) == boost::fibers::channel_op_status::success)
            start_here(std::move(f));
        std::unique_lock<std::mutex> guard(mutex_);
        ended_.wait(guard, [this] { return n_running_ == 0; });
    }

    void start_here(work f)
    {
        boost::fibers::fiber(boost::fibers::launch::post, std::allocator_arg,
                             boost::fibers::fixedsize_stack(64 * 1024),
                             [this, f = std::move(f)] {
                                 f();
                                 std::lock_guard<std::mutex> guard(mutex_);
                                 if (--n_running_ == 0)
                                     ended_.notify_all();
                             })
            .detach();
    }

  public:
    explicit fiber_pool(unsigned n)
    {
        for (unsigned i = 0; i < n; i++)
            threads_.emplace_back([this] { run_thread(); });
    }

    ~fiber_pool()
    {
        wait();
        work_.close();
        for (std::thread &t : threads_)
            t.join();
    }

    /* Starts a fiber; from any thread that is not one of the pool's. */
    void start(work f)
    {
        n_running_++;
        work_.push(std::move(f));
    }

    /* Until every fiber has ended; from a thread that is not one of the pool's. */
    void wait()
    {
        std::unique_lock<std::mutex> guard(mutex_);
        ended_.wait(guard, [this] { return n_running_ == 0; });
    }
};

#endif
