/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * C callbacks that are left by C++ exceptions: everybody is told, the exception goes on through
 * the function that has run the callback, and nothing is left of the call.
 */
#include <singleflight.h>

#include "tap.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace
{
struct scene {
    sflight_group *g = nullptr;
    int told = 0;
    explicit scene(int on_abandon = SFLIGHT_ABANDON_SHARE)
    {
        sflight_options o;
        sflight_options_init(&o);
        o.on_abandon = on_abandon;
        sflight_group_create(&g, &o);
    }
    /* Nothing is in flight, waits or is held. */
    bool ends() { return sflight_group_destroy(g) == 0; }
};

sflight_call *lead(scene &s, const char *key)
{
    sflight_call *call = nullptr;
    sflight_future *f = nullptr;
    sflight_begin(s.g, key, std::strlen(key), &call, &f);
    return call;
}

sflight_future *join(scene &s, const char *key)
{
    sflight_call *call = nullptr;
    sflight_future *f = nullptr;
    sflight_begin(s.g, key, std::strlen(key), &call, &f);
    return f;
}

void note(void *arg, int, sflight_result *r)
{
    sflight_result_release(r);
    static_cast<scene *>(arg)->told++;
}

void note_and_throw(void *arg, int rc, sflight_result *r)
{
    note(arg, rc, r);
    throw std::out_of_range("from a callback");
}

void throw_unwanted(void *arg)
{
    static_cast<scene *>(arg)->told++;
    throw std::out_of_range("nobody wants it");
}

/* The first of three throws. */
void join_three(scene &s, const char *key)
{
    sflight_future_then(join(s, key), note_and_throw, &s);
    sflight_future_then(join(s, key), note, &s);
    sflight_future_then(join(s, key), note, &s);
}

bool throws(const std::function<void()> &f)
{
    try {
        f();
    } catch (const std::out_of_range &) {
        return std::uncaught_exceptions() == 0;
    }
    return false;
}

void test_complete()
{
    scene s;
    sflight_call *call = lead(s, "k");
    sflight_queue *q = nullptr;
    sflight_queue_create(&q);
    sflight_future_enqueue(join(s, "k"), q, 1);
    join_three(s, "k");
    sflight_future_enqueue(join(s, "k"), q, 2);
    sflight_future *f = join(s, "k");
    OK(throws([&] { sflight_complete(call, 0); }), "an exception goes on through complete");
    OK(s.told == 3, "the other callbacks have run");
    sflight_completion done[3];
    OK(sflight_queue_drain(q, done, 3) == 2, "and queues have got theirs");
    sflight_completions_release(done, 2);
    sflight_result r;
    OK(sflight_future_poll(f, &r) == 0, "and futures");
    sflight_result_release(&r);
    OK(throws([&] {
           sflight_call *again = lead(s, "k");
           join_three(s, "k");
           sflight_complete(again, 0);
       }) &&
           s.told == 6,
       "so it is the next time");
    OK(sflight_queue_destroy(q) == 0 && s.ends(), "nothing is left");
}

void test_two_throw()
{
    scene s;
    sflight_call *call = lead(s, "k");
    join_three(s, "k");
    sflight_future_then(join(s, "k"), note_and_throw, &s);
    const pid_t pid = fork();
    if (pid == 0) { /* two throw: as if a destructor did */
        const rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        try {
            sflight_complete(call, 0);
        } catch (...) {
        }
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    OK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
       "a second exception, while one goes on, ends the process");
}

void test_abandon(int on_abandon)
{
    scene s(on_abandon);
    sflight_call *call = lead(s, "k");
    join_three(s, "k");
    OK(throws([&] { sflight_abandon(call); }), "an exception goes on through abandon");
    OK(s.told == 3 && s.ends(), "the others are told, and nothing is left");
}

void test_then()
{
    scene s;
    sflight_call *call = lead(s, "k");
    sflight_future *f = join(s, "k");
    sflight_complete(call, 0);
    OK(throws([&] { sflight_future_then(f, note_and_throw, &s); }),
       "an exception goes on through then, if the call has ended");
    OK(s.told == 1 && s.ends(), "and nothing is left");
}

struct other {
    scene &s;
    sflight_call *call;
};

void complete_other(void *arg, int, sflight_result *r)
{
    auto &o = *static_cast<other *>(arg);
    sflight_result_release(r);
    sflight_complete(o.call, 0);
    o.s.told++;
}

void test_chain()
{
    scene s;
    sflight_call *call = lead(s, "k");
    other o{s, lead(s, "other")};
    sflight_future_then(join(s, "k"), note_and_throw, &s);
    sflight_future_then(join(s, "k"), complete_other, &o);
    sflight_future_then(join(s, "other"), note, &s);
    OK(throws([&] { sflight_complete(call, 0); }), "an exception before another call ends");
    OK(s.told == 3 && s.ends(), "the other call has ended, too");
}

int join_in_fn(sflight_call *, void *arg)
{
    auto &s = *static_cast<scene *>(arg);
    join_three(s, "k");
    return 0;
}

void test_do()
{
    scene s;
    sflight_result r;
    OK(throws([&] { sflight_do(s.g, "k", 1, join_in_fn, &s, &r); }),
       "an exception goes on through the leader's sflight_do()");
    OK(s.told == 3 && s.ends(), "who has the result is told, and nothing is left");
}

int join_in_many(sflight_call *const *, std::size_t, void *arg)
{
    auto &s = *static_cast<scene *>(arg);
    sflight_future_then(join(s, "a"), note, &s);
    sflight_future_then(join(s, "b"), note_and_throw, &s);
    sflight_future_then(join(s, "c"), note, &s);
    return 0;
}

void test_many()
{
    scene s;
    const sflight_key keys[] = {{"a", 1}, {"b", 1}, {"b", 1}, {"c", 1}};
    sflight_result r[4];
    int rc[4];
    OK(throws([&] { sflight_do_many(s.g, keys, 4, join_in_many, &s, nullptr, r, rc); }),
       "an exception goes on through sflight_do_many()");
    OK(s.told == 3 && s.ends(), "all calls of the batch have ended, and nothing is left");
}

int failing_spawn(void *ctx, void (*)(void *), void *)
{
    auto &s = *static_cast<scene *>(ctx);
    std::thread([&] { join_three(s, "k"); }).join();
    return -EAGAIN;
}

void test_start()
{
    scene s;
    sflight_options o;
    sflight_options_init(&o);
    o.runtime.spawn = failing_spawn;
    o.runtime.ctx = &s;
    sflight_group_destroy(s.g);
    sflight_group_create(&s.g, &o);
    sflight_future *f = nullptr;
    OK(throws([&] { sflight_start(s.g, "k", 1, join_in_fn, &s, &f); }),
       "an exception goes on through a start that fails");
    OK(s.told == 3 && s.ends(), "and nothing is left");
}

void test_unwanted()
{
    for (int how = 0; how < 5; how++) {
        scene s;
        sflight_call *call = lead(s, "k");
        sflight_queue *q = nullptr;
        sflight_queue_create(&q);
        if (how < 4)
            sflight_call_on_unwanted(call, throw_unwanted, &s);
        const bool thrown = throws([&] {
            sflight_future *f = nullptr;
            if (how == 0) {
                sflight_future_drop(join(s, "k"));
            } else if (how == 1) {
                sflight_call_future(call, &f);
                sflight_future_drop(f);
            } else if (how == 2) {
                f = join(s, "k");
                sflight_future_enqueue(f, q, 1);
                sflight_future_cancel(f);
            } else if (how == 3) {
                const timespec past = {0, 0};
                sflight_result r;
                sflight_do_until(s.g, "k", 1, join_in_fn, &s, &past, &r);
            } else {
                sflight_future_drop(join(s, "k"));
                sflight_call_on_unwanted(call, throw_unwanted, &s);
            }
        });
        OK(thrown && s.told == 1, "an exception goes on through who leaves a call to nobody");
        OK(sflight_complete(call, 0) == 0, "who ends the call does not wait for the callback");
        OK(sflight_queue_destroy(q) == 0 && s.ends(), "and nothing is left");
    }
}
} // namespace

int main()
{
    test_complete();
    test_two_throw();
    test_abandon(SFLIGHT_ABANDON_SHARE);
    test_abandon(SFLIGHT_ABANDON_TAKEOVER);
    test_then();
    test_chain();
    test_do();
    test_many();
    test_start();
    test_unwanted();
    return tap::done();
}
