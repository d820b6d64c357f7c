/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop of the engine thread: waits for callers, the two connections and the clock. */
#ifndef SFLIGHT_FLEET_LOOP_H
#define SFLIGHT_FLEET_LOOP_H

#include "pilot.h"

/* prefix and o are kept.  What is not answered for patience_ms never is.  false: no memory;
 * loop_free() is due all the same. */
bool loop_init(struct pilot *p, const struct link_options *o, const char *prefix, uint64_t process,
               uint32_t patience_ms);

void loop_free(struct pilot *p);

/* Waits for wake_fd, or what else there is to do, and does it, once. */
void loop_run(struct pilot *p, int wake_fd);

/* By any thread: replies may be so long. */
void loop_allow_reply(struct pilot *p, size_t bytes);

/* By any thread: the outcome of a flight that would be told so at once, or FLIGHT_UNTOLD. */
int loop_breaker(struct pilot *p);

/* By any thread. */
void loop_last_error(struct pilot *p, char *buf, size_t n);

/* In the child of a fork. */
void loop_close_in_child(struct pilot *p);

#endif
