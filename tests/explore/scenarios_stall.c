/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who stalls where, and who waits for that.  A thread, the victim, does something and stands still
 * after its n-th point, for each n, as one that others preempt for good or that is stopped.  Then
 * another, the actor, does something.  It must not wait for the victim, which is not its leader:
 * unless exceptions[] says so.  Each of those must occur, too.
 *
 * A wait is seen when nobody can go on any more without the victim.  Deadlines pass before that, so
 * one that is not kept is such a wait.  In the end the victim goes on, and all rules hold.
 */
#include "tasks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {           /* asks */
       HELD,     /* the main thread's permit, for "a" */
       BUSY,     /* the same, for "b", until the end */
       FOLLOWER, /* a thread that follows HELD */
       QUEUED,   /* futures on it */
       CALLED,
       LISTENER, /* the last that waits for it */
       VICTIM = 8,
       FULL = 16,
       ACTOR = 40,
};

enum {
    WARM = 1,        /* has used the group before */
    PERMIT = 2,      /* HELD is there */
    COMPANY = 4,     /* and FOLLOWER, QUEUED, CALLED */
    TAKEOVER = 8,    /* SFLIGHT_ABANDON_TAKEOVER */
    LEADS_A = 16,    /* is who "a" waits for */
    EXITS_LAST = 32, /* its end is looked at, too */
    CONSUMER = 64,   /* of the queue */
    NOT_FORKED = 128 /* what it has in hand would be missed in a child */
};

static sflight_queue *queue, *own_queue; /* the actor's own */
static sflight_group *other_groups[2], *created;
static unsigned n_out; /* of the queue */

static bool in_tasks; /* all but the main thread are tasks of a runtime */

static void go_one(void (*body)(void *arg), void *arg)
{
    if (in_tasks)
        go_task(body, arg);
    else
        (void)go(body, arg);
}

static void let_time_pass(void)
{
    static const char nobody;
    (void)sched_sleep(&nobody, sched.now_ns + 10 * SHORT_NS, false, SITE);
}

/* ------------------------------------------------------------------ the victim */

static struct ask *mine(unsigned i, const char *key)
{
    return fresh(VICTIM + i, key);
}

static void leads(void)
{
    ask_whole(mine(0, "a"));
}

static void leaves(void)
{
    mine(0, "a")->patience_ns = SHORT_NS;
    ask_whole(&asks[VICTIM]);
}

static void completes(void)
{
    ask_complete(&asks[HELD]);
}

static void abandons(void)
{
    ask_abandon(&asks[HELD]);
}

static void follow_and_abandon(void)
{
    if (!in_tasks) /* who came last is nudged there, and at a gate who came first */
        (void)go(ask_whole, fresh(FOLLOWER, "a"));
    sched_settle();
    ask_abandon(&asks[HELD]);
}

/* Nothing, if the group has been closed meanwhile. */
static void complete_if_led(struct ask *ask)
{
    if (ask->permit != NULL)
        ask_complete(ask);
}

static void begins(void)
{
    ask_begin(mine(0, "a"));
    complete_if_led(&asks[VICTIM]);
}

static void drops(void)
{
    ask_begin(mine(0, "a"));
    if (asks[VICTIM].future != NULL)
        (void)ask_drop(&asks[VICTIM]);
    complete_if_led(&asks[VICTIM]);
}

/* From the third on by a joint of the thread's, where `joint_after` is 0. */
enum { OFTEN = 4 };

static void begin_often(unsigned first)
{
    for (unsigned i = 0; i < OFTEN; i++)
        ask_begin(fresh(first + i, "a"));
    for (unsigned i = 0; i < OFTEN; i++) {
        if (asks[first + i].future != NULL)
            (void)ask_drop(&asks[first + i]);
        complete_if_led(&asks[first + i]);
    }
}

static void joint_at_once(void)
{
    door.joint_after = 0;
}

static void begins_often(void)
{
    begin_often(VICTIM);
}

static void cancels(void)
{
    ask_begin(mine(0, "a"));
    complete_if_led(&asks[VICTIM]);
    if (asks[VICTIM].future == NULL)
        return;
    if (ask_enqueue(&asks[VICTIM], queue) && !ask_cancel(&asks[VICTIM]))
        n_out++;
}

static void gets(void)
{
    ask_begin(mine(0, "a"));
    complete_if_led(&asks[VICTIM]);
    asks[VICTIM].patience_ns = SHORT_NS;
    ask_get_or_drop(&asks[VICTIM]);
}

static void told_unwanted(void *unused)
{
    (void)unused;
    pause_here();
}

static void listen(void)
{
    sflight_call_on_unwanted(asks[HELD].permit, told_unwanted, NULL);
}

static void forgets(void)
{
    (void)forget("a", false);
}

/* With HELD, and one more of "a": then the table grows. */
static const char *const full[] = {"c", "d", "e", "f", "g", "h", "i", "j", "k", "a1", "a2"};
enum { N_FULL = sizeof(full) / sizeof(full[0]) };

static void fill(void)
{
    for (unsigned i = 0; i < N_FULL; i++)
        ask_begin(fresh(FULL + i, full[i]));
}

static void grows(void)
{
    ask_begin(mine(0, "a4"));
    ask_begin(mine(1, "a5"));
    complete_if_led(&asks[VICTIM + 1]);
    complete_if_led(&asks[VICTIM]);
}

static void leads_many(void)
{
    mine(0, "a");
    mine(1, "y");
    asks[VICTIM].patience_ns = SHORT_NS;
    ask_many(&asks[VICTIM], 2);
    ask_release(&asks[VICTIM]);
    ask_release(&asks[VICTIM + 1]);
}

static void waits_in_fn(void)
{
    mine(0, "y")->inner = mine(1, "b");
    asks[VICTIM + 1].patience_ns = SHORT_NS;
    ask_whole(&asks[VICTIM]);
}

static void starts(void)
{
    ask_start(mine(0, "a"));
    ask_get_or_drop(&asks[VICTIM]);
}

static void looks(void)
{
    sflight_stats stats;
    CHECK(sflight_group_stats(world.group, &stats) == 0);
}

static int nothing_of_it(const sflight_info *info, void *unused)
{
    (void)info, (void)unused;
    return 0;
}

static void walks(void)
{
    (void)sflight_group_each(world.group, nothing_of_it, NULL);
}

static void drains(void)
{
    world_drain(SHORT_NS);
}

static void creates(void)
{
    sflight_options o = world_options();
    sflight_group *g;
    CHECK(sflight_group_create(&g, &o) == 0);
    CHECK(sflight_group_destroy(g) == 0);
}

static void drains_queue(void)
{
    n_out -= ask_drain(queue);
}

static void completes_first(void)
{
    ask_complete(&asks[HELD]);
}

static void nothing(void) {}

static const struct victim {
    const char *name;
    unsigned has;
    void (*prepare)(void);
    void (*body)(void);
    void (*meanwhile)(void); /* by the main thread, when the victim sleeps */
} victims[] = {
    {"first use", LEADS_A, NULL, leads, NULL},
    {"lead", WARM | LEADS_A, NULL, leads, NULL},
    {"follow", WARM | PERMIT, NULL, leads, completes},
    {"leave", WARM | PERMIT, NULL, leaves, let_time_pass},
    {"complete", WARM | PERMIT | COMPANY | LEADS_A, NULL, completes, NULL},
    {"abandon", WARM | PERMIT | COMPANY | LEADS_A, NULL, abandons, NULL},
    {"orphan", WARM | PERMIT | COMPANY | TAKEOVER | LEADS_A, NULL, abandons, NULL},
    {"take over", WARM | PERMIT | TAKEOVER, NULL, leads, follow_and_abandon},
    {"begin", WARM | LEADS_A, NULL, begins, NULL},
    {"drop", WARM | PERMIT, NULL, drops, NULL},
    {"drop the last", WARM | PERMIT, listen, drops, NULL},
    {"joints", WARM | PERMIT, joint_at_once, begins_often, NULL},
    {"cancel", WARM | PERMIT | CONSUMER | NOT_FORKED, NULL, cancels, NULL},
    {"get", WARM | PERMIT, NULL, gets, let_time_pass},
    {"forget", WARM | PERMIT, NULL, forgets, NULL},
    {"grow", WARM | PERMIT, fill, grows, NULL},
    {"batch", WARM | LEADS_A, NULL, leads_many, NULL},
    {"nested wait", WARM, NULL, waits_in_fn, let_time_pass},
    {"start", WARM | LEADS_A, NULL, starts, NULL},
    {"stats", WARM, NULL, looks, NULL},
    {"each", WARM | PERMIT, NULL, walks, NULL},
    {"drain", WARM | PERMIT, NULL, drains, let_time_pass},
    {"create", WARM | NOT_FORKED, NULL, creates, NULL},
    {"queue", WARM | PERMIT | COMPANY | CONSUMER, completes_first, drains_queue, NULL},
    {"exit", WARM | EXITS_LAST, NULL, nothing, NULL},
};
enum { N_VICTIMS = sizeof(victims) / sizeof(victims[0]) };

/* ------------------------------------------------------------------- the actor */

static struct ask *own(unsigned i, const char *key)
{
    return fresh(ACTOR + i, key);
}

static void same_until(void)
{
    own(0, "a")->patience_ns = SHORT_NS;
    ask_whole(&asks[ACTOR]);
}

static void same(void)
{
    ask_whole(own(0, "a"));
}

static void others(void)
{
    ask_whole(own(0, "z"));
    ask_whole(own(1, "a9")); /* in the same bucket */
}

/* With company, so that records are retired. */
static void joins(void)
{
    for (unsigned i = 0; i < 3; i++) {
        ask_begin(own(0, "z"));
        ask_begin(own(1, "z"));
        ask_complete(&asks[ACTOR]);
        ask_get(&asks[ACTOR + 1]);
        ask_release(&asks[ACTOR + 1]);
    }
}

static void nested_until(void)
{
    own(0, "y1")->inner = own(1, "b");
    asks[ACTOR + 1].patience_ns = SHORT_NS;
    ask_whole(&asks[ACTOR]);
}

static void nested_lead(void)
{
    own(0, "y1")->inner = own(1, "z");
    ask_whole(&asks[ACTOR]);
}

static void has_future(void)
{
    ask_begin(own(0, "b"));
}

static void future_drop(void)
{
    (void)ask_drop(&asks[ACTOR]);
}

static void future_get(void)
{
    asks[ACTOR].patience_ns = SHORT_NS;
    ask_get_or_drop(&asks[ACTOR]);
}

static void future_cancel(void)
{
    if (ask_enqueue(&asks[ACTOR], own_queue))
        CHECK(ask_cancel(&asks[ACTOR]));
}

static void begin_same(void)
{
    ask_begin(own(0, "a"));
    if (asks[ACTOR].permit != NULL)
        ask_complete(&asks[ACTOR]);
    asks[ACTOR].patience_ns = SHORT_NS;
    ask_get_or_drop(&asks[ACTOR]);
}

static void begin_same_often(void)
{
    begin_often(ACTOR);
}

static void forget_same(void)
{
    (void)forget("a", false);
}

static void batch_until(void)
{
    own(0, "a")->patience_ns = SHORT_NS;
    own(1, "z");
    ask_many(&asks[ACTOR], 2);
    ask_release(&asks[ACTOR]);
    ask_release(&asks[ACTOR + 1]);
}

static void start_get(void)
{
    ask_start(own(0, "z"));
    ask_get(&asks[ACTOR]);
    ask_release(&asks[ACTOR]);
}

static void queue_destroy(void)
{
    for (unsigned i = 0; i < 3; i++)
        n_out -= ask_drain(queue);
    int rc = sflight_queue_destroy(queue);
    CHECK(rc == 0 || rc == -EBUSY);
    if (rc == 0)
        queue = NULL;
}

static void create(void)
{
    sflight_options o = world_options();
    CHECK(sflight_group_create(&created, &o) == 0);
}

static void destroy_other(void)
{
    joins(); /* there are retired records */
    CHECK(sflight_group_destroy(other_groups[0]) == 0);
    other_groups[0] = NULL;
}

static void complete_held(void)
{
    if (asks[HELD].permit != NULL)
        ask_complete(&asks[HELD]);
}

static void close_group(void)
{
    world_close();
}

enum {
    NEW = 1,       /* a thread that has not used the group */
    FOLLOWS = 2,   /* without a deadline: not for a victim that "a" waits for */
    ENDS_HELD = 4, /* needs the permit */
    FORKS = 8,     /* by the main thread */
    CONSUMES = 16, /* there is one consumer */
    ENDS = 32,     /* the thread's end is what is looked at */
    EARLY = 64,    /* begins before the victim does */
    ON_HELD = 128, /* needs the permit, whose call it follows */
};

static const struct op {
    const char *name;
    unsigned is;
    void (*prepare)(void);
    void (*body)(void);
} ops[] = {
    {"same key, deadline", 0, NULL, same_until},
    {"same key", FOLLOWS, NULL, same},
    {"follow, deadline", EARLY | ON_HELD, NULL, same_until},
    {"follow", EARLY | ON_HELD | FOLLOWS, NULL, same},
    {"get, deadline", EARLY | ON_HELD, NULL, begin_same},
    {"other keys", 0, NULL, others},
    {"first use", NEW, NULL, others},
    {"begin, complete", 0, NULL, joins},
    {"begin, same key", 0, NULL, begin_same},
    {"begin, same key, often", 0, joint_at_once, begin_same_often},
    {"nested wait, deadline", 0, NULL, nested_until},
    {"end of a nested wait", EARLY, NULL, nested_until},
    {"nested lead", 0, NULL, nested_lead},
    {"future drop", 0, has_future, future_drop},
    {"future get, deadline", 0, has_future, future_get},
    {"future cancel", 0, has_future, future_cancel},
    {"forget", 0, NULL, forget_same},
    {"complete", ENDS_HELD, NULL, complete_held},
    {"batch, deadline", 0, NULL, batch_until},
    {"start", 0, NULL, start_get},
    {"queue destroy", CONSUMES, NULL, queue_destroy},
    {"stats", 0, NULL, looks},
    {"each", 0, NULL, walks},
    {"close", 0, NULL, close_group},
    {"drain, deadline", 0, NULL, drains},
    {"create", 0, NULL, create},
    {"destroy another group", 0, NULL, destroy_other},
    {"exit", ENDS, NULL, nothing},
    {"fork", FORKS, NULL, nothing},
};
enum { N_OPS = sizeof(ops) / sizeof(ops[0]) };

/* -------------------------------------------------------------- the exceptions */

/*
 * NULL: any.  at: a lock that the victim holds, as the source calls it; "a list", where it takes
 * entries out of one; otherwise the function in which it stands.  src/README.md has these, too,
 * with what bounds each.
 */
static const struct exception {
    enum { EVERYWHERE, THREADS, TASKS } among;
    const char *victim, *at, *op;
} exceptions[] = {
    {EVERYWHERE, NULL, "&registry", "create"},
    {EVERYWHERE, NULL, "&registry", "destroy another group"},
    {EVERYWHERE, NULL, "&registry", "exit"},
    {EVERYWHERE, NULL, "&agent_waits", "exit"},
    {EVERYWHERE, NULL, "&agent_waits", "destroy another group"},
    {TASKS, NULL, "&agent_waits", NULL}, /* the end of what a task led or followed */
    {TASKS, NULL, "&bin->lock", NULL},   /* tasks whose names fall into one bin: all of these do */
    {EVERYWHERE, NULL, "queue_push", "queue destroy"},
    {EVERYWHERE, "take over", NULL, "same key"},
    {TASKS, "take over", NULL, "follow"},
    {EVERYWHERE, "drop the last", "unwanted_tell", "complete"}, /* where the user's callback runs */
    {EVERYWHERE, "drop the last", "unwanted_tell", "same key"}, /* whose leader waits for that */
    {EVERYWHERE, "drop the last", "told", "complete"},
    {EVERYWHERE, "drop the last", "told", "same key"},
    {EVERYWHERE, NULL, "a list", "complete"},
    {EVERYWHERE, NULL, "a list", "same key"}, /* in threads who ends the call, and not they */
    {EVERYWHERE, NULL, "a list", "follow"},
    {TASKS, "orphan", "a list", "same key, deadline"}, /* takes the call over, and ends it */
    {TASKS, "orphan", "a list", "batch, deadline"},
    {TASKS, "orphan", "a list", "follow, deadline"}, /* leaves, and would nudge another one */
    {TASKS, NULL, "tell_waiter", "follow, deadline"},
    {TASKS, NULL, "tell_owner", "get, deadline"},
};
enum { N_EXCEPTIONS = sizeof(exceptions) / sizeof(exceptions[0]) };
static bool has_occurred[N_EXCEPTIONS];
static unsigned n_unlike; /* waits that are not among them, and the other way round */

/* ----------------------------------------------------------------------- a run */

static struct {
    const struct victim *victim;
    const struct op *op;
    unsigned after;
    bool no_spares;
    int actor;
    const char *at, *waits_in;
    bool begins, done, over;
} run;

enum { AFTER_BITS = 12 };

static void choose(uint64_t seed)
{
    run.no_spares = seed & 1;
    run.after = (seed >> 1) & ((1u << AFTER_BITS) - 1);
    uint64_t pair = seed >> (1 + AFTER_BITS);
    run.victim = &victims[pair / N_OPS % N_VICTIMS];
    run.op = &ops[pair % N_OPS];
}

static const char *place_of(int thread)
{
    static const char *const of_list[] = {"list_take_waiter", "list_sweep",   "list_remove",
                                          "list_let_go",      "gate_is_open", /* list_held() */
                                          "is_gone",          "future_word",  "take_gone",
                                          "call_joints" /* list_sweep() */};
    const char *function = sched_function_of(thread);

    if (door_lock_of(thread) != NULL)
        return door_lock_of(thread);
    for (unsigned i = 0; i < sizeof(of_list) / sizeof(of_list[0]); i++)
        if (strcmp(function, of_list[i]) == 0)
            return "a list";
    return function;
}

static void note_stall(int thread, bool awaited)
{
    if (awaited)
        run.waits_in = sched_function_of(run.actor);
    else
        run.at = place_of(thread);
}

static void be_victim(void *unused)
{
    (void)unused;
    if (run.victim->has & WARM)
        ask_whole(mine(6, "w"));
    sched_stall(run.after);
    run.victim->body();
    if (!(run.victim->has & EXITS_LAST))
        sched_stall_not();
}

static void be_actor(void *unused)
{
    (void)unused;
    run.actor = sched.self;
    if (!(run.op->is & NEW)) {
        ask_whole(own(8, "w"));
        if (run.op->prepare != NULL)
            run.op->prepare();
    }
    until(&run.begins);
    run.op->body();
    if (run.op->is & ENDS)
        return;
    reached(&run.done);
    until(&run.over);
}

static void prepare(void)
{
    sflight_options o = world_options();

    run.begins = run.done = run.over = false;
    o.on_abandon = run.victim->has & TAKEOVER ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE;
    tasks_share_a_bin = in_tasks;
    if (in_tasks)
        o.runtime = tasks_runtime();
    world_begin(&o);
    door.no_spares = run.no_spares;
    sched.counters = true;
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    n_out = 0;
    CHECK(sflight_queue_create(&queue) == 0);
    CHECK(sflight_queue_create(&own_queue) == 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK(sflight_group_create(&other_groups[i], &o) == 0);
    ask_begin(fresh(BUSY, "b"));
    if (run.victim->has & PERMIT)
        ask_begin(fresh(HELD, "a"));
    if (run.victim->has & COMPANY) {
        (void)go(ask_whole, fresh(FOLLOWER, "a"));
        ask_begin(fresh(QUEUED, "a"));
        n_out += ask_enqueue(&asks[QUEUED], queue);
        ask_begin(fresh(CALLED, "a"));
        ask_then(&asks[CALLED]);
    }
    sched_settle();
    if (run.victim->prepare != NULL)
        run.victim->prepare();
}

static void end(void)
{
    sched_settle();
    for (unsigned i = 0; i < MAX_ASKS; i++)
        if (asks[i].permit != NULL)
            ask_complete(&asks[i]);
    join_all();
    while (queue != NULL && n_out != 0)
        n_out -= ask_drain(queue);
    CHECK(sflight_queue_destroy(queue) == 0);
    CHECK(sflight_queue_destroy(own_queue) == 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK(sflight_group_destroy(other_groups[i]) == 0);
    CHECK(sflight_group_destroy(created) == 0);
    created = NULL;
    world_end();
}

/* Not the first one fails, so that all are told. */
static void unlike(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void unlike(const char *fmt, ...)
{
    static char last[256];
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (strcmp(text, last) != 0)
        fprintf(stderr, "# %s (--seed %llu)\n", text, (unsigned long long)sched.plan.seed);
    (strcpy)(last, text);
    n_unlike++;
}

static bool is_among(const struct exception *e)
{
    return e->among == EVERYWHERE || (e->among == TASKS) == in_tasks;
}

static void judge(void)
{
    bool expected = false;

    if (!sched_awaited())
        return;
    for (unsigned i = 0; i < N_EXCEPTIONS; i++) {
        const struct exception *e = &exceptions[i];
        if (is_among(e) && (e->victim == NULL || strcmp(e->victim, run.victim->name) == 0) &&
            (e->at == NULL || strcmp(e->at, run.at) == 0) &&
            (e->op == NULL || strcmp(e->op, run.op->name) == 0))
            expected = has_occurred[i] = true;
    }
    if (!expected)
        unlike("%s waits in %s for one that stalls in %s, %s", run.op->name, run.waits_in,
               run.victim->name, run.at);
}

static void one_run(void)
{
    choose(sched.plan.seed);
    sched_thread_stalls = note_stall;
    prepare();
    run.actor = 0;
    if (!(run.op->is & FORKS))
        go_one(be_actor, NULL);
    sched_settle();
    if (run.op->is & EARLY) {
        reached(&run.begins);
        sched_settle();
    }
    go_one(be_victim, NULL);
    sched_settle();
    if (!sched_stalled() && run.victim->meanwhile != NULL) {
        run.victim->meanwhile();
        sched_settle();
    }
    if (run.op->is & FORKS) {
        world_fork();
    } else {
        if (!(run.op->is & EARLY))
            reached(&run.begins);
        if (run.op->is & FOLLOWS) {
            sched_settle();
            if (asks[HELD].permit != NULL)
                ask_complete(&asks[HELD]);
        }
        if (run.op->is & ENDS)
            sched_join(run.actor);
        else
            until(&run.done);
        judge();
        sched_unstall();
        reached(&run.over);
    }
    end();
}

static bool fits(void)
{
    return !(run.victim->has & LEADS_A && run.op->is & FOLLOWS) &&
           !(run.op->is & ENDS_HELD &&
             (!(run.victim->has & PERMIT) || run.victim->has & LEADS_A)) &&
           !(run.op->is & FORKS && run.victim->has & (COMPANY | NOT_FORKED)) &&
           !(run.op->is & ON_HELD && !(run.victim->has & PERMIT)) &&
           !(run.op->is & CONSUMES && run.victim->has & CONSUMER);
}

static void all_over(void)
{
    for (unsigned i = 0; i < N_EXCEPTIONS; i++)
        if (is_among(&exceptions[i]) && !has_occurred[i])
            unlike("%s does not wait for one that stalls in %s, %s",
                   exceptions[i].op != NULL ? exceptions[i].op : "nothing",
                   exceptions[i].victim != NULL ? exceptions[i].victim : "whatever it does",
                   exceptions[i].at != NULL ? exceptions[i].at : "wherever");
    if (n_unlike != 0)
        explore_fail("%u are not as the exceptions say", n_unlike);
}

uint64_t stall_next(uint64_t seed)
{
    uint64_t pair = seed >> (1 + AFTER_BITS);

    if (sched_stalled())
        return seed + 2;
    if (!(seed & 1))
        return pair << (1 + AFTER_BITS) | 1;
    do {
        if (++pair == N_VICTIMS * N_OPS) {
            all_over();
            return 0;
        }
        choose(pair << (1 + AFTER_BITS));
    } while (!fits());
    return pair << (1 + AFTER_BITS);
}

static void stalls(void)
{
    in_tasks = false;
    one_run();
}

static void stalled_tasks(void)
{
    in_tasks = true;
    one_run();
}

const struct scenario scenarios_stall[] = {
    {"stalls", stalls, 0, 0},
    {"stalled_tasks", stalled_tasks, 0, 0},
    {0},
};
