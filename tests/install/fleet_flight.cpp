/* SPDX-License-Identifier: BSD-2-Clause */
/* A user's program with the wrapper, and an exception through both libraries. */
#include <singleflight_fleet.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

int main(int argc, char **argv)
{
    singleflight::fleet_options o;
    o.name = "install";
    o.address = argc > 1 ? argv[1] : "unix:/nonexistent/socket";
    o.engine_timeout_ms = argc > 1 ? 600000 : 1;
    singleflight::fleet fleet(o);
    if (*fleet.run("key", [] { return std::string("hello"); }) != "hello")
        return 1;
    if (fleet.stats().led != (argc > 1))
        return 2;
    try {
        fleet.run("key", []() -> std::string { throw std::runtime_error("thrown"); });
        return 3;
    } catch (const std::runtime_error &e) {
        if (e.what() != std::string("thrown"))
            return 4;
    }
    std::cout << sflight_version() << '\n';
}
