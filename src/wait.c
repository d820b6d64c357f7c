/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See wait.h for the two places to wait.  A fiber may be on another thread after it was parked, so
 * no slot is kept across that (thread.h).
 */
#include "wait.h"

#include "cpu.h"

#include <errno.h>

/* ----------------------------------------------------------------- take over */

/*
 * Makes the agent, a follower of the call, its leader, if the call is an orphan; otherwise returns
 * false.
 */
static bool take_over(struct slot *slot, struct agent *agent, struct sflight_call *c)
{
    bool starter;

    if (!state_is_orphan(&c->state))
        return false;
    /* A starter that waits becomes a joiner, and is one before it can leave as one. */
    gauges_count(slot, COUNT_DEMOTED);
    if (!state_take_over(&c->state, &starter)) {
        gauges_uncount(slot, COUNT_DEMOTED);
        return false;
    }
    if (!starter)
        gauges_uncount(slot, COUNT_DEMOTED);
    atomic_store_release(&c->owner, agent); /* [OWNER] */
    if (call_kind(c) != CALL_OF_LEADER)
        atomic_store_relaxed(&c->result.kind, CALL_OF_LEADER);
    PROBE(takeover, c);
    gauges_count(slot, COUNT_TAKEN_OVER);
    return true;
}

/* --------------------------------------------------------------------- leave */

/* Is a joiner of that unit counted by a joint?  Otherwise it is, or may be, in the state. */
static bool is_of_joint(uint64_t unit, uint64_t state)
{
    return (unit == STATE_ASYNC || (unit == STATE_STARTER && (state & STATE_TAKEN))) &&
           state_async(state) == 0;
}

enum wait_leave wait_leave(struct slot *slot, struct sflight_call *c, uint64_t unit)
{
    /* A hold of our own, if we must look at the call again when we have left it. */
    bool look_back = call_kind(c) != CALL_OF_LEADER;
    bool seals = look_back && c->group->cancel_unwanted, starter = unit == STATE_STARTER;
    struct sflight_call *own __attribute__((cleanup(hold_own_ends), unused)) = NULL;
    if (look_back) {
        gate_hold(&c->gate);
        own = c;
    }

    uint64_t state = atomic_load_relaxed(&c->state); /* the CAS decides */
    for (;;) {                                       /* RACE: again, if the state has changed */
        if (state & STATE_CLOSED)
            return LEAVE_TOO_LATE;
        enum joint_left of_joint = JOINT_NONE;
        bool forgotten = state & STATE_FORGOTTEN;
        if (UNLIKELY(is_of_joint(unit, state))) {
            REQUIRE(c->group->max_age_ns == 0);
            of_joint = joint_leave(&c->joints, remember_joint_of(slot, c));
            if (of_joint == JOINT_LAST)
                unit = STATE_JOINT;
            if (of_joint != JOINT_LEFT) {
                state = atomic_load_relaxed(&c->state); /* the CAS decides */
                continue;
            }
        } else {
            if ((state & STATE_ORPHAN) && unit == STATE_BLOCKING && state_blocking(state) != 1)
                notify_nudge(c); /* whoever was nudged may be this one: pass it on */
            if (unit == STATE_BLOCKING && state_leave_closes(state) && state_joints(state) != 0)
                finish_shut_joints(c); /* RACE: its deadline passes as the leader dies */
            if (!state_leave(&c->state, unit, seals, &state))
                continue;
        }
        if (starter && (state & STATE_TAKEN))
            gauges_count(slot, COUNT_RETURNED); /* as the joiner that it had become */
        if (of_joint == JOINT_LEFT)
            return LEAVE_LEFT; /* the joint has others, who wait */
        bool last = look_back && state_unwanted(state);
        if (state & STATE_CLOSED) {
            finish_closed(slot, c, ENDING_ABANDONED, state, false);
            hold_release(slot, c);
        } else if (last) {
            if (seals && !forgotten) {
                PROBE(forget, c);
                gauges_count(slot, COUNT_FORGOTTEN);
            }
            atomic_fence_seq_cst(); /* [UNWANTED] */
            unwanted_tell(c);
        }
        return last ? LEAVE_LAST : LEAVE_LEFT;
    }
}

/* ---------------------------------------------------------------------- wait */

/* When a wait begins; 0 where nobody asks how long it is. */
static uint64_t wait_begins(struct sflight_group *g)
{
    return group_has(g, GROUP_TIMED) ? clock_now_ns() : 0;
}

static void wait_is_over(struct sflight_group *g, uint64_t since_ns)
{
    if (group_has(g, GROUP_TIMED))
        gauges_waited(thread_slot_again(g), since_ns);
}

/* Waits at the gate.  Returns JOIN_FOLLOWS, JOIN_LEADS or -ETIMEDOUT, and has not left. */
static ALWAYS_INLINE int wait_at_gate(struct slot *slot, struct agent *agent,
                                      struct sflight_call *c, unsigned rank,
                                      const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    struct spinner own, *spinner = &slot->spinner;

    if (UNLIKELY(slot->common)) { /* several threads use the common slot, but not its spinner */
        spinner_init(&own, g->spin_ns, &g->rivals);
        spinner = &own;
    }
    spinner->crowded = atomic_load_relaxed(&g->n_threads) > cpu_count(); /* a hint */
    for (;;) {
        enum gate_outcome outcome = gate_spin(&c->gate, rank, spinner, deadline);
        if (outcome == GATE_IS_CLOSED) {
            gauges_count(slot, COUNT_PARKED);
            PROBE(park, c);
            outcome = gate_park(&c->gate, deadline);
            PROBE(wake, c);
        } else if (outcome == GATE_IS_OPEN) {
            gauges_count(slot, COUNT_SPUN);
        }
        if (outcome == GATE_IS_OPEN)
            return JOIN_FOLLOWS;
        if (outcome == GATE_TIMED_OUT)
            return -ETIMEDOUT;
        gate_answer(&c->gate);
        if (take_over(slot, agent, c))
            return JOIN_LEADS;
    }
}

/* Waits hung.  Returns as wait_at_gate() does, or -ENOMEM; its waiter is given up in any case. */
static int wait_hung(struct agent *agent, struct sflight_call *c, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;

    if (gate_is_open(&c->gate)) {
        gauges_count(thread_slot_again(g), COUNT_SPUN); /* RACE: it has ended since it was joined */
        return JOIN_FOLLOWS;
    }
    if (clock_left_ns(deadline) == 0)
        return -ETIMEDOUT;
    struct sflight_future *f = notify_waiter_new(thread_slot_again(g), c, agent->fiber);
    if (f == NULL)
        return -ENOMEM;
    gauges_count(thread_slot_again(g), COUNT_PARKED);
    for (;;) {
        if (!notify_waiter_hang(&c->waiters, f)) {
            future_free(thread_slot_again(g), f); /* RACE: the call has ended on the way here */
            return JOIN_FOLLOWS;
        }
        if (g->takeover) {
            atomic_fence_after_rmw(); /* [NUDGE] */
            if (take_over(thread_slot_again(g), agent, c)) {
                notify_waiter_end(g, f);
                list_sweep(thread_slot_again(g), c);
                return JOIN_LEADS;
            }
        }
        PROBE(park, c);
        enum notify_outcome outcome = notify_park(g, f, deadline, FUTURE_GONE);
        PROBE(wake, c);
        switch (outcome) {
        case NOTIFY_TOLD:
            future_free(thread_slot_again(g), f);
            return JOIN_FOLLOWS;
        case NOTIFY_TIMED_OUT:
            list_sweep(thread_slot_again(g), c);
            return -ETIMEDOUT;
        case NOTIFY_NUDGED:
            break;
        }
    }
}

/* Waits in a group with a runtime, or with durations. */
static NOINLINE int wait_elsewhere(struct slot *slot, struct agent *agent, struct sflight_call *c,
                                   unsigned rank, const struct timespec *deadline)
{
    struct sflight_group *g = c->group;
    uint64_t since_ns = wait_begins(g);

    int rc = group_hangs(g) ? wait_hung(agent, c, deadline)
                            : wait_at_gate(slot, agent, c, rank, deadline);
    wait_is_over(g, since_ns);
    return rc;
}

int wait_until_told(struct sflight_future *f, const struct timespec *deadline)
{
    struct sflight_group *g = future_call(f)->group;
    uint64_t since_ns = wait_begins(g);

    f->owned.fiber = agent_fiber(g);
    if (clock_left_ns(deadline) != 0) /* else it only looks */
        gauges_count(thread_slot_again(g), COUNT_PARKED);
    enum notify_outcome outcome = notify_park(g, f, deadline, FUTURE_HUNG);
    wait_is_over(g, since_ns);
    return outcome == NOTIFY_TOLD ? 0 : -ETIMEDOUT;
}

/*
 * A follower that leaves may run a callback, which may be left through its frame, or fork: in the
 * child it is no joiner any more.
 */
struct leave_guard {
    struct sflight_group *group;
    uint64_t salt; /* of the process in which it begins to */
};

/* The last touch. */
static void leaving_ends(struct leave_guard *l)
{
    struct slot *slot = thread_slot_again(l->group);

    if (l->salt == process_salt())
        gauges_count(slot, COUNT_RETURNED);
}

/* Leaves.  Returns rc; or JOIN_FOLLOWS where it was too late, and its result is there. */
static ALWAYS_INLINE int leave(struct slot *slot, struct sflight_call *c, int rc)
{
    struct sflight_group *g = c->group;
    struct leave_guard here __attribute__((cleanup(leaving_ends), unused)) = {g, process_salt()};

    if (wait_leave(slot, c, STATE_BLOCKING) == LEAVE_TOO_LATE) {
        if (gate_is_open(&c->gate)) { /* RACE: it has ended meanwhile */
            hold_count_held(thread_slot_if_moved(slot), c, 1);
            return JOIN_FOLLOWS;
        }
        /* Counted as a joiner: a hold is going to be credited. */
        hold_drop(thread_slot_if_moved(slot), c, 0, false);
    }
    slot = thread_slot_again(g);
    if (rc == -ETIMEDOUT)
        gauges_count(slot, COUNT_TIMED_OUT);
    else if (rc == -EDEADLK)
        gauges_count(slot, COUNT_DEADLOCKS);
    return rc;
}

bool wait_no_more(struct slot *slot, struct sflight_call *c)
{
    return leave(slot, c, 0) == JOIN_FOLLOWS;
}

int wait_for_end(struct slot *slot, struct agent *agent, struct sflight_call *c, unsigned rank,
                 const struct timespec *deadline)
{
    bool noted = agent->leading != NULL && !gate_is_open(&c->gate);
    int rc = noted ? agent_may_wait(agent, c, deadline) : 0;

    if (rc == 0) {
        rc = group_has(c->group, GROUP_FIBERS | GROUP_TIMED)
                 ? wait_elsewhere(slot, agent, c, rank, deadline)
                 : wait_at_gate(slot, agent, c, rank, deadline);
        if (noted)
            agent_waited(agent); /* while the agent is a joiner, which keeps the record */
    }
    slot = thread_slot_if_moved(slot);
    if (rc < 0)
        return leave(slot, c, rc);
    if (rc == JOIN_FOLLOWS)
        hold_count_held(slot, c, 1);    /* inherited: of a batch that has forked */
    gauges_count(slot, COUNT_RETURNED); /* the last touch */
    return rc;
}
