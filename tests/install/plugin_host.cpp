/* SPDX-License-Identifier: BSD-2-Clause */
/* Two plugins, each with its own copy of the wrapper's templates, share calls: argv has the two. */
#include <singleflight.hpp>

#include <cstdio>
#include <dlfcn.h>
#include <thread>

static singleflight::group group;

static void wait_for_a_follower()
{
    while (group.stats().waiting == 0)
        std::this_thread::yield();
}

static int failed;

int main(int argc, char **argv)
{
    int (*run[2])(singleflight::group *, int, void (*)());
    if (argc != 3)
        return 2;
    for (int i = 0; i < 2; i++) {
        void *plugin = dlopen(argv[i + 1], RTLD_NOW | RTLD_LOCAL);
        void *symbol = plugin != nullptr ? dlsym(plugin, "plugin_run") : nullptr;
        if (symbol == nullptr) {
            std::puts(dlerror());
            return 2;
        }
        run[i] = reinterpret_cast<int (*)(singleflight::group *, int, void (*)())>(symbol);
    }
    /* of the leader, of the follower */
    const int expected[5][2] = {{0, 0}, {0, 1}, {2, 2}, {0, 1}, {0, 0}};
    for (int what = 0; what < 5; what++) {
        int leader = -1;
        std::thread t([&] { leader = run[0](&group, what, wait_for_a_follower); });
        while (group.stats().in_flight == 0)
            std::this_thread::yield();
        int follower = run[1](&group, what, wait_for_a_follower);
        t.join();
        if (leader != expected[what][0] || follower != expected[what][1]) {
            std::printf("%d: leader %d, follower %d\n", what, leader, follower);
            failed = 1;
        }
    }
    return failed;
}
