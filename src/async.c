/* SPDX-License-Identifier: BSD-2-Clause */
/* See async.h. */
#include "async.h"

#include "event_fd.h"
#include "spawn.h"

#include <string.h>

/* ------------------------------------------------------------- started calls */

/* What the leader of a started call gets; freed by it. */
struct started {
    sflight_call *call;
    sflight_fn *fn;
    void *arg;
};

static void started_over(struct sflight_group **g)
{
    finish_runner_ends(*g);
}

static void started_run(void *arg)
{
    struct started s = *(struct started *)arg;
    /* However fn ends, and after everything else here. */
    struct sflight_group *g __attribute__((cleanup(started_over), unused)) = s.call->group;

    alloc_put(&s.call->group->alloc, arg, sizeof(s));
    lead_run_started(s.call, s.fn, s.arg);
}

static void *started_main(void *arg)
{
    started_run(arg);
    return NULL;
}

/* Has started_run(s) run elsewhere.  Returns 0, -ENOMEM, -EPERM, -ENOSYS, or -EAGAIN for anything
   else. */
static int spawn(const sflight_runtime *runtime, struct started *s)
{
    int rc = runtime->spawn != NULL ? runtime->spawn(runtime->ctx, started_run, s)
                                    : spawn_thread(started_main, s);
    return rc == 0 || rc == -ENOMEM || rc == -EPERM || rc == -ENOSYS ? rc : -EAGAIN;
}

/* A future's result, which is there or is about to be, is given up. */
static void give_result_up(struct slot *slot, struct sflight_call *c)
{
    hold_take(slot, c, 1);
    if (LIKELY(gate_is_open(&c->gate)))
        hold_release(slot, c);
    else
        hold_release_early(slot, c); /* RACE: the end is about to credit it */
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
        rc = join_or_claim_async(g, slot, key, key_len, CALL_OF_STARTER, STATE_STARTER, &call);
    bool leads = rc == JOIN_LEADS;
    if (leads) {
        call->result.traits |= CALL_HAS_STARTER;
        future_init(f, call, true);
        gauges_count(slot, COUNT_FUTURES);
        *s = (struct started){call, fn, arg};
        finish_runner_begins(g);
        rc = spawn(&g->runtime, s);
        if (rc == 0) {
            *out = future_hand_out(f);
            return 0;
        }
        slot = thread_slot_again(g);
    } else if (rc == JOIN_FOLLOWS) {
        future_init(f, call, false);
        f->joint = remember_joint_of(slot, call);
        gauges_count(slot, COUNT_FUTURES);
        *out = future_hand_out(f);
        f = NULL;
        rc = 0;
    }
    alloc_put(&g->alloc, s, sizeof(*s));
    if (f != NULL)
        future_free(slot, f);
    if (leads) { /* nobody is going to run fn */
        struct thread_frame callbacks __attribute__((cleanup(callback_run)));
        callback_wait(&callbacks);
        finish_seen(slot, call, ENDING_ABANDONED, false);
        give_result_up(slot, call);
        hold_release(slot, call);
        finish_runner_ends(g);
    }
    return rc;
}

/* ------------------------------------------------------------------- futures */

/* True if the result is there, of a future on the call. */
static bool is_ready(struct sflight_call *c)
{
    (void)orphan_check(c);
    return gate_is_open(&c->gate);
}

int async_poll(struct sflight_future *f, sflight_result *r)
{
    struct sflight_call *c = future_call(f);

    return is_ready(c) ? notify_take(thread_slot(c->group), f, r) : -EAGAIN;
}

/*
 * What keeps the group while this thread leaves the call: a joiner counts as one until it
 * has returned, the starter does not.
 */
static uint64_t leaving_begins(struct slot *slot, bool starter)
{
    if (starter)
        gauges_count(slot, COUNT_HELD);
    return starter ? STATE_STARTER : STATE_ASYNC;
}

/*
 * Stands in the frame of who leaves a call, which is left last: what is due when it has left
 * before the close, though a callback that was run then may not have returned.
 */
struct leaving {
    struct sflight_group *group; /* NULL: it has not left */
    uint64_t salt;               /* of the process in which that began */
    bool starter;
    struct sflight_future *retracted; /* what is taken back, or NULL */
    struct sflight_queue *queue;      /* where from, or NULL */
};

static void leaving_left(struct leaving *l)
{
    if (l->group == NULL)
        return;
    struct slot *slot = thread_slot_again(l->group);
    if (l->retracted != NULL)
        retract_end(slot, l->retracted);
    if (l->queue != NULL)
        queue_forgo(l->queue);
    gauges_count(slot, COUNT_FUTURES_LEFT);
    if (UNLIKELY(l->salt != process_salt())) {
        /* The callback has forked: in the child a future that waits for nothing has a result. */
        if (l->starter)
            hold_released_inherited(slot);
        gauges_count(slot, COUNT_RELEASED); /* the last touch */
    } else {
        gauges_count(slot, l->starter ? COUNT_RELEASED : COUNT_RETURNED); /* the last touch */
    }
}

/* It was too late: takes back what leaving_begins() did.  The future still keeps the group. */
static void leaving_fails(struct leaving *l, struct slot *slot)
{
    l->group = NULL;
    if (l->starter)
        gauges_count(slot, COUNT_RELEASED);
}

int async_drop(struct sflight_future *f)
{
    uintptr_t word = future_word(f);
    struct sflight_call *c = future_word_call(word);
    struct sflight_group *g = c->group;
    bool starter = word & FUTURE_STARTER, ready = is_ready(c);
    struct slot *slot = thread_slot(g);

    bool hung = (word & FUTURE_KIND) == FUTURE_OWNED;
    notify_end(slot, f);
    if (ready) {
        give_result_up(slot, c);
        return 0;
    }
    if (hung)
        list_sweep(slot, c);
    uint64_t unit = leaving_begins(slot, starter);
    struct leaving here __attribute__((cleanup(leaving_left))) = {
        .group = g, .salt = process_salt(), .starter = starter};
    enum wait_leave leave = wait_leave(slot, c, unit);
    if (leave != LEAVE_TOO_LATE)
        return leave == LEAVE_LAST;
    slot = thread_slot_again(g);
    leaving_fails(&here, slot);
    give_result_up(slot, c);
    return 0;
}

/* It was told as if nothing had been: takes it out again where it was put, if it is there. */
static bool withdraw(struct sflight_future *f)
{
    return future_kind(f) == FUTURE_QUEUED ? queue_withdraw(f->queued.to, f) : retract_callback(f);
}

/* In a forked child, of a call from before the fork, which is not the child's. */
static int cancel_inherited(struct sflight_future *f)
{
    struct sflight_call *c = future_call(f);

    if (withdraw(f)) {
        /* RACE: its call had ended before the fork, and it was told */
        struct slot *slot = thread_slot(c->group);
        future_free(slot, f);
        give_result_up(slot, c);
    }
    return 1; /* otherwise whoever led the call does not exist, and nobody tells */
}

int async_cancel(struct sflight_future *f)
{
    struct sflight_call *c = future_call(f);
    struct sflight_group *g = c->group;
    bool starter = future_starter(f);

    if (future_kind(f) != FUTURE_QUEUED && future_kind(f) != FUTURE_THEN)
        return -EINVAL;
    if (orphan_check(c))
        return cancel_inherited(f);
    struct slot *slot = thread_slot(g);
    struct sflight_queue *q = future_kind(f) == FUTURE_QUEUED ? f->queued.to : NULL;
    uint64_t unit = leaving_begins(slot, starter);
    struct leaving here __attribute__((cleanup(leaving_left))) = {
        .group = g, .salt = process_salt(), .starter = starter, .retracted = f, .queue = q};
    retract_begin(f);
    list_sweep(slot, c); /* of others: while this one keeps the call */
    if (wait_leave(slot, c, unit) != LEAVE_TOO_LATE)
        return 1;
    slot = thread_slot_again(g);
    if (!retract_undo(f)) {
        leaving_fails(&here, slot); /* RACE: passed by, by who has closed the call */
        future_free(slot, f);
        if (q != NULL)
            queue_forgo(q);
    } else if (withdraw(f)) {
        leaving_fails(&here, slot);
        future_free(slot, f);
    } else {
        leaving_fails(&here, slot); /* the last touch */
        return 0;                   /* RACE: another thread is about to bring it */
    }
    give_result_up(slot, c);
    return 1;
}

/* Is it certain that it is in no list? */
static ALWAYS_INLINE bool is_unhung(const struct sflight_future *f)
{
    return LIKELY(future_kind(f) == FUTURE_PLAIN && !orphan_inherited(future_call(f)));
}

/*
 * Before a future that is not is consumed: gives it up, and puts a new one in its place, with the
 * same claim.  Returns what is to be consumed, or NULL: there is no memory.
 */
static NOINLINE struct sflight_future *copied(struct sflight_future *f)
{
    (void)orphan_check(future_call(f));
    if (future_kind(f) == FUTURE_PLAIN)
        return f;
    struct slot *slot = thread_slot(future_call(f)->group);
    struct sflight_future *copy = future_new(slot, future_call(f), future_starter(f));
    if (copy == NULL)
        return NULL;
    future_hand_on(f, copy);
    notify_end(slot, f); /* there are never more of these than of those that wait */
    return copy;
}

/* Hangs a future up that stays its owner's, without a descriptor. */
static void hang_owned(struct sflight_future *f)
{
    struct joint *joint = f->joint;

    f->owned.fd = -1;
    notify_hang(f, FUTURE_OWNED, joint);
}

int async_fd(struct sflight_future *f)
{
    bool over = orphan_check(future_call(f));
    if (future_kind(f) == FUTURE_OWNED && f->owned.fd >= 0)
        return f->owned.fd;
    int fd = event_fd_new();
    if (fd < 0)
        return fd;
    if (future_kind(f) == FUTURE_PLAIN)
        hang_owned(f);
    notify_set_fd(f, fd);
    if (UNLIKELY(over))
        event_fd_set(fd); /* RACE: who was telling it at the fork does not exist here */
    return fd;
}

int async_then(struct sflight_future *f, void (*cb)(void *, int, sflight_result *), void *arg)
{
    if (!is_unhung(f) && (f = copied(f)) == NULL)
        return -ENOMEM;
    struct joint *joint = f->joint;
    f->then.cb = cb;
    f->then.arg = arg;
    notify_hang(f, FUTURE_THEN, joint);
    return 0;
}

/* The rare part of async_enqueue(). */
static NOINLINE int enqueue_copied(struct sflight_future *f, struct sflight_queue *q, uint64_t tag)
{
    if ((f = copied(f)) == NULL)
        return -ENOMEM;
    notify_enqueue(f, q, tag);
    return 0;
}

int async_enqueue(struct sflight_future *f, struct sflight_queue *q, uint64_t tag)
{
    if (UNLIKELY(!is_unhung(f)))
        return enqueue_copied(f, q, tag);
    notify_enqueue(f, q, tag);
    return 0;
}

int async_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    struct sflight_call *c = future_call(f);
    int rc = 0;

    if (!is_ready(c)) {
        struct agent *agent = agent_leading(c->group);
        if (agent != NULL)
            rc = agent_may_wait(agent, c, deadline);
        if (rc == -EDEADLK)
            gauges_count(thread_slot(c->group), COUNT_DEADLOCKS);
        if (rc == 0) {
            if (future_kind(f) == FUTURE_PLAIN)
                hang_owned(f);
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
