/* SPDX-License-Identifier: BSD-2-Clause */
/* batch_test.h - one sflight_do_many(), in the foreground or on a thread of its own. */
#ifndef BATCH_TEST_H
#define BATCH_TEST_H

#include "api_test.h"

#define KEY(s) ((sflight_key){(s), strlen(s)})

/* A batch and what became of it. */
enum { MAX_KEYS = 8 };

struct batch {
    sflight_group *g;
    size_t n;
    sflight_key keys[MAX_KEYS];
    sflight_many_fn *fn;
    const struct timespec *deadline;
    /* filled by fn */
    atomic_int runs;
    atomic_bool open;
    size_t led;
    struct tally tally;
    /* filled by the call */
    pthread_t thread;
    int ret;
    int rc[MAX_KEYS];
    sflight_result r[MAX_KEYS];
};

/* Gives each call a value numbered by its place among those led, and status 7. */
static inline int batch_fn(sflight_call *const *calls, size_t n, void *arg)
{
    struct batch *b = arg;
    b->led = n;
    atomic_fetch_add(&b->runs, 1);
    WAIT_UNTIL(b->open);
    for (size_t i = 0; i < n; i++)
        value_set(calls[i], &b->tally, (int)i);
    return 7;
}

static inline void *batch_run(void *arg)
{
    struct batch *b = arg;
    b->ret = NEVER_RETURNED;
    memset(b->r, 0xA5, sizeof b->r);
    for (size_t i = 0; i < MAX_KEYS; i++)
        b->rc[i] = NEVER_RETURNED;
    b->ret = sflight_do_many(b->g, b->keys, b->n, b->fn, b, b->deadline, b->r, b->rc);
    return NULL;
}

/* Returns when fn runs. */
static inline void batch_start(struct batch *b)
{
    b->thread = thread_start(batch_run, b);
    WAIT_UNTIL(b->runs == 1);
}

static inline void batch_release(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        sflight_result_release(&b->r[i]);
}

#endif
