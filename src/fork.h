/* SPDX-License-Identifier: BSD-2-Clause */
/* What a group is in the child of a fork: only the thread that forked is left. */
#ifndef SFLIGHT_FORK_H
#define SFLIGHT_FORK_H

/* Once: registers the handlers.  Returns 0 or -ENOMEM. */
int fork_init(void);

#endif
