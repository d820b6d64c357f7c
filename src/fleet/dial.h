/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sockets of connections.  They are closed when a program is executed, and each is noted for
 * forked children to close: so they are made, noted and closed while forks are held up.
 */
#ifndef SFLIGHT_FLEET_DIAL_H
#define SFLIGHT_FLEET_DIAL_H

#include <stdint.h>

typedef _Atomic(int) dial_note; /* the descriptor; -1: none, or it is about to be closed */

/*
 * A socket that is being connected, which is noted; or a negative errno value.  Neither blocks.
 * digits: an address of IPv4 or IPv6.  timeout_ms: for how long the other side may be silent to
 * what is sent to it.
 */
int dial_tcp(dial_note *note, const char *digits, int port, uint32_t timeout_ms);
int dial_unix(dial_note *note, const char *path);

/* Closes it, and notes that. */
void dial_close(dial_note *note, int fd);

/*
 * From dial_hold() to dial_let_go() no other thread forks, nor is between these two.  Who forks
 * calls dial_hold() before and dial_let_go() after, in both processes.
 */
void dial_hold(void);
void dial_let_go(void);

#endif
