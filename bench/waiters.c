/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waiters.c - what a waiter costs that blocks no thread: begin, enqueue, its
 * share of the completion, drain, release.  All waiters are on one call; one or
 * two threads join it, one completes and drains.
 *   singleflight  begin, then enqueue; each result is released by itself
 *   bulk          the same with sflight_begin_enqueue() and
 *                 sflight_completions_release()
 *   mutex1        what one would write with one mutex
 *   limit         what nothing of the kind can do without: the hash, and one locked
 *                 operation on a line of the thread's own that hangs the waiter up;
 *                 a walk over the waiters
 */
#include "lib/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { AT_A_TIME = 64, KEY_LEN = BENCH_KEY_LEN };

static const char key[KEY_LEN + 1] = "product:00042";
static int value;

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
static unsigned n_using; /* "singleflight" and "bulk" */

static void sf_create(void)
{
    if (n_using++ > 0)
        return;
    BENCH_CHECK(sflight_group_create(&group, NULL) == 0);
    BENCH_CHECK(sflight_queue_create(&queue) == 0);
}

static void *sf_lead(void)
{
    sflight_call *call;
    sflight_future *f;
    BENCH_CHECK(sflight_begin(group, key, KEY_LEN, &call, &f) == 0 && call != NULL);
    return call;
}

static void sf_join(uint64_t tag)
{
    sflight_call *call;
    sflight_future *f;
    BENCH_CHECK(sflight_begin(group, key, KEY_LEN, &call, &f) == 0 && f != NULL);
    BENCH_CHECK(sflight_future_enqueue(f, queue, tag) == 0);
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
        BENCH_CHECK(done[i].rc == 0 && done[i].result.value == &value);
        *sum += done[i].tag;
        sflight_result_release(&done[i].result);
    }
    return (unsigned)n;
}

static void bulk_join(uint64_t tag)
{
    sflight_call *call;
    BENCH_CHECK(sflight_begin_enqueue(group, key, KEY_LEN, queue, tag, &call, NULL) == 0 &&
                call == NULL);
}

static unsigned bulk_drain(uint64_t *sum)
{
    sflight_completion done[AT_A_TIME];
    int n = sflight_queue_drain(queue, done, AT_A_TIME);
    for (int i = 0; i < n; i++) {
        BENCH_CHECK(done[i].rc == 0 && done[i].result.value == &value);
        *sum += done[i].tag;
    }
    sflight_completions_release(done, (unsigned)n);
    return (unsigned)n;
}

static void sf_destroy(void)
{
    if (--n_using > 0)
        return;
    BENCH_CHECK(sflight_queue_destroy(queue) == 0);
    BENCH_CHECK(sflight_group_destroy(group) == 0);
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
    BENCH_CHECK(m.fd >= 0);
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
    BENCH_CHECK(c != NULL);
    memcpy(c->key, key, KEY_LEN);
    STAILQ_INIT(&c->waiters);
    c->n_holds = 1;
    pthread_mutex_lock(&m.lock);
    BENCH_CHECK(m_find(&bucket) == NULL);
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
    BENCH_CHECK(c != NULL && w != NULL);
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
        BENCH_CHECK(eventfd_write(m.fd, 1) == 0);
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
        BENCH_CHECK(done[i]->call->value == &value);
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

/* --------------------------------------------------------------- the limit */

enum { MAX_WAITERS = 100000, MAX_JOINERS = 3 };

struct l_waiter {
    struct l_waiter *next;
    uint64_t tag, hash;
};

struct l_joiner {
    _Alignas(64) _Atomic(struct l_waiter *) first;
    bool known;
};

static struct l_waiter *l_waiters;
static _Atomic(struct l_joiner *) l_joiners[MAX_JOINERS];
static atomic_uint l_n_joiners;
static _Thread_local struct l_joiner l_own;

static void l_create(void)
{
    l_waiters = calloc(MAX_WAITERS, sizeof(*l_waiters));
    BENCH_CHECK(l_waiters != NULL);
}

static void *l_lead(void)
{
    return &value;
}

static void l_join(uint64_t tag)
{
    struct l_waiter *w = &l_waiters[tag];
    if (!l_own.known) {
        l_own.known = true;
        unsigned n = l_n_joiners++;
        BENCH_CHECK(n < MAX_JOINERS);
        l_joiners[n] = &l_own;
    }
    w->tag = tag;
    w->hash = XXH3_64bits_withSeed(key, KEY_LEN, 1);
    w->next = l_own.first;
    while (!atomic_compare_exchange_weak(&l_own.first, &w->next, w))
        ;
}

static void l_complete(void *call)
{
    BENCH_CHECK(call == &value);
}

static unsigned l_drain(uint64_t *sum)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l_n_joiners; i++) {
        struct l_joiner *j = l_joiners[i];
        for (struct l_waiter *w = atomic_exchange(&j->first, NULL); w != NULL; w = w->next, n++)
            *sum += w->tag;
    }
    return n;
}

static void l_destroy(void)
{
    free(l_waiters);
}

/* ------------------------------------------------------------------ rounds */

static const struct ops sf = {"sflight",   sf_create, sf_lead,   sf_join,
                              sf_complete, sf_drain,  sf_destroy};
static const struct ops bulk = {"bulk",      sf_create,  sf_lead,   bulk_join,
                                sf_complete, bulk_drain, sf_destroy};
static const struct ops mutex = {"mutex", m_create, m_lead, m_join, m_complete, m_drain, m_destroy};
static const struct ops limit = {"limit", l_create, l_lead, l_join, l_complete, l_drain, l_destroy};

static struct bench_team *team;
static uint64_t n_waiters;

static void joiner(struct bench_thread *t, void *arg)
{
    const struct ops *ops = arg;
    uint64_t n_each = n_waiters / bench_team_size(team), first = t->number * n_each;
    for (uint64_t i = 0; i < n_each; i++)
        ops->join(first + i);
}

/* Enough calls one after the other to be measured. */
static void round_of(struct bench_subject *s, struct bench_round *r)
{
    const struct ops *ops = s->own;
    uint64_t n_calls = n_waiters < 1000 ? 1000 / n_waiters : 1;
    uint64_t begin = bench_now_ns();
    for (uint64_t i = 0; i < n_calls; i++) {
        uint64_t sum = 0, n = 0;
        void *call = ops->lead();
        if (team == NULL) {
            for (uint64_t tag = 0; tag < n_waiters; tag++)
                ops->join(tag);
        } else {
            bench_team_run(team, joiner, s->own, 0);
        }
        ops->complete(call);
        while (n < n_waiters)
            n += ops->drain(&sum);
        BENCH_CHECK(n == n_waiters && sum == n_waiters * (n_waiters - 1) / 2);
    }
    r->n_done = n_calls * n_waiters;
    r->value[0] = (double)(bench_now_ns() - begin) / (double)r->n_done;
}

int main(int argc, char **argv)
{
    struct bench_subject s[BENCH_SUBJECTS];

    bench.rounds = 40;
    bench_begin(argc, argv, "waiters", "What does a waiter cost that blocks no thread?");
    size_t n = bench_subject_add(s, 0, "singleflight", NULL, (void *)(uintptr_t)&sf);
    n = bench_subject_add(s, n, "bulk", NULL, (void *)(uintptr_t)&bulk);
    n = bench_subject_add(s, n, "mutex1", NULL, (void *)(uintptr_t)&mutex);
    n = bench_subject_add(s, n, "limit", NULL, (void *)(uintptr_t)&limit);
    for (size_t i = 0; i < n; i++)
        ((const struct ops *)s[i].own)->create();
    for (unsigned threads = 1; threads <= 2; threads++) {
        team = threads == 1 ? NULL : bench_team_create(threads);
        for (n_waiters = threads == 1 ? 1 : 1000;
             bench_wants((double)n_waiters, 1000) && n_waiters <= 100000; n_waiters *= 10)
            bench_run(&(struct bench_case){.label = threads == 1 ? "1 thread" : "2 threads",
                                           .x = (double)n_waiters,
                                           .metrics = {{"waiter", "ns"}},
                                           .round = round_of},
                      s, n);
    }
    bench_team_destroy(team);
    for (size_t i = 0; i < n; i++)
        ((const struct ops *)s[i].own)->destroy();
    return bench_end();
}
