/* SPDX-License-Identifier: BSD-2-Clause */
/* A plugin with hidden visibility: loaded twice, as two files, by plugin_host.cpp. */
#include <singleflight.hpp>

#include <stdexcept>
#include <string>

struct page {
    std::string text;
};

namespace
{
struct own {
    std::string text;
};
} // namespace

static auto load(void (*wait)())
{
    struct own_of_static {
        std::string text;
    };
    return wait(), own_of_static{"p"};
}

inline auto load_inline(void (*wait)())
{
    struct own_of_inline {
        std::string text;
    };
    return wait(), own_of_inline{"p"};
}

/*
 * 0: a page; 1: callers differ in type; 2: an exception of the leader's; 3: they differ, as 1;
 * 4: a type of an inline function, which is the same.
 */
extern "C" __attribute__((visibility("default"))) int plugin_run(singleflight::group *g, int what,
                                                                 void (*wait)())
{
    try {
        if (what == 0)
            return g->run("key", [&] { return wait(), page{"p"}; })->text == "p" ? 0 : 3;
        if (what == 1)
            return g->run("key", [&] { return wait(), own{"p"}; })->text == "p" ? 0 : 3;
        if (what == 3)
            return g->run("key", [&] { return load(wait); })->text == "p" ? 0 : 3;
        if (what == 4)
            return g->run("key", [&] { return load_inline(wait); })->text == "p" ? 0 : 3;
        g->run("key", [&]() -> page {
            wait();
            throw std::runtime_error("thrown");
        });
        return 3;
    } catch (const std::logic_error &) {
        return 1;
    } catch (const std::runtime_error &e) {
        return e.what() == std::string("thrown") ? 2 : 3;
    }
}
