/* SPDX-License-Identifier: BSD-2-Clause */
#include "futex.h"

#include "require.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline)
{
    REQUIRE_NO_SECTION();
    int saved = errno;
    int rc = 0;

    /* The kernel refuses negative seconds; zero is in the past as well. */
    struct timespec zero = {0};
    if (deadline != NULL && deadline->tv_sec < 0)
        deadline = &zero;

    /* WAIT_BITSET takes an absolute time, so a signal cannot stretch the wait. */
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL,
                FUTEX_BITSET_MATCH_ANY) != 0 &&
        errno == ETIMEDOUT)
        rc = -ETIMEDOUT;
    errno = saved;
    return rc;
}

uint32_t futex_wake(uint32_t *word, uint32_t n)
{
    REQUIRE_NO_SECTION();
    int saved = errno;
    long n_woken = syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n > INT_MAX ? INT_MAX : n);
    errno = saved;
    return n_woken > 0 ? (uint32_t)n_woken : 0;
}
