/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host's name becomes an address on a thread of its own, because the system's resolver blocks.
 * Addresses in digits take no thread.
 */
#ifndef SFLIGHT_FLEET_RESOLVE_H
#define SFLIGHT_FLEET_RESOLVE_H

#include "dial.h"

#include <stdbool.h>

enum { RESOLVE_MAX_LEN = 64 }; /* of an address in digits, with its NUL */

struct lookup; /* one name */

/* True, and no lookup is needed: host is an address in digits. */
bool resolve_is_numeric(const char *host);

/* Begins, and notes its descriptor; NULL: no memory, descriptor or thread. */
struct lookup *resolve_begin(const char *host, dial_note *note);

/* Readable once the answer is there. */
int resolve_fd(const struct lookup *l);

/*
 * Ends the lookup, answered or not.  With an answer out gets the address number `which` of those
 * found, counted round; true.  false: out gets why there is none.
 */
bool resolve_end(struct lookup *l, unsigned which, char out[RESOLVE_MAX_LEN]);

#endif
