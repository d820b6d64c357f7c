/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts are written at exit(): see to it that children and programs that abort count as well. */
#include <pthread.h>
#include <stdlib.h>

void __gcov_dump(void);
void __gcov_reset(void);

/* For --wrap. */
_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
_Noreturn void __real_abort(void);
_Noreturn void __wrap_abort(void);

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

_Noreturn void __wrap_abort(void)
{
    __gcov_dump();
    __real_abort();
}

/*
 * A child starts from zero, before the library's own handler runs in it: other
 * threads were in the middle of what they count, and never come to its end there.
 */
__attribute__((constructor(101))) static void reset_in_children(void)
{
    pthread_atfork(NULL, NULL, __gcov_reset);
}
