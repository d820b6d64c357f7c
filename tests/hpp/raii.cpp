/* SPDX-License-Identifier: BSD-2-Clause */
/* singleflight.hpp: permits, futures and queues, also where there are no exceptions and no RTTI. */
#include <singleflight.hpp>

#include "page.hpp"
#include "tap.hpp"

#include <cerrno>
#include <poll.h>
#include <thread>

namespace sf = singleflight;
using std::chrono::steady_clock;

namespace
{
sf::group new_group()
{
    sf::group g(nullptr);
    OK(sf::group::create(g) == 0 && g.native_handle() != nullptr, "a group is made");
    return g;
}

/* Nothing in flight, nobody waiting, nothing held. */
bool idle(const sf::group &g)
{
    sflight_stats s;
    return sflight_group_stats(g.native_handle(), &s) == 0 && s.in_flight == 0 && s.waiting == 0 &&
           s.held == 0;
}

void failures_are_returned()
{
    sf::options wrong;
    wrong.shards = UINT32_MAX;
    sf::group g(nullptr);
    OK(sf::group::create(g, wrong) == -EINVAL && g.native_handle() == nullptr,
       "no group, and the reason");
    sf::permit lead;
    sf::future join;
    OK(g.begin("key", lead, join) == -EINVAL && !lead && !join, "without a group nothing begins");
    sf::queue q;
    OK(q.fd() == -EINVAL && join.fd() == -EINVAL, "a queue or future that is none");
    const sf::answer nothing;
    OK(nothing.rc() == -EAGAIN && nothing.get<page>() == nullptr && !nothing,
       "an answer that nobody has given");
}

void a_permit_is_used_once()
{
    sf::group g = new_group();
    sf::permit lead, none;
    sf::future join, own, unused;
    OK(g.begin("key", lead, unused) == 0 && lead && !unused, "the first leads");
    OK(g.begin("key", none, join) == 0 && !none && join, "the second joins");
    OK(lead.own_future(own) == 0 && own, "the leader's own future");
    OK(lead.key() == "key" && !lead.unwanted(), "a permit knows its call");
    sf::permit moved = std::move(lead);
    lead = sf::permit(); /* what was moved from ends nothing */
    sf::answer a, b;
    OK(join.poll(a) == -EAGAIN && join && a.rc() == -EAGAIN, "not there yet: the future stays");
    OK(join.get_until(steady_clock::now(), a) == -ETIMEDOUT && join,
       "at a deadline the future stays");
    moved.set(std::make_unique<page>(7));
    OK(moved.complete(200) == 1 && !moved, "completed, with one follower");
    OK(join.get(a) == 0 && !join && a.status() == 200 && a.get<page>()->number == 7 && !a.leader(),
       "the follower's answer");
    OK(own.poll(b) == 0 && !own && b.leader() && b.get<page>() == a.get<page>(), "the leader's");
    const sf::answer copy = a;
    a = b = sf::answer();
    OK(n_alive == 1 && copy.get<page>()->number == 7, "a copy is another hold");
    a = std::move(const_cast<sf::answer &>(copy));
    OK(n_alive == 1 && a.size() == sizeof(page) && a.followers() == 1, "moved on");
    a = sf::answer();
    OK(n_alive == 0 && idle(g), "the last hold destroys the value");
}

void what_is_not_used_is_given_up()
{
    sf::group g = new_group();
    sf::answer a;
    sf::future join;
    {
        sf::permit lead, none;
        sf::future unused;
        OK(g.begin("key", lead, unused) == 0 && g.begin("key", none, join) == 0, "two callers");
        lead.set(std::make_unique<page>(1));
    }
    OK(join.get(a) == -EOWNERDEAD && a.rc() == -EOWNERDEAD && !join && n_alive == 0,
       "a permit that goes has abandoned its call");
    sf::permit lead, none;
    sf::future unused;
    int n_told = 0;
    OK(g.begin("key", lead, unused) == 0, "a new call");
    lead.on_unwanted([](void *n) { ++*static_cast<int *>(n); }, &n_told);
    {
        sf::future goes;
        OK(g.begin("key", none, goes) == 0 && goes && !lead.unwanted(), "somebody waits");
    }
    OK(n_told == 1 && lead.unwanted(), "a future that goes has left the call");
    lead = sf::permit();
    OK(idle(g), "nothing is left");
}

void queues()
{
    sf::group g = new_group();
    sf::queue q;
    OK(sf::queue::create(q) == 0 && q.fd() >= 0, "a queue is made");
    sf::permit lead, none;
    sf::future join, unused;
    sflight_future *third;
    OK(g.begin_enqueue("key", q, 1, lead, nullptr) == 0 && lead, "the first leads");
    OK(g.begin("key", none, join) == 0 && join.enqueue(q, 2) == 0 && !join, "the second");
    OK(g.begin_enqueue("key", q, 3, none, &third) == 0 && !none, "the third");
    OK(sflight_future_cancel(third) == 1, "which is taken back");
    OK(q.drain([](std::uint64_t, const sf::answer &) {}) == 0, "nothing is there");
    lead.set(std::make_unique<page>(4));
    lead.set_status(6);
    lead.complete(5);
    std::uint64_t tags = 0;
    bool right = true;
    const unsigned n = q.drain([&](std::uint64_t tag, const sf::answer &a) {
        tags += tag;
        right = right && a.rc() == 0 && a.get<page>()->number == 4 && a.status() == 6 &&
                a.leader() == (tag == 1);
    });
    OK(n == 2 && tags == 3 && right, "one completion for each that stayed");
    OK(n_alive == 0 && idle(g), "drained answers are released");
}

void callbacks()
{
    sf::group g = new_group();
    sf::permit lead, none;
    sf::future join, unused;
    OK(g.begin("key", lead, unused) == 0 && g.begin("key", none, join) == 0, "two callers");
    int status = 0;
    OK(join.then(
           [](void *arg, int rc, sflight_result *r) {
               const sf::answer a(rc, *r);
               *static_cast<int *>(arg) = a.status();
           },
           &status) == 0 &&
           !join,
       "a callback consumes the future");
    void *text = lead.alloc(100);
    OK(text != nullptr, "memory of the group's");
    std::thread([&] { lead.complete(8); }).join();
    OK(status == 8 && !lead && idle(g), "and is called");
}

/* A future of a call that has ended, with 5. */
sf::future ended(sf::group &g)
{
    sf::permit lead;
    sf::future own, unused;
    (void)g.begin("key", lead, unused);
    (void)lead.own_future(own);
    (void)lead.complete(5);
    return own;
}

void a_callback_that_destroys_the_future()
{
    sf::group g = new_group();
    auto f = std::make_unique<sf::future>(ended(g));
    OK(f->then(
           [](void *arg, int rc, sflight_result *r) {
               const sf::answer a(rc, *r);
               static_cast<std::unique_ptr<sf::future> *>(arg)->reset();
           },
           &f) == 0 &&
           f == nullptr && idle(g),
       "a callback destroys the future that it is called by");
    sf::future stays = ended(g);
    OK(stays.then(nullptr, nullptr) == -EINVAL && stays, "where then() fails the future stays");
}

#ifdef __cpp_exceptions
void a_callback_that_throws()
{
    sf::group g = new_group();
    sf::future f = ended(g);
    bool thrown = false;
    try {
        (void)f.then(
            [](void *, int rc, sflight_result *r) {
                const sf::answer a(rc, *r);
                throw a.status();
            },
            nullptr);
    } catch (int status) {
        thrown = status == 5;
    }
    OK(thrown && !f && idle(g),
       "what a callback throws leaves then(), which has consumed the future");
}

void a_drain_that_is_left()
{
    sf::group g = new_group();
    sf::queue q;
    OK(sf::queue::create(q) == 0, "a queue is made");
    for (std::uint64_t tag = 1; tag <= 3; tag++)
        (void)ended(g).enqueue(q, tag);
    std::uint64_t seen = 0;
    try {
        (void)q.drain([&](std::uint64_t tag, const sf::answer &) {
            seen = tag;
            throw tag;
        });
    } catch (std::uint64_t tag) {
        seen += tag * 10;
    }
    pollfd p = {q.fd(), POLLIN, 0};
    OK(seen == 11 && poll(&p, 1, 0) == 1, "what each() throws leaves drain(), and there is more");
    OK(q.drain([&](std::uint64_t tag, const sf::answer &) { seen += tag * 100; }) == 2 &&
           seen == 511 && idle(g),
       "which comes the next time");
}
#endif
} // namespace

int main()
{
    failures_are_returned();
    a_permit_is_used_once();
    what_is_not_used_is_given_up();
    queues();
    callbacks();
    a_callback_that_destroys_the_future();
#ifdef __cpp_exceptions
    a_callback_that_throws();
    a_drain_that_is_left();
#endif
    return tap::done();
}
