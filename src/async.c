/* SPDX-License-Identifier: BSD-2-Clause */
#include "async.h"

#include "event_fd.h"
#include "spawn.h"

#include <string.h>

/* ------------------------------------------------------------------- permits */

/* Without a caller that blocks.  Returns as call_claim_or_join() does. */
static ALWAYS_INLINE int claim_or_join(struct slot *slot, const void *key, size_t key_len,
                                       enum call_kind kind, sflight_call **call)
{
    struct call_start start = {NULL, kind, CALL_ASYNC};
    unsigned rank;

    return call_claim_or_join(slot->group, slot, key, key_len, start, NULL, call, &rank);
}

int call_begin(struct sflight_group *g, const void *key, size_t key_len, struct sflight_call **lead,
               struct sflight_future **join)
{
    struct sflight_call *call = NULL;

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

void call_complete(struct sflight_call *call, int status)
{
    struct slot *slot = thread_slot(call->group);

    call_check_inherited(call);
    if (!call->result.status_set)
        call->result.status = status;
    call_finish(slot, call, 0);
    call_release(slot, call);
}

void call_abandon_begun(struct sflight_call *call)
{
    call_check_inherited(call);
    call_abandon_permit(thread_slot(call->group), call);
}

/* ------------------------------------------------------------- started calls */

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

/* 0, -EAGAIN or -ENOMEM. */
static int spawn(const sflight_runtime *runtime, struct started *s)
{
    int rc = runtime->spawn != NULL ? runtime->spawn(runtime->ctx, started_run, s)
                                    : spawn_thread(started_main, s);
    return rc == 0 || rc == -ENOMEM ? rc : -EAGAIN;
}

int call_start_fn(struct sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                  void *arg, struct sflight_future **out)
{
    struct sflight_call *call = NULL;

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

/* ------------------------------------------------------------------- futures */

static bool future_ready(struct sflight_future *f)
{
    struct sflight_call *c = f->call;

    call_check_inherited(c);
    return gate_is_open(&c->gate);
}

int future_poll(struct sflight_future *f, sflight_result *r)
{
    return future_ready(f) ? notify_take(thread_slot(f->call->group), f, r) : -EAGAIN;
}

void future_drop(struct sflight_future *f)
{
    struct sflight_call *c = f->call;
    struct sflight_group *g = c->group;
    struct slot *slot = thread_slot(g);
    bool starter = f->starter, ready = future_ready(f);

    future_end(slot, f);
    if (!ready && starter) {
        call_starter_leaves(slot, c);
        return;
    }
    enum call_leave leave = ready ? LEAVE_TOO_LATE : call_leave(slot, c, CALL_ASYNC);
    if (leave == LEAVE_TOO_LATE)
        call_release(slot, c);
    else
        slot_count(thread_slot_after(slot), leave == LEAVE_LEFT ? COUNT_RETURNED : COUNT_RELEASED);
}

/*
 * A future that its owner kept may be in the call's list for good; what is
 * consumed then is a new one, with the same claim.
 */
static int future_unhung(struct sflight_future **f)
{
    if ((*f)->kind == FUTURE_PLAIN)
        return 0;
    struct slot *slot = thread_slot((*f)->call->group);
    struct sflight_future *copy = future_new(slot, (*f)->call, (*f)->starter);
    if (copy == NULL)
        return -ENOMEM;
    future_end(slot, *f);
    *f = copy;
    return 0;
}

/* To be told, and to remain its owner's. */
static void future_own(struct sflight_future *f)
{
    f->owned.fd = -1;
    future_hang(f, FUTURE_OWNED);
}

int future_fd(struct sflight_future *f)
{
    if (f->kind == FUTURE_OWNED && f->owned.fd >= 0)
        return f->owned.fd;
    int fd = event_fd_new();
    if (fd < 0)
        return fd;
    if (f->kind == FUTURE_PLAIN)
        future_own(f);
    future_set_fd(f, fd);
    return fd;
}

int future_then(struct sflight_future *f, void (*cb)(void *, int, sflight_result *), void *arg)
{
    int rc = future_unhung(&f);
    if (rc != 0)
        return rc;
    f->then.cb = cb;
    f->then.arg = arg;
    future_hang(f, FUTURE_THEN);
    return 0;
}

int future_enqueue(struct sflight_future *f, struct sflight_queue *q, uint64_t tag)
{
    int rc = future_unhung(&f);
    if (rc != 0)
        return rc;
    f->queued.to = q;
    f->queued.tag = tag;
    queue_expect(q);
    future_hang(f, FUTURE_QUEUED);
    return 0;
}

/* Waits for the gate to open.  0 or -ETIMEDOUT. */
static int future_wait(struct sflight_future *f, const struct timespec *deadline)
{
    struct sflight_group *g = f->call->group;
    void *fiber = group_has_fibers(g) ? g->runtime.self(g->runtime.ctx) : NULL;

    if (f->kind == FUTURE_PLAIN)
        future_own(f);
    f->owned.fiber = fiber;
    slot_count(thread_slot(g), COUNT_PARKED);
    return notify_park(g, f, deadline, HUNG) == NOTIFY_TOLD ? 0 : -ETIMEDOUT;
}

int future_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    struct sflight_call *c = f->call;
    int rc = 0;

    if (!future_ready(f)) {
        struct caller *caller = caller_leading(c->group);
        if (caller != NULL && !caller_may_wait(caller, c)) {
            slot_count(thread_slot(c->group), COUNT_DEADLOCKS);
            rc = -EDEADLK;
        } else {
            rc = future_wait(f, deadline);
            if (caller != NULL)
                caller_waited(caller);
        }
    }
    if (rc != 0) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    return notify_take(thread_slot_again(c->group), f, r);
}
