/* SPDX-License-Identifier: BSD-2-Clause */
#include "futex.h"

#include "require.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The calling thread's CPU, of which 32 are told apart; it may be on another by now. */
static uint32_t cpu_bit(void)
{
    int saved = errno; /* a sandbox may refuse it */
    unsigned cpu = (unsigned)sched_getcpu();
    errno = saved;
    return UINT32_C(1) << (cpu % 32);
}

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
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL, cpu_bit()) !=
            0 &&
        errno == ETIMEDOUT)
        rc = -ETIMEDOUT;
    errno = saved;
    return rc;
}

static uint32_t wake(uint32_t *word, uint32_t n, uint32_t cpus)
{
    REQUIRE_NO_SECTION();
    int saved = errno;
    long n_woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, n > INT_MAX ? INT_MAX : n,
                           NULL, NULL, cpus);
    errno = saved;
    return n_woken > 0 ? (uint32_t)n_woken : 0;
}

uint32_t futex_wake(uint32_t *word, uint32_t n)
{
    return wake(word, n, FUTEX_BITSET_MATCH_ANY);
}

uint32_t futex_wake_elsewhere(uint32_t *word, uint32_t n)
{
    return wake(word, n, ~cpu_bit());
}
