/* SPDX-License-Identifier: BSD-2-Clause */
/* libuv.c - epoll.c with libuv: four clients want two pages, which costs two queries and no thread.
 */
#define _POSIX_C_SOURCE 200809L
#include <singleflight.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static uv_timer_t database; /* a timer stands for the database */
static uv_poll_t arrivals;
static sflight_call *queries[4];
static int n_queries, n_pages, n_waiting;

static void on_answers(uv_timer_t *timer)
{
    (void)timer;
    while (n_queries > 0) {
        sflight_call *call = queries[--n_queries];
        char *page = sflight_call_alloc(call, 16); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %d", ++n_pages);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
}

static void on_completions(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    for (sflight_completion c; sflight_queue_drain(poll->data, &c, 1) == 1; n_waiting--) {
        printf("client %d: %s\n", (int)c.tag, c.result.value ? (char *)c.result.value : "-");
        sflight_result_release(&c.result);
    }
    if (n_waiting == 0)
        uv_stop(poll->loop);
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sflight_group *group;
    sflight_queue *queue;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    uv_timer_init(uv_default_loop(), &database);
    uv_poll_init(uv_default_loop(), &arrivals, sflight_queue_fd(queue));
    arrivals.data = queue;
    uv_poll_start(&arrivals, UV_READABLE, on_completions);
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        n_waiting +=
            sflight_begin_enqueue(group, paths[i], strlen(paths[i]), queue, i, &lead, NULL) == 0;
        if (lead != NULL) /* the permit: this client's query, for all of them */
            queries[n_queries++] = lead;
    }
    uv_timer_start(&database, on_answers, 10, 0);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    uv_poll_stop(&arrivals); /* before its descriptor goes */
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
