/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See memory.h.  The rules for which stores a load may return follow Relacy
 * (Vyukov) and CDSChecker (Norris and Demsky, 2013), without the reordering of
 * stores among themselves: modification order is the order of execution.
 */
#include "memory.h"

#include "sched.h"

#include <string.h>
#include <sys/mman.h>

#define ARENA_AT ((char *)0x5f0000000000) /* always there, so that addresses repeat */

enum {
    ARENA_BYTES = 1 << 20,
    GRAIN = 8,
    GRAINS = ARENA_BYTES / GRAIN,
    GAP = 16,    /* between blocks */
    CELLS = 8,   /* accesses remembered for each grain */
    HISTORY = 8, /* stores remembered for each location; a power of two */
    MAX_LOCATIONS = 8192,
    FREED_BYTE = 0xdd,
    FRESH_BYTE = 0xa5,
};

_Static_assert(sizeof(struct clock) / sizeof(uint32_t) == MAX_THREADS, "a time for each thread");

/* One access to some bytes of a grain. */
struct cell {
    uint32_t when;
    uint8_t thread;
    uint8_t bytes; /* a bit for each; 0: no access */
    bool write, atomic;
};

struct store {
    uint64_t value;
    struct clock release; /* what an acquire load of it takes in */
    struct clock seen;    /* when each thread first read it; 0: it has not */
    uint32_t when;        /* of its writer; 0: before everything */
    int writer;
};

struct location {
    const volatile void *p;
    struct location *next; /* of the same grain */
    unsigned size;
    uint32_t n_stores;
    struct store stores[HISTORY]; /* the newest at (n_stores - 1) % HISTORY */
};

enum { NOTHING, LIVE, FREED };

bool memory_old_values, memory_x86;

static char *arena;
static size_t arena_used; /* bytes */
static uint8_t grain_state[GRAINS];
static uint32_t block_bytes[GRAINS]; /* at a block's first grain */
static struct cell cells[GRAINS][CELLS];
static uint8_t cell_turn[GRAINS];
static struct location *grain_locations[GRAINS];
static struct location locations[MAX_LOCATIONS];
static unsigned n_locations;
static struct location *outside; /* of memory that is not ours */

static struct {
    struct clock now;     /* what happened before */
    struct clock pending; /* what an acquire fence will take in */
    struct clock fenced;  /* what relaxed stores give, since a release fence */
    struct clock floor;   /* not happened before, but visible: by a seq_cst fence */
} threads[MAX_THREADS];
static struct clock fences; /* what came before any seq_cst fence */

static void clock_join(struct clock *to, const struct clock *from)
{
    for (int i = 0; i < MAX_THREADS; i++)
        to->t[i] = to->t[i] > from->t[i] ? to->t[i] : from->t[i];
}

/* -------------------------------------------------------------------- arena */

void memory_reset(void)
{
    if (arena == NULL) {
        arena = mmap(ARENA_AT, ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (arena != ARENA_AT)
            explore_fail("no arena");
    }
    size_t n = (arena_used + GRAIN - 1) / GRAIN;
    memset(grain_state, 0, n);
    memset(cells, 0, n * sizeof(cells[0]));
    memset((void *)grain_locations, 0, n * sizeof(grain_locations[0]));
    arena_used = GAP;
    n_locations = 0;
    outside = NULL;
    memset(threads, 0, sizeof(threads));
    memset(&fences, 0, sizeof(fences));
}

bool memory_ours(const volatile void *p)
{
    return (uintptr_t)p - (uintptr_t)ARENA_AT < ARENA_BYTES;
}

static size_t grain_of(const volatile void *p)
{
    return ((uintptr_t)p - (uintptr_t)ARENA_AT) / GRAIN;
}

void *memory_alloc(size_t size, size_t align)
{
    size_t at = (arena_used + GAP + align - 1) & ~(align - 1);
    if (align < GRAIN)
        at = (arena_used + GAP + GRAIN - 1) & ~(size_t)(GRAIN - 1);
    if (at + size > ARENA_BYTES)
        explore_fail("the arena is used up");
    arena_used = at + size;
    char *p = arena + at;
    memset(p, FRESH_BYTE, size);
    memset(&grain_state[at / GRAIN], LIVE, (size + GRAIN - 1) / GRAIN);
    block_bytes[at / GRAIN] = (uint32_t)size;
    return p;
}

void memory_free(void *block)
{
    size_t grain = grain_of(block);
    if ((uintptr_t)block % GRAIN != 0 || block_bytes[grain] == 0)
        explore_fail("free of %p, which is no block", block);
    if (grain_state[grain] != LIVE)
        explore_fail("%p is freed twice", block);
    size_t size = block_bytes[grain];
    memory_plain(block, size, true); /* every use must come before */
    memset(block, FREED_BYTE, size);
    memset(&grain_state[grain], FREED, (size + GRAIN - 1) / GRAIN);
}

size_t memory_live(const void **one)
{
    size_t n = 0;
    size_t end = (arena_used + GRAIN - 1) / GRAIN;
    for (size_t i = 0; i < end; i++)
        if (grain_state[i] == LIVE && (i == 0 || grain_state[i - 1] != LIVE)) {
            *one = arena + i * GRAIN;
            n++;
        }
    return n;
}

/* -------------------------------------------------------------------- races */

static void check_grain(size_t grain, uint8_t bytes, bool write, bool atomic)
{
    const struct clock *now = &threads[sched.self].now;
    struct cell *free_cell = NULL;

    if (grain_state[grain] != LIVE)
        explore_fail("%s of %s memory at %p", write ? "write" : "read",
                     grain_state[grain] == FREED ? "freed" : "no", (void *)(arena + grain * GRAIN));
    for (int i = 0; i < CELLS; i++) {
        struct cell *c = &cells[grain][i];
        if (c->bytes == 0) {
            free_cell = free_cell != NULL ? free_cell : c;
            break;
        }
        if (c->thread == sched.self) {
            if (c->write == write && c->atomic == atomic && (c->bytes & ~bytes) == 0) {
                free_cell = c;
                /* Others behind it may still race: look on. */
            }
            continue;
        }
        bool before = c->when <= now->t[c->thread];
        if (!before && (c->bytes & bytes) && (c->write || write) && !(c->atomic && atomic))
            explore_fail("race at %p: a %s%s of thread %d is not ordered with this %s%s",
                         (void *)(arena + grain * GRAIN), c->atomic ? "atomic " : "plain ",
                         c->write ? "write" : "read", c->thread, atomic ? "atomic " : "plain ",
                         write ? "write" : "read");
        /* Ordered before this one, and covered by it. */
        if (before && free_cell == NULL && (c->bytes & ~bytes) == 0 && (write || !c->write) &&
            c->atomic == atomic)
            free_cell = c;
    }
    if (free_cell == NULL)
        free_cell = &cells[grain][cell_turn[grain]++ % CELLS];
    free_cell->when = now->t[sched.self];
    free_cell->thread = (uint8_t)sched.self;
    free_cell->bytes = bytes;
    free_cell->write = write;
    free_cell->atomic = atomic;
}

static void check_access(const volatile void *p, size_t size, bool write, bool atomic)
{
    uintptr_t at = (uintptr_t)p, end = at + size;
    while (at < end) {
        uintptr_t stop = (at / GRAIN + 1) * GRAIN;
        if (stop > end)
            stop = end;
        unsigned first = at % GRAIN, n = (unsigned)(stop - at);
        check_grain(grain_of((const void *)at), (uint8_t)(((1u << n) - 1) << first), write, atomic);
        at = stop;
    }
}

void memory_plain(const volatile void *p, size_t size, bool write)
{
    if (memory_ours(p))
        check_access(p, size, write, false);
    else if (sched_stack_gone(p))
        explore_fail("%p is used, in a frame of a stack that has been left", (void *)(uintptr_t)p);
}

/* ------------------------------------------------------------------ atomics */

static uint64_t raw_load(const volatile void *p, unsigned size)
{
    switch (size) {
    case 1:
        return *(const volatile uint8_t *)p;
    case 2:
        return *(const volatile uint16_t *)p;
    case 4:
        return *(const volatile uint32_t *)p;
    default:
        return *(const volatile uint64_t *)p;
    }
}

static void raw_store(volatile void *p, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)p = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)p = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)p = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)p = value;
    }
}

static struct store *newest(struct location *l)
{
    return &l->stores[(l->n_stores - 1) % HISTORY];
}

static void forget_stores(struct location *l)
{
    l->n_stores = 1;
    memset(&l->stores[0], 0, sizeof(l->stores[0]));
    l->stores[0].value = raw_load(l->p, l->size);
}

/* The location of an atomic access, whose thread's time goes on. */
static struct location *locate(const volatile void *p, unsigned size, bool write, const char *site)
{
    struct location **list = &outside, *l;

    threads[sched.self].now.t[sched.self]++;
    if (memory_ours(p)) {
        check_access(p, size, write, true);
        list = &grain_locations[grain_of(p)];
    }
    for (l = *list; l != NULL; l = l->next)
        if (l->p == p) {
            /* The half of a word, as futexes look at it, is of the whole one's location. */
            if (l->size < size || (l->size > size && write))
                explore_fail("%s: a word of two sizes", site);
            if (newest(l)->value != raw_load(p, l->size))
                forget_stores(l); /* somebody has written it plainly */
            return l;
        }
    if (n_locations == MAX_LOCATIONS)
        explore_fail("more than %d atomic locations", MAX_LOCATIONS);
    l = &locations[n_locations++];
    l->p = p;
    l->size = size;
    l->next = *list;
    *list = l;
    forget_stores(l);
    return l;
}

/* How many stores, from the newest back, a load may return. */
static unsigned n_visible(struct location *l)
{
    struct clock view = threads[sched.self].now, *now = &view;
    clock_join(&view, &threads[sched.self].floor);
    unsigned n = l->n_stores < HISTORY ? l->n_stores : HISTORY;
    for (unsigned i = 0; i < n; i++) {
        const struct store *st = &l->stores[(l->n_stores - 1 - i) % HISTORY];
        if (st->when <= now->t[st->writer])
            return i + 1;
        for (int u = 0; u < MAX_THREADS; u++)
            if (st->seen.t[u] != 0 && st->seen.t[u] <= now->t[u])
                return i + 1; /* read by somebody, before this */
    }
    return n;
}

static void see(struct store *st, int order)
{
    int self = sched.self;
    if (st->seen.t[self] == 0)
        st->seen.t[self] = threads[self].now.t[self];
    if (order & EX_ACQUIRE)
        clock_join(&threads[self].now, &st->release);
    else
        clock_join(&threads[self].pending, &st->release);
}

/* x86: a locked instruction is a full barrier, loads acquire, stores release. */
static void locked(void)
{
    if (memory_x86)
        memory_fence(EX_ACQ_REL, true);
}

uint64_t memory_load_newest(const volatile void *p, unsigned size, const char *site)
{
    struct location *l = locate(p, size, false, site);
    see(newest(l), EX_RELAXED);
    sched_note(site, "look", p, newest(l)->value);
    return newest(l)->value;
}

uint64_t memory_load(const volatile void *p, unsigned size, int order, const char *site)
{
    struct location *l = locate(p, size, false, site);
    unsigned back = 0;

    order |= memory_x86 ? EX_ACQUIRE : 0;
    if (memory_old_values && l->n_stores > 1) {
        unsigned n = n_visible(l);
        if (n > 1 && sched_mishap(2))
            back = sched_choose(n);
    }
    struct store *st = &l->stores[(l->n_stores - 1 - back) % HISTORY];
    see(st, order);
    sched_note(site, back != 0 ? "load old" : "load", p, st->value);
    return st->value;
}

static void add_store(struct location *l, uint64_t value, int order, const struct clock *sequence)
{
    int self = sched.self;
    struct store *st = &l->stores[l->n_stores++ % HISTORY];
    struct clock carried = {{0}};

    if (sequence != NULL)
        carried = *sequence;
    clock_join(&carried, order & EX_RELEASE ? &threads[self].now : &threads[self].fenced);
    st->value = value;
    st->release = carried;
    memset(&st->seen, 0, sizeof(st->seen));
    st->when = threads[self].now.t[self];
    st->writer = self;
    threads[self].now.t[self]++; /* what comes now is not given */
    raw_store((volatile void *)(uintptr_t)l->p, l->size, value);
}

void memory_store(volatile void *p, unsigned size, uint64_t value, int order, const char *site)
{
    struct location *l = locate(p, size, true, site);
    add_store(l, value, order | (memory_x86 ? EX_RELEASE : 0), NULL);
    sched_note(site, "store", p, value);
}

static uint64_t truncated(uint64_t value, unsigned size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << (size * 8)) - 1);
}

uint64_t memory_rmw(volatile void *p, unsigned size, enum memory_rmw op, uint64_t value, int order,
                    const char *site)
{
    struct location *l = locate(p, size, true, site);
    struct store *st = newest(l);
    struct clock sequence = st->release;
    uint64_t old = st->value, new = value;

    locked();
    switch (op) {
    case RMW_ADD:
        new = old + value;
        break;
    case RMW_SUB:
        new = old - value;
        break;
    case RMW_OR:
        new = old | value;
        break;
    case RMW_AND:
        new = old &value;
        break;
    case RMW_SWAP:
        break;
    }
    see(st, order);
    add_store(l, truncated(new, size), order, &sequence);
    locked();
    sched_note(site, "rmw", p, truncated(new, size));
    return old;
}

bool memory_cas(volatile void *p, unsigned size, uint64_t *expected, uint64_t value, int order,
                const char *site)
{
    struct location *l = locate(p, size, true, site);
    struct store *st = newest(l);

    locked();
    if (st->value != truncated(*expected, size)) {
        see(st, order & EX_ACQUIRE);
        *expected = st->value;
        sched_note(site, "cas fails", p, st->value);
        return false;
    }
    struct clock sequence = st->release;
    see(st, order);
    add_store(l, truncated(value, size), order, &sequence);
    locked();
    sched_note(site, "cas", p, truncated(value, size));
    return true;
}

void memory_fence_after_rmw(void)
{
    if (!memory_x86)
        memory_fence(EX_ACQ_REL, true);
}

void memory_fence(int order, bool seq_cst)
{
    int self = sched.self;
    threads[self].now.t[self]++;
    if ((order & EX_ACQUIRE) && memory_x86)
        clock_join(&threads[self].now, &threads[self].pending);
    if (seq_cst) {
        clock_join(&threads[self].floor, &fences);
        clock_join(&fences, &threads[self].now);
    }
    if ((order & EX_RELEASE) && memory_x86)
        threads[self].fenced = threads[self].now;
    threads[self].now.t[self]++; /* what comes now is not given */
}

void memory_give(struct clock *clock)
{
    threads[sched.self].now.t[sched.self]++;
    clock_join(clock, &threads[sched.self].now);
    threads[sched.self].now.t[sched.self]++; /* what comes now is not given */
}

void memory_take(const struct clock *clock)
{
    clock_join(&threads[sched.self].now, clock);
}

bool memory_after(const struct clock *clock)
{
    for (int i = 0; i < MAX_THREADS; i++)
        if (threads[sched.self].now.t[i] < clock->t[i])
            return false;
    return true;
}

void memory_take_all(void)
{
    for (int i = 0; i < MAX_THREADS; i++)
        memory_take(&threads[i].now);
}

void memory_thread_begins(int thread)
{
    memset(&threads[thread], 0, sizeof(threads[thread]));
    if (thread == 0)
        return;
    memory_give(&threads[thread].now);
    threads[thread].now.t[thread] = 1;
}

void memory_thread_joined(int thread)
{
    memory_take(&threads[thread].now);
}

/* --------------------------------------------- what the compiler tells about */

void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);
void __tsan_acquire(void *p);
void __tsan_release(void *p);
void __tsan_init(void) {}
void __tsan_func_entry(void *pc)
{
    (void)pc;
}
void __tsan_func_exit(void) {}
void __tsan_acquire(void *p)
{
    (void)p;
}
void __tsan_release(void *p)
{
    (void)p;
}

#define REPORTED(name, size, write)                                                                \
    void name(void *p);                                                                            \
    void name(void *p)                                                                             \
    {                                                                                              \
        memory_plain(p, size, write);                                                              \
    }
REPORTED(__tsan_read1, 1, false)
REPORTED(__tsan_read2, 2, false)
REPORTED(__tsan_read4, 4, false)
REPORTED(__tsan_read8, 8, false)
REPORTED(__tsan_read16, 16, false)
REPORTED(__tsan_write1, 1, true)
REPORTED(__tsan_write2, 2, true)
REPORTED(__tsan_write4, 4, true)
REPORTED(__tsan_write8, 8, true)
REPORTED(__tsan_write16, 16, true)
REPORTED(__tsan_unaligned_read2, 2, false)
REPORTED(__tsan_unaligned_read4, 4, false)
REPORTED(__tsan_unaligned_read8, 8, false)
REPORTED(__tsan_unaligned_read16, 16, false)
REPORTED(__tsan_unaligned_write2, 2, true)
REPORTED(__tsan_unaligned_write4, 4, true)
REPORTED(__tsan_unaligned_write8, 8, true)
REPORTED(__tsan_unaligned_write16, 16, true)

void __tsan_read_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size);
void *__tsan_memset(void *p, int value, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size);
void __tsan_read_range(void *p, size_t size)
{
    memory_plain(p, size, false);
}
void __tsan_write_range(void *p, size_t size)
{
    memory_plain(p, size, true);
}
void *__tsan_memset(void *p, int value, size_t size)
{
    memory_plain(p, size, true);
    return memset(p, value, size);
}
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return memmove(to, from, size);
}
