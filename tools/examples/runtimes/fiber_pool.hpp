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
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

/*
 * A queue of ready fibers for each thread.  A fiber that is made ready goes into the queue
 * of the thread where it ran last; a thread with nothing to do takes half of another one's,
 * and one that never has nothing to do takes one now and then.  What belongs to a thread
 * (its dispatcher, which sees to deadlines and wakes from elsewhere) is not kept waiting
 * by fibers that yield.
 *
 * Who makes a fiber ready wakes one thread that sleeps, if there is; otherwise that
 * costs two locked operations.  A push and a sleep do not miss each other: the one counts
 * the fiber and then looks who sleeps, the other counts as asleep and then looks for fibers.
 */
class fiber_queue : public boost::fibers::algo::algorithm
{
    using context = boost::fibers::context;
    using list = boost::fibers::scheduler::ready_queue_type;
    enum { LOCAL_EVERY = 16, STEAL_EVERY = 61 };
    enum sleep_state { RUNNING, ASLEEP, WOKEN };

    static inline std::mutex threads_mutex_; /* guards the list; taken before a mutex_ */
    static inline std::vector<fiber_queue *> threads_;
    static inline std::atomic<int> n_asleep_{0};

    std::mutex mutex_; /* guards ready_ */
    list ready_;       /* detached, so that any thread may take them */
    std::atomic<std::size_t> n_ready_{0};
    list local_; /* of this thread only */
    unsigned n_picked_ = 0;

    std::atomic<sleep_state> state_{RUNNING};
    std::mutex sleep_mutex_;
    std::condition_variable wake_;

    static context *pop(list &from)
    {
        context *fiber = &from.front();
        from.pop_front();
        return fiber;
    }

    context *pop_ready()
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (ready_.empty())
            return nullptr;
        n_ready_--;
        return pop(ready_);
    }

    /* The oldest fibers of another thread, at most half of them: one is returned. */
    context *steal(std::size_t most)
    {
        list stolen;
        std::size_t n = 0;
        {
            std::lock_guard<std::mutex> guard(threads_mutex_);
            for (fiber_queue *victim : threads_) {
                if (victim == this || victim->n_ready_ == 0 || n != 0)
                    continue;
                std::lock_guard<std::mutex> victims(victim->mutex_);
                const std::size_t half = (victim->n_ready_ + 1) / 2;
                for (; n < half && n < most; n++)
                    stolen.push_back(*pop(victim->ready_));
                victim->n_ready_ -= n;
            }
        }
        if (n == 0)
            return nullptr;
        context *fiber = pop(stolen);
        std::lock_guard<std::mutex> guard(mutex_);
        ready_.splice(ready_.end(), stolen);
        n_ready_ += n - 1;
        return fiber;
    }

    context *pick()
    {
        n_picked_++;
        if (!local_.empty() && n_picked_ % LOCAL_EVERY == 0)
            return pop(local_);
        context *fiber = n_picked_ % STEAL_EVERY == 0 ? steal(1) : nullptr;
        if (fiber == nullptr && n_ready_ != 0)
            fiber = pop_ready();
        if (fiber == nullptr && !local_.empty())
            return pop(local_);
        return fiber != nullptr ? fiber : steal(SIZE_MAX);
    }

    /* RUNNING: it has not slept, and will look once more before it does. */
    bool wake()
    {
        if (state_.exchange(WOKEN) != ASLEEP)
            return false;
        n_asleep_--;
        std::lock_guard<std::mutex> guard(sleep_mutex_);
        wake_.notify_one();
        return true;
    }

    static void wake_one()
    {
        std::lock_guard<std::mutex> guard(threads_mutex_);
        for (fiber_queue *thread : threads_)
            if (thread->state_ == ASLEEP && thread->wake())
                return;
    }

    static bool work_somewhere()
    {
        std::lock_guard<std::mutex> guard(threads_mutex_);
        return std::any_of(threads_.begin(), threads_.end(),
                           [](const fiber_queue *t) { return t->n_ready_ != 0; });
    }

  public:
    fiber_queue()
    {
        std::lock_guard<std::mutex> guard(threads_mutex_);
        threads_.push_back(this);
    }

    ~fiber_queue() override
    {
        std::lock_guard<std::mutex> guard(threads_mutex_);
        threads_.erase(std::find(threads_.begin(), threads_.end(), this));
    }

    void awakened(context *fiber) noexcept override
    {
        if (fiber->is_context(boost::fibers::type::pinned_context)) {
            fiber->ready_link(local_);
            return;
        }
        fiber->detach();
        std::size_t n;
        {
            std::lock_guard<std::mutex> guard(mutex_);
            ready_.push_back(*fiber);
            n = ++n_ready_;
        }
        /* The dispatcher picks one itself. */
        const bool picks = context::active()->is_context(boost::fibers::type::dispatcher_context);
        if (n > picks && n_asleep_ > 0)
            wake_one();
    }

    context *pick_next() noexcept override
    {
        context *fiber = pick();
        if (fiber != nullptr && !fiber->is_context(boost::fibers::type::pinned_context))
            context::active()->attach(fiber);
        return fiber;
    }

    bool has_ready_fibers() const noexcept override { return n_ready_ != 0 || !local_.empty(); }

    void suspend_until(const std::chrono::steady_clock::time_point &until) noexcept override
    {
        sleep_state state = RUNNING;
        if (state_.compare_exchange_strong(state, ASLEEP)) {
            n_asleep_++;
            const auto woken = [this] { return state_ != ASLEEP; };
            if (!work_somewhere()) {
                std::unique_lock<std::mutex> guard(sleep_mutex_);
                if (until == std::chrono::steady_clock::time_point::max())
                    wake_.wait(guard, woken);
                else
                    wake_.wait_until(guard, until, woken);
            }
        }
        if (state_.exchange(RUNNING) == ASLEEP)
            n_asleep_--;
    }

    /* How many threads have nothing to do. */
    static int n_asleep() noexcept { return n_asleep_; }

    /* This thread has something to do: called by others. */
    void notify() noexcept override { (void)wake(); }
};

/* One pool in a program at a time: its threads are those that steal from each other. */
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
        boost::fibers::use_scheduling_algorithm<fiber_queue>();
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
