/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one door to descriptors: one that can be made readable (eventfd).  The functions of the
 * C library that write, read and close are cancellation points.  These are not, and they
 * leave errno alone.
 */
#ifndef SFLIGHT_EVENT_FD_H
#define SFLIGHT_EVENT_FD_H

/*
 * Makes a descriptor, not readable, close-on-exec.  Returns it, or -EMFILE, -ENFILE, -ENOMEM,
 * -ENOSYS, or -EPERM for any other refusal.  It is the caller's, to be closed with
 * event_fd_close().
 */
int event_fd_new(void);
void event_fd_close(int fd);

/* Makes the descriptor readable; or not readable.  Harmless if it is so already. */
void event_fd_set(int fd);
void event_fd_clear(int fd);

#endif
