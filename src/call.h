/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a call.
 *
 *   claim --> run fn --> [unseen?] --yes--> remove: one CAS, the record is free at once
 *     ^                     | no
 *     |                     v
 *     |                   close --> unlink --> publish: gate opens, holds are credited
 *     |                                           |
 *     |   join (followers) ---- wait at the gate -+--> take --> release --> retire
 *     |     |                                              last holder: destroy
 *     |     +-- leave at a deadline: take one's joiner back, or, if the call has
 *     |                              closed, the hold that is being credited
 *     +-- takeover: the leader died, a follower goes on with the same record
 *
 * Who has joined is counted in `state` (state.h).
 *
 * Holds are counted in the gate's high half: one for each joiner in the count
 * at the close, one for the leader.  Publishing adds them in the
 * read-modify-write that opens the gate, so a holder that gives its hold back
 * before that just makes the sum smaller.  Who brings it to 0 with the gate
 * open is the last.
 *
 * A joiner that does not block has a future (future.h).  Those that want to be
 * told hang themselves into the list `waiters`; whoever opens the gate then
 * swaps the list for WAITERS_TOLD and tells them, and who finds that mark, or
 * the gate open, tells itself [NOTIFY].
 *
 * What every call passes is inlined, in the headers of the rooms; what is rare stands in
 * their .c files.
 */
#ifndef SFLIGHT_CALL_H
#define SFLIGHT_CALL_H

#include "clock.h"
#include "gate.h"
#include "gauges.h"
#include "invoke.h"
#include "reclaim.h"
#include "state.h"
#include "table.h"
#include "thread.h"

/* How a call ended: the gate's user bits. */
#define ENDING_ABANDONED (UINT64_C(1) << GATE_USER_SHIFT)
#define ENDING_PANICKED (UINT64_C(2) << GATE_USER_SHIFT)
#define ENDING_SHUT (UINT64_C(4) << GATE_USER_SHIFT)
#define ENDING_BADLY (ENDING_ABANDONED | ENDING_PANICKED | ENDING_SHUT)

struct sflight_call {
    /* read by whoever walks the bucket */
    _Alignas(CACHE_LINE) struct table_node node;

    /* written by joiners */
    _Alignas(CACHE_LINE) state_word state;
    _Atomic(struct agent *) owner; /* whose fn runs; NULL if nobody's does */
    struct sflight_group *group;
    uint64_t started_ns; /* if the group has max_age_ns */
    union {
        struct sflight_call *outer; /* the leader's next outer call; or the next spare record */
        uint64_t begun_by;          /* of a manual call: the thread's number; for fork() only */
    };
    struct key_buffer *buffer;     /* memory for long keys, kept with the record */
    struct invocation *invocation; /* where sflight_panic() goes; NULL outside of fn */
    _Atomic(struct sflight_future *) waiters;

    /* written by the leader, then read by everybody */
    _Alignas(CACHE_LINE) gate gate;
    union {
        struct result { /* until the last hold is gone */
            void *value;
            size_t size;
            sflight_destroy_fn *destroy;
            void *ctx;
            int status;
            uint32_t n_followers; /* at the close */
            uint32_t extra_holds; /* places of a batch that name the same key; the starter */
            uint32_t generation;  /* of the process, when the record was taken */
            bool panicked;
            bool status_set;
            _Atomic(unsigned char) kind; /* enum call_kind */
            bool has_starter; /* by sflight_start(): one of the extra holds is for the starter */
            _Atomic(bool) starter_done; /* its starter has left, or the call has ended */
            bool needs_grace; /* others may still look at the record: it needs a grace period */
        } result;
        struct reclaim_entry retired; /* after it */
    };
};

_Static_assert(sizeof(struct sflight_call) == 3 * CACHE_LINE, "three lines");

/* In `waiters`: the gate has been opened, and they were told. */
#define WAITERS_TOLD ((struct sflight_future *)1)

enum call_kind {
    CALL_OF_LEADER,  /* led by a caller that blocks in fn */
    CALL_OF_PERMIT,  /* sflight_begin(): led by whoever has the permit */
    CALL_OF_STARTER, /* sflight_start(): fn runs elsewhere */
};

/* How a caller comes, and how it leads if it does. */
struct newcomer {
    struct agent *owner; /* of the new record: this caller, if it blocks; otherwise NULL */
    enum call_kind kind; /* of the new record */
    uint64_t unit;       /* STATE_BLOCKING or STATE_ASYNC: as what it would join */
};

/* A caller that blocks, and runs fn itself if it leads. */
#define NEWCOMER_BLOCKING(agent) ((struct newcomer){agent, CALL_OF_LEADER, STATE_BLOCKING})

/* Changes once, if a follower takes the call over; nothing hangs on when that is seen. */
static inline unsigned call_kind(const struct sflight_call *c)
{
    return atomic_load_relaxed(&c->result.kind);
}

/* The record was taken before a fork of which this process is the child. */
static inline bool call_is_inherited(const struct sflight_call *call)
{
    return call->result.generation != process_generation();
}

enum { CALL_KEY_KEPT = 1024 }; /* key memory up to this stays with a spare record */

struct sflight_call *call_record_new(struct sflight_group *g);
bool call_key_long(struct sflight_call *call, const void *key, size_t len);
void call_discard_slow(struct slot *slot, struct sflight_call *call);
void call_retire(struct slot *slot, struct sflight_call *call);
void call_record_free(struct sflight_call *call);

/* The slot's thread ends: its ready record, if it has one, becomes a spare one. */
void call_keep_none_prepared(struct slot *slot);

/* At the end of a group: frees its spare records. */
void call_free_spares(struct slot *slot);

/* In a forked child: the slot's thread may have been stopped between record and count. */
void call_recount_spares(struct slot *slot);

/* At most TABLE_KEY_INLINE (24) bytes, by overlapping words. */
static ALWAYS_INLINE void call_copy_key_short(unsigned char *to, const unsigned char *from,
                                              size_t len)
{
    if (len >= 16) {
        memcpy(to, from, 16);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len != 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
}

/* Gives back a record that nobody else can know. */
static ALWAYS_INLINE void call_discard(struct slot *slot, struct sflight_call *c)
{
    if (UNLIKELY(c->buffer != NULL || slot->n_spare >= slot->max_spare)) {
        call_discard_slow(slot, c);
        return;
    }
    c->outer = slot->spare;
    atomic_fence_compiler(); /* for a child that another thread forks */
    slot->spare = c;
    slot->n_spare++;
}

/* Nobody sees this before [CLAIM] publishes it. */
static ALWAYS_INLINE void call_reset(struct sflight_call *c, const struct newcomer *newcomer)
{
    state_init(&c->state);
    atomic_store_relaxed(&c->owner, newcomer->owner);
    gate_init(&c->gate);
    memset((void *)&c->result, 0, sizeof(c->result));
    c->result.generation = process_generation();
    atomic_store_relaxed(&c->result.kind, (unsigned char)newcomer->kind);
}

/* A spare record, or a new one; or NULL. */
static ALWAYS_INLINE struct sflight_call *call_take(struct slot *slot)
{
    struct sflight_call *c = slot->spare;

    if (UNLIKELY(c == NULL))
        return call_record_new(slot->group);
    slot->spare = c->outer;
    slot->n_spare--;
    return c;
}

/* A record for the key, or NULL. */
static ALWAYS_INLINE struct sflight_call *call_new(struct slot *slot, const void *key, size_t len,
                                                   uint64_t hash, const struct newcomer *newcomer)
{
    struct sflight_call *c = call_take(slot);

    if (UNLIKELY(c == NULL))
        return NULL;
    if (LIKELY(len <= TABLE_KEY_INLINE)) {
        c->node.key = c->node.key_inline;
        call_copy_key_short(c->node.key_inline, key, len);
    } else if (!call_key_long(c, key, len)) {
        call_discard(slot, c);
        return NULL;
    }
    c->node.hash = hash;
    c->node.key_len = len;
    call_reset(c, newcomer);
    if (UNLIKELY(slot->group->max_age_ns != 0))
        c->started_ns = clock_now_ns();
    return c;
}

#endif
