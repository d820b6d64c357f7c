/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight_tbb.cpp - singleflight as a C++ programmer has it from oneTBB and the
 * standard library: a concurrent_hash_map from the key to the call, and a
 * std::shared_future in each call.
 *
 * An entry is under a reader's lock while a caller joins, and under a writer's
 * while its leader removes it, so nobody joins after that.  The leader and each
 * follower count as one reference.  As in flight_mutex.c the caller's key
 * outlives the entry and is not copied.
 */
#include "flight.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <oneapi/tbb/concurrent_hash_map.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace
{
struct key_view {
    const void *data;
    size_t len;
};

struct key_compare {
    static size_t hash(const key_view &k) { return XXH3_64bits(k.data, k.len); }
    static bool equal(const key_view &a, const key_view &b)
    {
        return a.len == b.len && (a.len == 0 || std::memcmp(a.data, b.data, a.len) == 0);
    }
};

struct call;
using map = tbb::concurrent_hash_map<key_view, call *, key_compare,
                                     std::allocator<std::pair<const key_view, call *>>>;

struct call {
    map *entries;
    key_view key;
    std::promise<int> ending; /* the status */
    std::shared_future<int> ended = ending.get_future().share();
    std::atomic<uint32_t> refs{1}; /* the leader's, and one for each follower */
    uint32_t followers = 0;        /* set at the close */
    void *value = nullptr;
    size_t size = 0;
    sflight_destroy_fn *destroy = nullptr;
    void *ctx = nullptr;

    call(map *m, key_view k) : entries(m), key(k) {}
    ~call()
    {
        if (destroy != nullptr)
            destroy(value, size, ctx);
    }
};

map *map_of(sflight_group *g)
{
    return reinterpret_cast<map *>(g);
}

void release(call *c)
{
    if (c->refs.load(std::memory_order_acquire) == 1 ||
        c->refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
        delete c;
}

int tbb_create(sflight_group **out, size_t expected_inflight)
{
    *out = reinterpret_cast<sflight_group *>(expected_inflight != 0 ? new map(expected_inflight)
                                                                    : new map);
    return 0;
}

/* The call for the key, made if there is none, joined if there is. */
call *claim(map *m, key_view key, bool *leader)
{
    map::const_accessor entry;
    call *own = nullptr;
    *leader = false;
    if (!m->find(entry, key)) {
        own = new call(m, key);
        *leader = m->insert(entry, {key, own});
        if (*leader)
            return own;
    }
    call *c = entry->second;
    c->refs.fetch_add(1, std::memory_order_relaxed);
    entry.release();
    delete own;
    return c;
}

void close_call(call *c, int status)
{
    {
        map::accessor entry;
        if (c->entries->find(entry, c->key) && entry->second == c)
            c->entries->erase(entry);
    }
    c->followers = c->refs.load(std::memory_order_relaxed) - 1;
    c->ending.set_value(status);
}

int tbb_run_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                  const struct timespec *deadline, sflight_result *r)
{
    bool leader;
    call *c = claim(map_of(g), {key, key_len}, &leader);
    std::memset(r, 0, sizeof(*r));
    if (leader) {
        close_call(c, fn(reinterpret_cast<sflight_call *>(c), arg));
    } else if (deadline == nullptr) {
        c->ended.wait();
    } else {
        using namespace std::chrono;
        steady_clock::time_point until{seconds(deadline->tv_sec) + nanoseconds(deadline->tv_nsec)};
        if (c->ended.wait_until(until) != std::future_status::ready) {
            release(c);
            return -ETIMEDOUT;
        }
    }
    r->status = c->ended.get();
    r->value = c->value;
    r->size = c->size;
    r->leader = leader;
    r->followers = c->followers;
    r->shared = r->followers != 0;
    r->hold = c;
    return 0;
}

int tbb_run(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
            sflight_result *r)
{
    return tbb_run_until(g, key, key_len, fn, arg, nullptr, r);
}

int tbb_lead(sflight_group *g, const void *key, size_t key_len, sflight_call **out)
{
    map *m = map_of(g);
    call *c = new call(m, {key, key_len});
    bool leader = m->insert({c->key, c});
    if (!leader)
        delete c;
    *out = leader ? reinterpret_cast<sflight_call *>(c) : nullptr;
    return 0;
}

void tbb_finish(sflight_call *permit, int status)
{
    call *c = reinterpret_cast<call *>(permit);
    close_call(c, status);
    release(c);
}

void tbb_set(sflight_call *permit, void *value, size_t size, sflight_destroy_fn *destroy, void *ctx)
{
    call *c = reinterpret_cast<call *>(permit);
    if (c->destroy != nullptr)
        c->destroy(c->value, c->size, c->ctx);
    c->value = value;
    c->size = size;
    c->destroy = destroy;
    c->ctx = ctx;
}

int tbb_forget(sflight_group *g, const void *key, size_t key_len)
{
    return map_of(g)->erase(key_view{key, key_len});
}

void tbb_release(sflight_result *r)
{
    if (r->hold != nullptr)
        release(static_cast<call *>(r->hold));
    std::memset(r, 0, sizeof(*r));
}

int tbb_destroy(sflight_group *g)
{
    delete map_of(g);
    return 0;
}
} // namespace

const struct flight_ops flight_tbb = {
    "tbb",      tbb_create, tbb_run,    tbb_run_until, tbb_lead,
    tbb_finish, tbb_set,    tbb_forget, tbb_release,   tbb_destroy,
};
