/* SPDX-License-Identifier: BSD-2-Clause */
#include "rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RUNS = 64, MAX_FORGETS = 32, MAX_BATCH = 8 };

struct value {
    struct run *run;
    uint64_t payload;
};

struct world world;
struct ask asks[MAX_ASKS];

static struct {
    struct run runs[MAX_RUNS];
    unsigned n_runs;
    struct {
        const char *key;
        uint64_t begun, ended;
        int thread;
        struct clock before; /* what its caller had done */
        bool done;           /* nobody was let off: no call that it saw can be joined any more */
    } forgets[MAX_FORGETS];
    unsigned n_forgets;
    bool unordered;          /* a run did not come after one that had ended */
    bool failures;           /* memory is not always to be had */
    bool unseen;             /* a call has been claimed and ended without a run */
    unsigned n_lost;         /* futures and results of threads that have vanished, at most */
    uint64_t forked, closed; /* 0: not */
    int closer;
    bool timed;           /* the group has options.durations */
    struct clock reached; /* of all flags */
    int threads[MAX_THREADS];
    unsigned n_threads;
} w;

static uint64_t step(void)
{
    return ++sched.n_steps; /* so that no two things happen at the same */
}

/* --------------------------------------------------------------------- world */

sflight_options world_options(void)
{
    sflight_options o;
    sflight_options_init(&o);
    o.shards = 1;
    o.expected_inflight = 1;
    o.spin_ns = 0;
    return o;
}

void world_begin(const sflight_options *options)
{
    sflight_options o = options != NULL ? *options : world_options();

    memset(&w, 0, sizeof(w));
    door.no_spares = sched.plan.strategy == BY_EXHAUSTION || sched_mishap(2);
    door.common_slots = sched_mishap(8);
    door.lazy_reclaim = sched_mishap(8);
    door.fingerprints = sched_mishap(2);
    door.joint_after = 100;
    door.joints_most = 31;
    memory_old_values = sched_mishap(2);
    memory_x86 = memory_old_values && sched_mishap(4);
    if (sched_mishap(4)) {
        door.n_cpus = 4;
        o.spin_ns = 2 * 50; /* a few readings of the clock */
    }
    if (sched_mishap(8))
        o.durations = 1;
    w.timed = o.durations != 0;
    world.cancels = o.cancel_unwanted;
    world.takes_over = o.on_abandon == SFLIGHT_ABANDON_TAKEOVER;
    unsigned failures = door.failures;
    door.failures = 0;
    CHECK(sflight_group_create(&world.group, &o) == 0);
    door.failures = failures;
    w.failures = failures != 0;
}

/* May this one, who has not got its result, have been a follower of the run when it closed? */
static bool may_have_followed(const struct ask *ask, const struct run *run)
{
    uint64_t closed = run->first_return; /* at the latest */

    if (run->over != 0 && (closed == 0 || run->over < closed))
        closed = run->over;
    return ask->begun != 0 && ask != run->leader && ask->first == NULL && !ask->last &&
           ask->rc != -EAGAIN && strcmp(ask->key, run->key) == 0 &&
           (ask->run == NULL || ask->run->left || run->left) && ask->begun < closed &&
           (ask->gone == 0 || ask->gone > run->ended);
}

static void check_followers(const struct run *run)
{
    unsigned n = run->n_followers;

    if (run->followers < 0)
        return;
    CHECK(n <= (uint64_t)run->followers);
    for (unsigned i = 0; i < MAX_ASKS; i++)
        n += may_have_followed(&asks[i], run);
    if (n < (uint64_t)run->followers)
        explore_fail("%d followers, and there were at most %u", (int)run->followers, n);
    CHECK(run->followers == 0 || !run->promised);
}

/* The run that it has waited for; NULL if that may be one or another. */
static struct run *run_awaited(const struct ask *ask)
{
    struct run *found = ask->run;

    for (unsigned i = 0; i < w.n_runs && ask->run == NULL; i++) {
        struct run *run = &w.runs[i];
        if (strcmp(run->key, ask->key) != 0 || run->claimed_after > ask->joined ||
            (run->first_return != 0 && run->first_return < ask->begun) ||
            (run->over != 0 && run->over < ask->begun))
            continue;
        if (found != NULL || w.unseen)
            return NULL;
        found = run;
    }
    return found;
}

/* Nobody else waits when the last one leaves. */
static void check_last(const struct ask *last)
{
    const struct run *run = run_awaited(last);

    for (unsigned i = 0; i < MAX_ASKS && run != NULL; i++) {
        const struct ask *other = &asks[i];
        if (other == last || other->run != run || other->joined == 0 ||
            other->joined > last->leaving)
            continue;
        if (other->leaving == 0 ? other->over : other->leaving > last->gone)
            explore_fail("told that it was the last, and another waited");
    }
}

/* The one who leads has left, and then everybody else: somebody was the last. */
static void check_left(const struct run *run)
{
    const struct ask *leader = run->leader;
    bool may = leader->last;

    if (!leader->own || !leader->dropped || leader->gone > run->ended || run->over == 0 ||
        run->followers != 0)
        return;
    for (unsigned i = 0; i < MAX_ASKS; i++) {
        const struct ask *ask = &asks[i];
        /* Only who drops a future is told. */
        may |= ask != leader && ask->begun != 0 && strcmp(ask->key, run->key) == 0 &&
               (ask->last || !ask->dropped) && ask->begun < run->over &&
               (ask->gone == 0 || ask->gone > leader->leaving);
    }
    if (!may)
        explore_fail("all have left a call, and none was the last");
    if (leader->last && run->listens != 0 && world.cancels && !w.failures && run->unwanted == 0)
        explore_fail("all have left a call, and its leader was not told");
}

/* If only permits were abandoned: those who were told that the leader is dead had been counted. */
static void check_dead(const struct run *run)
{
    int64_t n_counted = 0, n_dead = 0;

    if (!run->left || world.takes_over || w.unseen)
        return;
    for (unsigned i = 0; i < w.n_runs; i++) {
        const struct run *other = &w.runs[i];
        if (!other->left || strcmp(other->key, run->key) != 0)
            continue;
        if (other->over == 0)
            return;
        n_counted += other->followers;
    }
    for (unsigned i = 0; i < MAX_ASKS; i++)
        n_dead += asks[i].rc == -EOWNERDEAD && asks[i].over && !asks[i].led &&
                  asks[i].first == NULL && asks[i].key != NULL &&
                  strcmp(asks[i].key, run->key) == 0;
    if (n_dead > n_counted)
        explore_fail("%d followers of the dead, of whom %d were counted", (int)n_dead,
                     (int)n_counted);
}

static void check_run(struct run *run)
{
    CHECK(run->holds == 0 || world.leaks);
    CHECK(run->n_destroyed == run->has_destroy || world.leaks);
    CHECK(run->n_leaders <= 1);
    check_followers(run);
    if (!world.leaks) {
        check_left(run);
        check_dead(run);
    }
}

void world_end(void)
{
    sflight_stats stats;

    door.failures = 0;
    if (!world.settled) {
        if (variant(2) == 0)
            CHECK(sflight_group_drain(world.group, NULL) == 0);
        CHECK(sflight_group_stats(world.group, &stats) == 0);
        CHECK(stats.in_flight == 0);
        CHECK(stats.waiting == 0);
        CHECK(stats.held <= w.n_lost);
        CHECK(!w.unordered || stats.forgotten + stats.expired != 0 || world.leaks);
        CHECK(!w.timed || n_timed(&stats) == stats.led || world.leaks);
        door_release_lost(world.group, stats.held);
        CHECK(sflight_group_destroy(world.group) == 0);
    }
    for (unsigned i = 0; i < w.n_runs; i++)
        check_run(&w.runs[i]);
    for (unsigned i = 0; i < MAX_ASKS; i++) {
        CHECK(!asks[i].awaited || world.leaks);
        if (asks[i].last && !world.leaks)
            check_last(&asks[i]);
    }
}

uint64_t n_timed(const sflight_stats *stats)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < SFLIGHT_DURATIONS; i++)
        n += stats->durations[i];
    return n;
}

static bool forgotten_since(const char *key, uint64_t since)
{
    for (unsigned i = 0; i < w.n_forgets; i++)
        if (strcmp(w.forgets[i].key, key) == 0 &&
            (w.forgets[i].ended == 0 || w.forgets[i].ended > since))
            return true;
    return world.forgets;
}

void world_fork(void)
{
    door_fork();
    world.leaks = true; /* what others had in hand is lost with them */
    w.forked = step();
    w.n_lost = 0;
    for (unsigned i = 0; i < MAX_ASKS; i++)
        if (asks[i].begun != 0 && (asks[i].thread != sched.self || asks[i].given))
            /*
             * What comes to a callback or a queue may do so in another thread.  With no slot of its
             * own a thread may have been stopped in the middle of a release; or, with a hold
             * besides the one that it is to have, as it left or abandoned a call.
             */
            w.n_lost += asks[i].over ? asks[i].n_holds + (door.common_slots || w.failures) : 2;
    for (unsigned i = 0; i < w.n_runs; i++) {
        struct run *run = &w.runs[i];
        if (run->thread == sched.self)
            continue;
        w.n_lost += run->leader->async; /* whoever ran it for its starter had a hold, too */
        if (run->ended == 0) {
            run->ended = step();
            run->left = true;
        }
    }
}

void world_loses(unsigned n)
{
    w.n_lost += n;
}

static struct timespec deadline_in(uint64_t patience_ns)
{
    uint64_t at = sched.now_ns + patience_ns;
    return (struct timespec){(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
}

/* With old values, "before" is what a thread knows of: what it has done itself. */
static bool known_to(int thread, int by)
{
    return !memory_old_values || thread == by;
}

void world_close(void)
{
    world.may |= MAY_BE_SHUT;
    CHECK(sflight_group_close(world.group) == 0);
    if (w.closed == 0) {
        w.closed = step();
        w.closer = sched.self;
    }
}

/* The group had been closed before this caller began. */
static bool shut_before(const struct ask *ask)
{
    return w.closed != 0 && w.closed < ask->begun && known_to(w.closer, ask->thread);
}

void world_drain(uint64_t patience_ns)
{
    struct timespec deadline = deadline_in(patience_ns);
    uint64_t begun = step();
    int rc = sflight_group_drain(world.group, patience_ns != 0 ? &deadline : NULL);

    CHECK(rc == 0 || (rc == -ETIMEDOUT && patience_ns != 0));
    for (unsigned i = 0; rc == 0 && i < w.n_runs; i++) {
        const struct run *run = &w.runs[i];
        CHECK(run->begun > begun || run->ended != 0 || !known_to(run->thread, sched.self));
    }
    if (rc == 0 && w.closed != 0 && w.closed < begun && known_to(w.closer, sched.self))
        world.shut = true;
}

int go(void (*body)(void *arg), void *arg)
{
    int thread = sched_spawn(body, arg);
    CHECK(thread >= 0);
    w.threads[w.n_threads++] = thread;
    return thread;
}

void join_all(void)
{
    for (unsigned i = 0; i < w.n_threads; i++)
        sched_join(w.threads[i]);
    w.n_threads = 0;
    door_detached_join();
}

void pause_here(void)
{
    sched_point(SITE);
}

void until(const bool *flag)
{
    while (!*flag)
        (void)sched_sleep(flag, NEVER, false, SITE);
    memory_take(&w.reached);
}

void reached(bool *flag)
{
    *flag = true;
    memory_give(&w.reached);
    sched_wake(flag, MAX_THREADS);
}

unsigned variant(unsigned n)
{
    return sched.plan.strategy == BY_EXHAUSTION ? 0 : sched_choose(n);
}

struct ask *fresh(unsigned i, const char *key)
{
    CHECK(i < MAX_ASKS);
    asks[i] = (struct ask){.key = key};
    return &asks[i];
}

unsigned n_runs(void)
{
    return w.n_runs;
}

unsigned n_running(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < w.n_runs; i++)
        n += w.runs[i].ended == 0;
    return n;
}

/* ---------------------------------------------------------------------- runs */

/* What was done before a forget of the key comes before what is done now. */
static bool after_a_forget(const char *key)
{
    for (unsigned i = 0; i < w.n_forgets; i++)
        if (strcmp(w.forgets[i].key, key) == 0 && memory_after(&w.forgets[i].before))
            return true;
    return false;
}

static void destroy_value(void *p, size_t size, void *ctx)
{
    struct value *value = p;
    struct run *run = ctx;

    CHECK(!door_in_section());
    CHECK(size == sizeof(*value));
    CHECK(value->run == run && value->payload == run->begun);
    CHECK(run->holds == 0);
    CHECK(run->n_destroyed++ == 0);
    value->payload = 0;
    free(value);
}

/* Two runs for a key, of which one begins. */
static void check_pair(struct run *earlier, struct run *run)
{
    uint64_t claimed =
        run->claimed_after < earlier->claimed_after ? run->claimed_after : earlier->claimed_after;
    if (earlier->ended == 0) {
        if (!forgotten_since(run->key, claimed))
            explore_fail("two runs for key %s at once", run->key);
        /* Whichever of them was claimed later. */
        if (!world.forgets && !earlier->after_forget && !run->after_forget)
            explore_fail("two runs for key %s, neither of them after a forget", run->key);
    } else if (!memory_after(&earlier->end)) {
        if (!forgotten_since(run->key, 0))
            explore_fail("a run for key %s that does not come after an earlier one", run->key);
        w.unordered = true; /* then one of them has been forgotten: see world_end() */
    }
}

static struct run *run_begins(struct ask *ask)
{
    CHECK(!door_in_section());
    CHECK(!world.shut && !shut_before(ask));
    CHECK(w.n_runs < MAX_RUNS);
    struct run *run = &w.runs[w.n_runs++];
    *run = (struct run){.leader = ask,
                        .key = ask->key,
                        .claimed_after = ask->begun,
                        .begun = step(),
                        .thread = sched.self,
                        .followers = -1};
    ask->run = run;
    ask->led = true;
    run->after_forget = after_a_forget(run->key);
    for (unsigned i = 0; i + 1 < w.n_runs; i++)
        if (strcmp(w.runs[i].key, run->key) == 0)
            check_pair(&w.runs[i], run);
    return run;
}

static void run_sets(struct run *run, sflight_call *call)
{
    bool allocs = run->leader->allocs;

    if (run->leader->bare)
        return;
    struct value *value =
        allocs ? sflight_call_alloc(call, sizeof(*value)) : aligned_alloc(8, sizeof(*value));
    if (value == NULL)
        return;
    value->run = run;
    value->payload = run->begun;
    run->has_value = true;
    run->has_destroy = !allocs;
    if (!allocs)
        sflight_call_set(call, value, sizeof(*value), destroy_value, run);
}

static int run_id(const struct run *run)
{
    return (int)(run - w.runs) + 1;
}

static void run_ends(struct run *run)
{
    run->ended = step();
    run->ender = sched.self;
    memory_give(&run->end);
}

static bool is_key(const char *key, const sflight_call *call)
{
    size_t len;
    const void *data = sflight_call_key(call, &len);
    return len == strlen(key) && memcmp(data, key, len) == 0;
}

static int work(sflight_call *call, void *arg)
{
    struct ask *ask = arg;
    struct run *run = run_begins(ask);

    CHECK(is_key(ask->key, call));
    run_sets(run, call);
    pause_here();
    CHECK(ask->async || !sflight_call_unwanted(call));
    if (ask->inside != NULL)
        ask->inside(ask);
    if (ask->inner != NULL)
        ask_whole(ask->inner);
    if (ask->way == ABANDONS) {
        run->left = true;
        sflight_call_abandon(call);
    }
    run_ends(run);
    switch (ask->way) {
    case PANICS:
        run->left = true;
        run->told = run_id(run);
        sflight_panic(call, "run %d", run->told);
    case EXITS:
        run->left = true;
        sched_exit();
    case RETURNS:
    case ABANDONS:
        break;
    }
    return run_id(run);
}

/* ------------------------------------------------------------------- answers */

static unsigned allowed(const struct ask *ask)
{
    return ask->may | world.may;
}

/* Had somebody returned from it, or its permit been used, before that step? */
static bool was_over(const struct run *run, uint64_t step)
{
    return (run->first_return != 0 && run->first_return < step) ||
           (run->over != 0 && run->over < step);
}

static void check_result(struct ask *ask, struct run *run)
{
    const sflight_result *r = &ask->r;

    CHECK(strcmp(run->key, ask->key) == 0);
    CHECK(run->ended != 0);
    if (run->first_return != 0 && run->first_return < ask->begun)
        explore_fail("a result of which somebody had returned before this caller began");
    for (unsigned i = 0; i < w.n_runs; i++)
        if (strcmp(w.runs[i].key, ask->key) == 0 && w.runs[i].claimed_after > run->begun &&
            was_over(&w.runs[i], ask->begun))
            explore_fail(
                "an older result than that of a call that had ended before this caller began");
    for (unsigned i = 0; i < w.n_forgets; i++)
        if (strcmp(w.forgets[i].key, ask->key) == 0 && w.forgets[i].done &&
            w.forgets[i].ended < ask->begun && run->begun < w.forgets[i].begun &&
            known_to(w.forgets[i].thread, ask->thread))
            explore_fail("a result that had been forgotten before this caller began");
    CHECK(r->leader == (run->leader == (ask->first != NULL ? ask->first : ask)));
    if (ask->first == NULL && r->leader)
        CHECK(run->n_leaders++ == 0);
    run->n_followers += ask->first == NULL && !r->leader;
    CHECK(run->followers < 0 || run->followers == r->followers);
    run->followers = r->followers;
    CHECK(r->shared == (!r->leader || r->followers != 0));
    ask->run = run;
    CHECK(run->n_destroyed == 0 || run->left);
    if (!run->left && run->has_value) {
        const struct value *value = r->value;
        CHECK(value->run == run && value->payload == run->begun);
    }
    run->holds += !run->left;
    if (run->first_return == 0)
        run->first_return = step();
}

/* Of the run, or the batch, that panicked with this number: the run for the key. */
static struct run *run_told(int told, const char *key)
{
    for (unsigned i = 0; i < w.n_runs; i++)
        if (w.runs[i].told == told && strcmp(w.runs[i].key, key) == 0)
            return &w.runs[i];
    explore_fail("a panic that was not in a run for key %s", key);
}

/* The call has come back with ask->rc and ask->r. */
static void answered(struct ask *ask)
{
    bool may = false;

    ask->over = true;
    ask->gone = step();
    ask->awaited = false;
    w.unseen |= ask->rc == -ESHUTDOWN;
    ask->n_holds = ask->r.hold != NULL;
    CHECK(!shut_before(ask) || ask->rc == -ESHUTDOWN || ask->rc == -ENOMEM);
    if (ask->rc == 0) {
        CHECK(ask->r.status >= 1 && ask->r.status <= (int)w.n_runs);
        struct run *run = &w.runs[ask->r.status - 1];
        CHECK(!run->left);
        check_result(ask, run);
        return;
    }
    if (ask->rc == -ENOTRECOVERABLE) {
        int id;
        CHECK(ask->r.value != NULL && ask->r.status == 0);
        if (sscanf(ask->r.value, "run %d", &id) == 1) {
            struct run *run = run_told(id, ask->key);
            CHECK(run->left);
            check_result(ask, run);
        } else {
            CHECK(w.failures); /* no memory for the message */
        }
        return;
    }
    CHECK(ask->r.hold == NULL && ask->r.value == NULL);
    switch (ask->rc) {
    case -ETIMEDOUT:
        may = (allowed(ask) & MAY_TIME_OUT) && ask->patience_ns != 0;
        break;
    case -EOWNERDEAD:
        may = allowed(ask) & MAY_BE_DEAD;
        break;
    case -EDEADLK:
        may = allowed(ask) & MAY_DEADLOCK;
        break;
    case -ESHUTDOWN:
        may = allowed(ask) & MAY_BE_SHUT;
        break;
    case -EAGAIN:
        may = (allowed(ask) & MAY_BE_FULL) || w.failures;
        break;
    case -ENOMEM:
        may = w.failures;
        break;
    default:
        break;
    }
    if (!may)
        explore_fail("answer %d (%s) is not right here", ask->rc, sflight_strerror(ask->rc));
}

void ask_result(struct ask *ask)
{
    ask->begun = step();
    ask->thread = sched.self;
    if (ask->patience_ns == 0) {
        ask->rc = sflight_do(world.group, ask->key, strlen(ask->key), work, ask, &ask->r);
    } else {
        struct timespec deadline = deadline_in(ask->patience_ns);
        ask->rc = sflight_do_until(world.group, ask->key, strlen(ask->key), work, ask, &deadline,
                                   &ask->r);
    }
    answered(ask);
}

void ask_release(struct ask *ask)
{
    if (ask->rc == 0)
        ask->run->holds--;
    sflight_result_release(&ask->r);
    ask->n_holds -= ask->n_holds != 0;
}

void ask_whole(void *ask)
{
    ask_result(ask);
    ask_release(ask);
}

void ask_retain(struct ask *ask)
{
    sflight_result copy;

    CHECK(sflight_result_retain(&ask->r, &copy) == 0);
    ask->run->holds++;
    ask->n_holds++;
    ask_release(ask);
    pause_here();
    ask->r = copy;
    ask_release(ask);
}

/* --------------------------------------------------------------------- batch */

struct batch_asks {
    struct ask *asks;
    unsigned n;
};

static int work_many(sflight_call *const *calls, size_t n, void *arg)
{
    struct batch_asks *batch = arg;
    struct ask *last = NULL;

    for (size_t i = 0; i < n; i++) {
        for (unsigned k = 0; k < batch->n; k++) {
            struct ask *ask = &batch->asks[k];
            if (is_key(ask->key, calls[i])) {
                run_sets(run_begins(ask), calls[i]);
                sflight_call_set_status(calls[i], run_id(ask->run));
                last = ask;
                break;
            }
        }
    }
    pause_here();
    for (unsigned k = 0; k < batch->n; k++)
        if (batch->asks[k].led && batch->asks[k].run->ended == 0) {
            run_ends(batch->asks[k].run);
            batch->asks[k].run->left = last->way != RETURNS;
            if (last->way == PANICS)
                batch->asks[k].run->told = run_id(last->run);
        }
    if (last->way == PANICS)
        sflight_panic(calls[0], "run %d", last->run->told);
    if (last->way == EXITS)
        sched_exit();
    return 0;
}

void ask_many(struct ask *asks, unsigned n)
{
    struct batch_asks batch = {asks, n};
    sflight_key keys[MAX_BATCH];
    sflight_result r[MAX_BATCH];
    int rc[MAX_BATCH];

    CHECK(n <= MAX_BATCH);
    for (unsigned i = 0; i < n; i++) {
        asks[i].begun = step();
        asks[i].thread = sched.self;
        keys[i] = (sflight_key){asks[i].key, strlen(asks[i].key)};
        for (unsigned k = 0; k < i && asks[i].first == NULL; k++)
            if (strcmp(asks[k].key, asks[i].key) == 0)
                asks[i].first = &asks[k];
    }
    struct timespec deadline = deadline_in(asks[0].patience_ns);
    int whole = sflight_do_many(world.group, keys, n, work_many, &batch,
                                asks[0].patience_ns != 0 ? &deadline : NULL, r, rc);
    for (unsigned i = 0; i < n; i++) {
        asks[i].rc = whole != 0 ? whole : rc[i];
        asks[i].r = whole != 0 ? (sflight_result){0} : r[i];
        answered(&asks[i]);
    }
}

/* ------------------------------------------------------------------- futures */

/* True if there is a permit or a future. */
static bool begun(struct ask *ask, int rc)
{
    if (rc != 0) {
        CHECK(ask->permit == NULL && ask->future == NULL);
        ask->rc = rc;
        answered(ask);
        return false;
    }
    CHECK(!shut_before(ask));
    if (ask->future != NULL)
        ask->joined = step();
    if (ask->permit != NULL)
        run_sets(run_begins(ask), ask->permit);
    return true;
}

void ask_begin(struct ask *ask)
{
    ask->begun = step();
    ask->thread = sched.self;
    ask->async = true;
    int rc = sflight_begin(world.group, ask->key, strlen(ask->key), &ask->permit, &ask->future);
    CHECK(ask->permit == NULL || ask->future == NULL);
    (void)begun(ask, rc);
}

bool ask_begin_enqueue(struct ask *ask, sflight_queue *queue)
{
    ask->begun = step();
    ask->thread = sched.self;
    ask->async = true;
    int rc = sflight_begin_enqueue(world.group, ask->key, strlen(ask->key), queue,
                                   (uint64_t)(uintptr_t)ask, &ask->permit, &ask->future);
    ask->queue = queue;
    if (rc != 0 || !ask->over) { /* otherwise it has been drained already */
        CHECK(rc != 0 || ask->future != NULL);
        ask->own = ask->permit != NULL;
        (void)begun(ask, rc);
    }
    ask->given = rc == 0;
    return rc == 0;
}

bool ask_own_future(struct ask *ask)
{
    int rc = sflight_call_future(ask->permit, &ask->future);
    CHECK(rc == 0 || (rc == -ENOMEM && w.failures && ask->future == NULL));
    ask->own = rc == 0;
    if (rc == 0)
        ask->joined = step();
    return rc == 0;
}

bool ask_cancel(struct ask *ask)
{
    ask->leaving = step();
    int rc = sflight_future_cancel(ask->future);
    CHECK(rc == 0 || rc == 1);
    if (rc == 1) {
        ask->future = NULL;
        ask->over = true;
        ask->awaited = false;
        ask->gone = step();
    } else {
        ask->leaving = 0;
    }
    return rc == 1;
}

static void unwanted(void *arg)
{
    struct ask *ask = arg;
    struct run *run = ask->run;

    CHECK(!door_in_section());
    CHECK(run->over == 0);
    CHECK(!ask->own || ask->leaving != 0);
    CHECK(run->unwanted == 0);
    run->unwanted = step();
    run->promised = world.cancels;
    pause_here();
    CHECK(run->over == 0);
    memory_give(&run->called);
}

void ask_on_unwanted(struct ask *ask)
{
    struct run *run = ask->run;

    sflight_call_on_unwanted(ask->permit, unwanted, ask);
    run->listens = step();
}

bool ask_unwanted(struct ask *ask)
{
    bool is = sflight_call_unwanted(ask->permit);

    ask->run->promised |= is && world.cancels;
    return is;
}

/* Its permit is gone. */
static void run_over(struct run *run, uint32_t n_followers)
{
    CHECK(run->followers < 0 || run->followers == n_followers);
    run->followers = n_followers;
    CHECK(memory_after(&run->called));
    run->over = step();
}

void ask_complete(struct ask *ask)
{
    struct run *run = ask->run;

    ask->over = ask->future == NULL;
    run_ends(run);
    sflight_call *permit = ask->permit;
    ask->permit = NULL;
    run_over(run, sflight_complete(permit, run_id(run)));
}

void ask_begin_and_complete(struct ask *ask)
{
    ask_begin(ask);
    if (ask->permit != NULL)
        ask_complete(ask);
}

void ask_abandon(struct ask *ask)
{
    struct run *run = ask->run;

    ask->over = ask->future == NULL;
    run_ends(run);
    run->left = true;
    sflight_call *permit = ask->permit;
    ask->permit = NULL;
    run_over(run, sflight_abandon(permit));
}

void ask_start(struct ask *ask)
{
    ask->begun = step();
    ask->thread = sched.self;
    ask->async = true;
    ask->rc = sflight_start(world.group, ask->key, strlen(ask->key), work, ask, &ask->future);
    if (ask->rc != 0) {
        CHECK(ask->future == NULL);
        w.unseen = true;
        answered(ask);
        return;
    }
    ask->joined = step();
    CHECK(!shut_before(ask));
}

void ask_get(struct ask *ask)
{
    struct timespec deadline = deadline_in(ask->patience_ns);
    int rc = sflight_future_get(ask->future, ask->patience_ns != 0 ? &deadline : NULL, &ask->r);
    if (rc == -ETIMEDOUT || rc == -EDEADLK) {
        CHECK(ask->patience_ns != 0 || rc == -EDEADLK);
        ask->rc = rc;
        return; /* it still has the future */
    }
    ask->future = NULL;
    ask->rc = rc;
    answered(ask);
}

bool ask_poll(struct ask *ask)
{
    int rc = sflight_future_poll(ask->future, &ask->r);
    if (rc == -EAGAIN)
        return false;
    ask->future = NULL;
    ask->rc = rc;
    answered(ask);
    return true;
}

void ask_by_fd(struct ask *ask)
{
    int fd = sflight_future_fd(ask->future);
    CHECK(fd >= 0);
    door_wait_readable(fd);
    CHECK(ask_poll(ask));
    ask_release(ask);
}

bool ask_drop(struct ask *ask)
{
    ask->leaving = step();
    int last = sflight_future_drop(ask->future);
    CHECK(last == 0 || last == 1);
    ask->future = NULL;
    ask->over = ask->dropped = true;
    ask->last = last == 1;
    ask->gone = step();
    return ask->last;
}

void ask_get_or_drop(struct ask *ask)
{
    if (ask->future == NULL)
        return;
    ask_get(ask);
    if (ask->future != NULL)
        ask_drop(ask);
    else
        ask_release(ask);
}

void complete_permit(void *ask)
{
    ask_complete(ask);
}

void come_and_go(void *ask)
{
    ask_begin_and_complete(ask);
    ask_get_or_drop(ask);
}

static void told(void *arg, int rc, sflight_result *r)
{
    struct ask *ask = arg;
    CHECK(!door_in_section());
    CHECK(!ask->over);
    ask->future = NULL;
    ask->rc = rc;
    ask->r = *r;
    answered(ask);
    CHECK(rc != 0 || sched.self == ask->run->ender || sched.self == ask->then_on);
    ask_release(ask);
}

void ask_then(struct ask *ask)
{
    ask->awaited = true;
    ask->then_on = sched.self;
    ask->given = sflight_future_then(ask->future, told, ask) == 0;
    if (!ask->given) {
        ask->awaited = false;
        ask_drop(ask);
    }
}

bool ask_enqueue(struct ask *ask, sflight_queue *queue)
{
    int rc = sflight_future_enqueue(ask->future, queue, (uint64_t)(uintptr_t)ask);
    ask->queue = queue;
    ask->given = rc == 0;
    if (rc != 0)
        ask_drop(ask);
    return rc == 0;
}

unsigned ask_drain(sflight_queue *queue)
{
    sflight_completion done[2];
    int n = sflight_queue_drain(queue, done, 2);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        struct ask *ask = (struct ask *)(uintptr_t)done[i].tag;
        CHECK(!ask->over);
        ask->future = NULL;
        ask->rc = done[i].rc;
        ask->r = done[i].result;
        answered(ask);
    }
    for (int i = 0; i < n; i++) {
        struct ask *ask = (struct ask *)(uintptr_t)done[i].tag;
        ask->r = (sflight_result){0};
        if (ask->rc == 0)
            ask->run->holds--;
    }
    sflight_completions_release(done, (unsigned)n);
    for (int i = 0; i < n; i++) {
        struct ask *ask = (struct ask *)(uintptr_t)done[i].tag;
        ask->n_holds -= ask->n_holds != 0;
    }
    return (unsigned)n;
}

/* -------------------------------------------------------------------- forget */

int forget(const char *key, bool unshared)
{
    CHECK(w.n_forgets < MAX_FORGETS);
    unsigned i = w.n_forgets++;
    w.forgets[i].key = key;
    w.forgets[i].thread = sched.self;
    w.forgets[i].begun = step();
    memory_give(&w.forgets[i].before);
    int rc = unshared ? sflight_forget_unshared(world.group, key, strlen(key))
                      : sflight_forget(world.group, key, strlen(key));
    CHECK(rc == 0 || rc == 1);
    w.forgets[i].ended = step();
    w.forgets[i].done = !unshared || rc == 1;
    return rc;
}
