/* SPDX-License-Identifier: BSD-2-Clause */
/* flight_none.c - no coalescing: every caller runs fn and has a value of its own. */
#include "flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct none_call {
    void *value;
    size_t size;
    sflight_destroy_fn *destroy;
    void *ctx;
};

static int none_create(sflight_group **out, size_t expected_inflight)
{
    (void)expected_inflight;
    *out = NULL; /* there is nothing to keep */
    return 0;
}

static int none_run(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn, void *arg,
                    sflight_result *r)
{
    (void)g, (void)key, (void)key_len;
    memset(r, 0, sizeof(*r));
    struct none_call *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    r->status = fn((sflight_call *)c, arg);
    r->value = c->value;
    r->size = c->size;
    r->leader = true;
    r->hold = c;
    return 0;
}

static int none_run_until(sflight_group *g, const void *key, size_t key_len, sflight_fn *fn,
                          void *arg, const struct timespec *deadline, sflight_result *r)
{
    (void)deadline;
    return none_run(g, key, key_len, fn, arg, r);
}

static void none_drop(struct none_call *c)
{
    if (c->destroy != NULL)
        c->destroy(c->value, c->size, c->ctx);
}

static int none_lead(sflight_group *g, const void *key, size_t key_len, sflight_call **call)
{
    (void)g, (void)key, (void)key_len;
    struct none_call *c = calloc(1, sizeof(*c));
    *call = (sflight_call *)c;
    return c != NULL ? 0 : -ENOMEM;
}

static void none_finish(sflight_call *call, int status)
{
    (void)status;
    none_drop((struct none_call *)call);
    free(call);
}

static void none_set(sflight_call *call, void *value, size_t size, sflight_destroy_fn *destroy,
                     void *ctx)
{
    struct none_call *c = (struct none_call *)call;
    none_drop(c);
    *c = (struct none_call){value, size, destroy, ctx};
}

static int none_forget(sflight_group *g, const void *key, size_t key_len)
{
    (void)g, (void)key, (void)key_len;
    return 0;
}

static void none_release(sflight_result *r)
{
    struct none_call *c = r->hold;
    if (c != NULL) {
        none_drop(c);
        free(c);
    }
    memset(r, 0, sizeof(*r));
}

static int none_destroy(sflight_group *g)
{
    (void)g;
    return 0;
}

const struct flight_ops flight_none = {
    .name = "none",
    .create = none_create,
    .run = none_run,
    .run_until = none_run_until,
    .lead = none_lead,
    .finish = none_finish,
    .set = none_set,
    .forget = none_forget,
    .release = none_release,
    .destroy = none_destroy,
};
