/* SPDX-License-Identifier: BSD-2-Clause */
/* The one door to the kernel's futexes (futex(2)), process-private. */
#ifndef SFLIGHT_FUTEX_H
#define SFLIGHT_FUTEX_H

#include <stdint.h>
#include <time.h>

/*
 * Sleeps while *word == expected, until a wake, a signal, any spurious reason
 * or the absolute CLOCK_MONOTONIC deadline (NULL: never).  Returns -ETIMEDOUT,
 * or 0 for everything else: look at the word again.  errno is kept.
 */
int futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline);

/* Wakes at most n sleepers of the word; returns how many.  errno is kept. */
uint32_t futex_wake(uint32_t *word, uint32_t n);

/*
 * The same for those that went to sleep on another CPU than the one the calling thread is on, as
 * far as 32 are told apart: the kernel likes to have a thread run again where it was.
 */
uint32_t futex_wake_elsewhere(uint32_t *word, uint32_t n);

#endif
