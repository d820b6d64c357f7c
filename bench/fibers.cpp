/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fibers.cpp - many fibers are parked on one call; now it ends.  When has the last
 * of them returned from sflight_do()?  They are Boost.Fiber's, through the hooks of
 * fiber_runtime.hpp.  "boost" is the bare limit: one condition variable of
 * Boost.Fiber, one notify_all().  No fiber ends before all have returned: freeing
 * its stack takes longer than everything else.
 */
#include "../tools/examples/runtimes/fiber_pool.hpp"
#include "lib/bench.h"

#include <future>
#include <memory>

namespace
{
const char key[] = "product:00042";
int value;

fiber_pool *pool;
unsigned n_fibers;
std::vector<uint64_t> returned_ns; /* of each fiber */
uint64_t wake_ns;                  /* just before the wake */

/*
 * All fibers of a round, which wait for the last of them.  One that it schedules before it is
 * suspended is put into a queue of that fiber's thread, which looks there after that.
 */
class everybody
{
    std::vector<boost::fibers::context *> fibers_;
    std::atomic<unsigned> n_{0};

  public:
    everybody() : fibers_(n_fibers) {}

    void arrive_and_wait(unsigned number)
    {
        boost::fibers::context *self = boost::fibers::context::active();
        fibers_[number] = self;
        if (++n_ < n_fibers) {
            self->suspend();
            return;
        }
        for (boost::fibers::context *other : fibers_)
            if (other != self)
                self->schedule(other);
    }
};

/* ---------------------------------------------------------- libsingleflight */

struct flight {
    sflight_group *group;
    uint64_t n_parked; /* before the round */
    std::promise<void> leads;
    std::atomic<unsigned> n_runs{0};
    uint32_t n_followers = 0;
    everybody returned;
};

uint64_t n_parked(sflight_group *g)
{
    sflight_stats stats;
    BENCH_CHECK(sflight_group_stats(g, &stats) == 0);
    return stats.parked;
}

/* Lets the others run until all of them are parked. */
int lead(sflight_call *call, void *arg)
{
    flight *f = static_cast<flight *>(arg);
    f->n_runs++;
    f->leads.set_value();
    while (n_parked(f->group) < f->n_parked + n_fibers)
        boost::this_fiber::yield();
    sflight_call_set(call, &value, sizeof(value), nullptr, nullptr);
    wake_ns = bench_now_ns();
    return 7;
}

int no_fn(sflight_call *, void *)
{
    const bool a_waiter_leads = true;
    BENCH_CHECK(!a_waiter_leads);
    return 0;
}

void join(flight *f, unsigned number)
{
    sflight_result r;
    int rc = sflight_do(f->group, key, BENCH_KEY_LEN, no_fn, nullptr, &r);
    returned_ns[number] = bench_now_ns();
    BENCH_CHECK(rc == 0 && r.value == &value && r.status == 7 && !r.leader);
    sflight_result_release(&r);
    f->returned.arrive_and_wait(number);
}

void flight_round(sflight_group *group)
{
    flight f;
    f.group = group;
    f.n_parked = n_parked(group);
    pool->start([&f] {
        sflight_result r;
        BENCH_CHECK(sflight_do(f.group, key, BENCH_KEY_LEN, lead, &f, &r) == 0);
        BENCH_CHECK(r.value == &value && r.status == 7 && r.leader);
        f.n_followers = r.followers;
        sflight_result_release(&r);
    });
    f.leads.get_future().wait();
    for (unsigned i = 0; i < n_fibers; i++)
        pool->start([&f, i] { join(&f, i); });
    pool->wait();
    BENCH_CHECK(f.n_runs == 1 && f.n_followers == n_fibers);
}

/* -------------------------------------------------------- condition variable */

void boost_round()
{
    std::mutex mutex;
    boost::fibers::condition_variable_any ended;
    const int *result = nullptr;
    unsigned n_waiting = 0;
    everybody returned;
    for (unsigned i = 0; i < n_fibers; i++)
        pool->start([&, i] {
            std::unique_lock<std::mutex> guard(mutex);
            n_waiting++;
            ended.wait(guard, [&] { return result != nullptr; });
            guard.unlock();
            returned_ns[i] = bench_now_ns();
            BENCH_CHECK(result == &value);
            returned.arrive_and_wait(i);
        });
    pool->start([&] {
        std::unique_lock<std::mutex> guard(mutex);
        while (n_waiting < n_fibers) {
            guard.unlock();
            boost::this_fiber::yield();
            guard.lock();
        }
        result = &value;
        guard.unlock();
        wake_ns = bench_now_ns();
        ended.notify_all();
    });
    pool->wait();
}

/* ------------------------------------------------------------------- rounds */

void round_of(struct bench_subject *s, struct bench_round *r)
{
    returned_ns.assign(n_fibers, 0);
    if (s->own != nullptr)
        flight_round(static_cast<sflight_group *>(s->own));
    else
        boost_round();
    uint64_t last_ns = 0;
    auto samples = std::make_unique<bench_samples>();
    for (uint64_t at : returned_ns) {
        BENCH_CHECK(at >= wake_ns);
        last_ns = std::max(last_ns, at - wake_ns);
        bench_sample(samples.get(), at - wake_ns);
        if (samples->n == BENCH_SAMPLES)
            bench_round_samples(r, samples.get());
    }
    bench_round_samples(r, samples.get());
    r->n_done = n_fibers;
    r->value[0] = static_cast<double>(last_ns) / n_fibers;
    r->value[1] = static_cast<double>(last_ns) / 1000;
}
} // namespace

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];
    sflight_options options;
    sflight_group *group;

    bench.rounds = 40;
    bench_begin(argc, argv, "fibers",
                "A call ends that many fibers are parked on: when has the last one returned?");
    sflight_options_init(&options);
    options.runtime = fiber_runtime::hooks();
    BENCH_CHECK(sflight_group_create(&group, &options) == 0);
    size_t n = bench_subject_add(s, 0, "singleflight", nullptr, group);
    n = bench_subject_add(s, n, "boost", nullptr, nullptr);
    for (unsigned threads = 1; threads <= 2; threads++) {
        fiber_pool own(threads);
        pool = &own;
        for (n_fibers = 100; bench_wants(n_fibers, 1000) && n_fibers <= 10000; n_fibers *= 10) {
            struct bench_case c = {};
            c.label = threads == 1 ? "1 thread" : "2 threads";
            c.x = n_fibers;
            c.metrics[0] = {"fiber", "ns"};
            c.metrics[1] = {"last", "us"};
            c.round = round_of;
            bench_run(&c, s, n);
        }
    }
    BENCH_CHECK(sflight_group_destroy(group) == 0);
    return bench_end();
}
