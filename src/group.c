/* SPDX-License-Identifier: BSD-2-Clause */
#include "group.h"

#include "call.h"
#include "clock.h"
#include "cpu.h"
#include "futex.h"
#include "future.h"
#include "queue.h"
#include "reclaim.h"
#include "thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    /* Few claims find company, which costs five times as much (bench/inflight, `expected`). */
    BUCKETS_PER_CALL = 8,
    /* Where nothing is expected: 1,024 lines, so that the keys of one thread are seldom in a
       line with those of another (bench/disjoint), and 1,000 calls seldom share a bucket. */
    BUCKETS_PER_CPU = 8192,
    MAX_DEFAULT_BUCKETS = 1 << 18,
    MIN_BUCKETS = 16, /* of a shard */
    SHARDS_PER_CPU = 4,
    MIN_SHARDS = 16,
    MAX_SHARDS = 1024,
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static struct sflight_group *groups;
static uint64_t last_number;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_rc;

void registry_lock(void)
{
    pthread_mutex_lock(&registry);
}
void registry_unlock(void)
{
    pthread_mutex_unlock(&registry);
}

/* ------------------------------------------------------------------ fork */

static void fork_prepare(void)
{
    registry_lock();
    caller_before_fork();
}

static void fork_parent(void)
{
    caller_after_fork(false);
    registry_unlock();
}

/* After a fork a thread may release what another held in the parent: no less than 0. */
static uint64_t difference(uint64_t up, uint64_t down)
{
    return (int64_t)(up - down) > 0 ? up - down : 0;
}

static uint64_t counter(struct slot *slot, enum counter which)
{
    return atomic_load_relaxed(&slot->counters.n[which]); /* alone in the child */
}

static void set_counter(struct slot *slot, enum counter which, uint64_t n)
{
    atomic_store_relaxed(&slot->counters.n[which], n); /* alone in the child */
}

static void slot_after_fork(struct slot *slot, struct call_remains remains)
{
    call_recount_spares(slot);
    set_counter(slot, COUNT_ENDED, counter(slot, COUNT_LED) - remains.n_in_flight);
    set_counter(slot, COUNT_RETURNED, counter(slot, COUNT_JOINED) - remains.n_waiting);
    set_counter(slot, COUNT_LEFT, counter(slot, COUNT_ENTERED));
    set_counter(slot, COUNT_BATCHES_ENDED, counter(slot, COUNT_BATCHES) - remains.n_batches);
    set_counter(slot, COUNT_RECLAIMED, counter(slot, COUNT_RETIRED));
    set_counter(slot, COUNT_RELEASED,
                counter(slot, COUNT_ENDED) + counter(slot, COUNT_HELD) - remains.n_held);
}

/* Up to now: what is released may have been counted as held in another slot. */
static uint64_t counted_as_held(struct slot *slot)
{
    return counter(slot, COUNT_ENDED) + counter(slot, COUNT_HELD) - counter(slot, COUNT_RELEASED);
}

/* Threads that do not exist in the child lead, wait for and hold nothing. */
static void group_after_fork(struct sflight_group *g)
{
    struct slot *mine = thread_self.slots;
    struct call_remains remains, none = {0};
    uint64_t n_held_by_all = counted_as_held(&g->common);

    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group)
        n_held_by_all += counted_as_held(slot);
    g->generation++;
    remains = call_after_fork(g);

    while (mine != NULL && mine->group != g)
        mine = mine->next_of_thread;
    g->idle = NULL;
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group) {
        if (slot == mine)
            continue;
        slot_after_fork(slot, none);
        slot->prev_of_thread = NULL;
        slot->next_of_thread = g->idle;
        g->idle = slot;
    }
    if (mine == NULL) {
        slot_after_fork(&g->common, remains);
    } else {
        /* Whoever ends a call counts the holds of its futures, which others may have released. */
        uint64_t n_held = difference(counted_as_held(mine), 0);
        if (n_held > n_held_by_all)
            n_held = difference(n_held_by_all, 0);
        slot_after_fork(&g->common, none);
        remains.n_held += n_held;
        slot_after_fork(mine, remains);
    }
    atomic_store_relaxed(&g->n_inherited, remains.n_held);
    atomic_store_relaxed(&g->n_threads, mine != NULL); /* alone in the child */
    /* Nobody drains in the child. */
    atomic_store_relaxed(&g->flags, atomic_load_relaxed(&g->flags) & (GROUP_DRAINER - 1));
}

static void fork_child(void)
{
    reclaim_after_fork();
    for (struct sflight_group *g = groups; g != NULL; g = g->next)
        group_after_fork(g);
    queues_after_fork();
    caller_after_fork(true);
    registry_unlock();
}

/*
 * As early as can be: the handlers of everybody else then run outside of ours,
 * and find the locks free.
 */
__attribute__((constructor)) static void init_early(void);

static void init_once(void)
{
    reclaim_init();
    caller_init();
    once_rc = thread_init();
    if (once_rc == 0 && pthread_atfork(fork_prepare, fork_parent, fork_child) != 0)
        once_rc = -ENOMEM;
}

static void init_early(void)
{
    (void)pthread_once(&once, init_once);
}

/* ----------------------------------------------------------------- gauges */

/* The second halves of gauges; but the end of a call is also a first half, of what is held. */
static const uint32_t down_counters = 1u << COUNT_RELEASED | 1u << COUNT_RETURNED |
                                      1u << COUNT_LEFT | 1u << COUNT_BATCHES_ENDED |
                                      1u << COUNT_RECLAIMED;
static const uint32_t end_counter = 1u << COUNT_ENDED;

static void add_slot(uint64_t sum[N_COUNTERS], struct slot *slot, uint32_t which)
{
    for (unsigned i = 0; i < N_COUNTERS; i++)
        if (which & 1u << i)
            sum[i] += atomic_load_acquire(&slot->counters.n[i]); /* [GAUGE] */
}

static void add_slots(uint64_t sum[N_COUNTERS], struct sflight_group *g, uint32_t which)
{
    add_slot(sum, &g->common, which);
    for (struct slot *slot = g->slots; slot != NULL; slot = slot->next_of_group)
        add_slot(sum, slot, which);
}

/*
 * Adds up over all threads: the down half of each gauge before its up half.  They only
 * grow, but for a claim that was counted and has failed; and whatever passes from one place to
 * another is counted up in the new before it is counted down in the old; so a difference is never
 * below the truth of the moment in between.
 */
static void group_sum(struct sflight_group *g, uint64_t sum[N_COUNTERS])
{
    memset(sum, 0, N_COUNTERS * sizeof(sum[0]));
    registry_lock();
    add_slots(sum, g, down_counters);
    add_slots(sum, g, end_counter);
    add_slots(sum, g, ~(down_counters | end_counter));
    registry_unlock();
}

/* What a drainer waits for. */
enum flying {
    NOTHING_FLIES,
    SEARCHES_FLY, /* that may become calls: over in a moment, and nobody says so */
    CALLS_FLY,
};

static enum flying group_flying(struct sflight_group *g)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    if (difference(sum[COUNT_LED], sum[COUNT_ENDED]) != 0)
        return CALLS_FLY;
    return difference(sum[COUNT_ENTERED], sum[COUNT_LEFT]) != 0 ? SEARCHES_FLY : NOTHING_FLIES;
}

/*
 * Everything that keeps the group: searches, batches, waiting followers, holds,
 * and calls, each of which becomes its leader's hold when it ends.
 */
static bool group_in_use(struct sflight_group *g)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    return difference(sum[COUNT_ENTERED] + sum[COUNT_BATCHES] + sum[COUNT_JOINED] + sum[COUNT_LED] +
                          sum[COUNT_HELD],
                      sum[COUNT_LEFT] + sum[COUNT_BATCHES_ENDED] + sum[COUNT_RETURNED] +
                          sum[COUNT_RELEASED]) != 0;
}

/* ------------------------------------------------------------ life cycle */

static uint64_t random_seed(const void *salt)
{
    uint64_t seed;
    int saved = errno;
    /* Not getrandom(3), which is a cancellation point. */
    if (syscall(SYS_getrandom, &seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
        seed = clock_now_ns() * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)salt; /* early at boot */
    errno = saved;
    return seed;
}

static size_t power_of_two(size_t at_least)
{
    size_t n = 1;
    while (n < at_least)
        n *= 2;
    return n;
}

static size_t default_shards(void)
{
    size_t shards = power_of_two((size_t)cpu_count() * SHARDS_PER_CPU);
    return shards < MIN_SHARDS ? MIN_SHARDS : shards > MAX_SHARDS ? MAX_SHARDS : shards;
}

static size_t default_buckets(void)
{
    size_t n = (size_t)cpu_count() * BUCKETS_PER_CPU;
    return n < MAX_DEFAULT_BUCKETS ? n : MAX_DEFAULT_BUCKETS;
}

int group_create(struct sflight_group **out, const sflight_options *o)
{
    struct alloc alloc;

    (void)pthread_once(&once, init_once);
    if (once_rc != 0)
        return once_rc;
    alloc_init(&alloc, o->allocator.ctx, o->allocator.alloc, o->allocator.free);
    struct sflight_group *g = alloc_get(&alloc, sizeof(*g), CACHE_LINE);
    if (g == NULL)
        return -ENOMEM;
    memset((void *)g, 0, sizeof(*g));
    alloc_init(&g->alloc, alloc.ctx, alloc.alloc, alloc.free);
    atomic_store_relaxed(&g->alloc.bytes, sizeof(*g)); /* nobody else yet */

    size_t n_shards = o->shards != 0 ? power_of_two(o->shards) : default_shards();
    size_t n_buckets =
        o->expected_inflight != 0 ? o->expected_inflight * BUCKETS_PER_CALL : default_buckets();
    size_t per_shard = power_of_two(n_buckets) / n_shards;
    if (table_init(&g->table, &g->alloc, n_shards,
                   per_shard < MIN_BUCKETS ? MIN_BUCKETS : per_shard) != 0) {
        alloc_put(&alloc, g, sizeof(*g));
        return -ENOMEM;
    }
    g->seed = random_seed(g);
    g->max_waiters = o->max_waiters;
    g->max_age_ns = o->max_age_ns;
    g->takeover = o->on_abandon == SFLIGHT_ABANDON_TAKEOVER;
    g->abort_on_panic = o->on_panic == SFLIGHT_PANIC_ABORT;
    g->cancel_unwanted = o->cancel_unwanted;
    g->spin_ns = o->spin_ns;
    g->runtime = o->runtime;
#ifdef SFLIGHT_TEST_RUNTIME /* a build for tests: every group has this one */
    extern const sflight_runtime SFLIGHT_TEST_RUNTIME;
    if (o->runtime.park == NULL)
        g->runtime = SFLIGHT_TEST_RUNTIME;
#endif
    if (g->runtime.park != NULL)
        atomic_store_relaxed(&g->flags, GROUP_FIBERS); /* nobody else yet */
    g->common.shared = true;
    g->common.group = g;

    registry_lock();
    g->number = ++last_number;
    g->next = groups;
    g->prev = &groups;
    if (groups != NULL)
        groups->prev = &g->next;
    groups = g;
    registry_unlock();
    *out = g;
    return 0;
}

int group_destroy(struct sflight_group *g)
{
    if (group_in_use(g))
        return -EBUSY;

    registry_lock();
    *g->prev = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
    thread_forget_group(g);
    registry_unlock();

    reclaim_flush(); /* from here on nothing refers to the group's records */
    call_free_orphans(g);
    future_free_list(&g->alloc, atomic_load_relaxed(&g->drain_waiters)); /* given up */
    while (g->slots != NULL) {
        struct slot *slot = g->slots;
        g->slots = slot->next_of_group;
        call_free_spares(slot);
        future_free_spares(slot);
        alloc_put(&g->alloc, slot, sizeof(*slot));
    }
    table_destroy(&g->table);
    struct alloc alloc;
    alloc_init(&alloc, g->alloc.ctx, g->alloc.alloc, g->alloc.free);
    alloc_put(&alloc, g, sizeof(*g));
    return 0;
}

/* ------------------------------------------------------------------ drain */

void group_wake_drainers(struct sflight_group *g)
{
    atomic_add_release(&g->drain_word, 1); /* [DRAIN] */
    futex_wake((uint32_t *)(void *)&g->drain_word, INT_MAX);
    if (group_has_fibers(g))
        future_tell(g, atomic_swap_acq_rel(&g->drain_waiters, NULL)); /* [HANG] [DRAIN] */
}

/* Parks the thread until a call has ended.  0, or -ETIMEDOUT. */
static int drain_on_futex(struct sflight_group *g, const struct timespec *deadline)
{
    int rc = 0;
    for (;;) {
        uint32_t word = atomic_load_acquire(&g->drain_word); /* [DRAIN] */
        enum flying flying = group_flying(g);
        if (flying == NOTHING_FLIES)
            return 0;
        if (rc != 0)
            return rc;
        if (flying == SEARCHES_FLY)
            cpu_yield();
        else
            rc = futex_wait((uint32_t *)(void *)&g->drain_word, word, deadline);
    }
}

/*
 * The same for a fiber: hung up before it looks, so that who ends the last call
 * finds it or has been counted.
 */
static int drain_by_fiber(struct sflight_group *g, void *fiber, const struct timespec *deadline)
{
    for (;;) {
        struct sflight_future *waiter = waiter_new(thread_slot_again(g), NULL, fiber);
        if (waiter == NULL)
            return group_flying(g) != NOTHING_FLIES ? -ENOMEM : 0;
        (void)waiter_hang(&g->drain_waiters, waiter);
        enum flying flying = group_flying(g);
        bool expired = flying == CALLS_FLY && waiter_park(g, waiter, deadline) == WAITER_TIMED_OUT;
        if (!expired)
            waiter_end(g, waiter);
        if (flying == SEARCHES_FLY)
            cpu_yield();
        if (group_flying(g) == NOTHING_FLIES)
            return 0;
        if (expired)
            return -ETIMEDOUT;
    }
}

int group_drain(struct sflight_group *g, const struct timespec *deadline)
{
    void *fiber = group_has_fibers(g) ? g->runtime.self(g->runtime.ctx) : NULL;

    atomic_add_relaxed(&g->flags, GROUP_DRAINER);
    atomic_fence_seq_cst(); /* [DRAIN] */
    int rc = fiber != NULL ? drain_by_fiber(g, fiber, deadline) : drain_on_futex(g, deadline);
    atomic_sub_relaxed(&g->flags, GROUP_DRAINER); /* nobody waits any more */
    if (fiber != NULL) /* frees what it has given up; other drainers look again */
        future_tell(g, atomic_swap_acquire(&g->drain_waiters, NULL)); /* [HANG] */
    return rc;
}

/* ------------------------------------------------------------------ stats */

void group_stats(struct sflight_group *g, sflight_stats *out)
{
    uint64_t sum[N_COUNTERS];

    group_sum(g, sum);
    *out = (sflight_stats){
        .led = sum[COUNT_LED],
        .joined = sum[COUNT_JOINED],
        .forgotten = sum[COUNT_FORGOTTEN],
        .timed_out = sum[COUNT_TIMED_OUT],
        .abandoned = sum[COUNT_ABANDONED],
        .panicked = sum[COUNT_PANICKED],
        .taken_over = sum[COUNT_TAKEN_OVER],
        .expired = sum[COUNT_EXPIRED],
        .rejected = sum[COUNT_REJECTED],
        .deadlocks = sum[COUNT_DEADLOCKS],
        .parked = sum[COUNT_PARKED],
        .spun = sum[COUNT_SPUN],
        .in_flight = difference(sum[COUNT_LED], sum[COUNT_ENDED]),
        .waiting = difference(sum[COUNT_JOINED], sum[COUNT_RETURNED]),
        .held = difference(sum[COUNT_ENDED] + sum[COUNT_HELD], sum[COUNT_RELEASED]),
        .retired_pending = difference(sum[COUNT_RETIRED], sum[COUNT_RECLAIMED]),
        .buckets = atomic_load_relaxed(&g->table.n_buckets), /* statistics */
        .bytes = atomic_load_relaxed(&g->alloc.bytes),
    };
}
