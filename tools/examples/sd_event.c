/* SPDX-License-Identifier: BSD-2-Clause */
/* sd_event.c - epoll.c with sd-event: four clients want two pages, which costs two queries. */
#define _POSIX_C_SOURCE 200809L
#include <singleflight.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

static sflight_call *queries[4];
static int n_queries, n_pages, n_waiting;

/* A timer stands for the database. */
static int on_answers(sd_event_source *source, uint64_t usec, void *arg)
{
    (void)source, (void)usec, (void)arg;
    while (n_queries > 0) {
        sflight_call *call = queries[--n_queries];
        char *page = sflight_call_alloc(call, 16); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %d", ++n_pages);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
    return 0;
}

static int on_completions(sd_event_source *source, int fd, uint32_t events, void *queue)
{
    (void)fd, (void)events;
    for (sflight_completion c; sflight_queue_drain(queue, &c, 1) == 1; n_waiting--) {
        printf("client %d: %s\n", (int)c.tag, c.result.value ? (char *)c.result.value : "-");
        sflight_result_release(&c.result);
    }
    return n_waiting > 0 ? 0 : sd_event_exit(sd_event_source_get_event(source), 0);
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    sflight_group *group;
    sflight_queue *queue;
    sd_event *loop;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0 ||
        sd_event_new(&loop) < 0)
        return 1;
    sd_event_add_io(loop, NULL, sflight_queue_fd(queue), EPOLLIN, on_completions, queue);
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        n_waiting +=
            sflight_begin_enqueue(group, paths[i], strlen(paths[i]), queue, i, &lead, NULL) == 0;
        if (lead != NULL) /* the permit: this client's query, for all of them */
            queries[n_queries++] = lead;
    }
    sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, 10000, 0, on_answers, NULL);
    sd_event_loop(loop);
    sd_event_unref(loop); /* with its sources, before the descriptor goes */
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
