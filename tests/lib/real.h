/* SPDX-License-Identifier: BSD-2-Clause */
/* real.h - for programs with functions of their own that stand before those of the C library. */
#ifndef REAL_H
#define REAL_H

#include <dlfcn.h>
#include <stddef.h>

/* The function of the C library that a program's own one stands before. */
#define REAL(name)                                                                                 \
    __extension__({                                                                                \
        static __typeof__(&name) real_;                                                            \
        if (real_ == NULL)                                                                         \
            *(void **)&real_ = dlsym(RTLD_NEXT, #name);                                            \
        real_;                                                                                     \
    })

#endif
