/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A future against the end of its call: src/future.c, call.c, table.c and park.c as
 * they are.  Thread 1 has joined before the threads start; thread 0 ends the call.
 * What thread 1 does with its future meanwhile:
 *
 *   -DCASE=1  waits for it
 *   -DCASE=2  asks for its descriptor, and drops it
 *   -DCASE=3  gives it to a callback
 *   -DCASE=4  waits until a deadline, and then drops it
 *   -DCASE=5  gives it to a queue
 *   -DCASE=6  gives it to a queue, and takes it back
 *   -DCASE=7  has asked for its descriptor, and drops it; another one, with a callback, stays
 *
 *   - who waits is woken, and who is to be told is told, once ([HANG], [NOTIFY],
 *     [TELL]; -DLIVE);
 *   - the future is filled in when it is told [HANG], and given back once;
 *   - its descriptor is closed once, and not written after that [TELL];
 *   - what is taken back does not come, and what is not does [TAKE-BACK];
 *   - what is dropped is taken out of the list, or told, and not both [SWEEP];
 *   - the value is destroyed once, the record freed once, and the counters balance.
 */
#define MODEL_THREADS 2
#define FUTEX_WORD uint32_t
#define MODEL_NOTIFY
#define SWEEP_AT_LEAST 1
#include "model_call.h"

#include "queue.h"

#define SFLIGHT_EVENT_FD_H
#define SFLIGHT_SPAWN_H

/* A whole struct behind a pointer: word by word. */
#undef memset
#define memset(p, v, n) model_zero((p), (n))
#ifndef CASE
#define CASE 1
#endif

static struct sflight_call *call;
static struct sflight_future *future;
static int value;
static _Atomic(struct sflight_future *) pushed;
static _Atomic(int) n_destroyed, n_told, fd_made, fd_set, fd_closed;

static int event_fd_new(void)
{
    atomic_add_relaxed(&fd_made, 1);
    return 7;
}

static void event_fd_set(int fd)
{
    assert(fd == 7 && atomic_load_relaxed(&fd_closed) == 0);
    atomic_store_relaxed(&fd_set, 1);
}

static void event_fd_close(int fd)
{
    assert(fd == 7 && atomic_add_relaxed(&fd_closed, 1) == 0);
}

static int spawn_thread(void *(*main)(void *), void *arg)
{
    (void)main, (void)arg;
    return -EAGAIN;
}

struct agent *agent_leading(struct sflight_group *g)
{
    (void)g;
    return NULL;
}

static struct sflight_queue queue;

/* The checker knows no swap of pointers that it could not follow; queue.c has its own harness. */
void queue_push(struct sflight_queue *q, struct sflight_future *oldest,
                struct sflight_future *newest)
{
    sflight_result r;

    assert(q == &queue && newest == oldest && newest->queued.tag == 3);
#if CASE == 6
    /* Its consumer is the canceller, which looks for it there. */
    atomic_store_release(&pushed, newest);
    return;
#endif
    atomic_add_relaxed(&n_told, 1);
    assert(future_take(newest, &r) == 0);
    assert(*(int *)r.value == 42);
    hold_release(thread_slot(&group), r.hold);
}

static int n_forgone;
static sflight_result drained;

void queue_forgo(struct sflight_queue *q)
{
    (void)q;
    n_forgone++;
}

bool queue_withdraw(struct sflight_queue *q, struct sflight_future *f)
{
    if (atomic_load_acquire(&pushed) != f)
        return false;
    atomic_store_relaxed(&pushed, NULL);
    queue_forgo(q);
    return true;
}

#include "async.c"
#include "callback.c"
#include "future.c"
#include "list.c"
#include "notify.c"
#include "retract.c"
#include "unwanted.c"

static void destroy(void *v, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    assert(*(int *)v == 42);
    *(int *)v = 0;
    atomic_add_relaxed(&n_destroyed, 1);
}

static void use(sflight_result *r)
{
    assert(*(int *)r->value == 42);
    hold_release(thread_slot(&group), r->hold);
}

static void called_back(void *arg, int rc, sflight_result *r)
{
    assert(arg == &value && rc == 0);
    assert(CASE != 7 || thread_self.hint == 0);
    atomic_add_relaxed(&n_told, 1);
    use(r);
}

static void *owner(void *unused)
{
    sflight_result r;

    (void)unused, (void)r, (void)called_back;
    model_enter(1);
#if CASE == 1
    assert(async_get(future, NULL, &r) == 0);
    use(&r);
    REACHED(atomic_load_relaxed(&futex_n_queued) != 0);
#elif CASE == 2
    assert(async_fd(future) == 7);
    bool ready = is_ready(future_call(future));
    assert(ready || !ready);
    REACHED(atomic_load_relaxed(&fd_set));
    async_drop(future);
#elif CASE == 3
    assert(async_then(future, called_back, &value) == 0);
    REACHED(atomic_load_relaxed(&n_told) == 0);
#elif CASE == 4
    static const struct timespec some_time;
    int rc = async_get(future, &some_time, &r);
    if (rc == 0) {
        use(&r);
    } else {
        assert(rc == -ETIMEDOUT);
        REACHED(1);
        async_drop(future);
    }
#elif CASE == 5
    assert(async_enqueue(future, &queue, 3) == 0);
    REACHED(atomic_load_relaxed(&n_told) == 0);
#elif CASE == 7
    async_drop(future);
    REACHED(model_slot[1].spare_futures == future);
#else
    int back = async_cancel(future);
    assert(back == 0 || back == 1);
    assert(n_forgone == back);
    atomic_store_relaxed(&n_told, 1 - back);
    REACHED(back == 0);
#endif
    return NULL;
}

int main(void)
{
    struct newcomer newcomer = {NULL, CALL_OF_PERMIT, STATE_ASYNC, 0};
    struct sflight_call *joined;
    pthread_t thread;
    unsigned rank;

    model_init();
    assert(join_or_claim(&group, &model_slot[0], "k", 1, newcomer, NULL, &call, &rank) ==
           JOIN_LEADS);
    struct slot *slot = model_enter(1);
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &joined, &rank) == JOIN_FOLLOWS);
    future = future_new(slot, joined, false);
#if CASE == 7
    assert(async_fd(future) == 7);
    assert(join_or_claim(&group, slot, "k", 1, newcomer, NULL, &joined, &rank) == JOIN_FOLLOWS);
    assert(async_then(future_new(slot, joined, false), called_back, &value) == 0);
#endif
#if CASE == 6
    assert(async_enqueue(future, &queue, 3) == 0);
#endif
    model_enter(0);
    pthread_create(&thread, NULL, owner, NULL);

    value = 42;
    hold_set_value(call, &value, 0, destroy, NULL);
    finish_call(&model_slot[0], call, 0);
    hold_release(&model_slot[0], call);
    pthread_join(thread, NULL);
#if CASE == 6
    /* What was not taken back has come: the consumer drains it. */
    assert((atomic_load_relaxed(&pushed) != NULL) == (atomic_load_relaxed(&n_told) == 1));
    if (atomic_load_relaxed(&pushed) != NULL) {
        assert(future_take(future, &drained) == 0);
        hold_release(&model_slot[0], drained.hold);
    }
#endif

    assert(atomic_load_relaxed(&n_destroyed) == 1);
    assert(atomic_load_relaxed(&model_n_freed) == 1);
    /* The future is spare again, as the others of its block are. */
    assert(model_slot[0].n_spare_futures + model_slot[1].n_spare_futures == PER_BLOCK);
    assert(atomic_load_relaxed(&fd_closed) == atomic_load_relaxed(&fd_made));
#if CASE == 3 || CASE == 5 || CASE == 7
    assert(atomic_load_relaxed(&n_told) == 1);
#endif
    model_check_counters();
    return 0;
}
