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

const struct flight_ops flight_sflight = {
    .name = "singleflight",
    .create = create,
    .run = sflight_do,
    .set = sflight_call_set,
    .forget = sflight_forget,
    .release = sflight_result_release,
    .destroy = sflight_group_destroy,
};
