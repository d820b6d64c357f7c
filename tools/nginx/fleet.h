/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fleet.h - workers, of one nginx or of many machines, that ask an upstream once for all of them.
 *
 * The leader of a worker's call asks the fleet before it asks the upstream.  An ASK is that
 * question.  Its answer is a permit to ask the upstream, or what another worker has been answered.
 *
 *     request                      fleet.c                      libsingleflight-fleet's thread
 *     fleet_ask()         ------>  sflight_fleet_start() ---->
 *     waits                                                     lead(): permit, or none
 *     is called           <------  fleet_told()  <---queue----  result, if there is no permit
 *     fleet_complete(), fleet_response() or fleet_leave()
 *
 * All is for the worker's thread; what comes from the other one comes by the worker's queue.
 * no_fleet.c is in the place of fleet.c where there is no libsingleflight-fleet.
 */
#ifndef FLEET_H
#define FLEET_H

#include "response.h"

#include <singleflight.h>

struct fleet; /* of a worker */
struct ask;

/* ------------------------------------------------------------------- lifecycle */

/* Sets the directive singleflight_fleet: *(void **)(conf + command->offset) gets its settings. */
char *fleet_set(ngx_conf_t *cf, ngx_command_t *command, void *conf);

/*
 * The worker's fleet, after fork(): settings and queue are used until it is destroyed.  NULL, and
 * the log says why: it cannot be made.
 */
struct fleet *fleet_create(const void *settings, sflight_queue *queue, ngx_log_t *log);

/*
 * Gives up all asks, and tells the engine so: waits for that, two seconds at most, or a quarter of
 * one if nginx is to end at once.  The queue is to be drained before, for what has been answered,
 * and after it; then the fleet is to be destroyed.
 */
void fleet_close(struct fleet *f);
void fleet_destroy(struct fleet *f);

/* ------------------------------------------------------------------------ asks */

/*
 * Asks for r.  place is the number of r's location, and key what is asked for there; with the names
 * of r's server and location they are the fleet's key.  caller is what fleet_told() returns, and
 * not looked at.  NULL: no memory; then nothing is asked.
 */
struct ask *fleet_ask(struct fleet *f, ngx_http_request_t *r, ngx_uint_t place,
                      const ngx_str_t *key, void *caller);

/* The tags of completions that are for fleet_told() have this bit. */
#define FLEET_TAG UINT64_C(1)

/* One has come; *done is consumed.  Returns the caller if its ask has been answered, or NULL. */
void *fleet_told(sflight_completion *done);

/*
 * FLEET_FAILED: there is no answer and none will come.  Then, and while it is FLEET_WAITS, the
 * caller may leave and ask the upstream all the same.
 */
enum fleet_answer { FLEET_WAITS, FLEET_LEADS, FLEET_RESPONSE, FLEET_NOT_SHARED, FLEET_FAILED };

enum fleet_answer fleet_answer(const struct ask *a);

/* Of FLEET_RESPONSE: the response, as response_unpack() returns it. */
struct response *fleet_response(const struct ask *a, ngx_http_request_t *r, size_t max_memory,
                                off_t max_size);

/*
 * Of FLEET_LEADS: whether a response with this status and body, of size bytes so far, goes to the
 * others.  Errors are this nginx's own; and there is a limit.
 */
ngx_uint_t fleet_may_share(const struct ask *a, ngx_uint_t status, off_t size);

/*
 * Of FLEET_LEADS, and the ask is gone: all get a copy of s, or are told that each has to ask for
 * itself: if s is NULL, or may not be shared.
 */
void fleet_complete(struct ask *a, struct response *s);

/* The ask is gone.  Of FLEET_LEADS: one of those who wait leads. */
void fleet_leave(struct ask *a);

/* ---------------------------------------------------------------------- status */

enum { FLEET_STATUS_SIZE = 8192 };

/* The fleet's numbers as the status page has them, in at most FLEET_STATUS_SIZE bytes. */
u_char *fleet_print(const struct fleet *f, u_char *to, u_char *end);

#endif
