/* SPDX-License-Identifier: BSD-2-Clause */
/* libevent.c - epoll.c with libevent: four clients want two pages, which costs two queries. */
#define _POSIX_C_SOURCE 200809L
#include <event2/event.h>
#include <singleflight.h>
#include <stdio.h>
#include <string.h>

static struct event_base *base;
static sflight_call *queries[4];
static int n_queries, n_pages, n_waiting;

static void on_answers(evutil_socket_t fd, short what,
                       void *arg) /* a timer stands for the database */
{
    (void)fd, (void)what, (void)arg;
    while (n_queries > 0) {
        sflight_call *call = queries[--n_queries];
        char *page = sflight_call_alloc(call, 16); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %d", ++n_pages);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
}

static void on_completions(evutil_socket_t fd, short what, void *queue)
{
    (void)fd, (void)what;
    for (sflight_completion c; sflight_queue_drain(queue, &c, 1) == 1; n_waiting--) {
        printf("client %d: %s\n", (int)c.tag, c.result.value ? (char *)c.result.value : "-");
        sflight_result_release(&c.result);
    }
    if (n_waiting == 0)
        event_base_loopbreak(base);
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sflight_group *group;
    sflight_queue *queue;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0 ||
        (base = event_base_new()) == NULL)
        return 1;
    struct event *arrivals =
        event_new(base, sflight_queue_fd(queue), EV_READ | EV_PERSIST, on_completions, queue);
    event_add(arrivals, NULL);
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        n_waiting +=
            sflight_begin_enqueue(group, paths[i], strlen(paths[i]), queue, i, &lead, NULL) == 0;
        if (lead != NULL) /* the permit: this client's query, for all of them */
            queries[n_queries++] = lead;
    }
    event_base_once(base, -1, EV_TIMEOUT, on_answers, NULL, &(struct timeval){.tv_usec = 10000});
    event_base_dispatch(base);
    event_free(arrivals); /* before its descriptor goes */
    event_base_free(base);
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
