/* SPDX-License-Identifier: BSD-2-Clause */
/* A batch of keys; see sflight_do_many(). */
#ifndef SFLIGHT_CALL_BATCH_H
#define SFLIGHT_CALL_BATCH_H

#include "call.h"

/* Arguments have been checked.  Returns 0, -ENOMEM or -ESHUTDOWN. */
int call_batch(struct slot *slot, const sflight_key *keys, size_t n, sflight_many_fn *fn, void *arg,
               const struct timespec *deadline, sflight_result *r, int *rc);

#endif
