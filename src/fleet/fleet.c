/* SPDX-License-Identifier: BSD-2-Clause */
/* Creating, closing, destroying; and the wait for the engine thread. */
#include "fleet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MS_NS UINT64_C(1000000)

enum {
    MIN_LEASE_MS = 100,
    MAX_LEASE_MS = 3600000,
    MAX_AGE_MS = 86400000,
    MAX_ENGINE_TIMEOUT_MS = 3600000,
    MAX_VALUE = 1 << 28,
    MAX_DATABASE = 65535,
    MAX_TEXT = 4096,         /* of user, password and the names of files */
    MAX_OPTIONS_SIZE = 4096, /* more is no struct_size */
    WAITS_INFLIGHT = 64,
};

/* ------------------------------------------------------------- options */

static const sflight_fleet_options defaults = {
    .struct_size = sizeof(sflight_fleet_options),
    .prefix = "sf:",
    .lease_ms = 3000,
    .max_age_ms = 60000,
    .engine_timeout_ms = 250,
    .max_value = 1 << 20,
};

_Static_assert(sizeof(sflight_fleet_options) == SFLIGHT_FLEET_SIZE_OPTIONS, "as in 0.2");

void sflight_fleet_options_init_sized(sflight_fleet_options *o, size_t size)
{
    if (o == NULL || size < sizeof(o->struct_size))
        return;
    memset(o, 0, size);
    memcpy(o, &defaults, size < sizeof(defaults) ? size : sizeof(defaults));
    o->struct_size = size;
}

void sflight_fleet_options_init(sflight_fleet_options *o)
{
    sflight_fleet_options_init_sized(o, SFLIGHT_FLEET_SIZE_OPTIONS);
}

/* What the caller's options say of what is known here; false if they say more. */
static bool options_known(sflight_fleet_options *known, const sflight_fleet_options *o)
{
    const char *bytes = (const char *)o;
    size_t size = o->struct_size;

    if (size < SFLIGHT_FLEET_SIZE_OPTIONS || size > MAX_OPTIONS_SIZE)
        return false;
    for (size_t i = sizeof(*known); i < size; i++)
        if (bytes[i] != 0)
            return false;
    *known = defaults;
    memcpy(known, o, size < sizeof(*known) ? size : sizeof(*known));
    return true;
}

static bool text_valid(const char *s)
{
    return s == NULL || strnlen(s, MAX_TEXT + 1) <= MAX_TEXT;
}

static bool options_valid(const sflight_fleet_options *o)
{
    return names_check(o->name) == 0 && names_check(o->prefix) == 0 && o->address != NULL &&
           o->database >= 0 && o->database <= MAX_DATABASE && o->lease_ms >= MIN_LEASE_MS &&
           o->lease_ms <= MAX_LEASE_MS && o->max_age_ms >= o->lease_ms &&
           o->max_age_ms <= MAX_AGE_MS && o->engine_timeout_ms >= 1 &&
           o->engine_timeout_ms <= MAX_ENGINE_TIMEOUT_MS && o->max_value <= MAX_VALUE &&
           text_valid(o->user) && text_valid(o->password) && text_valid(o->ca_file) &&
           text_valid(o->cert_file) && text_valid(o->key_file) &&
           (o->user == NULL || o->password != NULL) &&
           (o->cert_file == NULL) == (o->key_file == NULL);
}

/* -------------------------------------------------------------- create */

/* The options of the group, as far as they are known here. */
static void group_options(sflight_options *known, const sflight_options *o)
{
    sflight_options_init_sized(known, sizeof(*known));
    known->on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    if (o != NULL) {
        size_t size = o->struct_size;
        memcpy(known, o, size < sizeof(*known) ? size : sizeof(*known));
        known->struct_size = sizeof(*known);
    }
}

/* Of the group of the waits: memory and tasks are those of the callers'. */
static void waits_options(sflight_options *o, const sflight_options *callers)
{
    sflight_options_init_sized(o, sizeof(*o));
    o->expected_inflight = WAITS_INFLIGHT;
    o->spin_ns = 0; /* an answer of the engine takes longer */
    o->allocator = callers->allocator;
    o->runtime = callers->runtime;
    o->runtime.spawn = NULL;
}

static int create(sflight_fleet *f, const sflight_fleet_options *o)
{
    struct member *m = &f->member;
    sflight_options known, *callers = &known;
    const struct engine_options engine = {
        .address = o->address,
        .prefix = o->prefix,
        .user = o->user,
        .password = o->password,
        .ca_file = o->ca_file,
        .cert_file = o->cert_file,
        .key_file = o->key_file,
        .database = o->database,
        .lease_ms = o->lease_ms,
    };

    group_options(callers, o->group);
    f->publish = o->publish;
    f->publish_ctx = o->ctx;
    f->engine_timeout_ms = o->engine_timeout_ms;
    f->takes_over = callers->on_abandon == SFLIGHT_ABANDON_TAKEOVER;
    f->has_tasks = callers->runtime.self != NULL;
    m->flight = (struct flight_options){
        .lease_ns = o->lease_ms * MS_NS,
        .max_age_ns = o->max_age_ms * MS_NS,
        .engine_timeout_ns = o->engine_timeout_ms * MS_NS,
    };
    m->lease_ms = o->lease_ms;
    m->max_value = o->max_value;
    strcpy(m->name, o->name);
    /* Where the caller's options are of another version the group itself looks at all of them. */
    int rc = sflight_group_create(&m->group, o->group != NULL ? o->group : callers);
    waits_options(&f->waits_options, callers);
    if (rc == 0)
        rc = sflight_group_create(&m->waits, &f->waits_options);
    if (rc == 0)
        rc = engine_enter(m, &engine);
    return rc;
}

int sflight_fleet_create(sflight_fleet **out, const sflight_fleet_options *o)
{
    sflight_fleet_options known;

    if (out == NULL)
        return -EINVAL;
    *out = NULL;
    if (o == NULL || !options_known(&known, o) || !options_valid(&known))
        return -EINVAL;
    int saved = errno;
    sflight_fleet *f = calloc(1, sizeof(*f));
    int cancel_state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state); /* files, under a lock */
    int rc = f == NULL ? -ENOMEM : create(f, &known);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
    if (rc == 0) {
        *out = f;
    } else if (f != NULL) {
        (void)sflight_group_destroy(f->member.waits);
        (void)sflight_group_destroy(f->member.group);
        free(f);
    }
    errno = saved;
    return rc;
}

/* ------------------------------------------------------ close, destroy */

int sflight_fleet_close(sflight_fleet *f, const struct timespec *deadline)
{
    if (f == NULL || !fleet_deadline_valid(deadline))
        return -EINVAL;
    if (engine_thread_calls())
        return -EDEADLK;
    struct member *m = &f->member;
    atomic_store(&f->is_closed, true);
    (void)sflight_group_close(m->group);
    int rc = sflight_group_drain(m->group, deadline);
    if (rc != 0 || !engine_is_ours(m) || atomic_load(&m->n_flights) == 0)
        return rc; /* no flight begins any more */
    struct claim *c = engine_claim(m, CLAIM_QUIET, NULL, 0);
    if (c == NULL)
        return -ENOMEM;
    int outcome = fleet_await(c, deadline);
    claim_let_go(c);
    return outcome == OUTCOME_DONE ? 0 : outcome == OUTCOME_TIMED_OUT ? -ETIMEDOUT : -ENOMEM;
}

/* What has begun before is seen, also while other threads end it. */
static bool in_use(sflight_group *g)
{
    sflight_stats s;

    (void)sflight_group_stats_sized(g, &s, sizeof(s));
    return s.in_flight > 0 || s.waiting > 0 || s.held > 0;
}

static int destroy(sflight_fleet *f)
{
    struct member *m = &f->member;
    bool is_ours = engine_is_ours(m);

    if (is_ours) {
        /* What callers have left there is given up first: it would keep the waits in use. */
        engine_settle(m->engine);
        /* The waits stay as long as there is a call that may yet ask the engine. */
        if (in_use(m->group))
            return -EBUSY;
    }
    /* In a child those remain that other threads of the parent were in. */
    if (sflight_group_destroy(m->waits) != 0 && is_ours)
        return -EBUSY;
    int rc = sflight_group_destroy(m->group);
    if (rc != 0) {
        /* Nothing has happened.  Without memory calls fly alone. */
        (void)sflight_group_create(&m->waits, &f->waits_options);
        return rc;
    }
    engine_leave(m);
    free(f);
    return 0;
}

int sflight_fleet_destroy(sflight_fleet *f)
{
    int cancel_state, saved = errno;

    if (f == NULL)
        return 0;
    if (engine_thread_calls())
        return -EDEADLK;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    int rc = destroy(f);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
    errno = saved;
    return rc;
}

/* --------------------------------------------------------------- waits */

int fleet_alone(sflight_fleet *f, size_t key_len)
{
    if (!engine_is_ours(&f->member))
        return OUTCOME_FORKED;
    if (key_len > KEY_MAX_LEN)
        return FLIGHT_ALONE_OVERSIZE;
    return engine_breaker(f->member.engine);
}

bool fleet_begin(struct claim *c, sflight_future **out)
{
    sflight_group *waits = c->member->waits;
    sflight_future *unused;

    /* The claim's address: no other claim, or start, that waits has it. */
    if (sflight_begin(waits, &c, sizeof(c), &c->wait, &unused) != 0)
        return false;
    if (sflight_call_future(c->wait, out) != 0) {
        (void)sflight_abandon(c->wait);
        return false;
    }
    engine_ask(c, ASK_START);
    return true;
}

void fleet_call_ends(struct claim *c)
{
    if (engine_is_ours(c->member)) /* else its lock may be locked for ever */
        claim_call_ends(c);
}

int fleet_end(struct claim *c, sflight_future *wait, const struct timespec *deadline)
{
    sflight_result r;
    int rc = sflight_future_get_sized(wait, deadline, &r, sizeof(r));

    if (rc == 0) {
        sflight_result_release_sized(&r, sizeof(r));
        return c->outcome;
    }
    (void)sflight_future_drop(wait);
    fleet_call_ends(c);
    engine_ask(c, ASK_LEFT);
    return rc == -ETIMEDOUT ? OUTCOME_TIMED_OUT : OUTCOME_MEMORY;
}

int fleet_await(struct claim *c, const struct timespec *deadline)
{
    sflight_future *wait;

    return fleet_begin(c, &wait) ? fleet_end(c, wait, deadline) : OUTCOME_MEMORY;
}

/* A cancellation waits until it has said so: the claim is still to be given back. */
static bool publishes(sflight_fleet *f, int status)
{
    int cancel_state;

    if (f->publish == NULL)
        return true;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    bool does = f->publish(f->publish_ctx, status);
    (void)pthread_setcancelstate(cancel_state, &cancel_state);
    return does;
}

void fleet_share(sflight_fleet *f, struct claim *c, const void *value, size_t size, int status)
{
    struct counts *counts = &f->member.counts;
    bool is_too_large = size > f->member.max_value;

    if (value == NULL)
        size = 0;
    if (!publishes(f, status) || !claim_set_frame(c, value, size, status, is_too_large))
        count_add(counts, COUNT_unshared, 1);
    else if (is_too_large)
        count_add(counts, COUNT_too_large, 1);
}

void fleet_give(sflight_fleet *f, struct claim *c, unsigned what)
{
    if (engine_is_ours(&f->member))
        engine_give(c, what);
    else
        claim_let_go(c);
}
