/* SPDX-License-Identifier: BSD-2-Clause */
/* How many CPUs there are, and how a thread passes time on one, or gives it up. */
#ifndef SFLIGHT_CPU_H
#define SFLIGHT_CPU_H

#include <errno.h>
#include <sched.h>
#include <stdint.h>

/*
 * One step of a spin loop.  On x86, pause takes 10 to 140 cycles, depending on the model.  On
 * arm64, yield does nothing on most cores; isb, which is used instead, drains the pipeline.
 */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

/* Lets another thread run: for a wait that ends as soon as a thread that was preempted goes on. */
static inline void cpu_yield(void)
{
    int saved = errno; /* a sandbox may refuse it */
    (void)sched_yield();
    errno = saved;
}

/* Sleeps so many nanoseconds, less than a second, or until a signal. */
void cpu_sleep(uint32_t ns);

/*
 * One step of a wait that ends as soon as another thread goes on, which may have been preempted:
 * by this one even, if it is a real-time thread.  So after some turns it sleeps, for longer each
 * time.  *n: turns so far, from 0.
 */
void cpu_back_off(unsigned *n);

/* CPUs that this process may run on, as found by the first who asks. */
unsigned cpu_count(void);

#endif
