/* SPDX-License-Identifier: BSD-2-Clause */
/* See future.h for the states. */
#include "future.h"

#include "call_path.h"
#include "event_fd.h"
#include "futex.h"
#include "queue.h"

#include <pthread.h>

enum { IDLE, HUNG, HUNG_FD, TELLING, TOLD, GONE };

/* ------------------------------------------------------------------ memory */

struct sflight_future *future_new(struct slot *slot, struct sflight_call *call, bool starter)
{
    struct sflight_future *f = slot->spare_futures;

    if (LIKELY(f != NULL)) {
        slot->spare_futures = f->next;
        slot->n_spare_futures--;
    } else {
        f = alloc_get(&slot->group->alloc, sizeof(*f), _Alignof(max_align_t));
        if (f == NULL)
            return NULL;
    }
    f->call = call;
    atomic_store_relaxed(&f->state, IDLE); /* published by [HANG] */
    f->kind = FUTURE_PLAIN;
    f->starter = starter;
    return f;
}

void future_free(struct slot *slot, struct sflight_future *f)
{
    if (UNLIKELY(slot->n_spare_futures >= slot->max_spare_futures)) {
        alloc_put(&slot->group->alloc, f, sizeof(*f));
        return;
    }
    f->next = slot->spare_futures;
    slot->spare_futures = f;
    slot->n_spare_futures++;
}

void future_free_list(struct alloc *alloc, struct sflight_future *list)
{
    while (list != NULL) {
        struct sflight_future *f = list;
        list = f->next;
        alloc_put(alloc, f, sizeof(*f));
    }
}

/* Its owner has no more use for it, or it has been told. */
static void future_end(struct slot *slot, struct sflight_future *f)
{
    if (f->kind == FUTURE_OWNED) {
        int fd = f->fd;
        uint32_t state = atomic_swap_acq_rel(&f->state, GONE); /* [TELL] */
        if (state == TELLING)
            return; /* the teller closes and frees it */
        if (fd >= 0)
            event_fd_close(fd);
        if (state != TOLD)
            return; /* it stays in the list: the teller frees it */
    }
    future_free(slot, f);
}

/* ------------------------------------------------------------------ claims */

static bool future_ready(struct sflight_future *f)
{
    return atomic_load_acquire(&f->call->gate) & GATE_OPEN; /* [PUB-RESULT] */
}

int future_poll(struct sflight_future *f, sflight_result *r)
{
    return future_ready(f) ? future_take(f, r) : -EAGAIN;
}

int future_take(struct sflight_future *f, sflight_result *r)
{
    struct sflight_call *c = f->call;
    struct slot *slot = thread_slot(c->group);
    bool leader = f->starter;

    future_end(slot, f);
    return call_deliver(slot, c, leader, r);
}

void future_drop(struct sflight_future *f)
{
    struct sflight_call *c = f->call;
    struct slot *slot = thread_slot(c->group);
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
        slot_count(slot, leave == LEAVE_LEFT ? COUNT_RETURNED : COUNT_RELEASED);
}

/* ------------------------------------------------------------------ telling */

/* Wakes a thread in future_get(), and makes the descriptor readable. */
static void tell_owner(struct sflight_future *f)
{
    uint32_t *word = (uint32_t *)(void *)&f->state;
    uint32_t state = atomic_load_acquire(&f->state); /* [TELL] */

    while (state != GONE) {
        bool readable = state == HUNG_FD;
        if (!atomic_cas_acq_rel(&f->state, &state, TELLING)) /* [TELL] */
            continue;
        if (readable)
            event_fd_set(f->fd);
        state = TELLING;
        if (atomic_cas_acq_rel(&f->state, &state, TOLD)) { /* [TELL] */
            futex_wake(word, 1); /* an address: the future may have gone */
            return;
        }
        if (f->fd >= 0)
            event_fd_close(f->fd);
    }
    future_free(thread_slot(f->call->group), f); /* its owner has gone */
}

/*
 * Callbacks may end calls, whose callbacks may end calls: they are run one
 * after the other by the outermost, not inside one another.  The thread may be
 * anybody's: a cancellation waits until all have run.
 */
static void run_callbacks(void)
{
    int cancel_state;

    if (thread_self.in_callback || thread_self.callbacks == NULL)
        return;
    thread_self.in_callback = true;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    while (thread_self.callbacks != NULL) {
        struct sflight_future *f = thread_self.callbacks;
        sflight_result r;
        thread_self.callbacks = f->next;
        if (thread_self.callbacks == NULL)
            thread_self.last_callback = &thread_self.callbacks;
        void (*cb)(void *, int, sflight_result *) = f->then.cb;
        void *arg = f->then.arg;
        int rc = future_take(f, &r);
        cb(arg, rc, &r);
    }
    thread_self.in_callback = false;
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
}

static void add_callback(struct sflight_future *f)
{
    if (thread_self.callbacks == NULL)
        thread_self.last_callback = &thread_self.callbacks;
    f->next = NULL;
    *thread_self.last_callback = f;
    thread_self.last_callback = &f->next;
}

void future_tell(struct sflight_future *list)
{
    struct sflight_future *callbacks = NULL;

    /*
     * Entries of a queue that stand together go there together, newest first,
     * which is how the queue keeps them.
     */
    while (list != NULL) {
        struct sflight_future *f = list, *last = f;
        list = f->next;
        switch (f->kind) {
        case FUTURE_QUEUED:
            while (list != NULL && list->kind == FUTURE_QUEUED && list->queued.to == f->queued.to) {
                last = list;
                list = list->next;
            }
            queue_push(f->queued.to, f, last);
            break;
        case FUTURE_THEN:
            f->next = callbacks; /* turns the order round: what came first goes first */
            callbacks = f;
            break;
        default:
            tell_owner(f);
        }
    }
    while (callbacks != NULL) {
        struct sflight_future *next = callbacks->next;
        add_callback(callbacks);
        callbacks = next;
    }
    run_callbacks();
}

uint32_t future_list_alone(struct sflight_future *list, struct sflight_future **unowned)
{
    uint32_t n_consumed = 0;

    while (list != NULL) {
        struct sflight_future *f = list;
        bool owned = f->kind == FUTURE_OWNED;
        list = f->next;
        if (owned && atomic_load_relaxed(&f->state) != GONE) { /* alone in the child */
            atomic_store_relaxed(&f->state, TOLD);
            continue;
        }
        if (f->kind == FUTURE_QUEUED)
            queue_expect_less(f->queued.to);
        n_consumed += !owned;
        f->next = *unowned;
        *unowned = f;
    }
    return n_consumed;
}

/* Hangs a future up; if it is too late for that, tells it at once. */
static void future_hang(struct sflight_future *f, enum future_kind kind)
{
    struct sflight_call *c = f->call;

    f->kind = (unsigned char)kind;
    atomic_store_relaxed(&f->state, HUNG); /* published by [HANG] */
    struct sflight_future *first = atomic_load_acquire(&c->waiters);
    do {
        if (first == WAITERS_TOLD) { /* [NOTIFY] */
            f->next = NULL;
            future_tell(f);
            return;
        }
        f->next = first;
    } while (!atomic_cas_acq_rel(&c->waiters, &first, f)); /* [HANG] [NOTIFY] */
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
    f->fd = -1;
    future_hang(f, FUTURE_OWNED);
}

int future_fd(struct sflight_future *f)
{
    if (f->kind == FUTURE_OWNED && f->fd >= 0)
        return f->fd;
    int fd = event_fd_new();
    if (fd < 0)
        return fd;
    if (f->kind == FUTURE_PLAIN)
        future_own(f);
    f->fd = fd;
    uint32_t state = HUNG;
    if (!atomic_cas_acq_rel(&f->state, &state, HUNG_FD)) /* [TELL] */
        event_fd_set(fd); /* it has been, or is being, told without one */
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

/* Waits until the future is told.  0 or -ETIMEDOUT. */
static int future_park(struct sflight_future *f, const struct timespec *deadline)
{
    int rc = 0;
    for (;;) {
        uint32_t state = atomic_load_acquire(&f->state); /* [TELL] */
        if (state == TOLD)
            return 0;
        if (rc != 0)
            return rc;
        rc = futex_wait((uint32_t *)(void *)&f->state, state, deadline);
    }
}

int future_get(struct sflight_future *f, const struct timespec *deadline, sflight_result *r)
{
    struct sflight_call *c = f->call;
    struct slot *slot = thread_slot(c->group);
    int rc = 0;

    if (!future_ready(f)) {
        bool leads = thread_self.leading != NULL;
        if (leads && !thread_may_wait(c)) {
            slot_count(slot, COUNT_DEADLOCKS);
            rc = -EDEADLK;
        } else {
            if (f->kind == FUTURE_PLAIN)
                future_own(f);
            slot_count(slot, COUNT_PARKED);
            rc = future_park(f, deadline);
            if (leads)
                thread_waited();
        }
    }
    if (rc != 0) {
        memset(r, 0, sizeof(*r));
        return rc;
    }
    return future_take(f, r);
}
