/* SPDX-License-Identifier: BSD-2-Clause */
#include "flight.h"

#include <string.h>

const struct flight_ops *flight_nth(size_t i)
{
    static const struct flight_ops *const all[] = {&flight_sflight, &flight_mutex1, &flight_mutex64,
                                                   &flight_tbb,     &flight_urcu,   &flight_none};
    for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
        if (all[k] != NULL && i-- == 0)
            return all[k];
    }
    return NULL;
}

const struct flight_ops *flight_find(const char *name)
{
    const struct flight_ops *ops;
    for (size_t i = 0; (ops = flight_nth(i)) != NULL; i++) {
        if (strcmp(ops->name, name) == 0)
            return ops;
    }
    return NULL;
}
