/* SPDX-License-Identifier: BSD-2-Clause */
#include "permit.h"

/* As permit_begun_by(); 0: it has been used. */
static ALWAYS_INLINE void set_begun_by(struct sflight_call *call, uint64_t thread)
{
    call->node.tag = (uint32_t)(thread >> 32);
    call->result.n_followers = (uint32_t)thread;
}

/* The newcomer has joined: it gets that future. */
static ALWAYS_INLINE void get_future(struct slot *slot, struct sflight_future *f,
                                     struct sflight_call *call, struct joint *joint,
                                     struct sflight_future **join)
{
    f = future_secured(slot, f, call, false);
    f->joint = joint;
    gauges_count(slot, COUNT_FUTURES);
    *join = future_hand_out(f);
}

/* It leads: it gets the permit. */
static ALWAYS_INLINE void get_permit(struct sflight_call *call, struct sflight_call **lead)
{
    set_begun_by(call, thread_identity());
    *lead = handle_new(HANDLE_PERMIT, call);
}

/* From the hash on: joins the key's call, or claims the key in the general way. */
static NOINLINE int begin_hashed(struct slot *slot, const struct table_key *key,
                                 struct sflight_call **lead, struct sflight_future **join)
{
    struct newcomer newcomer = {NULL, CALL_OF_PERMIT, STATE_ASYNC, 0};
    struct sflight_call *call = NULL;
    unsigned rank;

    struct sflight_future *f;
    if (!future_secure(slot, &f))
        return -ENOMEM; /* before there is anything to undo */
    int rc = join_hashed(slot->group, slot, *key, newcomer, NULL, &call, &rank);
    if (rc == JOIN_FOLLOWS) {
        remember_joined(slot, call);
        get_future(slot, f, call, NULL, join);
        return 0;
    }
    future_unneeded(slot, f);
    if (rc == JOIN_LEADS)
        get_permit(call, lead);
    return rc == JOIN_LEADS ? 0 : rc;
}

/* Where the slot remembers a call, which may be the key's. */
static NOINLINE int begin_remembering(struct slot *slot, const void *key, size_t key_len,
                                      struct sflight_call **lead, struct sflight_future **join)
{
    struct sflight_future *f;

    if (!future_secure(slot, &f))
        return -ENOMEM; /* before there is anything to undo */
    struct sflight_call *call = join_remembered(slot, key, key_len);
    if (LIKELY(call != NULL)) {
        get_future(slot, f, call, slot->joint, join);
        return 0;
    }
    future_unneeded(slot, f);
    if (UNLIKELY(group_has(slot->group, GROUP_CLOSED)))
        return -ESHUTDOWN;
    struct table_key wanted = {hash_key(key, key_len, slot->group->seed), key, key_len};
    return begin_hashed(slot, &wanted, lead, join);
}

/*
 * The short way: a claim in an empty bucket.  Nobody is joined, so no future is needed.  g: the
 * slot's, which is known before the slot is: so the hash need not wait for that.
 */
static NOINLINE int begin_short(struct sflight_group *g, struct slot *slot, const void *key,
                                size_t key_len, struct sflight_call **lead,
                                struct sflight_future **join)
{
    struct newcomer newcomer = {NULL, CALL_OF_PERMIT, STATE_ASYNC, 0};

    if (UNLIKELY(group_has(g, GROUP_CLOSED))) /* looked at again after the claim */
        return -ESHUTDOWN;
    uint64_t hash = hash_key(key, key_len, g->seed);
    link_word *bucket = table_only_bucket(&g->table, hash);
    /* Only a hint: the CAS decides. */
    if (LIKELY(atomic_load_relaxed(bucket) == 0)) {
        struct sflight_call *call = call_new(slot, key, key_len, hash, &newcomer);
        if (UNLIKELY(call == NULL))
            return -ENOMEM;
        if (LIKELY(join_claims_unlooked(slot, bucket, 0, hash, call))) {
            int rc = join_leads(g, slot, call);
            if (LIKELY(rc == JOIN_LEADS))
                get_permit(call, lead);
            return rc == JOIN_LEADS ? 0 : rc;
        }
        call_discard(slot, call);
    }
    return begin_hashed(slot, &(struct table_key){hash, key, key_len}, lead, join);
}

static ALWAYS_INLINE int begin(struct sflight_group *g, struct slot *slot, const void *key,
                               size_t key_len, struct sflight_call **lead,
                               struct sflight_future **join)
{
    return slot->remembered != NULL ? begin_remembering(slot, key, key_len, lead, join)
                                    : begin_short(g, slot, key, key_len, lead, join);
}

static NOINLINE int begin_first(struct sflight_group *g, const void *key, size_t key_len,
                                struct sflight_call **lead, struct sflight_future **join)
{
    return begin(g, thread_slot(g), key, key_len, lead, join);
}

/* With few stores before the claim: a locked instruction waits for all of them. */
int permit_begin(struct sflight_group *g, const void *key, size_t key_len,
                 struct sflight_call **lead, struct sflight_future **join)
{
    struct slot *slot = thread_slot_cached(g);

    return LIKELY(slot != NULL) ? begin(g, slot, key, key_len, lead, join)
                                : begin_first(g, key, key_len, lead, join);
}

int permit_begin_enqueue(struct sflight_group *g, const void *key, size_t key_len,
                         struct sflight_queue *q, uint64_t tag, struct sflight_call **lead,
                         struct sflight_future **out)
{
    struct sflight_call *call = NULL;

    struct slot *slot = thread_slot(g);
    struct sflight_future *f;
    if (!future_secure(slot, &f))
        return -ENOMEM; /* before there is anything to undo */
    int rc = join_or_claim_async(g, slot, key, key_len, CALL_OF_PERMIT, STATE_STARTER, &call);
    if (UNLIKELY(rc < 0)) {
        future_unneeded(slot, f);
        return rc;
    }
    f = future_secured(slot, f, call, rc == JOIN_LEADS);
    f->joint = remember_joint_of(slot, call);
    if (rc == JOIN_LEADS) {
        call->result.traits |= CALL_HAS_STARTER;
        get_permit(call, lead);
    }
    gauges_count(slot, COUNT_FUTURES);
    if (out != NULL) {
        *out = future_hand_out(f);
        (void)handle_give(*out, "sflight_begin_enqueue");
    }
    notify_enqueue(f, q, tag);
    return 0;
}

int permit_future(struct sflight_call *call, struct sflight_future **out)
{
    if ((call->result.traits & (CALL_HAS_STARTER | CALL_GIVEN_UP)) || orphan_check(call) ||
        call_kind(call) != CALL_OF_PERMIT)
        return -EINVAL;
    struct slot *slot = thread_slot(call->group);
    struct sflight_future *f = future_new(slot, call, true);
    if (f == NULL)
        return -ENOMEM;
    gauges_count(slot, COUNT_FUTURES);
    call->result.traits |= CALL_HAS_STARTER;
    state_add_starter(&call->state);
    *out = future_hand_out(f);
    return 0;
}

static void permit_used(struct sflight_call *call)
{
    call->result.traits |= CALL_GIVEN_UP;
    set_begun_by(call, 0); /* and n_followers */
}

/* The last step of an end. */
static NOINLINE uint32_t release_ended(struct slot *slot, struct sflight_call *call)
{
    uint32_t n_followers = call->result.n_followers;

    hold_release(slot, call);
    return n_followers;
}

static NOINLINE uint32_t complete_with_traits(struct slot *slot, struct sflight_call *call,
                                              int status)
{
    if (call->result.traits & CALL_GIVEN_UP)
        return 0; /* it has been ended before, and its record still is what it was then */
    if (call->result.traits & CALL_ABANDONED)
        return permit_abandon(call);
    permit_used(call);
    lead_ran_with_traits(call, status);
    (void)lead_end(slot, call, false);
    return release_ended(slot, call);
}

uint32_t permit_complete(struct sflight_call *call, int status)
{
    bool end_counted;

    /* One that was used before the fork is not looked at: its record may be a spare one. */
    if (UNLIKELY(call_is_inherited(call)) &&
        ((call->result.traits & CALL_GIVEN_UP) || orphan_check(call)))
        return 0; /* that, or the permit of a thread that does not exist here */
    struct slot *slot = thread_slot(call->group);
    if (UNLIKELY(call->result.traits != 0))
        return complete_with_traits(slot, call, status);
    call->result.traits = CALL_GIVEN_UP;
    call->result.status = status;
    if (UNLIKELY(!finish_unseen(slot, call, &end_counted))) {
        finish_seen(slot, call, 0, end_counted);
        return release_ended(slot, call);
    }
    /* Nobody else knows the record, and who ends it knows no more: its gate stays closed. */
    hold_unseen_ends(slot, call);
    return 0;
}

uint32_t permit_abandon(struct sflight_call *call)
{
    if ((call->result.traits & CALL_GIVEN_UP) || orphan_check(call))
        return 0;
    permit_used(call);
    if (call->result.traits & CALL_TELLS)
        unwanted_stop(call);
    return finish_abandoned(thread_slot(call->group), call);
}
