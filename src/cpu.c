/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu.h"

#include "atomic.h"

#include <errno.h>
#include <unistd.h>

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
