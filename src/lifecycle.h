/* SPDX-License-Identifier: BSD-2-Clause */
/* The birth and the end of groups, and what happens once for the process and once for a thread. */
#ifndef SFLIGHT_LIFECYCLE_H
#define SFLIGHT_LIFECYCLE_H

#include "group.h"

/* Makes a group; arguments have been checked.  Returns 0 or -ENOMEM. */
int lifecycle_create(struct sflight_group **out, const sflight_options *options);

/* From here on newcomers are refused. */
void lifecycle_close(struct sflight_group *g);

/* 0, or -EBUSY while the group is in use. */
int lifecycle_destroy(struct sflight_group *g);

#endif
