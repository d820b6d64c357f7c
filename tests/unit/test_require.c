/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preconditions (src/require.h): each is broken here on purpose, in a child process, which has to
 * die of it and say which it was.  Only builds with SFLIGHT_CHECKED look at them; in others there
 * is nothing to test.
 */
#include "call_test.h"

#include "async.h"
#include "batch.h"
#include "fork.h"
#include "futex.h"
#include "lifecycle.h"
#include "spawn.h"

#ifdef SFLIGHT_CHECKED

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sflight_group *g;
static struct slot *slot;
static struct lane *lane;
static struct newcomer blocking;

/* A call that this thread leads. */
static struct sflight_call *led(void)
{
    struct sflight_call *c = NULL;
    unsigned rank;
    assert_int_equal(join_or_claim(g, slot, "led", 3, blocking, NULL, &c, &rank), JOIN_LEADS);
    return c;
}

/* A permit, and a future on it. */
static struct sflight_future *joined(void)
{
    struct sflight_call *c = NULL;
    struct sflight_future *f = NULL;
    assert_int_equal(sflight_begin(g, "p", 1, &c, &f), 0);
    assert_int_equal(sflight_begin(g, "p", 1, &c, &f), 0);
    assert_non_null(f);
    return f;
}

static void enter(void)
{
    lane = reclaim_enter(reclaim_lane(1));
}

/* ----------------------------------------------------------------- sections */

static void sections_nest(void)
{
    enter();
    enter();
}
static void leave_twice(void)
{
    enter();
    reclaim_leave(lane);
    reclaim_leave(lane);
}
static void retire_inside(void)
{
    static struct reclaim_limbo limbo;
    static struct reclaim_entry entry;
    enter();
    reclaim_retire(&limbo, &entry);
}
static void poll_inside(void)
{
    enter();
    (void)reclaim_poll(reclaim_lane(1));
}
static void search_outside(void)
{
    struct table_search search = {.key = {0, "", 0}};
    (void)table_search_in_section(&g->table, &search);
}
static void unlink_outside(void)
{
    table_unlink_in_section(&g->table, &led()->node);
}
static void unlink_first_inside(void)
{
    struct sflight_call *c = led();
    enter();
    (void)table_unlink_first(&g->table, &c->node);
}
static void first_outside(void)
{
    (void)table_see_in_section(table_only_bucket(&g->table, 0));
}
static void claim_inside(void)
{
    struct sflight_call *c = call_new(slot, "x", 1, 0, &blocking);
    link_word *bucket = table_only_bucket(&g->table, 0);
    enter();
    (void)table_claim_unlooked(bucket, 0, &c->node, 0);
}
static void relieve_inside(void)
{
    enter();
    table_relieve(&g->table, 0);
}
static void allocate_inside(void)
{
    enter();
    (void)alloc_get(&g->alloc, 8, 8);
}
static void free_inside(void)
{
    void *p = alloc_get(&g->alloc, 8, 8);
    enter();
    alloc_put(&g->alloc, p, 8);
}
static void sleep_inside(void)
{
    uint32_t word = 0;
    enter();
    (void)futex_wait(&word, 1, NULL);
}
static void wake_inside(void)
{
    uint32_t word = 0;
    enter();
    (void)futex_wake(&word, 1);
}
static void spawn_inside(void)
{
    enter();
    (void)spawn_thread(NULL, NULL);
}
static void park_inside(void)
{
    gate closed = 0;
    enter();
    (void)gate_park(&closed, NULL);
}
static void fn_inside(void)
{
    struct sflight_call *c = led();
    enter();
    lead_enter(&thread_self.agent, c, NULL);
}
static void destroy_inside(void)
{
    struct sflight_call *c = led();
    enter();
    (void)hold_destroy_value(slot, c, 1);
}
static void tell_inside(void)
{
    enter();
    notify_all(g, NULL);
}

/* -------------------------------------------------------------------- holds */

static struct rivals calm;

static void open_twice(void)
{
    gate open = 0;
    gate_open(&open, 0, 1, &calm);
    gate_open(&open, 0, 1, &calm);
}
static void open_unseen_twice(void)
{
    gate open = 0;
    gate_open_unseen(&open, 0, 1);
    gate_open_unseen(&open, 0, 1);
}
static void release_before_the_end(void)
{
    hold_release(slot, led());
}
static void deliver_before_the_end(void)
{
    sflight_result r;
    (void)hold_deliver(slot, led(), true, &r);
}
static void release_one_too_many(void)
{
    gate open = 0;
    gate_open(&open, 0, 1, &calm);
    (void)gate_drop(&open);
    (void)gate_hold_is_last(&open);
}
static void retain_without_a_hold(void)
{
    struct sflight_call *c = led();
    gate_open(&c->gate, 0, 0, &calm);
    hold_retain(slot, c);
}

/* -------------------------------------------------------------------- state */

static void leave_without_a_join(void)
{
    uint64_t state = 0;
    (void)state_leave(&led()->state, STATE_BLOCKING, false, &state);
}

/* ------------------------------------------------------------------- owners */

static void exit_without_enter(void)
{
    lead_exit(&thread_self.agent, led());
}
static void abandon_without_owner(void)
{
    sflight_call *c = NULL;
    sflight_future *f = NULL;
    assert_int_equal(sflight_begin(g, "p", 1, &c, &f), 0);
    lead_abandon(c);
}
static void circle_without_a_call(void)
{
    (void)agent_may_wait(&thread_self.agent, led(), NULL);
}
static void waited_without_waiting(void)
{
    agent_waited(&thread_self.agent);
}
static void count_as_own_in_the_common_slot(void)
{
    gauges_count_own(&g->common, COUNT_LED);
}
static int forget_the_batch(sflight_call *const *calls, size_t n, void *arg)
{
    (void)calls, (void)n, (void)arg;
    thread_self.agent.batches = NULL;
    return 0;
}
static void batch_out_of_order(void)
{
    const sflight_key key = {"b", 1};
    sflight_result r;
    int rc;
    (void)batch_do(g, &key, 1, forget_the_batch, NULL, NULL, &r, sizeof(r), &rc);
}

/* ------------------------------------------------------------------ futures */

static void free_while_hung(void)
{
    struct sflight_future *f = joined();
    assert_true(sflight_future_fd(f) >= 0);
    future_free(slot, f);
}
static void take_what_is_owned(void)
{
    sflight_result r;
    (void)future_take(joined(), &r);
}
static void hang_twice(void)
{
    struct sflight_future *f = joined();
    assert_true(sflight_future_fd(f) >= 0);
    notify_hang(f, FUTURE_OWNED, NULL);
}
static void park_what_does_not_hang(void)
{
    (void)notify_park(g, joined(), NULL, FUTURE_HUNG);
}
static void descriptor_of_a_plain_one(void)
{
    notify_set_fd(joined(), 0);
}
static void push_what_is_not_queued(void)
{
    struct sflight_future *f = joined();
    sflight_queue *q;
    assert_int_equal(sflight_queue_create(&q), 0);
    queue_push(q, f, f);
}

/* ----------------------------------------------------------------- registry */

static void leave_without_the_lock(void)
{
    gauges_leave(&g->common);
}
static void put_right_without_the_lock(void)
{
    const struct gauges_kept nothing = {0};
    (void)gauges_after_fork(g, 0, &nothing);
}
static void unlock_without_the_lock(void)
{
    registry_unlock();
}
static void forget_slots_without_the_lock(void)
{
    thread_forget_group(g);
}

static const struct broken {
    const char *name;
    void (*step)(void);
    const char *says; /* what it names */
} broken[] = {
#define BROKEN(step, says)                                                                         \
    {                                                                                              \
#step, step, says                                                                          \
    }
    BROKEN(sections_nest, "reclaim.h"),
    BROKEN(leave_twice, "reclaim.h"),
    BROKEN(retire_inside, "reclaim.h"),
    BROKEN(poll_inside, "reclaim.c"),
    BROKEN(search_outside, "table.c"),
    BROKEN(unlink_outside, "table.c"),
    BROKEN(unlink_first_inside, "table.c"),
    BROKEN(first_outside, "table.h"),
    BROKEN(claim_inside, "table.h"),
    BROKEN(relieve_inside, "table.c"),
    BROKEN(allocate_inside, "alloc.c"),
    BROKEN(free_inside, "alloc.c"),
    BROKEN(sleep_inside, "futex.c"),
    BROKEN(wake_inside, "futex.c"),
    BROKEN(spawn_inside, "spawn.c"),
    BROKEN(park_inside, "gate.c"),
    BROKEN(fn_inside, "lead.h"),
    BROKEN(destroy_inside, "hold.c"),
    BROKEN(tell_inside, "notify.c"),
    BROKEN(open_twice, "gate.c"),
    BROKEN(open_unseen_twice, "gate.h"),
    BROKEN(release_before_the_end, "gate.h"),
    BROKEN(deliver_before_the_end, "hold.h"),
    BROKEN(release_one_too_many, "gate.h"),
    BROKEN(retain_without_a_hold, "hold.c"),
    BROKEN(leave_without_a_join, "state.h"),
    BROKEN(exit_without_enter, "lead.h"),
    BROKEN(abandon_without_owner, "lead.c"),
    BROKEN(circle_without_a_call, "agent.c"),
    BROKEN(waited_without_waiting, "agent.c"),
    BROKEN(count_as_own_in_the_common_slot, "gauges.h"),
    BROKEN(batch_out_of_order, "batch.c"),
    BROKEN(free_while_hung, "future.h"),
    BROKEN(take_what_is_owned, "future.c"),
    BROKEN(hang_twice, "notify.h"),
    BROKEN(park_what_does_not_hang, "notify.c"),
    BROKEN(descriptor_of_a_plain_one, "notify.c"),
    BROKEN(push_what_is_not_queued, "queue.c"),
    BROKEN(leave_without_the_lock, "gauges.c"),
    BROKEN(put_right_without_the_lock, "gauges.c"),
    BROKEN(unlock_without_the_lock, "group.c"),
    BROKEN(forget_slots_without_the_lock, "thread.c"),
};

/* The child's last words. */
static void run_broken(const struct broken *b, char *text, size_t size)
{
    int ends[2], status;
    size_t n = 0;
    ssize_t more;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        b->step();
        _exit(0);
    }
    close(ends[1]);
    while (n + 1 < size && (more = read(ends[0], text + n, size - 1 - n)) > 0)
        n += (size_t)more;
    text[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("%s: not noticed, status %x", b->name, status);
}

static void each_precondition_is_looked_at(void **state)
{
    char text[4096], place[64];

    (void)state;
    g = group_small(SFLIGHT_ABANDON_SHARE);
    slot = thread_slot(g);
    blocking = NEWCOMER_BLOCKING(&thread_self.agent);
    for (size_t i = 0; i < LENGTH(broken); i++) {
        run_broken(&broken[i], text, sizeof(text));
        snprintf(place, sizeof(place), "src/%s:", broken[i].says);
        if (strstr(text, "required: ") == NULL || strstr(text, place) == NULL)
            fail_msg("%s: does not name %s but says: %s", broken[i].name, place, text);
    }
    group_end(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_precondition_is_looked_at),
    };
    return RUN_TESTS(tests);
}

#else

int main(void)
{
    puts("1..0 # SKIP nothing looks at preconditions in this build");
    return 0;
}

#endif
