/* SPDX-License-Identifier: BSD-2-Clause */
/* epoll.c - an event loop: four clients want two pages, which costs two queries and no thread. */
#define _POSIX_C_SOURCE 200809L
#include <singleflight.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static int database, n_queries, n_pages; /* a timer stands for the socket of the database */
static sflight_call *queries[4];

static void send_query(sflight_call *call)
{
    queries[n_queries++] = call;
    timerfd_settime(database, 0, &(struct itimerspec){.it_value.tv_nsec = 10000000}, NULL);
}

static void on_answers(void)
{
    while (n_queries > 0) {
        sflight_call *call = queries[--n_queries];
        char *page = sflight_call_alloc(call, 16); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %d", ++n_pages);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
    timerfd_settime(database, 0, &(struct itimerspec){0}, NULL);
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sflight_group *group;
    sflight_queue *queue;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    int loop = epoll_create1(0), n_waiting = 0, fd = sflight_queue_fd(queue);
    database = timerfd_create(CLOCK_MONOTONIC, 0);
    epoll_ctl(loop, EPOLL_CTL_ADD, database, &(struct epoll_event){EPOLLIN, {.fd = database}});
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        if (sflight_begin_enqueue(group, paths[i], strlen(paths[i]), queue, i, &lead, NULL) != 0)
            continue;
        n_waiting++;
        if (lead != NULL) /* the permit: this client's query, for all of them */
            send_query(lead);
    }
    for (struct epoll_event event; n_waiting > 0 && epoll_wait(loop, &event, 1, -1) == 1;) {
        if (event.data.fd == database)
            on_answers();
        for (sflight_completion c; sflight_queue_drain(queue, &c, 1) == 1; n_waiting--) {
            printf("client %d: %s\n", (int)c.tag, c.result.value ? (char *)c.result.value : "-");
            sflight_result_release(&c.result);
        }
    }
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
