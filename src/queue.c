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

void queue_push(struct sflight_queue *q, struct sflight_future *oldest,
                struct sflight_future *newest)
{
    REQUIRE(future_kind(newest) == FUTURE_QUEUED && future_kind(oldest) == FUTURE_QUEUED);
    queue_enter(q);
    uintptr_t word = atomic_load_relaxed(&q->pushed); /* the CAS decides */
    bool signals = false;
    uintptr_t below;
    do {
        if (!(word & QUEUE_SIGNALLED) && !signals) {
            atomic_add_relaxed(&q->n_pushing, 1); /* what is pushed keeps the queue until then */
            signals = true;
        }
        below = word & ~QUEUE_SIGNALLED;
        below = below != 0 ? below | QUEUE_BELOW : 0;
        newest->next = (struct sflight_future *)below;
    } while (!atomic_cas_acq_rel(&q->pushed, &word,
                                 (uintptr_t)oldest | QUEUE_SIGNALLED |
                                     (below & QUEUE_BELOW))); /* [PUSH] [SIGNAL] */
    if (LIKELY(!signals))
        return;                    /* the queue may be gone */
    if (!(word & QUEUE_SIGNALLED)) /* otherwise somebody has signalled meanwhile */
        event_fd_set(q->fd);
    atomic_sub_release(&q->n_pushing, 1); /* [PUSHING] */
}

/* Puts the chain that was pushed last behind the one below it, and so on; returns the first. */
static struct sflight_future *turned_round(struct sflight_future *chain)
{
    struct sflight_future *all = NULL;

    while (chain != NULL) {
        struct sflight_future *last = chain;
        while (last->next != NULL && !((uintptr_t)last->next & QUEUE_BELOW))
            last = last->next;
        struct sflight_future *below =
            (struct sflight_future *)((uintptr_t)last->next & ~QUEUE_BELOW);
        last->next = all;
        all = chain;
        chain = below;
    }
    return all;
}

/* By the consumer: has something been pushed?  Then QUEUE_SIGNALLED is set, too. */
static bool is_pushed(struct sflight_queue *q)
{
    return (atomic_load_relaxed(&q->pushed) & ~QUEUE_SIGNALLED) != 0; /* who takes it looks again */
}

/* By the consumer: takes all that has been pushed, oldest first; NULL if there was nothing. */
static struct sflight_future *take_pushed(struct sflight_queue *q, uintptr_t leave)
{
    uintptr_t word = atomic_swap_acq_rel(&q->pushed, leave); /* [PUSH] [SIGNAL] */
    struct sflight_future *chain =
        (struct sflight_future *)(word & ~(QUEUE_BELOW | QUEUE_SIGNALLED));

    return word & QUEUE_BELOW ? turned_round(chain) : chain;
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
    if (d->cleared && d->q->ready != NULL && /* there is more than was asked for */
        !(atomic_or_relaxed(&d->q->pushed, QUEUE_SIGNALLED) & QUEUE_SIGNALLED)) /* one word */
        event_fd_set(d->q->fd);
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
        *at = is_pushed(q) ? take_pushed(q, QUEUE_SIGNALLED) : NULL;
        at = link_to(at, f);
    }
    if (*at == NULL)
        return false; /* RACE: told, and about to be pushed */
    *at = f->next;
    queue_forgo(q); /* the last touch */
    return true;
}

/*
 * Of those that come next, takes such as have the same word, of a joiner of a call whose result is
 * out[-1]: each gets that, at most n of them.  Returns how many.  No user code.
 */
static unsigned drain_same(struct sflight_queue *q, uintptr_t word, sflight_completion *out,
                           unsigned n)
{
    struct sflight_future *first = q->ready, *last = NULL, *f = first;
    struct sflight_call *call = future_word_call(word);
    sflight_completion done = out[-1];
    unsigned n_same = 0;

    for (; n_same < n && f != NULL && future_word(f) == word; f = f->next) {
        handle_delivered(f->handle, f, "sflight_queue_drain");
        done.tag = f->queued.tag;
        done.result.hold = call;
        hold_hand_out(&done.result);
        out[n_same++] = done;
        last = f;
    }
    if (last == NULL)
        return 0;
    struct slot *slot = thread_slot(call->group);
    q->ready = f;
    atomic_fence_compiler(); /* for a child that another thread forks */
    future_free_chain(slot, first, last, n_same);
    hold_take(slot, call, n_same);
    return n_same;
}

int queue_drain(struct sflight_queue *q, sflight_completion *out, unsigned n, bool goes_on)
{
    struct drain d __attribute__((cleanup(drain_ends))) = {.q = q};
    unsigned n_out = 0;
    bool has_some = goes_on;

    while (n_out < n) {
        struct sflight_future *f = q->ready;
        if (f == NULL) {
            if (is_pushed(q)) {
                q->ready = take_pushed(q, QUEUE_SIGNALLED);
                continue;
            }
            if (has_some || d.cleared)
                break; /* what comes later finds the descriptor as it is */
            event_fd_clear(q->fd);
            d.cleared = true;
            q->ready = take_pushed(q, 0); /* what came before it */
            continue;
        }
        uintptr_t word = future_word(f);
        if (has_some && UNLIKELY(hold_delivers_none(future_word_call(word))))
            break; /* destroy may be left: who has been given something is to know of it */
        has_some = true;
        q->ready = f->next;
        d.n_popped++;
        sflight_completion *done = &out[n_out++];
        done->tag = f->queued.tag;
        done->rc = future_take(f, &done->result);
        if (LIKELY(done->rc == 0 && !(word & FUTURE_STARTER))) {
            unsigned n_same = drain_same(q, word, done + 1, n - n_out);
            n_out += n_same;
            d.n_popped += n_same;
        }
    }
    return (int)n_out;
}
