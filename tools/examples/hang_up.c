/* SPDX-License-Identifier: BSD-2-Clause */
/* hang_up.c - an event loop whose clients hang up: a query that nobody waits for is called off. */
#define _POSIX_C_SOURCE 200809L
#include <singleflight.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static struct client {
    const char *path;
    sflight_future *future; /* for sflight_future_cancel(), until its completion is drained */
} clients[] = {{"/a", NULL}, {"/b", NULL}, {"/a", NULL}, {"/b", NULL}};

static struct query {
    sflight_call *call; /* the permit; NULL: it has been used */
} queries[4];

static sflight_group *group;
static sflight_queue *queue;
static int database, n_queries, n_waiting; /* a timer stands for the socket of the database */

/* By the hang_up() of who was the last that waited.  With threads an atomic flag decides between
   this and on_answers(); here they never run at once. */
static void call_off(void *arg)
{
    struct query *query = arg;
    size_t len;
    const char *path = sflight_call_key(query->call, &len);
    printf("%.*s: called off\n", (int)len, path);
    sflight_abandon(query->call); /* nobody is told, and who asks now leads a new call */
    query->call = NULL;
}

static void ask(unsigned i)
{
    struct client *c = &clients[i];
    struct query *query = &queries[n_queries];
    if (sflight_begin_enqueue(group, c->path, strlen(c->path), queue, i, &query->call,
                              &c->future) != 0)
        return;
    n_waiting++;
    if (query->call == NULL)
        return; /* another client's query is on its way */
    n_queries++;
    sflight_call_on_unwanted(query->call, call_off, query);
    timerfd_settime(database, 0, &(struct itimerspec){.it_value.tv_nsec = 10000000}, NULL);
}

static void hang_up(unsigned i)
{
    printf("client %u hangs up\n", i);
    n_waiting -= sflight_future_cancel(clients[i].future); /* 1: no completion will come */
}

static void on_answers(void)
{
    for (; n_queries > 0; n_queries--) {
        sflight_call *call = queries[n_queries - 1].call;
        if (call == NULL)
            continue;
        size_t len;
        const char *path = sflight_call_key(call, &len);
        char *page = sflight_call_alloc(call, len + 6); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %.*s", (int)len, path);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
    timerfd_settime(database, 0, &(struct itimerspec){0}, NULL);
}

int main(void)
{
    sflight_options options;
    sflight_options_init(&options);
    options.cancel_unwanted = true; /* who has been told is not joined any more */
    if (sflight_group_create(&group, &options) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    int loop = epoll_create1(0), fd = sflight_queue_fd(queue);
    database = timerfd_create(CLOCK_MONOTONIC, 0);
    epoll_ctl(loop, EPOLL_CTL_ADD, database, &(struct epoll_event){EPOLLIN, {.fd = database}});
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
    for (unsigned i = 0; i < 3; i++)
        ask(i);
    hang_up(0); /* it has the permit; client 2 still waits, and the query goes on */
    hang_up(1); /* nobody else wanted /b */
    ask(3);
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
