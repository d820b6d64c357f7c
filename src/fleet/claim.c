/* SPDX-License-Identifier: BSD-2-Clause */
#include "claim.h"

#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct claim *claim_new(struct member *m, enum claim_kind kind, const char *prefix, const void *key,
                        size_t key_len)
{
    size_t size = sizeof(struct claim) + 2 * NAME_MAX_LEN + 3 + key_len + TOKEN_LEN;
    volatile int saved = errno; /* clang takes malloc() for one that leaves errno alone */
    struct claim *c = calloc(1, size);

    errno = saved;
    if (c == NULL)
        return NULL;
    c->member = m;
    c->kind = kind;
    atomic_init(&c->n_owners, 1);
    pthread_mutex_init(&c->call_lock, NULL);
    c->gauge = COUNT_N;
    c->key_len = key_len;
    c->slot_len = (size_t)names_slot(c->slot, prefix, m->name, key, key_len);
    c->bytes = size;
    count_add(&m->counts, COUNT_bytes, size);
    return c;
}

void claim_let_go(struct claim *c)
{
    /* Acquire and release: what the other owner did comes before the memory's next use. */
    if (atomic_fetch_sub_explicit(&c->n_owners, 1, memory_order_acq_rel) != 1)
        return;
    count_sub(&c->member->counts, COUNT_bytes, c->bytes);
    pthread_mutex_destroy(&c->call_lock);
    free(c->frame);
    free(c->value);
    free(c);
}

void claim_call_ends(struct claim *c)
{
    pthread_mutex_lock(&c->call_lock);
    c->call_ends = true;
    pthread_mutex_unlock(&c->call_lock);
}

void claim_void(struct claim *c)
{
    pthread_mutex_lock(&c->call_lock);
    if (!c->call_ends)
        (void)sflight_forget(c->member->group, claim_key(c), c->key_len);
    pthread_mutex_unlock(&c->call_lock);
}

bool claim_set_frame(struct claim *c, const void *value, size_t size, int32_t status,
                     bool is_too_large)
{
    if (is_too_large)
        size = 0;
    volatile int saved = errno; /* clang takes malloc() for one that leaves errno alone */
    c->frame = malloc(FRAME_HEAD_LEN + size);
    errno = saved;
    if (c->frame == NULL)
        return false;
    frame_write_head(c->frame, is_too_large ? FRAME_TOO_LARGE : FRAME_VALUE, status);
    if (size > 0)
        memcpy(c->frame + FRAME_HEAD_LEN, value, size);
    c->frame_len = FRAME_HEAD_LEN + size;
    c->bytes += c->frame_len;
    count_add(&c->member->counts, COUNT_bytes, c->frame_len);
    return true;
}

void claim_free_value(void *value, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    free(value);
}

void claim_count(struct member *m, int outcome)
{
    static const enum count of[] = {
        [FLIGHT_LEAD] = COUNT_led,
        [FLIGHT_VALUE] = COUNT_received,
        [FLIGHT_ALONE_DOWN] = COUNT_alone_down,
        [FLIGHT_ALONE_SLOW] = COUNT_alone_slow,
        [FLIGHT_ALONE_REFUSED] = COUNT_alone_refused,
        [FLIGHT_ALONE_OVERSIZE] = COUNT_alone_oversize,
        [FLIGHT_ALONE_GAVE_UP] = COUNT_alone_gave_up,
        [OUTCOME_MEMORY] = COUNT_alone_memory,
        [OUTCOME_FORKED] = COUNT_alone_forked,
        [OUTCOME_TIMED_OUT] = COUNT_timed_out,
    };

    count_add(&m->counts, of[outcome], 1);
}
