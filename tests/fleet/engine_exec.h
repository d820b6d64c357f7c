/* SPDX-License-Identifier: BSD-2-Clause */
/* engine_exec.h - a child that becomes an engine. */
#ifndef ENGINE_EXEC_H
#define ENGINE_EXEC_H

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* FLEET_ENGINE's, or redis-server; it never outlives the test.  args[0] is set here. */
_Noreturn static inline void engine_exec(const char **args)
{
    const char *engine = getenv("FLEET_ENGINE");

    args[0] = engine != NULL ? engine : "redis-server";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(args[0], (char **)args);
    /* Debian's redis-tools has the server under another name. */
    execv("/usr/bin/redis-check-rdb", (char **)args);
    _exit(127);
}

#endif
