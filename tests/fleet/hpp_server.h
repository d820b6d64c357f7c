/* SPDX-License-Identifier: BSD-2-Clause */
/* What fleet_test.h has for programs in C, as far as hpp.cpp needs it. */
#ifndef FLEET_HPP_SERVER_H
#define FLEET_HPP_SERVER_H

#ifdef __cplusplus
extern "C" {
#endif

/* A server of the program's own; it dies with the program.  Returns its address. */
const char *hpp_server_begin(void);

/* No answer from now on, until it is thawed. */
void hpp_server_freeze(void);
void hpp_server_thaw(void);

/* Ends all connections, and lets nobody in until it is mended. */
void hpp_server_cut(void);
void hpp_server_mend(void);

void hpp_server_end(void);

/* How many calls wait for the leader of a fleet's key; -1: it is not in flight. */
long hpp_server_waiters(const char *fleet, const char *key);

#ifdef __cplusplus
}
#endif
#endif
