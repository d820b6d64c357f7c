/* SPDX-License-Identifier: BSD-2-Clause */
#include "rivals.h"

#include "clock.h"
#include "cpu.h"

enum {
    /* What running threads have had is counted a tick late, up to 10 ms: of less than a few
       milliseconds nothing can be said, and of very long ones threads may have slept the most. */
    WINDOW_MIN_NS = 5000000,
    WINDOW_MAX_NS = 200000000,
    /* A probe costs one thread a slice or two. */
    PAUSE_MIN_NS = 50000000,
    PAUSE_MAX_NS = 1600000000,
};

/* Of all CPU time, where there are no rivals: less is missing for the kernel's work. */
static uint64_t enough(uint64_t passed_ns)
{
    return passed_ns * cpu_count() / 4 * 3;
}

bool rivals_took(struct rivals *r, uint64_t now_ns)
{
    uint64_t read_ns = atomic_load_relaxed(&r->read_ns); /* a hint, as all here */

    if (now_ns < read_ns + WINDOW_MIN_NS || !atomic_cas_relaxed(&r->read_ns, &read_ns, now_ns))
        return rivals_there(r);
    uint64_t cpu_ns = clock_process_ns();
    uint64_t had_ns = cpu_ns - atomic_load_relaxed(&r->cpu_ns); /* after a fork: very much */
    atomic_store_relaxed(&r->cpu_ns, cpu_ns);
    if (now_ns > read_ns + WINDOW_MAX_NS)
        return rivals_there(r);
    if (had_ns >= enough(now_ns - read_ns))
        return false;
    uint64_t pause_ns = atomic_load_relaxed(&r->pause_ns);
    if (pause_ns < PAUSE_MIN_NS)
        pause_ns = PAUSE_MIN_NS;
    atomic_store_relaxed(&r->until_ns, now_ns + pause_ns);
    if (pause_ns < PAUSE_MAX_NS)
        atomic_store_relaxed(&r->pause_ns, 2 * pause_ns);
    return true;
}

enum rivals_advice rivals_advise(struct rivals *r)
{
    uint64_t until_ns = atomic_load_relaxed(&r->until_ns), now_ns;

    if (until_ns == 0)
        return RIVALS_NONE;
    now_ns = clock_now_ns();
    if (now_ns < until_ns)
        return RIVALS_THERE;
    uint64_t next_ns = now_ns + atomic_load_relaxed(&r->pause_ns);
    return atomic_cas_relaxed(&r->until_ns, &until_ns, next_ns) ? RIVALS_PROBE : RIVALS_THERE;
}

void rivals_gone(struct rivals *r)
{
    atomic_store_relaxed(&r->pause_ns, atomic_load_relaxed(&r->pause_ns) / 2);
    atomic_store_relaxed(&r->until_ns, 0);
}
