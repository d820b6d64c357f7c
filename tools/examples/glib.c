/* SPDX-License-Identifier: BSD-2-Clause */
/* glib.c - epoll.c with GLib: four clients want two pages, which costs two queries and no thread.
 */
#include <glib.h>
#include <singleflight.h>
#include <stdio.h>
#include <string.h>

static GMainLoop *loop;
static sflight_group *group;
static sflight_queue *queue;
static sflight_call *queries[4];
static int n_queries, n_pages, n_waiting;

static gboolean on_answers(gpointer arg) /* a timer stands for the database */
{
    (void)arg;
    while (n_queries > 0) {
        sflight_call *call = queries[--n_queries];
        char *page = sflight_call_alloc(call, 16); /* freed after its last reader */
        if (page != NULL)
            sprintf(page, "page %d", ++n_pages);
        sflight_complete(call, page != NULL ? 200 : 503);
    }
    return G_SOURCE_REMOVE;
}

static gboolean on_completions(GSource *source, GSourceFunc callback, gpointer arg)
{
    (void)source, (void)callback, (void)arg;
    for (sflight_completion c; sflight_queue_drain(queue, &c, 1) == 1; n_waiting--) {
        printf("client %d: %s\n", (int)c.tag, c.result.value ? (char *)c.result.value : "-");
        sflight_result_release(&c.result);
    }
    if (n_waiting == 0)
        g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"}; /* what clients 0 to 3 want */
    static GSourceFuncs funcs = {.dispatch = on_completions};    /* ready when its descriptor is */
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    GSource *arrivals = g_source_new(&funcs, sizeof(GSource));
    g_source_add_unix_fd(arrivals, sflight_queue_fd(queue), G_IO_IN);
    g_source_attach(arrivals, NULL);
    for (unsigned i = 0; i < 4; i++) {
        sflight_call *lead;
        n_waiting +=
            sflight_begin_enqueue(group, paths[i], strlen(paths[i]), queue, i, &lead, NULL) == 0;
        if (lead != NULL) /* the permit: this client's query, for all of them */
            queries[n_queries++] = lead;
    }
    g_timeout_add(10, on_answers, NULL);
    g_main_loop_run(loop = g_main_loop_new(NULL, FALSE));
    g_source_destroy(arrivals); /* before its descriptor goes */
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
