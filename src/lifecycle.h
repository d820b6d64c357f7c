/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The birth and the end of groups; what happens once in the process; what happens when a thread
 * ends.  This room stands above all that has to be set up or taken down, and hands the functions
 * for that down where a lower room needs them (thread_init()).
 */
#ifndef SFLIGHT_LIFECYCLE_H
#define SFLIGHT_LIFECYCLE_H

#include "group.h"

/*
 * Makes a group; arguments have been checked.  Returns 0, and the group in *out, which is the
 * calling function's until lifecycle_destroy(); or -ENOMEM.
 */
int lifecycle_create(struct sflight_group **out, const sflight_options *options);

/* Newcomers are refused from now on.  Any thread, also more than once. */
void lifecycle_close(struct sflight_group *g);

/*
 * Frees the group and all that belongs to it, and returns 0; or -EBUSY, and nothing has changed,
 * while anything keeps it in use.  No other thread enters the library with this group from now on.
 */
int lifecycle_destroy(struct sflight_group *g);

#endif
