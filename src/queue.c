/* SPDX-License-Identifier: BSD-2-Clause */
/* See queue.h for the picture. */
#include "queue.h"

#include "cpu.h"
#include "event_fd.h"

#include <errno.h>
#include <string.h>

int queue_create(struct sflight_queue **out)
{
    struct sflight_queue *q = alloc_get(&alloc_process, sizeof(*q), CACHE_LINE);
    if (q == NULL)
        return -ENOMEM;
    memset((void *)q, 0, sizeof(*q));
    int fd = event_fd_new();
    if (fd < 0) {
        alloc_put(&alloc_process, q, sizeof(*q));
        return fd;
    }
    q->fd = fd;
    atomic_store_relaxed(&q->salt, process_salt_now()); /* nobody else yet */
    *out = q;
    return 0;
}

/* In a forked child, at its first use: nobody else is in the middle of a push. */
static NOINLINE void queue_put_right(struct sflight_queue *q)
{
    uint64_t salt = process_salt_now();

    registry_lock();
    if (atomic_load_relaxed(&q->salt) != salt) { /* ordered by the lock */
        atomic_store_relaxed(&q->n_pushing, 0);
        atomic_store_release(&q->salt, salt); /* [PROCESS] */
    }
    registry_unlock();
    group_put_all_right(); /* what was enqueued and will not come is expected no more */
}

static inline void queue_enter(struct sflight_queue *q)
{
    if (UNLIKELY(atomic_load_acquire(&q->salt) != process_salt())) /* [PROCESS] */
        queue_put_right(q);
}

int queue_destroy(struct sflight_queue *q)
{
    queue_enter(q);
    /* What has been drained is known to have been enqueued. */
    uint64_t n_out = atomic_load_acquire(&q->n_drained); /* [GAUGE] */
    for (unsigned i = 0; i < STRIPES; i++) {
        n_out -= atomic_load_relaxed(&q->enqueued[i].n_by_owner);
        n_out -= atomic_load_relaxed(&q->enqueued[i].n_by_others);
    }
    if (n_out != 0)
        return -EBUSY;
    unsigned n_turns = 0;
    while (atomic_load_acquire(&q->n_pushing) != 0) /* [PUSHING] */
        cpu_back_off(&n_turns);                     /* RACE: about to write the descriptor */
    event_fd_close(q->fd);
    alloc_put(&alloc_process, q, sizeof(*q));
    return 0;
}

int queue_fd(const struct sflight_queue *q)
{
    return q->fd;
}

void queue_expect_less(struct sflight_queue *q)
{
    atomic_sub_relaxed(&q->enqueued[0].n_by_others, 1); /* the word may fall below 0, not the sum */
}

/* Makes the descriptor readable, unless somebody has done so, or is about to. */
static void signal_consumer(struct sflight_queue *q)
{
    if (!atomic_swap_acquire(&q->signalled, true)) /* [SIGNAL] */
        event_fd_set(q->fd);
}

void queue_push(struct sflight_queue *q, struct sflight_future *newest,
                struct sflight_future *oldest)
{
    REQUIRE(future_kind(newest) == FUTURE_QUEUED && future_kind(oldest) == FUTURE_QUEUED);
    queue_enter(q);
    atomic_add_relaxed(&q->n_pushing, 1); /* what is pushed keeps the queue until then */
    struct sflight_future *first = atomic_load_relaxed(&q->pushed); /* the CAS decides */
    do {
        oldest->next = first;
    } while (!atomic_cas_acq_rel(&q->pushed, &first, newest)); /* [PUSH] [SIGNAL] */
    if (first == NULL)
        signal_consumer(q);
    atomic_sub_release(&q->n_pushing, 1); /* [PUSHING] */
}

/* By the consumer, which has found nothing, before it looks once more. */
static void clear_signal(struct sflight_queue *q)
{
    event_fd_clear(q->fd);
    atomic_store_release(&q->signalled, false); /* [SIGNAL] */
}

/* Takes what has been pushed into q->ready, oldest first; false if there was nothing. */
static bool refill(struct sflight_queue *q)
{
    struct sflight_future *list = atomic_swap_acq_rel(&q->pushed, NULL); /* [PUSH] [SIGNAL] */
    bool any = list != NULL;

    while (list != NULL) { /* q->ready is empty */
        struct sflight_future *next = list->next;
        list->next = q->ready;
        q->ready = list;
        list = next;
    }
    return any;
}

/*
 * Stands in queue_drain()'s frame, for what is due however that ends: delivering a result may
 * destroy a value, and destroy may not return.
 */
struct drain {
    struct sflight_queue *q;
    unsigned n_popped;
    bool cleared;
};

static void drain_ends(struct drain *d)
{
    if (d->cleared && d->q->ready != NULL)
        signal_consumer(d->q);                               /* there is more than was asked for */
    atomic_add_single_writer(&d->q->n_drained, d->n_popped); /* the last use of q [GAUGE] */
}

void queue_forgo(struct sflight_queue *q)
{
    atomic_add_single_writer(&q->n_drained, 1); /* [GAUGE] */
}

/* The link that points to it, in a list. */
static struct sflight_future **link_to(struct sflight_future **at, const struct sflight_future *f)
{
    while (*at != NULL && *at != f)
        at = &(*at)->next;
    return at;
}

bool queue_withdraw(struct sflight_queue *q, struct sflight_future *f)
{
    struct sflight_future **at = link_to(&q->ready, f);

    if (*at == NULL) {
        /* The descriptor is left as it is, so that it tells of these as before. */
        struct sflight_future *kept = q->ready;
        q->ready = NULL;
        (void)refill(q);
        *link_to(&q->ready, NULL) = kept;
        at = link_to(&q->ready, f);
    }
    if (*at == NULL)
        return false; /* RACE: told, and about to be pushed */
    *at = f->next;
    queue_forgo(q); /* the last touch */
    return true;
}

int queue_drain(struct sflight_queue *q, sflight_completion *out, unsigned n, bool goes_on)
{
    struct drain d __attribute__((cleanup(drain_ends))) = {.q = q};
    struct sflight_call *call = NULL; /* of the one before, if that has been a follower's */
    struct slot *slot = NULL;
    unsigned n_out = 0;

    while (n_out < n) {
        struct sflight_future *f = q->ready;
        if (f == NULL) {
            if (refill(q))
                continue;
            if (n_out != 0 || goes_on || d.cleared)
                break;
            clear_signal(q);
            d.cleared = true;
            continue; /* what came before the signal was cleared */
        }
        q->ready = f->next;
        d.n_popped++;
        sflight_completion *done = &out[n_out++];
        done->tag = f->queued.tag;
        if (LIKELY(future_call(f) == call && !future_starter(f))) {
            done->rc = 0;
            future_take_same(slot, f, &done[-1].result, &done->result);
            continue;
        }
        call = future_starter(f) ? NULL : future_call(f);
        done->rc = future_take(f, &done->result);
        if (LIKELY(call != NULL && done->rc == 0))
            slot = thread_slot(call->group);
        else
            call = NULL;
    }
    return (int)n_out;
}
