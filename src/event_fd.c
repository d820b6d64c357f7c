/* SPDX-License-Identifier: BSD-2-Clause */
#include "event_fd.h"

#include "require.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A sandbox (seccomp) may have the kernel say anything; users hear what is documented. */
static int refusal(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSYS:
        return -error;
    default:
        return -EPERM;
    }
}

int event_fd_new(void)
{
    int saved = errno;
    int fd = (int)syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = fd >= 0 ? fd : refusal(errno);
    errno = saved;
    return rc;
}

void event_fd_close(int fd)
{
    int saved = errno;
    (void)syscall(SYS_close, fd);
    errno = saved;
}

void event_fd_set(int fd)
{
    REQUIRE_NO_SECTION();
    int saved = errno;
    uint64_t one = 1;
    (void)!syscall(SYS_write, fd, &one, sizeof(one)); /* fails only if it is readable already */
    errno = saved;
}

void event_fd_clear(int fd)
{
    int saved = errno;
    uint64_t n;
    (void)!syscall(SYS_read, fd, &n, sizeof(n)); /* fails only if it is not readable */
    errno = saved;
}
