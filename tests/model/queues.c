/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The completion queue: src/queue.c as it is.  Two producers push a completion each
 * (-DCHAIN: one of them pushes two at once), the consumer drains one at a time
 * whenever the descriptor is readable (-DEAGER: and once before that), and destroys the queue when
 * it has all.
 *   - it gets all of them, filled in [PUSH], and is told of each ([SIGNAL];
 *     -DLIVE);
 *   - all are counted, so that it can be destroyed;
 *   - nobody writes the descriptor once it has been closed, or touches the queue
 *     once it has been freed [PUSHING].
 */
#include "model.h"

#define STRIPES 1

/* Each member by itself: the checker wants each always accessed in one size. */
#undef memset
#define memset(p, v, n)                                                                            \
    do {                                                                                           \
        struct sflight_queue *zeroed = (p);                                                        \
        atomic_store_relaxed(&zeroed->pushed, 0);                                                  \
        atomic_store_relaxed(&zeroed->n_pushing, 0);                                               \
        atomic_store_relaxed(&zeroed->n_drained, 0);                                               \
        atomic_store_relaxed(&zeroed->enqueued[0].n_by_owner, 0);                                  \
        atomic_store_relaxed(&zeroed->enqueued[0].owner, NULL);                                    \
        atomic_store_relaxed(&zeroed->enqueued[0].n_by_others, 0);                                 \
        zeroed->ready = NULL;                                                                      \
    } while (0)

#include "../include/singleflight.h"

#define SFLIGHT_EVENT_FD_H
/* What is pushed, as far as a queue knows it. */
#define SFLIGHT_FUTURE_H
enum { FUTURE_QUEUED = 4 };
struct sflight_call {
    void *group;
};
struct sflight_future {
    struct sflight_call *call;
    struct sflight_future *next;
    struct {
        struct sflight_queue *to;
        uint64_t tag;
    } queued;
};
#define FUTURE_STARTER ((uintptr_t)8)
#define future_word(f) ((uintptr_t)(f)->call)
#define future_word_call(word) ((struct sflight_call *)(word))

static struct thread {
    unsigned hint;
    bool bare;
} model_thread[2];
static _Thread_local struct thread *model_self;
#define thread_self (*model_self)

#define process_salt() process_salt_now()
static uint64_t process_salt_now(void)
{
    return 1; /* nobody forks */
}

static void registry_lock(void) {}
static void registry_unlock(void) {}

struct alloc {
    int unused;
};
static struct alloc alloc_process;

static void *alloc_get(struct alloc *a, size_t size, size_t align)
{
    (void)a, (void)align;
    return malloc(size);
}

static void alloc_put(struct alloc *a, void *ptr, size_t size)
{
    (void)a, (void)size;
    free(ptr);
}

/* The kernel's own order: each is one step under a lock. */
static _Atomic(int) fd_readable;
static _Atomic(int) fd_closed;

static int event_fd_new(void)
{
    return 7;
}

static void event_fd_set(int fd)
{
    (void)fd;
    assert(!atomic_load_relaxed(&fd_closed));
    atomic_swap_acq_rel(&fd_readable, 1);
}

static void event_fd_clear(int fd)
{
    (void)fd;
    atomic_swap_acq_rel(&fd_readable, 0);
}

static void event_fd_close(int fd)
{
    (void)fd;
    atomic_store_relaxed(&fd_closed, 1);
}

#ifdef CHAIN
enum { ALL = 3 };
#else
enum { ALL = 2 };
#endif

static int future_take(struct sflight_future *f, sflight_result *r)
{
    /* Member by member, as above. */
    r->value = NULL;
    r->size = 0;
    r->status = (int)f->queued.tag;
    r->leader = false;
    r->shared = true;
    r->followers = ALL;
    r->hold = f->call;
    return 0;
}

/* One at a time is drained: each is the first of its call. */
#define thread_slot(group) ((void)(group), NULL)
#define hold_hand_out(r) ((void)(r))
#define hold_delivers_none(call) ((void)(call), false)
#define handle_delivered(handle, record, by) ((void)0)

static void future_free_chain(struct slot *slot, struct sflight_future *first,
                              struct sflight_future *last, unsigned n)
{
    (void)slot, (void)first, (void)last, (void)n;
    assert(false);
}

static void hold_take(struct slot *slot, struct sflight_call *c, uint32_t n)
{
    (void)slot, (void)c, (void)n;
    assert(false);
}

#include "queue.c"

static struct sflight_call call;
static struct sflight_future futures[ALL];
static struct sflight_queue *q;

static void fill(int i)
{
    queue_expect(q);
    futures[i].call = &call;
    futures[i].queued.to = q;
    futures[i].queued.tag = (uint64_t)(i + 1);
}

static void *producer(void *arg)
{
    int i = arg != NULL;

    model_self = &model_thread[i];
    fill(i);
    futures[i].next = NULL;
    if (i == 1 && ALL == 3) {
        fill(2);
        futures[1].next = &futures[2];
        queue_push(q, &futures[1], &futures[2]);
    } else {
        queue_push(q, &futures[i], &futures[i]);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[2];
    unsigned seen = 0;
    int n = 0;
    bool asked = false;

    assert(queue_create(&q) == 0);
    pthread_create(&threads[0], NULL, producer, NULL);
    pthread_create(&threads[1], NULL, producer, (void *)1);
    while (n < ALL) {
        sflight_completion done;
#ifdef EAGER
        if (n != 0 || asked)
#endif
            model_await(atomic_load_acquire(&fd_readable));
        bool first = !asked;
        (void)first;
        asked = true;
        int taken = queue_drain(q, &done, 1, false);
#if defined(CHAIN)
        REACHED(q->ready != NULL); /* more than was asked for */
#elif defined(EAGER)
        REACHED(first && taken != 0); /* it had not waited to be told */
#endif
        if (taken == 0)
            continue;
        assert(done.rc == 0 && done.tag == (uint64_t)done.result.status);
        assert(!(seen & (1u << done.tag)));
        seen |= 1u << done.tag;
        n++;
    }
#if !defined(CHAIN) && !defined(EAGER)
    REACHED(atomic_load_relaxed(&q->n_pushing) != 0);
#endif
    assert(queue_destroy(q) == 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    return 0;
}
