/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight_urcu.c - singleflight on liburcu: its lock-free resizable hash table
 * (cds_lfht) for the calls in flight, call_rcu() to free their records, and one
 * futex word in each call, on which its followers sleep.
 *
 * Inside a read-side section a caller finds a call and adds itself to `state`;
 * the leader closes it by setting CLOSED there, which fixes the number of
 * followers, takes it out of the table and opens the gate.  Whoever walks over
 * the record may look at its key until the grace period ends: it is copied.
 */
#include "flight.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <urcu.h>
#include <urcu/rculfhash.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { CLOSED = 1, FOLLOWER = 2 }; /* state: followers * FOLLOWER | CLOSED */
enum { GATE_SHUT, GATE_WAITED, GATE_OPEN };

struct urcu_call {
    struct cds_lfht_node node;
    struct cds_lfht *table;
    size_t key_len;
    atomic_uint state;
    atomic_uint gate;
    atomic_uint refs; /* set before the gate opens */
    int status;
    void *value;
    size_t size;
    sflight_destroy_fn *destroy;
    void *ctx;
    struct rcu_head rcu;
    unsigned char key[];
};

struct lookup {
    const void *key;
    size_t key_len;
};

/* ------------------------------------------------------------------ threads */

static _Thread_local bool registered;
static pthread_key_t thread_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void thread_end(void *unused)
{
    (void)unused;
    rcu_unregister_thread();
    registered = false;
}

static void init(void)
{
    pthread_key_create(&thread_key, thread_end);
}

static void enter(void)
{
    if (!registered) {
        rcu_register_thread();
        registered = true;
        pthread_setspecific(thread_key, &registered);
    }
    rcu_read_lock();
}

/* -------------------------------------------------------------------- group */

static int urcu_create(sflight_group **out, size_t expected_inflight)
{
    unsigned long size = 1024;
    pthread_once(&once, init);
    while (size < expected_inflight)
        size *= 2;
    struct cds_lfht *t = cds_lfht_new(size, 1, 0, CDS_LFHT_AUTO_RESIZE | CDS_LFHT_ACCOUNTING, NULL);
    *out = (sflight_group *)t;
    return t != NULL ? 0 : -ENOMEM;
}

static int urcu_destroy(sflight_group *g)
{
    rcu_barrier();
    return cds_lfht_destroy((struct cds_lfht *)g, NULL);
}

/* -------------------------------------------------------------------- calls */

static struct urcu_call *call_of(struct cds_lfht_node *node)
{
    return caa_container_of(node, struct urcu_call, node);
}

static int match(struct cds_lfht_node *node, const void *key)
{
    const struct urcu_call *c = call_of(node);
    const struct lookup *l = key;
    return c->key_len == l->key_len && (l->key_len == 0 || memcmp(c->key, l->key, l->key_len) == 0);
}

static bool try_join(struct urcu_call *c)
{
    unsigned state = atomic_load_explicit(&c->state, memory_order_relaxed);
    while ((state & CLOSED) == 0) {
        if (atomic_compare_exchange_weak(&c->state, &state, state + FOLLOWER))
            return true;
    }
    return false;
}

/* Claims the key (*leader), or finds its call and, if joins, joins it. */
static struct urcu_call *claim(struct cds_lfht *t, const void *key, size_t key_len, bool *leader,
                               bool joins)
{
    struct lookup l = {key, key_len};
    unsigned long hash = XXH3_64bits(key, key_len);
    struct urcu_call *own = NULL, *c = NULL;
    struct cds_lfht_iter iter;

    *leader = false;
    enter();
    for (;;) {
        cds_lfht_lookup(t, hash, match, &l, &iter);
        struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
        if (node == NULL) {
            if (own == NULL) {
                own = malloc(sizeof(*own) + key_len);
                if (own == NULL)
                    break;
                memset(own, 0, sizeof(*own));
                own->table = t;
                own->key_len = key_len;
                if (key_len != 0)
                    memcpy(own->key, key, key_len);
                cds_lfht_node_init(&own->node);
            }
            node = cds_lfht_add_unique(t, hash, match, &l, &own->node);
            if (node == &own->node) {
                c = own;
                own = NULL;
                *leader = true;
                break;
            }
        }
        c = call_of(node);
        if (!joins || try_join(c))
            break;
        cds_lfht_del(t, node); /* closed: its leader is about to do that */
        c = NULL;
    }
    rcu_read_unlock();
    free(own);
    return c;
}

static void futex_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void close_call(struct urcu_call *c)
{
    unsigned state = atomic_fetch_or(&c->state, CLOSED);
    enter();
    cds_lfht_del(c->table, &c->node); /* fails if somebody else did it */
    rcu_read_unlock();
    atomic_store_explicit(&c->refs, state / FOLLOWER + 1, memory_order_relaxed);
    if (atomic_exchange(&c->gate, GATE_OPEN) == GATE_WAITED)
        futex_wake_all(&c->gate);
}

/* False at the deadline. */
static bool wait_for(struct urcu_call *c, const struct timespec *deadline)
{
    unsigned gate;
    while ((gate = atomic_load(&c->gate)) != GATE_OPEN) {
        if (gate == GATE_SHUT && !atomic_compare_exchange_strong(&c->gate, &gate, GATE_WAITED))
            continue;
        if (syscall(SYS_futex, &c->gate, FUTEX_WAIT_BITSET_PRIVATE, GATE_WAITED, deadline, NULL,
                    FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno == ETIMEDOUT) {
            unsigned state = atomic_load(&c->state);
            while ((state & CLOSED) == 0)
                if (atomic_compare_exchange_weak(&c->state, &state, state - FOLLOWER))
                    return false;
            deadline = NULL; /* the result is on its way, and there is a hold for us */
        }
    }
    return true;
}

static void call_free(struct rcu_head *head)
{
    free(caa_container_of(head, struct urcu_call, rcu));
}

static void call_release(struct urcu_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) == 1) {
        if (c->destroy != NULL)
            c->destroy(c->value, c->size, c->ctx);
        call_rcu(&c->rcu, call_free);
    }
}

/* ------------------------------------------------------------------ callers */

static int urcu_run_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                          void *arg, const struct timespec *deadline, sflight_result *r)
{
    bool leader;
    struct urcu_call *c = claim((struct cds_lfht *)g, key, key_len, &leader, true);
    memset(r, 0, sizeof(*r));
    if (c == NULL)
        return -ENOMEM;
    if (leader) {
        c->status = fn((sflight_call *)c, arg);
        close_call(c);
    } else if (!wait_for(c, deadline)) {
        return -ETIMEDOUT;
    }
    r->value = c->value;
    r->size = c->size;
    r->status = c->status;
    r->leader = leader;
    r->followers = atomic_load_explicit(&c->state, memory_order_relaxed) / FOLLOWER;
    r->shared = r->followers != 0;
    r->hold = c;
    return 0;
}

static int urcu_run(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                    sflight_result *r)
{
    return urcu_run_until(g, key, key_len, fn, arg, NULL, r);
}

static int urcu_lead(sflight_group *g, const void *key, size_t key_len, sflight_call **call)
{
    bool leader;
    struct urcu_call *c = claim((struct cds_lfht *)g, key, key_len, &leader, false);
    *call = leader ? (sflight_call *)c : NULL;
    return c != NULL ? 0 : -ENOMEM;
}

static void urcu_finish(sflight_call *call, int status)
{
    struct urcu_call *c = (struct urcu_call *)call;
    c->status = status;
    close_call(c);
    call_release(c);
}

static void urcu_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                     void *ctx)
{
    struct urcu_call *c = (struct urcu_call *)call;
    if (c->destroy != NULL)
        c->destroy(c->value, c->size, c->ctx);
    c->value = value;
    c->size = size;
    c->destroy = destroy;
    c->ctx = ctx;
}

static int urcu_forget(sflight_group *g, const void *key, size_t key_len)
{
    struct cds_lfht *t = (struct cds_lfht *)g;
    struct lookup l = {key, key_len};
    struct cds_lfht_iter iter;
    enter();
    cds_lfht_lookup(t, XXH3_64bits(key, key_len), match, &l, &iter);
    struct cds_lfht_node *node = cds_lfht_iter_get_node(&iter);
    int n = node != NULL && cds_lfht_del(t, node) == 0;
    rcu_read_unlock();
    return n;
}

static void urcu_release(sflight_result *r)
{
    if (r->hold != NULL)
        call_release(r->hold);
    memset(r, 0, sizeof(*r));
}

const struct flight_ops flight_urcu = {
    .name = "urcu",
    .create = urcu_create,
    .run = urcu_run,
    .run_until = urcu_run_until,
    .lead = urcu_lead,
    .finish = urcu_finish,
    .set = urcu_set,
    .forget = urcu_forget,
    .release = urcu_release,
    .destroy = urcu_destroy,
};
