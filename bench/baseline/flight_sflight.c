/* SPDX-License-Identifier: BSD-2-Clause */
/* flight_sflight.c - libsingleflight itself, with its default options. */
#include "flight.h"

static int create(sflight_group **out, size_t expected_inflight)
{
    sflight_options o;
    sflight_options_init(&o);
    o.expected_inflight = expected_inflight;
    return sflight_group_create(out, &o);
}

static int lead(sflight_group *g, const void *key, size_t key_len, sflight_call **call)
{
    sflight_future *future;
    int rc = sflight_begin(g, key, key_len, call, &future);
    sflight_future_drop(future);
    return rc;
}

static void finish(sflight_call *call, int status)
{
    sflight_complete(call, status);
}

const struct flight_ops flight_sflight = {
    .name = "singleflight",
    .create = create,
    .run = sflight_do,
    .run_until = sflight_do_until,
    .lead = lead,
    .finish = finish,
    .set = sflight_call_set,
    .forget = sflight_forget,
    .release = sflight_result_release,
    .destroy = sflight_group_destroy,
};
