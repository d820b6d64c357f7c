/* SPDX-License-Identifier: BSD-2-Clause */
/* A program of a user's with both libraries, each of which answers: prints the version. */
#include <errno.h>
#include <singleflight_fleet.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    sflight_fleet_options options;
    sflight_fleet_options_init(&options);
    if (sflight_fleet_create(NULL, NULL) != -EINVAL)
        return EXIT_FAILURE;
    puts(sflight_version());
    return EXIT_SUCCESS;
}
