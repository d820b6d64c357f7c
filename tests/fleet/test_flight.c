/* SPDX-License-Identifier: BSD-2-Clause */
/* Each transition of a flight, by itself; that all of them together are right shows
   test_flight_interleavings.c. */
#include "../../src/fleet/flight.h"
#include "../../src/fleet/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

enum { LEASE = 3000, MAX_AGE = 10000, TIMEOUT = 250, START = 5000 }; /* ms */

#define OWN "00000000000000aa00000000000001"
#define OTHER "00000000000000bb0000000000000100"
#define THIRD "00000000000000cc0000000000000100"
#define SIBLING "00000000000000aa0000000000000007" /* of the own process */

static const struct flight_options options = {
    .lease_ns = LEASE * MS,
    .max_age_ns = MAX_AGE * MS,
    .engine_timeout_ns = TIMEOUT * MS,
};

/* One flight, its link and the time. */
static struct flight f;
static struct flight_link link_;
static uint64_t at; /* ms */
static uint32_t random_;
static bool is_over;

#define NOW (&(struct flight_now){.ns = at * MS, .random = random_, .is_over = is_over})

static uint32_t start(void)
{
    return flight_start(&f, &options, &link_, OWN "00", NOW);
}

static uint32_t integer(uint32_t command, int64_t n)
{
    return flight_reply(&f, command,
                        &(struct flight_reply){.kind = FLIGHT_REPLY_INTEGER, .integer = n}, NOW);
}

static uint32_t error(uint32_t command)
{
    return flight_reply(&f, command, &(struct flight_reply){.kind = FLIGHT_REPLY_ERROR}, NOW);
}

static uint32_t reply_lead(void)
{
    return flight_reply(&f, FLIGHT_SEND_CLAIM, &(struct flight_reply){.kind = FLIGHT_REPLY_LEAD},
                        NOW);
}

static uint32_t reply_wait(const char *token, int64_t pttl)
{
    const struct flight_reply r = {.kind = FLIGHT_REPLY_WAIT,
                                   .integer = pttl,
                                   .bytes = (const unsigned char *)token,
                                   .len = strlen(token)};
    return flight_reply(&f, FLIGHT_SEND_CLAIM, &r, NOW);
}

static uint32_t reply_value(const char *frame, size_t len)
{
    const struct flight_reply r = {
        .kind = FLIGHT_REPLY_VALUE, .bytes = (const unsigned char *)frame, .len = len};
    return flight_reply(&f, FLIGHT_SEND_CLAIM, &r, NOW);
}

static uint32_t push(const char *token, const char *bytes, size_t len)
{
    return flight_push(&f, token, (const unsigned char *)bytes, len, NOW);
}

#define V_FRAME "SF1V\0\0\0\0x", 9
#define T_FRAME "SF1T\0\0\0\0", 8
#define PUSH_V "VSF1V\0\0\0\0x", 10
#define PUSH_T "VSF1T\0\0\0\0", 9

static uint32_t timer(void)
{
    return flight_timer(&f, NOW);
}

static uint32_t down(void)
{
    link_.up = false;
    return flight_link_down(&f, NOW);
}

static uint32_t up(void)
{
    link_.up = true;
    return flight_link_up(&f, NOW);
}

static void expect_timer(uint64_t ms)
{
    assert_int_equal(f.timer_ns, ms * MS);
}

static void expect_token(const char token[TOKEN_LEN], const char *expected)
{
    assert_memory_equal(token, expected, TOKEN_LEN);
}

/* A new flight, in each of its states. */
static void to_claim(void)
{
    link_ = (struct flight_link){.up = true, .inbox = true};
    at = START;
    random_ = 0;
    assert_int_equal(start(), FLIGHT_SEND_CLAIM);
}

static void to_wait(void)
{
    to_claim();
    assert_int_equal(reply_wait(OTHER, LEASE), 0);
}

static void to_lead(void)
{
    to_claim();
    assert_int_equal(reply_lead(), FLIGHT_TELL);
}

static void to_publish(void)
{
    to_lead();
    assert_int_equal(flight_returned(&f, true, NOW), FLIGHT_SEND_PUBLISH);
}

static void to_drop(void)
{
    to_lead();
    assert_int_equal(flight_returned(&f, false, NOW), FLIGHT_SEND_DROP);
}

static void to_late(void)
{
    to_claim();
    at += TIMEOUT;
    assert_int_equal(timer(), FLIGHT_TELL);
}

/* ----------------------------------------------------------------------------------- start */

static void test_start(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(f.state, FLIGHT_IN_CLAIM);
    assert_false(f.rejoin);
    expect_token(f.token, OWN "00");
    expect_token(f.joined, OWN "00");
    expect_timer(START + TIMEOUT);
    at += TIMEOUT - 1;
    assert_int_equal(timer(), 0); /* too early */
}

static void test_start_with_shut_breaker(void **state)
{
    (void)state;
    at = START;
    link_ = (struct flight_link){.up = true, .shut = true};
    assert_int_equal(start(), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_SLOW);
    link_.up = false;
    assert_int_equal(start(), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_DOWN);
}

static void test_start_without_link(void **state)
{
    (void)state;
    at = START;
    link_ = (struct flight_link){.up = false};
    assert_int_equal(start(), 0);
    at += 10;
    assert_int_equal(up(), FLIGHT_SEND_CLAIM);
    expect_token(f.token, OWN "00"); /* nothing was sent before */
    expect_timer(START + TIMEOUT);

    link_.up = false;
    at = START;
    assert_int_equal(start(), 0);
    at += TIMEOUT;
    assert_int_equal(timer(), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_DOWN);
    assert_true(link_.shut);
}

/* ----------------------------------------------------------------------------------- claim */

static void test_claim_leads(void **state)
{
    (void)state;
    to_lead();
    assert_int_equal(f.outcome, FLIGHT_LEAD);
    assert_int_equal(f.state, FLIGHT_IN_LEAD);
    expect_timer(START + LEASE / 3);
}

static void test_claim_waits(void **state)
{
    (void)state;
    to_claim();
    at += 3;
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    assert_int_equal(f.state, FLIGHT_IN_WAIT);
    expect_token(f.joined, OTHER);
    expect_timer(START + 3 + 2000 + 1);
    /* By a random time up to a twentieth of the lease later. */
    to_claim();
    random_ = UINT32_MAX;
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    assert_true(f.timer_ns > (START + 2001 + LEASE / 20 - 1) * MS);
    assert_true(f.timer_ns <= (START + 2001 + LEASE / 20) * MS);
    /* What is no time left is a lease. */
    to_claim();
    assert_int_equal(reply_wait(OTHER, -1), 0);
    expect_timer(START + LEASE + 1);
    to_claim();
    assert_int_equal(reply_wait(OTHER, INT64_MAX), 0);
    expect_timer(START + LEASE + 1);
    /* No later than the limit, whatever the engine says. */
    to_claim();
    assert_int_equal(reply_wait(OTHER, 1000000000), 0);
    expect_timer(START + MAX_AGE + 2 * LEASE);
}

static void test_claim_is_refused(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(error(FLIGHT_SEND_CLAIM), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_REFUSED);

    const char *const tokens[] = {"", "x", OWN "0", OWN "000", OWN "0G", OWN "00"};
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
        to_claim();
        assert_int_equal(reply_wait(tokens[i], 1), FLIGHT_TELL | FLIGHT_ENDED | FLIGHT_BAD_FRAME);
        assert_int_equal(f.outcome, FLIGHT_ALONE_REFUSED);
    }
    to_claim();
    assert_int_equal(integer(FLIGHT_SEND_CLAIM, 1), FLIGHT_TELL | FLIGHT_ENDED | FLIGHT_BAD_FRAME);
    /* There is no result for who has joined nobody. */
    to_claim();
    assert_int_equal(reply_value(V_FRAME), FLIGHT_TELL | FLIGHT_ENDED | FLIGHT_BAD_FRAME);
    assert_int_equal(f.outcome, FLIGHT_ALONE_REFUSED);
}

static void test_claim_is_not_answered(void **state)
{
    (void)state;
    to_late();
    assert_int_equal(f.outcome, FLIGHT_ALONE_SLOW);
    assert_true(link_.shut);
    assert_int_equal(f.state, FLIGHT_IN_LATE);
    assert_int_equal(f.timer_ns, FLIGHT_NEVER);
    /* A late L is given back, for a lease at most. */
    assert_int_equal(reply_lead(), FLIGHT_SEND_DROP);
    expect_token(f.drop_token, OWN "00");
    assert_int_equal(f.outcome, FLIGHT_ALONE_SLOW);
    assert_int_equal(integer(FLIGHT_SEND_DROP, 1), FLIGHT_ENDED);
    /* All else is ignored. */
    to_late();
    assert_int_equal(reply_wait(OTHER, 10), FLIGHT_ENDED);
    to_late();
    assert_int_equal(reply_value(V_FRAME), FLIGHT_ENDED);
    to_late();
    assert_int_equal(error(FLIGHT_SEND_CLAIM), FLIGHT_ENDED);
    to_late();
    assert_int_equal(push(OWN "00", PUSH_V), 0);
    assert_int_equal(push(OWN "00", "X", 1), 0);
    assert_int_equal(flight_inbox_up(&f, NOW), 0);
    assert_int_equal(flight_left(&f, NOW), 0);
}

static void test_late_claim_loses_its_link(void **state)
{
    (void)state;
    to_late();
    assert_int_equal(down(), 0);
    assert_int_equal(f.state, FLIGHT_IN_DROP);
    assert_int_equal(up(), FLIGHT_SEND_DROP);
    expect_token(f.drop_token, OWN "00");
    assert_int_equal(integer(FLIGHT_SEND_DROP, 0), FLIGHT_ENDED); /* no lead was told */
    /* Without a link for as long as a lease, there is nothing to be dropped. */
    to_late();
    assert_int_equal(down(), 0);
    at += LEASE;
    assert_int_equal(timer(), FLIGHT_ENDED);
}

/* -------------------------------------------------------------------- lost claims, attempts */

static void test_lost_claim_is_another_attempt(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(down(), 0);
    at += 100;
    assert_int_equal(up(), FLIGHT_SEND_CLAIM);
    expect_token(f.token, OWN "01");
    assert_false(f.rejoin);
    expect_timer(START + TIMEOUT); /* no longer than at first */
    /* The ghost of the first is taken out of the way. */
    assert_int_equal(reply_wait(OWN "00", 2000),
                     FLIGHT_SEND_DROP | FLIGHT_SEND_CLAIM | FLIGHT_GHOST_DROPPED);
    expect_token(f.drop_token, OWN "00");
    expect_token(f.token, OWN "01");
    assert_false(f.has_joined);
    expect_timer(START + TIMEOUT);
    assert_int_equal(integer(FLIGHT_SEND_DROP, 1), 0);
    assert_int_equal(push(OWN "01", "X", 1), 0);
    assert_int_equal(reply_lead(), FLIGHT_TELL);
}

static void test_ghost_of_who_has_left(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_CLAIM);
    assert_int_equal(flight_left(&f, NOW), 0);
    assert_int_equal(reply_wait(OWN "00", 2000), FLIGHT_SEND_DROP | FLIGHT_GHOST_DROPPED);
    expect_token(f.drop_token, OWN "00");
    assert_int_equal(integer(FLIGHT_SEND_DROP, 1), FLIGHT_ENDED);
}

static void test_push_to_an_older_attempt(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_CLAIM);
    assert_int_equal(push(OWN "00", "F", 1), 0); /* a ghost was forgotten */
    assert_false(f.forgotten);
    assert_int_equal(push(OWN "00", PUSH_V), 0); /* nobody knows whose value it is */
    assert_int_equal(reply_wait(OTHER, 2000), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    assert_int_equal(push(OWN "00", PUSH_V), 0); /* it may be from before this leader */
    assert_int_equal(push(OWN "01", PUSH_V), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
}

static void test_attempts_run_out(void **state)
{
    (void)state;
    to_claim();
    for (int i = 0; i < ATTEMPT_MAX; i++) {
        assert_int_equal(down(), 0);
        assert_int_equal(up(), FLIGHT_SEND_CLAIM);
    }
    expect_token(f.token, OWN "ff");
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_TELL | FLIGHT_SEND_DROP);
    assert_int_equal(f.outcome, FLIGHT_ALONE_GAVE_UP);
    assert_int_equal(integer(FLIGHT_SEND_DROP, 0), FLIGHT_ENDED);
}

static void test_lost_recheck_waits_on(void **state)
{
    (void)state;
    to_wait();
    at += 10;
    assert_int_equal(flight_inbox_up(&f, NOW), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(down(), 0);
    assert_int_equal(f.state, FLIGHT_IN_WAIT);
    expect_timer(START + LEASE + 1);
    /* The value comes; the lost claim may have made a lead since. */
    assert_int_equal(push(OWN "00", PUSH_V), FLIGHT_TELL);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
    assert_int_equal(up(), FLIGHT_SEND_DROP);
    expect_token(f.drop_token, OWN "00");
    assert_int_equal(integer(FLIGHT_SEND_DROP, 0), FLIGHT_ENDED);

    to_wait();
    assert_int_equal(flight_inbox_up(&f, NOW), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    expect_token(f.token, OWN "01");
    assert_true(f.rejoin);
    expect_token(f.joined, OTHER);
}

/* ------------------------------------------------------------------------------------ pushes */

static void test_wait_is_told(void **state)
{
    (void)state;
    to_wait();
    assert_int_equal(push(OWN "00", PUSH_V), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
    assert_int_equal(f.frame_len, 9);
    assert_memory_equal(f.frame, "SF1V\0\0\0\0x", 9);
    to_wait();
    assert_int_equal(push(OWN "00", PUSH_T), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_OVERSIZE);
}

static void test_wait_ignores(void **state)
{
    (void)state;
    to_wait();
    assert_int_equal(push(OTHER, PUSH_V), 0);
    assert_int_equal(push(OWN "00", "F", 1), 0);
    assert_int_equal(push(OWN "00", "VSF1", 4), FLIGHT_BAD_FRAME);
    assert_int_equal(push(OWN "00", "V", 1), FLIGHT_BAD_FRAME);
    assert_int_equal(push(OWN "00", "Z", 1), FLIGHT_BAD_FRAME);
    assert_int_equal(push(OWN "00", "", 0), FLIGHT_BAD_FRAME);
    assert_int_equal(flight_returned(&f, true, NOW), 0);
    assert_int_equal(f.state, FLIGHT_IN_WAIT);
    expect_timer(START + LEASE + 1);
}

static void test_wait_claims_again(void **state)
{
    static const char *const letters[] = {"G", "X"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        to_wait();
        at += 10;
        assert_int_equal(push(OWN "00", letters[i], 1), FLIGHT_SEND_CLAIM);
        expect_token(f.token, OWN "00");
        expect_token(f.joined, OTHER);
        assert_true(f.rejoin);
        expect_timer(START + 10 + TIMEOUT);
        assert_int_equal(reply_value(V_FRAME), FLIGHT_TELL | FLIGHT_ENDED); /* no push was lost */
        to_wait();
        assert_int_equal(push(OWN "00", letters[i], 1), FLIGHT_SEND_CLAIM);
        assert_int_equal(reply_lead(), FLIGHT_TELL | FLIGHT_TAKEN_OVER);
    }
    /* The value that is asked for is too large, or none. */
    to_wait();
    assert_int_equal(push(OWN "00", "G", 1), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_value(T_FRAME), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_OVERSIZE);
    to_wait();
    assert_int_equal(push(OWN "00", "G", 1), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_value("SF1", 3), FLIGHT_TELL | FLIGHT_ENDED | FLIGHT_BAD_FRAME);
    assert_int_equal(f.outcome, FLIGHT_ALONE_REFUSED);
}

static void test_push_before_the_reply(void **state)
{
    static const char *const letters[] = {"G", "X", "V"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        to_claim();
        assert_int_equal(push(OWN "00", letters[i], 1), 0);
        assert_int_equal(reply_wait(OTHER, 2000), FLIGHT_SEND_CLAIM);
        assert_true(f.rejoin);
        expect_token(f.joined, OTHER);
        assert_int_equal(reply_wait(THIRD, 2000), 0); /* once */
        assert_int_equal(f.state, FLIGHT_IN_WAIT);
        expect_token(f.joined, THIRD);
        to_claim();
        assert_int_equal(push(OWN "00", letters[i], 1), 0);
        assert_int_equal(reply_lead(), FLIGHT_TELL); /* the push was an older one */
    }
    to_claim();
    assert_int_equal(push(OWN "00", "F", 1), 0);
    assert_int_equal(reply_lead(), FLIGHT_SEND_CLAIM); /* forgotten before it was told */
    assert_int_equal(f.outcome, FLIGHT_UNTOLD);
    assert_int_equal(reply_lead(), FLIGHT_TELL);
}

/* ----------------------------------------------------------------------------------- siblings */

/* A result of the own process is had there already: it is waited for, and not taken. */
static void test_sibling_is_waited_for(void **state)
{
    static const char *const letters[] = {"V", "G", "X"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        to_claim();
        assert_int_equal(reply_wait(SIBLING, 2000), 0);
        assert_int_equal(f.state, FLIGHT_IN_WAIT);
        expect_token(f.joined, OWN "00");
        expect_timer(START + 2000 + 1);
        at++;
        assert_int_equal(push(OWN "00", letters[i], 1), FLIGHT_SEND_CLAIM);
        assert_false(f.rejoin);
        expect_token(f.token, OWN "01"); /* so that what comes for the last one is known by it */
        assert_int_equal(reply_lead(), FLIGHT_TELL); /* nothing is taken over */
    }
    /* Its push comes when another leads: it is none of that one. */
    to_claim();
    assert_int_equal(reply_wait(SIBLING, 2000), 0);
    at += 2001;
    assert_int_equal(timer(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    assert_int_equal(push(OWN "00", PUSH_V), 0);
    assert_int_equal(push(OWN "01", PUSH_V), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
}

/* Whose result it had joined before stays, and so does the limit. */
static void test_sibling_after_another(void **state)
{
    (void)state;
    to_wait();
    at += 10;
    assert_int_equal(push(OWN "00", "X", 1), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_wait(SIBLING, 2000), 0);
    expect_token(f.joined, OTHER);
    assert_int_equal(f.give_up_ns, (START + MAX_AGE + 2 * LEASE) * MS);
    assert_int_equal(push(OWN "00", PUSH_V), FLIGHT_SEND_CLAIM);
    assert_true(f.rejoin);
    assert_int_equal(reply_value(V_FRAME), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
}

static void test_sibling_is_waited_for_no_longer(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(reply_wait(SIBLING, 1000000000), 0);
    at += 1000;
    assert_int_equal(push(OWN "00", "X", 1), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_wait(SIBLING, 1000000000), 0);
    expect_timer(START + MAX_AGE + 2 * LEASE); /* since the first W */
    /* A claim that is lost while it waits is no reason to fly alone. */
    at += 1000;
    assert_int_equal(flight_inbox_up(&f, NOW), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(down(), 0);
    assert_int_equal(f.state, FLIGHT_IN_WAIT);
    at = START + MAX_AGE + 2 * LEASE;
    assert_int_equal(timer(), FLIGHT_TELL); /* the lost claim is dropped when there is a link */
    assert_int_equal(f.outcome, FLIGHT_ALONE_GAVE_UP);
}

/* Another fleet of the process is as another process. */
static void test_other_fleet_is_no_sibling(void **state)
{
    const struct flight_reply r = {.kind = FLIGHT_REPLY_WAIT,
                                   .is_no_sibling = true,
                                   .integer = 2000,
                                   .bytes = (const unsigned char *)SIBLING,
                                   .len = TOKEN_LEN};

    (void)state;
    to_claim();
    assert_int_equal(flight_reply(&f, FLIGHT_SEND_CLAIM, &r, NOW), 0);
    expect_token(f.joined, SIBLING);
    assert_int_equal(push(OWN "00", PUSH_V), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_VALUE);
}

/* ------------------------------------------------------------------------------------ waiting */

static void test_wait_rechecks(void **state)
{
    (void)state;
    to_wait();
    at += LEASE + 1;
    assert_int_equal(timer(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_true(f.rejoin);
    expect_token(f.joined, OTHER);
    assert_int_equal(reply_value(V_FRAME), FLIGHT_TELL | FLIGHT_ENDED | FLIGHT_RECHECK_HIT);
    assert_int_equal(f.outcome, FLIGHT_VALUE);

    to_wait();
    at += LEASE + 1;
    assert_int_equal(timer(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    at++;
    assert_int_equal(reply_wait(OTHER, 1500), 0);
    expect_timer(START + LEASE + 2 + 1500 + 1);

    to_wait();
    assert_int_equal(flight_inbox_up(&f, NOW), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(reply_lead(), FLIGHT_TELL | FLIGHT_TAKEN_OVER);
}

static void test_inbox_comes_while_claiming(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(flight_inbox_up(&f, NOW), 0);
    assert_int_equal(reply_wait(OTHER, 2000), FLIGHT_SEND_CLAIM);
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    /* Without a link the next one asks. */
    assert_int_equal(down(), 0);
    assert_int_equal(flight_inbox_up(&f, NOW), 0);
    assert_int_equal(f.state, FLIGHT_IN_WAIT);
}

static void test_wait_gives_up(void **state)
{
    (void)state;
    to_wait();
    while (at < START + MAX_AGE + 2 * LEASE - LEASE) {
        at += 1000;
        assert_int_equal(push(OWN "00", "X", 1), FLIGHT_SEND_CLAIM);
        assert_int_equal(reply_wait(at % 2000 == 0 ? THIRD : OTHER, LEASE), 0);
    }
    expect_timer(START + MAX_AGE + 2 * LEASE); /* since the first W */
    at = START + MAX_AGE + 2 * LEASE;
    assert_int_equal(timer(), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_GAVE_UP);

    to_wait();
    at = START + MAX_AGE + 2 * LEASE - 1;
    assert_int_equal(push(OWN "00", "X", 1), FLIGHT_SEND_CLAIM);
    at++;
    assert_int_equal(reply_wait(OTHER, LEASE), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_GAVE_UP);
}

static void test_wait_without_link(void **state)
{
    (void)state;
    to_wait();
    assert_int_equal(down(), 0);
    expect_timer(START + LEASE + 1);
    at += 10;
    assert_int_equal(up(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    expect_token(f.token, OWN "00"); /* no claim was lost */

    to_wait();
    assert_int_equal(down(), 0);
    at += LEASE + 1;
    assert_int_equal(timer(), FLIGHT_RECHECKED);
    expect_timer(START + LEASE + 1 + TIMEOUT);
    at += TIMEOUT;
    assert_int_equal(timer(), FLIGHT_TELL | FLIGHT_ENDED);
    assert_int_equal(f.outcome, FLIGHT_ALONE_DOWN);
}

/* ----------------------------------------------------------------------------------- leading */

static void test_lead_renews(void **state)
{
    (void)state;
    to_lead();
    at += LEASE / 3;
    assert_int_equal(timer(), FLIGHT_SEND_RENEW);
    at += LEASE / 3;
    assert_int_equal(timer(), 0); /* one at a time */
    assert_int_equal(integer(FLIGHT_SEND_RENEW, 1), FLIGHT_RENEWED);
    at += LEASE / 3;
    assert_int_equal(timer(), FLIGHT_SEND_RENEW);
    assert_int_equal(error(FLIGHT_SEND_RENEW), 0);
    at += LEASE / 3;
    assert_int_equal(timer(), FLIGHT_SEND_RENEW);
    assert_int_equal(integer(FLIGHT_SEND_RENEW, 0), FLIGHT_VOID | FLIGHT_LEASE_LOST);
    assert_int_equal(f.timer_ns, FLIGHT_NEVER);
    assert_int_equal(down(), 0);
    assert_int_equal(up(), 0);
    assert_int_equal(push(OWN "00", "F", 1), 0);
}

static void test_lead_without_link(void **state)
{
    (void)state;
    to_lead();
    assert_int_equal(down(), 0);
    at += LEASE / 3;
    assert_int_equal(timer(), 0);
    at += 1;
    assert_int_equal(up(), FLIGHT_SEND_RENEW);
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_RENEW);
}

/* fn has returned, and the flight is told of that later. */
static void test_lead_over(void **state)
{
    (void)state;
    to_lead();
    is_over = true;
    at += LEASE / 3;
    assert_int_equal(timer(), 0);
    expect_timer(START + MAX_AGE);
    assert_int_equal(down(), 0);
    assert_int_equal(up(), 0);
    assert_int_equal(flight_returned(&f, true, NOW), FLIGHT_SEND_PUBLISH);
    to_lead();
    at += MAX_AGE;
    assert_int_equal(timer(), FLIGHT_VOID | FLIGHT_AGED);
    is_over = false;
}

static void test_lead_ages(void **state)
{
    (void)state;
    to_lead();
    at += MAX_AGE - 1;
    assert_int_equal(timer(), FLIGHT_SEND_RENEW);
    expect_timer(START + MAX_AGE);
    at++;
    assert_int_equal(timer(), FLIGHT_VOID | FLIGHT_AGED);
    assert_int_equal(f.timer_ns, FLIGHT_NEVER);
    assert_int_equal(integer(FLIGHT_SEND_RENEW, 0), 0); /* void already */
    assert_int_equal(flight_returned(&f, true, NOW), FLIGHT_SEND_PUBLISH);
}

static void test_lead_is_forgotten(void **state)
{
    (void)state;
    to_lead();
    assert_int_equal(push(OWN "00", "X", 1), 0); /* one from when it still waited */
    assert_int_equal(push(OWN "00", PUSH_V), 0);
    assert_int_equal(push(OWN "07", "F", 1), 0);
    assert_int_equal(push(OWN "00", "F", 1), FLIGHT_VOID | FLIGHT_FORGOTTEN);
    assert_int_equal(push(OWN "00", "F", 1), 0);
    assert_int_equal(flight_inbox_up(&f, NOW), 0);
}

/* -------------------------------------------------------------------------------- publishing */

static void test_publish(void **state)
{
    (void)state;
    to_publish();
    assert_int_equal(flight_returned(&f, true, NOW), 0);
    assert_int_equal(flight_left(&f, NOW), 0);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, 7), FLIGHT_PUBLISHED | FLIGHT_ENDED);
    to_publish();
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, 0), FLIGHT_PUBLISHED | FLIGHT_ENDED);
    to_publish();
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, -1), FLIGHT_REFUSED | FLIGHT_ENDED);
    to_publish();
    assert_int_equal(error(FLIGHT_SEND_PUBLISH), FLIGHT_UNPUBLISHED | FLIGHT_ENDED);
}

static void test_publish_after_a_renewal(void **state)
{
    (void)state;
    to_lead();
    at += LEASE / 3;
    assert_int_equal(timer(), FLIGHT_SEND_RENEW);
    assert_int_equal(flight_returned(&f, true, NOW), FLIGHT_SEND_PUBLISH);
    expect_timer(START + LEASE / 3 + LEASE); /* nothing is renewed any more */
    assert_int_equal(integer(FLIGHT_SEND_RENEW, 0), 0);
    assert_int_equal(push(OWN "00", "F", 1), 0);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, 1), FLIGHT_PUBLISHED | FLIGHT_ENDED);
}

static void test_publish_again(void **state)
{
    (void)state;
    to_publish();
    assert_int_equal(down(), 0);
    at += 10;
    assert_int_equal(up(), FLIGHT_SEND_PUBLISH);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, 0), FLIGHT_PUBLISHED | FLIGHT_ENDED);
    /* Refused: but perhaps because the lost one had published, to nobody. */
    to_publish();
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_PUBLISH);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, -1), FLIGHT_UNPUBLISHED | FLIGHT_ENDED);
    /* Not lost: it was never sent. */
    to_lead();
    assert_int_equal(down(), 0);
    assert_int_equal(flight_returned(&f, true, NOW), 0);
    assert_int_equal(up(), FLIGHT_SEND_PUBLISH);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, -1), FLIGHT_REFUSED | FLIGHT_ENDED);
}

static void test_publish_in_vain(void **state)
{
    (void)state;
    to_lead();
    assert_int_equal(down(), 0);
    assert_int_equal(flight_returned(&f, true, NOW), 0);
    at += LEASE;
    assert_int_equal(timer(), FLIGHT_UNPUBLISHED | FLIGHT_ENDED);
    /* While something is unanswered the flight does not end. */
    to_publish();
    at += LEASE;
    assert_int_equal(timer(), FLIGHT_UNPUBLISHED);
    assert_int_equal(integer(FLIGHT_SEND_PUBLISH, 3), FLIGHT_ENDED);
    to_publish();
    at += LEASE;
    assert_int_equal(timer(), FLIGHT_UNPUBLISHED);
    assert_int_equal(down(), FLIGHT_ENDED);
}

/* ------------------------------------------------------------------------------------ dropping */

static void test_drop(void **state)
{
    (void)state;
    to_drop();
    expect_token(f.drop_token, OWN "00");
    assert_int_equal(integer(FLIGHT_SEND_DROP, 1), FLIGHT_ENDED);
    /* What could not be given back may have been another's: runs that overlap are explained. */
    to_drop();
    assert_int_equal(integer(FLIGHT_SEND_DROP, 0), FLIGHT_LEASE_LOST | FLIGHT_ENDED);
    to_drop();
    assert_int_equal(error(FLIGHT_SEND_DROP), FLIGHT_LEASE_LOST | FLIGHT_ENDED);
    to_drop();
    assert_int_equal(down(), 0);
    assert_int_equal(up(), FLIGHT_SEND_DROP);
    at += LEASE;
    assert_int_equal(timer(), FLIGHT_LEASE_LOST);
    assert_int_equal(down(), FLIGHT_ENDED);
}

static void test_left(void **state)
{
    (void)state;
    to_claim();
    assert_int_equal(flight_left(&f, NOW), 0);
    assert_int_equal(f.state, FLIGHT_IN_LATE);
    assert_int_equal(reply_lead(), FLIGHT_SEND_DROP);
    to_claim();
    assert_int_equal(down(), 0);
    assert_int_equal(flight_left(&f, NOW), 0); /* the lost claim is dropped */
    assert_int_equal(up(), FLIGHT_SEND_DROP);
    link_.up = false;
    assert_int_equal(start(), 0);
    assert_int_equal(flight_left(&f, NOW), FLIGHT_ENDED);
    to_wait();
    assert_int_equal(flight_left(&f, NOW), FLIGHT_ENDED);
    to_lead();
    assert_int_equal(flight_left(&f, NOW), FLIGHT_SEND_DROP);
    assert_int_equal(f.state, FLIGHT_IN_DROP);
}

/* Times that no clock reaches. */
static void test_no_time_wraps(void **state)
{
    static const struct flight_options longest = {
        .lease_ns = LEASE * MS, .max_age_ns = UINT64_MAX, .engine_timeout_ns = UINT64_MAX};

    (void)state;
    link_ = (struct flight_link){.up = true};
    at = START;
    assert_int_equal(flight_start(&f, &longest, &link_, OWN "00", NOW), FLIGHT_SEND_CLAIM);
    assert_int_equal(f.timer_ns, FLIGHT_NEVER);
    assert_int_equal(reply_wait(OTHER, 2000), 0);
    expect_timer(START + 2001);
    assert_int_equal(f.give_up_ns, FLIGHT_NEVER);
    at += 2001;
    assert_int_equal(timer(), FLIGHT_SEND_CLAIM | FLIGHT_RECHECKED);
    assert_int_equal(reply_lead(), FLIGHT_TELL | FLIGHT_TAKEN_OVER);
    expect_timer(START + 2001 + LEASE / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_with_shut_breaker),
        cmocka_unit_test(test_start_without_link),
        cmocka_unit_test(test_claim_leads),
        cmocka_unit_test(test_claim_waits),
        cmocka_unit_test(test_claim_is_refused),
        cmocka_unit_test(test_claim_is_not_answered),
        cmocka_unit_test(test_late_claim_loses_its_link),
        cmocka_unit_test(test_lost_claim_is_another_attempt),
        cmocka_unit_test(test_ghost_of_who_has_left),
        cmocka_unit_test(test_push_to_an_older_attempt),
        cmocka_unit_test(test_attempts_run_out),
        cmocka_unit_test(test_lost_recheck_waits_on),
        cmocka_unit_test(test_wait_is_told),
        cmocka_unit_test(test_wait_ignores),
        cmocka_unit_test(test_wait_claims_again),
        cmocka_unit_test(test_push_before_the_reply),
        cmocka_unit_test(test_sibling_is_waited_for),
        cmocka_unit_test(test_sibling_after_another),
        cmocka_unit_test(test_sibling_is_waited_for_no_longer),
        cmocka_unit_test(test_other_fleet_is_no_sibling),
        cmocka_unit_test(test_wait_rechecks),
        cmocka_unit_test(test_inbox_comes_while_claiming),
        cmocka_unit_test(test_wait_gives_up),
        cmocka_unit_test(test_wait_without_link),
        cmocka_unit_test(test_lead_renews),
        cmocka_unit_test(test_lead_without_link),
        cmocka_unit_test(test_lead_over),
        cmocka_unit_test(test_lead_ages),
        cmocka_unit_test(test_lead_is_forgotten),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_publish_after_a_renewal),
        cmocka_unit_test(test_publish_again),
        cmocka_unit_test(test_publish_in_vain),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_no_time_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
