/* SPDX-License-Identifier: BSD-2-Clause */
/* See call.h for the states, and call_path.h for what every call passes. */
#include "call_alone.h"
#include "call_batch.h"
#include "call_path.h"
#include "cpu.h"

#include "future.h"

enum {
    BUFFER_ROUNDED = 64, /* key memory comes in multiples of this */
};

struct key_buffer {
    size_t capacity;
    unsigned char bytes[];
};

/* --------------------------------------------------------------- records */

static void buffer_drop(struct sflight_call *c)
{
    if (c->buffer != NULL)
        alloc_put(&c->group->alloc, c->buffer, sizeof(*c->buffer) + c->buffer->capacity);
    c->buffer = NULL;
}

static void record_free(struct sflight_call *c)
{
    buffer_drop(c);
    alloc_put(&c->group->alloc, c, sizeof(*c));
}

struct sflight_call *call_record_new(struct sflight_group *g)
{
    struct sflight_call *c = alloc_get(&g->alloc, sizeof(*c), CACHE_LINE);
    if (c != NULL) {
        c->buffer = NULL;
        c->invocation = NULL;
        atomic_store_relaxed(&c->waiters, NULL); /* published by [CLAIM] */
        c->group = g;
    }
    return c;
}

void call_discard_slow(struct slot *slot, struct sflight_call *c)
{
    if (slot->n_spare >= slot->max_spare) {
        record_free(c);
        return;
    }
    if (c->buffer != NULL && c->buffer->capacity > CALL_KEY_KEPT)
        buffer_drop(c);
    c->outer = slot->spare;
    slot->spare = c;
    slot->n_spare++;
}

struct sflight_call *call_make_ready(struct slot *slot)
{
    if (slot->spare == NULL)
        return NULL; /* the general way makes one */
    struct sflight_call *c = call_take(slot);
    call_reset(c, &CALL_START_BLOCKING(&thread_self.caller));
    slot->ready = c;
    return c;
}

void call_keep_none_ready(struct slot *slot)
{
    struct sflight_call *c = slot->ready;

    slot->ready = NULL;
    if (c != NULL) { /* one more than the limit may be: nothing is freed in a forked child */
        c->outer = slot->spare;
        slot->spare = c;
        slot->n_spare++;
    }
}

bool call_key_long(struct sflight_call *c, const void *key, size_t len)
{
    if (c->buffer == NULL || c->buffer->capacity < len) {
        if (len > SIZE_MAX - sizeof(*c->buffer) - BUFFER_ROUNDED)
            return false;
        size_t capacity = (len + BUFFER_ROUNDED - 1) / BUFFER_ROUNDED * BUFFER_ROUNDED;
        struct key_buffer *b =
            alloc_get(&c->group->alloc, sizeof(*b) + capacity, _Alignof(max_align_t));
        if (b == NULL)
            return false;
        buffer_drop(c);
        b->capacity = capacity;
        c->buffer = b;
    }
    memcpy(c->buffer->bytes, key, len);
    c->node.key = c->buffer->bytes;
    return true;
}

/* After the grace period, on any thread. */
static void call_reclaimed(struct reclaim_entry *entry)
{
    struct sflight_call *c = container_of(entry, struct sflight_call, retired);
    struct sflight_group *g = c->group;
    struct slot *slot = thread_slot_known(g);

    if (slot == NULL)
        slot = &g->common;
    atomic_store_relaxed(&c->waiters, NULL); /* published by [CLAIM] */
    call_discard(slot, c);
    slot_count(slot, COUNT_RECLAIMED);
}

/* ------------------------------------------------------------------ values */

/* Stands before the memory of call_alloc_value(). */
struct value_header {
    _Alignas(max_align_t) size_t bytes; /* header included */
};

static void value_free(void *value, size_t size, void *group)
{
    struct value_header *h = (struct value_header *)value - 1;
    struct sflight_group *g = group;

    (void)size;
    alloc_put(&g->alloc, h, h->bytes);
}

void call_set_value(struct sflight_call *c, void *value, size_t size, sflight_destroy_fn *destroy,
                    void *ctx)
{
    struct result *r = &c->result;
    sflight_destroy_fn *old_destroy = r->destroy;
    void *old = r->value, *old_ctx = r->ctx;
    size_t old_size = r->size;

    /*
     * In a child that another thread forks meanwhile nothing is destroyed that
     * does not go with its destroy.
     */
    if (UNLIKELY(old_destroy != NULL))
        r->destroy = NULL;
    atomic_fence_compiler();
    r->size = size;
    if (UNLIKELY(old_destroy == value_free && value == old)) {
        r->destroy = old_destroy; /* it has turned out shorter than it was allocated */
        return;
    }
    r->value = value;
    r->ctx = ctx;
    atomic_fence_compiler();
    r->destroy = destroy;
    if (UNLIKELY(old_destroy != NULL))
        old_destroy(old, old_size, old_ctx);
}

void *call_alloc_value(struct sflight_call *c, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t bytes = sizeof(struct value_header) + size;
    struct value_header *h = alloc_get(&c->group->alloc, bytes, _Alignof(max_align_t));
    if (h == NULL)
        return NULL;
    h->bytes = bytes;
    call_set_value(c, h + 1, size, value_free, c->group);
    return h + 1;
}

/* ------------------------------------------------------------------- holds */

/* destroy did not return: a C++ exception, or its thread ends. */
struct destroy_guard {
    struct sflight_call *call; /* NULL: it has */
};

static void destroy_guard_check(struct destroy_guard *guard)
{
    if (UNLIKELY(guard->call != NULL)) {
        struct slot *slot = thread_slot_again(guard->call->group);
        bool inherited = call_is_inherited(guard->call, slot->group);
        call_give_back(slot, guard->call);
        call_count_released(slot, inherited);
    }
}

struct slot *call_destroy_value(struct slot *slot, struct sflight_call *c)
{
    struct destroy_guard guard __attribute__((cleanup(destroy_guard_check))) = {c};
    c->result.destroy(c->result.value, c->result.size, c->result.ctx);
    guard.call = NULL;
    return thread_slot_after(slot);
}

/* A hold from before the fork is counted once, whoever of the parent's threads had it. */
void call_released_inherited(struct slot *slot)
{
    uint64_t n = atomic_load_relaxed(&slot->group->n_inherited); /* the CAS decides */
    while (n != 0)
        if (atomic_cas_relaxed(&slot->group->n_inherited, &n, n - 1)) {
            slot_count(slot, COUNT_RELEASED);
            return;
        }
}

void call_retire(struct slot *slot, struct sflight_call *c)
{
    slot_count(slot, COUNT_RETIRED);
    reclaim_retire(thread_self.hint, &c->retired, call_reclaimed);
}

/* Gives up a hold, perhaps one that has not been credited yet.  Returns as call_last() does. */
struct slot *call_hold_drop(struct slot *slot, struct sflight_call *c)
{
    uint64_t word = atomic_sub_acq_rel(&c->gate, GATE_HOLD); /* [HOLD] */
    if ((word & GATE_OPEN) && gate_holds(word) == 1)
        slot = call_last(slot, c);
    return slot;
}

void call_retain(struct slot *slot, struct sflight_call *c)
{
    call_alone_no_more(c);
    slot_count(slot, COUNT_HELD);
    if (UNLIKELY(call_is_inherited(c, slot->group)))
        atomic_add_relaxed(&slot->group->n_inherited, 1);
    atomic_add_relaxed(&c->gate, GATE_HOLD); /* the caller's own hold keeps it from the end */
}

int call_deliver_failure(struct slot *slot, struct sflight_call *c, uint64_t word,
                         sflight_result *r)
{
    if (word & ENDED_PANICKED)
        return -ENOTRECOVERABLE;
    call_release(slot, c);
    memset(r, 0, sizeof(*r));
    return word & ENDED_SHUT ? -ESHUTDOWN : -EOWNERDEAD;
}

/* Changes once, if a follower takes the call over; nothing hangs on when that is seen. */
static unsigned call_kind(const struct sflight_call *c)
{
    return atomic_load_relaxed(&c->result.kind);
}

/* -------------------------------------------------------------------- join */

struct join {
    const struct caller *caller; /* NULL if it does not block */
    struct sflight_call *found;
    struct sflight_call *expired; /* forgotten here because of its age */
    struct slot *slot;
    uint64_t unit; /* CALL_BLOCKING or CALL_ASYNC */
    unsigned rank;
    int rc; /* 0: joined */
};

/*
 * *state gets what was added to.  A call forgotten since it was looked at may still be
 * joined: this caller began before the forgetting was over.
 */
static ALWAYS_INLINE bool join_add(struct sflight_call *c, uint64_t unit, uint64_t *state)
{
    *state = atomic_add_acq_rel(&c->state, unit); /* [CLOSE] */
    if (LIKELY(!(*state & (CALL_CLOSED | CALL_SEALED))))
        return true;
    /* Whoever closed it has the count; only a forked child looks again. */
    atomic_sub_relaxed(&c->state, unit); /* RACE: closed since it was looked at */
    return false;
}

/* *state as it was read last, and [CLOSE] acquired; gets what was added to. */
static bool join_limited(struct sflight_call *c, struct join *join, uint64_t *state)
{
    for (;;) {
        if (*state & (CALL_CLOSED | CALL_FORGOTTEN))
            return false; /* RACE: closed since it was looked at */
        if (state_joiners(*state) >= c->group->max_waiters) {
            join->rc = -EAGAIN;
            return true;
        }
        if (atomic_cas_acq_rel(&c->state, state, *state + join->unit)) /* [CLOSE] */
            return true;
    }
}

/* A call of the right key: is it this caller's to join? */
static bool join_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct join *join = ctx;
    struct sflight_group *g = c->group;

    /*
     * What cannot be joined is left alone; the addition below decides.  If the
     * call has closed, this caller may lead the next: what the last run of fn did
     * comes before that [CLOSE].
     */
    uint64_t state = atomic_load_acquire(&c->state);
    if (state & (CALL_CLOSED | CALL_FORGOTTEN))
        return false;
    /* Only this caller writes its own name here while the call is open. */
    if (join->caller != NULL && atomic_load_relaxed(&c->owner) == join->caller) {
        join->rc = -EDEADLK;
        return true;
    }
    if (g->max_age_ns != 0 && clock_now_ns() - c->started_ns > g->max_age_ns) {
        state = atomic_or_acquire(&c->state, CALL_FORGOTTEN); /* [FORGET] [CLOSE] */
        if (!(state & (CALL_CLOSED | CALL_FORGOTTEN))) {
            slot_count(join->slot, COUNT_EXPIRED);
            join->expired = c; /* another one before it is unlinked by its leader */
        }
        return false;
    }
    if (g->max_waiters != 0) {
        if (!join_limited(c, join, &state))
            return false; /* RACE: the same */
    } else {
        if (!join_add(c, join->unit, &state))
            return false; /* RACE: the same */
    }
    join->found = c;
    join->rank = state_blocking(state);
    return true;
}

/*
 * What many want stands first in its bucket, and has been seen: joins it without a
 * search.  NULL, and it has not joined, where that is not so, or where the group's options
 * want a closer look.
 */
static ALWAYS_INLINE struct sflight_call *join_first(struct sflight_group *g,
                                                     const struct table_key *key,
                                                     const struct call_start *start, unsigned *rank)
{
    struct table_node *node = table_first_in_section(&g->table, key->hash);
    uint64_t state;

    if (node == NULL || !table_key_equal(node, key) || (g->max_waiters | g->max_age_ns) != 0)
        return NULL;
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    /* Only to look; the addition decides.  Nobody else writes this caller's name. */
    if ((atomic_load_relaxed(&c->state) & (CALL_CLOSED | CALL_FORGOTTEN)) ||
        (start->owner != NULL && atomic_load_relaxed(&c->owner) == start->owner) ||
        !join_add(c, start->unit, &state))
        return NULL;
    *rank = state_blocking(state);
    return c;
}

/* A claim has failed that COUNT_LED had counted already; a drainer may wait for its end. */
NOINLINE void call_not_led(struct slot *slot)
{
    slot_uncount(slot, COUNT_LED);
    atomic_fence_seq_cst(); /* [DRAIN] */
    group_call_ended(slot->group);
}

static int search_failed(struct slot *slot, int rc)
{
    slot_count(slot, COUNT_HELD); /* keeps the group while this thread is in it */
    if (rc != -ENOMEM)
        slot_count(slot, rc == -EDEADLK ? COUNT_DEADLOCKS : COUNT_REJECTED);
    slot_count(slot, COUNT_LEFT);
    slot_count(slot, COUNT_RELEASED);
    return rc;
}

static ALWAYS_INLINE int search_joined(struct slot *slot, struct sflight_call *c,
                                       struct sflight_call **out)
{
    slot_count(slot, COUNT_JOINED);
    slot_count(slot, COUNT_LEFT);
    *out = c;
    return CALL_FOLLOWS;
}

/* Joins the key's call, or claims it, wherever that stands.  Ends the section. */
static NOINLINE int search(struct slot *slot, const struct table_key *key, struct call_start start,
                           struct sflight_call *mine, bool spare, struct lane *lane,
                           struct sflight_call **out, unsigned *rank)
{
    struct sflight_group *g = slot->group;
    struct join join = {.caller = start.owner, .slot = slot, .unit = start.unit};
    /* The key member by member: GenMC does not know the copy of a struct from behind a pointer. */
    struct table_search search = {
        .key = {key->hash, key->data, key->len}, .match = join_match, .ctx = &join};
    enum table_found found;

    for (;;) {
        search.claim = mine != NULL ? &mine->node : NULL;
        found = table_search_in_section(&g->table, &search);
        if (found == TABLE_ABSENT && slot->spare != NULL && key->len <= TABLE_KEY_INLINE) {
            /* Nothing is allocated for this, so it need not be outside of the section. */
            mine = call_new(slot, key->data, key->len, key->hash, &start);
            search.claim = &mine->node;
            found = table_search_in_section(&g->table, &search);
        }
        if (UNLIKELY(join.expired != NULL))
            table_unlink_in_section(&g->table, &join.expired->node);
        reclaim_leave(lane);
        join.expired = NULL;
        if (found != TABLE_ABSENT)
            break;
        mine = call_new(slot, key->data, key->len, key->hash, &start);
        if (mine == NULL)
            return search_failed(slot, -ENOMEM);
        lane = reclaim_enter(thread_self.hint);
    }
    if (found == TABLE_CLAIMED) {
        slot_count(slot, COUNT_LED);
        slot_count(slot, COUNT_LEFT);
        if (UNLIKELY(search.crowded))
            table_relieve(&g->table, key->hash);
        *out = mine;
        return CALL_LEADS;
    }
    if (mine != NULL && !spare)
        call_discard(slot, mine);
    if (join.rc != 0)
        return search_failed(slot, join.rc);
    *rank = join.rank;
    return search_joined(slot, join.found, out);
}

int call_claim_or_join_slow(struct slot *slot, const struct table_key *key, struct call_start start,
                            struct sflight_call *mine, bool spare, struct sflight_call **out,
                            unsigned *rank)
{
    /* Keeps the group while this thread is in it, and before a claim, for drainers. */
    slot_count(slot, COUNT_ENTERED);
    struct lane *lane = reclaim_enter(thread_self.hint);
    struct sflight_call *c = join_first(slot->group, key, &start, rank);
    if (UNLIKELY(c == NULL))
        return search(slot, key, start, mine, spare, lane, out, rank);
    reclaim_leave(lane);
    if (UNLIKELY(mine != NULL) && !spare)
        call_discard(slot, mine);
    return search_joined(slot, c, out);
}

/* Closed since this caller looked: a drainer may have seen nothing in flight. */
int call_shut(struct slot *slot, struct sflight_call *c)
{
    call_finish(slot, c, ENDED_SHUT);
    call_release(slot, c);
    return -ESHUTDOWN;
}

/* -------------------------------------------------------------------- wait */

bool call_take_over(struct slot *slot, struct caller *caller, struct sflight_call *c)
{
    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
    while (state & CALL_ORPHAN) {
        if (atomic_cas_acquire(&c->state, &state,
                               (state & ~CALL_ORPHAN) - CALL_BLOCKING)) { /* [ORPHAN] */
            atomic_store_release(&c->owner, caller);                      /* [OWNER] */
            if (call_kind(c) != CALL_OF_LEADER)
                atomic_store_relaxed(&c->result.kind, CALL_OF_LEADER);
            slot_count(slot, COUNT_TAKEN_OVER);
            return true;
        }
    }
    return false;
}

static void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ended, uint64_t state,
                          bool counted);

/* Is there nobody left that waits for the call?  A hint, with no order, but exact when nothing
 * moves. */
bool call_unwanted(const struct sflight_call *c)
{
    if (call_kind(c) == CALL_OF_LEADER)
        return false; /* its leader waits for it */
    if (call_kind(c) == CALL_OF_STARTER && !atomic_load_relaxed(&c->result.starter_done))
        return false; /* RACE: its starter still waits */
    return state_joiners(atomic_load_relaxed(&c->state)) == 0;
}

/* Somebody has left, and still has a hold: does that leave the call to nobody? */
static void forget_unwanted(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;

    atomic_fence_seq_cst(); /* of two who leave at once, the later sees both gone [UNWANTED] */
    if (!call_unwanted(c))
        return;
    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
    while (!(state & (CALL_CLOSED | CALL_FORGOTTEN)) && state_joiners(state) == 0) {
        /* This orders nothing: what is done after it is done by [MARK] and [UNLINK]. */
        if (atomic_cas_relaxed(&c->state, &state,
                               state | CALL_FORGOTTEN | CALL_SEALED)) { /* [FORGET] */
            struct lane *lane = reclaim_enter(thread_self.hint);
            table_unlink_in_section(&g->table, &c->node);
            reclaim_leave(lane);
            slot_count(slot, COUNT_FORGOTTEN);
            return;
        }
    }
}

/* Has a blocking follower look at the call. */
static void nudge(struct sflight_call *c)
{
    if (group_has_fibers(c->group))
        waiters_nudge(c->group, &c->waiters);
    else
        gate_nudge(&c->gate);
}

enum call_leave call_leave(struct slot *slot, struct sflight_call *c, uint64_t unit)
{
    /* A hold of our own, if we must look at the call again when we have left it. */
    bool look_back = c->group->cancel_unwanted && call_kind(c) != CALL_OF_LEADER;
    if (look_back)
        atomic_add_relaxed(&c->gate, GATE_HOLD);

    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
    for (;;) {                                       /* RACE: again, if the state has changed */
        uint64_t left = state - unit;
        if (state & CALL_CLOSED) {
            if (look_back)
                call_hold_drop(slot, c); /* not the last: the one below is still ours */
            /* Counted: a hold has been, or is going to be, credited. */
            if (atomic_load_acquire(&c->gate) & GATE_OPEN) /* [PUB-RESULT] */
                return LEAVE_TOO_LATE;
            call_hold_drop(slot, c);
            return LEAVE_RETURNED;
        }
        if ((state & CALL_ORPHAN) && unit == CALL_BLOCKING) {
            if (state_blocking(state) == 1)
                left |= CALL_CLOSED; /* the last that could have taken it over */
            else
                nudge(c); /* whoever was nudged may be this one: pass it on */
        }
        if (atomic_cas_acq_rel(&c->state, &state, left)) { /* [CLOSE] */
            if (left & CALL_CLOSED) {
                finish_closed(slot, c, ENDED_ABANDONED, left, false);
                call_release(slot, c);
            }
            if (look_back) {
                forget_unwanted(slot, c);
                call_hold_drop(slot, c);
            }
            return LEAVE_LEFT;
        }
    }
}

void call_starter_leaves(struct slot *slot, struct sflight_call *c)
{
    slot_count(slot, COUNT_HELD); /* keeps the group while this thread is in it */
    if (atomic_swap_acq_rel(&c->result.starter_done, true)) /* [UNWANTED] */
        slot_uncount(slot, COUNT_HELD);                     /* RACE: the call has just ended */
    else if (c->group->cancel_unwanted)
        forget_unwanted(slot, c);
    slot = call_hold_drop(slot, c);
    slot_count(slot, COUNT_RELEASED);
}

int call_wait(struct slot *slot, struct caller *caller, struct sflight_call *c, unsigned rank,
              const struct timespec *deadline)
{
    return group_has_fibers(c->group) ? call_wait_hung(caller, c, deadline)
                                      : call_wait_at_gate(slot, caller, c, rank, deadline);
}

int call_wait_at_gate(struct slot *slot, struct caller *caller, struct sflight_call *c,
                      unsigned rank, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    struct spinner own, *spinner = &slot->spinner;
    bool noted = false;
    int rc = CALL_FOLLOWS;

    if (UNLIKELY(slot->shared)) { /* its spinner would be everybody's */
        spinner_init(&own, g->spin_ns);
        spinner = &own;
    }
    spinner->crowded = atomic_load_relaxed(&g->n_threads) > cpu_count(); /* a hint */
    for (;;) {
        /* The wait is noted only while the join stands, which keeps the record. */
        if (caller->leading != NULL) {
            noted = caller_may_wait(caller, c);
            if (!noted && call_leave(slot, c, CALL_BLOCKING) != LEAVE_TOO_LATE) {
                slot_count(slot, COUNT_DEADLOCKS);
                rc = -EDEADLK;
                break;
            }
        }
        enum gate_outcome outcome = gate_spin(&c->gate, rank, spinner, deadline);
        if (outcome == GATE_IS_CLOSED) {
            slot_count(slot, COUNT_PARKED);
            outcome = gate_park(&c->gate, deadline);
        } else if (outcome == GATE_IS_OPEN) {
            slot_count(slot, COUNT_SPUN);
        }
        if (noted)
            caller_waited(caller);
        noted = false;
        if (outcome == GATE_IS_OPEN)
            break;
        if (outcome == GATE_IS_NUDGED) {
            gate_answer(&c->gate);
            if (!call_take_over(slot, caller, c))
                continue;
            rc = CALL_LEADS;
            break;
        }
        if (call_leave(slot, c, CALL_BLOCKING) != LEAVE_TOO_LATE) {
            slot_count(slot, COUNT_TIMED_OUT);
            rc = -ETIMEDOUT;
            break;
        }
    }
    if (rc == CALL_FOLLOWS)
        slot_count(slot, COUNT_HELD);
    slot_count(slot, COUNT_RETURNED);
    return rc;
}

/* -------------------------------------------------------------------- lead */

/* Calls led further in, whose fn was left by longjmp(): their frames are gone. */
void call_exit_slow(struct caller *caller, struct sflight_call *c)
{
    while (caller->leading != c)
        call_abandon(caller->leading);
}

/* A thread that has no slot of its own may end without thread_end(): nobody may look at it then. */
static void caller_unseen_without_slot(const struct slot *slot)
{
    if (UNLIKELY(slot->shared))
        caller_unseen();
}

/* `state` as it was at the close; counted: COUNT_ENDED has been. */
static void finish_closed(struct slot *slot, struct sflight_call *c, uint64_t ended, uint64_t state,
                          bool counted)
{
    struct sflight_group *g = c->group;
    uint32_t n_joiners = state_joiners(state);
    uint32_t n_async = state & CALL_SEALED ? 0 : state_async(state);

    caller_unseen_without_slot(slot);
    c->result.seen = true;
    if (!table_unlink_alone(&g->table, &c->node)) {
        struct lane *lane = reclaim_enter(thread_self.hint);
        table_unlink_in_section(&g->table, &c->node);
        reclaim_leave(lane);
    }
    c->result.n_followers = n_joiners;
    /* From waiting to held, all at once; blocking joiners see to themselves. */
    bool started = c->result.started;
    slot_count_n(slot, COUNT_HELD, n_async + started);
    if (started && atomic_swap_acq_rel(&c->result.starter_done, true)) /* [UNWANTED] */
        slot_uncount(slot, COUNT_HELD);
    slot_count_n(slot, COUNT_RETURNED, n_async);
    if (!counted)
        slot_count(slot, COUNT_ENDED);
    /* Who has left before the [CLOSE], which orders the two, may have left a future there. */
    bool left = atomic_load_relaxed(&c->waiters) != NULL;
    bool told = n_async != 0 || started || group_has_fibers(g) || left;
    gate_open(&c->gate, ended, n_joiners + c->result.extra_holds + 1);
    group_call_ended(g);
    if (told)
        future_tell(g, atomic_swap_acq_rel(&c->waiters, WAITERS_TOLD)); /* [NOTIFY] */
}

void call_finish_slow(struct slot *slot, struct sflight_call *c, uint64_t ended, bool counted)
{
    uint64_t state = atomic_or_acq_rel(&c->state, CALL_CLOSED); /* [CLOSE] */
    finish_closed(slot, c, ended, state, counted);
}

void call_abandon(struct sflight_call *c)
{
    call_exit(atomic_load_relaxed(&c->owner), c); /* written by this caller */
    c->invocation = NULL;
    c->result.extra_holds = c->result.started; /* not for places of the dead leader's batch */
    call_abandon_permit(thread_slot(c->group), c);
}

void call_abandon_permit(struct slot *slot, struct sflight_call *c)
{
    struct sflight_group *g = c->group;

    slot_count(slot, COUNT_ABANDONED);
    if (g->takeover) {
        call_set_value(c, NULL, 0, NULL, NULL);
        slot = thread_slot_after(slot);
        c->result.status_set = false;
        c->result.panicked = false;
        atomic_store_relaxed(&c->owner, NULL); /* published by [ORPHAN] */
        c->begun_by = NULL;                    /* nor is the permit anybody's in a forked child */
        /* A hold of our own: the one who takes over may be done before the nudge is. */
        slot_count(slot, COUNT_HELD);
        atomic_add_relaxed(&c->gate, GATE_HOLD);
        uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
        for (;;) {                                       /* RACE: again, if the state has changed */
            bool followed = state_blocking(state) != 0 && !(state & CALL_SEALED);
            uint64_t next = state | (followed ? CALL_ORPHAN : CALL_CLOSED);
            if (!atomic_cas_acq_rel(&c->state, &state, next)) /* [ORPHAN] [CLOSE] */
                continue;                                     /* RACE: joined or left since */
            if (followed) {
                caller_unseen_without_slot(slot);
                nudge(c);
            } else {
                finish_closed(slot, c, ENDED_ABANDONED, state, false);
                call_release(slot, c); /* not the last hold: that is below */
            }
            break;
        }
        slot = call_hold_drop(slot, c);
        slot_count(slot, COUNT_RELEASED);
        return;
    }
    if (c->result.started)
        call_finish_slow(slot, c, ENDED_ABANDONED,
                         false); /* the starter's future knows the record */
    else
        call_finish(slot, c, ENDED_ABANDONED);
    call_release(slot, c);
}

/* ------------------------------------------------------------------ forget */

struct forget {
    struct sflight_call *call; /* to be unlinked */
    bool unshared_only;
    bool kept; /* because it is shared */
};

static bool forget_match(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct forget *forget = ctx;
    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */

    for (;;) { /* RACE: again, if the state has changed */
        if (state & (CALL_CLOSED | CALL_FORGOTTEN))
            return false;
        uint64_t forgotten = state | CALL_FORGOTTEN;
        if (forget->unshared_only) {
            if (state_joiners(state) != 0) {
                forget->kept = true;
                return true;
            }
            forgotten |= CALL_SEALED;
        }
        if (atomic_cas_release(&c->state, &state, forgotten)) { /* [FORGET] */
            forget->call = c;
            return true;
        }
    }
}

static void forget(struct sflight_group *g, const void *key, size_t len, struct forget *forget)
{
    struct slot *slot = thread_slot(g);
    struct table_search search = {
        .key = {hash_key(key, len, g->seed), key, len}, .match = forget_match, .ctx = forget};

    struct lane *lane = reclaim_enter(thread_self.hint);
    (void)table_search_in_section(&g->table, &search);
    if (forget->call != NULL)
        table_unlink_in_section(&g->table, &forget->call->node);
    reclaim_leave(lane);
    if (forget->call != NULL)
        slot_count(slot, COUNT_FORGOTTEN);
}

int call_forget(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = false};
    forget(g, key, len, &f);
    return f.call != NULL;
}

int call_forget_unshared(struct sflight_group *g, const void *key, size_t len)
{
    struct forget f = {.unshared_only = true};
    forget(g, key, len, &f);
    return !f.kept;
}

/* -------------------------------------------------------------- fork, end */

/*
 * In the child only the forking thread is left: nobody blocks in its calls.
 * Futures are not threads, and stay.
 */
static void call_alone(struct sflight_call *c, struct call_remains *remains)
{
    uint64_t state = atomic_load_relaxed(&c->state); /* alone in the child */
    uint64_t kept = CALL_CLOSED | CALL_FORGOTTEN | CALL_SEALED | CALL_COUNT_MASK * CALL_ASYNC;
    atomic_store_relaxed(&c->state, state & kept);
    atomic_store_relaxed(&c->gate, 0);
    waiters_drop(&c->waiters, &c->group->orphan_futures);
    c->result.generation = c->group->generation;
    remains->n_in_flight++;
    remains->n_waiting += state & CALL_SEALED ? 0 : state_async(state);
}

void call_ended_by_fork(struct sflight_call *c)
{
    /* So many holds that it is not freed by whoever gives one up. */
    if (!(atomic_load_relaxed(&c->gate) & GATE_OPEN)) /* alone in the child */
        atomic_store_relaxed(&c->gate, GATE_OPEN | ENDED_ABANDONED | GATE_HOLD * (UINT32_MAX / 2));
}

/* Nobody will end this call; whoever has a future on it finds it abandoned. */
static void call_orphaned(struct sflight_call *c, struct call_remains *remains)
{
    uint64_t state = atomic_load_relaxed(&c->state); /* alone in the child */

    remains->n_held += state & CALL_SEALED ? 0 : state_async(state);
    remains->n_held += c->result.started && !atomic_load_relaxed(&c->result.starter_done);
    struct sflight_future *list = atomic_load_relaxed(&c->waiters);
    if (list != WAITERS_TOLD)
        remains->n_held -= future_list_alone(list, &c->group->orphan_futures);
    atomic_store_relaxed(&c->waiters, WAITERS_TOLD);
    call_ended_by_fork(c);
    c->outer = c->group->orphans;
    c->group->orphans = c;
}

void call_inherited(struct sflight_call *c)
{
    struct sflight_group *g = c->group;
    struct call_remains remains = {0};

    registry_lock(); /* other threads of the child may have futures on it, too */
    bool open = atomic_load_relaxed(&c->gate) & GATE_OPEN; /* ordered by the lock */
    if (!open && call_is_inherited(c, g)) {
        if (call_kind(c) == CALL_OF_PERMIT && c->begun_by == g->forked_by)
            call_alone(c, &remains);
        else
            call_orphaned(c, &remains);
        slot_count_n(&g->common, COUNT_LED, remains.n_in_flight);
        slot_count_n(&g->common, COUNT_JOINED, remains.n_waiting);
        slot_count_n(&g->common, COUNT_HELD, remains.n_held);
        atomic_add_relaxed(&g->n_inherited, remains.n_held);
    }
    registry_unlock();
}

struct survivors {
    const struct caller *thread, *fiber; /* the one that forked; fiber may be NULL */
    struct call_remains remains;
};

static bool keep_own(struct table_node *node, void *ctx)
{
    struct sflight_call *c = container_of(node, struct sflight_call, node);
    struct survivors *s = ctx;
    const struct caller *owner = atomic_load_relaxed(&c->owner); /* alone in the child */
    bool own = call_kind(c) == CALL_OF_PERMIT
                   ? c->begun_by == &thread_self
                   : owner != NULL && (owner == s->thread || owner == s->fiber);

    own = own && !(atomic_load_relaxed(&c->state) & CALL_CLOSED);
    if (!own)
        call_orphaned(c, &s->remains);
    else if (call_kind(c) == CALL_OF_PERMIT) /* the others are found below */
        call_alone(c, &s->remains);
    return own;
}

static void keep_led(const struct caller *caller, struct sflight_group *g,
                     struct call_remains *remains)
{
    for (struct sflight_call *c = caller->leading; c != NULL; c = c->outer)
        if (c->group == g)
            call_alone(c, remains); /* also one that has been forgotten */
    call_batch_after_fork(caller, g, remains);
}

struct call_remains call_after_fork(struct sflight_group *g)
{
    struct survivors s = {.thread = &thread_self.caller, .fiber = caller_forking(g)};

    g->forked_by = &thread_self;
    table_filter_alone(&g->table, keep_own, &s);
    keep_led(s.thread, g, &s.remains);
    if (s.fiber != NULL)
        keep_led(s.fiber, g, &s.remains);
    /* No other fiber drains in the child. */
    waiters_drop(&g->drain_waiters, &g->orphan_futures);
    return s.remains;
}

void call_recount_spares(struct slot *slot)
{
    call_keep_none_ready(slot);
    slot->n_spare = 0;
    for (struct sflight_call *c = slot->spare; c != NULL; c = c->outer)
        slot->n_spare++;
}

void call_free_spares(struct slot *slot)
{
    if (slot->ready != NULL)
        record_free(slot->ready);
    while (slot->spare != NULL) {
        struct sflight_call *c = slot->spare;
        slot->spare = c->outer;
        record_free(c);
    }
}

void call_free_orphans(struct sflight_group *g)
{
    future_free_list(&g->alloc, g->orphan_futures);
    while (g->orphans != NULL) {
        struct sflight_call *c = g->orphans;
        g->orphans = c->outer;
        if (c->result.destroy != NULL)
            c->result.destroy(c->result.value, c->result.size, c->result.ctx);
        record_free(c);
    }
}
