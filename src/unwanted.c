/* SPDX-License-Identifier: BSD-2-Clause */
/* See unwanted.h for the states. */
#include "unwanted.h"

#include "futex.h"

#include <limits.h>
#include <pthread.h>

#define WORD_ARMED ((uintptr_t)1) /* without RUNNING */
#define WORD_RUNNING ((uintptr_t)2)
#define WORD_MISSED ((uintptr_t)1)  /* with RUNNING: the call has been left to nobody again */
#define WORD_AWAITED ((uintptr_t)4) /* with RUNNING: the leader sleeps */
#define WORD_FUTURE (WORD_ARMED | WORD_RUNNING) /* one of them: the word has a future */
#define WORD_BITS ((uintptr_t)7)

_Static_assert(_Alignof(struct sflight_future) > WORD_BITS, "room for the bits");
_Static_assert(_Alignof(struct invocation) > WORD_BITS, "room for the bits");

static struct sflight_future *word_future(uintptr_t word)
{
    return (struct sflight_future *)(word & ~WORD_BITS);
}

/* Stands in the frame that runs the callback. */
struct telling {
    struct thread_frame frame;
    uint64_t salt; /* of the process that it was begun in */
    struct sflight_call *call;
    struct sflight_future *f;    /* what it asked for */
    struct sflight_future *next; /* what it has asked for since; or NULL */
    bool *again; /* the call has been left to nobody since, and next is to be told */
    bool over;   /* the callback has ended the call: the word is not this frame's any more */
};

/* In a forked child: of the thread that forked, the innermost that runs a callback; registry lock.
 */
static struct thread_frame *inherited;

/* That frame, or the next one further out, that is in the callback for that call, or any; or NULL.
 */
static struct telling *telling(struct thread_frame *frame, const struct sflight_call *c)
{
    while (frame != NULL && (frame->telling == NULL || (c != NULL && frame->telling != c)))
        frame = frame->outer;
    return frame != NULL ? container_of(frame, struct telling, frame) : NULL;
}

/* This thread's; or NULL. */
static struct telling *telling_here(const struct sflight_call *c)
{
    return telling(thread_words.frames, c);
}

/* The low half; both supported machines are little-endian. */
static uint32_t *inside_futex(struct sflight_call *c)
{
    return (uint32_t *)(void *)&c->inside;
}

/* A frame from before a fork: once the group is right nobody else looks at it for this call. */
static void leave_inherited(struct telling *t)
{
    group_enter(t->call->group);
    registry_lock();
    if (inherited == &t->frame) {
        struct telling *outer = telling(t->frame.outer, NULL);
        inherited = outer != NULL ? &outer->frame : NULL;
    }
    registry_unlock();
}

/* However the callback has been left. */
static void told(struct telling *t)
{
    struct sflight_call *c = t->call;
    struct sflight_group *g = c->group;

    if (UNLIKELY(t->salt != process_salt()))
        leave_inherited(t);
    thread_words.frames = t->frame.outer;
    (void)pthread_setcancelstate(t->frame.cancel_state, &t->frame.cancel_state);
    *t->again = false;
    if (!t->over) {
        uintptr_t next = (uintptr_t)t->f->invocation;
        if (t->next != NULL) {
            t->next->invocation = t->f->invocation;
            next = (uintptr_t)t->next | WORD_ARMED;
        }
        uintptr_t word = atomic_swap_acq_rel(&c->inside, next); /* [TELLING] */
        if (word & WORD_AWAITED)
            futex_wake(inside_futex(c), INT_MAX);
        *t->again = t->next != NULL && (word & WORD_MISSED); /* it was RUNNING */
    } else if (t->next != NULL) {
        future_free(thread_slot_again(g), t->next);
    }
    future_free(thread_slot_again(g), t->f);
}

/* Sets *again if the caller has to tell once more. */
static NOINLINE void run(struct sflight_call *c, struct sflight_future *f, bool *again)
{
    struct telling here
        __attribute__((cleanup(told))) = {.frame = {.outer = thread_words.frames, .telling = c},
                                          .salt = process_salt(),
                                          .call = c,
                                          .f = f,
                                          .again = again};

    thread_words.frames = &here.frame;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &here.frame.cancel_state);
    f->unwanted.cb(f->unwanted.arg);
}

void unwanted_tell(struct sflight_call *c)
{
    REQUIRE_NO_SECTION();
    /* The state that is looked at is no older than what was asked for. */
    uintptr_t word = atomic_load_acquire(&c->inside); /* [TELLING] */
    bool again = true;

    while (again) {
        bool running = word & WORD_RUNNING;
        if (!(word & WORD_FUTURE) || (running && (word & WORD_MISSED)))
            return;
        if (!state_unwanted(atomic_load_relaxed(&c->state)))
            return; /* RACE: somebody has come since; who is the last now will tell */
        uintptr_t to = running ? word | WORD_MISSED : word - WORD_ARMED + WORD_RUNNING;
        if (!atomic_cas_acq_rel(&c->inside, &word, to)) /* [TELLING] */
            continue;                                   /* RACE: another tells, or the call ends */
        if (running)
            return; /* who runs the callback looks for it */
        run(c, word_future(word), &again);
        atomic_fence_seq_cst(); /* [UNWANTED] who has found MISSED set has changed nothing more */
        word = atomic_load_acquire(&c->inside); /* [TELLING] */
    }
}

void unwanted_stop(struct sflight_call *c)
{
    group_enter(c->group); /* in a forked child who tells may not exist */
    uintptr_t word = atomic_load_acquire(&c->inside); /* [TELLING] */
    struct telling *here;

    while (word & WORD_FUTURE) {
        struct sflight_future *f = word_future(word);
        if (!(word & WORD_RUNNING)) {
            if (atomic_cas_acquire(&c->inside, &word, 0)) {                 /* [TELLING] */
                atomic_store_relaxed(&c->inside, (uintptr_t)f->invocation); /* the leader's own */
                future_free(thread_slot(c->group), f);
                return;
            }
        } else if ((here = telling_here(c)) != NULL) {
            here->over = true;
            (void)atomic_swap_acq_rel(&c->inside, (uintptr_t)f->invocation); /* [TELLING] */
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
    struct telling *here = telling_here(c);
    if (here == NULL)
        unwanted_stop(c);
    struct slot *slot = thread_slot(g);
    if (here != NULL && here->next != NULL)
        future_free(slot, here->next);
    struct sflight_future *f = cb != NULL ? future_new(slot, c, false) : NULL;
    if (f != NULL) {
        (void)future_set_kind(f, FUTURE_UNWANTED);
        f->unwanted.cb = cb;
        f->unwanted.arg = arg;
    }
    if (here != NULL)
        here->next = f;
    if (here != NULL || f == NULL)
        return;
    f->invocation = (struct invocation *)atomic_load_relaxed(&c->inside); /* the leader's own */
    c->result.traits |= CALL_TELLS;
    /* A hold of our own: what is asked for may end the call, on any thread, from here on. */
    struct hold_own own __attribute__((cleanup(hold_counted_ends), unused)) = hold_own(slot, c);
    atomic_store_release(&c->inside, (uintptr_t)f | WORD_ARMED); /* [TELLING] */
    atomic_fence_seq_cst();                                      /* [UNWANTED] */
    uint64_t state = atomic_load_relaxed(&c->state);             /* ordered by the fence */
    if ((state & STATE_LEFT) && state_unwanted(state))
        unwanted_tell(c); /* everybody has left already */
    own.left = false;
}

void unwanted_fork(void)
{
    struct telling *innermost = telling_here(NULL);

    inherited = innermost != NULL ? &innermost->frame : NULL;
}

bool unwanted_after_fork(struct sflight_call *c, bool ends)
{
    REQUIRE_REGISTRY();
    uintptr_t word = atomic_load_relaxed(&c->inside); /* alone in the child */

    if (telling(inherited, c) != NULL)
        return true;
    if ((word & WORD_FUTURE) && (ends || (word & WORD_RUNNING))) {
        struct sflight_future *f = word_future(word);
        atomic_store_relaxed(&c->inside, (uintptr_t)f->invocation); /* alone in the child */
        f->next = c->group->orphan_futures;
        c->group->orphan_futures = f;
    }
    return false;
}
