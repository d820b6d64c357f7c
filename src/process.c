/* SPDX-License-Identifier: BSD-2-Clause */
#include "process.h"

#include "cpu.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

union process_page process_page;

static _Atomic(uint64_t) last; /* of this process and those that it comes from */
static bool wiped;             /* the page is empty in a child, if the system does what it says */
static pid_t salted;           /* the process that has the salt */
static void (*child_hook)(bool by_handler);

/* Who has read the old one is not in the child: threads that run in the parent, or have ended. */
UNSEEN_BY_TSAN static void salt_renew(void)
{
    uint64_t generation = atomic_add_relaxed(&last, 1) + 1;

    salted = getpid();
    process_page.generation = (uint32_t)(generation << PROCESS_SALT_SHIFT >> 32);
    process_page.salt = generation << PROCESS_SALT_SHIFT;
}

void process_init(void (*in_child)(bool by_handler))
{
    int saved = errno;

    child_hook = in_child;
    wiped = sysconf(_SC_PAGESIZE) <= PROCESS_PAGE &&
            madvise(&process_page, sizeof(process_page), MADV_WIPEONFORK) == 0;
    errno = saved;
    salt_renew();
    atomic_store_release(&process_page.noticing, 2); /* [PROCESS] */
}

/* RACE: several may come at once, if the fork had no handlers. */
static void notice(bool by_handler)
{
    uint32_t nobody = 0;
    unsigned n_turns = 0;

    if (atomic_cas_acquire(&process_page.noticing, &nobody, 1)) {
        child_hook(by_handler);
        salt_renew();
        atomic_store_release(&process_page.noticing, 2); /* [PROCESS] */
    }
    while (!process_noticed())
        cpu_back_off(&n_turns); /* RACE: another thread is about to */
}

void process_notice(void)
{
    notice(false);
}

void process_forked(void)
{
    if (!process_noticed()) {
        notice(true);
        return;
    }
    /* Somebody has noticed already; or the page is not empty. */
    if (!wiped || salted != getpid()) {
        /* RACE: the kernel, or an emulator of one, wipes nothing; this is the only thread */
        child_hook(true);
        salt_renew();
    }
}
