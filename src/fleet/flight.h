/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One claim of one process on one key in the whole fleet, as a state machine.  This room is pure:
 * events in, actions out.  It knows no clock, no socket, no thread, no memory: the time and a
 * random number are arguments of each event, and what is to be done is the event's return value.
 *
 *                             start
 *      breaker, no answer in    |            V reply
 *      engine_timeout, error    v  <------.  ------------------> told VALUE
 *     told ALONE <----------- CLAIM       | G, X, timer, inbox or link up again, a sibling's V:
 *        |                     | |        | claim again, rejoin = 1
 *        |                   L | | W      |
 *        |                     | '-----> WAIT ----> told VALUE (push V)
 *        |    told LEAD <------'          |  '----> told ALONE (T, promise 4)
 *        |        |
 *        |       LEAD   renews every lease/3; F, RENEW 0, max_age: void
 *        |        |
 *        |        | fn returned          | fn left otherwise, nobody wants it, not to be shared
 *        |        v                      v
 *        |     PUBLISH                  DROP     sent on each new link until answered,
 *        |        |                      | ^     for one lease
 *        |        v                      v |
 *        |       DONE <----------------- DONE
 *        |                                 |
 *        '--> LATE: told, or left, but the claim is not answered yet; L -> DROP, else -> DONE
 *
 * Words.  The slot is the engine's key that holds the leader's token, then those of who waits.  A
 * lead is a slot that begins with our token.  A link is one connection for commands: replies come
 * in the order of the commands, or never.  What a lost link has carried may still be carried out,
 * at any later time, or not at all.
 *
 * A token names a flight in all engines and processes: 16 hex digits of the process, 14 of a
 * counter, 2 of the attempt.  The attempt is another one whenever a claim is sent after one whose
 * reply was lost with its link, or after a W that named a sibling: another flight of this fleet in
 * this process.
 *
 * Invariants, and which promise of singleflight_fleet.h each keeps:
 *
 * F1  At most one claim of an attempt is unanswered, and a claim that was lost with its link is
 *     the last of its attempt.  So an L that is acted upon is the last word of its attempt: no
 *     claim of that token is carried out afterwards, and once the slot has been published or
 *     dropped it does not come back.  An L that was lost belongs to an attempt that nobody
 *     publishes under: a ghost, which has no result, ever.                        (promise 1)
 * F2  A result is read only under a token that this flight has joined: a W named it, after the
 *     start.  With F1: the result under it was published after that W.  A push V is published to
 *     a token that was in the list, so after that token's claim.                  (promise 1)
 * F3  The first claim reads no result.                                            (promise 1)
 * F4  Only the lead of an L that was told is published under, by a script that compares the
 *     token.  No renewal begins once fn has returned, and at most one is unanswered then: it keeps
 *     the slot for a lease beyond the one that it had, so nothing is published later than two
 *     leases after fn's return; but one more for each renewal after the first that was lost with
 *     its link and is carried out that late.                          (promises 1, 3)
 * F5  In every state but WAIT and LEAD the timer is set or a reply is awaited; in WAIT the timer
 *     is set; in LEAD the process itself runs.  The limit of promise 4 begins with the first W,
 *     and is never set again.                                                     (promise 4)
 * F6  Who is told ALONE or VALUE, or has left, holds no lead: an L that comes later is dropped.
 *     A claim that was lost with its link is dropped on the next link; a ghost in the way is
 *     dropped by its own flight; else both are gone after one lease.              (promises 2, 6)
 * F7  No result of a sibling is taken: its callers have it before it is published, and one of them
 *     may be who asks.  A sibling is waited for, but not joined; then the flight claims again, and
 *     gets what is newer.  A push V does not say whose it is, so it is taken in WAIT only, where
 *     the last W named no sibling, and for the present attempt, whose claims were answered before
 *     that leader came or by its W.  In CLAIM it may be of a sibling that the claim has joined:
 *     the reply tells.  What is left: a claim that was lost while another leads is late, and joins
 *     a sibling that leads after that one; this takes two calls of the process at a time, after a
 *     forget.                                                                     (promise 1)
 * F8  A flight is told once, void at most once, and ended once; it is ended only when nothing of
 *     it is unanswered.
 */
#ifndef SFLIGHT_FLEET_FLIGHT_H
#define SFLIGHT_FLEET_FLIGHT_H

#include "flight_record.h"

/*
 * All events return a set of enum flight_action.  They are for one thread at a time, and none of
 * them is allowed once a set with FLIGHT_ENDED was returned.
 */

/*
 * Begins a flight.  token: of attempt 0, never used before.  With a shut breaker it is told ALONE
 * and ended at once; without a link it waits for one, engine_timeout at most.
 */
uint32_t flight_start(struct flight *f, const struct flight_options *options,
                      struct flight_link *link, const char token[TOKEN_LEN],
                      const struct flight_now *now);

/*
 * A reply to a command that was sent.  command: the one bit of FLIGHT_SENDS.  Replies that say
 * that the engine is of no use now (READONLY, LOADING, MASTERDOWN) are not for the flight: the
 * link is closed instead.
 */
uint32_t flight_reply(struct flight *f, uint32_t command, const struct flight_reply *reply,
                      const struct flight_now *now);

/*
 * A push whose token names this flight; of which attempt does not matter to the caller.  token:
 * the first TOKEN_LEN bytes of the message, bytes: the rest, a letter (V G X F) and, with V, a
 * frame.
 */
uint32_t flight_push(struct flight *f, const char token[TOKEN_LEN], const unsigned char *bytes,
                     size_t len, const struct flight_now *now);

/* link->up was false and is true: for each flight, in any order. */
uint32_t flight_link_up(struct flight *f, const struct flight_now *now);

/* link->up was true and is false: what is unanswered will never be answered. */
uint32_t flight_link_down(struct flight *f, const struct flight_now *now);

/* link->inbox was false and is true: what was pushed before is lost. */
uint32_t flight_inbox_up(struct flight *f, const struct flight_now *now);

/* f->timer_ns has come.  Too early, or without a timer: nothing happens. */
uint32_t flight_timer(struct flight *f, const struct flight_now *now);

/*
 * fn has returned, after FLIGHT_LEAD was told; once.  publish: there is a frame (V, or T for a
 * value that is too large), which stays until FLIGHT_ENDED.  false: fn was left otherwise, or
 * its result is not to be shared: the waiters are told at once.
 */
uint32_t flight_returned(struct flight *f, bool publish, const struct flight_now *now);

/*
 * Nobody wants the outcome any more, whether it was told or not: the caller has left, and no
 * follower takes over.  Not after flight_returned(); a lead is dropped.
 */
uint32_t flight_left(struct flight *f, const struct flight_now *now);

#endif
