/* SPDX-License-Identifier: BSD-2-Clause */
/* See async.h. */
#include "async.h"

#include "event_fd.h"
#include "spawn.h"

#include <string.h>

/* ------------------------------------------------------------------- permits */

/* For a newcomer that does not block.  Returns as join_or_claim() does. */
static ALWAYS_INLINE int claim_or_join(struct slot *slot, const void *key, size_t key_len,
                                       enum call_kind kind, sflight_call **call)
{
    struct newcomer newcomer = {NULL, kind, STATE_ASYNC};
    unsigned rank;

    return join_or_claim(slot->group, slot, key, key_len, newcomer, NULL, call, &rank);
}

int async_begin(struct sflight_group *g, const void *key, size_t key_len,
                struct sflight_call **lead, struct sflight_future **join)
{
    struct sflight_call *call = NULL;

    struct slot *slot = thread_slot(g);
    struct sflight_future *f = future_new(slot, NULL, false); /* before there is anything to undo */
    if (f == NULL)
        return -ENOMEM;
    int rc = claim_or_join(slot, key, key_len, CALL_OF_PERMIT, &call);
    if (rc == JOIN_FOLLOWS) {
        f->call = call;
        *join = f;
        return 0;
    }
    future_free(slot, f);
    if (rc != JOIN_LEADS)
        return rc;
    call->begun_by = &thread_self;
    *lead = call;
    return 0;
}

void async_complete(struct sflight_call *call, int status)
{
    struct slot *slot = thread_slot(call->group);

    orphan_check(call);
    if (!call->result.status_set)
        call->result.status = status;
    finish_call(slot, call, 0);
    hold_release(slot, call);
}

void async_abandon(struct sflight_call *call)
{
    orphan_check(call);
    finish_abandoned(thread_slot(call->group), call);
}

/* ------------------------------------------------------------- started calls */

/* What the leader of a started call gets; freed by it. */
struct started {
    sflight_call *call;
    sflight_fn *fn;
    void *arg;
};

/* The leader of a started call, in a task or on a thread. */
static void started_run(void *arg)
{
    struct started s = *(struct started *)arg;

    alloc_put(&s.call->group->alloc, arg, sizeof(s));
    lead_run_started(s.call, s.fn, s.arg);
}

static void *started_main(void *arg)
{
    started_run(arg);
    return NULL;
}

/* Has started_run(s) run elsewhere.  Returns 0, -EAGAIN or -ENOMEM. */
static int spawn(const sflight_runtime *runtime, struct started *s)
{
    int rc = runtime->spawn != NULL ? runtime->spawn(runtime->ctx, started_run, s)
                                    : spawn_thread(started_main, s);
    return rc == 0 || rc == -ENOMEM ? rc : -EAGAIN;
}

int async_start(struct sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                struct sflight_future **out)
{
    struct sflight_call *call = NULL;

    struct slot *slot = thread_slot(g);
    /* Before there is anything to undo. */
    struct sflight_future *f = future_new(slot, NULL, true);
    struct started *s = alloc_get(&g->alloc, sizeof(*s), _Alignof(max_align_t));
    int rc = -ENOMEM;
    if (f != NULL && s != NULL)
        rc = claim_or_join(slot, key, key_len, CALL_OF_STARTER, &call);
    bool leads = rc == JOIN_LEADS;
    if (leads) {
        call->result.has_starter = true;
        call->result.extra_holds = 1;
        f->call = call;
        *s = (struct started){call, fn, arg};
        rc = spawn(&g->runtime, s);
        if (rc == 0) {
            *out = f;
            return 0;
        }
        slot = thread_slot_if_moved(slot);
    } else if (rc == JOIN_FOLLOWS) {
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
        finish_seen(slot, call, ENDING_ABANDONED, false);
        hold_release(slot, call);
        hold_release(slot, call);
    }
    return rc;
}

/* ------------------------------------------------------------------- futures */

/* True if the result is there. */
static bool is_ready(struct sflight_future *f)
{
    struct sflight_call *c = f->call;

    orphan_check(c);
    return gate_is_open(&c->gate);
}

int async_poll(struct sflight_future *f, sflight_result *r)
{
    return is_ready(f) ? notify_take(thread_slot(f->call->group), f, r) : -EAGAIN;
}

void async_drop(struct sflight_future *f)
{
    struct sflight_call *c = f->call;
    struct sflight_group *g = c->group;
    struct slot *slot = thread_slot(g);
    bool starter = f->starter, ready = is_ready(f);

    notify_end(slot, f);
    if (!ready && starter) {
        wait_starter_leaves(slot, c);
        return;
    }
    enum wait_leave leave = ready ? LEAVE_TOO_LATE : wait_leave(slot, c, STATE_ASYNC);
    if (leave == LEAVE_TOO_LATE)
        hold_release(slot, c);
    else
        gauges_count(thread_slot_if_moved(slot),
                     leave == LEAVE_LEFT ? COUNT_RETURNED : COUNT_RELEASED);
}

/*
 * Before a future is consumed: if it may be in the call's list, gives it up, and puts a new one in
 * its place, with the same claim.  Returns 0 or -ENOMEM.
 */
static int unhung(struct sflight_future **f)
{
    if ((*f)->kind == FUTURE_PLAIN)
        return 0;
    struct slot *slot = thread_slot((*f)->call->group);
    struct sflight_future *copy = future_new(slot, (*f)->call, (*f)->starter);
    if (copy == NULL)
        return -ENOMEM;
    notify_end(slot, *f);
    *f = copy;
    return 0;
}

/* Hangs a future up that stays its owner's, without a descriptor. */
static void hang_owned(struct sflight_future *f)
{
    f->owned.fd = -1;
    notify_hang(f, FUTURE_OWNED);
}

int async_fd(struct sflight_future *f)
{
    if (f->kind == FUTURE_OWNED && f->owned.fd >= 0)
        return f->owned.fd;
    int fd = event_fd_new();
    if (fd < 0)
        return fd;
    if (f->kind == FUTURE_PLAIN)
        hang_owned(f);
    notify_set_fd(f, fd);
    return fd;
}

int async_then(struct sflight_future *f, void (*cb)(void *, int, sflight_result *), void *arg)
{
    int rc = unhung(&f);
    if (rc != 0)
        return rc;
    f->then.cb = cb;
    f->then.arg = arg;
    notify_hang(f, FUTURE_THEN);
    return 0;
}

int async_enqueue(struct sflight_future *f, struct sflight_queue *q, uint64_t tag)
{
    int rc = unhung(&f);
    if (rc != 0)
        return rc;
    f->queued.to = q;
    f->queued.tag = tag;
    queue_expect(q);
    notify_hang(f, FUTURE_QUEUED);
    return 0;
}

/* Hangs the future up, and parks its owner until the call has ended.  Returns 0 or -ETIMEDOUT. */
static int wait_until_told(struct sflight_future *f, const struct timespec *deadline)
{
    struct sflight_group *g = f->call->group;
    void *fiber = agent_fiber(g);

    if (f->kind == FUTURE_PLAIN)
        hang_owned(f);
    f->owned.fiber = fiber;
    gauges_count(thread_slot(g), COUNT_PARKED);
    return notify_park(g, f, deadline, FUTURE_HUNG) == NOTIFY_TOLD ? 0 : -ETIMEDOUT;
}

int async_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    struct sflight_call *c = f->call;
    int rc = 0;

    if (!is_ready(f)) {
        struct agent *agent = agent_leading(c->group);
        if (agent != NULL && !agent_may_wait(agent, c)) {
            gauges_count(thread_slot(c->group), COUNT_DEADLOCKS);
            rc = -EDEADLK;
        } else {
            rc = wait_until_told(f, deadline);
            if (agent != NULL)
                agent_waited(agent);
        }
    }
    if (rc != 0) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    return notify_take(thread_slot_again(c->group), f, r);
}
