/* SPDX-License-Identifier: BSD-2-Clause */
/* What flights and others want of the engine, as commands; and its answers, as flights know them.
 */
#ifndef SFLIGHT_FLEET_ASK_H
#define SFLIGHT_FLEET_ASK_H

#include "claim.h"
#include "link.h"

enum { ASK_MAX_ARGS = 12 };

/* A command, with what its arguments point into; not to be moved. */
struct command {
    struct link_arg args[ASK_MAX_ARGS];
    size_t n;
    char result[RESULT_MAX_LEN];
    char numbers[3][24];
};

/* channel: the process's inbox.  command: one bit of FLIGHT_SENDS. */
void ask_of_flight(struct command *out, const struct claim *c, uint32_t command,
                   const char *channel, size_t channel_len);

/* Of a CLAIM_COMMAND. */
void ask_other(struct command *out, const struct claim *c, const char *channel, size_t channel_len);

void ask_reply(struct flight_reply *out, uint32_t command, const struct link_reply *r);

#endif
