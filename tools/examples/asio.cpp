/* SPDX-License-Identifier: BSD-2-Clause */
/* asio.cpp - epoll.c with Asio: four clients want two pages, which costs two queries and no thread.
 */
#include <asio.hpp>
#include <singleflight.h>

#include <cstdio>
#include <cstring>
#include <vector>

static std::vector<sflight_call *> queries;
static int n_pages, n_waiting;

static void on_answers()
{
    for (; !queries.empty(); queries.pop_back()) {
        auto *page = static_cast<char *>(sflight_call_alloc(queries.back(), 24));
        if (page != nullptr) /* freed after its last reader */
            std::snprintf(page, 24, "page %d", ++n_pages);
        sflight_complete(queries.back(), page != nullptr ? 200 : 503);
    }
}

static void await_completions(asio::posix::stream_descriptor &arrivals, sflight_queue *queue)
{
    arrivals.async_wait(arrivals.wait_read, [&arrivals, queue](const asio::error_code &error) {
        sflight_completion c;
        for (; !error && sflight_queue_drain(queue, &c, 1) == 1; n_waiting--) {
            const auto *page = static_cast<const char *>(c.result.value);
            std::printf("client %d: %s\n", static_cast<int>(c.tag), page != nullptr ? page : "-");
            sflight_result_release(&c.result);
        }
        if (!error && n_waiting > 0)
            await_completions(arrivals, queue);
    });
}

int main()
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sflight_group *group;
    sflight_queue *queue;
    if (sflight_group_create(&group, nullptr) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    asio::io_context loop;
    asio::posix::stream_descriptor arrivals(loop, sflight_queue_fd(queue));
    asio::steady_timer database(loop, std::chrono::milliseconds(10)); /* stands for one */
    await_completions(arrivals, queue);
    database.async_wait([](const asio::error_code &) { on_answers(); });
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        n_waiting += sflight_begin_enqueue(group, paths[i], 2, queue, i, &lead, nullptr) == 0;
        if (lead != nullptr) /* the permit: this client's query, for all of them */
            queries.push_back(lead);
    }
    loop.run();
    arrivals.release(); /* the descriptor is the queue's, which closes it */
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
