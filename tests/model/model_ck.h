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

typedef struct ck_stack {
    ck_stack_entry_t *head; /* one thread's, or handed on from one to the next */
} ck_stack_t;

#define CK_STACK_INITIALIZER                                                                       \
    {                                                                                              \
        NULL                                                                                       \
    }
#define CK_STACK_FOREACH(stack, entry)                                                             \
    for ((entry) = atomic_load_acquire(&(stack)->first); (entry) != NULL; (entry) = (entry)->next)
#define CK_STACK_FOREACH_SAFE(stack, entry, following)                                             \
    for ((entry) = (stack)->head; (entry) != NULL && ((following) = (entry)->next, 1);             \
         (entry) = (following))

#define CK_EPOCH_LENGTH 4

typedef struct ck_epoch_entry ck_epoch_entry_t;
typedef void ck_epoch_cb_t(ck_epoch_entry_t *);

struct ck_epoch_entry {
    ck_epoch_cb_t *function;
    ck_stack_entry_t stack_entry;
};

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
    unsigned n_pending;
    ck_stack_t pending[CK_EPOCH_LENGTH];
} ck_epoch_record_t;

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
    record->n_pending = 0;
    for (int i = 0; i < CK_EPOCH_LENGTH; i++)
        record->pending[i].head = NULL;
    /* ck_stack_push_upmc() */
    ck_stack_entry_t *first = atomic_load_relaxed(&global->records.first);
    do {
        record->record_next.next = first;
        atomic_thread_fence(memory_order_release);
    } while (!atomic_cas_relaxed(&global->records.first, &first, &record->record_next));
}

static void ck_epoch_begin(ck_epoch_record_t *record, void *section)
{
    unsigned active = atomic_load_relaxed(&record->active);

    (void)section;
    if (active != 0) {
        atomic_store_relaxed(&record->active, active + 1);
        return;
    }
    atomic_store_relaxed(&record->active, 1);
    atomic_fence_seq_cst();
    atomic_store_relaxed(&record->epoch, atomic_load_relaxed(&record->global->epoch));
}

static bool ck_epoch_end(ck_epoch_record_t *record, void *section)
{
    (void)section;
    atomic_thread_fence(memory_order_release);
    unsigned active = atomic_load_relaxed(&record->active) - 1;
    atomic_store_relaxed(&record->active, active);
    return active == 0;
}

/* ck_stack_push_spnc() */
static void ck_push(ck_stack_t *stack, ck_stack_entry_t *entry)
{
    entry->next = stack->head;
    stack->head = entry;
}

static void ck_epoch_call(ck_epoch_record_t *record, ck_epoch_entry_t *entry, ck_epoch_cb_t *fn)
{
    unsigned e = atomic_load_relaxed(&record->global->epoch);

    record->n_pending++;
    entry->function = fn;
    ck_push(&record->pending[e & (CK_EPOCH_LENGTH - 1)], &entry->stack_entry);
}

static void ck_dispatch(ck_epoch_record_t *record, unsigned e, ck_stack_t *deferred)
{
    ck_stack_t *pending = &record->pending[e & (CK_EPOCH_LENGTH - 1)];
    ck_stack_entry_t *cursor = pending->head, *next;

    /* ck_stack_batch_pop_upmc(): a swap, though nobody else comes; and a fence */
    pending->head = NULL;
    atomic_fence_acquire();
    for (; cursor != NULL; cursor = next) {
        next = cursor->next;
        ck_push(deferred, cursor);
        record->n_pending--;
    }
}

static bool ck_epoch_poll_deferred(ck_epoch_record_t *record, ck_stack_t *deferred)
{
    ck_epoch_t *global = record->global;
    unsigned epoch = atomic_load_relaxed(&global->epoch);
    unsigned any = 0;
    ck_stack_entry_t *cursor;

    atomic_fence_seq_cst();
    ck_dispatch(record, epoch - 2, deferred);
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
        for (unsigned e = 0; e < CK_EPOCH_LENGTH; e++)
            ck_dispatch(record, e, deferred);
        return true;
    }
    unsigned expected = epoch;
    (void)atomic_cas_relaxed(&global->epoch, &expected, epoch + 1);
    ck_dispatch(record, epoch - 1, deferred);
    return true;
}

#endif
