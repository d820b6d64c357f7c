/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory as C11 has it: what a thread may see, and what it may not touch.
 *
 * All memory of a run comes from one arena, never used twice in a run: whatever
 * touches a block after it was freed, or beside one, has failed.
 *
 * Each thread has a vector clock; release and acquire, fences, mutexes, begin
 * and join pass them on.  Plain accesses, which the compiler reports to us as it
 * would to ThreadSanitizer, must be ordered by them: a race has failed.
 *
 * With old values on, an atomic location remembers its last stores, and a load
 * may get any that coherence and happens-before still allow.
 */
#ifndef EXPLORE_MEMORY_H
#define EXPLORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EX_RELAXED = 0, EX_ACQUIRE = 1, EX_RELEASE = 2, EX_ACQ_REL = 3 };

struct clock {
    uint32_t t[16];
};

/* Begins a run with an empty arena. */
void memory_reset(void);
/*
 * Old values, as C11 allows them; or only as x86 does, where a fence after a
 * read-modify-write is nothing, because that is a full barrier itself.
 */
extern bool memory_old_values, memory_x86;

void *memory_alloc(size_t size, size_t align); /* never fails: that is for the door */
void memory_free(void *block);
bool memory_ours(const volatile void *p);
/* Blocks given and not taken back, of which it names one. */
size_t memory_live(const void **one);

/* Accesses; each is checked, and is not a point by itself. */
uint64_t memory_load(const volatile void *p, unsigned size, int order, const char *site);
uint64_t memory_load_newest(const volatile void *p, unsigned size, const char *site);
void memory_store(volatile void *p, unsigned size, uint64_t value, int order, const char *site);
enum memory_rmw { RMW_ADD, RMW_SUB, RMW_OR, RMW_AND, RMW_SWAP };
uint64_t memory_rmw(volatile void *p, unsigned size, enum memory_rmw op, uint64_t value, int order,
                    const char *site);
bool memory_cas(volatile void *p, unsigned size, uint64_t *expected, uint64_t value, int order,
                const char *site);
void memory_fence(int order, bool seq_cst);
void memory_fence_after_rmw(void);
void memory_plain(const volatile void *p, size_t size, bool write);

/* The running thread's clock goes to, or takes in, what something else carries. */
void memory_give(struct clock *clock);
void memory_take(const struct clock *clock);
void memory_take_all(void);                   /* as if everybody had been joined */
bool memory_after(const struct clock *clock); /* it has all of that */

/* Hooks for the scheduler. */
void memory_thread_begins(int thread);
void memory_thread_joined(int thread);

#endif
