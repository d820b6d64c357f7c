/* SPDX-License-Identifier: BSD-2-Clause */
/* A user's program in C++: the wrapper, and an exception through the library. */
#include <singleflight.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

int main()
{
    singleflight::group group;
    auto greeting = group.run("key", [] { return std::string("hello"); });
    if (*greeting != "hello")
        return 1;
    try {
        group.run("key", []() -> int { throw std::runtime_error("thrown"); });
        return 2;
    } catch (const std::runtime_error &e) {
        if (e.what() != std::string("thrown"))
            return 3;
    }
    std::cout << sflight_version() << '\n';
}
