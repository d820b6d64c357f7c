/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu.h"

#include "atomic.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void cpu_sleep(uint32_t ns)
{
    struct timespec time = {.tv_nsec = (long)ns};
    int saved = errno;
    /* Not nanosleep(3), which is a cancellation point. */
    (void)syscall(SYS_nanosleep, &time, NULL);
    errno = saved;
}

void cpu_back_off(unsigned *n)
{
    enum { YIELDS = 16, SLEEP_NS = 20000, MAX_SHIFT = 6 };
    unsigned turn = (*n)++;

    if (turn < YIELDS) {
        cpu_yield();
        return;
    }
    unsigned shift = turn - YIELDS < MAX_SHIFT ? turn - YIELDS : MAX_SHIFT;
    cpu_sleep((uint32_t)SLEEP_NS << shift);
}

unsigned cpu_count(void)
{
    enum { TOO_MANY_TO_COUNT = 1024 }; /* for one cpu_set_t */
    static _Atomic(unsigned) cached;   /* 0: not known yet; any thread may store it */
    unsigned n = atomic_load_relaxed(&cached);

    if (UNLIKELY(n == 0)) {
        cpu_set_t cpus;
        int saved = errno;
        /* Of the process's first thread: the calling thread may be pinned to one CPU. */
        n = sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus)
                                                                  : TOO_MANY_TO_COUNT;
        errno = saved;
        atomic_store_relaxed(&cached, n);
    }
    return n;
}
