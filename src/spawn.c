/* SPDX-License-Identifier: BSD-2-Clause */
#include "spawn.h"

#include "require.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

int spawn_thread(void *(*main)(void *), void *arg)
{
    REQUIRE_NO_SECTION();
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno; /* which pthread_create() may change on failure */

    if (pthread_attr_init(&attr) != 0)
        return -ENOMEM;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &attr, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    errno = saved;
    return -rc;
}
