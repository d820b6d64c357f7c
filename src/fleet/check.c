/* SPDX-License-Identifier: BSD-2-Clause */
/* What asks the engine outside of a flight: forgetting, and looking whether all is well. */
#include "fleet.h"
#include "scripts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static struct timespec after_ms(uint32_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* One script on the key's slot.  token NULL: an empty one. */
static struct claim *command(sflight_fleet *f, const char *script, bool with_inbox, const void *key,
                             size_t key_len, const char *token)
{
    struct claim *c = engine_claim(&f->member, CLAIM_COMMAND, key, key_len);

    if (c == NULL)
        return NULL;
    c->script = script;
    c->with_inbox = with_inbox;
    if (token != NULL) {
        memcpy(c->token, token, TOKEN_LEN);
        c->token_len = TOKEN_LEN;
    }
    return c;
}

/* -------------------------------------------------------------- forget */

/* 1, 0, -EHOSTUNREACH or -ENOMEM. */
static int forget_in_engine(sflight_fleet *f, const void *key, size_t key_len)
{
    struct timespec deadline = after_ms(f->engine_timeout_ms);

    if (fleet_alone(f, key_len) != FLIGHT_UNTOLD)
        return key_len > KEY_MAX_LEN ? 0 : -EHOSTUNREACH;
    struct claim *c = command(f, SCRIPT_DROP, true, key, key_len, NULL);
    if (c == NULL)
        return -ENOMEM;
    int outcome = fleet_await(c, &deadline);
    int rc = outcome == OUTCOME_DONE     ? (int)c->integer
             : outcome == OUTCOME_MEMORY ? -ENOMEM
                                         : -EHOSTUNREACH;
    claim_let_go(c);
    return rc;
}

int sflight_fleet_forget(sflight_fleet *f, const void *key, size_t key_len)
{
    if (f == NULL || (key == NULL && key_len > 0))
        return -EINVAL;
    if (engine_thread_calls())
        return -EDEADLK;
    if (atomic_load(&f->is_closed))
        return -ESHUTDOWN;
    int there = forget_in_engine(f, key, key_len);
    int here = sflight_forget(f->member.group, key, key_len);
    return there < 0 || here < 0 ? (there < 0 ? there : here) : there > 0 || here > 0;
}

/* --------------------------------------------------------------- check */

struct check {
    sflight_fleet *fleet;
    const struct timespec *deadline;
    char key[TOKEN_LEN]; /* nobody else's; digits, for people who look into the engine */
    char *why;
    size_t n;
};

static int complain(const struct check *k, int rc, const char *what)
{
    char error[CLAIM_MAX_ERROR] = "";

    if (k->n == 0)
        return rc;
    engine_last_error(k->fleet->member.engine, error, sizeof(error));
    snprintf(k->why, k->n, "%s%s%s", what, error[0] != '\0' ? ": " : "", error);
    return rc;
}

/* Runs a script on the slot: *integer is what it says. */
static int ask(const struct check *k, const char *script, const char *token, int64_t *integer)
{
    struct claim *c = command(k->fleet, script, false, k->key, sizeof(k->key), token);

    if (c == NULL)
        return -ENOMEM;
    int outcome = fleet_await(c, k->deadline);
    if (outcome == OUTCOME_DONE)
        *integer = c->integer;
    claim_let_go(c);
    return outcome == OUTCOME_DONE     ? 0
           : outcome == OUTCOME_MEMORY ? -ENOMEM
           : outcome == OUTCOME_ERROR  ? complain(k, -EHOSTUNREACH, "refused")
                                       : complain(k, -EHOSTUNREACH, "no answer");
}

/*
 * The leader has led: a second claim joins, and is to get what the first publishes.  1: it has, but
 * not by a message.
 */
static int pass_value(const struct check *k, struct claim *leader, struct claim *follower)
{
    struct member *m = &k->fleet->member;
    sflight_future *wait;
    int64_t renewed = 0;

    if (!claim_set_frame(leader, k->key, sizeof(k->key), 0, false) ||
        !fleet_begin(follower, &wait)) {
        engine_ask(leader, ASK_RETURNED);
        return -ENOMEM;
    }
    /* The link keeps the order: the follower's claim goes first. */
    int rc = ask(k, SCRIPT_RENEW, leader->flight.token, &renewed);
    engine_ask(leader, ASK_RETURNED);
    int outcome = fleet_end(follower, wait, k->deadline);
    if (rc != 0)
        return rc;
    if (renewed != 1 || outcome != FLIGHT_VALUE || follower->value_len != sizeof(k->key) ||
        memcmp(follower->value, k->key, sizeof(k->key)) != 0)
        return complain(k, -EHOSTUNREACH, "a result did not come");
    if (count_read(engine_counts(m->engine), COUNT_inbox_ready) == 0)
        return complain(k, -EHOSTUNREACH, "messages do not come");
    return follower->flight.rechecks;
}

static int lead_and_follow(const struct check *k)
{
    struct member *m = &k->fleet->member;
    struct claim *leader = engine_claim(m, CLAIM_FLIGHT, k->key, sizeof(k->key));
    struct claim *follower = engine_claim(m, CLAIM_FLIGHT, k->key, sizeof(k->key));
    int rc = -ENOMEM;

    if (leader != NULL && follower != NULL) {
        follower->is_check = true;
        int outcome = fleet_await(leader, k->deadline);
        if (outcome == FLIGHT_LEAD)
            rc = pass_value(k, leader, follower);
        else if (outcome != OUTCOME_MEMORY)
            rc = complain(k, -EHOSTUNREACH, "a claim was not granted");
    }
    if (leader != NULL)
        claim_let_go(leader);
    if (follower != NULL)
        claim_let_go(follower);
    return rc;
}

/* A random key; false: there is none to be had. */
static bool draw_key(char key[TOKEN_LEN])
{
    struct token t = {0};
    int saved = errno;
    ssize_t n = getrandom(&t, sizeof(t), 0);

    errno = saved;
    t.counter &= COUNTER_MAX;
    t.attempt &= ATTEMPT_MAX;
    token_write(key, &t);
    return n == (ssize_t)sizeof(t);
}

int sflight_fleet_check(sflight_fleet *f, const struct timespec *deadline, char *why, size_t n)
{
    static const char nobody[TOKEN_LEN + 1] = "00000000000000000000000000000000";
    struct check k = {.fleet = f, .deadline = deadline, .why = why, .n = why != NULL ? n : 0};
    int64_t integer;

    if (f == NULL || !fleet_deadline_valid(deadline))
        return -EINVAL;
    if (k.n > 0)
        why[0] = '\0';
    if (engine_thread_calls())
        return -EDEADLK;
    if (atomic_load(&f->is_closed))
        return -ESHUTDOWN;
    if (!engine_is_ours(&f->member)) {
        if (k.n > 0)
            snprintf(why, n, "%s", "the fleet is of another process, which has forked this one");
        return -EHOSTUNREACH;
    }
    if (!draw_key(k.key))
        return -ENOMEM;
    /* Waits for a connection, as long as it may take. */
    int rc = ask(&k, SCRIPT_RENEW, nobody, &integer);
    if (rc == 0)
        rc = ask(&k, SCRIPT_EXISTS, nobody, &integer);
    if (rc == 0)
        rc = lead_and_follow(&k);
    if (rc > 0)
        rc = lead_and_follow(&k); /* messages may have come too late for the first time */
    return rc > 0 ? complain(&k, -EHOSTUNREACH, "messages do not come") : rc;
}
