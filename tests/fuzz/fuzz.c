/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes become a few callers, what each of them does, and the schedule; see
 * README.md for the format.  The rules of tests/explore are the oracle.
 *
 * What an operation does not finish, a permit, a future or a hold, its caller
 * keeps to its end.  Whoever keeps a permit waits for nothing without a
 * deadline: two of them would wait for each other.
 */
#include "../explore/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CALLERS = 4,
    MAX_OPS = 4,
    PER_OP = 3, /* asks that an operation has */
    N_KEYS = 4,
    SECOND = 0x100,
    FIRST_AFTER = MAX_CALLERS * MAX_OPS * PER_OP, /* ask, when all have ended */
};

static const char *const keys[N_KEYS] = {"a1", "a2", "b", "a key that is too long for the record"};

struct caller_of_bytes {
    uint16_t ops[MAX_OPS]; /* with SECOND: of the second table */
    unsigned n_ops, first_ask;
    struct ask *kept[MAX_OPS];
    unsigned n_kept;
};

static struct {
    uint8_t options;
    unsigned n_callers;
    struct caller_of_bytes callers[MAX_CALLERS];
} program;

/*
 * Everybody enqueues; the first caller drains, and what is left is drained in the end.  A forked
 * child has one of its own, besides those of its parents.
 */
static struct queue {
    sflight_queue *q; /* NULL: there is none, or there was no memory */
    unsigned n_in, n_out;
    struct clock made;         /* who enqueues has been told of it */
    struct clock handed;       /* who takes back what others enqueued, of that */
} queues[1 + MAX_OPS], *queue; /* the newest */

static void keep(struct caller_of_bytes *caller, struct ask *ask)
{
    caller->kept[caller->n_kept++] = ask;
}

/* The first with a permit, or a future that has not been given away, that it keeps; or NULL. */
static struct ask *kept_permit(const struct caller_of_bytes *caller)
{
    for (unsigned i = 0; i < caller->n_kept; i++)
        if (caller->kept[i]->permit != NULL)
            return caller->kept[i];
    return NULL;
}

static struct ask *kept_future(const struct caller_of_bytes *caller)
{
    for (unsigned i = 0; i < caller->n_kept; i++)
        if (caller->kept[i]->future != NULL && !caller->kept[i]->given)
            return caller->kept[i];
    return NULL;
}

static bool keeps_permit(const struct caller_of_bytes *caller)
{
    return kept_permit(caller) != NULL;
}

/* Also of a caller that leaves by fn. */
static void end_kept(struct caller_of_bytes **caller)
{
    struct ask **kept = (*caller)->kept;
    struct ask *leading;

    while ((leading = kept_permit(*caller)) != NULL)
        ask_complete(leading);
    for (unsigned i = 0; i < (*caller)->n_kept; i++) {
        if (kept[i]->given)
            continue;
        kept[i]->patience_ns = 0;
        if (kept[i]->future != NULL && !ask_poll(kept[i]))
            ask_get(kept[i]);
        if (kept[i]->r.hold != NULL)
            ask_release(kept[i]);
    }
}

/* ------------------------------------------------------------ by blocking */

static void do_one(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    ask_whole(ask);
}

static void do_now(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->patience_ns = 1;
    do_one(caller, ask);
}

static void do_soon(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->patience_ns = SHORT_NS;
    do_one(caller, ask);
}

/* fn asks for the other key of a pair: two that do so may close a circle. */
static void do_nested(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->inner = &ask[1];
    ask->inner->may = MAY_DEADLOCK;
    do_one(caller, ask);
}

static void do_panic(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->way = PANICS;
    do_one(caller, ask);
}

/* The first thread is needed later. */
static enum way exits(void)
{
    return sched.self == 0 ? PANICS : EXITS;
}

static void do_exit(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->way = exits();
    do_one(caller, ask);
}

static void do_abandon(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->way = ABANDONS;
    do_one(caller, ask);
}

static void do_pause(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    ask_result(ask);
    pause_here();
    ask_release(ask);
}

static void do_retain(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    ask_result(ask);
    if (ask->rc == 0)
        ask_retain(ask);
    else
        ask_release(ask);
}

static void do_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    ask_result(ask);
    keep(caller, ask);
}

static void many_of(struct ask *ask, unsigned n)
{
    ask_many(ask, n);
    for (unsigned i = 0; i < n; i++)
        ask_release(&ask[i]);
}

static void many_one(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    many_of(ask, 1);
}

/* Both keys of a pair, the first of them twice. */
static void many(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    many_of(ask, PER_OP);
}

static void many_soon(struct caller_of_bytes *caller, struct ask *ask)
{
    for (unsigned i = 0; i < PER_OP; i++)
        ask[i].patience_ns = SHORT_NS;
    many(caller, ask);
}

static void many_leave(struct caller_of_bytes *caller, struct ask *ask)
{
    for (unsigned i = 0; i < PER_OP; i++)
        ask[i].way = ask->key == keys[0] ? exits() : PANICS;
    many(caller, ask);
}

/* --------------------------------------------------------- without blocking */

static void begin(struct ask *ask)
{
    ask_begin(ask);
    if (ask->permit != NULL)
        ask_complete(ask);
}

static void begin_get(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    begin(ask);
    ask_get_or_drop(ask);
}

static void begin_then(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    begin(ask);
    if (ask->future != NULL)
        ask_then(ask);
}

static void begin_drop(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    begin(ask);
    if (ask->future != NULL)
        ask_drop(ask);
}

static void begin_abandon(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    ask_begin(ask);
    if (ask->permit != NULL)
        ask_abandon(ask);
    if (ask->future != NULL)
        ask_drop(ask);
}

/* Its descriptor says when. */
static void begin_watch(struct caller_of_bytes *caller, struct ask *ask)
{
    begin(ask);
    if (ask->future == NULL)
        return;
    int fd = sflight_future_fd(ask->future);
    if (fd < 0)
        CHECK(door.failures != 0);
    else if (!keeps_permit(caller))
        door_wait_readable(fd);
    if (ask_poll(ask)) {
        ask_release(ask);
    } else {
        CHECK(fd < 0 || keeps_permit(caller));
        ask_drop(ask);
    }
}

static void begin_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    ask_begin(ask);
    keep(caller, ask);
}

static void start(struct ask *ask)
{
    ask->may |= MAY_BE_FULL; /* there are only so many threads */
    ask_start(ask);
}

static void start_get(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    start(ask);
    ask_get_or_drop(ask);
}

static void start_then(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    start(ask);
    if (ask->future != NULL)
        ask_then(ask);
}

static void start_drop(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    start(ask);
    if (ask->future != NULL)
        ask_drop(ask);
}

static void start_panic(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->way = PANICS;
    start_drop(caller, ask);
}

static void start_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    start(ask);
    keep(caller, ask);
}

/* A permit holder's own future, if there is a permit. */
static void begin_own(struct ask *ask)
{
    ask_begin(ask);
    if (ask->permit != NULL)
        (void)ask_own_future(ask);
}

static void own_get(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    begin_own(ask);
    if (ask->permit != NULL)
        ask_complete(ask);
    ask_get_or_drop(ask);
}

static void own_drop(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    if (ask->future != NULL)
        (void)ask_drop(ask);
    keep(caller, ask);
}

static void own_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    keep(caller, ask);
}

static void own_then(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    if (ask->future != NULL)
        ask_then(ask);
    keep(caller, ask);
}

/* Nobody else ends the call, so it is taken back. */
static void own_then_cancel(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    if (ask->permit != NULL && ask->future != NULL) {
        ask_then(ask);
        CHECK(!ask->given || ask_cancel(ask));
    }
    keep(caller, ask);
}

static void listen_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    if (ask->permit != NULL)
        ask_on_unwanted(ask);
    keep(caller, ask);
}

static void listen_drop(struct caller_of_bytes *caller, struct ask *ask)
{
    listen_keep(caller, ask);
    if (ask->future != NULL)
        (void)ask_drop(ask);
}

static void drop_kept(struct caller_of_bytes *caller, struct ask *ask)
{
    ask = kept_future(caller);
    if (ask != NULL)
        (void)ask_drop(ask);
}

static void poll_kept(struct caller_of_bytes *caller, struct ask *ask)
{
    ask = kept_future(caller);
    if (ask != NULL && ask_poll(ask))
        ask_release(ask);
}

static void complete_kept(struct caller_of_bytes *caller, struct ask *ask)
{
    ask = kept_permit(caller);
    if (ask != NULL)
        ask_complete(ask);
}

static void abandon_kept(struct caller_of_bytes *caller, struct ask *ask)
{
    ask = kept_permit(caller);
    if (ask != NULL)
        ask_abandon(ask);
}

static void ask_kept(struct caller_of_bytes *caller, struct ask *ask)
{
    ask = kept_permit(caller);
    if (ask != NULL)
        (void)ask_unwanted(ask);
}

static void start_abandon(struct caller_of_bytes *caller, struct ask *ask)
{
    ask->way = ABANDONS;
    start_get(caller, ask);
}

/* -------------------------------------------------------------------- queue */

static void queue_begin(void)
{
    queue->n_in = queue->n_out = 0;
    queue->q = NULL;
    CHECK(sflight_queue_create(&queue->q) == 0 || door.failures != 0);
    memory_give(&queue->made);
}

/* All futures that were enqueued arrive, and their descriptor says so. */
static void queue_end(void)
{
    if (queue->q == NULL)
        return;
    if (queue->n_out != queue->n_in)
        CHECK(sflight_queue_destroy(queue->q) == -EBUSY);
    while (queue->n_out != queue->n_in) {
        door_wait_readable(sflight_queue_fd(queue->q));
        queue->n_out += ask_drain(queue->q);
    }
    CHECK(sflight_queue_destroy(queue->q) == 0);
}

/* Some may have been lost with the threads that were about to push them. */
static void queue_end_of_parent(void)
{
    if (queue->q == NULL)
        return;
    while (ask_drain(queue->q) != 0)
        continue;
    while (sflight_queue_destroy(queue->q) == -EBUSY) {
        CHECK(queue->n_in-- != 0);
        door_drain_lost(queue->q);
    }
}

/* Gives a future away. */
static void enqueue(struct ask *ask)
{
    if (queue->q == NULL) {
        (void)ask_drop(ask);
        return;
    }
    memory_take(&queue->made);
    queue->n_in++;
    if (!ask_enqueue(ask, queue->q))
        queue->n_in--;
    memory_give(&queue->handed);
}

static void start_enqueue(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    start(ask);
    if (ask->future != NULL)
        enqueue(ask);
}

static void own_enqueue(struct caller_of_bytes *caller, struct ask *ask)
{
    begin_own(ask);
    if (ask->future != NULL)
        enqueue(ask);
    keep(caller, ask);
}

static void enqueue_keep(struct caller_of_bytes *caller, struct ask *ask)
{
    if (queue->q == NULL)
        return;
    memory_take(&queue->made);
    queue->n_in++;
    if (ask_begin_enqueue(ask, queue->q))
        keep(caller, ask);
    else
        queue->n_in--;
    memory_give(&queue->handed);
}

static void enqueue_complete(struct caller_of_bytes *caller, struct ask *ask)
{
    enqueue_keep(caller, ask);
    if (ask->permit != NULL)
        ask_complete(ask);
}

static void enqueue_listen(struct caller_of_bytes *caller, struct ask *ask)
{
    enqueue_keep(caller, ask);
    if (ask->permit != NULL)
        ask_on_unwanted(ask);
}

/* Whoever drains takes back what is not there yet: all of it. */
static void cancel_queued(struct caller_of_bytes *caller, struct ask *unused)
{
    (void)unused;
    if (caller != &program.callers[0] || queue->q == NULL)
        return;
    for (unsigned i = 0; i < MAX_ASKS; i++) {
        struct ask *ask = &asks[i];
        if (!ask->given || ask->over || ask->queue != queue->q || ask->future == NULL)
            continue;
        memory_take(&queue->handed);
        ask->queue = NULL;
        if (ask_cancel(ask))
            queue->n_in--;
    }
}

static void drain_queue(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)ask;
    if (caller != &program.callers[0] || queue->q == NULL)
        return;
    queue->n_out += ask_drain(queue->q);
    if (queue->n_out != 0 && queue->n_out == queue->n_in) {
        sflight_queue *old = queue->q;
        queue->q = NULL;
        CHECK(sflight_queue_destroy(old) == 0); /* behind the producers */
        queue_begin();
    }
}

/* -------------------------------------------------------------------- group */

static void forget_key(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    (void)forget(ask->key, false);
}

static void forget_unshared(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    (void)forget(ask->key, true);
}

static void close_group(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller, (void)ask;
    world_close();
}

static void drain_group(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller;
    world_drain(ask->patience_ns);
}

/* None is ever below 0. */
static void look(struct caller_of_bytes *caller, struct ask *ask)
{
    sflight_stats s;

    (void)caller, (void)ask;
    CHECK(sflight_group_stats(world.group, &s) == 0);
    CHECK(s.in_flight <= MAX_ASKS && s.waiting <= MAX_ASKS && s.held <= MAX_ASKS);
}

/* The child goes on with what this thread has in hand, and with a queue of its own. */
static void fork_here(struct caller_of_bytes *caller, struct ask *ask)
{
    (void)caller, (void)ask;
    if (sched.self != 0)
        return;
    world_fork();
    queue++;
    queue_begin();
}

/* A walk, and what its first visit does besides looking. */
struct walk {
    struct caller_of_bytes *caller;
    struct ask *ask;
    int (*visit)(struct walk *walk); /* or NULL */
    unsigned n_shown[N_KEYS];
};

static int note_shown(const sflight_info *info, void *ctx)
{
    struct walk *walk = ctx;
    int (*visit)(struct walk *) = walk->visit;
    unsigned i = 0;

    while (i < N_KEYS && (strlen(keys[i]) != info->key.len ||
                          memcmp(keys[i], info->key.data, info->key.len) != 0))
        i++;
    CHECK(i < N_KEYS);
    CHECK(info->kind <= SFLIGHT_KIND_STARTED);
    CHECK(info->blocking + info->futures <= MAX_ASKS);
    walk->n_shown[i]++;
    walk->visit = NULL;
    return visit != NULL ? visit(walk) : 0;
}

/* What the caller leads from before the walk to its end is shown, once each, whatever others do. */
static void walk(struct caller_of_bytes *caller, struct ask *ask, int (*visit)(struct walk *walk))
{
    struct walk walk = {.caller = caller, .ask = ask, .visit = visit};
    unsigned n_led[N_KEYS] = {0};
    int rc = sflight_group_each(world.group, note_shown, &walk);

    CHECK(rc == 0 || rc == 1 || (rc == -ENOMEM && door.failures != 0));
    for (unsigned i = 0; i < caller->n_kept; i++)
        for (unsigned k = 0; k < N_KEYS; k++)
            n_led[k] += caller->kept[i]->permit != NULL && caller->kept[i]->key == keys[k];
    for (unsigned k = 0; k < N_KEYS; k++)
        CHECK(walk.n_shown[k] >= n_led[k] || rc != 0);
}

static void walk_only(struct caller_of_bytes *caller, struct ask *ask)
{
    walk(caller, ask, NULL);
}

static int visit_asks(struct walk *walk)
{
    ask_whole(walk->ask);
    return 0;
}

static void walk_asking(struct caller_of_bytes *caller, struct ask *ask)
{
    walk(caller, ask, visit_asks);
}

static int visit_forks(struct walk *walk)
{
    fork_here(walk->caller, walk->ask);
    return 0;
}

static void walk_forking(struct caller_of_bytes *caller, struct ask *ask)
{
    walk(caller, ask, visit_forks);
}

static int visit_leaves(struct walk *walk)
{
    (void)walk;
    if (exits() == EXITS)
        sched_exit();
    return 1;
}

static void walk_leaving(struct caller_of_bytes *caller, struct ask *ask)
{
    walk(caller, ask, visit_leaves);
}

typedef void operation(struct caller_of_bytes *caller, struct ask *ask);

/* By bits 2 to 4, and 5 and 6.  NULL: the next byte says which one of the second table. */
static operation *const operations[8][4] = {
    {do_one, do_nested, start_keep, do_keep},
    {do_now, do_soon, drain_queue, begin_watch},
    {forget_key, forget_unshared, close_group, drain_group},
    {begin_get, begin_then, begin_drop, begin_abandon},
    {start_get, start_then, start_drop, start_panic},
    {do_panic, do_exit, NULL, fork_here},
    {many_one, many, many_soon, many_leave},
    {do_pause, do_retain, begin_keep, start_enqueue},
};

static operation *const second_operations[6][4] = {
    {own_keep, own_get, own_drop, own_then},
    {own_then_cancel, own_enqueue, listen_keep, listen_drop},
    {complete_kept, abandon_kept, drop_kept, ask_kept},
    {enqueue_keep, enqueue_complete, enqueue_listen, cancel_queued},
    {do_abandon, start_abandon, poll_kept, look},
    {walk_only, walk_asking, walk_forking, walk_leaving},
};

static void operate(struct caller_of_bytes *caller, unsigned i)
{
    unsigned op = caller->ops[i], key = op & 3;
    struct ask *ask = NULL;

    for (unsigned k = PER_OP; k-- != 0;) {
        ask = fresh(caller->first_ask + i * PER_OP + k, keys[key ^ k % 2]);
        ask->allocs = ask->key == keys[1];
        ask->patience_ns = keeps_permit(caller) ? SHORT_NS : 0;
    }
    unsigned row = op >> 2 & 7, column = op >> 5 & 3;
    if (op & SECOND)
        second_operations[row < 6 ? row : row - 5][column](caller, ask);
    else
        operations[row][column](caller, ask);
}

static void call(void *arg)
{
    struct caller_of_bytes *caller __attribute__((cleanup(end_kept))) = arg;

    for (unsigned i = 0; i < caller->n_ops; i++)
        operate(caller, i);
}

/* Nobody leads a key any more, so that whoever comes does. */
static void ask_after_all(void)
{
    door.failures = 0;
    for (unsigned i = 0; i < N_KEYS; i++) {
        struct ask *ask = fresh(FIRST_AFTER + i, keys[i]);
        ask_whole(ask);
        CHECK(ask->led || ask->rc == -ESHUTDOWN);
    }
}

static void scenario(void *unused)
{
    sflight_options o = world_options();
    unsigned first = program.options >> 6 & 1;

    (void)unused;
    memset(&world, 0, sizeof(world));
    memset(asks, 0, sizeof(asks));
    o.on_abandon = program.options & 1 ? SFLIGHT_ABANDON_TAKEOVER : SFLIGHT_ABANDON_SHARE;
    o.cancel_unwanted = program.options >> 1 & 1;
    o.max_waiters = program.options >> 2 & 1;
    o.max_age_ns = program.options >> 7 & 1 ? SHORT_NS : 0;
    door.failures = program.options >> 3 & 1 ? 8 : 0;
    world_begin(&o);
    if ((program.options >> 4 & 3) == 2)
        door.joint_after = 0; /* who joins again does so by a joint */
    sched.counters = sched_mishap(4);
    world.forgets = o.cancel_unwanted || o.max_age_ns != 0;
    world.may = MAY_TIME_OUT | MAY_BE_DEAD | (o.max_waiters != 0 ? MAY_BE_FULL : 0);
    memset(queues, 0, sizeof(queues));
    queue = queues;
    queue_begin();
    for (unsigned i = first; i < program.n_callers; i++)
        go(call, &program.callers[i]);
    if (first != 0)
        call(&program.callers[0]);
    join_all();
    ask_after_all();
    queue_end();
    while (queue != queues) {
        queue--;
        queue_end_of_parent();
    }
    world_end();
}

/* Returns how many bytes are left for the schedule, and where. */
static const uint8_t *decode(const uint8_t *p, size_t *size)
{
    size_t n = *size;

    program.options = *p++;
    program.n_callers = 2 + (program.options >> 4 & 1) + (program.options >> 5 & 1);
    n--;
    for (unsigned i = 0; i < program.n_callers; i++) {
        struct caller_of_bytes *caller = &program.callers[i];
        caller->first_ask = i * MAX_OPS * PER_OP;
        caller->n_ops = caller->n_kept = 0;
        while (n != 0 && caller->n_ops < MAX_OPS) {
            unsigned b = *p++;
            n--;
            if (operations[b >> 2 & 7][b >> 5 & 3] == NULL) {
                if (n == 0)
                    break;
                b = SECOND | *p++;
                n--;
            }
            caller->ops[caller->n_ops++] = (uint16_t)b;
            if (b & 0x80)
                break; /* its last one */
        }
    }
    *size = n;
    return p;
}

static void failed(void)
{
    fflush(stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint64_t seed = 0;
    const uint8_t *schedule = decode(data, &size);
    for (size_t i = 0; i < size; i++) /* of what the bytes do not say */
        seed = seed * 31 + schedule[i];
    struct sched_plan plan = {.strategy = BY_BYTES,
                              .seed = seed,
                              .bytes = schedule,
                              .n_bytes = size,
                              .trace = getenv("FUZZ_TRACE") != NULL};
    sched_failed = failed;
    door_reset();
    sched_run(&plan, scenario, NULL);
    if (!world.leaks)
        door_check_end();
    return 0;
}
