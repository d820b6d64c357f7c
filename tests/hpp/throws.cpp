/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ten thousand exceptions at random moments: thrown by leaders, inside one call
 * or inside several, through the C functions, with followers waiting.
 */
#include <singleflight.h>

#include "tap.hpp"

#include <cerrno>
#include <random>
#include <thread>
#include <vector>

namespace
{
constexpr unsigned n_threads = 6, n_keys = 4, n_throws = 10000;

struct field {
    sflight_group *g = nullptr;
    std::atomic<unsigned> thrown{0}, caught{0}, unwound{0}, entered{0}, wrong{0};
    std::atomic<unsigned> made{0}, destroyed{0};
};

struct thrower {
    field &f;
    std::minstd_rand random;
    unsigned pick(unsigned n) { return static_cast<unsigned>(random() >> 8) % n; }
    void ask(unsigned key);
};

struct level {
    thrower &me;
    unsigned key;
};

struct count_on_exit {
    std::atomic<unsigned> &n;
    ~count_on_exit() { n++; }
};

void destroy(void *value, std::size_t, void *ctx)
{
    delete static_cast<unsigned *>(value);
    static_cast<field *>(ctx)->destroyed++;
}

int throw_somewhere(sflight_call *call, void *arg)
{
    auto &[me, key] = *static_cast<level *>(arg);
    me.f.entered++;
    const count_on_exit unwound{me.f.unwound};
    me.f.made++;
    sflight_call_set(call, new unsigned(key), sizeof(unsigned), destroy, &me.f);
    for (unsigned i = me.pick(6); i > 0; i--)
        std::this_thread::yield();
    if (key + 1 < n_keys && me.pick(3) == 0)
        me.ask(key + 1 + me.pick(n_keys - key - 1));
    if (me.pick(3) == 0) {
        me.f.thrown++;
        throw key;
    }
    return 0;
}

void thrower::ask(unsigned key)
{
    level l{*this, key};
    sflight_result r;
    const int rc = sflight_do(f.g, &key, sizeof key, throw_somewhere, &l, &r);
    if (rc == 0 ? *static_cast<unsigned *>(r.value) != key : rc != -EOWNERDEAD)
        f.wrong++;
    sflight_result_release(&r);
}

void work(field &f, unsigned seed)
{
    thrower me{f, std::minstd_rand(seed)};
    while (f.thrown < n_throws) {
        try {
            me.ask(me.pick(n_keys));
        } catch (unsigned key) {
            f.caught++;
            if (key >= n_keys)
                f.wrong++;
        }
    }
}

void ten_thousand_throws(int on_abandon)
{
    field f;
    sflight_options o;
    sflight_options_init(&o);
    o.on_abandon = on_abandon;
    OK(sflight_group_create(&f.g, &o) == 0, "a group");
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < n_threads; i++)
        threads.emplace_back(work, std::ref(f), i + 1);
    for (auto &t : threads)
        t.join();
    OK(f.caught == f.thrown, "each exception reaches its caller's caller, and no other");
    OK(f.unwound == f.entered, "every frame is unwound");
    OK(f.wrong == 0, "nobody gets anything else");
    OK(f.destroyed == f.made, "each value is destroyed once");
    sflight_stats s;
    OK(sflight_group_stats(f.g, &s) == 0 && s.in_flight == 0 && s.waiting == 0 && s.held == 0,
       "nothing is left");
    OK(s.abandoned >= f.thrown && s.deadlocks == 0, "as the stats have it");
    OK(sflight_group_destroy(f.g) == 0, "the group can go");
}
} // namespace

int main()
{
    ten_thousand_throws(SFLIGHT_ABANDON_SHARE);
    ten_thousand_throws(SFLIGHT_ABANDON_TAKEOVER);
    return tap::done();
}
