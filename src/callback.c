/* SPDX-License-Identifier: BSD-2-Clause */
#include "callback.h"

#include "sizes.h"

#include <pthread.h>

static void run_one(struct thread_frame *all)
{
    struct sflight_future *f = all->first;
    union {
        sflight_result r;
        char room[SIZES_CALLBACK_RESULT]; /* for a caller whose results are larger */
    } to;

    all->first = f->next;
    if (all->first == NULL)
        all->last = &all->first;
    void (*cb)(void *, int, sflight_result *) = f->then.cb;
    void *arg = f->then.arg;
    int rc = future_take(f, &to.r);
    memset(to.room + sizeof(to.r), 0, sizeof(to.room) - sizeof(to.r));
    cb(arg, rc, &to.r);
}

/* One has been left without returning: the others are run before that goes on. */
static void run_rest(struct thread_frame **left)
{
    if (LIKELY(*left == NULL))
        return;
    bool returned __attribute__((cleanup(invoke_must_return))) = false;
    while ((*left)->first != NULL)
        run_one(*left);
    returned = true;
}

static void run_ends(struct thread_frame **all)
{
    thread_words.frames = (*all)->outer;
    (void)pthread_setcancelstate((*all)->cancel_state, &(*all)->cancel_state);
}

void callback_run(struct thread_frame *all)
{
    if (all->last == NULL)
        return; /* there is a frame further out */
    if (all->first == NULL) {
        thread_words.frames = all->outer;
        return;
    }
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &all->cancel_state);
    struct thread_frame *ends __attribute__((cleanup(run_ends), unused)) = all;
    while (all->first != NULL) {
        struct thread_frame *left __attribute__((cleanup(run_rest))) = all;
        run_one(all);
        left = NULL;
    }
}

void callback_wait(struct thread_frame *all)
{
    all->outer = thread_words.frames;
    all->first = NULL;
    all->last = NULL;
    all->telling = NULL;
    if (thread_callbacks() != NULL)
        return;
    all->last = &all->first;
    thread_words.frames = all;
}

static void add(struct thread_frame *all, struct sflight_future *first)
{
    while (first != NULL) {
        struct sflight_future *f = first;
        first = f->next;
        f->next = NULL;
        *all->last = f;
        all->last = &f->next;
    }
}

void callback_run_list(struct sflight_future *list)
{
    if (list == NULL)
        return;
    struct thread_frame all __attribute__((cleanup(callback_run)));
    callback_wait(&all);
    add(thread_callbacks(), list);
}
