/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The record of a call: its words, its key, its memory.  And the life of a call, which the
 * rooms above lead it through.
 *
 *   claim --> run fn --> [seen?] --no--> remove: one CAS; nobody else knows the record
 *   (join)    (lead)        | yes        (do.h, finish_call())
 *                           v
 *                         close --> unlink --> publish: the gate opens, --> tell
 *                         (finish_closed())    holds are credited           (notify.c)
 *                                                |
 *                                                v
 *   join -----------------> wait ------------> take --> release --> the last: destroy, give back
 *   (join)                  (wait)             (hold)   (hold)
 *                             |
 *                             +-- leave, at a deadline: the joiner is taken back, or, if the
 *                             |   call has closed, the hold that is being credited
 *                             +-- take over: the leader has died, and a follower goes on with
 *                                 the same record
 *
 * [seen?]: whether anybody has looked at the record (SEEN, table.h).
 *
 * Who has joined is counted in `state` (state.h), or in a joint (joint.h).  Joiners become holders
 * when the call ends: holds are counted in the gate's high half (gate.h), one for each joiner in
 * the count at the close, one for the leader, and the extra ones.  Publishing adds them in the step
 * that opens the gate, so a hold that is given up before that just makes the sum smaller.
 *
 * A joiner that does not block has a future (future.h).  A future that is to be told, and a
 * waiter, hangs in the list `waiters`, or a joint's.  Whoever has opened the gate swaps the lists
 * for WAITERS_TOLD and tells them all.  A future that comes later finds WAITERS_TOLD and is told by
 * the thread that brings it [NOTIFY].
 *
 * A record that nobody else knows is a spare one of a slot, or is given back to the allocator.
 * A record that others may still look at is retired first (reclaim.h).
 */
#ifndef SFLIGHT_CALL_H
#define SFLIGHT_CALL_H

#include "clock.h"
#include "gate.h"
#include "gauges.h"
#include "invoke.h"
#include "joint.h"
#include "key.h"
#include "probe.h"
#include "reclaim.h"
#include "state.h"
#include "table.h"
#include "thread.h"

struct sflight_call {
    /* read by every walk through the bucket */
    _Alignas(CACHE_LINE) struct table_node node;

    /* written by the leader; read by every holder once the gate is open */
    _Alignas(CACHE_LINE) gate gate;
    struct sflight_group *group;
    union {
        struct result { /* until the last hold is given up */
            void *value;
            size_t size;
            sflight_destroy_fn *destroy;
            void *ctx;
            int status;
            uint32_t n_followers;         /* at the close; before that see permit_begun_by() */
            _Atomic(uint32_t) generation; /* of the process, when the record was taken */
            unsigned char traits;         /* of CALL_...; the leader's */
            _Atomic(unsigned char) kind;  /* enum call_kind */
            unsigned char needs;          /* of NEEDS_... */
            _Atomic(unsigned char) n_remembering; /* slots (remember.h); also after the last hold */
        } result;
        struct reclaim_entry retired; /* after that, until its grace period is over */
    };

    /* written by joiners, and by a leader that runs fn; see call_is_clean() */
    _Alignas(CACHE_LINE) state_word state;
    _Atomic(struct agent *) owner; /* the agent whose fn runs; NULL: a permit, an orphan, or a
                                      started call whose fn has not begun */
    _Atomic(struct sflight_future *) waiters;
    _Atomic(uint32_t) gone;     /* of those: given up since the last sweep, in steps of LIST_GONE */
    uint32_t extra_holds;       /* places of a batch that name the same key */
    struct sflight_call *outer; /* the leader's next outer call */
    _Atomic(uintptr_t) inside;  /* see unwanted.h: where sflight_panic() goes; 0 outside of fn */
    union {
        uint64_t started_ns; /* when it was claimed, if the group has max_age_ns */
        joint_list joints;   /* if it has not: see call_joints() */
    };
    struct key_memory *memory; /* for long keys, kept with the record */
};

_Static_assert(sizeof(struct sflight_call) == 3 * CACHE_LINE, "three lines");
_Static_assert(sizeof(struct reclaim_entry) <= offsetof(struct result, generation),
               "what is looked at after the last hold is not written over");

/* In `waiters`: the gate is open, and all that hung there has been taken out to be told. */
#define WAITERS_TOLD ((struct sflight_future *)1)

#define LIST_HELD 1u /* in `gone`: a thread is taking entries out of the list (list.h) */
#define LIST_GONE 2u

#define NEEDS_GRACE 1u  /* others may still look at the record: it needs a grace period */
#define NEEDS_MEMORY 2u /* `memory` may be too much to be kept: more than CALL_KEY_KEPT */

/* What is not usual in a call, for its end. */
#define CALL_STATUS_SET 1u /* result.status is not what fn returns */
#define CALL_PANICKED 2u
#define CALL_ABANDONED 4u   /* by sflight_call_abandon() */
#define CALL_HAS_STARTER 8u /* has, or had: its future knows the record, as nobody's join */
#define CALL_TELLS 16u      /* sflight_call_on_unwanted() */
#define CALL_GIVEN_UP 32u   /* its permit has been used: whoever uses it again does nothing */
#define CALL_TIMED 64u      /* the group has GROUP_TIMED */

enum call_kind {
    CALL_OF_LEADER = SFLIGHT_KIND_LEADER,   /* led by an agent that blocks in fn */
    CALL_OF_PERMIT = SFLIGHT_KIND_PERMIT,   /* sflight_begin(): led by whoever has the permit */
    CALL_OF_STARTER = SFLIGHT_KIND_STARTED, /* sflight_start(): fn runs elsewhere */
};

/* Who comes for a key: what its call is if it claims the key, and what it is if it joins. */
struct newcomer {
    struct agent *owner; /* of the new record: the agent that blocks; NULL: none does */
    enum call_kind kind; /* of the new record */
    uint64_t unit;       /* STATE_BLOCKING or STATE_ASYNC: as what it would join */
    uint64_t state;      /* of the new record: STATE_STARTER if it gets a future all the same */
};

/* A caller that blocks, and runs fn itself if it leads. */
#define NEWCOMER_BLOCKING(agent) ((struct newcomer){agent, CALL_OF_LEADER, STATE_BLOCKING, 0})

/* Changes once, to CALL_OF_LEADER, by a takeover; nothing depends on when that is seen. */
static inline unsigned call_kind(const struct sflight_call *c)
{
    return atomic_load_relaxed(&c->result.kind);
}

/* The record was taken before a fork of which this process is the child. */
static inline bool call_is_inherited(const struct sflight_call *call)
{
    return atomic_load_relaxed(&call->result.generation) != process_generation();
}

/* The record is this process's: it was taken there, or is kept in a forked child. */
static ALWAYS_INLINE void call_not_inherited(struct sflight_call *call)
{
    atomic_store_relaxed(&call->result.generation, process_generation());
}

enum { CALL_KEY_KEPT = 512 }; /* key memory up to this stays with its record */

/* The call's joints (joint.h), as a list that can be read; 0: there are none. */
static inline uintptr_t call_joints(struct sflight_call *c)
{
    return UNLIKELY(c->group->max_age_ns != 0) ? 0 : atomic_load_acquire(&c->joints); /* [JOINT] */
}

/*
 * In all that follows, slot is the calling thread's or the common one, and no function may be
 * called inside a section unless that is said.
 *
 * The rare part of call_take(): none is spare.
 */
struct sflight_call *call_record_new(struct slot *slot);

/* The rare part of call_set_key(): a key that is longer than TABLE_KEY_INLINE. */
bool call_key_long(struct sflight_call *call, const void *key, size_t len);

/* The rare part of call_discard_clean(): no place for another spare record, or memory for a key. */
void call_discard_slow(struct slot *slot, struct sflight_call *call);

/* Gives back a record that a section may still look at: it waits in the slot's limbo, or, where
   that is too much, in the group's list for others, and is discarded after a grace period. */
void call_retire(struct slot *slot, struct sflight_call *call);

/* Gives a record, which nobody else knows, and its key's memory back to the allocator. */
void call_record_free(struct sflight_call *call);

/* The slot's thread ends: its prepared record, if there is one, becomes a spare one. */
void call_leave_slot(struct slot *slot);

/* At the end of a group: frees all records of the slot.  Nobody can look at what is retired. */
void call_free_all(struct slot *slot);

/* In a forked child: mends the slot's records.  None is prepared after it. */
void call_after_fork(struct slot *slot);

/*
 * A record is CLEAN when it is taken: gate, destroy and the line that joiners write are as a claim
 * needs them, and a permit that nobody looks at leaves them alone.  Who gives a record back cleans
 * it: reclaimed() all of it; where nobody has looked, call_discard() what a leader has written.
 */
static inline bool call_is_clean(const struct sflight_call *c)
{
    return require_word(&c->gate) == 0 && c->result.destroy == NULL &&
           !(c->result.needs & NEEDS_GRACE) && require_word(&c->state) == 0 &&
           require_word(&c->owner) == NULL && require_word(&c->waiters) == NULL &&
           require_word(&c->gone) == 0 && require_word(&c->inside) == 0 && c->extra_holds == 0 &&
           (c->group->max_age_ns != 0 || require_word(&c->joints) == 0) &&
           ((c->result.needs & NEEDS_MEMORY) || !key_has_room(c->memory, CALL_KEY_KEPT + 1));
}

static ALWAYS_INLINE void call_clean_leaders(struct sflight_call *c)
{
    atomic_store_relaxed(&c->owner, NULL); /* published by [CLAIM] */
    c->extra_holds = 0;
}

/* A spare record: the one that call_take() takes; NULL: there is none. */
static ALWAYS_INLINE struct sflight_call *call_spare(const struct slot *slot)
{
    return slot->at_hand != NULL ? slot->at_hand : slot->spare;
}

static ALWAYS_INLINE void call_add_spare(struct slot *slot, struct sflight_call *c)
{
    c->node.spare = slot->spare;
    atomic_fence_compiler(); /* for a child that another thread forks */
    slot->spare = c;
    slot->n_spare++;
}

/* Gives back a clean record: it becomes a spare one, or is freed. */
static ALWAYS_INLINE void call_discard_clean(struct slot *slot, struct sflight_call *c)
{
    REQUIRE(call_is_clean(c));
    atomic_fence_compiler(); /* as call_add_spare() */
    if (UNLIKELY((c->result.needs & NEEDS_MEMORY) || slot->n_spare >= slot->max_spare))
        call_discard_slow(slot, c);
    else if (LIKELY(slot->at_hand == NULL))
        slot->at_hand = c;
    else
        call_add_spare(slot, c);
}

/* The same of a record that nobody else knows and that a leader, perhaps, has written. */
static ALWAYS_INLINE void call_discard(struct slot *slot, struct sflight_call *c)
{
    gate_init(&c->gate);
    c->result.destroy = NULL;
    if (call_kind(c) != CALL_OF_PERMIT)
        call_clean_leaders(c);
    call_discard_clean(slot, c);
}

/* Sets up all of a clean record but its key and age.  [CLAIM] publishes it. */
static ALWAYS_INLINE void call_reset(struct sflight_call *c, const struct newcomer *newcomer)
{
    if (newcomer->state != 0)
        state_init(&c->state, newcomer->state);
    if (newcomer->owner != NULL)
        atomic_store_relaxed(&c->owner, newcomer->owner);
    c->result.value = NULL;
    c->result.size = 0;
    c->result.status = 0;
    c->result.n_followers = 0;
    call_not_inherited(c);
    c->result.traits = 0;
    atomic_store_relaxed(&c->result.kind, (unsigned char)newcomer->kind);
}

/*
 * Copies the key, of any length, into the record, which nobody else knows.  False if it has more
 * than `most` bytes, or there is no memory for a long one.
 */
static ALWAYS_INLINE bool call_set_key(struct sflight_call *c, const void *key, size_t len,
                                       size_t most, uint64_t hash)
{
    if (LIKELY(bytes_copy_short(c->node.key_inline, key, len))) {
        c->node.key = c->node.key_inline;
    } else if (len > most || !call_key_long(c, key, len)) {
        return false;
    }
    c->node.hash = table_short_hash(hash);
    c->node.key_len = len;
    return true;
}

/*
 * A spare record, or a new one, still to be filled in; or NULL.  May be called in a section if a
 * record is spare.
 */
static ALWAYS_INLINE struct sflight_call *call_take(struct slot *slot)
{
    struct sflight_call *c = slot->at_hand;

    if (LIKELY(c != NULL)) {
        slot->at_hand = NULL;
    } else {
        c = slot->spare;
        if (UNLIKELY(c == NULL))
            return call_record_new(slot);
        slot->spare = c->node.spare;
        slot->n_spare--;
    }
    atomic_fence_compiler(); /* as call_add_spare() */
    REQUIRE(call_is_clean(c));
    return c;
}

/* A record for the key, which nobody else knows; NULL: no memory.  May be called in a section if a
   record is spare and the key fits it. */
static ALWAYS_INLINE struct sflight_call *call_new(struct slot *slot, const void *key, size_t len,
                                                   uint64_t hash, const struct newcomer *newcomer)
{
    struct sflight_call *c = call_take(slot);

    if (UNLIKELY(c == NULL))
        return NULL;
    if (UNLIKELY(!call_set_key(c, key, len, SIZE_MAX, hash))) {
        call_discard_clean(slot, c);
        return NULL;
    }
    call_reset(c, newcomer);
    if (UNLIKELY(slot->group->max_age_ns != 0)) {
        c->started_ns = clock_now_ns();
        c->result.traits = slot->durations != NULL ? CALL_TIMED : 0;
    }
    return c;
}

#endif
