/* SPDX-License-Identifier: BSD-2-Clause */
#include "hold.h"

#include <string.h>

/* -------------------------------------------------------------------- values */

/* Stands in front of the memory that hold_alloc_value() returns. */
struct value_header {
    _Alignas(max_align_t) size_t bytes; /* header included */
};

/* The destroy function of such a value; its ctx is the group. */
static void value_free(void *value, size_t size, void *group)
{
    struct value_header *h = (struct value_header *)value - 1;
    struct sflight_group *g = group;

    (void)size;
    alloc_put(&g->alloc, h, h->bytes);
}

/*
 * Another thread may fork meanwhile: `destroy` is set only while value, size and ctx are the ones
 * that go with it, so that the child cannot destroy a mixture.
 */
static ALWAYS_INLINE void put_value(struct result *r, void *value, size_t size,
                                    sflight_destroy_fn *destroy, void *ctx)
{
    r->value = value;
    r->size = size;
    r->ctx = ctx;
    atomic_fence_compiler();
    r->destroy = destroy;
}

static NOINLINE void replace_value(struct result *r, void *value, size_t size,
                                   sflight_destroy_fn *destroy, void *ctx)
{
    sflight_destroy_fn *old_destroy = r->destroy;
    void *old = r->value, *old_ctx = r->ctx;
    size_t old_size = r->size;

    if (r->traits & CALL_PANICKED) { /* and something has stopped that on its way */
        if (destroy != NULL)
            destroy(value, size, ctx);
        return;
    }
    r->destroy = NULL;
    atomic_fence_compiler();
    if (old_destroy == value_free && value == old) {
        put_value(r, old, size, old_destroy, old_ctx); /* the same memory: only its size changes */
        return;
    }
    put_value(r, value, size, destroy, ctx);
    old_destroy(old, old_size, old_ctx);
}

void hold_set_value(struct sflight_call *c, void *value, size_t size, sflight_destroy_fn *destroy,
                    void *ctx)
{
    if (UNLIKELY(c->result.destroy != NULL))
        replace_value(&c->result, value, size, destroy, ctx);
    else
        put_value(&c->result, value, size, destroy, ctx);
}

void *hold_alloc_value(struct sflight_call *c, size_t size)
{
    if (size > SIZE_MAX / 2 || (c->result.traits & CALL_PANICKED))
        return NULL;
    size_t bytes = sizeof(struct value_header) + size;
    struct value_header *h = alloc_get(&c->group->alloc, bytes, _Alignof(max_align_t));
    if (h == NULL)
        return NULL;
    h->bytes = bytes;
    hold_set_value(c, h + 1, size, value_free, c->group);
    return h + 1;
}

/* --------------------------------------------------------------------- holds */

/*
 * Stands in the frame that calls destroy.  If destroy does not return (a C++ exception, or its
 * thread ends), the hold is given up while the stack is unwound, or by the exit.
 */
struct destroy_guard {
    struct sflight_call *call; /* NULL: destroy has returned */
    uint32_t n;                /* holds that are given up */
#if !EXIT_UNWINDS
    struct invoke_exit exit;
#endif
};

static void destroy_guard_check(void *arg)
{
    struct destroy_guard *guard = arg;

    invoke_exited(&guard->exit);
    if (UNLIKELY(guard->call != NULL)) {
        struct slot *slot = thread_slot_again(guard->call->group);
        bool inherited = call_is_inherited(guard->call);
        hold_give_back(slot, guard->call);
        if (!inherited)
            gauges_count_n(slot, COUNT_RELEASED, guard->n);
        for (uint32_t n = inherited ? guard->n : 0; n != 0; n--)
            hold_released_inherited(slot);
    }
}

struct slot *hold_destroy_value(struct slot *slot, struct sflight_call *c, uint32_t n)
{
    REQUIRE_NO_SECTION();
    struct destroy_guard guard __attribute__((cleanup(destroy_guard_check))) = {.call = c, .n = n};
    invoke_exits(&guard.exit, destroy_guard_check, &guard);
    c->result.destroy(c->result.value, c->result.size, c->result.ctx);
    guard.call = NULL;
    return thread_slot_if_moved(slot);
}

/* One of the inherited holds is given up; false: of those that count there is none any more. */
static bool one_inherited_less(struct sflight_group *g)
{
    uint64_t n = atomic_load_relaxed(&g->n_inherited); /* the CAS decides */

    while (n != 0)
        if (atomic_cas_relaxed(&g->n_inherited, &n, n - 1))
            return true;
    return false;
}

struct slot *hold_value_ends(struct slot *slot, struct sflight_call *c, uint32_t n, bool inherited)
{
    uint64_t salt = process_salt();

    (void)hold_destroy_value(slot, c, n);
    c->result.destroy = NULL;
    slot = thread_slot_again(c->group); /* destroy may have forked */
    if (UNLIKELY(salt != process_salt()) && !inherited)
        for (; n != 0; n--) /* the caller counts them as its process's */
            if (!one_inherited_less(c->group))
                gauges_count(slot, COUNT_HELD);
    return slot;
}

/*
 * At most n_inherited releases are counted of holds from before the fork: those of them that
 * threads of the parent had, which do not exist in the child, are not counted as held there.
 */
void hold_released_inherited(struct slot *slot)
{
    group_enter(slot->group); /* a callback may have forked since the slot was found */
    if (one_inherited_less(slot->group))
        gauges_count(slot, COUNT_RELEASED);
}

struct slot *hold_drop(struct slot *slot, struct sflight_call *c, uint32_t n, bool inherited)
{
    if (gate_drop(&c->gate))
        slot = hold_last(slot, c, n, inherited);
    return slot;
}

void hold_own_ends(struct sflight_call **own)
{
    if (*own != NULL)
        hold_drop(thread_slot_again((*own)->group), *own, 0, false);
}

struct hold_own hold_own(struct slot *slot, struct sflight_call *c)
{
    gauges_count(slot, COUNT_HELD);
    gate_hold(&c->gate);
    return (struct hold_own){.call = c, .salt = process_salt(), .left = true};
}

void hold_take_value(struct hold_own *own)
{
    struct result *r = &own->call->result;

    own->destroy = r->destroy;
    own->value = r->value;
    own->ctx = r->ctx;
    own->size = r->size;
    r->destroy = NULL;
    atomic_fence_compiler(); /* as replace_value() */
    hold_set_value(own->call, NULL, 0, NULL, NULL);
}

static void own_drop(struct hold_own *own)
{
    bool inherited = own->salt != process_salt();
    struct slot *slot = hold_drop(thread_slot_again(own->call->group), own->call, 1, inherited);

    hold_count_released(slot, inherited);
}

/* However destroy is left, the hold is given up, as by struct destroy_guard. */
struct own_guard {
    struct hold_own *own;
#if !EXIT_UNWINDS
    struct invoke_exit exit;
#endif
};

static void own_guard_ends(void *arg)
{
    struct own_guard *guard = arg;

    invoke_exited(&guard->exit);
    own_drop(guard->own);
}

static void own_end(struct hold_own *own)
{
    struct own_guard guard __attribute__((cleanup(own_guard_ends), unused)) = {.own = own};

    REQUIRE_NO_SECTION();
    invoke_exits(&guard.exit, own_guard_ends, &guard);
    if (own->destroy != NULL)
        own->destroy(own->value, own->size, own->ctx);
}

void hold_counted_ends(struct hold_own *own)
{
    bool returned __attribute__((cleanup(invoke_must_return))) = !own->left;

    own_end(own);
    returned = true;
}

void hold_release_n(struct slot *slot, struct sflight_call *c, uint32_t n)
{
    while (n > 1 && UNLIKELY(call_is_inherited(c)))
        n--, hold_release(slot, c); /* each is looked for by itself */
    if (n == 1) {
        hold_release(slot, c);
        return;
    }
    if (gate_drop_n(&c->gate, n))
        slot = hold_last(slot, c, n, false);
    gauges_count_n(slot, COUNT_RELEASED, n); /* the last touch: the group may go now */
}

void hold_retain(struct slot *slot, struct sflight_call *c)
{
    hold_open_sole(c);
    REQUIRE(gate_holds(require_word(&c->gate)) != 0);
    hold_count_held(slot, c, 1);
    gate_hold_again(&c->gate);
}

int hold_deliver_failure(struct slot *slot, struct sflight_call *c, uint64_t word,
                         sflight_result *r)
{
    if (word & ENDING_PANICKED) {
        hold_hand_out(r);
        return -ENOTRECOVERABLE;
    }
    memset(r, 0, sizeof(*r)); /* before destroy, which may be left */
    hold_release(slot, c);
    return word & ENDING_SHUT ? -ESHUTDOWN : -EOWNERDEAD;
}

void hold_end_by_fork(struct sflight_call *c)
{
    /* So many holds that none of those that are given up is the last. */
    if (!gate_is_open(&c->gate))
        gate_open_unseen(&c->gate, ENDING_ABANDONED, UINT32_MAX / 2);
}
