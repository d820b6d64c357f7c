/* SPDX-License-Identifier: BSD-2-Clause */
/* singleflight.hpp: group::fly(), for coroutines, also without exceptions or RTTI. */
#include <singleflight.hpp>

#include "page.hpp"
#include "tap.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <deque>
#include <memory>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace sf = singleflight;

namespace
{
/* A coroutine, destroyed with this, wherever it stands. */
class routine
{
  public:
    struct promise_type {
        routine get_return_object()
        {
            return routine(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };

    routine() = default;
    explicit routine(std::coroutine_handle<promise_type> h) : h_(h) {}
    routine(routine &&other) noexcept : h_(std::exchange(other.h_, nullptr)) {}
    routine &operator=(routine other) noexcept
    {
        std::swap(h_, other.h_);
        return *this;
    }
    ~routine()
    {
        if (h_)
            h_.destroy();
    }

  private:
    std::coroutine_handle<promise_type> h_;
};

struct world {
    sf::group g{nullptr};
    std::unique_ptr<sf::coroutine_queue> q;
    std::vector<sf::permit> permits;
    std::vector<sf::answer> answers;
    int n_told = 0; /* that nobody wants a call any more */

    world()
    {
        sf::queue made;
        if (sf::group::create(g) != 0 || sf::queue::create(made) != 0)
            std::abort();
        q = std::make_unique<sf::coroutine_queue>(std::move(made));
    }

    /* Nothing is left: what was delivered is given up. */
    bool end()
    {
        answers.clear();
        permits.clear();
        q.reset();
        sflight_stats s;
        return sflight_group_stats(g.native_handle(), &s) == 0 && s.in_flight == 0 &&
               s.waiting == 0 && s.held == 0 && n_alive == 0;
    }

    /* Ends the oldest call in flight. */
    void complete(int number)
    {
        sf::permit p = std::move(permits.front());
        permits.erase(permits.begin());
        p.set(std::make_unique<page>(number));
        p.complete(200);
    }
};

routine fly(world &w, std::string_view key)
{
    sf::answer a = co_await w.g.fly(*w.q, key, [&w](sf::permit p) {
        p.on_unwanted([](void *n) { ++*static_cast<int *>(n); }, &w.n_told);
        w.permits.push_back(std::move(p));
    });
    w.answers.push_back(std::move(a));
}

bool readable(int fd)
{
    pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

void one_leads_and_all_get_it()
{
    world w;
    routine r[] = {fly(w, "a"), fly(w, "a"), fly(w, "b"), fly(w, "a")};
    OK(w.permits.size() == 2 && w.answers.empty(), "one leads for each key, and all wait");
    OK(!readable(w.q->fd()), "nothing to deliver");
    w.complete(1);
    OK(w.answers.empty() && readable(w.q->fd()), "delivered by the event loop only");
    w.q->deliver();
    int leaders = 0, right = 0;
    for (const sf::answer &a : w.answers) {
        leaders += a.leader();
        right += a.rc() == 0 && a.get<page>()->number == 1 && a.followers() == 2;
    }
    OK(w.answers.size() == 3 && right == 3 && leaders == 1, "three get the first result");
    w.complete(2);
    w.q->deliver();
    OK(w.answers.size() == 4 && w.answers[3].get<page>()->number == 2, "one the second");
    OK(w.end(), "nothing is left");
}

void a_leader_that_ends_at_once()
{
    world w;
    int number = 0;
    routine r = [](world &in, int &n) -> routine {
        sf::answer a = co_await in.g.fly(*in.q, "a", [](sf::permit p) {
            p.set(std::make_unique<page>(3));
            p.complete(0);
        });
        n = a.get<page>()->number;
    }(w, number);
    OK(number == 0, "the result comes by way of the queue");
    w.q->deliver();
    OK(number == 3 && w.end(), "and is there");
}

void failures_are_answers()
{
    world w;
    routine r[] = {fly(w, "a"), fly(w, "a")};
    w.permits.clear();
    w.q->deliver();
    OK(w.answers.size() == 2 && w.answers[0].rc() == -EOWNERDEAD &&
           w.answers[1].rc() == -EOWNERDEAD,
       "an abandoned permit");
    sflight_group_close(w.g.native_handle());
    routine late = fly(w, "a");
    OK(w.answers.size() == 3 && w.answers[2].rc() == -ESHUTDOWN, "a closed group: no wait at all");
    OK(w.end(), "nothing is left");
}

void destroyed_coroutines_have_left()
{
    world w;
    routine first = fly(w, "a"), second = fly(w, "a");
    first = routine();
    OK(w.n_told == 0, "the leader's coroutine goes, its call is wanted still");
    second = routine();
    OK(w.n_told == 1, "with the last one the permit's holder is told");
    w.complete(1);
    w.q->deliver();
    OK(w.answers.empty() && n_alive == 0, "nobody is resumed, nothing is kept");

    first = fly(w, "a");
    second = fly(w, "a");
    w.complete(2);
    first = routine();
    w.q->deliver();
    OK(w.answers.size() == 1, "destroyed when its call has ended: the other one is resumed");

    routine victims[3];
    auto destroyer = [](world &in, routine *others) -> routine {
        sf::answer a = co_await in.g.fly(*in.q, "a", [](sf::permit) {});
        for (int i = 0; i < 3; i++)
            others[i] = routine();
        in.answers.push_back(std::move(a));
    };
    routine leader = fly(w, "a");
    routine d = destroyer(w, victims);
    for (routine &v : victims)
        v = fly(w, "a");
    w.complete(3);
    w.q->deliver(); /* in whatever order */
    OK(w.answers.size() >= 3, "destroyed by one that is resumed before it");
    first = fly(w, "b");
    w.complete(4);
    first = routine();
    OK(w.end(), "a queue that goes has forgotten who had left");
}

void executors()
{
    world w;
    std::deque<std::coroutine_handle<>> ready;
    auto posted = [](world &in, std::deque<std::coroutine_handle<>> &to) -> routine {
        sf::answer a = co_await in.g.fly(
            *in.q, "a", [&in](sf::permit p) { in.permits.push_back(std::move(p)); },
            [&to](std::coroutine_handle<> h) { to.push_back(h); });
        in.answers.push_back(std::move(a));
    };
    routine first = posted(w, ready), second = posted(w, ready);
    w.complete(1);
    w.q->deliver();
    OK(ready.size() == 2 && w.answers.empty(), "an executor gets the coroutines");
    std::thread([&] {
        for (auto h : ready)
            h.resume();
    }).join();
    OK(w.answers.size() == 2 && w.answers[0].get<page>()->number == 1, "and resumes them");
    OK(w.end(), "nothing is left");
}

#ifdef __cpp_exceptions
/* A coroutine whose exceptions go on to who resumes it; destroys itself at the end. */
struct rethrowing {
    struct promise_type {
        rethrowing get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { throw; }
    };
};

rethrowing fly_and_throw(world &w, std::string_view key, int what, std::vector<int> &resumed)
{
    sf::answer a =
        co_await w.g.fly(*w.q, key, [&w](sf::permit p) { w.permits.push_back(std::move(p)); });
    resumed.push_back(what);
    if (what == 9)
        w.q->deliver();
    if (what > 1)
        throw what;
}

int thrown_by(sf::coroutine_queue &q)
{
    try {
        q.deliver();
    } catch (int what) {
        return what;
    }
    return 0;
}

void coroutines_that_throw()
{
    world w;
    std::vector<int> resumed;
    for (int what : {1, 2, 1, 3, 1})
        fly_and_throw(w, "a", what, resumed);
    w.complete(1);
    const int first = thrown_by(*w.q);
    OK(resumed.size() == 5 && n_alive == 0, "all are resumed, though two throw");
    OK(first == *std::find_if(resumed.begin(), resumed.end(), [](int what) { return what > 1; }),
       "the first that is thrown leaves deliver()");
    resumed.clear();
    for (int i = 0; i < 3; i++)
        fly_and_throw(w, "a", 9, resumed);
    w.complete(2);
    OK(thrown_by(*w.q) == 9 && resumed.size() == 3, "so it does where one delivers to the others");
    OK(thrown_by(*w.q) == 0 && !readable(w.q->fd()) && w.end(), "and nothing is left");
}

void a_post_that_throws()
{
    world w;
    auto posted = [](world &in) -> routine {
        sf::answer a = co_await in.g.fly(
            *in.q, "a", [&in](sf::permit p) { in.permits.push_back(std::move(p)); },
            [](std::coroutine_handle<>) { throw 1; });
    };
    routine r = posted(w);
    w.complete(1);
    const pid_t pid = fork();
    if (pid == 0) {
        const rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        (void)thrown_by(*w.q);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "a post that throws ends the program");
    r = routine();
    OK(w.end(), "nothing is left");
}

#ifdef __GLIBCXX__
void a_thread_that_ends()
{
    world w;
    std::vector<int> resumed;
    auto ending = [](world &in) -> rethrowing {
        sf::answer a = co_await in.g.fly(
            *in.q, "a", [&in](sf::permit p) { in.permits.push_back(std::move(p)); });
        pthread_exit(nullptr);
    };
    fly_and_throw(w, "a", 1, resumed);
    ending(w);
    fly_and_throw(w, "a", 1, resumed);
    w.complete(1);
    std::thread([&] { w.q->deliver(); }).join();
    OK(resumed.size() == 2 && w.end(),
       "a thread that ends in a coroutine resumes the others first");
}
#endif
#endif

/* Two threads end calls; this one begins, delivers and destroys. */
void stress()
{
    constexpr int n = 20000;
    world w;
    std::mutex mutex;
    std::vector<sf::permit> permits;
    std::atomic<bool> over{false};
    std::vector<std::thread> enders;
    for (int t = 0; t < 2; t++) {
        enders.emplace_back([&] {
            while (!over) {
                sf::permit p;
                {
                    std::lock_guard<std::mutex> guard(mutex);
                    if (!permits.empty()) {
                        p = std::move(permits.back());
                        permits.pop_back();
                    }
                }
                if (p) {
                    p.set(std::make_unique<page>(5));
                    p.complete(0);
                } else {
                    std::this_thread::yield();
                }
            }
        });
    }
    int resumed = 0, right = 0, destroyed = 0, ended = 0;
    auto one = [&](std::string_view key, bool &done) -> routine {
        sf::answer a = co_await w.g.fly(*w.q, key, [&](sf::permit p) {
            std::lock_guard<std::mutex> guard(mutex);
            permits.push_back(std::move(p));
        });
        right += a.rc() == 0 && a.get<page>()->number == 5;
        resumed++;
        done = true;
    };
    unsigned seed = 1;
    routine routines[64];
    bool done[64];
    std::fill(std::begin(done), std::end(done), true);
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        const unsigned at = seed >> 26;
        destroyed += !done[at];
        routines[at] = routine();
        done[at] = false;
        routines[at] = one(std::string_view("abcd").substr(seed >> 8 & 3, 1), done[at]);
        if (seed >> 16 & 1)
            w.q->deliver();
    }
    while (std::find(std::begin(done), std::end(done), false) != std::end(done))
        w.q->deliver();
    ended = resumed + destroyed;
    over = true;
    for (std::thread &t : enders)
        t.join();
    for (routine &r : routines)
        r = routine();
    permits.clear();
    OK(ended == n && right == resumed, "each is resumed with its result, or destroyed");
    OK(w.end(), "and every value is destroyed");
}
} // namespace

int main()
{
    one_leads_and_all_get_it();
    a_leader_that_ends_at_once();
    failures_are_answers();
    destroyed_coroutines_have_left();
    executors();
#ifdef __cpp_exceptions
    coroutines_that_throw();
    a_post_that_throws();
#ifdef __GLIBCXX__
    a_thread_that_ends();
#endif
#endif
    stress();
    return tap::done();
}
