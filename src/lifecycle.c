/* SPDX-License-Identifier: BSD-2-Clause */
#include "lifecycle.h"

#include "batch.h"
#include "cpu.h"
#include "fork.h"
#include "hash.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    /* Of an expected call: so few claims find their bucket in use, which costs five times as much
       (bench/inflight, `expected`). */
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

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool has_handlers; /* for fork(); under the registry lock */

/* ------------------------------------------------------------------- threads */

/*
 * Abandons what an agent leads whose thread ends: calls whose fn was left by longjmp(), or, where
 * the exit of a thread unwinds nothing, by the exit; then that ends for good what its frames hold.
 */
static void abandon_all(void *arg)
{
    struct agent *agent = arg;

    while (agent->leading != NULL)
        lead_abandon(agent->leading);
    while (agent->batches != NULL)
        batch_abandon(agent->batches);
#if !EXIT_UNWINDS
    while (agent->running != NULL) {
        struct sflight_group *g = agent->running->group;
        agent_ran(agent->running);
        finish_runner_ends(g);
    }
    if (agent->name != NULL)
        agent_leave(agent);
#endif
}

/*
 * The destructor of each thread's thread-specific data: abandons what the thread still leads, and
 * hands its slots to the threads that come later.
 */
static void thread_end(void *self)
{
    struct thread *t = self;

    abandon_all(&t->agent);
    agent_unseen();

    registry_lock();
    while (t->slots != NULL) {
        struct slot *slot = t->slots;
        t->slots = slot->next_of_thread;
        remember_none(slot);
        call_leave_slot(slot);
        gauges_leave(slot);
        slot_to_idle(slot);
        atomic_sub_relaxed(&slot->group->n_threads, 1); /* a hint */
    }
    registry_unlock();
    thread_free(t);
}

/* --------------------------------------------------------------- the process */

static void init_once(void)
{
    reclaim_init();
    fork_init();
    agent_left_by(abandon_all);
}

/* What the process may have none of to spare is asked for again as long as that is so. */
static int init(void)
{
    (void)pthread_once(&once, init_once);
    registry_lock();
    int rc = thread_init(thread_end);
    if (rc == 0 && !has_handlers) {
        rc = fork_handle();
        has_handlers = rc == 0;
    }
    registry_unlock();
    return rc;
}

/* As early as can be, and not by a thread that is in a hurry. */
__attribute__((constructor)) static void init_early(void)
{
    (void)init();
}

/*
 * This copy of the library goes, with a plugin that has the archive inside; or the process
 * ends.  Threads that go on must not find the key's destructor gone, so the key is given back,
 * and what they have in a struct thread is lost.  libc takes the handlers of fork() back itself.
 */
__attribute__((destructor)) static void fini(void)
{
    if (!registry_try_lock())
        return; /* exit() on top of an operation, by a signal's handler */
    thread_fini();
    registry_unlock();
}

/* -------------------------------------------------------------------- groups */

/*
 * Where the kernel gives no random bytes now: from those that it gave the process when it began,
 * the clock and an address.
 */
static uint64_t seed_without_kernel(const void *salt)
{
    uint64_t given[2] = {0};
    const void *random = (const void *)getauxval(AT_RANDOM);

    if (random != NULL)
        memcpy(given, random, sizeof(given));
    uint64_t mixed[4] = {given[0], given[1], clock_now_ns(), (uintptr_t)salt};
    return hash_key(mixed, sizeof(mixed), given[0] ^ given[1]);
}

static uint64_t random_seed(const void *salt)
{
    uint64_t seed;
    int saved = errno;
    /* Not getrandom(3), which is a cancellation point. */
    if (syscall(SYS_getrandom, &seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
        seed = seed_without_kernel(salt); /* early at boot, or refused by a filter */
    errno = saved;
    return seed;
}

/* The least power of two that is not below this. */
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

int lifecycle_create(struct sflight_group **out, const sflight_options *o)
{
    struct alloc alloc;

    int rc = init();
    if (rc != 0)
        return rc;
    alloc_init(&alloc, o->allocator.ctx, o->allocator.alloc, o->allocator.free);
    size_t bytes = sizeof(struct sflight_group) + group_durations_bytes(o->durations);
    struct sflight_group *g = alloc_get(&alloc, bytes, CACHE_LINE);
    if (g == NULL)
        return -ENOMEM;
    memset((void *)g, 0, bytes);
    alloc_init(&g->alloc, alloc.ctx, alloc.alloc, alloc.free);
    atomic_store_relaxed(&g->alloc.bytes, bytes); /* nobody else yet */

    size_t n_shards = o->shards != 0 ? power_of_two(o->shards) : default_shards();
    size_t n_buckets =
        o->expected_inflight != 0 ? o->expected_inflight * BUCKETS_PER_CALL : default_buckets();
    size_t per_shard = power_of_two(n_buckets) / n_shards;
    if (table_init(&g->table, &g->alloc, n_shards,
                   per_shard < MIN_BUCKETS ? MIN_BUCKETS : per_shard) != 0) {
        alloc_put(&alloc, g, bytes);
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
    uint32_t flags = g->runtime.park != NULL ? GROUP_FIBERS : 0;
    if (o->max_age_ns != 0)
        flags |= GROUP_AGES | GROUP_LIMITED;
    if (g->max_waiters != 0)
        flags |= GROUP_LIMITED;
    if (o->durations) {
        flags |= GROUP_AGES | GROUP_TIMED;
        if (g->max_age_ns == 0)
            g->max_age_ns = UINT64_MAX;
        g->common.durations = (struct durations *)(void *)(g + 1);
    }
    atomic_store_relaxed(&g->flags, flags); /* nobody else yet */
    g->common.common = true;
    g->common.group = g;

    group_init(g);
    *out = g;
    return 0;
}

void lifecycle_close(struct sflight_group *g)
{
    group_enter(g);
    (void)atomic_or_relaxed(&g->flags, GROUP_CLOSED); /* [DRAIN] orders it */
}

int lifecycle_destroy(struct sflight_group *g)
{
    group_enter(g);
    if (gauges_in_use(g))
        return -EBUSY;

    registry_lock();
    group_fini(g);
    thread_forget_group(g);
    registry_unlock();

    /*
     * Who looks at records of the group in a section keeps it in use; but for who looks for a
     * circle, over all groups.
     */
    agent_unseen();
    call_free_all(&g->common);
    orphan_free_all(g);
    future_free_list(&g->alloc, atomic_load_relaxed(&g->drain_waiters)); /* those given up */
    struct slot *next, *slot = atomic_load_relaxed(&g->slots);           /* nobody else any more */
    for (; slot != NULL; slot = next) {
        next = slot->next_of_group;
        call_free_all(slot);
        future_free_spares(slot);
        alloc_put(&g->alloc, slot, group_slot_bytes(g));
    }
    table_destroy(&g->table);
    struct alloc alloc;
    alloc_init(&alloc, g->alloc.ctx, g->alloc.alloc, g->alloc.free);
    alloc_put(&alloc, g, sizeof(*g) + group_durations_bytes(group_has(g, GROUP_TIMED)));
    return 0;
}
