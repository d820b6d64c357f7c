/* SPDX-License-Identifier: BSD-2-Clause */
/* The one door to the clock, which is CLOCK_MONOTONIC, and the arithmetic of deadlines. */
#ifndef SFLIGHT_CLOCK_H
#define SFLIGHT_CLOCK_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* The time now, in nanoseconds. */
static inline uint64_t clock_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The CPU time that this process has had, in nanoseconds; 0 where a sandbox does not say. */
static inline uint64_t clock_process_ns(void)
{
    struct timespec ts = {0};
    int saved = errno;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    errno = saved;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* So many nanoseconds, less than a second, from now. */
static inline struct timespec clock_after(uint32_t ns)
{
    uint64_t at = clock_now_ns() + ns;
    return (struct timespec){.tv_sec = (time_t)(at / 1000000000u),
                             .tv_nsec = (long)(at % 1000000000u)};
}

static inline bool clock_deadline_valid(const struct timespec *deadline)
{
    return deadline == NULL || (deadline->tv_nsec >= 0 && deadline->tv_nsec <= 999999999);
}

/* Nanoseconds until a valid deadline, 0 once it has passed; UINT64_MAX for NULL. */
static inline uint64_t clock_left_ns(const struct timespec *deadline)
{
    struct timespec now;
    if (deadline == NULL)
        return UINT64_MAX;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (deadline->tv_sec < now.tv_sec ||
        (deadline->tv_sec == now.tv_sec && deadline->tv_nsec <= now.tv_nsec))
        return 0;
    uint64_t s = (uint64_t)deadline->tv_sec - (uint64_t)now.tv_sec;
    if (s > UINT64_MAX / 2000000000u)
        return UINT64_MAX;
    return s * 1000000000u + (uint64_t)deadline->tv_nsec - (uint64_t)now.tv_nsec;
}

#endif
