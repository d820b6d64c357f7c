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
#include <condition_variable>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

/*
 * One queue of fibers for all threads.  Unlike Boost's shared_work, it wakes a thread
 * that sleeps when there is work, and what belongs to a thread (its dispatcher, which
 * sees to deadlines and wakes from elsewhere) is not kept waiting by fibers that yield.
 */
class shared_queue : public boost::fibers::algo::algorithm
{
    using context = boost::fibers::context;
    enum { LOCAL_EVERY = 16 };

    static inline std::mutex mutex_; /* guards all that follows, but local_ and n_picked_ */
    static inline std::deque<context *> shared_;
    static inline std::vector<shared_queue *> asleep_;
    std::condition_variable wake_;
    bool woken_ = false;

    boost::fibers::scheduler::ready_queue_type local_;
    unsigned n_picked_ = 0;

    context *pick_local()
    {
        context *fiber = &local_.front();
        local_.pop_front();
        return fiber;
    }

  public:
    void awakened(context *fiber) noexcept override
    {
        if (fiber->is_context(boost::fibers::type::pinned_context)) {
            fiber->ready_link(local_);
            return;
        }
        fiber->detach();
        std::lock_guard<std::mutex> guard(mutex_);
        shared_.push_back(fiber);
        if (!asleep_.empty())
            asleep_.back()->wake();
    }

    context *pick_next() noexcept override
    {
        if (!local_.empty() && ++n_picked_ % LOCAL_EVERY == 0)
            return pick_local();
        std::unique_lock<std::mutex> guard(mutex_);
        if (shared_.empty()) {
            guard.unlock();
            return local_.empty() ? nullptr : pick_local();
        }
        context *fiber = shared_.front();
        shared_.pop_front();
        guard.unlock();
        context::active()->attach(fiber);
        return fiber;
    }

    bool has_ready_fibers() const noexcept override
    {
        std::lock_guard<std::mutex> guard(mutex_);
        return !shared_.empty() || !local_.empty();
    }

    void suspend_until(const std::chrono::steady_clock::time_point &until) noexcept override
    {
        const auto has_work = [this] { return woken_ || !shared_.empty(); };
        std::unique_lock<std::mutex> guard(mutex_);
        asleep_.push_back(this);
        if (until == std::chrono::steady_clock::time_point::max())
            wake_.wait(guard, has_work);
        else
            wake_.wait_until(guard, until, has_work);
        woken_ = false;
        asleep_.erase(std::find(asleep_.begin(), asleep_.end(), this));
    }

    void notify() noexcept override
    {
        std::lock_guard<std::mutex> guard(mutex_);
        wake();
    }

  private:
    void wake()
    {
        woken_ = true;
        wake_.notify_one();
    }
};

/* One pool in a program at a time: the queue is global. */
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
