/* SPDX-License-Identifier: BSD-2-Clause */
/* Small situations, each with a few threads; rules.h has what must hold in all of them. */
#include "rules.h"

#include <errno.h>

static struct ask asks[8];

static struct ask *fresh_ask(unsigned i, const char *key)
{
    asks[i] = (struct ask){.key = key};
    return &asks[i];
}

/* ---------------------------------------------------------- claim and claim */

static void claim_claim(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < 2; i++)
        go(ask_whole, fresh_ask(i, "a"));
    join_all();
    world_end();
}

static void twice(void *arg)
{
    struct ask *two = arg;
    ask_whole(&two[0]);
    ask_whole(&two[1]);
}

/* One comes again as soon as it has returned. */
static void join_against_complete(void)
{
    world_begin(NULL);
    for (unsigned i = 0; i < 4; i++)
        fresh_ask(i, "a");
    go(twice, &asks[0]);
    go(twice, &asks[2]);
    join_all();
    world_end();
}

static void forget_once(void *key)
{
    (void)forget(key, false);
}

static void forget_against_complete(void)
{
    world_begin(NULL);
    go(ask_whole, fresh_ask(0, "a"));
    go(ask_whole, fresh_ask(1, "a"));
    go(forget_once, "a");
    join_all();
    world_end();
}

const struct scenario scenarios[] = {
    {"claim_claim", claim_claim, 1, 3},
    {"join_against_complete", join_against_complete, 1, 2},
    {"forget_against_complete", forget_against_complete, 1, 2},
};
const unsigned n_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);
