/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Do other processes want the CPUs?  The threads of a group find out together.
 *
 * A thread that was ready to run, and had no CPU for longer than its own process's threads usually
 * keep one, may have waited for those, or for other processes: the kernel does not say which.  So
 * the first to whom this happens reads the CPU time that the process has had, and the next one,
 * some milliseconds later, how much more it is.  If CPUs were missing in that time, there are
 * rivals. From then on nobody gives a CPU up in the hope of getting it back soon, but for one
 * thread now and then (a probe).
 *
 * All four words are hints, each is read and written by itself, and nothing hangs on their order: a
 * wrong answer makes a wait longer.
 */
#ifndef SFLIGHT_RIVALS_H
#define SFLIGHT_RIVALS_H

#include "atomic.h"

/* All zero: none are known. */
struct rivals {
    _Atomic(uint64_t) read_ns;  /* when the CPU time was read */
    _Atomic(uint64_t) cpu_ns;   /* what it was */
    _Atomic(uint64_t) until_ns; /* 0: there are none; the next probe is not before this */
    _Atomic(uint64_t) pause_ns; /* from one probe to the next */
};

/* So long without a CPU is a slice of others', or several. */
enum { RIVALS_SLICE_NS = 1000000 };

static inline bool rivals_there(const struct rivals *r)
{
    return atomic_load_relaxed(&r->until_ns) != 0; /* a hint, as the others here */
}

/*
 * By a thread that was ready to run and has had no CPU for RIVALS_SLICE_NS or more, now.  True if
 * that was for rivals; false also as long as nothing is known.
 */
bool rivals_took(struct rivals *r, uint64_t now_ns);

enum rivals_advice {
    RIVALS_NONE,  /* give the CPU up */
    RIVALS_PROBE, /* the same, and call rivals_gone() if that takes less than a slice */
    RIVALS_THERE, /* do not */
};

enum rivals_advice rivals_advise(struct rivals *r);

void rivals_gone(struct rivals *r);

#endif
