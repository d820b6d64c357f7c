/* SPDX-License-Identifier: BSD-2-Clause */
#include "flight.h"

#include <string.h>

const struct flight_ops *flight_find(const char *name)
{
    static const struct flight_ops *const all[] = {&flight_sflight, &flight_mutex1, &flight_mutex64,
                                                   &flight_none};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    }
    return NULL;
}
