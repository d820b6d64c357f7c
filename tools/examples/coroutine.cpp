/* SPDX-License-Identifier: BSD-2-Clause */
/* coroutine.cpp - epoll.c with coroutines of C++20: four clients want two pages. */
#include <singleflight.hpp>

#include <cstdio>
#include <exception>
#include <poll.h>
#include <string>
#include <vector>

namespace sf = singleflight;

struct client { /* a coroutine that nobody waits for */
    struct promise_type {
        client get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

static std::vector<sf::permit> queries;
static int n_pages, n_waiting;

static client serve(sf::group &pages, sf::coroutine_queue &landings, int number, const char *path)
{
    n_waiting++;
    const sf::answer page = co_await pages.fly(landings, path, [](sf::permit query) {
        queries.push_back(std::move(query)); /* this client's query, for all of them */
    });
    std::printf("client %d: %s\n", number, page.rc() == 0 ? page.get<std::string>()->c_str() : "-");
    n_waiting--;
}

static void on_answers()
{
    for (; !queries.empty(); queries.pop_back()) {
        queries.back().set(std::make_unique<std::string>("page " + std::to_string(++n_pages)));
        queries.back().complete(200);
    }
}

int main()
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sf::group pages;
    sf::queue queue;
    if (sf::queue::create(queue) != 0)
        return 1;
    sf::coroutine_queue landings(std::move(queue));
    for (int i = 0; i < 4; i++)
        serve(pages, landings, i, paths[i]);
    for (pollfd p = {landings.fd(), POLLIN, 0}; n_waiting > 0;) {
        if (poll(&p, 1, 10) == 0) /* a timeout stands for the database */
            on_answers();
        else
            landings.deliver();
    }
}
