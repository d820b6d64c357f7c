/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What src/reclaim.c uses of ck 0.7.1, in C11: the algorithms are those of ck_epoch.h,
 * ck_epoch.c and ck_stack.h, line by line, without what only counts or checks.
 *
 * As on a machine with weak ordering: ck's loads, stores and read-modify-writes
 * are relaxed, ck_pr_fence_memory() is a seq_cst fence, _load() an acquire and
 * _store() and _release() a release fence.
 *
 * Stronger than ck in one place: the first record of the list is read with
 * acquire.  ck depends on the address dependency, which C11 has no word for.
 */
#ifndef MODEL_CK_H
#define MODEL_CK_H

#define CK_EPOCH_H
#define CK_STACK_H

#include "model.h"

typedef struct ck_stack_entry {
    struct ck_stack_entry *next;
} ck_stack_entry_t;

#define CK_STACK_FOREACH(stack, entry)                                                             \
    for ((entry) = atomic_load_acquire(&(stack)->first); (entry) != NULL; (entry) = (entry)->next)

typedef struct ck_epoch {
    _Atomic(unsigned) epoch;
    struct {
        _Atomic(ck_stack_entry_t *) first;
    } records;
} ck_epoch_t;

typedef struct ck_epoch_record {
    ck_stack_entry_t record_next;
    ck_epoch_t *global;
    _Atomic(unsigned) epoch, active; /* read by everybody who polls */
} ck_epoch_record_t;

#define ck_pr_load_uint(p) atomic_load_relaxed(p)
#define ck_pr_store_uint(p, value) atomic_store_relaxed((p), (value))
#define ck_pr_fence_release() atomic_thread_fence(memory_order_release)
static bool ck_pr_cas_uint(_Atomic(unsigned) *p, unsigned expected, unsigned value)
{
    return atomic_cas_relaxed(p, &expected, value);
}

static void ck_epoch_init(ck_epoch_t *global)
{
    atomic_store_relaxed(&global->records.first, NULL);
    atomic_store_relaxed(&global->epoch, 1);
}

static void ck_epoch_register(ck_epoch_t *global, ck_epoch_record_t *record, void *ct)
{
    (void)ct;
    record->global = global;
    atomic_store_relaxed(&record->active, 0);
    atomic_store_relaxed(&record->epoch, 0);
    /* ck_stack_push_upmc() */
    ck_stack_entry_t *first = atomic_load_relaxed(&global->records.first);
    do {
        record->record_next.next = first;
        atomic_thread_fence(memory_order_release);
    } while (!atomic_cas_relaxed(&global->records.first, &first, &record->record_next));
}

/* ck_epoch_poll_deferred(), for a record that nothing is filed with */
static bool ck_epoch_poll(ck_epoch_record_t *record)
{
    ck_epoch_t *global = record->global;
    unsigned epoch = atomic_load_relaxed(&global->epoch);
    unsigned any = 0;
    ck_stack_entry_t *cursor;

    atomic_fence_seq_cst();
    /* ck_epoch_scan() */
    CK_STACK_FOREACH(&global->records, cursor)
    {
        ck_epoch_record_t *other = container_of(cursor, ck_epoch_record_t, record_next);
        unsigned active = atomic_load_relaxed(&other->active);
        any |= active;
        if (active != 0 && atomic_load_relaxed(&other->epoch) != epoch)
            return false;
    }
    if (any == 0) {
        atomic_store_relaxed(&record->epoch, epoch);
        return true;
    }
    unsigned expected = epoch;
    (void)atomic_cas_relaxed(&global->epoch, &expected, epoch + 1);
    return true;
}

#endif
