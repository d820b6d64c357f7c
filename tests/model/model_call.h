/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads, sections and memory for harnesses that include the calls' own rooms, from table.c to
 * wait.c.
 *
 * A section is what ck's is in principle: a flag of the thread, and a full
 * fence behind it.  Whoever retires a record waits until it has seen nobody in
 * a section and then really frees it, so that the checker complains of every
 * later access, and of each earlier one that nothing orders before it.
 *
 * With MODEL_LIMBO what is retired waits in its slot's limbo instead, as in src/reclaim.h, and a
 * poll that sees nobody in a section gives all of it back, to be a spare record or to be freed.
 */
#ifndef MODEL_CALL_H
#define MODEL_CALL_H

#include "model_futex.h"

#ifndef MODEL_THREADS
#define MODEL_THREADS 3
#endif

/* A lock is a mutex here: nobody forks. */
#define SFLIGHT_LOCK_H
struct lock {
    pthread_mutex_t mutex;
};
static inline void lock_take(struct lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}
static inline bool lock_try(struct lock *lock)
{
    (void)lock;
    return false;
}
static inline void lock_give(struct lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

struct sflight_call;
struct sflight_group;
struct slot;

struct agent {
    struct sflight_call *leading;
    struct batch *batches;
    void *fiber;
};

struct thread_frame {
    struct thread_frame *outer;
    struct sflight_future *first, **last;
    int cancel_state;
    const struct sflight_call *telling;
};

struct thread {
    struct agent agent;
    struct slot *slots;
    struct thread_frame *frames;
    bool bare;
    uint64_t salt;
    unsigned hint; /* index in the arrays below */
    struct lane *lane;
};

static _Thread_local struct thread *model_self;
#define thread_self (*model_self)
#define thread_words (*model_self)

static inline struct thread_frame *thread_callbacks(void)
{
    struct thread_frame *frame = thread_words.frames;
    while (frame != NULL && frame->last == NULL)
        frame = frame->outer;
    return frame;
}

struct lane;
struct reclaim_entry {
    struct reclaim_entry *next;
};
struct reclaim_limbo {
    struct reclaim_entry *first, *last;
    unsigned n_unpolled, n;
};
enum { RECLAIM_POLL_EVERY = 1 };

static _Atomic(int) model_in_section[MODEL_THREADS];

static struct lane *reclaim_enter(struct lane *lane)
{
    (void)lane;
    atomic_store_relaxed(&model_in_section[thread_self.hint], 1);
    atomic_fence_seq_cst();
    return (struct lane *)&model_in_section[thread_self.hint];
}

static void reclaim_leave(struct lane *lane)
{
    (void)lane;
    atomic_store_release(&model_in_section[thread_self.hint], 0);
}

static void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry);

static struct reclaim_entry *reclaim_take_unseen(struct reclaim_limbo *limbo)
{
    struct reclaim_entry *entry = limbo->first;

    if (entry != NULL) {
        limbo->first = entry->next;
        limbo->n--;
    }
    return entry;
}

/* Whether there was a moment at which each thread was out of any section, since it was called. */
static unsigned reclaim_poll(struct lane *lane)
{
    (void)lane;
    atomic_fence_seq_cst();
    for (int i = 0; i < MODEL_THREADS; i++)
        if (atomic_load_acquire(&model_in_section[i]) != 0)
            return 0;
    return 1;
}

static struct reclaim_entry *reclaim_take(struct reclaim_limbo *limbo, unsigned polled)
{
    return polled ? reclaim_take_unseen(limbo) : NULL;
}

static void reclaim_limbo_after_fork(struct reclaim_limbo *limbo)
{
    (void)limbo;
}

#include "group.h"

union process_page process_page = {.salt = UINT64_C(1) << 40, .generation = 256, .noticing = 2};
void process_notice(void) {}

static struct thread model_thread[MODEL_THREADS];
static struct slot model_slot[MODEL_THREADS];
static struct sflight_group group;

static struct slot *thread_slot(struct sflight_group *g)
{
    (void)g;
    return &model_slot[thread_self.hint];
}

static struct slot *thread_slot_cached(struct sflight_group *g)
{
    return thread_slot(g);
}

static struct slot *thread_slot_again(struct sflight_group *g)
{
    return thread_slot(g);
}

static struct slot *thread_slot_if_moved(struct slot *slot)
{
    return slot;
}

static int agent_may_wait(struct agent *agent, struct sflight_call *call,
                          const struct timespec *deadline)
{
    (void)agent, (void)call, (void)deadline;
    return 0;
}

static void agent_waited(struct agent *agent)
{
    (void)agent;
}

static void agent_unseen(void) {}

static void agent_leads(struct agent *agent)
{
    (void)agent;
}

static struct agent *agent_enter(struct agent *own, struct sflight_group *g)
{
    (void)own, (void)g;
    return &thread_self.agent;
}

static void agent_leave(struct agent *own)
{
    (void)own;
}

void *alloc_get(struct alloc *a, size_t size, size_t align)
{
    (void)a;
    /* The low bits of a node's address are free.  The checker wants a multiple, as C11 does. */
    return aligned_alloc(align, (size + align - 1) / align * align);
}

struct alloc alloc_process;
static _Atomic(int) model_n_put;

void alloc_put(struct alloc *a, void *ptr, size_t size)
{
    (void)a, (void)size;
    free(ptr);
    atomic_add_relaxed(&model_n_put, 1);
}

#include "../../src/joint.c"    /* not the harness */
#include "../../src/remember.c" /* nor this one */
#include "call.c"
#include "key.c"

#ifndef MODEL_NOTIFY
/* As notify.c has it, where nobody is hung up. */
void notify_nudge(struct sflight_call *c)
{
    gate_nudge(&c->gate);
}
#endif

#define pthread_setcancelstate(state, old) (*(old) = 0)
#ifndef PTHREAD_CANCEL_DISABLE
#define PTHREAD_CANCEL_DISABLE 1
#endif

#include "finish.c"
#include "gate.c"
#include "hold.c"
#include "join.c"
#include "lead.c"
#include "rivals.c"
#include "shard.c"
#include "table.c"
#include "wait.c"

static _Atomic(int) model_n_freed;

#ifdef MODEL_LIMBO
static void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry)
{
    entry->next = NULL;
    if (limbo->first == NULL)
        limbo->first = entry;
    else
        limbo->last->next = entry;
    limbo->last = entry;
    limbo->n++;
    limbo->n_unpolled++;
}
#else
/* Frees it at once: nothing ever waits in a limbo. */
static void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry)
{
    (void)limbo;
    atomic_fence_seq_cst();
    for (int i = 0; i < MODEL_THREADS; i++)
        model_await(atomic_load_acquire(&model_in_section[i]) == 0);
    free(container_of(entry, struct sflight_call, retired));
    atomic_add_relaxed(&model_n_freed, 1);
}
#endif

/* ----------------------------------------------------------- set up */

static struct shard model_shard;

static struct bucket_array *model_array(size_t n, struct bucket_array *older)
{
    struct bucket_array *a = malloc(sizeof(*a));
    a->buckets = aligned_alloc(SHARD_ALIGN, SHARD_ALIGN);
    a->mask = n - 1;
    a->previous = older;
    atomic_store_relaxed(&a->older, older);
    atomic_store_relaxed(&a->n_drained, 0);
    atomic_store_relaxed(&a->sweep, 0);
    for (size_t i = 0; i < n; i++)
        atomic_store_relaxed(&a->buckets[i], 0);
    return a;
}

/* By main(), before anything else: a group with one bucket, and main as thread 0. */
static void model_init(void)
{
    atomic_store_relaxed(&group.salt, process_salt());
    group.table.shards = &model_shard;
    atomic_store_relaxed(&model_shard.newest, model_array(1, NULL));
    shard_settle(&model_shard);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        model_thread[i].hint = i;
        model_slot[i].group = &group;
        model_slot[i].max_spare = SLOT_SPARES;
    }
    model_self = &model_thread[0];
}

/* By every other thread. */
static struct slot *model_enter(unsigned i)
{
    model_self = &model_thread[i];
    return &model_slot[i];
}

static uint64_t model_count(enum counter which)
{
    uint64_t n = 0;
    for (int i = 0; i < MODEL_THREADS; i++)
        n += atomic_load_relaxed(&model_slot[i].counters.n[which]);
    return n;
}

/* At the end: everything that was counted up has been counted down. */
static void model_check_counters(void)
{
    assert(model_count(COUNT_LED) == model_count(COUNT_ENDED));
    assert(model_count(COUNT_SEARCHES) == model_count(COUNT_SEARCHES_ENDED));
    assert(model_count(COUNT_JOINED) == model_count(COUNT_RETURNED));
    assert(model_count(COUNT_ENDED) + model_count(COUNT_HELD) + model_count(COUNT_CLAIMED) ==
           model_count(COUNT_RELEASED));
}

#endif
