/* SPDX-License-Identifier: BSD-2-Clause */
/* A value that tells how many of its kind there are. */
#ifndef PAGE_HPP
#define PAGE_HPP

#include <atomic>

inline std::atomic<int> n_alive{0}; /* pages */

struct page {
    int number;
    explicit page(int n) : number(n) { n_alive++; }
    page(const page &) = delete;
    page &operator=(const page &) = delete;
    ~page() { n_alive--; }
};

#endif
