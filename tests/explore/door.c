/* SPDX-License-Identifier: BSD-2-Clause */
/* See door.h. */
#define EXPLORE_DOOR_INSIDE
#include "door.h"

#include "../../src/gauges.h"
#include "../../src/lock.h"
#include "../../src/queue.h"
#include "../../src/thread.h"

#include <errno.h>
#include <limits.h>

struct door door;

enum {
    MAX_MUTEXES = 256,
    MAX_KEYS = 8,
    MAX_RETIRED = 256,
    MAX_FDS = 64,
    FIRST_FD = 1000, /* nobody takes them for real ones */
    FORK_HANDLERS = 4,
    CLOCK_STEP_NS = 50, /* between two readings */
    CLOCK_JUMP_NS = 20000,
    ALLOWED_TURNS = 4, /* of a thread's destructors, as POSIX has it */
};

/* Made once in the process, as the library does. */
static struct {
    void (*destroy[MAX_KEYS])(void *);
    unsigned n_keys;
    struct {
        void (*prepare)(void), (*parent)(void), (*child)(void);
    } fork[FORK_HANDLERS];
    unsigned n_fork;
    struct thread **list; /* the library's, of all threads, once it has been seen */
} process;

struct retired {
    struct reclaim_entry *entry;
    uint32_t waits_for; /* a bit for each thread in a section that began before */
};

static struct {
    struct {
        const void *mutex;
        const char *name;
        int owner; /* -1: nobody */
        struct clock clock;
    } mutexes[MAX_MUTEXES];
    unsigned n_mutexes;
    struct {
        struct words *words;
        const void *specific[MAX_KEYS];
        bool in_section, detached;
        void *(*fn)(void *);
        void *arg;
    } threads[MAX_THREADS];
    struct retired retired[MAX_RETIRED];
    unsigned n_retired;
    bool lanes_of_parent; /* a fork, and reclaim_after_fork() has not been called yet */
    struct clock left;    /* of all sections */
    struct {
        bool open, readable;
        struct clock clock; /* the kernel has a lock for each */
    } fds[MAX_FDS];
    unsigned n_fds;
} d;

/* ------------------------------------------------------------------- threads */

static void thread_begins(int thread)
{
    struct words *words = memory_alloc(sizeof(*words), CACHE_LINE);
    memory_thread_begins(thread);
    *words = (struct words){.self = &thread_nobody};
    memset(&d.threads[thread], 0, sizeof(d.threads[thread]));
    d.threads[thread].words = words;
}

static void thread_ends(int thread)
{
    for (int turn = 0; turn < ALLOWED_TURNS; turn++)
        for (unsigned k = 0; k < process.n_keys; k++) {
            const void *value = d.threads[thread].specific[k];
            d.threads[thread].specific[k] = NULL;
            if (value != NULL && process.destroy[k] != NULL)
                process.destroy[k]((void *)(uintptr_t)value);
        }
    CHECK(!d.threads[thread].in_section);
    door_free(d.threads[thread].words);
    door_words = NULL;
}

static void thread_runs(int thread)
{
    door_words = d.threads[thread].words;
}

void door_reset(void)
{
    (memset)(&d, 0, sizeof(d));
    (memset)(&door, 0, sizeof(door));
    door.n_cpus = 1;
    memory_reset();
    if (process.list != NULL)
        *process.list = NULL; /* who vanished by a fork is still there */
    memory_old_values = memory_x86 = false;
    sched_thread_begins = thread_begins;
    sched_thread_ends = thread_ends;
    sched_thread_joined = memory_thread_joined;
    sched_thread_runs = thread_runs;
}

static void outside_of_sections(const char *site, const char *what)
{
    if (d.threads[sched.self].in_section)
        explore_fail("%s: %s inside a section", site, what);
}

bool door_in_section(void)
{
    return d.threads[sched.self].in_section;
}

uint64_t door_peek(const volatile void *p, unsigned size)
{
    uint64_t word = 0;
    (memcpy)(&word, (const void *)(uintptr_t)p, size);
    return word;
}

bool door_has_mutex(void)
{
    return door_lock_of(sched.self) != NULL;
}

const char *door_lock_of(int thread)
{
    for (unsigned i = 0; i < d.n_mutexes; i++)
        if (d.mutexes[i].owner == thread)
            return d.mutexes[i].name;
    return NULL;
}

void door_swap_threads(int a, int b)
{
    struct words *words = d.threads[a].words;
    d.threads[a].words = d.threads[b].words;
    d.threads[b].words = words;
    for (unsigned k = 0; k < MAX_KEYS; k++) {
        const void *specific = d.threads[a].specific[k];
        d.threads[a].specific[k] = d.threads[b].specific[k];
        d.threads[b].specific[k] = specific;
    }
    thread_runs(sched.self);
}

int door_once(pthread_once_t *once, void (*fn)(void))
{
    static pthread_once_t done[MAX_KEYS];
    static pthread_once_t *known[MAX_KEYS];
    static unsigned n;
    (void)done;
    for (unsigned i = 0; i < n; i++)
        if (known[i] == once)
            return 0;
    if (n == MAX_KEYS)
        abort();
    known[n++] = once;
    fn();
    return 0;
}

int door_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    if (process.n_keys == MAX_KEYS)
        return EAGAIN;
    *key = process.n_keys;
    process.destroy[process.n_keys++] = destroy;
    return 0;
}

int door_key_delete(pthread_key_t key)
{
    process.destroy[key] = NULL;
    return 0;
}

int door_setspecific(pthread_key_t key, const void *value)
{
    if (door.common_slots)
        return ENOMEM;
    d.threads[sched.self].specific[key] = value;
    return 0;
}

int door_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    if (process.n_fork == FORK_HANDLERS)
        return ENOMEM;
    process.fork[process.n_fork].prepare = prepare;
    process.fork[process.n_fork].parent = parent;
    process.fork[process.n_fork++].child = child;
    return 0;
}

void door_fork(void)
{
    CHECK(sched.self == 0);
    for (unsigned i = process.n_fork; i-- != 0;)
        if (process.fork[i].prepare != NULL)
            process.fork[i].prepare();
    sched_only_self();
    memory_take_all();
    for (unsigned i = 0; i < d.n_mutexes; i++)
        d.mutexes[i].owner = -1;                     /* as src/lock.c has it */
    process_page.salt = process_page.generation = 0; /* as the kernel does */
    d.lanes_of_parent = true;
    for (unsigned i = 0; i < process.n_fork; i++)
        process.fork[i].child();
}

/* ------------------------------------------------------------------ process */

union process_page process_page;
static uint64_t last_process;
static void (*in_child)(bool by_handler);

static void salt_renew(void)
{
    process_page.salt = ++last_process << PROCESS_SALT_SHIFT;
    process_page.generation = (uint32_t)(process_page.salt >> 32);
}

void process_init(void (*hook)(bool by_handler))
{
    in_child = hook;
    salt_renew();
}

void process_notice(void)
{
    in_child(false);
    salt_renew();
}

/* Or whoever comes first notices it, as after a fork without handlers. */
void process_forked(void)
{
    if (door.forks_noticed || thread_self.bare || sched_choose(2) != 0) {
        in_child(true);
        salt_renew();
    }
}

void door_release_lost(struct sflight_group *g, uint64_t n)
{
    gauges_count_n(&g->common, COUNT_RELEASED, n);
}

void door_drain_lost(struct sflight_queue *queue)
{
    queue_expect_less(queue);
}

static void detached_body(void *unused)
{
    (void)unused;
    (void)d.threads[sched.self].fn(d.threads[sched.self].arg);
}

int door_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                       void *arg)
{
    (void)attr;
    outside_of_sections(SITE, "a thread is made");
    if (door.failures != 0 && sched_mishap(door.failures))
        return EAGAIN;
    int i = sched_spawn(detached_body, NULL);
    if (i < 0)
        return EAGAIN;
    d.threads[i].fn = fn;
    d.threads[i].arg = arg;
    d.threads[i].detached = true;
    *thread = (pthread_t)i;
    return 0;
}

void door_detached_join(void)
{
    for (int i = 0; i < MAX_THREADS; i++)
        if (d.threads[i].detached)
            sched_join(i);
}

static unsigned mutex_index(const void *mutex)
{
    for (unsigned i = 0; i < d.n_mutexes; i++)
        if (d.mutexes[i].mutex == mutex)
            return i;
    CHECK(d.n_mutexes < MAX_MUTEXES);
    d.mutexes[d.n_mutexes].mutex = mutex;
    d.mutexes[d.n_mutexes].name = "a lock";
    d.mutexes[d.n_mutexes].owner = -1;
    return d.n_mutexes++;
}

int door_mutex_lock(pthread_mutex_t *mutex, const char *site)
{
    unsigned i = mutex_index(mutex);
    outside_of_sections(site, "a mutex");
    sched_point(site);
    CHECK(d.mutexes[i].owner != sched.self);
    while (d.mutexes[i].owner >= 0)
        (void)sched_sleep(mutex, NEVER, false, site);
    d.mutexes[i].owner = sched.self;
    memory_take(&d.mutexes[i].clock);
    return 0;
}

/* A slot has just been made, perhaps: keeps it from keeping anything. */
static void spare_nothing(void)
{
    for (struct slot *slot = thread_self.slots; slot != NULL; slot = slot->next_of_thread) {
        slot->max_spare = 0;
    }
}

/* The first in the list knows where it begins: outside of what belongs to a run. */
static void see_list(void)
{
    if (thread_self.prev != NULL && !memory_ours(thread_self.prev))
        process.list = thread_self.prev;
}

int door_mutex_unlock(pthread_mutex_t *mutex)
{
    unsigned i = mutex_index(mutex);
    CHECK(d.mutexes[i].owner == sched.self);
    if (door_words != NULL) { /* not behind the last run, where the process ends */
        see_list();
        if (door.no_spares)
            spare_nothing();
    }
    sched_stall_point(SITE);
    memory_give(&d.mutexes[i].clock);
    d.mutexes[i].owner = -1;
    sched_wake(mutex, 1);
    return 0;
}

static uint64_t deadline_ns(const struct timespec *deadline)
{
    if (deadline == NULL)
        return NEVER;
    if (deadline->tv_sec < 0)
        return 0;
    if ((uint64_t)deadline->tv_sec > UINT64_MAX / 2000000000u)
        return NEVER - 1;
    return (uint64_t)deadline->tv_sec * 1000000000u + (uint64_t)deadline->tv_nsec;
}

static void mutex_taken(unsigned i, const char *name)
{
    d.mutexes[i].owner = sched.self;
    d.mutexes[i].name = name;
    memory_take(&d.mutexes[i].clock);
    sched_stall_point(SITE);
}

bool door_lock_take(struct lock *lock, const struct timespec *deadline, const char *name)
{
    (void)process_salt_now();
    unsigned i = mutex_index(lock);
    uint64_t until = deadline_ns(deadline);
    outside_of_sections(SITE, "a lock");
    sched_point(SITE);
    CHECK(d.mutexes[i].owner != sched.self);
    while (d.mutexes[i].owner >= 0)
        if (until <= sched.now_ns || sched_sleep(lock, until, false, SITE) == WOKEN_BY_TIME)
            return false;
    mutex_taken(i, name);
    return true;
}

bool door_lock_try(struct lock *lock, const char *name)
{
    if (door_words == NULL)
        return false; /* as if somebody had it: the program exits, between runs */
    (void)process_salt_now();
    unsigned i = mutex_index(lock);
    outside_of_sections(SITE, "a lock");
    sched_point(SITE);
    if (d.mutexes[i].owner >= 0)
        return false;
    mutex_taken(i, name);
    return true;
}

void lock_give(struct lock *lock)
{
    (void)door_mutex_unlock((pthread_mutex_t *)(void *)lock);
}

/* ------------------------------------------------------------------- atomics */

uint64_t door_load(const volatile void *p, unsigned size, int order, const char *site)
{
    sched_point(site);
    return memory_load(p, size, order, site);
}

void door_store(volatile void *p, unsigned size, uint64_t value, int order, const char *site)
{
    sched_point(site);
    memory_store(p, size, value, order, site);
}

void door_count(volatile void *p, unsigned size, uint64_t more, int order, const char *site)
{
    if (sched.counters)
        sched_point(site);
    uint64_t n = memory_load_newest(p, size, site) + more;
    if (sched.counters) {
        sched_point(site);
        CHECK(memory_load_newest(p, size, site) + more == n);
    }
    memory_store(p, size, n, order, site);
}

uint64_t door_rmw(volatile void *p, unsigned size, enum memory_rmw op, uint64_t value, int order,
                  const char *site)
{
    sched_point(site);
    return memory_rmw(p, size, op, value, order, site);
}

bool door_cas(volatile void *p, unsigned size, void *expected, uint64_t value, int order,
              const char *site)
{
    uint64_t found = 0;
    sched_point(site);
    (memcpy)(&found, expected, size); /* little-endian */
    if (memory_cas(p, size, &found, value, order, site))
        return true;
    (memcpy)(expected, &found, size);
    return false;
}

/* A point only where a fence makes a difference. */
void door_fence(const char *site)
{
    if (memory_old_values)
        sched_point(site);
    memory_fence(EX_ACQ_REL, true);
}

void door_fence_after_rmw(const char *site)
{
    if (memory_old_values)
        sched_point(site);
    memory_fence_after_rmw();
}

/* ------------------------------------------------------ futex, clock, memory */

int futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline)
{
    outside_of_sections(SITE, "a futex");
    sched_point(SITE);
    /* Compared and queued in one step, as under the kernel's lock. */
    if ((uint32_t)memory_load_newest(word, sizeof(*word), SITE) != expected)
        return 0;
    uint64_t until = deadline_ns(deadline);
    if (until <= sched.now_ns)
        return -ETIMEDOUT;
    return sched_sleep(word, until, true, SITE) == WOKEN_BY_TIME ? -ETIMEDOUT : 0;
}

uint32_t futex_wake(uint32_t *word, uint32_t n)
{
    outside_of_sections(SITE, "a futex");
    sched_point(SITE);
    sched_note(SITE, "wake", word, n);
    return sched_wake(word, n);
}

uint32_t futex_wake_elsewhere(uint32_t *word, uint32_t n)
{
    const uint64_t even = UINT64_C(0x5555555555555555);

    outside_of_sections(SITE, "a futex");
    sched_point(SITE);
    sched_note(SITE, "wake elsewhere", word, n);
    return sched_wake_of(word, n, sched.self % 2 == 0 ? ~even : even);
}

uint64_t clock_now_ns(void)
{
    sched_point(SITE);
    sched.now_ns += CLOCK_STEP_NS;
    if (door.haste != 0 && sched_mishap(door.haste))
        sched.now_ns += CLOCK_JUMP_NS;
    return sched.now_ns;
}

/* No thread of a schedule is ever without a CPU for as long as that is asked for. */
uint64_t clock_process_ns(void)
{
    return sched.now_ns;
}

uint64_t clock_left_ns(const struct timespec *deadline)
{
    if (deadline == NULL)
        return NEVER;
    uint64_t now = clock_now_ns(), until = deadline_ns(deadline);
    return until > now ? until - now : 0;
}

unsigned cpu_count(void)
{
    return door.n_cpus;
}

void *door_alloc(size_t align, size_t size, const char *site)
{
    outside_of_sections(site, "an allocation");
    sched_point(site);
    if (door.failures != 0 && sched_mishap(door.failures))
        return NULL;
    return memory_alloc(size, align);
}

void *door_calloc(size_t n, size_t size, const char *site)
{
    void *p = door_alloc(_Alignof(max_align_t), n * size, site);
    return p != NULL ? door_memset(p, 0, n * size) : NULL;
}

void door_free(void *p)
{
    if (memory_ours(p))
        memory_free(p);
    else
        process_free(p);
}

void *door_memset(void *p, int value, size_t size)
{
    memory_plain(p, size, true);
    return (memset)(p, value, size);
}

void *door_memcpy(void *to, const void *from, size_t size)
{
    memory_plain(from, size, false);
    memory_plain(to, size, true);
    return (memcpy)(to, from, size);
}

int door_memcmp(const void *a, const void *b, size_t size)
{
    memory_plain(a, size, false);
    memory_plain(b, size, false);
    return (memcmp)(a, b, size);
}

/* --------------------------------------------------------------- descriptors */

static unsigned fd_index(int fd)
{
    CHECK(fd >= FIRST_FD && (unsigned)(fd - FIRST_FD) < d.n_fds);
    unsigned i = (unsigned)(fd - FIRST_FD);
    CHECK(d.fds[i].open);
    return i;
}

int event_fd_new(void)
{
    sched_point(SITE);
    if (d.n_fds == MAX_FDS || (door.failures != 0 && sched_mishap(door.failures)))
        return -EMFILE;
    d.fds[d.n_fds].open = true;
    return FIRST_FD + (int)d.n_fds++;
}

void event_fd_close(int fd)
{
    sched_point(SITE);
    d.fds[fd_index(fd)].open = false;
}

void event_fd_set(int fd)
{
    sched_point(SITE);
    unsigned i = fd_index(fd);
    d.fds[i].readable = true;
    memory_give(&d.fds[i].clock);
    sched_note(SITE, "fd set", NULL, i);
    sched_wake(&d.fds[i], UINT_MAX);
}

void event_fd_clear(int fd)
{
    sched_point(SITE);
    d.fds[fd_index(fd)].readable = false;
    memory_take(&d.fds[fd_index(fd)].clock);
    memory_give(&d.fds[fd_index(fd)].clock);
    sched_note(SITE, "fd clear", NULL, (uint64_t)(fd - FIRST_FD));
}

bool door_readable(int fd)
{
    return d.fds[fd_index(fd)].readable;
}

void door_wait_readable(int fd)
{
    while (!d.fds[fd_index(fd)].readable)
        (void)sched_sleep(&d.fds[fd_index(fd)], NEVER, false, SITE);
    memory_take(&d.fds[fd_index(fd)].clock);
}

/* ------------------------------------------------------------------- reclaim */

/*
 * What an epoch promises, and no more: an entry comes back when every section
 * that had begun before it was retired has been left, and not a moment later.
 */
struct lane reclaim_no_lane;

void reclaim_init(void) {}

/* In a child nothing else may be called before. */
static void lanes_are_right(const char *site)
{
    if (d.lanes_of_parent)
        explore_fail("%s: a lane is used, and reclaim_after_fork() has not been called", site);
}

struct lane *reclaim_lane(unsigned hint)
{
    (void)hint;
    lanes_are_right("reclaim_lane");
    return &reclaim_no_lane;
}

struct lane *reclaim_enter(struct lane *lane)
{
    CHECK(lane == &reclaim_no_lane);
    lanes_are_right(SITE);
    sched_point(SITE);
    CHECK(!d.threads[sched.self].in_section);
    d.threads[sched.self].in_section = true;
    atomic_fence_seq_cst();
    sched_note(SITE, "enter", NULL, 0);
    return (struct lane *)&d.threads[sched.self];
}

void reclaim_leave(struct lane *lane)
{
    CHECK(lane == (struct lane *)&d.threads[sched.self] && d.threads[sched.self].in_section);
    sched_point(SITE);
    d.threads[sched.self].in_section = false;
    sched_note(SITE, "leave", NULL, 0);
    memory_give(&d.left);
    for (unsigned i = 0; i < d.n_retired; i++)
        d.retired[i].waits_for &= ~(UINT32_C(1) << sched.self);
    if (door.left != NULL)
        door.left();
}

static struct retired *retired_find(const struct reclaim_entry *entry)
{
    for (unsigned i = 0; i < d.n_retired; i++)
        if (d.retired[i].entry == entry)
            return &d.retired[i];
    return NULL;
}

void reclaim_retire(struct reclaim_limbo *limbo, struct reclaim_entry *entry)
{
    outside_of_sections(SITE, "something is retired");
    sched_point(SITE);
    atomic_fence_seq_cst();
    if (retired_find(entry) != NULL)
        explore_fail("%p is retired twice", (void *)entry);
    CHECK(d.n_retired < MAX_RETIRED);
    struct retired r = {.entry = entry};
    for (int i = 0; i < MAX_THREADS; i++)
        if (d.threads[i].in_section)
            r.waits_for |= UINT32_C(1) << i;
    memory_plain(entry, sizeof(*entry), true);
    entry->next = NULL;
    memory_plain(limbo, sizeof(*limbo), true);
    if (limbo->first == NULL)
        limbo->first = entry;
    else
        limbo->last->next = entry;
    limbo->last = entry;
    limbo->n++;
    limbo->n_unpolled++;
    d.retired[d.n_retired++] = r;
    sched_note(SITE, "retire", entry, r.waits_for);
}

unsigned reclaim_poll(struct lane *lane)
{
    (void)lane;
    outside_of_sections(SITE, "a poll");
    lanes_are_right(SITE);
    sched_point(SITE);
    return 0;
}

struct reclaim_entry *reclaim_take_unseen(struct reclaim_limbo *limbo)
{
    memory_plain(limbo, sizeof(*limbo), true);
    struct reclaim_entry *entry = limbo->first;

    if (entry == NULL)
        return NULL;
    memory_plain(entry, sizeof(*entry), false);
    limbo->first = entry->next;
    limbo->n--;
    *retired_find(entry) = d.retired[d.n_retired - 1];
    d.n_retired--;
    return entry;
}

struct reclaim_entry *reclaim_take(struct reclaim_limbo *limbo, unsigned polled)
{
    (void)polled;
    if (limbo->first == NULL || retired_find(limbo->first)->waits_for != 0 || door.lazy_reclaim)
        return NULL;
    memory_take(&d.left);
    return reclaim_take_unseen(limbo);
}

void reclaim_after_fork(void)
{
    d.lanes_of_parent = false;
    for (int i = 0; i < MAX_THREADS; i++)
        d.threads[i].in_section = false;
    for (unsigned i = 0; i < d.n_retired; i++)
        d.retired[i].waits_for = 0;
}

void reclaim_limbo_after_fork(struct reclaim_limbo *limbo)
{
    limbo->n = 0;
    for (struct reclaim_entry *entry = limbo->first; entry != NULL; entry = entry->next) {
        limbo->last = entry;
        limbo->n++;
    }
}

/* ----------------------------------------------------------------------- end */

void door_check_end(void)
{
    const void *one = NULL;
    size_t n = memory_live(&one);

    for (unsigned i = 0; i < d.n_mutexes; i++)
        CHECK(d.mutexes[i].owner < 0);
    for (unsigned i = 0; i < d.n_fds; i++)
        CHECK(!d.fds[i].open);
    CHECK(d.n_retired == 0);
    if (n != 0)
        explore_fail("%zu blocks were not freed, one at %p", n, one);
}
