/* SPDX-License-Identifier: BSD-2-Clause */
/* io_uring.c - epoll.c with io_uring: one multishot poll tells of every completion. */
#define _GNU_SOURCE
#include <liburing.h>
#include <poll.h>
#include <singleflight.h>
#include <stdio.h>
#include <string.h>

enum { DATABASE, QUEUE, BATCH = 2 };

/* A multishot poll tells of a change, as EPOLLET does: so until none comes. */
static int drain(sflight_queue *queue)
{
    sflight_completion done[BATCH];
    int n_all = 0;
    for (int n; (n = sflight_queue_drain(queue, done, BATCH)) > 0; n_all += n) {
        for (int i = 0; i < n; i++)
            printf("client %d: %s\n", (int)done[i].tag, (char *)done[i].result.value);
        sflight_completions_release(done, (unsigned)n);
    }
    return n_all;
}

int main(void)
{
    static const char *const paths[] = {"/a", "/b", "/a", "/a"};      /* what clients 0 to 3 want */
    struct __kernel_timespec soon[] = {{0, 10000000}, {0, 20000000}}; /* the database's answers */
    sflight_group *group;
    sflight_queue *queue;
    sflight_call *calls[4];
    struct io_uring ring;
    int rc = io_uring_queue_init(8, &ring, 0), n_waiting = 0, client = 2, armed = 0;
    if (rc < 0)
        return fprintf(stderr, "io_uring is refused here: %s\n", strerror(-rc)), 77;
    if (sflight_group_create(&group, NULL) != 0 || sflight_queue_create(&queue) != 0)
        return 1;
    for (unsigned i = 0; i < 4; i++)
        n_waiting += sflight_begin_enqueue(group, paths[i], 2, queue, i, &calls[i], NULL) == 0;
    for (int i = 0; i < 2; i++)
        io_uring_prep_timeout(io_uring_get_sqe(&ring), &soon[i], 0, 0); /* their user_data is 0 */
    for (struct io_uring_cqe *cqe; n_waiting > 0; io_uring_cqe_seen(&ring, cqe)) {
        struct io_uring_sqe *sqe = armed ? NULL : io_uring_get_sqe(&ring);
        if (sqe != NULL) {
            io_uring_prep_poll_multishot(sqe, sflight_queue_fd(queue), POLLIN);
            sqe->user_data = QUEUE;
        }
        if (io_uring_submit_and_wait(&ring, 1) < 0 || io_uring_peek_cqe(&ring, &cqe) != 0)
            return 1;
        armed = cqe->user_data != QUEUE || cqe->flags & IORING_CQE_F_MORE;
        n_waiting -= cqe->user_data == QUEUE ? drain(queue) : 0;
        if (cqe->user_data == DATABASE && client-- > 0) { /* clients 1 and 0 have permits */
            sflight_call_set(calls[client], client == 1 ? "page 1" : "page 2", 7, NULL, NULL);
            sflight_complete(calls[client], 200);
        }
    }
    io_uring_queue_exit(&ring); /* with its poll, before the descriptor goes */
    return sflight_queue_destroy(queue) == 0 && sflight_group_destroy(group) == 0 ? 0 : 1;
}
