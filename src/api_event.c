/* SPDX-License-Identifier: BSD-2-Clause */
/* Entry points: event loops and manual leaders.  Documented in singleflight.h. */
#include "../include/singleflight.h"

#include "call_lead.h"
#include "call_path.h"
#include "future.h"
#include "queue.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

/* Without a caller that blocks.  Returns as call_claim_or_join() does. */
static ALWAYS_INLINE int claim_or_join(struct slot *slot, const void *key, size_t key_len,
                                       enum call_kind kind, sflight_call **call)
{
    struct call_start start = {NULL, kind, CALL_ASYNC};
    unsigned rank;

    return call_claim_or_join(slot->group, slot, key, key_len, start, NULL, call, &rank);
}

static bool key_valid(const sflight_group *g, const void *key, size_t key_len)
{
    return g != NULL && (key != NULL || key_len == 0);
}

int sflight_begin(sflight_group *g, const void *key, size_t key_len, sflight_call **lead,
                  sflight_future **join)
{
    struct sflight_call *call = NULL;

    if (lead != NULL)
        *lead = NULL;
    if (join != NULL)
        *join = NULL;
    if (lead == NULL || join == NULL || !key_valid(g, key, key_len))
        return -EINVAL;
    struct slot *slot = thread_slot(g);
    struct sflight_future *f = future_new(slot, NULL, false); /* before there is anything to undo */
    if (f == NULL)
        return -ENOMEM;
    int rc = claim_or_join(slot, key, key_len, CALL_OF_PERMIT, &call);
    if (rc == CALL_FOLLOWS) {
        f->call = call;
        *join = f;
        return 0;
    }
    future_free(slot, f);
    if (rc != CALL_LEADS)
        return rc;
    call->begun_by = &thread_self;
    *lead = call;
    return 0;
}

void sflight_complete(sflight_call *call, int status)
{
    struct slot *slot = thread_slot(call->group);

    call_check_inherited(call);
    if (!call->result.status_set)
        call->result.status = status;
    call_finish(slot, call, 0);
    call_release(slot, call);
}

void sflight_abandon(sflight_call *call)
{
    call_check_inherited(call);
    call_abandon_permit(thread_slot(call->group), call);
}

struct started {
    sflight_call *call;
    sflight_fn *fn;
    void *arg;
};

static void started_run(void *arg)
{
    struct started s = *(struct started *)arg;

    alloc_put(&s.call->group->alloc, arg, sizeof(s));
    call_lead_started(s.call, s.fn, s.arg);
}

static void *started_main(void *arg)
{
    started_run(arg);
    return NULL;
}

/* On a detached thread with all signals blocked. */
static int spawn_thread(struct started *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;

    if (pthread_attr_init(&attr) != 0)
        return -ENOMEM;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &attr, started_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    return -rc;
}

/* 0, -EAGAIN or -ENOMEM. */
static int spawn(const sflight_runtime *runtime, struct started *s)
{
    int rc =
        runtime->spawn != NULL ? runtime->spawn(runtime->ctx, started_run, s) : spawn_thread(s);
    return rc == 0 || rc == -ENOMEM ? rc : -EAGAIN;
}

int sflight_start(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                  sflight_future **out)
{
    struct sflight_call *call = NULL;

    if (out != NULL)
        *out = NULL;
    if (out == NULL || fn == NULL || !key_valid(g, key, key_len))
        return -EINVAL;
    struct slot *slot = thread_slot(g);
    /* Before there is anything to undo. */
    struct sflight_future *f = future_new(slot, NULL, true);
    struct started *s = alloc_get(&g->alloc, sizeof(*s), _Alignof(max_align_t));
    int rc = -ENOMEM;
    if (f != NULL && s != NULL)
        rc = claim_or_join(slot, key, key_len, CALL_OF_STARTER, &call);
    bool leads = rc == CALL_LEADS;
    if (leads) {
        call->result.started = true;
        call->result.extra_holds = 1;
        f->call = call;
        *s = (struct started){call, fn, arg};
        rc = spawn(&g->runtime, s);
        if (rc == 0) {
            *out = f;
            return 0;
        }
        slot = thread_slot_after(slot);
    } else if (rc == CALL_FOLLOWS) {
        f->call = call;
        f->starter = false;
        *out = f;
        f = NULL;
        rc = 0;
    }
    alloc_put(&g->alloc, s, sizeof(*s));
    if (f != NULL)
        future_free(slot, f);
    if (leads) { /* nobody is going to run fn */
        call_finish_slow(slot, call, ENDED_ABANDONED, false);
        call_release(slot, call);
        call_release(slot, call);
    }
    return rc;
}

int sflight_future_get(sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    if (r != NULL)
        memset(r, 0, sizeof(*r));
    if (f == NULL || r == NULL || !clock_deadline_valid(deadline))
        return -EINVAL;
    return future_get(f, deadline, r);
}

int sflight_future_poll(sflight_future *f, sflight_result *r)
{
    if (r != NULL)
        memset(r, 0, sizeof(*r));
    if (f == NULL || r == NULL)
        return -EINVAL;
    return future_poll(f, r);
}

int sflight_future_fd(sflight_future *f)
{
    return f != NULL ? future_fd(f) : -EINVAL;
}

int sflight_future_then(sflight_future *f, void (*cb)(void *arg, int rc, sflight_result *r),
                        void *arg)
{
    return f != NULL && cb != NULL ? future_then(f, cb, arg) : -EINVAL;
}

int sflight_future_enqueue(sflight_future *f, sflight_queue *q, uint64_t tag)
{
    return f != NULL && q != NULL ? future_enqueue(f, q, tag) : -EINVAL;
}

void sflight_future_drop(sflight_future *f)
{
    if (f != NULL)
        future_drop(f);
}

int sflight_queue_create(sflight_queue **out)
{
    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    return queue_create(out);
}

int sflight_queue_destroy(sflight_queue *q)
{
    return q == NULL ? 0 : queue_destroy(q);
}

int sflight_queue_fd(sflight_queue *q)
{
    return q != NULL ? queue_fd(q) : -EINVAL;
}

int sflight_queue_drain(sflight_queue *q, sflight_completion *out, unsigned n)
{
    if (q == NULL || (out == NULL && n != 0))
        return -EINVAL;
    return queue_drain(q, out, n < INT_MAX ? n : INT_MAX);
}
