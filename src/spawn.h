/* SPDX-License-Identifier: BSD-2-Clause */
/* The one door to new threads. */
#ifndef SFLIGHT_SPAWN_H
#define SFLIGHT_SPAWN_H

/*
 * Runs main(arg) on a new thread, detached and with all signals blocked.  Returns 0; or a
 * negative errno, and main is not run.
 */
int spawn_thread(void *(*main)(void *), void *arg);

#endif
