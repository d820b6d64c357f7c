/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight_mutex.c - Go's singleflight in plain C, as one would write it without
 * a library: a mutex and a hash map of the calls in flight, a condition
 * variable in each call.  One mutex as in Go (mutex1), or 64 of them with the
 * keys spread over (mutex64).
 *
 * It does less than libsingleflight and so has less to pay for: no deadlines,
 * no takeover, no deadlock detection, no statistics, and a leader that leaves
 * fn without returning wedges its key.  As every leader waits for its own fn,
 * the caller's key outlives the call's place in the map and is not copied.
 *
 * A call is in the map, and its fields belong to the shard's lock, until its
 * leader closes it.  From then on they are read-only but for refs: the leader
 * and each follower have one.  The last to release destroys the value and
 * keeps the record for this thread's next call.
 */
#include "flight.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    CACHE_LINE = 64,
    BUCKETS_MIN = 16,
    SPARE_MAX = 64, /* records a thread keeps for its next calls */
};

struct mutex_call {
    LIST_ENTRY(mutex_call) link;
    uint64_t hash;
    const void *key; /* the leader's */
    size_t key_len;
    bool in_map; /* false once closed or forgotten */
    bool closed;
    uint32_t followers;
    atomic_uint refs; /* set at the close */
    struct shard *shard;
    int status;
    void *value;
    size_t size;
    sflight_destroy_fn *destroy;
    void *ctx;
    pthread_cond_t cond; /* closed has become true */
};

LIST_HEAD(bucket, mutex_call);

struct shard {
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    struct bucket *buckets;
    size_t mask; /* number of buckets - 1 */
    size_t n_calls;
};

struct mutex_group {
    size_t shard_mask;
    struct shard shards[];
};

/* ------------------------------------------------------------- call records */

/* The records this thread has spare; the key is there to free them when it ends. */
static _Thread_local struct {
    LIST_HEAD(, mutex_call) list;
    unsigned n;
    bool registered; /* spare_free() will run */
} spare;
static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void call_free(struct mutex_call *c)
{
    pthread_cond_destroy(&c->cond);
    free(c);
}

static void spare_free(void *unused)
{
    (void)unused;
    while (!LIST_EMPTY(&spare.list)) {
        struct mutex_call *c = LIST_FIRST(&spare.list);
        LIST_REMOVE(c, link);
        call_free(c);
    }
    spare.n = 0;
    spare.registered = false;
}

static void spare_init(void)
{
    pthread_key_create(&spare_key, spare_free);
}

static struct mutex_call *call_get(void)
{
    struct mutex_call *c = LIST_FIRST(&spare.list);
    if (c != NULL) {
        LIST_REMOVE(c, link);
        spare.n--;
    } else {
        c = aligned_alloc(CACHE_LINE, (sizeof(*c) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
        if (c == NULL)
            return NULL;
        pthread_cond_init(&c->cond, NULL);
    }
    return c;
}

static void call_put(struct mutex_call *c)
{
    if (spare.n == SPARE_MAX) {
        call_free(c);
        return;
    }
    if (!spare.registered)
        spare.registered = pthread_setspecific(spare_key, &spare) == 0;
    LIST_INSERT_HEAD(&spare.list, c, link);
    spare.n++;
}

/* -------------------------------------------------------------------- group */

static int mutex_destroy(sflight_group *group)
{
    struct mutex_group *g = (struct mutex_group *)group;
    for (size_t i = 0; g != NULL && i <= g->shard_mask; i++) {
        pthread_mutex_destroy(&g->shards[i].lock);
        free(g->shards[i].buckets);
    }
    free(g);
    return 0;
}

/* n_shards is a power of two. */
static int mutex_create(sflight_group **out, size_t expected_inflight, size_t n_shards)
{
    pthread_once(&spare_once, spare_init);
    struct mutex_group *g = aligned_alloc(CACHE_LINE, CACHE_LINE + n_shards * sizeof(struct shard));
    if (g == NULL)
        return -ENOMEM;
    memset(g, 0, CACHE_LINE + n_shards * sizeof(struct shard));
    g->shard_mask = n_shards - 1;
    size_t n_buckets = BUCKETS_MIN;
    while (n_buckets < expected_inflight / n_shards)
        n_buckets *= 2;
    bool ok = true;
    for (size_t i = 0; i < n_shards; i++) {
        struct shard *s = &g->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->buckets = calloc(n_buckets, sizeof(struct bucket));
        s->mask = n_buckets - 1;
        ok = ok && s->buckets != NULL;
    }
    if (!ok) {
        mutex_destroy((sflight_group *)g);
        return -ENOMEM;
    }
    *out = (sflight_group *)g;
    return 0;
}

static int mutex1_create(sflight_group **out, size_t expected_inflight)
{
    return mutex_create(out, expected_inflight, 1);
}

static int mutex64_create(sflight_group **out, size_t expected_inflight)
{
    return mutex_create(out, expected_inflight, 64);
}

/* ---------------------------------------------------------------------- map */
/* All of it under the shard's lock.                                          */

static struct mutex_call *map_find(struct shard *s, uint64_t hash, const void *key, size_t key_len)
{
    struct mutex_call *c;
    LIST_FOREACH(c, &s->buckets[hash & s->mask], link)
    {
        if (c->hash == hash && c->key_len == key_len &&
            (key_len == 0 || memcmp(c->key, key, key_len) == 0))
            return c;
    }
    return NULL;
}

/* Twice the buckets; without the memory for it the chains just get longer. */
static void map_grow(struct shard *s)
{
    size_t mask = s->mask * 2 + 1;
    struct bucket *buckets = calloc(mask + 1, sizeof(struct bucket));
    if (buckets == NULL)
        return;
    for (size_t i = 0; i <= s->mask; i++) {
        while (!LIST_EMPTY(&s->buckets[i])) {
            struct mutex_call *c = LIST_FIRST(&s->buckets[i]);
            LIST_REMOVE(c, link);
            LIST_INSERT_HEAD(&buckets[c->hash & mask], c, link);
        }
    }
    free(s->buckets);
    s->buckets = buckets;
    s->mask = mask;
}

static void map_insert(struct shard *s, struct mutex_call *c)
{
    if (s->n_calls++ > s->mask)
        map_grow(s);
    LIST_INSERT_HEAD(&s->buckets[c->hash & s->mask], c, link);
    c->in_map = true;
}

static void map_remove(struct shard *s, struct mutex_call *c)
{
    LIST_REMOVE(c, link);
    s->n_calls--;
    c->in_map = false;
}

/* ------------------------------------------------------------------ callers */

static struct shard *shard_of(sflight_group *group, uint64_t hash)
{
    struct mutex_group *g = (struct mutex_group *)group;
    return &g->shards[(hash >> 32) & g->shard_mask];
}

/* Claims the key: *leader, and the call is the caller's to end.  Or the call of somebody else, with
   the shard's lock held.  NULL: no memory. */
static struct mutex_call *claim(struct shard *s, uint64_t hash, const void *key, size_t key_len,
                                bool *leader)
{
    pthread_mutex_lock(&s->lock);
    struct mutex_call *c = map_find(s, hash, key, key_len);
    *leader = c == NULL;
    if (!*leader)
        return c;
    c = call_get();
    if (c != NULL) {
        c->hash = hash;
        c->key = key;
        c->key_len = key_len;
        c->closed = false;
        c->followers = 0;
        c->value = NULL;
        c->size = 0;
        c->destroy = NULL;
        c->shard = s;
        map_insert(s, c);
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* Ends it.  The leader keeps a hold. */
static void close_call(struct mutex_call *c)
{
    struct shard *s = c->shard;
    pthread_mutex_lock(&s->lock);
    if (c->in_map)
        map_remove(s, c);
    c->closed = true;
    atomic_store_explicit(&c->refs, c->followers + 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    /* The leader's own hold keeps the record: the wake-up needs no lock. */
    if (c->followers != 0)
        pthread_cond_broadcast(&c->cond);
}

/* Waits, with the lock, until the call is closed; false at the deadline. */
static bool join(struct mutex_call *c, const struct timespec *deadline)
{
    struct shard *s = c->shard;
    c->followers++;
    while (!c->closed) {
        if (deadline == NULL) {
            pthread_cond_wait(&c->cond, &s->lock);
        } else if (pthread_cond_clockwait(&c->cond, &s->lock, CLOCK_MONOTONIC, deadline) ==
                       ETIMEDOUT &&
                   !c->closed) {
            c->followers--;
            pthread_mutex_unlock(&s->lock);
            return false;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return true;
}

static int mutex_run_until(sflight_group *group, const void *key, size_t key_len, sflight_fn *fn,
                           void *arg, const struct timespec *deadline, sflight_result *r)
{
    uint64_t hash = XXH3_64bits(key, key_len);
    bool leader;
    struct mutex_call *c = claim(shard_of(group, hash), hash, key, key_len, &leader);
    if (c == NULL) {
        memset(r, 0, sizeof(*r));
        return -ENOMEM;
    }
    if (leader) {
        c->status = fn((sflight_call *)c, arg);
        close_call(c);
    } else if (!join(c, deadline)) {
        memset(r, 0, sizeof(*r));
        return -ETIMEDOUT;
    }
    r->value = c->value;
    r->size = c->size;
    r->status = c->status;
    r->leader = leader;
    r->shared = c->followers != 0;
    r->followers = c->followers;
    r->hold = c;
    return 0;
}

static int mutex_run(sflight_group *group, const void *key, size_t key_len, sflight_fn *fn,
                     void *arg, sflight_result *r)
{
    return mutex_run_until(group, key, key_len, fn, arg, NULL, r);
}

static int mutex_lead(sflight_group *group, const void *key, size_t key_len, sflight_call **call)
{
    uint64_t hash = XXH3_64bits(key, key_len);
    struct shard *s = shard_of(group, hash);
    bool leader;
    struct mutex_call *c = claim(s, hash, key, key_len, &leader);
    if (!leader)
        pthread_mutex_unlock(&s->lock);
    *call = leader ? (sflight_call *)c : NULL;
    return c != NULL ? 0 : -ENOMEM;
}

static void mutex_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                      void *ctx)
{
    struct mutex_call *c = (struct mutex_call *)call;
    if (c->destroy != NULL)
        c->destroy(c->value, c->size, c->ctx);
    c->value = value;
    c->size = size;
    c->destroy = destroy;
    c->ctx = ctx;
}

static int mutex_forget(sflight_group *group, const void *key, size_t key_len)
{
    uint64_t hash = XXH3_64bits(key, key_len);
    struct shard *s = shard_of(group, hash);

    pthread_mutex_lock(&s->lock);
    struct mutex_call *c = map_find(s, hash, key, key_len);
    if (c != NULL)
        map_remove(s, c);
    pthread_mutex_unlock(&s->lock);
    return c != NULL;
}

static void call_release(struct mutex_call *c)
{
    /* A sole holder needs no read-modify-write: holds are never added after the close. */
    if (atomic_load_explicit(&c->refs, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1) {
        if (c->destroy != NULL)
            c->destroy(c->value, c->size, c->ctx);
        call_put(c);
    }
}

static void mutex_release(sflight_result *r)
{
    struct mutex_call *c = r->hold;
    memset(r, 0, sizeof(*r));
    if (c != NULL)
        call_release(c);
}

static void mutex_finish(sflight_call *call, int status)
{
    struct mutex_call *c = (struct mutex_call *)call;
    c->status = status;
    close_call(c);
    call_release(c);
}

const struct flight_ops flight_mutex1 = {
    .name = "mutex1",
    .create = mutex1_create,
    .run = mutex_run,
    .run_until = mutex_run_until,
    .lead = mutex_lead,
    .finish = mutex_finish,
    .set = mutex_set,
    .forget = mutex_forget,
    .release = mutex_release,
    .destroy = mutex_destroy,
};

const struct flight_ops flight_mutex64 = {
    .name = "mutex64",
    .create = mutex64_create,
    .run = mutex_run,
    .run_until = mutex_run_until,
    .lead = mutex_lead,
    .finish = mutex_finish,
    .set = mutex_set,
    .forget = mutex_forget,
    .release = mutex_release,
    .destroy = mutex_destroy,
};
