/* SPDX-License-Identifier: BSD-2-Clause */
#include "handle.h"

#ifdef SFLIGHT_DEBUG

#include "alloc.h"
#include "lock.h"

enum state { LIVE, GIVEN, OVER };

#define MAGIC UINT64_C(0x53464c4748414e44) /* no record begins so */

struct handle {
    uint64_t magic;
    enum handle_kind kind;
    enum state state;
    void *record;   /* NULL: over */
    const char *by; /* the function that gave it away or ended it */
    struct handle *next;
};

/* Those that are over, the oldest first.  A child of a fork may find the last one cut off. */
static struct lock lock;
static struct handle *first_over, **last_over = &first_over;
static unsigned n_over;

static const char *const names[] = {
    [HANDLE_PERMIT] = "permit",
    [HANDLE_FUTURE] = "future",
    [HANDLE_RESULT] = "result",
};

static const char *const ends[] = {
    [HANDLE_PERMIT] = "used",
    [HANDLE_FUTURE] = "consumed",
    [HANDLE_RESULT] = "released",
};

static const char *const hints[] = {
    [HANDLE_PERMIT] = "a call is ended once",
    [HANDLE_FUTURE] = "what has been consumed is gone",
    [HANDLE_RESULT] = "an assigned copy is no hold of its own",
};

void *handle_new(enum handle_kind kind, void *record)
{
    struct handle *h = NULL;

    lock_take(&lock);
    if (n_over > HANDLES_KEPT) {
        h = first_over;
        first_over = h->next;
        n_over--;
    }
    lock_give(&lock);
    if (h == NULL && (h = alloc_get(&alloc_process, sizeof(*h), _Alignof(struct handle))) == NULL)
        require_misused("debug build", "there is no memory to note a %s", names[kind]);
    *h = (struct handle){.magic = MAGIC, .kind = kind, .state = LIVE, .record = record};
    return h;
}

/* Under the lock, which whoever aborts keeps. */
static struct handle *look(enum handle_kind kind, void *handle, enum state at_most,
                           const char *function)
{
    struct handle *h = handle;

    if (h == NULL || h->magic != MAGIC || h->kind != kind)
        require_misused(function, "this is no %s", names[kind]);
    if (h->state > at_most)
        require_misused(function, "this %s has been %s already, by %s(); %s", names[kind],
                        ends[kind], h->by, hints[kind]);
    return h;
}

/* Under the lock. */
static void end(struct handle *h)
{
    h->state = OVER;
    h->record = NULL;
    h->next = NULL;
    *last_over = h;
    last_over = &h->next;
    n_over++;
}

void *handle_record(enum handle_kind kind, void *handle, const char *function)
{
    lock_take(&lock);
    void *record = look(kind, handle, LIVE, function)->record;
    lock_give(&lock);
    return record;
}

void *handle_end(enum handle_kind kind, void *handle, const char *function)
{
    lock_take(&lock);
    struct handle *h = look(kind, handle, LIVE, function);
    void *record = h->record;
    h->by = function;
    end(h);
    lock_give(&lock);
    return record;
}

void *handle_call(const void *call, const char *function)
{
    void *handle = (void *)call; /* no call is const: to its leader it looks so */

    if (call != NULL && *(const uint64_t *)call != MAGIC)
        return handle;
    return handle_record(HANDLE_PERMIT, handle, function);
}

void *handle_give(void *handle, const char *function)
{
    lock_take(&lock);
    struct handle *h = look(HANDLE_FUTURE, handle, LIVE, function);
    void *record = h->record;
    h->state = GIVEN;
    h->by = function;
    lock_give(&lock);
    return record;
}

void handle_given(void *handle, bool given)
{
    struct handle *h = handle;

    if (!given)
        h->state = LIVE; /* nobody else knows of it */
}

void *handle_to_cancel(void *handle)
{
    lock_take(&lock);
    void *record = look(HANDLE_FUTURE, handle, GIVEN, "sflight_future_cancel")->record;
    lock_give(&lock);
    return record;
}

void handle_cancelled(void *handle)
{
    struct handle *h = handle;

    lock_take(&lock);
    if (h->state == GIVEN) { /* otherwise it has come meanwhile */
        h->by = "sflight_future_cancel";
        end(h);
    }
    lock_give(&lock);
}

void handle_moved(void *handle, void *record)
{
    struct handle *h = handle;

    if (h == NULL)
        return;
    lock_take(&lock);
    h->record = record;
    lock_give(&lock);
}

void handle_delivered(void *handle, const void *record, const char *by)
{
    struct handle *h = handle;

    if (h == NULL)
        return;
    lock_take(&lock);
    if (h->record == record) {
        h->by = by;
        end(h);
    }
    lock_give(&lock);
}

#else
typedef int handle_nothing; /* a file is not empty */
#endif
