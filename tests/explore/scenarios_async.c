/* SPDX-License-Identifier: BSD-2-Clause */
/* Permits, futures, queues, started calls. */
#include "rules.h"

#include <errno.h>
#include <stdlib.h>

static void abandon_permit(void *ask)
{
    ask_abandon(ask);
}

static void drop(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future != NULL)
        ask_drop(ask);
}

static void poll_some(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    for (int i = 0; i < 3 && ask->future != NULL; i++)
        if (ask_poll(ask))
            ask_release(ask);
    if (ask->future != NULL)
        ask_drop(ask);
}

static void then(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future != NULL)
        ask_then(ask);
}

/* By its descriptor. */
static void watch(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future == NULL)
        return;
    int fd = sflight_future_fd(ask->future);
    if (fd < 0) {
        CHECK(door.failures != 0);
        ask_drop(ask);
        return;
    }
    if (variant(3) == 0) {
        ask_drop(ask);
        return;
    }
    door_wait_readable(fd);
    CHECK(ask_poll(ask));
    ask_release(ask);
}

/* Everything that may be done with a future, against the end of its call. */
static void future_against(void (*end)(void *), unsigned may, int on_abandon)
{
    static void (*const ways[])(void *) = {drop, come_and_go, then, watch, poll_some};
    sflight_options o = world_options();

    o.on_abandon = on_abandon;
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = may;
    ask_begin(fresh(0, "a"));
    go(end, &asks[0]);
    for (unsigned i = 1; i < 3; i++)
        go(ways[variant(5)], fresh(i, "a"));
    join_all();
    world_end();
}

static void future_against_complete(void)
{
    future_against(complete_permit, 0, SFLIGHT_ABANDON_SHARE);
}

static void future_against_abandon(void)
{
    future_against(abandon_permit, MAY_BE_DEAD, (int)variant(2));
}

/* One of them, where the exhaustive search wants it to be one. */
static void one_future(void (*way)(void *), uint64_t patience_ns)
{
    world_begin(NULL);
    ask_begin(fresh(0, "a"));
    go(complete_permit, &asks[0]);
    fresh(1, "a")->patience_ns = patience_ns;
    go(way, &asks[1]);
    join_all();
    world_end();
}

static void future_drop(void)
{
    one_future(drop, 0);
}
static void future_get(void)
{
    one_future(come_and_go, 0);
}
static void future_get_until(void)
{
    world.may = MAY_TIME_OUT;
    one_future(come_and_go, SHORT_NS);
}
static void future_then(void)
{
    one_future(then, 0);
}
static void future_fd(void)
{
    one_future(watch, 0);
}

/* What its holder may do with the permit's own future. */
static void use_own(void *arg)
{
    struct ask *ask = arg;
    switch (variant(4)) {
    case 0:
        ask_drop(ask);
        break;
    case 1:
        ask_then(ask);
        break;
    case 2:
        if (ask_poll(ask))
            ask_release(ask);
        else
            ask_drop(ask);
        break;
    default:
        ask_get(ask);
        ask_release(ask);
    }
}

/* A permit with a future of its own, whose holder is told like the others, and is none of them. */
static void own_future_against(void (*end)(void *), unsigned may)
{
    sflight_options o = world_options();
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = may;
    ask_begin(fresh(0, "a"));
    CHECK(ask_own_future(&asks[0]));
    if (variant(4) == 0)
        forget("a", false);
    go(end, &asks[0]);
    go(use_own, &asks[0]);
    go(variant(2) ? come_and_go : drop, fresh(1, "a"));
    join_all();
    world_end();
}

static void own_future(void)
{
    own_future_against(complete_permit, 0);
}
static void own_future_of_dead(void)
{
    own_future_against(abandon_permit, MAY_BE_DEAD);
}

/* Its descriptor is asked for when it has been hung up long since. */
static void future_fd_late(void)
{
    world_begin(NULL);
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "a"));
    asks[1].patience_ns = 1;
    world.may = MAY_TIME_OUT;
    ask_get(&asks[1]);
    go(complete_permit, &asks[0]);
    ask_by_fd(&asks[1]);
    join_all();
    world_end();
}

/* Blocking callers and futures on one call; its permit is dropped. */
static void permit_taken_over(void)
{
    sflight_options o = world_options();
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    world_begin(&o);
    world.may = MAY_BE_DEAD | MAY_TIME_OUT;
    ask_begin(fresh(0, "a"));
    go(abandon_permit, &asks[0]);
    fresh(1, "a")->patience_ns = variant(2) ? SHORT_NS : 0;
    go(ask_whole, &asks[1]);
    go(come_and_go, fresh(2, "a"));
    if (variant(2))
        go(ask_whole, fresh(3, "a"));
    join_all();
    world_end();
}

/* --------------------------------------------------------------------- queue */

static sflight_queue *queue;
static unsigned n_queued;

static void queue_begin(void)
{
    world_begin(NULL);
    CHECK(sflight_queue_create(&queue) == 0);
    n_queued = 0;
}

static void enqueue(void *arg)
{
    struct ask *ask = arg;
    ask_begin_and_complete(ask);
    if (ask->future != NULL) {
        n_queued++;
        if (!ask_enqueue(ask, queue))
            n_queued--;
    }
}

/* As an event loop does it: drains when the descriptor says so, and only then. */
static void consume_all(void)
{
    unsigned n = 0;
    if (variant(2))
        n += ask_drain(queue); /* nobody has told it to */
    while (n < n_queued) {
        door_wait_readable(sflight_queue_fd(queue));
        n += ask_drain(queue);
    }
    CHECK(n == n_queued);
}

static void queue_end(void)
{
    consume_all();
    CHECK(sflight_queue_destroy(queue) == 0); /* behind the producers */
}

static void hand_over(void)
{
    queue_begin();
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(1, "b"));
    /* Hung before anybody else comes: so each of them must arrive. */
    enqueue(fresh(2, "a"));
    enqueue(fresh(3, "b"));
    if (variant(2))
        enqueue(fresh(4, "a"));
    go(complete_permit, &asks[0]);
    go(complete_permit, &asks[1]);
    queue_end();
    join_all();
    world_end();
}

/* Threads count what the queue has to expect; none is lost, or it could not be destroyed. */
static void three_enqueue(void)
{
    queue_begin();
    sched.counters = true;
    ask_begin(fresh(0, "a"));
    go(enqueue, fresh(1, "a"));
    go(enqueue, fresh(2, "a"));
    go(enqueue, fresh(3, "a"));
    join_all();
    complete_permit(&asks[0]);
    consume_all();
    CHECK(n_queued == 3);
    CHECK(sflight_queue_destroy(queue) == 0);
    world_end();
}

static void begin_enqueued_and_another(void *arg)
{
    struct ask *ask = arg;
    bool comes = ask_begin_enqueue(ask, queue);
    n_queued += comes;
    if (ask->permit != NULL)
        ask_complete(ask);
    ask_begin_and_complete(&ask[2]);
}

/* Of two that come for a key at once one does not need the record that it made for that. */
static void both_begin_enqueued(void)
{
    queue_begin();
    fresh(2, "b");
    fresh(3, "c");
    go(begin_enqueued_and_another, fresh(0, "a"));
    go(begin_enqueued_and_another, fresh(1, "a"));
    join_all();
    queue_end();
    world_end();
}

static void destroy_queue(void *unused)
{
    (void)unused;
    while (sflight_queue_destroy(queue) == -EBUSY)
        sched_yield_point(SITE);
}

/* Destroyed behind its consumer, too. */
static void queue_goes(void)
{
    queue_begin();
    ask_begin(fresh(0, "a"));
    enqueue(fresh(1, "a"));
    go(complete_permit, &asks[0]);
    go(destroy_queue, NULL);
    consume_all();
    join_all();
    world_end();
}

/* Enqueued against the end of the call: told by one of the two. */
static void late_enqueue(void)
{
    queue_begin();
    ask_begin(fresh(0, "a"));
    go(complete_permit, &asks[0]);
    go(enqueue, fresh(1, "a"));
    go(enqueue, fresh(2, "a"));
    join_all();
    queue_end();
    world_end();
}

/* Taken back against the end of the call: it comes, or it does not, and not both. */
static void take_back(unsigned n, bool some_stay)
{
    queue_begin();
    for (unsigned i = 0; i < n; i++)
        ask_begin_enqueue(fresh(i, "a"), queue);
    go(complete_permit, &asks[0]);
    if (some_stay)
        go(drop, fresh(n, "a"));
    n_queued = n;
    for (unsigned i = 0; i < n; i++) {
        if (some_stay && variant(3) == 0)
            continue;
        if (variant(4) == 0)
            n_queued -= ask_drain(queue);
        if (!asks[i].over && ask_cancel(&asks[i]))
            n_queued--;
    }
    consume_all();
    CHECK(ask_drain(queue) == 0);
    CHECK(sflight_queue_destroy(queue) ==
          0); /* nothing more is expected: not even by who ends it */
    join_all();
    world_end();
}

static void taken_back(void)
{
    take_back(3, true);
}
static void taken_back_alone(void)
{
    take_back(1, false);
}
static void taken_back_follower(void)
{
    queue_begin();
    ask_begin(fresh(0, "a"));
    ask_begin_enqueue(fresh(1, "a"), queue);
    go(complete_permit, &asks[0]);
    n_queued = !ask_cancel(&asks[1]);
    queue_end();
    join_all();
    world_end();
}

/* Gives up what it has hung into the call's list. */
static void give_up(void *arg)
{
    struct ask *ask = arg;
    if (variant(2)) {
        CHECK(sflight_future_fd(ask->future) >= 0 || door.failures != 0);
        ask_drop(ask);
    } else {
        ask->patience_ns = 1;
        ask_get_or_drop(ask);
    }
}

/*
 * What was given up is taken out of the list by those who give up, while others stay in it, and
 * against the end of the call.
 */
static void swept(void)
{
    queue_begin();
    world.may = MAY_TIME_OUT;
    for (unsigned i = 0; i < 6; i++)
        ask_begin(fresh(i, "a"));
    ask_then(&asks[1]);
    go(give_up, &asks[2]);
    go(give_up, &asks[3]);
    go(complete_permit, &asks[0]);
    (void)ask_enqueue(&asks[4], queue);
    (void)ask_enqueue(&asks[5], queue);
    n_queued = 2 - ask_cancel(&asks[4]);
    consume_all();
    join_all();
    CHECK(asks[1].over);
    CHECK(sflight_queue_destroy(queue) == 0);
    world_end();
}

/* Two loops with queues of their own, each with a client that hangs up. */
static sflight_queue *queues[2];

static void hang_up(void *arg)
{
    unsigned i = arg != NULL;
    struct ask *ask = &asks[i];
    while (!ask->over && !ask_cancel(ask)) {
        door_wait_readable(sflight_queue_fd(queues[i]));
        (void)ask_drain(queues[i]);
    }
    CHECK(sflight_queue_destroy(queues[i]) == 0);
}

static void both_hang_up(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    for (unsigned i = 0; i < 2; i++) {
        CHECK(sflight_queue_create(&queues[i]) == 0);
        ask_begin_enqueue(fresh(i, "a"), queues[i]);
    }
    go(hang_up, NULL);
    go(hang_up, queues);
    complete_permit(&asks[0]);
    join_all();
    world_end();
}

/* --------------------------------------------------------------------- start */

static void start_and(void *arg)
{
    struct ask *ask = arg;
    ask_start(ask);
    if (ask->future == NULL)
        return;
    switch (variant(4)) {
    case 0:
        ask_get(ask);
        ask_release(ask);
        break;
    case 1:
        ask_drop(ask);
        break;
    case 2:
        ask_then(ask);
        break;
    default:
        if (ask_poll(ask))
            ask_release(ask);
        else
            ask_drop(ask);
    }
}

static void started_begin(unsigned failures)
{
    sflight_options o = world_options();
    o.cancel_unwanted = variant(2);
    o.on_abandon = (int)variant(2);
    door.failures = failures;
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = MAY_BE_DEAD;
}

static void started(void)
{
    started_begin(0);
    for (unsigned i = 0; i < 3; i++) {
        fresh(i, "a")->way = variant(4) == 0 ? EXITS : RETURNS;
        go(start_and, &asks[i]);
    }
    join_all();
    world_end();
}

/* Calls that nobody waits for are forgotten. */
static void unwanted_begin(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = true;
    world_begin(&o);
    world.forgets = true;
}

static void started_and_dropped(void)
{
    unwanted_begin();
    ask_start(fresh(0, "a"));
    go(drop, fresh(1, "a"));
    if (asks[0].future != NULL)
        ask_drop(&asks[0]);
    join_all();
    world_end();
}

/* Two leave at once: the call must be forgotten by one of them. */
static void unwanted(void)
{
    unwanted_begin();
    ask_begin(fresh(0, "a"));
    go(drop, fresh(1, "a"));
    go(drop, fresh(2, "a"));
    join_all();
    /* Nobody waits for it now: whoever comes leads a call of its own. */
    bool was_joined = asks[1].permit == NULL && !asks[1].led && !asks[2].led;
    CHECK(!was_joined || sflight_call_unwanted(asks[0].permit));
    ask_begin(fresh(3, "a"));
    CHECK(!was_joined || asks[3].permit != NULL);
    if (asks[3].permit != NULL)
        ask_complete(&asks[3]);
    ask_complete(&asks[0]);
    if (asks[3].future != NULL) {
        CHECK(ask_poll(&asks[3]));
        ask_release(&asks[3]);
    }
    world_end();
}

/* Nobody waits for a permit, which is sealed by that, while neighbours come and go before it. */
static void unwanted_beside(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = true;
    world_begin(&o);
    world.forgets = true;
    door.fingerprints = true;
    ask_begin(fresh(0, "a1"));
    go(come_and_go, fresh(1, "a2"));
    bool early = variant(2);
    if (variant(2))
        go(come_and_go, fresh(2, !early && variant(2) ? "a1" : "a3"));
    (void)ask_unwanted(&asks[0]);
    if (early)
        join_all();
    ask_complete(&asks[0]);
    join_all();
    come_and_go(fresh(3, "b"));
    world_end();
}

/* Whoever leads is told once, by the last of those who leave at once, and not after the end. */
static unsigned n_last;

static void drop_own(void *arg)
{
    n_last += ask_drop(arg);
}

static void tell_begin(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    n_last = 0;
    ask_begin(fresh(0, "a"));
    CHECK(ask_own_future(&asks[0]));
    ask_begin(fresh(1, "a"));
}

static void unwanted_told(void)
{
    tell_begin();
    go(drop_own, &asks[0]);
    go(drop_own, &asks[1]);
    ask_on_unwanted(&asks[0]);
    join_all();
    CHECK(asks[0].run->unwanted != 0);
    CHECK(n_last == 1);
    CHECK(sflight_call_unwanted(asks[0].permit));
    ask_complete(&asks[0]);
    world_end();
}

static void unwanted_and_ended(void)
{
    tell_begin();
    ask_on_unwanted(&asks[0]);
    go(drop_own, &asks[0]);
    go(drop_own, &asks[1]);
    pause_here();
    ask_complete(&asks[0]);
    join_all();
    CHECK(n_last <= 1);
    world_end();
}

/* The callback ends the call. */
static void complete_unwanted(void *arg)
{
    CHECK(!door_in_section());
    ask_complete(arg);
}

static void unwanted_ends(void)
{
    tell_begin();
    go(drop_own, &asks[0]);
    go(drop_own, &asks[1]);
    sflight_call_on_unwanted(asks[0].permit, complete_unwanted, &asks[0]);
    join_all();
    CHECK(asks[0].permit == NULL);
    world_end();
}

/* One drops, one takes back, one comes for its result: all are counted, or have left. */
static void leave_against_complete(void)
{
    queue_begin();
    ask_begin_enqueue(fresh(0, "a"), queue);
    ask_on_unwanted(&asks[0]);
    ask_begin(fresh(1, "a"));
    go(drop_own, &asks[1]);
    go(come_and_go, fresh(2, "a"));
    go(complete_permit, &asks[0]);
    n_queued = !ask_cancel(&asks[0]);
    queue_end();
    join_all();
    world_end();
}

static unsigned n_told, n_leaving, n_leaving_when_told;
static struct clock told; /* what the callbacks have done */

/* Each time it is asked for again, in the callback. */
static void tell_again(void *arg)
{
    struct ask *ask = arg;
    n_leaving_when_told = n_leaving;
    CHECK(!door_in_section());
    pause_here();
    n_told++;
    sflight_call_on_unwanted(ask->permit, tell_again, ask);
    pause_here();
    memory_give(&told);
}

static void join_and_drop(void *ask)
{
    ask_begin(ask);
    n_leaving++;
    if (((struct ask *)ask)->permit != NULL)
        ask_complete(ask);
    else
        drop_own(ask);
}

static void again_begin(void)
{
    world_begin(NULL);
    n_told = n_last = n_leaving = n_leaving_when_told = 0;
    told = (struct clock){0};
    ask_begin(fresh(0, "a"));
    sflight_call_on_unwanted(asks[0].permit, tell_again, &asks[0]);
    go(join_and_drop, fresh(1, "a"));
    go(join_and_drop, fresh(2, "a"));
}

/* Also of who leaves it to nobody while the callback runs. */
static void unwanted_again(void)
{
    again_begin();
    join_all();
    CHECK(n_told <= n_last && n_leaving_when_told == 2);
    ask_complete(&asks[0]);
    world_end();
}

/* The leader has its own future, and asks, after somebody has left: not to be told of that. */
static void unwanted_own_late(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    n_last = n_leaving = 0;
    ask_begin(fresh(0, "a"));
    go(join_and_drop, fresh(1, "a"));
    pause_here();
    CHECK(ask_own_future(&asks[0]));
    ask_on_unwanted(&asks[0]);
    join_all();
    drop_own(&asks[0]);
    ask_complete(&asks[0]);
    world_end();
}

/* One of three finds that another has said so already. */
static void unwanted_again_by_two(void)
{
    again_begin();
    go(join_and_drop, fresh(3, "a"));
    join_all();
    CHECK(n_told <= n_last && n_leaving_when_told == 3);
    ask_complete(&asks[0]);
    world_end();
}

static void unwanted_again_and_ended(void)
{
    again_begin();
    pause_here();
    ask_complete(&asks[0]);
    CHECK(memory_after(&told)); /* what callbacks were given is the leader's again */
    join_all();
    world_end();
}

/* The last one leaves while another comes: it joins and gets the result, or leads its own. */
static void unwanted_and_wanted(void)
{
    unwanted_begin();
    ask_begin(fresh(0, "a"));
    ask_on_unwanted(&asks[0]);
    go(drop, fresh(1, "a"));
    go(come_and_go, fresh(2, "a"));
    go(complete_permit, &asks[0]);
    join_all();
    world_end();
}

static bool let_go;

static void wait_in_fn(struct ask *ask)
{
    (void)ask;
    until(&let_go);
}

/* The same for a call that was started: its starter leaves, and a joiner. */
static void unwanted_start(void)
{
    unwanted_begin();
    let_go = false;
    fresh(0, "a")->inside = wait_in_fn;
    ask_start(&asks[0]);
    int other = go(drop, fresh(1, "a"));
    ask_drop(&asks[0]);
    sched_join(other);
    bool was_joined = !asks[1].led;
    ask_begin(fresh(2, "a"));
    CHECK(!was_joined || asks[2].permit != NULL);
    reached(&let_go);
    if (asks[2].permit != NULL) {
        ask_complete(&asks[2]);
    } else {
        ask_get(&asks[2]);
        ask_release(&asks[2]);
    }
    join_all();
    world_end();
}

/* Callers of every kind, and no memory now and then. */
static void async_no_memory(void)
{
    static void (*const ways[])(void *) = {drop, come_and_go, then, watch, start_and};

    started_begin(4);
    ask_begin(fresh(0, "a"));
    if (asks[0].permit != NULL)
        go(complete_permit, &asks[0]);
    for (unsigned i = 1; i < 5; i++)
        go(ways[variant(5)], fresh(i, "a"));
    join_all();
    world_end();
}

/* -------------------------------------------------------------------- retain */

static sflight_result shared_copy;

static void release_copy(void *unused)
{
    (void)unused;
    sflight_result_release(&shared_copy);
}

/* Two holds of one result are given up at once, in two threads. */
static void retained(void)
{
    world_begin(NULL);
    go(ask_whole, fresh(0, "a"));
    ask_result(fresh(1, "a"));
    if (asks[1].rc == 0) {
        CHECK(sflight_result_retain(&asks[1].r, &shared_copy) == 0);
        go(release_copy, NULL);
        ask_release(&asks[1]);
    }
    join_all();
    world_end();
}

/* cancel_unwanted and takeover: who blocks in fn waits for the call itself. */
static void not_forgotten(struct ask *ask)
{
    (void)ask;
    pause_here();
    /* The call that this thread leads is the key's. */
    CHECK(sflight_forget(world.group, "a", 1) == 1);
}

static void unwanted_taken_over(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = true;
    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    world_begin(&o);
    world.forgets = true;
    world.may = MAY_BE_DEAD;
    ask_begin(fresh(0, "a"));
    ask_begin(fresh(2, "a"));
    fresh(1, "a")->inside = not_forgotten;
    go(ask_whole, &asks[1]);
    go(abandon_permit, &asks[0]);
    ask_drop(&asks[2]);
    join_all();
    world_end();
}

/* fn stops early once it is told that nobody waits: then nobody must get that. */
static int stops_early(sflight_call *call, void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        if (sflight_call_unwanted(call))
            return 99;
        pause_here();
    }
    return 1;
}

static void join_raw(void *unused)
{
    (void)unused;
    sflight_call *lead;
    sflight_future *join;
    sflight_result r;
    CHECK(sflight_begin(world.group, "a", 1, &lead, &join) == 0);
    if (lead != NULL) {
        sflight_complete(lead, 0);
        return;
    }
    CHECK(sflight_future_get(join, NULL, &r) == 0);
    CHECK(r.status != 99);
    sflight_result_release(&r);
}

static void unwanted_stops_early(void)
{
    sflight_options o = world_options();
    o.cancel_unwanted = true;
    world_begin(&o);
    world.forgets = true;
    sflight_future *f;
    CHECK(sflight_start(world.group, "a", 1, stops_early, NULL, &f) == 0);
    go(join_raw, NULL);
    sflight_future_drop(f);
    join_all();
    world_end();
}

/* ----------------------------------------------------------------- remembered */

/* Asks for it again and again: the third time on its thread remembers the call. */
static void ask_again(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);

    for (unsigned i = 0; i < 4; i++)
        drop(fresh(n + i, "a"));
    if (variant(2))
        come_and_go(fresh(n + 4, "a"));
}

static void drop_twice(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);

    drop(fresh(n, "a"));
    drop(fresh(n + 1, "a"));
}

/* The call ends meanwhile, and its record is wanted for others, of this key and of another. */
static void remembered_against(void (*end)(void *), unsigned may, unsigned n_threads)
{
    sflight_options o = world_options();

    o.cancel_unwanted = variant(2);
    world_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = may;
    ask_begin(fresh(0, "a"));
    for (unsigned i = 1; i <= n_threads; i++)
        go(ask_again, fresh(10 * i, "a"));
    if (variant(2))
        pause_here();
    if (variant(4) == 0)
        forget("a", variant(2));
    end(&asks[0]);
    for (unsigned i = 1; i < 4; i++)
        ask_begin_and_complete(fresh(i, i == 2 ? "a" : "b"));
    for (unsigned i = 1; i < 4; i++)
        if (asks[i].future != NULL)
            ask_drop(&asks[i]);
    join_all();
    world_end();
}

static void remembered(void)
{
    remembered_against(complete_permit, 0, 1);
}
static void remembered_by_two(void)
{
    remembered_against(complete_permit, 0, 2);
}
static void remembered_dead(void)
{
    remembered_against(abandon_permit, MAY_BE_DEAD, 1 + variant(2));
}

/* Who has remembered it ends, and another has its slot. */
static void remembered_by_the_dead(void)
{
    world_begin(NULL);
    ask_begin(fresh(0, "a"));
    go(drop_twice, fresh(10, "a"));
    join_all();
    go(ask_again, fresh(20, "a"));
    complete_permit(&asks[0]);
    ask_begin_and_complete(fresh(1, "b"));
    join_all();
    world_end();
}

/* --------------------------------------------------------------------- joints */

/* The third time that a thread joins the call it does so by a joint. */
static void joints_begin(const sflight_options *o)
{
    world_begin(o);
    door.joint_after = 0;
    door.joints_most = variant(3) == 2 ? 1 : 31;
}

/* Has several futures at once, most of them of a joint, and does with each what may be done. */
static void ask_often(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);

    for (unsigned i = 0; i < 5; i++)
        ask_begin_and_complete(fresh(n + i, "a"));
    for (unsigned i = 0; i < 5; i++) {
        struct ask *ask = &asks[n + i];
        if (ask->future == NULL)
            continue;
        switch (variant(4)) {
        case 0:
            ask_drop(ask);
            break;
        case 1:
            ask_get_or_drop(ask);
            break;
        case 2:
            ask_then(ask);
            break;
        case 3:
            give_up(ask);
        }
    }
}

/* Each future is given up before the next one comes: so there is nobody, again and again. */
static void ask_and_drop(void *arg)
{
    struct ask *first = arg;
    unsigned n = (unsigned)(first - asks);

    for (unsigned i = 0; i < 5; i++)
        drop(fresh(n + i, "a"));
}

static void joints_against(void (*end)(void *), void (*way)(void *), unsigned n_threads)
{
    sflight_options o = world_options();

    o.cancel_unwanted = variant(2);
    o.on_abandon = (int)variant(2);
    joints_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = MAY_TIME_OUT | (end == abandon_permit ? MAY_BE_DEAD : 0);
    ask_begin(fresh(0, "a"));
    for (unsigned i = 1; i <= n_threads; i++)
        go(way, fresh(10 * i, "a"));
    if (end == abandon_permit && variant(2))
        go(ask_whole, fresh(1, "a")); /* it may take the call over */
    if (variant(2))
        pause_here();
    end(&asks[0]);
    ask_begin_and_complete(fresh(2, "b"));
    drop(fresh(3, "a"));
    join_all();
    world_end();
}

static void joint_alone(void)
{
    joints_against(complete_permit, ask_and_drop, 1);
}
static void joints(void)
{
    joints_against(complete_permit, ask_often, 2);
}
static void joints_left(void)
{
    joints_against(complete_permit, ask_and_drop, 2);
}
static void joints_dead(void)
{
    joints_against(abandon_permit, variant(2) ? ask_often : ask_and_drop, 1 + variant(2));
}

/*
 * Its leader dies, and they are all there is, or the last one that blocks leaves; or that one takes
 * the call over, and a starter's future becomes one like the others.
 */
static void joints_orphaned(void)
{
    sflight_options o = world_options();

    o.on_abandon = SFLIGHT_ABANDON_TAKEOVER;
    o.cancel_unwanted = variant(2);
    joints_begin(&o);
    world.forgets = o.cancel_unwanted;
    world.may = MAY_TIME_OUT | MAY_BE_DEAD;
    ask_begin(fresh(0, "a"));
    bool own = variant(2) && ask_own_future(&asks[0]);
    for (unsigned i = 1; i < 3; i++) {
        fresh(i, "a")->patience_ns = variant(3) ? SHORT_NS : 0;
        go(ask_whole, &asks[i]);
    }
    go(variant(2) ? ask_often : ask_and_drop, fresh(10, "a"));
    if (variant(2))
        pause_here();
    abandon_permit(&asks[0]);
    if (own)
        ask_drop(&asks[0]);
    join_all();
    world_end();
}

/* Another thread forgets the key, and has the next call. */
static void forget_and_begin(void *ask)
{
    (void)forget("a", variant(2));
    ask_begin_and_complete(ask);
    if (((struct ask *)ask)->future != NULL)
        ask_drop(ask);
}

static void joints_forgotten(void)
{
    joints_begin(NULL);
    world.may = MAY_TIME_OUT;
    ask_begin(fresh(0, "a"));
    go(variant(2) ? ask_often : ask_and_drop, fresh(10, "a"));
    go(forget_and_begin, fresh(1, "a"));
    if (variant(2))
        go(ask_and_drop, fresh(20, "a"));
    if (variant(2))
        pause_here();
    complete_permit(&asks[0]);
    join_all();
    world_end();
}

/* Whoever is the last to leave a call with joints is told so, and its leader as well. */
static void joints_unwanted(void)
{
    sflight_options o = world_options();

    o.cancel_unwanted = variant(2);
    joints_begin(&o);
    world.forgets = true;
    world.may = MAY_TIME_OUT;
    ask_begin(fresh(0, "a"));
    ask_on_unwanted(&asks[0]);
    go(variant(2) ? ask_often : ask_and_drop, fresh(10, "a"));
    go(ask_and_drop, fresh(20, "a"));
    for (unsigned i = variant(3); i > 0 && !ask_unwanted(&asks[0]); i--)
        pause_here();
    complete_permit(&asks[0]);
    join_all();
    world_end();
}

/* As swept(), most of them in a joint's list. */
static void swept_in_joints(void)
{
    queue_begin();
    door.joint_after = 0;
    world.may = MAY_TIME_OUT;
    for (unsigned i = 0; i < 8; i++)
        ask_begin(fresh(i, "a"));
    ask_then(&asks[3]);
    go(give_up, &asks[4]);
    go(give_up, &asks[5]);
    go(complete_permit, &asks[0]);
    (void)ask_enqueue(&asks[6], queue);
    (void)ask_enqueue(&asks[7], queue);
    n_queued = 2 - ask_cancel(&asks[6]);
    give_up(&asks[1]);
    ask_drop(&asks[2]);
    consume_all();
    join_all();
    CHECK(asks[3].over);
    CHECK(sflight_queue_destroy(queue) == 0);
    world_end();
}

static void drop_it(void *ask)
{
    ask_drop(ask);
}

static unsigned long n_seen;

static int see(const sflight_info *info, void *most)
{
    n_seen = info->futures;
    CHECK(info->futures <= *(unsigned long *)most);
    return 0;
}

/* Who is counted by a joint is shown, too. */
static void joints_seen(void)
{
    unsigned long most = 4;

    joints_begin(NULL);
    ask_begin(fresh(0, "a"));
    for (unsigned i = 1; i < 5; i++)
        ask_begin(fresh(i, "a"));
    go(drop_it, &asks[4]);
    go(drop_it, &asks[3]);
    CHECK(sflight_group_each(world.group, see, &most) == 0 || door.failures != 0);
    join_all();
    CHECK(sflight_group_each(world.group, see, &most) == 0 || door.failures != 0);
    CHECK(n_seen == 2 || door.failures != 0);
    ask_drop(&asks[1]);
    complete_permit(&asks[0]);
    ask_get(&asks[2]);
    ask_release(&asks[2]);
    world_end();
}

const struct scenario scenarios_async[] = {
    {"joint_alone", joint_alone, 200, 2},
    {"joints", joints, 300, 1},
    {"joints_left", joints_left, 300, 1},
    {"joints_dead", joints_dead, 200, 1},
    {"joints_orphaned", joints_orphaned, 300, 1},
    {"joints_forgotten", joints_forgotten, 300, 1},
    {"joints_unwanted", joints_unwanted, 200, 1},
    {"swept_in_joints", swept_in_joints, 200, 1},
    {"joints_seen", joints_seen, 100, 1},
    {"remembered", remembered, 300, 2},
    {"remembered_by_two", remembered_by_two, 300, 1},
    {"remembered_dead", remembered_dead, 200, 2},
    {"remembered_by_the_dead", remembered_by_the_dead, 200, 2},
    {"unwanted_stops_early", unwanted_stops_early, 200, 3},
    {"unwanted_taken_over", unwanted_taken_over, 200, 3},
    {"future_against_complete", future_against_complete, 300, 2},
    {"future_against_abandon", future_against_abandon, 200, 2},
    {"future_drop", future_drop, 50, 3},
    {"future_get", future_get, 50, 3},
    {"future_get_until", future_get_until, 100, 3},
    {"future_then", future_then, 50, 3},
    {"future_fd", future_fd, 100, 3},
    {"future_fd_late", future_fd_late, 500, 3},
    {"own_future", own_future, 200, 2},
    {"own_future_of_dead", own_future_of_dead, 100, 2},
    {"permit_taken_over", permit_taken_over, 200, 2},
    {"hand_over", hand_over, 200, 3},
    {"three_enqueue", three_enqueue, 100, 2},
    {"both_begin_enqueued", both_begin_enqueued, 200, 2},
    {"queue_goes", queue_goes, 100, 2},
    {"late_enqueue", late_enqueue, 100, 2},
    {"taken_back", taken_back, 300, 2},
    {"taken_back_alone", taken_back_alone, 100, 3},
    {"taken_back_follower", taken_back_follower, 100, 3},
    {"swept", swept, 200, 2},
    {"both_hang_up", both_hang_up, 200, 2},
    {"started", started, 200, 1},
    {"started_and_dropped", started_and_dropped, 100, 3},
    {"unwanted", unwanted, 200, 2},
    {"unwanted_beside", unwanted_beside, 100, 2},
    {"unwanted_told", unwanted_told, 200, 2},
    {"unwanted_and_ended", unwanted_and_ended, 200, 2},
    {"unwanted_again", unwanted_again, 200, 2},
    {"unwanted_own_late", unwanted_own_late, 200, 2},
    {"unwanted_again_by_two", unwanted_again_by_two, 200, 1},
    {"unwanted_again_and_ended", unwanted_again_and_ended, 200, 2},
    {"unwanted_ends", unwanted_ends, 100, 2},
    {"leave_against_complete", leave_against_complete, 200, 1},
    {"unwanted_and_wanted", unwanted_and_wanted, 100, 2},
    {"unwanted_start", unwanted_start, 200, 2},
    {"async_no_memory", async_no_memory, 200, 0},
    {"retained", retained, 50, 2},
    {0},
};
