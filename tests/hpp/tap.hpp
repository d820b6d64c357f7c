/* SPDX-License-Identifier: BSD-2-Clause */
/* The Test Anything Protocol, as far as these programs need it. */
#ifndef TAP_HPP
#define TAP_HPP

#include <atomic>
#include <cstdio>

namespace tap
{
inline std::atomic<int> count{0}, failed{0};

inline bool ok(bool pass, const char *what, const char *file, int line)
{
    std::printf("%sok %d - %s\n", pass ? "" : "not ", ++count, what);
    if (!pass) {
        failed++;
        std::printf("# at %s:%d\n", file, line);
    }
    return pass;
}

/* For the end of main(). */
inline int done()
{
    std::printf("1..%d\n", count.load());
    return failed.load() == 0 ? 0 : 1;
}
} // namespace tap

#define OK(condition, what) tap::ok((condition), what, __FILE__, __LINE__)

#endif
