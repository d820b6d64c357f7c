/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight.h - one interface for libsingleflight and for what it is compared
 * with, so that the demo and every benchmark drive all of them by the same code.
 *
 * The types are the library's own.  The other implementations only borrow the
 * names: their sflight_group and sflight_call are structs of theirs, so a group
 * and a call must never reach a function of another table.  Libsingleflight is
 * thereby measured without a layer in between, and everybody pays for one
 * indirect call.
 *
 *     const struct flight_ops *ops = flight_find("mutex64");
 *     sflight_group *g;
 *     if (ops->create(&g, 64) == 0 && ops->run(g, key, len, fn, arg, &r) == 0)
 *         ops->release(&r);
 *     ops->destroy(g);
 */
#ifndef FLIGHT_H
#define FLIGHT_H

#include <singleflight.h>

#ifdef __cplusplus
extern "C" {
#endif

struct flight_ops {
    const char *name;

    /* Makes a group for about expected_inflight calls at a time (0: a default). */
    int (*create)(sflight_group **out, size_t expected_inflight);

    /* As sflight_do().  The key stays the caller's until run returns. */
    int (*run)(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
               sflight_result *r);

    /* As sflight_do_until(). */
    int (*run_until)(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                     const struct timespec *deadline, sflight_result *r);

    /* As sflight_begin() and sflight_complete(), but who does not lead does not join either: *call
       is then NULL.  The key stays the caller's until finish. */
    int (*lead)(sflight_group *g, const void *key, size_t key_len, sflight_call **call);
    void (*finish)(sflight_call *call, int status);

    /* As sflight_call_set(), inside fn. */
    void (*set)(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                void *ctx);

    /* As sflight_forget(). */
    int (*forget)(sflight_group *g, const void *key, size_t key_len);

    /* As sflight_result_release(): due once for each result of a run that returned 0. */
    void (*release)(sflight_result *r);

    /* Frees the group.  Nobody uses it and every result was released. */
    int (*destroy)(sflight_group *g);
};

extern const struct flight_ops flight_sflight; /* libsingleflight */
extern const struct flight_ops flight_mutex1;  /* one mutex, as in Go's x/sync/singleflight */
extern const struct flight_ops flight_mutex64; /* the same over 64 shards */
extern const struct flight_ops flight_none;    /* every caller runs fn */

/* Only where they are linked: what programs would use that link these libraries anyway. */
extern const struct flight_ops flight_tbb __attribute__((weak));  /* concurrent_hash_map */
extern const struct flight_ops flight_urcu __attribute__((weak)); /* cds_lfht */

/* All tables that are linked, in order, then NULL. */
const struct flight_ops *flight_nth(size_t i);

/* The table called name, or NULL. */
const struct flight_ops *flight_find(const char *name);

#ifdef __cplusplus
}
#endif

#endif
