/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a waiter costs that blocks no thread: begin, enqueue, its share of the
 * completion, drain, release.  All waiters are on one call; one or two threads
 * join it, one completes and drains.  Compared with what one would write with
 * one mutex.  The two run in turns, round after round; the fastest round of
 * each counts.
 *
 *     waiters [ROUNDS [MAX_WAITERS]]
 */
#include <singleflight.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

enum { AT_A_TIME = 64, MAX_THREADS = 2, KEY_LEN = 13 };

static const char key[KEY_LEN + 1] = "product:00042";
static int value;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ------------------------------------------------------------- one interface */

struct ops {
    const char *name;
    void (*create)(void);
    void *(*lead)(void);
    void (*join)(uint64_t tag); /* and enqueue */
    void (*complete)(void *call);
    unsigned (*drain)(uint64_t *sum); /* some; adds their tags up, and releases */
    void (*destroy)(void);
};

/* ---------------------------------------------------------- libsingleflight */

static sflight_group *group;
static sflight_queue *queue;

static void sf_create(void)
{
    CHECK(sflight_group_create(&group, NULL) == 0);
    CHECK(sflight_queue_create(&queue) == 0);
}

static void *sf_lead(void)
{
    sflight_call *call;
    sflight_future *f;
    CHECK(sflight_begin(group, key, KEY_LEN, &call, &f) == 0 && call != NULL);
    return call;
}

static void sf_join(uint64_t tag)
{
    sflight_call *call;
    sflight_future *f;
    CHECK(sflight_begin(group, key, KEY_LEN, &call, &f) == 0 && f != NULL);
    CHECK(sflight_future_enqueue(f, queue, tag) == 0);
}

static void sf_complete(void *call)
{
    sflight_call_set(call, &value, sizeof(value), NULL, NULL);
    sflight_complete(call, 0);
}

static unsigned sf_drain(uint64_t *sum)
{
    sflight_completion done[AT_A_TIME];
    int n = sflight_queue_drain(queue, done, AT_A_TIME);
    for (int i = 0; i < n; i++) {
        CHECK(done[i].rc == 0 && done[i].result.value == &value);
        *sum += done[i].tag;
        sflight_result_release(&done[i].result);
    }
    return (unsigned)n;
}

static void sf_destroy(void)
{
    CHECK(sflight_queue_destroy(queue) == 0);
    CHECK(sflight_group_destroy(group) == 0);
}

/* -------------------------------------------------------------- one mutex */
/*
 * A map of calls, a list of waiters in each, and a list of completions with an
 * eventfd: all of it, memory included, under one lock.  A hold is a waiter's
 * record.
 */

struct m_waiter {
    STAILQ_ENTRY(m_waiter) link;
    struct m_call *call;
    uint64_t tag;
};
STAILQ_HEAD(m_waiters, m_waiter);

struct m_call {
    LIST_ENTRY(m_call) link;
    char key[KEY_LEN];
    struct m_waiters waiters;
    atomic_uint n_holds;
    void *value;
};

static struct {
    pthread_mutex_t lock;
    LIST_HEAD(, m_call) buckets[64];
    struct m_waiters done, spare;
    int fd;
} m = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void m_create(void)
{
    STAILQ_INIT(&m.done);
    STAILQ_INIT(&m.spare);
    m.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(m.fd >= 0);
}

static struct m_call *m_find(size_t *bucket)
{
    uint64_t hash = 0;
    struct m_call *c;
    for (int i = 0; i < KEY_LEN; i++)
        hash = hash * 31 + (unsigned char)key[i];
    *bucket = hash % 64;
    LIST_FOREACH(c, &m.buckets[*bucket], link)
    {
        if (memcmp(c->key, key, KEY_LEN) == 0)
            return c;
    }
    return NULL;
}

static void *m_lead(void)
{
    size_t bucket;
    struct m_call *c = calloc(1, sizeof(*c));
    CHECK(c != NULL);
    memcpy(c->key, key, KEY_LEN);
    STAILQ_INIT(&c->waiters);
    c->n_holds = 1;
    pthread_mutex_lock(&m.lock);
    CHECK(m_find(&bucket) == NULL);
    LIST_INSERT_HEAD(&m.buckets[bucket], c, link);
    pthread_mutex_unlock(&m.lock);
    return c;
}

static void m_join(uint64_t tag)
{
    size_t bucket;
    pthread_mutex_lock(&m.lock);
    struct m_call *c = m_find(&bucket);
    struct m_waiter *w = STAILQ_FIRST(&m.spare);
    if (w != NULL)
        STAILQ_REMOVE_HEAD(&m.spare, link);
    else
        w = malloc(sizeof(*w));
    CHECK(c != NULL && w != NULL);
    w->call = c;
    w->tag = tag;
    atomic_fetch_add_explicit(&c->n_holds, 1, memory_order_relaxed);
    STAILQ_INSERT_TAIL(&c->waiters, w, link);
    pthread_mutex_unlock(&m.lock);
}

static void m_release(struct m_call *c)
{
    if (atomic_fetch_sub_explicit(&c->n_holds, 1, memory_order_acq_rel) == 1)
        free(c);
}

static void m_complete(void *call)
{
    struct m_call *c = call;
    c->value = &value;
    pthread_mutex_lock(&m.lock);
    LIST_REMOVE(c, link);
    bool was_empty = STAILQ_EMPTY(&m.done);
    STAILQ_CONCAT(&m.done, &c->waiters);
    if (was_empty && !STAILQ_EMPTY(&m.done))
        CHECK(eventfd_write(m.fd, 1) == 0);
    pthread_mutex_unlock(&m.lock);
    m_release(c);
}

static unsigned m_drain(uint64_t *sum)
{
    struct m_waiter *done[AT_A_TIME];
    unsigned n = 0;
    eventfd_t unused;
    pthread_mutex_lock(&m.lock);
    while (n < AT_A_TIME && (done[n] = STAILQ_FIRST(&m.done)) != NULL) {
        STAILQ_REMOVE_HEAD(&m.done, link);
        n++;
    }
    if (STAILQ_EMPTY(&m.done))
        (void)eventfd_read(m.fd, &unused);
    pthread_mutex_unlock(&m.lock);
    for (unsigned i = 0; i < n; i++) {
        CHECK(done[i]->call->value == &value);
        *sum += done[i]->tag;
        m_release(done[i]->call);
    }
    pthread_mutex_lock(&m.lock);
    for (unsigned i = 0; i < n; i++)
        STAILQ_INSERT_HEAD(&m.spare, done[i], link);
    pthread_mutex_unlock(&m.lock);
    return n;
}

static void m_destroy(void)
{
    struct m_waiter *w;
    while ((w = STAILQ_FIRST(&m.spare)) != NULL) {
        STAILQ_REMOVE_HEAD(&m.spare, link);
        free(w);
    }
    close(m.fd);
}

/* ------------------------------------------------------------------ rounds */

static const struct ops all[] = {
    {"sflight", sf_create, sf_lead, sf_join, sf_complete, sf_drain, sf_destroy},
    {"mutex", m_create, m_lead, m_join, m_complete, m_drain, m_destroy},
};
enum { N_OPS = sizeof(all) / sizeof(all[0]) };

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Joining threads live as long as the program: they wait at a barrier for work. */
static struct {
    pthread_barrier_t begin, end;
    const struct ops *ops; /* NULL: that was all */
    uint64_t n_each;
} shared;

static void *joiner_main(void *number)
{
    for (;;) {
        pthread_barrier_wait(&shared.begin);
        if (shared.ops == NULL)
            return NULL;
        uint64_t first = (uint64_t)(uintptr_t)number * shared.n_each;
        for (uint64_t i = 0; i < shared.n_each; i++)
            shared.ops->join(first + i);
        pthread_barrier_wait(&shared.end);
    }
}

/* Nanoseconds for each waiter; enough calls one after the other to be measured. */
static double round_of(const struct ops *ops, uint64_t n_waiters, unsigned n_threads)
{
    uint64_t n_calls = n_waiters < 1000 ? 1000 / n_waiters : 1;
    uint64_t begin = now_ns();
    for (uint64_t i = 0; i < n_calls; i++) {
        uint64_t sum = 0, n = 0;
        void *call = ops->lead();
        if (n_threads == 1) {
            for (uint64_t tag = 0; tag < n_waiters; tag++)
                ops->join(tag);
        } else {
            shared.ops = ops;
            shared.n_each = n_waiters / n_threads;
            pthread_barrier_wait(&shared.begin);
            pthread_barrier_wait(&shared.end);
        }
        ops->complete(call);
        while (n < n_waiters)
            n += ops->drain(&sum);
        CHECK(n == n_waiters && sum == n_waiters * (n_waiters - 1) / 2);
    }
    return (double)(now_ns() - begin) / (double)(n_calls * n_waiters);
}

int main(int argc, char **argv)
{
    static const struct {
        uint64_t n_waiters;
        unsigned n_threads;
    } runs[] = {{1, 1}, {1000, 1}, {100000, 1}, {1000, 2}, {100000, 2}};
    long rounds = argc > 1 ? atol(argv[1]) : 40;
    long max = argc > 2 ? atol(argv[2]) : 100000;
    pthread_t threads[MAX_THREADS];

    if (rounds < 1 || max < 1) {
        fprintf(stderr, "usage: %s [ROUNDS [MAX_WAITERS]]\n", argv[0]);
        return 2;
    }
    pthread_barrier_init(&shared.begin, NULL, MAX_THREADS + 1);
    pthread_barrier_init(&shared.end, NULL, MAX_THREADS + 1);
    for (uintptr_t i = 0; i < MAX_THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, joiner_main, (void *)i) == 0);
    for (int i = 0; i < N_OPS; i++)
        all[i].create();

    printf("%-10s %-8s %14s %14s %8s\n", "waiters", "threads", "sflight ns", "mutex ns", "ratio");
    for (size_t run = 0; run < sizeof(runs) / sizeof(runs[0]); run++) {
        double best[N_OPS] = {0};
        if (runs[run].n_waiters > (uint64_t)max)
            continue;
        for (long round = 0; round <= rounds; round++) {
            for (int i = 0; i < N_OPS; i++) {
                double ns = round_of(&all[i], runs[run].n_waiters, runs[run].n_threads);
                if (round <= 1 || ns < best[i]) /* round 0 warms up */
                    best[i] = ns;
            }
        }
        printf("%-10" PRIu64 " %-8u %14.1f %14.1f %8.2f\n", runs[run].n_waiters,
               runs[run].n_threads, best[0], best[1], best[0] / best[1]);
    }

    shared.ops = NULL;
    pthread_barrier_wait(&shared.begin);
    for (int i = 0; i < MAX_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < N_OPS; i++)
        all[i].destroy();
    return 0;
}
