/* SPDX-License-Identifier: BSD-2-Clause */
/* See unwanted.h for the states. */
#include "unwanted.h"

#include "futex.h"

#include <limits.h>
#include <pthread.h>

#define WORD_ARMED ((uintptr_t)1)
#define WORD_RUNNING ((uintptr_t)2)
#define WORD_AWAITED ((uintptr_t)4) /* with RUNNING: the leader sleeps */
#define WORD_BITS ((uintptr_t)7)

_Static_assert(_Alignof(struct sflight_future) > WORD_BITS, "room for the bits");
_Static_assert(_Alignof(struct invocation) > WORD_BITS, "room for the bits");

static struct sflight_future *word_future(uintptr_t word)
{
    return (struct sflight_future *)(word & ~WORD_BITS);
}

/* Is this thread in the callback for that call? */
static bool telling_here(const struct sflight_call *c)
{
    const struct thread_frame *frame = thread_words.frames;
    while (frame != NULL && frame->telling != c)
        frame = frame->outer;
    return frame != NULL;
}

/* The low half; both supported machines are little-endian. */
static uint32_t *inside_futex(struct sflight_call *c)
{
    return (uint32_t *)(void *)&c->inside;
}

/* Stands in the frame that runs the callback. */
struct telling {
    struct thread_frame frame;
    struct sflight_call *call;
    struct sflight_future *f; /* what it asked for */
};

/* However the callback has been left. */
static void told(struct telling *t)
{
    thread_words.frames = t->frame.outer;
    (void)pthread_setcancelstate(t->frame.cancel_state, &t->frame.cancel_state);
    uintptr_t word =
        atomic_swap_acq_rel(&t->call->inside, (uintptr_t)t->f->invocation); /* [TELLING] */
    if (word & WORD_AWAITED)
        futex_wake(inside_futex(t->call), INT_MAX);
    future_free(thread_slot_again(t->call->group), t->f);
}

static NOINLINE void run(struct sflight_call *c, struct sflight_future *f)
{
    struct telling here __attribute__((cleanup(told))) = {
        .frame = {.outer = thread_words.frames, .telling = c}, .call = c, .f = f};

    thread_words.frames = &here.frame;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &here.frame.cancel_state);
    f->unwanted.cb(f->unwanted.arg);
}

void unwanted_tell(struct sflight_call *c)
{
    REQUIRE_NO_SECTION();
    uintptr_t word = atomic_load_acquire(&c->inside); /* [UNWANTED] */

    if (!(word & WORD_ARMED) || (word & WORD_RUNNING))
        return;
    if (!state_unwanted(atomic_load_relaxed(&c->state)))
        return; /* RACE: somebody has come since; who is the last now will tell */
    if (!atomic_cas_acq_rel(&c->inside, &word, word | WORD_RUNNING)) /* [TELLING] */
        return; /* RACE: another tells, or the call ends */
    run(c, word_future(word));
}

void unwanted_stop(struct sflight_call *c)
{
    uintptr_t word = atomic_load_acquire(&c->inside); /* [TELLING] */

    while (word & WORD_ARMED) {
        struct sflight_future *f = word_future(word);
        if (!(word & WORD_RUNNING)) {
            if (atomic_cas_acquire(&c->inside, &word, 0)) {                 /* [TELLING] */
                atomic_store_relaxed(&c->inside, (uintptr_t)f->invocation); /* the leader's own */
                future_free(thread_slot(c->group), f);
                return;
            }
        } else if (telling_here(c)) {
            return;
        } else if (!(word & WORD_AWAITED)) {
            if (atomic_cas_acquire(&c->inside, &word, word | WORD_AWAITED)) /* [TELLING] */
                word |= WORD_AWAITED;
        } else {
            (void)futex_wait(inside_futex(c), (uint32_t)word, NULL);
            word = atomic_load_acquire(&c->inside); /* [TELLING] */
        }
    }
}

void unwanted_ask(struct sflight_call *c, void (*cb)(void *), void *arg)
{
    struct sflight_group *g = c->group;

    if (call_kind(c) == CALL_OF_LEADER)
        return; /* its leader waits for it */
    unwanted_stop(c);
    uintptr_t word = atomic_load_relaxed(&c->inside); /* the leader's own */
    struct slot *slot = thread_slot(g);
    struct sflight_future *f = NULL;
    if (cb == NULL || (word & WORD_ARMED) || (f = future_new(slot, c, false)) == NULL)
        return;
    f->kind = FUTURE_UNWANTED;
    f->unwanted.cb = cb;
    f->unwanted.arg = arg;
    f->invocation = (struct invocation *)word;
    c->result.traits |= CALL_TELLS;
    /* A hold of our own: what is asked for may end the call, on any thread, from here on. */
    gauges_count(slot, COUNT_HELD);
    gate_hold(&c->gate);
    struct sflight_call *own __attribute__((cleanup(hold_counted_ends), unused)) = c;
    atomic_store_release(&c->inside, (uintptr_t)f | WORD_ARMED); /* [TELLING] */
    atomic_fence_seq_cst();                                      /* [UNWANTED] */
    uint64_t state = atomic_load_acquire(&c->state);
    if ((state & STATE_LEFT) && state_unwanted(state))
        unwanted_tell(c); /* everybody has left already */
}

void unwanted_after_fork(struct sflight_call *c, bool ends)
{
    uintptr_t word = atomic_load_relaxed(&c->inside); /* alone in the child */

    if (!(word & WORD_ARMED) || telling_here(c) || (!ends && !(word & WORD_RUNNING)))
        return;
    struct sflight_future *f = word_future(word);
    atomic_store_relaxed(&c->inside, (uintptr_t)f->invocation); /* alone in the child */
    f->next = c->group->orphan_futures;
    c->group->orphan_futures = f;
}
