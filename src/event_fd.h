/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A descriptor that can be made readable (eventfd).  The functions of the C
 * library that write, read and close are cancellation points; these are not, and
 * they leave errno alone.
 */
#ifndef SFLIGHT_EVENT_FD_H
#define SFLIGHT_EVENT_FD_H

/* Not readable, close-on-exec.  Returns it, or -EMFILE, -ENFILE, -ENOMEM, -ENOSYS, or -EPERM for
   any other refusal. */
int event_fd_new(void);
void event_fd_close(int fd);

/* Makes it readable, and not readable any more. */
void event_fd_set(int fd);
void event_fd_clear(int fd);

#endif
